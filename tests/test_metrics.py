"""The quality metrics against plain definitions and against scikit-image."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from inrcodec.metrics import (
    Quality,
    axis_psnr,
    error_percentiles,
    find_foreground,
    gradient_error,
    measure,
    spectrum_error,
)
from inrcodec.metrics.percentiles import LEVELS


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


# Inside a mask


def mask_of(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return volume(shape, seed=2) > 0.2


@pytest.mark.parametrize("shape", [(24, 19, 30), (74, 75, 14), (40, 37), (150,)])
def test_ssim_in_a_mask_is_the_mean_of_scikit_images_map(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pair(shape, "int16", 500, 0)
    mask = mask_of(shape)
    _, ssim = metrics.structural_similarity(
        a.astype(float), b.astype(float), data_range=float(np.ptp(a)), full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    inner = (slice(5, -5),) * len(shape)
    expected = ssim[inner][mask[inner]].mean()
    assert measure(a, b, mask).ssim == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(24, 19, 30), (14, 13, 12, 3)])
def test_errors_in_a_mask_have_the_peaks_of_the_whole(shape: tuple[int, ...]) -> None:
    a, b = pair(shape, "int16", 500, 0)
    mask = mask_of(shape[:3])
    inside, quality = measure(a[mask], b[mask]), measure(a, b, mask)
    assert quality.value_range == np.ptp(a)
    for name in ("mse", "mae", "max_error", "psnr_dtype"):
        assert getattr(quality, name) == pytest.approx(getattr(inside, name), rel=1e-12)
    assert quality.psnr_range == pytest.approx(20 * math.log10(np.ptp(a) / quality.mse**0.5))


def test_a_full_mask_changes_nothing() -> None:
    a, b = pair((20, 21, 9, 2), "int16", 500, 0)
    assert_close(measure(a, b, np.ones((20, 21, 9), bool)), measure(a, b))


def test_a_mask_of_border_voxels_has_no_ssim() -> None:
    a, b = pair((20, 21, 22), "int16", 500, 0)
    mask = np.zeros(a.shape, bool)
    mask[0] = True
    assert math.isnan(measure(a, b, mask).ssim)


def test_a_mask_of_a_constant_volume() -> None:
    a = np.full((3, 4, 5), 7, np.int16)
    mask = np.ones(a.shape, bool)
    assert (measure(a, a, mask).ssim, measure(a, a + np.int16(1), mask).ssim) == (1, 0)


@pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.ones((4, 3), bool)])
def test_unusable_mask(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="mask"):
        measure(np.eye(3, 4), np.zeros((3, 4)), mask)


# Percentiles


@pytest.mark.parametrize(("dtype", "gain", "offset"), KINDS)
def test_percentiles_are_numpys(dtype: str, gain: float, offset: float) -> None:
    a, b = pair((29, 31, 37), dtype, gain, offset)  # a number of voxels that no level divides
    mask = mask_of(a.shape)
    for inside in (None, mask):
        errors = abs(a.astype(float) - b)[... if inside is None else inside].ravel()
        expected = np.percentile(errors, LEVELS, method="inverted_cdf")
        assert list(error_percentiles(a, b, inside).values()) == expected.tolist()


VOLUMES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(["uint8", "int16", "uint32", "float32", "float64"]))
def test_percentiles_split_the_voxels(data: st.DataObject, dtype: str) -> None:
    shape = data.draw(VOLUMES)
    finite = {"min_value": -(2.0**100), "max_value": 2.0**100} if "float" in dtype else {}
    arrays = hnp.arrays(dtype, shape, elements=finite)
    a, b = data.draw(arrays), data.draw(arrays)
    errors = abs(a.astype(float) - b)
    for level, error in error_percentiles(a, b, levels=(10, 50, 99.9, 100)).items():
        assert error in errors
        assert np.count_nonzero(errors <= error) >= level / 100 * a.size - 1e-9
        assert np.count_nonzero(errors < error) < level / 100 * a.size


# Foreground


def cross_entropy(values: NDArray[Any], threshold: float) -> float:
    """Of Li and Lee, without the part that does not depend on the threshold."""
    values = values - float(values.min())
    parts = values[values < threshold], values[values >= threshold]
    means = [part.mean() for part in parts]
    return -sum(
        part.sum() * math.log(mean) for part, mean in zip(parts, means, strict=True) if mean
    )


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)))
def test_foreground_has_the_least_cross_entropy(a: NDArray[np.int16]) -> None:
    found = find_foreground(a)
    candidates = np.unique(a)[1:]
    if found is None:
        assert len(candidates) == 0
        return
    mask, smallest = found
    assert np.array_equal(mask, a >= smallest)
    assert smallest in candidates
    low = float(a.min())
    best = min(cross_entropy(a, value - low) for value in candidates.astype(float))
    assert cross_entropy(a, smallest - low) == pytest.approx(best, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("dtype", "gain", "offset"), [*KINDS, ("float32", 3.0, -7.0)])
def test_foreground_is_scikit_images(dtype: str, gain: float, offset: float) -> None:
    filters = pytest.importorskip("skimage.filters")
    a = (gain * np.exp(volume((40, 41, 42))) + offset).astype(dtype)
    found = find_foreground(a)
    assert found is not None
    expected = a > filters.threshold_li(a)
    assert np.mean(found[0] != expected) < 0.03


def test_foreground_of_a_series_is_that_of_its_mean() -> None:
    series = np.exp(volume((12, 13, 14, 5)))
    mean, whole = find_foreground(series.mean(axis=3)), find_foreground(series)
    assert mean is not None
    assert whole is not None
    assert np.array_equal(mean[0], whole[0])


# Slices


@pytest.mark.parametrize("shape", [(150,), (40, 37), (110, 101, 97), (11, 12, 13, 3)])
def test_psnr_by_axis(shape: tuple[int, ...]) -> None:
    a, b = pair(shape, "int16", 500, 0)
    squares = (a.astype(float) - b) ** 2
    curves = axis_psnr(a, b, float(np.ptp(a)))
    for axis, curve in enumerate(curves):
        mse = squares.mean(axis=tuple(i for i in range(a.ndim) if i != axis))
        with np.errstate(divide="ignore"):
            assert curve == pytest.approx(10 * np.log10(float(np.ptp(a)) ** 2 / mse), rel=1e-9)


def test_psnr_of_exact_slices() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    b = a.copy()
    b[0, 1] += 1
    x, y, z = axis_psnr(a, b, 23.0)
    assert np.isposinf(x).tolist() == [False, True]
    assert np.isposinf(y).tolist() == [True, False, True]
    assert np.isfinite(z).all()
    assert np.isneginf(axis_psnr(a * 0, b, 0.0)[0]).tolist() == [True, True]


# Gradient


@pytest.mark.parametrize("shape", [(150,), (2, 37), (110, 101, 97), (9, 1, 13, 3), (1, 1)])
def test_gradient_error(shape: tuple[int, ...]) -> None:
    a, b = pair(shape, "int16", 500, 0)
    spacing = (0.5, 2.0, 3.0)
    error = energy = 0.0
    for axis, length in enumerate(shape[:3]):
        if length > 1:
            of_a, of_b = (np.gradient(v.astype(float), spacing[axis], axis=axis) for v in (a, b))
            error += ((of_a - of_b) ** 2).sum()
            energy += (of_a**2).sum()
    expected = math.sqrt(error / energy) if energy else 0
    assert gradient_error(a, b, spacing) == pytest.approx(expected, rel=1e-9)


def test_gradient_error_at_its_ends() -> None:
    a = volume((9, 10, 11))
    ones = (1.0, 1.0, 1.0)
    assert gradient_error(a, a + 5, ones) == pytest.approx(0, abs=1e-12)
    assert gradient_error(a, a * 0, ones) == 1
    assert gradient_error(a * 0, a, ones) == math.inf
    assert gradient_error(a * 0, a * 0, ones) == 0


# Spectrum


@pytest.mark.parametrize("shape", [(24, 19, 30), (12, 64, 2), (40, 37), (50,), (9, 8, 1, 2)])
def test_spectrum_of_one_block_is_numpys(shape: tuple[int, ...]) -> None:
    a, b = pair(shape, "float64", 500, 30)
    spacing = (0.5, 0.75, 2.0)
    space = shape[:3]
    window = np.ones(space)
    for axis, length in enumerate(space):
        hann = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
        window *= hann.reshape([-1 if i == axis else 1 for i in range(len(space))])
    frequencies = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(space, spacing, strict=False)), indexing="ij"
    )
    radius = np.sqrt(sum(f * f for f in frequencies))
    found = spectrum_error(a, b, spacing, bands=5)
    assert found.edges == pytest.approx(np.linspace(0, 1, 6))
    energies = np.zeros((3, 5))
    for t in range(shape[3] if len(shape) == 4 else 1):
        x, y = (v[..., t] if v.ndim == 4 else v for v in (a, b))
        for i, part in enumerate((x - x.mean(), y - x.mean(), x - y)):
            power = abs(np.fft.fftn(window * part)) ** 2
            for band in range(5):
                low, high = found.edges[band] - 1e-9, found.edges[band + 1] - 1e-9
                chosen = (radius >= low) & (radius < high + (band == 4) * 2e-9)
                energies[i, band] += power[chosen].sum()
    assert found.ratios == pytest.approx((energies[1:] / energies[0]).T, rel=1e-6, nan_ok=True)


def test_a_mask_confines_the_curves_to_its_voxels() -> None:
    a, b = pair((9, 8, 7, 2), "int16", 500, 30)
    mask = np.random.default_rng(3).random((9, 8, 7)) < 0.3
    mask[4] = False
    range_ = float(np.ptp(a))
    squares = (a.astype(float) - b) ** 2
    for axis, curve in enumerate(axis_psnr(a, b, range_, mask)):
        for i, psnr in enumerate(curve):
            chosen = squares.take(i, axis)[mask if axis == 3 else mask.take(i, axis)]
            if chosen.size:
                assert psnr == pytest.approx(20 * math.log10(range_) - 10 * np.log10(chosen.mean()))
            else:
                assert (axis, i) == (0, 4) and math.isnan(psnr)
    spacing = (1.0, 0.5, 2.0)
    energies = [
        sum((np.gradient(v, d, axis=i)[mask] ** 2).sum() for i, d in enumerate(spacing))
        for v in (a.astype(float) - b, a.astype(float))
    ]
    expected = math.sqrt(energies[0] / energies[1])
    assert gradient_error(a, b, spacing, mask) == pytest.approx(expected)


def test_the_spectrum_of_a_mask_is_that_with_a_flat_outside() -> None:
    a, b = pair((20, 16, 12), "float64", 500, 30)
    mask = np.random.default_rng(3).random(a.shape) < 0.3
    flat = [np.where(mask, v, a[mask].mean()) for v in (a, b)]
    found = spectrum_error(a, b, (1.0, 1.0, 1.0), mask)
    assert found.ratios == pytest.approx(spectrum_error(*flat, (1.0, 1.0, 1.0)).ratios)


def test_spectrum_of_many_blocks_sees_what_is_lost_where() -> None:
    """Noise, of which everything above a frequency is taken away, and 10 % below."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(98, 64, 70))
    transform = np.fft.fftn(a)
    radius = np.sqrt(sum(f * f for f in np.meshgrid(*map(np.fft.fftfreq, a.shape), indexing="ij")))
    b = np.fft.ifftn(np.where(radius < 0.25, 0.9 * transform, 0)).real
    energy, error = spectrum_error(a, b, (1.0, 1.0, 1.0)).ratios.T
    assert energy[:7] == pytest.approx(np.full(7, 0.81), rel=0.05)
    assert error[:7] == pytest.approx(np.full(7, 0.01), abs=0.01)
    assert energy[9:] == pytest.approx(np.zeros(7), abs=0.01)
    assert error[9:] == pytest.approx(np.ones(7), rel=0.02)


def test_spectrum_of_what_has_none() -> None:
    a = np.full((4, 5), 7.0)
    found = spectrum_error(a, a, (1.0, 1.0, 1.0))
    assert found.ratios.shape == (16, 2)
    assert np.isnan(found.ratios).all()
    assert spectrum_error(a[:1, :1], a[:1, :1], (2.0, 2.0, 2.0)).edges[-1] == 0.25
