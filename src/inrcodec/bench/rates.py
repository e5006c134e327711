"""Average differences between two rate-distortion curves (Bjontegaard 2001, ITU-T VCEG-M33).

The curves are interpolated by monotone piecewise cubics ("pchip", Fritsch and Butland 1984), where
Bjontegaard has one cubic through all points, which swings between points as far apart as here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


class RatePoint(NamedTuple):
    """One file: its bytes, and its PSNR in dB."""

    size: float
    psnr: float


def bd_rate(reference: Iterable[RatePoint], test: Iterable[RatePoint]) -> float | None:
    """By how many per cent the files of ``test`` are larger than those of ``reference`` at equal
    PSNR, on average over the PSNRs that both reach: negative where ``test`` is better.

    A curve has one size for a PSNR: files that a smaller one reaches or surpasses do not count, on
    either side. None where the curves have no PSNR in common, or one has fewer than two points.
    """
    curves = [
        (np.array([p.psnr for p in points]), np.log([p.size for p in points]))
        for points in (_rising(_by_size(reference)), _rising(_by_size(test)))
    ]
    difference = _mean_difference(*curves)
    return None if difference is None else 100 * math.expm1(difference)


def bd_psnr(reference: Iterable[RatePoint], test: Iterable[RatePoint]) -> float | None:
    """By how many dB the PSNR of ``test`` is above that of ``reference`` at equal bytes, on average
    over the logarithms of the sizes that both have: positive where ``test`` is better. Every file
    of finite PSNR counts.

    None where the curves have no size in common, or one has fewer than two points.
    """
    curves = [
        (np.log([p.size for p in points]), np.array([p.psnr for p in points]))
        for points in (_by_size(reference), _by_size(test))
    ]
    return _mean_difference(*curves)


def _by_size(points: Iterable[RatePoint]) -> list[RatePoint]:
    """Those of finite PSNR, by size; of one size the best."""
    best: dict[float, RatePoint] = {}
    for point in sorted(points):
        if math.isfinite(point.psnr):
            best[point.size] = point
    return list(best.values())


def _rising(points: list[RatePoint]) -> list[RatePoint]:
    """Of points by size, those that no smaller file reaches or surpasses."""
    kept: list[RatePoint] = []
    for point in points:
        if not kept or point.psnr > kept[-1].psnr:
            kept.append(point)
    return kept


def _mean_difference(reference: tuple[_Array, _Array], test: tuple[_Array, _Array]) -> float | None:
    """Mean of test - reference over the x that both curves have; each is (x ascending, y)."""
    if min(len(reference[0]), len(test[0])) < 2:
        return None
    low = max(reference[0][0], test[0][0])
    high = min(reference[0][-1], test[0][-1])
    if low >= high:
        return None
    return (_integral(*test, low, high) - _integral(*reference, low, high)) / float(high - low)


def _integral(x: _Array, y: _Array, low: float, high: float) -> float:
    """The integral of the curve's cubics from ``low`` to ``high``, which lie within its x."""
    slopes = _slopes(x, y)
    total = 0.0
    for i in range(len(x) - 1):
        begin, end = max(x[i], low), min(x[i + 1], high)
        if begin >= end:
            continue
        # Two points of Gauss and Legendre integrate a cubic exactly.
        middle, half = (begin + end) / 2, (end - begin) / 2
        for at in (middle - half / math.sqrt(3), middle + half / math.sqrt(3)):
            total += half * _hermite(x[i : i + 2], y[i : i + 2], slopes[i : i + 2], at)
    return float(total)


def _hermite(x: _Array, y: _Array, slopes: _Array, at: float) -> float:
    width = x[1] - x[0]
    t = (at - x[0]) / width
    return float(
        y[0] * (1 + 2 * t) * (1 - t) ** 2
        + slopes[0] * width * t * (1 - t) ** 2
        + y[1] * t**2 * (3 - 2 * t)
        + slopes[1] * width * t**2 * (t - 1)
    )


def _slopes(x: _Array, y: _Array) -> _Array:
    """Slopes at the points that keep the cubics between them monotone."""
    widths, secants = np.diff(x), np.diff(y) / np.diff(x)
    if len(x) == 2:
        return np.repeat(secants, 2)
    slopes = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        before, after = secants[i - 1], secants[i]
        if before * after > 0:
            a, b = 2 * widths[i] + widths[i - 1], widths[i] + 2 * widths[i - 1]
            slopes[i] = (a + b) / (a / before + b / after)
    slopes[0] = _end_slope(widths[0], widths[1], secants[0], secants[1])
    slopes[-1] = _end_slope(widths[-1], widths[-2], secants[-1], secants[-2])
    return slopes


def _end_slope(width: float, next_width: float, secant: float, next_secant: float) -> float:
    """A one-sided three-point slope, kept monotone."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope
