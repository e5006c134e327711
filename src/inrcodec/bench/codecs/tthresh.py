"""TTHRESH: a Tucker decomposition with coded coefficients, by its own program."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

from inrcodec.bench.codecs.peer import Peer
from inrcodec.bench.resampling import FloatArray, Shape
from inrcodec.errors import PeerError

_QUARTERS = 12
"""Errors that are tried for the smallest file, a quarter of an octave apart."""


class Tthresh(Peer):
    """A relative error, of which the parameter is the logarithm to base 2."""

    name = "tthresh"
    settings = "relative error searched"
    coarsest, finest = 0.0, -20.0

    def missing(self) -> str | None:
        if shutil.which("tthresh") is None:
            return "build it (https://github.com/rballester/tthresh) and put it on PATH"
        return None

    def version(self) -> str:
        """The program does not know its version: the checksum of the program."""
        program = shutil.which("tthresh")
        assert program is not None
        return f"program of CRC-32 {zlib.crc32(Path(program).read_bytes()):08x}"

    def coarsest_for(self, stack: FloatArray) -> float:
        """Where the error asked for leaves nothing of the core, files are larger again."""
        quarters = range(int(4 * self.coarsest), -_QUARTERS, -1)
        return min((n / 4 for n in quarters), key=lambda at: len(self.encode(stack, at)))

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        sizes = [str(length) for length in reversed(stack.shape)]
        with tempfile.TemporaryDirectory() as folder:
            raw, coded = Path(folder, "raw"), Path(folder, "coded")
            raw.write_bytes(stack.astype("<f4").tobytes())
            # It reads numbers without an exponent only.
            error = f"{2.0**parameter:.10f}"
            _run("-i", str(raw), "-t", "float", "-s", *sizes, "-e", error, "-c", str(coded))
            return coded.read_bytes()

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        with tempfile.TemporaryDirectory() as folder:
            raw, coded = Path(folder, "raw"), Path(folder, "coded")
            coded.write_bytes(data)
            _run("-c", str(coded), "-o", str(raw))
            return np.fromfile(raw, "<f4").reshape(shape).astype(np.float32)


def _run(*arguments: str) -> None:
    done = subprocess.run(["tthresh", *arguments], capture_output=True)
    if done.returncode:
        raise PeerError(f"tthresh: exit code {done.returncode}")
