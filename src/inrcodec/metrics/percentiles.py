"""Percentiles of the absolute error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.metrics.errors import absolute_errors

LEVELS = (50.0, 90.0, 95.0, 99.0, 99.9)

_DIGIT = 16  # bits


def error_percentiles(
    original: NDArray[Any],
    decoded: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    levels: Sequence[float] = LEVELS,
) -> dict[float, float]:
    """Of each level (percent, above 0 to 100), the smallest error that at least so many voxels do
    not exceed: an error that occurs, never one between two (numpy's method ``inverted_cdf``).

    Exact for every dtype. ``mask`` is as in `absolute_errors`; it has one voxel at least.
    """
    # Floats that are not negative sort as their bits do: a radix selection, digit by digit.
    shifts = [48, 32, 16, 0]
    if all(data.dtype.kind in "iu" and data.dtype.itemsize <= 2 for data in (original, decoded)):
        del shifts[2:]  # the last digits of integers below 2^21 are 0
    prefixes = [0] * len(levels)
    ranks: list[int] = []
    for shift in shifts:
        histograms = {prefix: np.zeros(1 << _DIGIT, np.int64) for prefix in set(prefixes)}
        for errors in absolute_errors(original, decoded, mask):
            bits = (errors.view(np.uint64) >> np.uint64(shift)).astype(np.int64)
            for prefix, histogram in histograms.items():
                digits = bits - (prefix << _DIGIT)
                if shift != shifts[0]:
                    digits = digits[(digits >= 0) & (digits < 1 << _DIGIT)]
                histogram += np.bincount(digits, minlength=1 << _DIGIT)
        if not ranks:
            count = int(histograms[0].sum())
            ranks = [math.ceil(Fraction(str(level)) * count / 100) for level in levels]
        for i, prefix in enumerate(prefixes):
            below = np.cumsum(histograms[prefix])
            digit = int(np.searchsorted(below, ranks[i]))
            ranks[i] -= int(below[digit - 1]) if digit else 0
            prefixes[i] = prefix << _DIGIT | digit
    selected = np.array(prefixes, np.uint64) << np.uint64(shifts[-1])
    return dict(zip(levels, selected.view(np.float64).tolist(), strict=True))
