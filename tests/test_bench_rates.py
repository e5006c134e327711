"""Bjontegaard's averages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from inrcodec.bench.rates import RatePoint, bd_psnr, bd_rate

# The example that implementations of Bjontegaard's method are commonly checked with.
ANCHOR = list(map(RatePoint, (686.76, 309.58, 157.11, 85.95), (40.28, 37.18, 34.24, 31.42)))
TEST = list(map(RatePoint, (893.34, 407.8, 204.93, 112.75), (40.39, 37.21, 34.17, 31.24)))


def mean_of_cubic(x: list[float], y: list[float], low: float, high: float) -> float:
    """Of one cubic through four points, as in VCEG-M33."""
    integral = np.polyint(np.polyfit(x, y, 3))
    return float((np.polyval(integral, high) - np.polyval(integral, low)) / (high - low))


def test_agrees_with_one_cubic_where_points_are_close() -> None:
    psnr = [[p.psnr for p in curve] for curve in (ANCHOR, TEST)]
    size = [list(np.log([p.size for p in curve])) for curve in (ANCHOR, TEST)]
    low, high = max(map(min, psnr)), min(map(max, psnr))
    means = [mean_of_cubic(x, y, low, high) for x, y in zip(psnr, size, strict=True)]
    assert bd_rate(ANCHOR, TEST) == pytest.approx(100 * np.expm1(means[1] - means[0]), abs=0.2)
    low, high = max(map(min, size)), min(map(max, size))
    means = [mean_of_cubic(x, y, low, high) for x, y in zip(size, psnr, strict=True)]
    assert bd_psnr(ANCHOR, TEST) == pytest.approx(means[1] - means[0], abs=0.02)


def test_interpolates_as_scipy_does() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        curves = [
            (np.linspace(begin, begin + 8, 5) + rng.uniform(-0.9, 0.9, 5), np.sort(rng.random(5)))
            for begin in (4, 6)
        ]
        low, high = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
        means = [PchipInterpolator(*c).integrate(low, high) / (high - low) for c in curves]
        points = [list(map(RatePoint, np.exp(size), psnr)) for size, psnr in curves]
        assert bd_psnr(*points) == pytest.approx(means[1] - means[0], rel=1e-9)


def test_half_the_bytes_and_one_more_db() -> None:
    half = [RatePoint(p.size / 2, p.psnr) for p in ANCHOR]
    better = [RatePoint(p.size, p.psnr + 1) for p in ANCHOR]
    assert bd_rate(ANCHOR, half) == pytest.approx(-50)
    assert bd_psnr(ANCHOR, better) == pytest.approx(1)
    assert bd_rate(ANCHOR, ANCHOR) == pytest.approx(0)


def test_curves_apart_have_no_average() -> None:
    above = [RatePoint(p.size, p.psnr + 20) for p in ANCHOR]
    larger = [RatePoint(p.size * 100, p.psnr) for p in ANCHOR]
    assert bd_rate(ANCHOR, above) is None
    assert bd_psnr(ANCHOR, larger) is None
    assert bd_rate(ANCHOR, TEST[:1]) is None
    assert bd_psnr([], TEST) is None


def test_larger_files_that_are_worse_count_for_quality_alone() -> None:
    last = max(ANCHOR)
    worse = [*ANCHOR, RatePoint(last.size * 2, last.psnr - 5), RatePoint(1e6, float("inf"))]
    other = [RatePoint(p.size * 4, p.psnr + 2) for p in ANCHOR] + [RatePoint(1.0, 1.0)]
    assert bd_rate(worse, other) == bd_rate(ANCHOR, other)
    found, without = bd_psnr(worse, other), bd_psnr(ANCHOR, other)
    assert found is not None and without is not None
    assert found > without


def test_of_one_size_the_best_counts() -> None:
    twice = [*ANCHOR, *(RatePoint(p.size, p.psnr - 1) for p in ANCHOR)]
    assert bd_psnr(twice, TEST) == bd_psnr(ANCHOR, TEST)
