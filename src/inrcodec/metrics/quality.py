"""PSNR, SSIM and plain errors, of a whole volume or of a part."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.metrics.errors import absolute_errors
from inrcodec.metrics.ssim import mean_ssim


@dataclass(frozen=True, slots=True)
class Quality:
    """Agreement of a decoded volume with its original.

    Errors are in the units of the stored values; a PSNR is in dB, inf where the volumes are equal.

    Attributes:
        value_range: max - min of the original, the peak of ``psnr_range`` and ``ssim``'s range.
        psnr_range: PSNR with that peak; -inf where the original is constant and they differ.
        psnr_dtype: PSNR with the peak 2^bits - 1 of an integer dtype, signed or not (65535 for 16
            bits); None where the original is of a floating dtype.
        ssim: mean structural similarity, at most 1; NaN of a part that is all border.
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


def measure(
    original: NDArray[Any], decoded: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> Quality:
    """Compare two finite volumes of one shape, of 1 to 4 axes; the fourth counts volumes.

    ``mask``, of the shape of the first three axes, confines errors and SSIM to its voxels; the
    peaks remain those of the whole. The dtype of the original fixes the peak of ``psnr_dtype``.
    Raises ValueError where the shapes differ, or a volume or the mask has no voxels.
    """
    if original.shape != decoded.shape or not 1 <= original.ndim <= 4 or not original.size:
        raise ValueError(
            f"cannot compare volumes of shapes {original.shape} and {decoded.shape}: "
            "give two of one shape, of 1 to 4 axes"
        )
    if mask is not None and (mask.shape != original.shape[:3] or not mask.any()):
        raise ValueError(f"a mask of shape {mask.shape} and {np.count_nonzero(mask)} voxels")
    scale = extreme_scale(original)
    if scale != 1:
        scaled = measure(original / scale, decoded / scale, mask)
        return replace(
            scaled,
            value_range=scaled.value_range * scale,
            mse=scaled.mse * scale * scale,
            mae=scaled.mae * scale,
            max_error=scaled.max_error * scale,
        )
    value_range = float(original.max()) - float(original.min())
    mse, mae, max_error = _errors(original, decoded, mask)
    bits = 8 * original.dtype.itemsize
    return Quality(
        value_range=value_range,
        psnr_range=_psnr(value_range, mse),
        psnr_dtype=_psnr(2.0**bits - 1, mse) if original.dtype.kind in "iu" else None,
        ssim=mean_ssim(original, decoded, value_range, mask)
        if max_error or mask is not None
        else 1.0,
        mse=mse,
        mae=mae,
        max_error=max_error,
    )


def extreme_scale(data: NDArray[Any]) -> float:
    """Power of two that brings ``data`` near 1 where its squares would leave float64; else 1."""
    magnitude = max(abs(float(data.max())), abs(float(data.min())))
    if magnitude == 0 or 1e-100 < magnitude < 1e100:
        return 1.0
    return 2.0 ** min(max(math.frexp(magnitude)[1], -1000), 1000)


def _psnr(peak: float, mse: float) -> float:
    if mse == 0:
        return math.inf
    return 20 * math.log10(peak) - 10 * math.log10(mse) if peak else -math.inf


def _errors(
    original: NDArray[Any], decoded: NDArray[Any], mask: NDArray[np.bool_] | None
) -> tuple[float, float, float]:
    """Mean squared, mean absolute and largest absolute error."""
    squares = absolutes = largest = 0.0
    count = 0
    for error in absolute_errors(original, decoded, mask):
        squares += float(error @ error)
        absolutes += float(error.sum())
        largest = max(largest, float(error.max(initial=0)))
        count += error.size
    return squares / count, absolutes / count, largest
