"""Stored values to the network's -1..1 and back (docs/format.md, "Intensity map")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.quantization import OUTPUT_BITS

LEVEL_BITS = OUTPUT_BITS + 1
LEVELS = 1 << LEVEL_BITS
"""The network's output from -1 to 1, in its own steps."""

_SLAB = 1 << 20
"""Voxels converted at a time, which bounds the float64 temporaries."""


def normalize(data: NDArray[Any], header: VolumeHeader) -> NDArray[np.float32]:
    """Return all voxels of ``data``, first axis fastest, as (N,) float32 in -1..1.

    ``header.low`` maps to -1 and ``header.high`` to 1; they must differ.
    """
    stored = data.reshape(-1, order="F")
    values = np.empty(stored.size, np.float32)
    low, half = float(header.low), _half_span(header)
    for start in range(0, stored.size, _SLAB):
        part = slice(start, start + _SLAB)
        values[part] = (stored[part] / 2.0 - low / 2.0) / (half / 2.0) - 1.0
    return values


def denormalize(levels: NDArray[np.int64], header: VolumeHeader) -> NDArray[Any]:
    """Return the stored values that the network's levels, any shape, stand for.

    Levels run from 0 (``header.low``) to 2**25 (``header.high``). Integers and the operations of
    IEEE 754 alone: the same values on every machine.
    """
    if header.dtype.kind == "f":
        fraction = levels / float(LEVELS)
        mixed = float(header.low) * (1.0 - fraction) + float(header.high) * fraction
        return np.clip(mixed, header.low, header.high).astype(header.dtype)
    # The span may take 64 bits: its product with a level is built from the two halves of it.
    level = levels.astype(np.uint64)
    high, low = divmod(int(header.high) - int(header.low), LEVELS)
    steps = level * np.uint64(high)
    steps += (level * np.uint64(low) + np.uint64(LEVELS // 2)) >> np.uint64(LEVEL_BITS)
    return (steps + np.uint64(int(header.low) % (1 << 64))).astype(header.dtype)


def _half_span(header: VolumeHeader) -> float:
    return float(header.high) / 2.0 - float(header.low) / 2.0
