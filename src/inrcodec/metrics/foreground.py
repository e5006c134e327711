"""Which voxels are foreground, where nobody says: those above Li's threshold.

Of the thresholds that need no parameter, Otsu's takes dark tissue for background where others are
much brighter, and the triangle method takes nearly all voxels for one or the other where it finds
no long tail; Li's does neither, on CT, MR and microscopy. Unit and offset of the values do not
matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.metrics.blocks import blocks

_FloatArray = NDArray[np.float64]

_BINS = 1 << 16


def find_foreground(original: NDArray[Any]) -> tuple[NDArray[np.bool_], float] | None:
    """The mask of a finite volume's foreground, and the smallest value in it.

    That value t minimizes the cross-entropy (Li and Lee, 1993), above the volume's minimum, between
    the volume and its picture in two values, the means below t and from t on. It is exact for
    integers that span less than 2^16, else one of 2^16 equal steps of the range. Of a volume with a
    fourth axis, the mean along it is taken first: the mask has three axes at most. None where all
    voxels have one value.
    """
    low = min(float(values.min()) for _, values in _values(original))
    high = max(float(values.max()) for _, values in _values(original))
    if low == high:
        return None
    integers = original.dtype.kind in "iu" and original.ndim < 4
    width = 1.0 if integers and high - low < _BINS else (high - low) / (_BINS - 1)
    histogram = np.zeros(_BINS, np.int64)
    for _, values in _values(original):
        steps = ((values - low) / width).astype(np.int64)
        histogram += np.bincount(steps.ravel(), minlength=_BINS)
    threshold = low + width * _li_threshold(histogram)
    mask = np.empty(original.shape[:3], np.bool_, order="F")
    for region, values in _values(original):
        np.greater_equal(values, threshold, out=mask[region])
    return mask, threshold


def _values(original: NDArray[Any]) -> Iterator[tuple[tuple[slice, ...], _FloatArray]]:
    """The volume, or the mean along its fourth axis, a block at a time."""
    for region in blocks(original.shape[:3]):
        if original.ndim < 4:
            yield region, original[region].astype(np.float64)
        else:
            total = np.zeros([part.stop - part.start for part in region])
            for volume in np.moveaxis(original, 3, 0):
                total += volume[region]
            yield region, total / original.shape[3]


def _li_threshold(histogram: NDArray[np.int64]) -> int:
    """The first bin of the foreground; bins 0 and one other are not empty."""
    counts = np.cumsum(histogram)
    sums = np.cumsum(histogram * np.arange(len(histogram), dtype=np.float64))

    def information(count: NDArray[np.int64], total: _FloatArray) -> _FloatArray:
        """total * log(mean), 0 for a mean of 0."""
        mean = total / np.maximum(count, 1)
        return total * np.log(np.where(mean > 0, mean, 1))

    gain = information(counts, sums) + information(counts[-1] - counts, sums[-1] - sums)
    # Thresholds in a gap of the histogram are equally good; the voxels decide, so take its end.
    last = int(np.argmax(np.where((histogram > 0) & (counts < counts[-1]), gain, -np.inf)))
    return last + 1 + int(np.flatnonzero(histogram[last + 1 :])[0])
