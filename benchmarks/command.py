"""The command line as a benchmark sees it: what it prints, seconds and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of the command line. ``peak_mb``: the largest resident set, in 10^6 bytes."""

    stdout: bytes
    seconds: float
    peak_mb: float


def inrcodec(*arguments: str | Path) -> Run:
    """Run ``inrcodec`` with these arguments; where it fails, so does the benchmark."""
    command = [sys.executable, "-m", "inrcodec", *map(str, arguments)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        stdout = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(process.returncode)
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(stdout, seconds, usage.ru_maxrss * unit / 1e6)
