"""What a network starts from: mean, deviation, and how fast values change along each axis."""

from __future__ import annotations

import numpy as np
import pytest

from inrcodec.model.statistics import VolumeStatistics


def wave(shape: tuple[int, ...], periods: tuple[float, ...]) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(0, 1, n, endpoint=False) for n in shape), indexing="ij")
    return sum(np.sin(2 * np.pi * p * a) for p, a in zip(periods, axes, strict=True)) / len(shape)


def look(volume: np.ndarray) -> VolumeStatistics:
    values = volume.reshape(-1, order="F").astype(np.float32)
    return VolumeStatistics.of(values, volume.shape)


def test_mean_and_deviation_are_the_values() -> None:
    volume = wave((8, 9, 10), (1, 2, 3)) + 0.25
    found = look(volume)
    assert found.mean == pytest.approx(volume.mean(), abs=1e-6)
    assert found.deviation == pytest.approx(volume.std(), abs=1e-6)


def test_bandwidths_go_with_the_roots_of_frequencies() -> None:
    found = look(wave((64, 48, 32), (4, 2, 1))).bandwidths
    assert found == pytest.approx(np.sqrt(np.array([4, 2, 1]) / (7 / 3)), rel=0.02)
    assert np.square(found).mean() == pytest.approx(1)


def test_axes_of_one_voxel_have_none() -> None:
    assert len(look(wave((16, 1, 16), (1, 0, 2))).bandwidths) == 2


def test_fine_noise_does_not_count() -> None:
    smooth = wave((256, 32), (2, 2))
    noise = np.random.default_rng(0).normal(0, 0.05, smooth.shape)
    # Four neighbours along the first axis are averaged, and none along the second.
    noisy, clean = look(smooth + noise).bandwidths, look(smooth).bandwidths
    assert noisy[0] == pytest.approx(clean[0], rel=0.1)


def test_an_axis_along_which_nothing_changes_keeps_some() -> None:
    found = look(wave((32, 32, 4), (2, 2, 0))).bandwidths
    assert found == (pytest.approx(found[1]), found[1], 0.05)


def test_what_averages_cancel_leaves_all_axes_alike() -> None:
    checkers = np.indices((256, 256)).sum(0) % 2 * 2.0 - 1
    assert look(checkers).bandwidths == (1.0, 1.0)
