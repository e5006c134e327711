"""Frames of a size that an encoder accepts."""

from __future__ import annotations

import numpy as np

from inrcodec.bench.resampling import FloatArray, Shape


def padded_shape(shape: Shape, smallest: int, multiple: int) -> Shape:
    """``shape`` (slices, rows, columns) with rows and columns of at least ``smallest`` pixels, and
    a multiple of ``multiple``."""
    slices, *edges = shape
    height, width = (-(-max(edge, smallest) // multiple) * multiple for edge in edges)
    return slices, height, width


def pad(stack: FloatArray, smallest: int, multiple: int) -> FloatArray:
    """A stack with its last rows and columns repeated up to `padded_shape`."""
    whole = padded_shape(stack.shape, smallest, multiple)
    return np.pad(stack, [(0, b - a) for a, b in zip(stack.shape, whole, strict=True)], "edge")
