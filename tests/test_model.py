"""The networks against their definitions: shapes, sparse routing, derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import DEEP_TREE, MIXTURES, MOEC, MOEC_TOP2, NEURAL, SINGLE, TREE, UNEVEN_TREE, every
from torch import Tensor

from inrcodec.architecture import Activation, Architecture, Mixture, Tree
from inrcodec.fitting.curvature import FlatWeights
from inrcodec.model.finer import finer_layer
from inrcodec.model.grid import Grid
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR, best_expert
from inrcodec.model.network import from_quantized, initialized
from inrcodec.model.sine import TURN, cosine, sine, sine_layer
from inrcodec.model.stack import activate, slope_
from inrcodec.model.statistics import VolumeStatistics
from inrcodec.model.tree import TreeINR, cell_of
from inrcodec.quantization import QuantizedModel, QuantizedTensor


def model_of(architecture: Architecture, seed: int = 0) -> INR:
    volume = VolumeStatistics(0.1, 0.5, (1.0,) * architecture.coordinates)
    return initialized(architecture, volume, torch.Generator().manual_seed(seed))


def mixture_of(architecture: Mixture) -> MoEINR:
    model = model_of(architecture)
    assert isinstance(model, MoEINR)
    return model


def coordinates_for(architecture: Architecture, count: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(architecture.coordinates, count, generator=generator) * 2 - 1


def test_the_best_expert_is_the_first_of_the_best() -> None:
    logits = torch.tensor([[1.0, 5, 0, -3], [2, 5, 0, -3], [2, 4, 0, -2], [0, 5, 0, -2]])
    assert best_expert(logits).tolist() == [1, 0, 0, 2]


@pytest.mark.parametrize(("ours", "theirs"), [(sine, torch.sin), (cosine, torch.cos)])
def test_sine_and_cosine(ours: Any, theirs: Any) -> None:
    phase = torch.linspace(-40, 40, 1001).view(7, 11, 13)[:, 2:]
    assert torch.allclose(ours(phase), theirs(phase), atol=1e-6)
    out = torch.zeros(7, 9, 26)[..., ::2]
    assert ours(phase, out) is out
    assert torch.allclose(out, theirs(phase), atol=1e-6)


@every()
def test_architecture_lists_the_models_parameters(architecture: Architecture) -> None:
    model = model_of(architecture)
    specs = architecture.tensors
    for weight, bias in zip(specs[::2], specs[1::2], strict=True):
        affines = [a.values() for a in model.affines(weight.name.removesuffix(".weight"))]
        assert sum(w.numel() for w, _ in affines) == weight.size
        assert sum(len(b) for _, b in affines) == bias.size
    assert sum(p.numel() for p in model.parameters()) == sum(spec.size for spec in specs)


def sine_of_turns(phase: Tensor) -> Tensor:
    return torch.sin(TURN * phase)


def finer_of_turns(phase: Tensor) -> Tensor:
    """The paper's sin(w0 (|z| + 1) z)."""
    z = phase / 4
    return torch.sin(8 * math.pi * (z.abs() + 1) * z)


LAYERS = pytest.mark.parametrize(
    ("layer", "function"), [(sine_layer, sine_of_turns), (finer_layer, finer_of_turns)]
)
Function = Callable[..., Tensor]


@LAYERS
def test_layers_are_their_functions_of_turns_with_their_derivatives(
    layer: Function, function: Function
) -> None:
    generator = torch.Generator().manual_seed(3)
    weight, bias, features = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in [(4, 3), (4,), (3, 11)]
    )
    assert torch.allclose(
        layer(weight, bias, features), function(weight @ features + bias[:, None])
    )
    torch.autograd.gradcheck(layer, (weight, bias, features))


@LAYERS
def test_fixed_point_is_the_rounded_function(layer: Function, function: Function) -> None:
    phase = torch.linspace(-3, 3, 5001)
    rounded = layer(torch.ones(1, 1), torch.zeros(1), phase[None], fixed_point=True)[0]
    exact = layer(torch.ones(1, 1), torch.zeros(1), phase[None])[0]
    assert torch.equal(rounded * 4096, (rounded * 4096).round())
    assert (rounded - exact).abs().max() < 2e-3
    assert (rounded - exact).mean().abs() < 2e-5


@pytest.mark.parametrize("activation", Activation)
def test_slopes_are_the_derivatives(activation: Activation) -> None:
    turns = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    layer = finer_layer if activation is Activation.FINER else sine_layer
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    expected = layer(one, none, turns[None])
    (by_turns,) = torch.autograd.grad(expected.sum(), turns)
    phase = turns.detach() * TURN
    value = torch.empty_like(phase)
    activate(activation, phase, value)
    assert torch.allclose(value, expected[0])
    assert torch.allclose(slope_(activation, phase) * TURN, by_turns)


# Trees


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_cells_are_halves_of_halves_in_morton_order(level: int, axes: int) -> None:
    fixed = torch.randint(-(1 << 20), (1 << 20) + 1, (axes, 400))
    fixed[:, :3] = torch.tensor([-(1 << 20), 0, 1 << 20])
    found = cell_of(fixed / 2**20, level)
    for column, number in zip(fixed.T.tolist(), found.tolist(), strict=True):
        cells = [min(((x + (1 << 20)) << level) >> 21, (1 << level) - 1) for x in column]
        bits = [(c >> k & 1) << (axes * k + d) for k in range(level) for d, c in enumerate(cells)]
        assert number == sum(bits)


@pytest.mark.parametrize("architecture", [TREE, UNEVEN_TREE, DEEP_TREE])
def test_each_coordinate_passes_its_cells_from_root_to_leaf(architecture: Tree) -> None:
    model = model_of(architecture)
    assert isinstance(model, TreeINR)
    coordinates = coordinates_for(architecture, 60)
    with torch.no_grad():
        values = model(coordinates)
        for column, value in zip(coordinates.mT, values, strict=True):
            features = column[:, None]
            for number, level in enumerate(model.levels):
                features = level[int(cell_of(column[:, None], number))](features)  # type: ignore[index]
            head = model.heads()[int(model.leaf(column[:, None]))]
            assert torch.allclose(head(features[:, 0])[0], value, atol=1e-6)


def test_a_leaf_without_coordinates_gets_no_gradient() -> None:
    model = model_of(TREE)
    model(coordinates_for(TREE).abs()).sum().backward()
    reached = [a.weight.grad is not None for a in model.affines("levels.1.0")]
    assert reached == [False] * 7 + [True]
    gradient = FlatWeights(model).gradient()
    assert gradient.isfinite().all() and 0 < gradient.count_nonzero() < len(gradient)


# Mixtures


@every(*MIXTURES)
def test_each_coordinate_runs_through_the_experts_of_largest_logits(
    architecture: Mixture,
) -> None:
    model = mixture_of(architecture)
    coordinates = coordinates_for(architecture)
    with torch.no_grad():
        features = model.encoder(coordinates)
        logits, chosen = model.gate(coordinates, features).topk(architecture.gate.active, dim=0)
        assert len(chosen.unique()) > 1
        outputs = torch.stack(
            [model.decode(model.experts(features, i)) for i in range(architecture.experts)]
        )
        expected = (outputs.gather(0, chosen) * logits.softmax(0)).sum(0)
        assert torch.allclose(model(coordinates), expected, atol=1e-6)
        routing, shares = model.route(coordinates)
        assert torch.equal(routing, chosen) and torch.allclose(shares, logits.softmax(0))


def test_the_gate_reads_its_own_features_before_the_shared_ones() -> None:
    model = mixture_of(NEURAL)
    coordinates = coordinates_for(NEURAL)
    own, width = model.gate.encoder(coordinates), NEURAL.gate.encoder.width
    shared = model.encoder(coordinates)
    first = model.gate.hidden[0]
    weight, bias = first.weight, first.bias  # type: ignore[union-attr]
    hidden = weight[:, :width] @ own + weight[:, width:] @ shared + bias[:, None]  # type: ignore[index]
    logits = model.gate.output(hidden.relu().mT).mT
    assert torch.allclose(model.gate(coordinates, shared), logits, atol=1e-6)


@pytest.mark.parametrize("architecture", [MOEC, MOEC_TOP2])
def test_equal_logits_go_to_the_lowest_experts(architecture: Mixture) -> None:
    model = mixture_of(architecture)
    with torch.no_grad():
        model.gate.output.weight.zero_()
        model.gate.output.bias.zero_()
        routing, _ = model.route(coordinates_for(architecture, 9))
    assert routing.tolist() == [[number] * 9 for number in range(architecture.gate.active)]


def test_sparse_routing_trains_only_the_experts_it_reaches() -> None:
    model = mixture_of(MOEC)
    with torch.no_grad():
        model.gate.output.weight.zero_()
        model.gate.output.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    model(coordinates_for(MOEC, 50)).sum().backward()
    gradient = model.experts[0].weight.grad
    assert gradient is not None
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1]].abs().sum() == 0


# Grid and file


def test_grid_numbers_the_first_axis_fastest_and_skips_single_voxels() -> None:
    grid = Grid((4, 1, 2), torch.device("cpu"))
    coordinates = grid.at(torch.arange(8))
    assert coordinates.shape == (2, 8)
    assert coordinates[0].tolist() == [-0.75, -0.25, 0.25, 0.75] * 2
    assert coordinates[1].tolist() == [-0.5] * 4 + [0.5] * 4


@every()
def test_from_quantized_holds_the_files_values(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    tensors = tuple(
        QuantizedTensor(rng.integers(-99, 99, spec.shape).astype(np.int32), -5)
        for spec in architecture.tensors
    )
    model = from_quantized(QuantizedModel(architecture, tensors))
    specs = architecture.tensors
    for i in range(0, len(specs), 2):
        affines = [a.values() for a in model.affines(specs[i].name.removesuffix(".weight"))]
        for own, tensor in zip(zip(*affines, strict=True), tensors[i : i + 2], strict=True):
            flat = torch.cat([values.reshape(-1) for values in own]).numpy()
            assert np.array_equal(flat, tensor.integers.reshape(-1) / 32)


def test_a_single_network_starts_from_its_seed_alone() -> None:
    pairs = zip(model_of(SINGLE).parameters(), model_of(SINGLE).parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
