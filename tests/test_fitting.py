"""Sampling, optimizer, curvature and quantization, each against what it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from families import APART, MIXTURES, MOEC, NEURAL, SINGLE, TREE, every
from torch import Tensor

from inrcodec.architecture import Architecture, Mixture, Partition
from inrcodec.entropy.network import encode_network
from inrcodec.fitting import curvature, replay
from inrcodec.fitting import fit as fit_module
from inrcodec.fitting import quantize as quantize_module
from inrcodec.fitting.batches import BalancedBatches
from inrcodec.fitting.curvature import FlatWeights, blocks, diagonal
from inrcodec.fitting.deadline import Deadline
from inrcodec.fitting.fit import fit, learning_rate
from inrcodec.fitting.gradients import LEAST_PART, gradients
from inrcodec.fitting.loss import clamp_to_range, squared_error
from inrcodec.fitting.optimizer import MUON_RATE, MuonAdam, muon_rate, orthogonalize
from inrcodec.fitting.padding import padded
from inrcodec.fitting.pretraining import balanced_boxes, pretrain_gate, random_cells
from inrcodec.fitting.quantize import quantize, quantize_gate
from inrcodec.fitting.rounding import (
    DAMPING,
    Plan,
    error_spread,
    lasting_error,
    round_weights,
)
from inrcodec.fitting.routing import (
    CAPACITY,
    balancing_loss,
    gate_loss,
    probe_loss,
    within_capacity,
)
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR
from inrcodec.model.network import from_quantized, initialized
from inrcodec.planner import NetworkChoice, plan_architecture
from inrcodec.quantization import QuantizedModel

CPU = torch.device("cpu")
SHAPE = (12, 10, 8)


def blob(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Smooth values in -1..1, first axis fastest."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    values = np.cos(3 * axes[0] + 1) * np.exp(-sum(a * a for a in axes))
    return values.reshape(-1, order="F").astype(np.float32)


def sampler(seed: int = 0, values: np.ndarray | None = None) -> VoxelSampler:
    return VoxelSampler(blob() if values is None else values, SHAPE, CPU, seed)


def model_of(architecture: Architecture, seed: int = 0) -> INR:
    s = sampler()
    generator = torch.Generator().manual_seed(seed)
    return initialized(architecture, s.statistics, generator)


def ignore(done: int, total: int, mse: float) -> None:
    pass


def test_sampler_is_unbiased_and_favours_edges() -> None:
    values = np.full(SHAPE, -1, np.float32)
    values[:2, :2, :2] = 1.0
    voxels = sampler(values=values.reshape(-1, order="F")).draw(960 * 16)
    bright = (voxels.target > 0).float().mean().item()
    assert bright > 5 * 8 / values.size
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


class Ticking(Deadline):
    """So many looks at the clock."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.left = looks, looks

    def share(self) -> float:
        self.left -= 1
        return 1 - self.left / self.looks

    def part(self, share: float) -> Deadline:
        return Ticking(max(int(self.left * share), 1))


def test_a_fit_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    set_rates = MuonAdam.set_rates
    monkeypatch.setattr(
        MuonAdam,
        "set_rates",
        lambda self, rate, *a: (rates.append(rate), set_rates(self, rate, *a)),
    )
    seen: list[tuple[int, int]] = []
    fit(
        model_of(SINGLE),
        sampler(),
        10**9,
        480,
        lambda done, total, mse: seen.append((done, total)),
        deadline=Ticking(200),
    )
    assert len(rates) == 199
    assert rates[-1] < 0.02 and max(rates) > 0.8
    assert seen == sorted(seen) and seen[-1][1] == 10**9 and seen[-1][0] > 0.8e9


@every(SINGLE, MOEC)
@pytest.mark.parametrize("looks", [1, 40])
def test_a_quantization_without_time_still_fits(architecture: Architecture, looks: int) -> None:
    s, model = sampler(), model_of(architecture)
    fit(model, s, 100, 960, ignore)
    most = coded_bytes(quantize(model_of(architecture), s, 10**4, coded_bytes, 1, 480, ignore)) // 2
    result = quantize(model, s, most, coded_bytes, 10**9, 480, ignore, Ticking(looks))
    assert 0.9 * most < coded_bytes(result) <= most


def test_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(step, step / 1000) for step in range(1000)]
    assert rates[0] < 0.03 and rates[49] > 0.98
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize("size", range(1, 200))
def test_padded_sizes(size: int) -> None:
    assert size <= padded(size) < size + 8
    assert padded(size) % 16 in (0, 4, 8)
    assert padded(padded(size)) == padded(size)


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.5 and values.max() < 1.3


def test_paths_that_see_few_voxels_take_smaller_steps_in_long_fits() -> None:
    assert muon_rate(512, 1.0) == muon_rate(512, 1399) == MUON_RATE
    assert muon_rate(512, 2800) == pytest.approx(MUON_RATE / math.sqrt(2))
    assert muon_rate(512, 100_000) == MUON_RATE / 2
    assert muon_rate(8192, 100_000) == MUON_RATE


def test_matrices_that_learn_nothing_shrink_and_all_else_stays() -> None:
    model = model_of(MOEC)
    optimizer = MuonAdam(model, 1.0)
    optimizer.set_rates(1.0, 1e-2)
    first, *hidden = model.hidden_layers()
    before = [parameter.detach().clone() for parameter in (first.weight, hidden[0].bias)]
    matrices = [layer.weight.detach().clone() for layer in hidden]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for kept, now in zip(before, (first.weight, hidden[0].bias), strict=True):
        assert torch.equal(kept, now)
    for matrix, layer in zip(matrices, hidden, strict=True):
        torch.testing.assert_close(layer.weight.detach(), matrix * (1 - 1e-3))


@pytest.mark.parametrize(("limited", "expected"), [(False, 1000), (True, 250)])
def test_a_fit_expects_as_many_steps_as_it_will_make(
    monkeypatch: pytest.MonkeyPatch, limited: bool, expected: int
) -> None:
    class Quarter(Deadline):
        """Ends after 250 steps."""

        steps = -1

        def share(self) -> float:
            self.steps += 1
            return self.steps / 250 + 1e-9 if limited else 0.0

    seen: list[float] = []
    monkeypatch.setattr(fit_module, "muon_rate", lambda _, steps: seen.append(steps) or 1e-3)
    fit(model_of(SINGLE), sampler(), 1000, 48, ignore, deadline=Quarter())
    assert len(seen) == expected
    assert seen[0] == 1000
    assert seen[1:] == pytest.approx([expected] * (expected - 1), rel=1e-4)


@every()
def test_fit_learns(architecture: Architecture) -> None:
    errors: list[float] = []
    fit(model_of(architecture), sampler(), 150, 960, lambda _d, _t, mse: errors.append(mse))
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every()
def test_a_fit_of_graphs_learns_as_one_of_single_kernels_does(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def errors() -> list[float]:
        cuda, found = torch.device("cuda"), []
        s = VoxelSampler(blob(), SHAPE, cuda, seed=0)
        model = model_of(architecture).to(cuda)
        if isinstance(model, MoEINR):
            pretrain_gate(model, s, torch.Generator().manual_seed(0))
        fit(model, s, 200, 960, lambda _d, _t, mse: found.append(mse))
        most = coded_bytes(quantize(model, s, 10**4, coded_bytes, 10, 960, ignore))
        assert most < 10**4
        return found

    replayed = errors()
    monkeypatch.setattr(replay, "_WARM_UP_STEPS", 10**9)
    assert replayed == pytest.approx(errors(), rel=0.02)
    assert replayed[-1] < 0.2 * replayed[0]


# How gates learn


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


def test_what_is_beyond_a_capacity_goes_to_the_next_best_expert_with_room() -> None:
    logits = torch.zeros(4, 100)
    logits[0] = torch.linspace(3, 5, 100)  # all prefer the first, the last most surely
    logits[2], logits[3] = 2, 1
    capacity = int(CAPACITY * 25)
    routing = within_capacity(logits)
    assert routing.tolist() == [2] * (100 - capacity) + [0] * capacity
    even = torch.eye(4).repeat(1, 25)
    assert torch.equal(within_capacity(even), even.argmax(0))


@every(*MIXTURES)
def test_a_probe_teaches_the_gate(architecture: Mixture) -> None:
    model = model_of(architecture)
    assert isinstance(model, MoEINR)
    gate_loss(model, sampler().draw(400)).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.gate.output.parameters())
    # Its own loss teaches the experts in Neural Experts alone (eq. 4).
    taught = model.experts[0].weight.grad is not None
    assert taught == (architecture.partition is Partition.NEURAL_EXPERTS)


@pytest.mark.parametrize("architecture", [APART, NEURAL], ids=["boxes", "random"])
def test_pretraining_balances_the_gate_and_moves_nothing_else(architecture: Mixture) -> None:
    model = model_of(architecture)
    assert isinstance(model, MoEINR)
    with torch.no_grad():
        model.gate.output.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    before = {name: p.clone() for name, p in model.named_parameters()}
    s = sampler()
    pretrain_gate(model, s, torch.Generator().manual_seed(0))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.startswith("gate.")}
    with torch.no_grad():
        shares = model.logits(s.draw(3000).coordinates).softmax(0).mean(1)
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.12)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_boxes_hold_equal_shares(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    coordinates = torch.rand(3, 2100, generator=generator) ** 2 * 2 - 1
    boxes = balanced_boxes(coordinates, [10, 20, 30], count)
    found = torch.bincount(boxes(coordinates), minlength=count)
    assert found.tolist() == pytest.approx([2100 / count] * count, abs=count)


@pytest.mark.filterwarnings("error")
def test_boxes_of_fewer_voxels_than_boxes() -> None:
    coordinates = torch.tensor([[-1.0, 1.0]])
    assert len(set(balanced_boxes(coordinates, [2], 16)(coordinates).tolist())) == 2


def test_a_random_pattern_is_balanced() -> None:
    cells = random_cells(2, 5, torch.Generator().manual_seed(0))
    coordinates = torch.rand(2, 50_000, generator=torch.Generator().manual_seed(1)) * 2 - 1
    shares = torch.bincount(cells(coordinates), minlength=5) / 50_000
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.01)


# Batches by expert


@every(TREE, MOEC, APART)
def test_balanced_batches_group_voxels_and_keep_sums_unbiased(architecture: Architecture) -> None:
    model, s = model_of(architecture), sampler()
    drawn = sampler().draw(s.pool)
    step = BalancedBatches(model, s, 480, 2).next()
    for part in step.parts:
        paths = model.route(part.coordinates)[0][0].view(model.groups, -1)
        counts = torch.bincount(model.route(drawn.coordinates)[0][0], minlength=model.groups)
        present = (counts > 0).nonzero()[:, 0]
        assert torch.equal(paths[present], present[:, None].expand_as(paths[present]))
        values = model.forward_balanced(part.coordinates).view(model.groups, -1)
        expected = model(part.coordinates).view(model.groups, -1)
        assert torch.allclose(values[present], expected[present], atol=1e-6)
    # Over many steps, weights make up for what is drawn too often.
    total = count = 0.0
    batches = BalancedBatches(model, s, 480, 2)
    for _ in range(64):
        for part in batches.next().parts:
            total += float((part.weight * part.target).sum())
            count += len(part.target)
    assert total / count == pytest.approx(float(blob().mean()), abs=0.02)


@pytest.mark.parametrize("active", [1, 2])
def test_a_probe_is_smaller_where_more_experts_see_it(active: int) -> None:
    choice = NetworkChoice(experts=32, active_experts=active)
    model = model_of(plan_architecture(2000, 3, choice))
    step = BalancedBatches(model, sampler(), 640, 2).next()
    assert [len(probe.target) for probe in step.probes] == [10, 10]


@every(TREE, MOEC, APART)
def test_voxels_keep_to_their_paths_while_all_but_the_gate_is_trained(
    architecture: Architecture,
) -> None:
    model, s = model_of(architecture), sampler()
    gate = model.gate_parameters() if isinstance(model, MoEINR) else []
    trained = [p for p in model.parameters() if all(p is not other for other in gate)]
    generator = torch.Generator().manual_seed(0)
    batches = BalancedBatches(model, s, 480, 2)
    paths = torch.arange(model.groups)[:, None]
    while s.place[0] < 2:  # through one pool many times, and then the next
        if batches.may_stop():
            with torch.no_grad():
                for parameter in trained:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        for part in batches.next().parts:
            found = model.route(part.coordinates)[0][0].view(model.groups, -1)
            empty = part.weight.view(model.groups, -1) == 0
            assert ((found == paths) | empty).all()


def test_no_expert_exceeds_its_capacity_while_the_gate_learns() -> None:
    model = model_of(MOEC)
    assert isinstance(model, MoEINR)
    with torch.no_grad():
        model.gate.output.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    free, bounded = (
        BalancedBatches(model, sampler(), 480, 1).next(learning=learning).parts[0]
        for learning in (False, True)
    )
    assert (free.weight.view(3, -1).mean(1) > 2).sum() == 1
    assert bounded.weight.view(3, -1).mean(1).max() < 1.6


@every()
@pytest.mark.parametrize("voxels", [480, 1 << 14])
@pytest.mark.parametrize("fixed_point", [False, True])
def test_the_parts_of_a_step_add_up_to_its_gradient(
    architecture: Architecture, voxels: int, fixed_point: bool
) -> None:
    model = model_of(architecture)
    if fixed_point:
        model.use_fixed_point()
    step = BalancedBatches(model, sampler(), voxels, 3).next()
    teaches = isinstance(model, MoEINR)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with gradients(model, CPU, 3 * LEAST_PART) as crew:
            crew.backward(step, teaches=teaches)  # what is used again must not show
            error = crew.backward(step, teaches=teaches)
    finally:
        torch.set_num_threads(before)
    found = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    errors = []
    for part, probe in zip(step.parts, step.probes, strict=True):
        output = model.forward_balanced(part.coordinates)
        errors.append(squared_error(output, part.target, part.weight).mean())
        loss = errors[-1] + (gate_loss(model, probe) if isinstance(model, MoEINR) else 0)
        (loss / 3).backward()
    assert error.item() == pytest.approx(sum(errors).item() / 3, rel=1e-5)
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert gradient is not None
        assert torch.allclose(
            gradient, expected, atol=2e-6 * float(expected.abs().max() + 1), rtol=1e-4
        )


# Quantization


def _output(model: INR, coordinates: Tensor) -> Tensor:
    """The model's values, its routing and the shares of its experts taken as they are."""
    if isinstance(model, MoEINR):
        with torch.no_grad():
            routing, shares = model.route(coordinates)
        return model.decode(model.mix(model.encoder(coordinates), routing, shares))
    return model(coordinates)


def _jacobian(flat: FlatWeights, coordinates: Tensor) -> Tensor:
    """(N, P) gradients of the clamped output by autograd, one coordinate at a time."""
    rows = []
    for i in range(coordinates.shape[1]):
        flat.model.zero_grad()
        clamp_to_range(_output(flat.model, coordinates[:, i : i + 1])).sum().backward()
        rows.append(flat.gradient())
    return torch.stack(rows).double()


@every()
def test_curvature_is_the_mean_of_gradient_products(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curvature, "_CHUNK", 13)
    flat = FlatWeights(model_of(architecture))
    with torch.no_grad():
        for head in flat.heads:
            head.affine.bias.fill_(1.0)
    voxels = sampler(5).draw(60)
    outside = _output(flat.model, voxels.coordinates).abs() > 1
    assert 0 < outside.sum() < 60
    jacobian = _jacobian(flat, voxels.coordinates) * voxels.weight.sqrt()[:, None].double()
    expected = jacobian.T @ jacobian / 60
    scale = expected.abs().max().item()
    assert torch.allclose(diagonal(flat, sampler(5), 60), expected.diagonal(), atol=1e-5 * scale)
    everything = torch.arange(flat.size)
    some = everything[3::2].contiguous()
    for group in (everything, some):
        (block,) = blocks(flat, sampler(5), 60, [group])
        assert torch.allclose(block.double(), expected[group][:, group], atol=1e-5 * scale)


@every()
def test_flat_weights_round_trip(architecture: Architecture) -> None:
    model = model_of(architecture)
    flat = FlatWeights(model)
    before = flat.get()
    assert flat.size == sum(s.size for s in architecture.tensors if not s.name.startswith("gate."))
    flat.set(before * 2)
    assert torch.equal(flat.get(), before * 2)


@every()
def test_flat_weights_know_their_places_in_the_file(architecture: Architecture) -> None:
    flat = FlatWeights(model_of(architecture))
    in_file = flat.in_file(torch.arange(1.0, flat.size + 1))
    for spec, values, number in zip(architecture.tensors, in_file, range(99), strict=False):
        assert values.shape == (spec.size,)
        if not spec.name.startswith("gate."):
            assert (flat.owners()[values.long() - 1] == number).all()
    copy = model_of(architecture, seed=1)
    copy.load(flat.in_file(flat.get()))
    assert torch.equal(FlatWeights(copy).get(), flat.get())


def _positive_definite(size: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(1)).double()
    return root @ root.T / size + 0.01 * torch.eye(size)


def test_spread_is_the_cholesky_factor_of_the_damped_inverse() -> None:
    matrix = _positive_definite(12)
    upper = error_spread(matrix, 12)
    assert torch.equal(upper, upper.triu())
    assert torch.allclose(error_spread(matrix, 5), upper[:5])
    assert torch.allclose(lasting_error(matrix), upper.diagonal() ** -2)
    damped = matrix + DAMPING * matrix.diagonal().mean() * torch.eye(12)
    assert torch.allclose(upper.T @ upper, torch.linalg.inv(damped))


def test_a_weight_that_hardly_acts_takes_little_of_anothers_error() -> None:
    """It would have to move 99 times as far."""
    matrix = torch.tensor([[1.0, 0.0099], [0.0099, 0.0001]], dtype=torch.float64)
    plan = Plan(torch.arange(2), 1, error_spread(matrix, 1))
    weights = torch.tensor([0.4, 0.0], dtype=torch.float64)
    first, second = round_weights(weights, torch.ones_like(weights), [plan], None).tolist()
    assert first == 0
    assert 0 < second < 0.4


def test_rounding_with_compensation_beats_rounding_to_nearest() -> None:
    matrix = _positive_definite(40)
    weights = torch.randn(40, generator=torch.Generator().manual_seed(2)).double()
    steps = torch.full((40,), 0.25, dtype=torch.float64)
    plan = Plan(torch.arange(40), 40, error_spread(matrix, 40))
    rounded = round_weights(weights, steps, [plan], None)
    assert torch.equal((rounded / steps).round() * steps, rounded)

    def cost(candidate: Tensor) -> float:
        return ((candidate - weights) @ matrix @ (candidate - weights)).item()

    assert cost(rounded) < 0.7 * cost((weights / steps).round() * steps)


def coded_bytes(model: QuantizedModel) -> int:
    return len(encode_network(model))


@every()
def test_quantize_fills_the_bytes_and_keeps_the_quality(architecture: Architecture) -> None:
    s = sampler()
    model = model_of(architecture)
    fit(model, s, 200, 960, ignore)
    voxels = sampler(9).draw(4000)

    def error(candidate: INR) -> float:
        with torch.no_grad():
            return squared_error(candidate(voxels.coordinates), *voxels[1:]).mean().item()

    before = error(model)
    most = architecture.parameters * 7 // 8 + 35
    quantized = quantize(model, s, most, coded_bytes, 30, 960, ignore)
    assert 0.95 * most <= coded_bytes(quantized) <= most
    assert error(from_quantized(quantized)) < 1.5 * before


def test_what_drifted_beyond_the_bytes_is_not_trimmed_but_begun_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantize_module, "_FILL", 1.03)
    drifts: list[int] = []
    run = quantize_module._Quantizer.run

    def observed(*arguments: Any) -> tuple[QuantizedModel, int]:
        found, drift = run(*arguments)
        drifts.append(drift)
        return found, drift

    monkeypatch.setattr(quantize_module._Quantizer, "run", observed)
    s, model = sampler(), model_of(SINGLE)
    fit(model, s, 200, 960, ignore)
    most = SINGLE.parameters * 7 // 8 + 35
    quantized = quantize(model, s, most, coded_bytes, 30, 960, ignore)
    assert coded_bytes(quantized) <= most
    assert len(drifts) > 1 and drifts[-1] < drifts[0]


@every(*MIXTURES)
def test_a_rounded_gate_routes_as_before(architecture: Mixture) -> None:
    model = model_of(architecture)
    coordinates = torch.rand(3, 4000) * 2 - 1
    with torch.no_grad():
        before, _ = model.route(coordinates)
        tensors = quantize_gate(model)
        after, _ = model.route(coordinates)
    assert set(tensors) == {s.name for s in architecture.tensors if s.name.startswith("gate.")}
    assert (before != after).float().mean() < 0.05


def test_quantize_holds_values_far_from_the_middle_of_the_range() -> None:
    """Fine steps, as a small deviation asks for, must not push a large bias out of range."""
    values = (0.0005 * blob() - 0.97).astype(np.float32)
    s = sampler(values=values)
    generator = torch.Generator().manual_seed(0)
    model = initialized(SINGLE, s.statistics, generator)
    fit(model, s, 200, 960, ignore)
    quantized = quantize(model, s, 400, coded_bytes, 30, 960, ignore)
    voxels = s.draw(4000)
    with torch.no_grad():
        output = from_quantized(quantized)(voxels.coordinates)
    assert (
        squared_error(output, voxels.target, voxels.weight).mean().sqrt()
        < s.statistics.deviation / 2
    )
