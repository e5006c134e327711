"""The state of a fit in a file, from which the fit goes on after it was stopped.

The layout is that of safetensors: the length of a JSON header in 8 bytes (little-endian), the
header, the bytes of the tensors. Nothing in it runs, and nothing in it is believed: the tensors'
names, types, shapes and places must be those of the fit at hand before a byte of them is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import __version__
from inrcodec.architecture import Architecture
from inrcodec.errors import InputError, OutputError
from inrcodec.output import atomic_output, check_output

INTERVAL = 20.0
"""Seconds between two saves: what a kill may cost."""

_FORMAT = "inrcodec checkpoint 1"
_MOST_HEADER_BYTES = 1 << 20
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}

Tensors = dict[str, Tensor]


def check_checkpoint(path: Path, output: Path) -> None:
    """Raise `OutputError` now, before any work, where no checkpoint can be kept at ``path``."""
    check_output(path, overwrite=True)
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file; name another for the checkpoint")
    if os.path.realpath(path) == os.path.realpath(output):
        raise OutputError(f"{path}: is the output too; name another file for the checkpoint")


def remove_checkpoint(path: Path) -> None:
    """Remove what has served. The output is safe by now: a file that has to stay is no error."""
    with suppress(OSError):
        path.unlink()


class Checkpoint:
    """The file at ``path`` that belongs to one fit: to ``steps`` steps of ``batch`` voxels of
    ``voxels``, the stored ones, (X, ...), any dtype.

    A fit that goes on from it ends in the very weights of one that never stopped, on the same
    machine with the same number of threads.
    """

    def __init__(
        self,
        path: Path,
        voxels: NDArray[Any],
        architecture: Architecture,
        steps: int,
        batch: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._path = path
        self._steps = steps
        self._saved = time.monotonic()
        # By the names that messages use. The first that differs is the reason for those after it.
        self._identity = {
            "version of inrcodec": __version__,
            "volume": _fingerprint(voxels),
            "device": device.type,
            "seed": str(seed),
            "size or kind of network": str(architecture),
            "preset": f"{steps} steps of {batch}",
        }

    def restore(self, tensors: Tensors) -> tuple[int, float]:
        """Fill ``tensors`` in place from the file. Return the number of steps done and the loss at
        the last of them; where there is no file, 0 and NaN.

        Raises `InputError`, with ``tensors`` untouched, for a file that cannot be read, is damaged,
        or belongs to another fit.
        """
        try:
            with self._path.open("rb") as file:
                found = self._read(file, _with_progress(0, 0.0, tensors))
        except FileNotFoundError:
            return 0, math.nan
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from error
        for name, tensor in tensors.items():
            tensor.copy_(found[name])
        return int(found["step"]), float(found["loss"])

    def update(self, step: int, loss: float, tensors: Tensors) -> None:
        """Save the state after ``step`` steps, if it is the last or `INTERVAL` has passed."""
        if step < self._steps and time.monotonic() - self._saved < INTERVAL:
            return
        state = _with_progress(step, loss, tensors)
        data = b"".join(tensor.cpu().numpy().tobytes() for tensor in state.values())
        metadata = {"format": _FORMAT, **self._identity, "sha256": _sha256(data)}
        header = json.dumps({"__metadata__": metadata, **_layout(state)}).encode()
        with atomic_output(self._path, overwrite=True) as file:
            file.write(len(header).to_bytes(8, "little") + header + data)
        self._saved = time.monotonic()

    def _read(self, file: BinaryIO, expected: Tensors) -> Tensors:
        """Read tensors of the names, dtypes and shapes of ``expected``."""
        header = _read_header(file)
        metadata = header.pop("__metadata__", None)
        if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
            raise InputError(f"{self._path}: is not a checkpoint of inrcodec; name another file")
        for what, value in self._identity.items():
            if metadata.get(what) != value:
                raise InputError(
                    f"{self._path}: belongs to an encode with another {what}; name another file "
                    "for the checkpoint, or delete this one"
                )
        size = sum(tensor.nbytes for tensor in expected.values())
        if header == _layout(expected):
            data = bytearray(file.read(size + 1))
            if len(data) == size and metadata.get("sha256") == _sha256(data):
                found = _split(data, expected)
                finite = all(bool(tensor.isfinite().all()) for tensor in found.values())
                if finite and 0 < found["step"] <= self._steps:
                    return found
        raise InputError(f"{self._path}: is a damaged checkpoint; delete it to start anew")


def _with_progress(step: int, loss: float, tensors: Tensors) -> Tensors:
    progress = {"step": torch.tensor(step), "loss": torch.tensor(loss, dtype=torch.float64)}
    return progress | tensors


def _layout(tensors: Tensors) -> dict[str, Any]:
    """The header's entries for tensors that follow each other."""
    entries, start = {}, 0
    for name, tensor in tensors.items():
        stop = start + tensor.nbytes
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    return entries


def _split(data: bytearray, like: Tensors) -> Tensors:
    tensors, start = {}, 0
    for name, tensor in like.items():
        values = torch.frombuffer(data, dtype=tensor.dtype, count=tensor.numel(), offset=start)
        tensors[name] = values.view(tensor.shape)
        start += tensor.nbytes
    return tensors


def _read_header(file: BinaryIO) -> dict[str, Any]:
    """The JSON object that the file starts with; empty where there is none."""
    length = int.from_bytes(file.read(8), "little")
    if length > _MOST_HEADER_BYTES:
        return {}
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _fingerprint(voxels: NDArray[Any]) -> str:
    # First axis fastest, as volumes lie in memory: no copy.
    return f"{voxels.dtype.name} {voxels.shape} {_sha256(voxels.reshape(-1, order='F').data)}"


def _sha256(data: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
