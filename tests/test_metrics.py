"""The quality metrics against plain definitions and against scikit-image."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrcodec.metrics import Quality, measure


def volume(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    """Smooth structure and noise, of values around -2..2."""
    rng = np.random.default_rng(seed)
    waves = sum(
        np.sin(grid / (3 + axis)) for axis, grid in enumerate(np.indices(shape, np.float64))
    )
    return np.asarray(waves / len(shape) + 0.3 * rng.normal(size=shape))


def pair(
    shape: tuple[int, ...], dtype: str, gain: float, offset: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A volume and a disturbed copy."""
    original = volume(shape)
    disturbed = original + 0.2 * volume(shape, seed=1)
    a, b = gain * original + offset, gain * disturbed + offset
    if np.dtype(dtype).kind in "iu":
        a, b = np.rint(a), np.rint(b)
    return a.astype(dtype), b.astype(dtype)


KINDS = [
    pytest.param("int16", 500.0, 0.0, id="int16"),
    pytest.param("uint16", 1500.0, 60000.0, id="large uint16"),
    pytest.param("uint8", 50.0, 128.0, id="uint8"),
    pytest.param("float32", 1e-6, 0.0, id="tiny"),
    pytest.param("float64", 1.0, 1e3, id="offset"),
]
SHAPES = [(24, 19, 30), (11, 80, 12), (40, 37), (150,)]


def reference_ssim(a: NDArray[Any], b: NDArray[Any], value_range: float) -> float:
    metrics = pytest.importorskip("skimage.metrics")
    return float(
        metrics.structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=value_range,
        )
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "gain", "offset"), KINDS)
def test_ssim_is_scikit_images(
    shape: tuple[int, ...], dtype: str, gain: float, offset: float
) -> None:
    a, b = pair(shape, dtype, gain, offset)
    quality = measure(a, b)
    assert quality.ssim == pytest.approx(reference_ssim(a, b, quality.value_range), abs=1e-9, rel=0)
    assert 0.3 < quality.ssim < 0.999


def direct_ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Window by window, with centred moments: slow, and exact at any offset."""
    offsets = np.arange(-5, 6)
    taps = np.exp(-0.5 * (offsets / 1.5) ** 2)
    taps /= taps.sum()
    window = np.einsum("i,j,k->ijk", taps, taps, taps)
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * np.ptp(a)) ** 2, (0.03 * np.ptp(a)) ** 2
    views = [np.lib.stride_tricks.sliding_window_view(v, (11, 11, 11)) for v in (a, b)]
    values = []
    for index in np.ndindex(views[0].shape[:3]):
        x, y = views[0][index], views[1][index]
        mx, my = np.sum(window * x), np.sum(window * y)
        vx, vy = np.sum(window * (x - mx) ** 2), np.sum(window * (y - my) ** 2)
        cov = np.sum(window * (x - mx) * (y - my))
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (1.0, 1e6), (1e-3, 1e4)])
def test_ssim_keeps_its_digits_at_large_offsets(gain: float, offset: float) -> None:
    a, b = pair((14, 13, 16), "float64", gain, offset)
    assert measure(a, b).ssim == pytest.approx(direct_ssim(a, b), abs=1e-7)


def test_ssim_of_blocks_is_the_ssim_of_the_whole() -> None:
    a, b = pair((74, 75, 140), "int16", 500, 0)
    quality = measure(a, b)
    assert quality.ssim == pytest.approx(reference_ssim(a, b, quality.value_range), abs=1e-9)


def test_ssim_of_a_series_is_the_mean_over_its_volumes() -> None:
    a, b = pair((14, 15, 16, 3), "int16", 500, 0)
    quality = measure(a, b)
    volumes = [reference_ssim(a[..., i], b[..., i], quality.value_range) for i in range(3)]
    assert quality.ssim == pytest.approx(np.mean(volumes), abs=1e-9)


def assert_close(quality: Quality, expected: Quality) -> None:
    assert dataclasses.astuple(quality) == pytest.approx(dataclasses.astuple(expected), rel=1e-12)


def test_axes_of_length_one_change_nothing() -> None:
    a, b = pair((20, 30), "int16", 500, 0)
    image = measure(a, b)
    for shape in ((20, 1, 30), (1, 20, 30), (20, 30, 1), (20, 30, 1, 1)):
        assert_close(measure(a.reshape(shape), b.reshape(shape)), image)


@pytest.mark.parametrize("length", range(2, 11))
def test_short_axes_are_reflected_and_kept(length: int) -> None:
    """Reflected copies make the axis long enough for the direct definition."""
    a, b = pair((length, 12, 13), "float64", 1, 0)
    widths = ((5, 5), (0, 0), (0, 0))
    expected = direct_ssim(*(np.pad(v, widths, mode="symmetric") for v in (a, b)))
    assert measure(a, b).ssim == pytest.approx(expected, abs=1e-10)


def test_errors_by_hand() -> None:
    a = np.array([0, 100, 200, 50], np.uint8)
    b = np.array([1, 98, 200, 50], np.uint8)
    quality = measure(a, b)
    assert quality.value_range == 200
    assert quality.mse == 1.25
    assert quality.mae == 0.75
    assert quality.max_error == 2
    assert quality.psnr_range == pytest.approx(10 * math.log10(200**2 / 1.25))
    assert quality.psnr_dtype == pytest.approx(10 * math.log10(255**2 / 1.25))


@pytest.mark.parametrize(
    ("dtype", "peak"),
    [("int8", 255), ("uint8", 255), ("int16", 65535), (">i2", 65535), ("uint16", 65535),
     ("int32", 2**32 - 1)],
)  # fmt: skip
def test_dtype_peak(dtype: str, peak: int) -> None:
    a, b = np.array([0, 10], dtype), np.array([0, 12], dtype)
    assert measure(a, b).psnr_dtype == pytest.approx(10 * math.log10(peak**2 / 2))


def test_floats_have_no_dtype_peak() -> None:
    assert measure(np.array([0.0, 1.0]), np.array([0.0, 2.0])).psnr_dtype is None


def test_extreme_integers_do_not_wrap() -> None:
    a, b = np.array([-32768, 32767], np.int16), np.array([32767, -32768], np.int16)
    quality = measure(a, b)
    assert (quality.value_range, quality.max_error, quality.mae) == (65535, 65535, 65535)
    assert quality.psnr_range == 0


def test_identical() -> None:
    a = volume((12, 12, 12))
    assert measure(a, a.copy()) == Quality(
        value_range=float(np.ptp(a)), psnr_range=math.inf, psnr_dtype=None, ssim=1.0, mse=0.0,
        mae=0.0, max_error=0.0,
    )  # fmt: skip


def test_constant() -> None:
    a = np.full((3, 4, 5), 7, np.int16)
    same, other = measure(a, a), measure(a, a + np.int16(1))
    assert (same.psnr_range, same.ssim) == (math.inf, 1)
    assert (other.psnr_range, other.ssim) == (-math.inf, 0)
    assert other.psnr_dtype == pytest.approx(20 * math.log10(65535))


def test_memory_layout_is_irrelevant() -> None:
    a, b = pair((20, 21, 22), "int16", 500, 0)
    expected = measure(a, b)
    assert_close(measure(np.asfortranarray(a), b[::-1].copy()[::-1]), expected)


def test_decoded_dtype_may_differ() -> None:
    a, b = pair((20, 21, 22), "int16", 500, 0)
    assert_close(measure(a, b.astype(np.float32)), measure(a, b))


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3, 2)), ((0, 4), (0, 4)), ((), ()), ((1,) * 5, (1,) * 5)]
)
def test_incomparable(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="compare"):
        measure(np.zeros(a), np.zeros(b))
