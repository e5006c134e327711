"""PSNR slice by slice, and volume by volume of a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.metrics.blocks import blocks

_FloatArray = NDArray[np.float64]


def axis_psnr(
    original: NDArray[Any],
    decoded: NDArray[Any],
    value_range: float,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[_FloatArray, ...]:
    """PSNR in dB at each index of each axis, over all voxels that have that index.

    Volumes of 1 to 4 axes; the peak is ``value_range``. inf where there is no error, -inf where
    there is one and no range. ``mask``, of the shape of the first three axes, confines it to its
    voxels: NaN where an index has none.
    """
    squares = [np.zeros(length) for length in original.shape]
    counts = [np.zeros(length) for length in original.shape]
    for region in blocks(original.shape):
        error = original[region].astype(np.float64) - decoded[region]
        error *= error
        inside = np.ones(error.shape, np.bool_)
        if mask is not None:
            inside &= mask[region[:3]].reshape(error.shape[:3] + (1,) * (error.ndim - mask.ndim))
        error *= inside
        for axis, (sums, count) in enumerate(zip(squares, counts, strict=True)):
            others = tuple(i for i in range(error.ndim) if i != axis)
            sums[region[axis]] += error.sum(axis=others)
            count[region[axis]] += np.count_nonzero(inside, axis=others)
    with np.errstate(divide="ignore", invalid="ignore"):
        return tuple(
            np.where(
                (sums > 0) | (count == 0),
                20 * np.log10(value_range) - 10 * np.log10(sums / count),
                np.inf,
            )
            for sums, count in zip(squares, counts, strict=True)
        )
