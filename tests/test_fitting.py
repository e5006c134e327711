"""Sampling, optimizer, curvature and quantization, each against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from inrcodec.architecture import Architecture
from inrcodec.entropy.network import encode_network
from inrcodec.fitting import sampling
from inrcodec.fitting.curvature import FlatWeights, blocks, diagonal
from inrcodec.fitting.fit import fit, learning_rate
from inrcodec.fitting.loss import clamp_to_range, squared_error
from inrcodec.fitting.optimizer import orthogonalize
from inrcodec.fitting.quantize import quantize
from inrcodec.fitting.rounding import Plan, error_spread, round_weights
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.moe import MoEINR

CPU = torch.device("cpu")
SHAPE = (12, 10, 8)
SINGLE = Architecture(3, 1, 2, 2, 7, 7)
MIXTURE = Architecture(3, 3, 1, 2, 6, 5, 3)
BOTH = pytest.mark.parametrize("architecture", [SINGLE, MIXTURE])


def blob(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Smooth values in -1..1, first axis fastest."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    values = np.cos(3 * axes[0] + 1) * np.exp(-sum(a * a for a in axes))
    return values.reshape(-1, order="F").astype(np.float32)


def sampler(seed: int = 0, values: np.ndarray | None = None) -> VoxelSampler:
    return VoxelSampler(blob() if values is None else values, SHAPE, CPU, seed)


def model_of(architecture: Architecture, seed: int = 0) -> MoEINR:
    s = sampler()
    generator = torch.Generator().manual_seed(seed)
    return MoEINR.initialized(architecture, s.mean, s.deviation, generator)


def ignore(done: int, total: int, mse: float) -> None:
    pass


def test_sampler_is_unbiased_and_favours_rare_values() -> None:
    values = np.full(np.prod(SHAPE), -1, np.float32)
    values[:3] = 1.0
    s = sampler(values=values)
    voxels = s.draw(960 * 16)
    share = (voxels.target > 0).float().mean().item()
    assert share > 20 * 3 / len(values)
    assert voxels.weight.mean().item() == pytest.approx(1, abs=1e-3)
    mean = (voxels.weight * voxels.target).mean().item()
    assert mean == pytest.approx(values.mean(), abs=1e-3)


def test_sampler_pairs_each_value_with_its_coordinates() -> None:
    count = int(np.prod(SHAPE))
    values = (np.arange(count) / count).astype(np.float32)
    voxels = sampler(values=values).draw(500)
    number = (voxels.target * count).round().long()
    for axis, (n, stride) in enumerate(zip(SHAPE, (1, 12, 120), strict=True)):
        expected = (2 * (number // stride % n) + 1 - n) / n
        assert torch.allclose(voxels.coordinates[axis], expected)


def test_sampler_draws_alike_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sampler().draw(5000)
    monkeypatch.setattr(sampling, "_SLAB", 100)
    for one, other in zip(whole, sampler().draw(5000), strict=True):
        assert torch.allclose(one, other)


def test_sampler_repeats_with_its_seed_only() -> None:
    first, again, other = (sampler(seed).draw(64).target for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_clamp_leaks_gradient_outside_the_range() -> None:
    output = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    clamped = clamp_to_range(output)
    assert clamped.tolist() == [-1.0, 0.5, 1.0]
    clamped.sum().backward()
    assert output.grad is not None
    assert output.grad.tolist() == pytest.approx([0.05, 1.0, 0.05])


def test_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(step, 1000) for step in range(1000)]
    assert rates[0] < 0.03 and rates[49] > 0.98
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.5 and values.max() < 1.3


@BOTH
def test_fit_learns(architecture: Architecture) -> None:
    errors: list[float] = []
    fit(model_of(architecture), sampler(), 150, 960, lambda _d, _t, mse: errors.append(mse))
    assert errors[-1] < 0.2 * errors[0]


def _jacobian(flat: FlatWeights, coordinates: Tensor) -> Tensor:
    """(N, P) gradients of the output by autograd, one coordinate at a time."""
    rows = []
    for i in range(coordinates.shape[1]):
        flat.model.zero_grad()
        for p in flat.model.parameters():
            p.grad = torch.zeros_like(p)
        output = flat.model(coordinates[:, i : i + 1])
        if output.abs().item() <= 1:
            output.sum().backward()
        rows.append(flat.gradient())
    return torch.stack(rows).double()


@BOTH
def test_curvature_is_the_mean_of_gradient_products(architecture: Architecture) -> None:
    flat = FlatWeights(model_of(architecture))
    voxels = sampler(5).draw(60)
    jacobian = _jacobian(flat, voxels.coordinates) * voxels.weight.sqrt()[:, None].double()
    expected = jacobian.T @ jacobian / 60
    scale = expected.abs().max().item()
    assert torch.allclose(diagonal(flat, sampler(5), 60), expected.diagonal(), atol=1e-5 * scale)
    everything = torch.arange(flat.size)
    some = everything[3::2].contiguous()
    for group in (everything, some):
        (block,) = blocks(flat, sampler(5), 60, [group])
        assert torch.allclose(block, expected[group][:, group], atol=1e-5 * scale)


@BOTH
def test_flat_weights_round_trip(architecture: Architecture) -> None:
    model = model_of(architecture)
    flat = FlatWeights(model)
    before = flat.get()
    assert flat.size == sum(s.size for s in architecture.tensors if not s.name.startswith("gate."))
    flat.set(before * 2)
    assert torch.equal(flat.get(), before * 2)


def _positive_definite(size: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(1)).double()
    return root @ root.T / size + 0.01 * torch.eye(size)


def test_spread_is_the_cholesky_factor_of_the_inverse() -> None:
    matrix = _positive_definite(12)
    upper = error_spread(matrix)
    assert torch.equal(upper, upper.triu())
    assert torch.allclose(upper.T @ upper, torch.linalg.inv(matrix))


def test_rounding_with_compensation_beats_rounding_to_nearest() -> None:
    matrix = _positive_definite(40)
    weights = torch.randn(40, generator=torch.Generator().manual_seed(2)).double()
    steps = torch.full((40,), 0.25, dtype=torch.float64)
    plan = Plan(torch.arange(40), 40, error_spread(matrix))
    rounded = round_weights(weights, steps, [plan], None)
    assert torch.equal((rounded / steps).round() * steps, rounded)

    def cost(candidate: Tensor) -> float:
        return ((candidate - weights) @ matrix @ (candidate - weights)).item()

    assert cost(rounded) < 0.7 * cost((weights / steps).round() * steps)


@BOTH
def test_quantize_fills_the_bytes_and_keeps_the_quality(architecture: Architecture) -> None:
    s = sampler()
    model = model_of(architecture)
    fit(model, s, 200, 960, ignore)
    voxels = sampler(9).draw(4000)

    def error(candidate: MoEINR) -> float:
        with torch.no_grad():
            return squared_error(candidate(voxels.coordinates), *voxels[1:]).mean().item()

    before = error(model)
    most = architecture.parameters * 7 // 8 + 35
    quantized = quantize(model, s, most, lambda q: len(encode_network(q)), 30, 960, ignore)
    assert 0.95 * most <= len(encode_network(quantized)) <= most
    assert error(MoEINR.from_quantized(quantized)) < 1.5 * before


def test_quantize_holds_values_far_from_the_middle_of_the_range() -> None:
    """Fine steps, as a small deviation asks for, must not push a large bias out of range."""
    values = (0.0005 * blob() - 0.97).astype(np.float32)
    s = sampler(values=values)
    generator = torch.Generator().manual_seed(0)
    model = MoEINR.initialized(SINGLE, s.mean, s.deviation, generator)
    fit(model, s, 200, 960, ignore)
    quantized = quantize(model, s, 400, lambda q: len(encode_network(q)), 30, 960, ignore)
    voxels = s.draw(4000)
    with torch.no_grad():
        output = MoEINR.from_quantized(quantized)(voxels.coordinates)
    assert squared_error(output, voxels.target, voxels.weight).mean().sqrt() < s.deviation / 2
