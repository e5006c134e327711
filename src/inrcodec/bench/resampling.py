"""Down-sampling a volume before a codec, and up-sampling by a cubic spline after it.

A low sample stands for a box of ``factor`` voxels along each axis and lies at its centre. Up goes
the cubic spline through the samples (Unser 1999). Down go two ways: the least-squares inverse of
that, which of all low volumes comes back with the smallest squared error, as long as a codec adds
none; and the mean of each box, which loses more, but is cheaper to code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Shape = tuple[int, int, int]
"""Slices, rows, columns."""


def low_shape(shape: Shape, factor: int) -> Shape:
    """The shape of a volume of ``shape`` after one of `FILTERS`."""
    slices, rows, columns = (-(-length // factor) for length in shape)
    return slices, rows, columns


def least_squares(volume: FloatArray, factor: int) -> FloatArray:
    """What `upsample` brings back best; values may leave the volume's range slightly."""
    return _apply(volume, [_inverse(_spline(length, factor)) for length in volume.shape])


def box_means(volume: FloatArray, factor: int) -> FloatArray:
    """Boxes that stand out beyond the last voxel have the mean of what is in the volume."""
    return _apply(volume, [_boxes(length, factor) for length in volume.shape])


FILTERS: tuple[Callable[[FloatArray, int], FloatArray], ...] = (least_squares, box_means)
"""Ways down, each from a volume and a factor to every ``factor``-th sample along each axis."""


def upsample(low: FloatArray, factor: int, shape: Shape) -> FloatArray:
    """The volume of ``shape`` that one of `FILTERS` made ``low`` of, approximately."""
    return _apply(low, [_spline(length, factor) for length in shape])


def _apply(volume: FloatArray, matrices: list[NDArray[np.float64]]) -> FloatArray:
    for matrix in matrices:
        # Contracts the first axis and appends the new one: after all, the order is restored.
        volume = np.tensordot(volume, matrix.astype(np.float32), axes=(0, 1))
    return volume


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.pinv(matrix).astype(np.float64, copy=False)


def _boxes(length: int, factor: int) -> NDArray[np.float64]:
    """(low length, length) weights of voxels in low samples; rows add up to 1."""
    box = np.arange(length) // factor
    inside = box == np.arange(-(-length // factor))[:, None]
    weights: NDArray[np.float64] = inside / inside.sum(1, keepdims=True)
    return weights


def _spline(length: int, factor: int) -> NDArray[np.float64]:
    """(length, low length) weights of low samples in voxels; rows add up to 1."""
    low_length = -(-length // factor)
    places = np.arange(low_length, dtype=np.float64)
    through_samples = _b_splines(places, low_length)
    positions = (np.arange(length) + 0.5) / factor - 0.5  # of voxels, in low samples
    between = _b_splines(positions, low_length)
    return np.linalg.solve(through_samples.T, between.T).T.astype(np.float64, copy=False)


def _b_splines(positions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(positions, count) weights of cubic B-splines at 0 to count - 1, mirrored at the borders,
    which are half a sample beyond the last."""
    matrix = np.zeros((len(positions), count))
    first = np.floor(positions).astype(int) - 1
    for tap in range(4):
        distance = np.abs(positions - (first + tap))
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = (2 - distance).clip(0) ** 3 / 6
        place = (first + tap) % (2 * count)
        sample = np.minimum(place, 2 * count - 1 - place)
        np.add.at(matrix, (np.arange(len(positions)), sample), np.where(distance < 1, near, far))
    return matrix
