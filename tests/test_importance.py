"""What voxels are drawn by, and what an octree's nodes are shared out by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.fitting.importance import ImportanceMap, cell_variation, local_deviation

CPU = torch.device("cpu")

shapes = st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def evenly(count: int) -> torch.Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@given(shapes.filter(lambda shape: 1 < np.prod(shape) < 400))
def test_every_voxel_is_drawn_as_often_as_its_weight_says(shape: tuple[int, ...]) -> None:
    values = noise(shape)
    draws = 500 * values.size
    numbers, weights = ImportanceMap(values.reshape(-1, order="F"), shape, CPU).at(evenly(draws))
    drawn = torch.bincount(numbers.long(), minlength=values.size)
    weighed = torch.bincount(numbers.long(), weights.double(), minlength=values.size)
    assert drawn.min() > 0
    assert torch.allclose(weighed / draws, torch.full_like(weighed, 1 / values.size), rtol=0.02)


def test_the_ends_of_all_importance_are_voxels() -> None:
    shape = (5, 4, 3)
    shares = torch.tensor([0.0, 1.0], dtype=torch.float64)
    numbers, _ = ImportanceMap(noise(shape).reshape(-1, order="F"), shape, CPU).at(shares)
    assert ((numbers >= 0) & (numbers < 60)).all()


def test_volumes_of_a_series_are_apart() -> None:
    """Values that change from volume to volume alone make no voxel worth more."""
    values = np.zeros((4, 4, 4, 2), np.float32)
    values[..., 1] = 1
    _, weights = ImportanceMap(values.reshape(-1, order="F"), values.shape, CPU).at(evenly(512))
    assert torch.allclose(weights, torch.ones(512))


@pytest.mark.parametrize("shape", [(6, 5, 4), (1, 7, 2), (3, 3, 3)])
def test_local_deviation_is_that_of_a_cell_and_what_is_next_to_it(shape: tuple[int, ...]) -> None:
    values = noise(shape)
    axes = [axis for axis, length in enumerate(shape) if length > 1]
    found = local_deviation(values, axes)
    for cell in np.ndindex(found.shape):
        window = [
            np.clip(range(2 * i - 1, 2 * i + 3), 0, n - 1) if n > 1 else [0]
            for i, n in zip(cell, shape, strict=True)
        ]
        assert found[cell] == pytest.approx(values[np.ix_(*window)].std(), abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "level"), [((12, 10, 8), 0), ((12, 10, 8), 2), ((5, 1, 7), 1), ((3, 2), 2)]
)
def test_cell_variation_sums_squared_deviations(shape: tuple[int, ...], level: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 0.5, shape).astype(np.float32)
    axes = [n for n in shape if n > 1]
    groups: dict[int, list[float]] = {}
    for index, value in np.ndenumerate(values.reshape(axes)):
        cells = [((2 * i + 1) << level) // (2 * n) for i, n in zip(index, axes, strict=True)]
        number = sum(
            (c >> k & 1) << (len(axes) * k + d) for k in range(level) for d, c in enumerate(cells)
        )
        groups.setdefault(number, []).append(float(value))
    expected = [
        sum((v - np.mean(groups[n])) ** 2 for v in groups[n]) if n in groups else 0.0
        for n in range(1 << len(axes) * level)
    ]
    found = cell_variation(values.reshape(-1, order="F"), shape, level)
    assert found == pytest.approx(expected, abs=1e-6)
