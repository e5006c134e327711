"""Voxels in a page: values as levels of 8 or 16 bits, and levels as compressed bytes.

A level is predicted by its neighbours in the plane, what is left is a small number of either sign,
and the low and the high bytes of these are deflated apart: half the size of a deflated volume.
`page/report.js` undoes it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = (1 << 16) - 1
_RAW_DEFLATE = -15


@dataclass(frozen=True, slots=True)
class Levels:
    """Value = low + step x level, for levels from 0 to ``highest``, at most 65535."""

    low: float
    step: float
    highest: int
    exact: bool
    """Whether values are levels to the bit."""

    @classmethod
    def spanning(cls, *volumes: NDArray[Any]) -> Levels:
        """The levels of all values of some volumes: exact for integers of a span below 65536."""
        low = min(volume.min().item() for volume in volumes)
        high = max(volume.max().item() for volume in volumes)
        if all(volume.dtype.kind in "iu" for volume in volumes) and high - low <= _MOST:
            return cls(low, 1, high - low, True)
        step = float(high) / _MOST - float(low) / _MOST  # the span itself may overflow
        return cls(float(low), step, _MOST, False) if step else cls(float(low), 1.0, 0, low == high)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 where it holds all levels, else uint16."""
        return np.dtype(np.uint8 if self.highest < 1 << 8 else np.uint16)

    def of(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Values -> levels, in their shape and ``dtype``."""
        result = np.empty(volume.shape, self.dtype, order="F")
        for index in range(volume.shape[-1]):  # bounded temporary memory
            values = volume[..., index]
            if self.exact and values.dtype.kind in "iu":
                # Modulo 2^64, which int64 and uint64 share.
                low = np.uint64(int(self.low) % (1 << 64))
                result[..., index] = values.astype(np.int64, casting="unsafe").view(np.uint64) - low
            else:
                scaled = values / self.step - self.low / self.step
                result[..., index] = np.clip(np.rint(scaled), 0, self.highest)
        return result


def pack(levels: NDArray[Any]) -> list[bytes]:
    """(X, Y, ...) uint8 or uint16 -> raw deflate streams, one for each byte of a level, the low one
    first; first axis fastest."""
    residual = levels.copy(order="F")
    residual[1:] -= levels[:-1]
    across = residual.copy(order="F")
    residual[:, 1:] -= across[:, :-1]
    # Zigzag: 0, -1, 1, -2 become 0, 1, 2, 3, so that small numbers have a high byte of 0.
    bits = 8 * levels.itemsize
    negative = residual >> (bits - 1)
    residual <<= 1
    residual ^= -negative
    planes = residual.reshape(-1, order="F")[:, None].view(np.uint8).T
    return [_deflate(np.ascontiguousarray(plane)) for plane in planes]


def _deflate(data: NDArray[np.uint8]) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, _RAW_DEFLATE)
    return stream.compress(data.data) + stream.flush()
