"""How far a decoded volume is from its original: PSNR, SSIM and plain errors.

Everything is measured on the stored values, in float64, and a block at a time, so the temporary
memory does not grow with the volume.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FloatArray = NDArray[np.float64]

_SIGMA = 1.5  # voxels
_RADIUS = 5  # the window ends at 3.5 sigma
_TAPS = 2 * _RADIUS + 1
_K1, _K2 = 0.01, 0.03
_BLOCK = 64  # voxels along each axis of a block of the SSIM map
_CHUNK = 1 << 16  # voxels in a chunk of the error sums


@dataclass(frozen=True, slots=True)
class Quality:
    """Agreement of a decoded volume with its original.

    Errors are in the units of the stored values; a PSNR is in dB, inf where the volumes are equal.

    Attributes:
        value_range: max - min of the original, the peak of ``psnr_range`` and ``ssim``'s range.
        psnr_range: PSNR with that peak; -inf where the original is constant and they differ.
        psnr_dtype: PSNR with the peak 2^bits - 1 of an integer dtype, signed or not (65535 for 16
            bits); None where the original is of a floating dtype.
        ssim: mean structural similarity, at most 1.
        mse: mean squared error, in squared units.
        mae: mean absolute error.
        max_error: largest absolute error.
    """

    value_range: float
    psnr_range: float
    psnr_dtype: float | None
    ssim: float
    mse: float
    mae: float
    max_error: float


def measure(original: NDArray[Any], decoded: NDArray[Any]) -> Quality:
    """Compare two finite volumes of one shape, of 1 to 4 axes; the fourth counts volumes.

    The dtype of the original fixes the peak of ``psnr_dtype``. Raises ValueError where the shapes
    differ or a volume has no voxels.
    """
    if original.shape != decoded.shape or not 1 <= original.ndim <= 4 or not original.size:
        raise ValueError(
            f"cannot compare volumes of shapes {original.shape} and {decoded.shape}: "
            "give two of one shape, of 1 to 4 axes"
        )
    scale = _extreme_scale(original)
    if scale != 1:
        scaled = measure(original / scale, decoded / scale)
        return replace(
            scaled,
            value_range=scaled.value_range * scale,
            mse=scaled.mse * scale * scale,
            mae=scaled.mae * scale,
            max_error=scaled.max_error * scale,
        )
    value_range = float(original.max()) - float(original.min())
    mse, mae, max_error = _errors(original, decoded)
    bits = 8 * original.dtype.itemsize
    return Quality(
        value_range=value_range,
        psnr_range=_psnr(value_range, mse),
        psnr_dtype=_psnr(2.0**bits - 1, mse) if original.dtype.kind in "iu" else None,
        ssim=_ssim(original, decoded, value_range) if max_error else 1.0,
        mse=mse,
        mae=mae,
        max_error=max_error,
    )


def _extreme_scale(data: NDArray[Any]) -> float:
    """Power of two that brings ``data`` near 1 where its squares would leave float64; else 1."""
    magnitude = max(abs(float(data.max())), abs(float(data.min())))
    if magnitude == 0 or 1e-100 < magnitude < 1e100:
        return 1.0
    return 2.0 ** min(max(math.frexp(magnitude)[1], -1000), 1000)


def _psnr(peak: float, mse: float) -> float:
    if mse == 0:
        return math.inf
    return 20 * math.log10(peak) - 10 * math.log10(mse) if peak else -math.inf


def _errors(original: NDArray[Any], decoded: NDArray[Any]) -> tuple[float, float, float]:
    """Mean squared, mean absolute and largest absolute error."""
    squares = absolutes = largest = 0.0
    # The iterator walks both arrays in memory order, whatever it is, and casts a chunk at a time.
    chunks = np.nditer(
        (original, decoded),
        flags=["external_loop", "buffered"],
        op_dtypes=[np.float64, np.float64],
        casting="unsafe",
        buffersize=_CHUNK,
    )
    for reference, test in chunks:
        error = np.abs(np.subtract(reference, test))
        squares += float(error @ error)
        absolutes += float(error.sum())
        largest = max(largest, float(error.max()))
    return squares / original.size, absolutes / original.size, largest


def _ssim(original: NDArray[Any], decoded: NDArray[Any], value_range: float) -> float:
    """Mean SSIM of the volumes along the fourth axis, all of them with one ``value_range``.

    A volume is filtered with a Gaussian window of sigma 1.5 and 11 taps an axis; the mean leaves
    out the border of 5 voxels, as scikit-image's ``structural_similarity`` does with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. An axis shorter than the
    window, which that refuses, is extended by reflection and keeps its border; an axis of length 1
    is not filtered, so that a slice has the SSIM of an image.
    """
    if value_range == 0:
        return 0.0  # both stabilizing constants vanish, and unequal volumes share no structure
    if original.ndim == 4:
        volumes = range(original.shape[3])
        pairs = ((original[..., i], decoded[..., i]) for i in volumes)
        return math.fsum(_ssim(a, b, value_range) for a, b in pairs) / len(volumes)
    shape = original.shape + (1,) * (3 - original.ndim)
    original, decoded = original.reshape(shape), decoded.reshape(shape)
    c1, c2 = (_K1 * value_range) ** 2, (_K2 * value_range) ** 2
    # Moments are taken around the middle of the range, where they cancel least.
    center = float(original.min()) + value_range / 2
    total, count = 0.0, 0
    for blocks in itertools.product(*map(_blocks, shape)):
        region = tuple(inside for inside, _ in blocks)
        x = original[region].astype(np.float64) - center
        y = decoded[region].astype(np.float64) - center
        mean_x, mean_y, mean_squares, mean_xy = (
            _window(moment, [matrix for _, matrix in blocks])
            for moment in (x, y, x * x + y * y, x * y)
        )
        variances = mean_squares - mean_x * mean_x - mean_y * mean_y
        covariance = mean_xy - mean_x * mean_y
        mean_x += center
        mean_y += center
        similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarity /= (mean_x * mean_x + mean_y * mean_y + c1) * (variances + c2)
        total += float(similarity.sum())
        count += similarity.size
    return total / count


def _window(volume: _FloatArray, matrices: list[_FloatArray]) -> _FloatArray:
    """Weighted means of a (a, b, c) block; each matrix is (positions of the window, voxels)."""
    for matrix in matrices:
        # Contracts the first axis and appends the new one: after three the order is restored.
        volume = np.tensordot(volume, matrix, axes=(0, 1))
    return volume


def _blocks(length: int) -> Iterator[tuple[slice, _FloatArray]]:
    """The voxels to read along an axis, block by block, and the window matrix over them."""
    if length == 1:
        yield slice(0, 1), np.ones((1, 1))
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
        yield slice(0, length), matrix
        return
    for begin in range(0, length - 2 * _RADIUS, _BLOCK):
        size = min(_BLOCK, length - 2 * _RADIUS - begin)
        matrix = np.zeros((size, size + 2 * _RADIUS))
        for position, row in enumerate(matrix):
            row[position : position + _TAPS] = taps
        yield slice(begin, begin + size + 2 * _RADIUS), matrix
