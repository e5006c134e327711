"""From a fitted network to integers: rounding that the remaining weights make up for.

1. Power-of-two steps from measured sensitivity: a tensor's step is inversely proportional to the
   root mean square of d(output)/d(weight), the allocation at which each tensor adds the same
   error, scaled so that the coded network meets the byte target.
2. Rounds. In each, the most sensitive of the weights that are still free are rounded one after the
   other, each error spread over the free weights by the Gauss-Newton matrix of the *whole network*
   (Optimal Brain Surgeon's update; GPTQ, arXiv 2210.17323, uses it layer by layer; in lattice terms
   Babai's nearest plane). Then the free weights are trained on against what was rounded.
3. In the last rounds a rate term on the rounding (RDOQ) trims the file to the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrcodec.entropy.distribution import fit_distribution
from inrcodec.fitting.curvature import FlatWeights, blocks, diagonal
from inrcodec.fitting.fit import Report
from inrcodec.fitting.loss import squared_error
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.moe import MoEINR
from inrcodec.quantization import (
    MAX_MAGNITUDE,
    MAX_STEP_EXPONENT,
    MIN_STEP_EXPONENT,
    QuantizedModel,
    QuantizedTensor,
)

ROUNDS = 6
TRIMMED_ROUNDS = 2
TUNING_RATE = 1e-3
"""Adam's rate for the free weights, in turns."""

_OVERSHOOT = 1.02
"""Powers of two cannot hit a size: steps start this much too fine, and the rate term trims."""

_ATTEMPTS = 3
_DAMPING = 1e-4
_GATE_LEVELS = 24.0
"""Steps to one root mean square of a gate's tensor: fine, since a gate's errors move borders."""

_WORK = 1e11
"""Bounds weights x block size: the largest block of H is _WORK / weights, squared root."""

_LARGEST_BLOCK = 5000
_SAMPLES_PER_WEIGHT = 8
_FEWEST_SAMPLES = 16384
_MOST_SAMPLES = 65536

CodedBytes = Callable[[QuantizedModel], int]
"""Size of a network in the file: injected, so that the search knows nothing of the format."""


def quantize(
    model: MoEINR,
    sampler: VoxelSampler,
    most: int,
    coded_bytes: CodedBytes,
    tuning_steps: int,
    batch: int,
    report: Report,
) -> QuantizedModel:
    """Return ``model`` in integers, coded in at most ``most`` bytes and close to that. ``model``
    itself changes.

    ``tuning_steps`` is the number of training steps after each round but the last.
    """
    quantizer = _Quantizer(model, sampler, coded_bytes)
    fitted = quantizer.flat.get()
    aim = most
    for _ in range(_ATTEMPTS):
        quantizer.flat.set(fitted)
        result = quantizer.run(aim, tuning_steps, batch, report)
        excess = coded_bytes(result) - most
        if excess <= 0:
            return result
        # Tuning made weights larger than the trimming could make up for.
        aim -= excess
    quantizer.flat.set(fitted)
    return quantizer.nearest(most)


class _Quantizer:
    def __init__(self, model: MoEINR, sampler: VoxelSampler, coded_bytes: CodedBytes) -> None:
        self.model = model
        self.sampler = sampler
        self.coded_bytes = coded_bytes
        self.flat = FlatWeights(model)
        self.gate = _quantize_gate(model)

    def nearest(self, most: int) -> QuantizedModel:
        """Plain rounding in at most ``most`` bytes."""
        weights = self.flat.get().double().cpu()
        sensitivity = diagonal(self.flat, self.sampler, _MOST_SAMPLES)
        return self._integers(weights, self._choose_exponents(weights, sensitivity, most, most))

    def run(self, most: int, tuning_steps: int, batch: int, report: Report) -> QuantizedModel:
        """The rounds, aimed at ``most`` bytes."""
        flat, size = self.flat, self.flat.size
        sensitivity = diagonal(flat, self.sampler, _MOST_SAMPLES)
        weights = flat.get().double().cpu()
        exponents = self._choose_exponents(weights, sensitivity, most, int(most * _OVERSHOOT))
        steps = torch.exp2(flat.per_tensor(exponents).double())

        order = (sensitivity * steps.square()).argsort(descending=True)
        groups = _interleave(size, min(_LARGEST_BLOCK, int(math.sqrt(_WORK / size))))
        free = torch.ones(size, dtype=torch.bool)
        total = (ROUNDS - 1) * tuning_steps
        for number in range(ROUNDS):
            begin, end = (size * n // ROUNDS for n in (number, number + 1))
            now = torch.zeros(size, dtype=torch.bool)
            now[order[begin:end]] = True
            plans = self._plans(groups, free, now, sensitivity * steps.square())
            if number < ROUNDS - TRIMMED_ROUNDS:
                weights = _round_plans(weights, steps, plans, rate=None)
            else:
                weights = self._trim(weights, steps, exponents, plans, most)
            free &= ~now
            flat.set(weights)
            if number < ROUNDS - 1:
                done = number * tuning_steps

                def report_all(step: int, _: int, mse: float, done: int = done) -> None:
                    report(done + step, total, mse)

                _tune(flat, free, self.sampler, tuning_steps, batch, report_all)
                weights = torch.where(free, flat.get().double().cpu(), weights)
        return self._integers(weights, exponents)

    def _choose_exponents(
        self, weights: Tensor, sensitivity: Tensor, most: int, at_the_finest: int
    ) -> list[int]:
        """A step exponent for each tensor: equal error a tensor, in ``most`` bytes; then finer
        steps for single tensors, as long as they fit into ``at_the_finest`` bytes."""
        count = len(self.model.architecture.tensors)
        owner = self.flat.per_tensor(list(range(count)))
        sizes = torch.bincount(owner, minlength=count)  # 0 for the gate's tensors
        mean = torch.bincount(owner, sensitivity, minlength=count) / sizes.clamp(min=1)
        base = (-0.5 * mean.clamp(min=1e-30).log2()).tolist()

        def exponents(offset: float) -> list[int]:
            return [min(max(round(b + offset), MIN_STEP_EXPONENT), MAX_STEP_EXPONENT) for b in base]

        def size(candidate: list[int]) -> int:
            return self.coded_bytes(self._integers(weights, candidate))

        fine, coarse = -32.0, 32.0
        while coarse - fine > 1e-3:
            middle = (fine + coarse) / 2
            if size(exponents(middle)) > most:
                fine = middle
            else:
                coarse = middle
        chosen = exponents(coarse)
        for tensor in sizes.argsort(descending=True)[: int(sizes.count_nonzero())].tolist():
            finer = [e - (i == tensor) for i, e in enumerate(chosen)]
            if finer[tensor] >= MIN_STEP_EXPONENT and size(finer) <= at_the_finest:
                chosen = finer
        return chosen

    def _plans(self, groups: list[Tensor], free: Tensor, now: Tensor, loss: Tensor) -> list[_Plan]:
        """What to round now and how errors spread: one plan for each group that takes part."""
        members = [group[free[group]] for group in groups if bool(now[group].any())]
        largest = max(len(m) for m in members)
        samples = min(max(_SAMPLES_PER_WEIGHT * largest, _FEWEST_SAMPLES), _MOST_SAMPLES)
        plans = []
        matrices = blocks(self.flat, self.sampler, samples, members)
        for indices, matrix in zip(members, matrices, strict=True):
            # Those to be rounded come first, the most sensitive of them first of all.
            rank = loss[indices] + now[indices] * loss.max()
            order = rank.argsort(descending=True)
            ordered = matrix[order][:, order]
            diagonal_mean = ordered.diagonal().mean()
            ordered.diagonal().add_(_DAMPING * diagonal_mean + 1e-30)
            plans.append(_Plan(indices[order], int(now[indices].sum()), _spread(ordered)))
        return plans

    def _trim(
        self,
        weights: Tensor,
        steps: Tensor,
        exponents: list[int],
        plans: list[_Plan],
        most: int,
    ) -> Tensor:
        """Round with the least rate weight at which the file fits, the free weights counted as if
        rounded to the nearest."""
        current = self._integers(weights, exponents)
        rates = self._rate_tables(current)
        owner = self.flat.per_tensor(list(range(len(exponents))))

        def attempt(weight: float) -> tuple[Tensor, int]:
            rate = None if weight == 0 else _Rate(weight, rates, owner)
            rounded = _round_plans(weights, steps, plans, rate)
            return rounded, self.coded_bytes(self._integers(rounded, exponents))

        rounded, size = attempt(0.0)
        if size <= most:
            return rounded
        # The squared error that one bit is worth: this spans all there is.
        low, high = -12.0, 2.0
        best = attempt(10.0**high)[0]
        for _ in range(18):
            middle = (low + high) / 2
            rounded, size = attempt(10.0**middle)
            if size > most:
                low = middle
            else:
                high, best = middle, rounded
        return best

    def _rate_tables(self, current: QuantizedModel) -> list[list[float]]:
        return [
            fit_distribution(tensor.integers).bits_table().tolist() for tensor in current.tensors
        ]

    def _integers(self, weights: Tensor, exponents: list[int]) -> QuantizedModel:
        """The integers nearest to flat (P,) weights."""
        specs = self.model.architecture.tensors
        arrays = [np.zeros(spec.shape, np.int32) for spec in specs]
        steps = torch.exp2(self.flat.per_tensor(exponents).double())
        levels = (weights / steps).round().clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE).int().numpy()
        for layer in self.flat.layers:
            rows = levels[layer.start : layer.stop].reshape(layer.shape)
            expert = ... if layer.expert is None else layer.expert
            arrays[layer.tensor][expert] = rows[:, :-1]
            arrays[layer.tensor + 1][expert] = rows[:, -1]
        tensors = tuple(
            self.gate.get(spec.name, QuantizedTensor(array, exponent))
            for spec, array, exponent in zip(specs, arrays, exponents, strict=True)
        )
        return QuantizedModel(self.model.architecture, tensors)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Round the first ``count`` of the weights at flat ``indices``, in that order.

    ``spread`` (count, B): row i is what an error of one in weight i, already divided by its own
    share, takes from each weight that comes after it.
    """

    indices: Tensor
    count: int
    spread: Tensor


@dataclass(frozen=True, slots=True)
class _Rate:
    """``weight`` is the error that one bit is worth; ``bits[t][|k|]`` the bits of a level."""

    weight: float
    bits: list[list[float]]
    owner: Tensor


def _spread(matrix: Tensor) -> Tensor:
    """Upper Cholesky factor U of the inverse of (B, B) positive-definite H, with U' U = inv(H).

    From H = R R' with R upper triangular (Cholesky of H read backwards) follows U = inv(R).
    """
    lower, failed = torch.linalg.cholesky_ex(matrix.flip(0, 1))
    if failed:
        # Samples too few or weights without effect: fall back on each weight's own error.
        return torch.diag(matrix.diagonal().rsqrt())
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    upper: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return upper


def _round_plans(weights: Tensor, steps: Tensor, plans: list[_Plan], rate: _Rate | None) -> Tensor:
    """Round what the plans name; the others of their groups take over the errors."""
    weights = weights.clone()
    for plan in plans:
        own = weights[plan.indices].numpy()
        own_steps = steps[plan.indices].tolist()
        spread = plan.spread.numpy()
        owners = None if rate is None else rate.owner[plan.indices].tolist()
        for i in range(plan.count):
            step, share = own_steps[i], spread[i, i]
            level = own[i] / step
            chosen = round(level)
            if rate is not None and owners is not None:
                chosen = _cheapest(level, (step / share) ** 2, rate, rate.bits[owners[i]])
            chosen = min(max(chosen, -MAX_MAGNITUDE), MAX_MAGNITUDE)
            own[i:] -= (own[i] - chosen * step) / share * spread[i, i:]
            own[i] = chosen * step
        weights[plan.indices] = torch.from_numpy(own)
    return weights


def _cheapest(level: float, error: float, rate: _Rate, bits: list[float]) -> int:
    """Of the two neighbours of ``level`` and the next towards zero, the cheapest in error + rate.

    ``error`` is the cost of being one level off.
    """
    below = math.floor(level)
    toward_zero = below - 1 if level > 0 else below + 2

    def cost(k: int) -> float:
        size = bits[abs(k)] if abs(k) < len(bits) else math.inf
        return error * (level - k) ** 2 + rate.weight * size

    return min((below, below + 1, toward_zero), key=cost)


def _interleave(size: int, most: int) -> list[Tensor]:
    """Cut 0..size-1 into the fewest runs of at most ``most`` neighbours."""
    return list(torch.arange(size).chunk(math.ceil(size / most)))


def _tune(
    flat: FlatWeights,
    free: Tensor,
    sampler: VoxelSampler,
    steps: int,
    batch: int,
    report: Report,
) -> None:
    """Train the free weights on; the rounded ones stay."""
    device = flat.layers[0].weight.device
    mask = free.to(device)
    start = flat.get()
    # Adam steps are absolute, so each weight moves in its own unit: turns, or the values' spread.
    unit = torch.ones_like(start)
    unit[flat.layers[-1].start :] = sampler.deviation
    scaled = (start / unit).requires_grad_()
    optimizer = torch.optim.Adam([scaled], betas=(0.9, 0.99), eps=1e-15, fused=True)
    for step in range(steps):
        voxels = sampler.draw(batch)
        flat.model.zero_grad()
        output = flat.model(voxels.coordinates)
        loss = squared_error(output, voxels.target, voxels.weight).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        scaled.grad = flat.gradient() * unit * mask
        ramp = min(1.0, (step + 1) / 20) * math.cos(math.pi / 2 * step / steps)
        optimizer.param_groups[0]["lr"] = TUNING_RATE * ramp
        optimizer.step()
        with torch.no_grad():
            flat.set(torch.where(mask, scaled * unit, start))
        if step % 20 == 0 or step + 1 == steps:
            report(step + 1, steps, loss.item())


def _quantize_gate(model: MoEINR) -> dict[str, QuantizedTensor]:
    """Round the gate's tensors in place, finely, and return them by name: borders that move now
    are met by the experts' tuning."""
    result: dict[str, QuantizedTensor] = {}
    for spec, parameter in zip(model.architecture.tensors, model.ordered_parameters(), strict=True):
        if not spec.name.startswith("gate."):
            continue
        scale = parameter.detach().square().mean().sqrt().item()
        exponent = round(math.log2(max(scale, 1e-6) / _GATE_LEVELS))
        exponent = min(max(exponent, MIN_STEP_EXPONENT), MAX_STEP_EXPONENT)
        levels = torch.ldexp(parameter.detach(), torch.tensor(-exponent)).round()
        integers = levels.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE).int().cpu().numpy()
        tensor = QuantizedTensor(integers, exponent)
        result[spec.name] = tensor
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensor.dequantize()))
    return result
