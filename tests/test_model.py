"""The network against its definition: shapes, sparse routing, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inrcodec.architecture import Architecture
from inrcodec.errors import LimitExceededError
from inrcodec.limits import Limits
from inrcodec.model.gating import balancing_loss, probe_loss
from inrcodec.model.grid import Grid
from inrcodec.model.moe import MoEINR
from inrcodec.model.sine import TURN, sine_layer
from inrcodec.quantization import QuantizedModel, QuantizedTensor

SINGLE = Architecture(3, 1, 2, 2, 7, 7)
MIXTURE = Architecture(3, 4, 1, 2, 6, 5, 3)
LINEAR_GATE = Architecture(4, 3, 2, 1, 5, 8)
ALL = pytest.mark.parametrize("architecture", [SINGLE, MIXTURE, LINEAR_GATE])


def model_of(architecture: Architecture, seed: int = 0) -> MoEINR:
    return MoEINR.initialized(architecture, 0.1, 0.5, torch.Generator().manual_seed(seed))


@ALL
def test_architecture_lists_the_models_parameters(architecture: Architecture) -> None:
    model = model_of(architecture)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert {spec.name: spec.shape for spec in architecture.tensors} == shapes
    assert architecture.parameters == sum(p.numel() for p in model.parameters())


def test_active_parameters_count_one_expert() -> None:
    single = Architecture(3, 1, 1, 2, 6, 5)
    gate = 2 * 3 + 4 * 3 + 6 * 3 + 3 * 3 + 4 + 0 * single.parameters
    assert MIXTURE.active_parameters == single.parameters + gate


@pytest.mark.parametrize(
    "limits", [Limits(experts=3), Limits(width=5), Limits(layers=2), Limits(parameters=200)]
)
def test_architecture_beyond_a_limit_is_refused(limits: Limits) -> None:
    with pytest.raises(LimitExceededError):
        MIXTURE.check(limits)


def test_sine_layer_is_the_sine_of_turns_with_its_derivative() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, bias, features = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in [(4, 3), (4,), (3, 11)]
    )
    expected = torch.sin(TURN * (weight @ features + bias[:, None]))
    assert torch.allclose(sine_layer(weight, bias, features), expected)
    torch.autograd.gradcheck(sine_layer, (weight, bias, features))


@pytest.mark.parametrize("architecture", [MIXTURE, LINEAR_GATE])
def test_each_coordinate_runs_through_the_expert_of_largest_logit(
    architecture: Architecture,
) -> None:
    model = model_of(architecture)
    coordinates = torch.rand(architecture.coordinates, 500) * 2 - 1
    with torch.no_grad():
        features = model.encoder(coordinates)
        assert model.gate is not None
        logits = model.gate(features)
        routing = logits.argmax(0)
        assert len(routing.unique()) > 1
        outputs = torch.stack(
            [model.decode(model.experts.run(i, features)) for i in range(architecture.experts)]
        )
        expected = outputs.gather(0, routing[None])[0]
        assert torch.allclose(model(coordinates), expected, atol=1e-6)


def test_equal_logits_go_to_the_lowest_expert() -> None:
    model = model_of(MIXTURE)
    assert model.gate is not None
    with torch.no_grad():
        model.gate.output.weight.zero_()
        model.gate.output.bias.zero_()
    assert model.gate.route(torch.rand(6, 9)).tolist() == [0] * 9


def test_sparse_routing_trains_only_the_experts_it_reaches() -> None:
    model = model_of(MIXTURE)
    assert model.gate is not None
    with torch.no_grad():
        model.gate.output.weight.zero_()
        model.gate.output.bias.copy_(torch.tensor([0.0, 0.0, 5.0, 0.0]))
    model(torch.rand(3, 50)).sum().backward()
    gradient = model.experts[0].weight.grad
    assert gradient is not None
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3]].abs().sum() == 0


def test_balancing_loss_is_one_when_even_and_grows_with_the_imbalance() -> None:
    even = torch.eye(4).repeat(1, 8) * 20
    assert balancing_loss(even).item() == pytest.approx(1, abs=1e-6)
    skewed = torch.zeros(4, 32)
    skewed[0] = 20
    assert balancing_loss(skewed).item() == pytest.approx(4, abs=1e-5)


def test_probe_loss_teaches_the_gate_the_better_expert() -> None:
    logits = torch.zeros(2, 1, requires_grad=True)
    probe_loss(logits, torch.tensor([[1.0], [3.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[1, 0]


def test_grid_numbers_the_first_axis_fastest_and_skips_single_voxels() -> None:
    grid = Grid((4, 1, 2), torch.device("cpu"))
    coordinates = grid.at(torch.arange(8))
    assert coordinates.shape == (2, 8)
    assert coordinates[0].tolist() == [-0.75, -0.25, 0.25, 0.75] * 2
    assert coordinates[1].tolist() == [-0.5] * 4 + [0.5] * 4


@ALL
def test_from_quantized_holds_the_files_values(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    tensors = tuple(
        QuantizedTensor(rng.integers(-99, 99, spec.shape).astype(np.int32), -5)
        for spec in architecture.tensors
    )
    model = MoEINR.from_quantized(QuantizedModel(architecture, tensors))
    for parameter, tensor in zip(model.ordered_parameters(), tensors, strict=True):
        assert np.array_equal(parameter.numpy(), tensor.integers / 32)
