"""The search for a rate parameter, and the resampling around a codec."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import zoom

from inrcodec.bench.resampling import FILTERS, FloatArray, least_squares, low_shape, upsample
from inrcodec.bench.search import TOLERANCE, RateSearch

LARGEST = 10_000_000


class Synthetic:
    """A codec of which only the sizes matter; counts its encodes."""

    def __init__(self, size: Callable[[float], float]) -> None:
        self.size = size
        self.encodes = 0

    def __call__(self, parameter: float) -> bytes:
        self.encodes += 1
        return bytes(int(self.size(parameter)))


def rate_factor(crf: float) -> float:
    """Six steps halve the bytes, less so at the end, as with video."""
    return 60 + 4e6 * 2 ** (-crf / 6) * (1 + 0.3 * math.sin(crf / 9))


def noisy(crf: float) -> float:
    """As above, but 3 % up and down from one hundredth to the next."""
    return rate_factor(crf) * (1 + 0.03 * math.sin(1e4 * crf))


@pytest.mark.parametrize("target", [20_000, 100_000, 1_000_000])
def test_a_smooth_codec_is_met_within_a_few_trials(target: int) -> None:
    codec = Synthetic(rate_factor)
    trial = RateSearch(codec, 51, 0, LARGEST).within(target)
    assert trial is not None
    assert (1 - TOLERANCE) * target <= len(trial.data) <= target
    assert codec.encodes <= 9


@pytest.mark.parametrize("target", [20_000, 100_000, 1_000_000])
def test_a_noisy_codec_is_met_nearly(target: int) -> None:
    trial = RateSearch(Synthetic(noisy), 51, 0, LARGEST).within(target)
    assert trial is not None
    assert 0.95 * target <= len(trial.data) <= target


def test_steps_give_the_last_one_that_fits() -> None:
    codec = Synthetic(lambda crf: rate_factor(math.floor(crf)))
    trial = RateSearch(codec, 51, 0, LARGEST).within(100_000)
    best = max(size for n in range(52) if (size := int(rate_factor(n))) <= 100_000)
    assert trial is not None
    assert len(trial.data) == best


def test_targets_share_their_trials() -> None:
    codec = Synthetic(rate_factor)
    search = RateSearch(codec, 51, 0, LARGEST)
    search.within(100_000)
    before = codec.encodes
    search.within(100_000)
    assert codec.encodes == before
    search.within(95_000)
    assert codec.encodes <= before + 4


def test_a_parameter_may_rise_with_the_bytes() -> None:
    trial = RateSearch(Synthetic(lambda bits: 1000 * 2**bits), -8, 8, LARGEST).within(3000)
    assert trial is not None
    assert trial.parameter == pytest.approx(math.log2(3), abs=0.03)


def test_nothing_below_the_coarsest() -> None:
    search = RateSearch(Synthetic(rate_factor), 51, 0, LARGEST)
    assert search.within(100) is None
    assert search.smallest() == int(rate_factor(51))


def test_the_finest_where_that_is_too_small_still() -> None:
    trial = RateSearch(Synthetic(lambda n: 100 + n), 0, 100, LARGEST).within(5000)
    assert trial is not None
    assert len(trial.data) == 200


@pytest.mark.parametrize("way", FILTERS)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("shape", [(16, 16, 16), (9, 22, 31), (3, 4, 1)])
def test_resampling_keeps_shape_and_mean(
    shape: tuple[int, int, int],
    factor: int,
    way: Callable[[FloatArray, int], FloatArray],
) -> None:
    low = way(np.full(shape, 0.25, np.float32), factor)
    assert low.shape == low_shape(shape, factor) == tuple(-(-n // factor) for n in shape)
    assert low.dtype == np.float32
    again = upsample(low, factor, shape)
    assert again.shape == shape
    np.testing.assert_allclose(again, 0.25, atol=1e-5)


def test_resampling_keeps_each_axis_in_place() -> None:
    """A smooth volume that differs along each axis comes back where it was."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in (24, 40, 56)), indexing="ij")
    volume = (np.sin(3 * x) * np.cos(2 * y) + z**2).astype(np.float32)
    again = upsample(least_squares(volume, 2), 2, volume.shape)
    # Samples are mirrored at the border, which bends the slope there.
    inside = (slice(6, -6),) * 3
    assert np.abs(again - volume)[inside].max() < 0.005
    assert np.abs(again - volume).max() < 0.05


@pytest.mark.parametrize("factor", [2, 4])
def test_the_way_up_is_the_spline_of_scipy(factor: int) -> None:
    low = np.random.default_rng(2).random((8, 17, 9), np.float32)
    high = zoom(low, factor, order=3, mode="grid-mirror", grid_mode=True)
    np.testing.assert_allclose(upsample(low, factor, high.shape), high, atol=1e-5)


def test_a_low_volume_comes_back_from_its_own_upsampling() -> None:
    low = np.random.default_rng(0).random((6, 7, 8), np.float32)
    high = upsample(low, 2, (12, 14, 16))
    np.testing.assert_allclose(least_squares(high, 2), low, atol=1e-4)


def test_down_sampling_is_the_best_for_the_squared_error() -> None:
    volume = np.random.default_rng(1).random((12, 12, 12), np.float32)
    low = least_squares(volume, 2)

    def error(candidate: np.ndarray) -> float:
        return float(np.square(upsample(candidate, 2, volume.shape) - volume).sum())

    box = volume.reshape(6, 2, 6, 2, 6, 2).mean((1, 3, 5))
    assert error(low) < error(box)
    for axis in range(3):
        assert error(low) <= error(low + 0.01 * np.roll(low, 1, axis)) + 1e-3
