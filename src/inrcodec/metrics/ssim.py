"""Structural similarity, the mean over a volume, with a Gaussian window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FloatArray = NDArray[np.float64]

_SIGMA = 1.5  # voxels
_RADIUS = 5  # the window ends at 3.5 sigma
_TAPS = 2 * _RADIUS + 1
_K1, _K2 = 0.01, 0.03
_BLOCK = 64  # voxels along each axis of a block of the SSIM map


def mean_ssim(
    original: NDArray[Any],
    decoded: NDArray[Any],
    value_range: float,
    mask: NDArray[np.bool_] | None = None,
) -> float:
    """Mean SSIM of the volumes along the fourth axis, all of them with one ``value_range``.

    A volume is filtered with a Gaussian window of sigma 1.5 and 11 taps an axis; the mean leaves
    out the border of 5 voxels, as scikit-image's ``structural_similarity`` does with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. An axis shorter than the
    window, which that refuses, is extended by reflection and keeps its border; an axis of length 1
    is not filtered, so that a slice has the SSIM of an image.

    With a ``mask``, of the shape of the first three axes, the mean is over windows around its
    voxels, which reach beyond it; NaN where all of them are border.
    """
    if value_range == 0:
        # Both stabilizing constants vanish, and unequal volumes share no structure.
        return float(np.array_equal(original, decoded))
    if original.ndim == 4:
        volumes = range(original.shape[3])
        pairs = ((original[..., i], decoded[..., i]) for i in volumes)
        return math.fsum(mean_ssim(a, b, value_range, mask) for a, b in pairs) / len(volumes)
    shape = original.shape + (1,) * (3 - original.ndim)
    original, decoded = original.reshape(shape), decoded.reshape(shape)
    mask = None if mask is None else mask.reshape(shape)
    c1, c2 = (_K1 * value_range) ** 2, (_K2 * value_range) ** 2
    # Moments are taken around the middle of the range, where they cancel least.
    center = float(original.min()) + value_range / 2
    total, count = 0.0, 0
    for blocks in itertools.product(*map(_blocks, shape)):
        region = tuple(block.voxels for block in blocks)
        inside = None if mask is None else mask[tuple(block.positions for block in blocks)]
        if inside is not None and not inside.any():
            continue
        x = original[region].astype(np.float64) - center
        y = decoded[region].astype(np.float64) - center
        mean_x, mean_y, mean_squares, mean_xy = (
            _window(moment, [block.window for block in blocks])
            for moment in (x, y, x * x + y * y, x * y)
        )
        variances = mean_squares - mean_x * mean_x - mean_y * mean_y
        covariance = mean_xy - mean_x * mean_y
        mean_x += center
        mean_y += center
        similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarity /= (mean_x * mean_x + mean_y * mean_y + c1) * (variances + c2)
        chosen = similarity if inside is None else similarity[inside]
        total += float(chosen.sum())
        count += chosen.size
    return total / count if count else math.nan


def _window(volume: _FloatArray, matrices: list[_FloatArray]) -> _FloatArray:
    """Weighted means of a (a, b, c) block; each matrix is (positions of the window, voxels)."""
    for matrix in matrices:
        # Contracts the first axis and appends the new one: after three the order is restored.
        volume = np.tensordot(volume, matrix, axes=(0, 1))
    return volume


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of the SSIM map, along one axis."""

    voxels: slice
    """What to read."""
    positions: slice
    """The voxels that windows are around."""
    window: _FloatArray
    """(positions, voxels): the weights of each window."""


def _blocks(length: int) -> Iterator[_Block]:
    """The map along an axis, block by block."""
    if length == 1:
        yield _Block(slice(0, 1), slice(0, 1), np.ones((1, 1)))
        return
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    taps /= taps.sum()
    if length < _TAPS:
        positions = np.add.outer(np.arange(length), offsets) % (2 * length)
        voxels = np.minimum(positions, 2 * length - 1 - positions)  # d c b a | a b c d | d c b a
        matrix = np.zeros((length, length))
        for position, row in enumerate(matrix):
            np.add.at(row, voxels[position], taps)
        yield _Block(slice(0, length), slice(0, length), matrix)
        return
    for begin in range(0, length - 2 * _RADIUS, _BLOCK):
        size = min(_BLOCK, length - 2 * _RADIUS - begin)
        matrix = np.zeros((size, size + 2 * _RADIUS))
        for position, row in enumerate(matrix):
            row[position : position + _TAPS] = taps
        first = begin + _RADIUS
        yield _Block(slice(begin, begin + size + 2 * _RADIUS), slice(first, first + size), matrix)
