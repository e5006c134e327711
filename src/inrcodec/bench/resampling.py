"""Down-sampling a volume before a codec, and cubic up-sampling after it.

A low sample stands for a box of ``factor`` voxels along each axis and lies at its centre. Cubic
convolution (Keys 1981, a = -1/2) goes up. The way down is the least-squares inverse of that: of all
low volumes it gives the one that comes back with the smallest squared error, so no filter against
aliasing can serve a peer's PSNR better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Shape = tuple[int, int, int]
"""Slices, rows, columns."""


def low_shape(shape: Shape, factor: int) -> Shape:
    """The shape of a volume of ``shape`` after `downsample`."""
    slices, rows, columns = (-(-length // factor) for length in shape)
    return slices, rows, columns


def downsample(volume: FloatArray, factor: int) -> FloatArray:
    """Every ``factor``-th sample along each axis; values may leave the volume's range slightly."""
    return _apply(volume, [_inverse(_cubic(length, factor)) for length in volume.shape])


def upsample(low: FloatArray, factor: int, shape: Shape) -> FloatArray:
    """The volume of ``shape`` that `downsample` made ``low`` of, approximately."""
    return _apply(low, [_cubic(length, factor) for length in shape])


def _apply(volume: FloatArray, matrices: list[NDArray[np.float64]]) -> FloatArray:
    for matrix in matrices:
        # Contracts the first axis and appends the new one: after all, the order is restored.
        volume = np.tensordot(volume, matrix.astype(np.float32), axes=(0, 1))
    return volume


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.pinv(matrix).astype(np.float64, copy=False)


def _cubic(length: int, factor: int) -> NDArray[np.float64]:
    """(length, low length) weights of low samples in voxels; rows add up to 1."""
    low_length = -(-length // factor)
    positions = (np.arange(length) + 0.5) / factor - 0.5  # of voxels, in low samples
    first = np.floor(positions).astype(int) - 1
    matrix = np.zeros((length, low_length))
    for tap in range(4):
        distance = np.abs(positions - (first + tap))
        near = 1 - 2.5 * distance**2 + 1.5 * distance**3
        far = 2 - 4 * distance + 2.5 * distance**2 - 0.5 * distance**3
        # Beyond the border, the last sample goes on.
        sample = np.clip(first + tap, 0, low_length - 1)
        np.add.at(matrix, (np.arange(length), sample), np.where(distance < 1, near, far))
    return matrix
