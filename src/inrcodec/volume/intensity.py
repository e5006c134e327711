"""The intensity map: stored values to the network's -1..1 and back (docs/format.md, "Sampling")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.bitstream.volume_header import VolumeHeader

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


def denormalize(values: NDArray[np.float32], header: VolumeHeader) -> NDArray[Any]:
    """Return network outputs, any shape, as stored values: clamped to the range, and rounded to
    the nearest (ties to even) where the dtype is an integer's."""
    fraction = np.clip(values.astype(np.float64) * 0.5 + 0.5, 0.0, 1.0)
    if header.dtype.kind == "f":
        mixed = float(header.low) * (1.0 - fraction) + float(header.high) * fraction
        return np.clip(mixed, header.low, header.high).astype(header.dtype)
    # Steps above the lowest value, in uint64: that holds every span, where float64 does not.
    span = int(header.high) - int(header.low)
    steps = np.rint(fraction * float(span))
    top = steps >= float(span)
    offset = np.where(top, 0.0, steps).astype(np.uint64)
    offset[top] = span
    return (offset + np.uint64(int(header.low) % (1 << 64))).astype(header.dtype)


def _half_span(header: VolumeHeader) -> float:
    return float(header.high) / 2.0 - float(header.low) / 2.0
