"""The checksum of a volume's voxels (docs/format.md, "Chunk V")."""

from __future__ import annotations

import threading
import zlib
from typing import Any

from numpy.typing import NDArray


def checksum(voxels: NDArray[Any], before: int = 0) -> int:
    """CRC-32 of stored values, little-endian, first axis fastest.

    ``before`` is that of the voxels that precede them.
    """
    flat = voxels.reshape(-1, order="F")
    return zlib.crc32(flat.astype(flat.dtype.newbyteorder("<"), copy=False).data, before)


class OrderedChecksum:
    """The checksum of voxels that come in any order, from any thread; what is early waits."""

    def __init__(self) -> None:
        self.value = 0
        """That of the voxels so far."""
        self._next = 0
        self._early: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()

    def add(self, first: int, voxels: NDArray[Any]) -> None:
        """Take the (N,) voxels from number ``first`` on."""
        with self._lock:
            self._early[first] = voxels
            while self._next in self._early:
                ready = self._early.pop(self._next)
                self.value = checksum(ready, self.value)
                self._next += len(ready)
