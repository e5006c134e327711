"""Fuzz the readers of `.moec` data, guided by coverage (docs/fuzzing.md): `make fuzz`."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

from fuzz.seeds import FOLDER
from fuzz.targets import TARGETS

EXECUTIONS_A_PROCESS = 100_000
"""atheris 3.0.0 never frees the arrays that instrumented comparisons give: up to 6 KB an input."""


def supervise(name: str, runs: int) -> bool:
    """Fuzz one target in other processes and print what came of it; whether it found nothing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / f"{name}.log"
    found = 0
    with log.open("w") as file:
        while runs > 0 and not found:
            count = min(runs, EXECUTIONS_A_PROCESS)
            command = [sys.executable, "-m", "fuzz.worker", name, str(count)]
            found = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
            runs -= count
    print(f"{name}: {summary(log.read_text(errors='replace'))}", flush=True)
    if found:
        print(f"{name}: FAILED, see {log}", flush=True)
    return not found


def summary(text: str) -> str:
    """What libFuzzer counted, in one line."""

    def figures(pattern: str) -> list[int]:
        return [int(number) for number in re.findall(pattern, text)] or [0]

    executions = sum(figures(r"number_of_executed_units: (\d+)"))
    seconds = sum(figures(r"Done \d+ runs in (\d+) second"))
    edges = max(figures(r"DONE +cov: (\d+)"))
    kilobytes = max(figures(r"one input took (\d+) KB"))
    return (
        f"{executions} executions, {seconds} seconds, {edges} edges reached, "
        f"at most {kilobytes} KB an input"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="target")
    parser.add_argument("--runs", type=int, default=100_000, help="executions of each target")
    options = parser.parse_args()
    passed = [supervise(name, options.runs) for name in options.targets]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
