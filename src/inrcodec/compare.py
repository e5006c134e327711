"""How far a decoded volume is from its original: all figures, of the whole and the foreground."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.metrics import (
    Quality,
    SpectrumError,
    axis_psnr,
    error_percentiles,
    find_foreground,
    gradient_error,
    measure,
    spectrum_error,
)
from inrcodec.metrics.quality import extreme_scale
from inrcodec.pair import read_pair
from inrcodec.progress import OnProgress, Progress, ignore_progress

_FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two volumes in some of their voxels, in stored values."""

    voxels: int
    quality: Quality
    percentiles: dict[float, float]
    """By percent: the absolute error that so many of the voxels do not exceed."""
    slice_psnr: tuple[_FloatArray, ...]
    """For each spatial axis, the PSNR in dB at each of its indices. The peak is the range of the
    whole volume; inf where a slice is exact, NaN where it has none of the voxels."""
    volume_psnr: _FloatArray | None
    """Of a volume with a fourth axis, the same along that."""
    gradient_error: float
    """Relative root-mean-square error of the gradients: see ``inrcodec.metrics.gradient``."""
    spectrum: SpectrumError
    """Energy of the decoded volume, and of the error, over the original's, by band of frequency
    in cycles per `Comparison.unit`: see ``inrcodec.metrics.spectrum``."""

    def as_dict(self, dtype: np.dtype[Any], unit: str) -> dict[str, Any]:
        """JSON types, under the names that docs/cli.md lists; null is not finite. ``dtype`` is the
        original's."""
        quality = self.quality
        peak = None if dtype.kind == "f" else (1 << 8 * dtype.itemsize) - 1
        return {
            "voxels": self.voxels,
            "psnr": _number(quality.psnr_range),
            "psnr_peak": _number(quality.value_range),
            "psnr_dtype": _number(quality.psnr_dtype),
            "psnr_dtype_peak": peak,
            "ssim": _number(quality.ssim),
            "max_error": _number(quality.max_error),
            "mae": _number(quality.mae),
            "mse": _number(quality.mse),
            "percentiles": {f"{p:g}": _number(error) for p, error in self.percentiles.items()},
            "slice_psnr": {
                axis: _numbers(psnr) for axis, psnr in zip("xyz", self.slice_psnr, strict=False)
            },
            "volume_psnr": None if self.volume_psnr is None else _numbers(self.volume_psnr),
            "gradient_error": _number(self.gradient_error),
            "spectrum": {
                "unit": f"cycles/{unit}",
                "edges": _numbers(self.spectrum.edges),
                "energy": _numbers(self.spectrum.ratios[:, 0]),
                "error": _numbers(self.spectrum.ratios[:, 1]),
            },
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A decoded volume beside its original. Errors are in stored values of the original."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Of the original."""
    whole: Agreement
    foreground: Agreement | None
    """None where all voxels of the original have one value and no mask was given."""
    foreground_from: float | None
    """The smallest value of the foreground (see `find_foreground`); None with a mask, or without a
    foreground."""
    unit: str
    """Of the spacing."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON types, under the names that docs/cli.md lists; null is not finite."""
        foreground = self.foreground
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "whole": self.whole.as_dict(self.dtype, self.unit),
            "foreground": foreground and foreground.as_dict(self.dtype, self.unit),
            "foreground_from": _number(self.foreground_from),
        }


def compare(
    original: NDArray[Any],
    decoded: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    unit: str = "voxel",
    on_progress: OnProgress = ignore_progress,
) -> Comparison:
    """Compare two finite volumes of one shape, of 1 to 4 axes; the fourth counts volumes.

    ``mask``, of the shape of the first three axes, is the foreground; without one it is what
    `find_foreground` finds. ``spacing`` is the distance of voxels along the spatial axes, in
    ``unit``. Raises ValueError where shapes differ, or a volume or the mask has no voxels.
    """
    done = 0

    def advance(share: int) -> None:
        nonlocal done
        done += share
        on_progress(Progress("measure", done, 100))

    with np.errstate(over="ignore", invalid="ignore"):  # of absurd values: the figures tell
        advance(0)
        whole = _agreement(original, decoded, spacing, None, advance)
        smallest = None
        if mask is None:
            scale = extreme_scale(original)
            found = find_foreground(original if scale == 1 else original / scale)
            if found is not None:
                mask, smallest = found[0], found[1] * scale
        foreground = None
        if mask is not None:
            foreground = _agreement(original, decoded, spacing, mask, advance)
        advance(100 - done)
    return Comparison(
        shape=original.shape,
        dtype=original.dtype,
        whole=whole,
        foreground=foreground,
        foreground_from=smallest,
        unit=unit,
    )


def compare_files(
    original: Path,
    decoded: Path,
    mask: Path | None = None,
    *,
    series: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Comparison:
    """Compare two volumes in files: `compare` of what `read_pair` reads."""
    pair = read_pair(
        original,
        decoded,
        mask,
        series=series,
        device=device,
        threads=threads,
        limits=limits,
        on_progress=on_progress,
    )
    return compare(
        pair.original.data,
        pair.decoded,
        pair.mask,
        spacing=pair.spacing,
        unit=pair.unit,
        on_progress=on_progress,
    )


def _agreement(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: tuple[float, ...],
    mask: NDArray[np.bool_] | None,
    advance: Callable[[int], None],
) -> Agreement:
    """``advance`` is told of 50 % in all."""
    voxels = original.size
    if mask is not None:
        voxels = voxels // mask.size * int(np.count_nonzero(mask))
    quality = measure(original, decoded, mask)
    percentiles = error_percentiles(original, decoded, mask)
    advance(15)
    scale = extreme_scale(original)
    a, b = (original, decoded) if scale == 1 else (original / scale, decoded / scale)
    psnr = axis_psnr(a, b, quality.value_range / scale, mask)
    gradient = gradient_error(a, b, spacing, mask)
    advance(10)
    spectrum = spectrum_error(a, b, spacing, mask)
    advance(25)
    return Agreement(
        voxels=voxels,
        quality=quality,
        percentiles=percentiles,
        slice_psnr=psnr[:3],
        volume_psnr=psnr[3] if original.ndim == 4 else None,
        gradient_error=gradient,
        spectrum=spectrum,
    )


def _number(value: float | None) -> float | None:
    # JSON has no infinity and no NaN.
    return value if value is not None and math.isfinite(value) else None


def _numbers(values: _FloatArray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]
