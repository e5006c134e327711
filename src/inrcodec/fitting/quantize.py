"""From a fitted network to integers: rounding that the remaining weights make up for.

1. Power-of-two steps from measured sensitivity: a tensor's step is inversely proportional to the
   root of the squared error that its weights leave once others have made up for it (rounding.py),
   the allocation at which each weight adds the same, scaled so that the coded network meets the
   byte target.
2. Rounds. In each, the most sensitive of the weights that are still free are rounded, each error
   spread over the weights that follow (rounding.py). Then the free ones are trained on against what
   was rounded.
3. Should tuning have made the file too large, a rate term on the rounding (RDOQ) trims it in the
   last rounds. It buys little at five bits a weight: the steps leave it some tenths of a percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.device import single_threads
from inrcodec.entropy.distribution import fit_distribution
from inrcodec.fitting.batches import BalancedBatches, Step
from inrcodec.fitting.curvature import FlatWeights, blocks, diagonal
from inrcodec.fitting.deadline import Deadline
from inrcodec.fitting.fit import Report
from inrcodec.fitting.gradients import gradients
from inrcodec.fitting.rounding import Plan, Rate, error_spread, lasting_error, round_weights
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.inr import INR
from inrcodec.quantization import (
    MAX_MAGNITUDE,
    MAX_STEP_EXPONENT,
    MIN_STEP_EXPONENT,
    QuantizedModel,
    QuantizedTensor,
)

ROUNDS = 6
TRIMMED_ROUNDS = 2
TUNING_RATE = 2e-4
"""Adam's rate for the free weights, in turns."""

_FILL = 0.992
"""Share of the bytes that the steps are chosen to fill; the rest is room for the tuning's drift.
What is trimmed in the end costs far more than what is left over (docs/design.md, "Meeting the
target")."""

_LITTLE = 1e-3
"""Share of the bytes that may be trimmed; where it is more, all begins anew with more room."""

_FILL_PASSES = 3
_ATTEMPTS = 3
_GATE_LEVELS = (("gate.encoder.0.", 128.0), ("gate.encoder.", 48.0), ("gate.", 24.0))
"""Steps to one root mean square of a gate's tensor, by its name: fine, since a gate's errors move
borders, and finest where they are phases that later layers multiply. With 24 throughout, 6 % of the
routings of a small network flipped, three quarters of them by its first layer."""

_WORK = 1e11
"""Bounds weights x block size^2, which the time goes with."""

_LARGEST_BLOCK = 5000
_MOST_ENTRIES = 1.5e8
"""Bounds the entries of all blocks together, and so their memory."""

_SAMPLES_PER_WEIGHT = 4
_FEWEST_SAMPLES = 2048
_MOST_SAMPLES = 32768
"""Of one path, to the weights of a block."""

CodedBytes = Callable[[QuantizedModel], int]
"""Size of a network in the file: injected, so that the search knows nothing of the format."""


def quantize(
    model: INR,
    sampler: VoxelSampler,
    most: int,
    coded_bytes: CodedBytes,
    tuning_steps: int,
    batch: int,
    report: Report,
    deadline: Deadline | None = None,
) -> QuantizedModel:
    """Return ``model`` in integers, coded in at most ``most`` bytes and close to that. ``model``
    itself changes; from here on it rounds activations as the decoder does.

    ``tuning_steps`` is the number of training steps after each round but the last. There are fewer
    of both where the ``deadline`` is near.
    """
    deadline = deadline or Deadline()
    model.use_fixed_point()
    quantizer = _Quantizer(model, sampler, coded_bytes)
    fitted = quantizer.flat.get()
    room, result = most * (1 - _FILL), None
    for _ in range(_ATTEMPTS):
        quantizer.flat.set(fitted)
        found, drift = quantizer.run(most, room, tuning_steps, batch, report, deadline)
        if coded_bytes(found) <= most:
            result = found
            # Another attempt takes as long as this one.
            if drift <= most * _LITTLE or deadline.share() > 0.5:
                return result
        room += 2 * drift  # coarser steps drift further
    quantizer.flat.set(fitted)
    return result or quantizer.nearest(most)


class _Quantizer:
    def __init__(self, model: INR, sampler: VoxelSampler, coded_bytes: CodedBytes) -> None:
        self.model = model
        self.sampler = sampler
        self.coded_bytes = coded_bytes
        self.flat = FlatWeights(model)
        self.gate = quantize_gate(model)

    def nearest(self, most: int) -> QuantizedModel:
        """Plain rounding in at most ``most`` bytes."""
        weights = self.flat.get().double().cpu()
        sensitivity = diagonal(self.flat, self.sampler, _MOST_SAMPLES)
        return self._integers(weights, self._choose_exponents(weights, sensitivity, most))

    def run(
        self,
        most: int,
        room: float,
        tuning_steps: int,
        batch: int,
        report: Report,
        deadline: Deadline,
    ) -> tuple[QuantizedModel, int]:
        """The rounds, aimed at ``most`` bytes, with ``room`` in them for the tuning's drift; and
        the bytes that drift went beyond ``most``, which had to be trimmed."""
        flat, size = self.flat, self.flat.size
        sensitivity = diagonal(flat, self.sampler, _MOST_SAMPLES)
        weights = flat.get().double().cpu()
        groups = _groups(
            flat, int(min(_LARGEST_BLOCK, math.sqrt(_WORK / size), _MOST_ENTRIES / size))
        )
        matrices = self._matrices(groups)
        lasting = self._lasting_errors(groups, matrices, sensitivity)
        exponents = self._choose_exponents(weights, lasting, int(most - room))
        steps = self._steps(exponents)
        order = (sensitivity * steps.square()).argsort(descending=True)
        free = torch.ones(size, dtype=torch.bool)
        total, drift = (ROUNDS - 1) * tuning_steps, 0
        for number in range(ROUNDS):
            round_ends = deadline.part(1 / (ROUNDS - number))
            last = number == ROUNDS - 1 or deadline.share() >= 1
            end = size if last else size * (number + 1) // ROUNDS
            now = torch.zeros(size, dtype=torch.bool)
            now[order[:end]] = True
            now &= free
            plans = self._plans(groups, matrices, free, now, sensitivity * steps.square())
            if number < ROUNDS - TRIMMED_ROUNDS and not last:
                weights = round_weights(weights, steps, plans, rate=None)
            else:
                weights, excess = self._trim(weights, steps, exponents, plans, most)
                drift = max(drift, excess)
            free &= ~now
            flat.set(weights)
            if last:
                break
            done = number * tuning_steps

            def report_all(step: int, _: int, mse: float, done: int = done) -> None:
                report(done + step, total, mse)

            _tune(flat, free, self.sampler, tuning_steps, batch, report_all, round_ends)
            weights = torch.where(free, flat.get().double().cpu(), weights)
        return self._integers(weights, exponents), drift

    def _choose_exponents(self, weights: Tensor, errors: Tensor, most: int) -> list[int]:
        """A step exponent for each tensor: equal error a weight, in ``most`` bytes; then finer
        steps for single tensors, large ones first, to fill what is left. ``errors`` (P,): the
        squared error that a unit's change of each weight makes."""
        owner = self.flat.owners()
        sizes, mean = self._means_of_tensors(errors)
        count = len(sizes)
        base = (-0.5 * mean.clamp(min=1e-30).log2()).tolist()
        # Half of the integers' range is left to the changes still to come.
        largest = torch.zeros(count, dtype=weights.dtype)
        largest.scatter_reduce_(0, owner, weights.abs(), "amax")
        finest = (largest / (MAX_MAGNITUDE / 2)).clamp(min=2.0**MIN_STEP_EXPONENT).log2().ceil()
        floor = finest.clamp(max=MAX_STEP_EXPONENT).int().tolist()

        def exponents(offset: float) -> list[int]:
            return [
                min(max(round(b + offset), lowest), MAX_STEP_EXPONENT)
                for b, lowest in zip(base, floor, strict=True)
            ]

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
        by_size = sizes.argsort(descending=True)[: int(sizes.count_nonzero())].tolist()
        for tensor in by_size * _FILL_PASSES:
            finer = [e - (i == tensor) for i, e in enumerate(chosen)]
            if finer[tensor] >= floor[tensor] and size(finer) <= most:
                chosen = finer
        return chosen

    def _means_of_tensors(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the flat (P,) values each tensor has, 0 where it is the gate's, and their
        means."""
        count, owner = len(self.model.architecture.tensors), self.flat.owners()
        sizes = torch.bincount(owner, minlength=count)
        return sizes, torch.bincount(owner, values, minlength=count) / sizes.clamp(min=1)

    def _lasting_errors(
        self, groups: list[Tensor], matrices: list[Tensor], sensitivity: Tensor
    ) -> Tensor:
        """(P,) `lasting_error` of each weight, in the order in which steps by sensitivity alone
        would have them rounded."""
        _, mean = self._means_of_tensors(sensitivity)
        relative = sensitivity / mean.clamp(min=1e-30)[self.flat.owners()]
        errors = torch.empty_like(sensitivity)

        def fill(group: Tensor, matrix: Tensor) -> None:
            order = relative[group].argsort(descending=True)
            errors[group[order]] = lasting_error(matrix[order[:, None], order].double())

        with single_threads(torch.get_num_threads()) as pool:
            list(pool.map(fill, groups, matrices))
        return errors

    def _matrices(self, groups: list[Tensor]) -> list[Tensor]:
        """The blocks of the Gauss-Newton matrix, float32 on the CPU."""
        largest = max(len(group) for group in groups)
        samples = min(max(_SAMPLES_PER_WEIGHT * largest, _FEWEST_SAMPLES), _MOST_SAMPLES)
        samples *= len(self.flat.paths)
        return [block.cpu() for block in blocks(self.flat, self.sampler, samples, groups)]

    def _plans(
        self,
        groups: list[Tensor],
        matrices: list[Tensor],
        free: Tensor,
        now: Tensor,
        loss: Tensor,
    ) -> list[Plan]:
        """What to round now and how errors spread: one plan for each group that takes part."""

        def plan(group: Tensor, matrix: Tensor) -> Plan | None:
            count = int(now[group].sum())
            if not count:
                return None
            # Those to be rounded come first, the most sensitive of them first of all.
            rank = loss[group] + now[group] * loss.max()
            order = rank.masked_fill(~free[group], -1.0).argsort(descending=True)
            order = order[: int(free[group].sum())]
            ordered = matrix[order[:, None], order].double()
            return Plan(group[order], count, error_spread(ordered, count))

        with single_threads(torch.get_num_threads()) as pool:
            return [found for found in pool.map(plan, groups, matrices) if found is not None]

    def _trim(
        self,
        weights: Tensor,
        steps: Tensor,
        exponents: list[int],
        plans: list[Plan],
        most: int,
    ) -> tuple[Tensor, int]:
        """Round with the least rate weight at which the file fits, the free weights counted as if
        rounded to the nearest; and the bytes by which it is too large without."""
        current = self._integers(weights, exponents)
        rates = self._rate_tables(current)
        owner = self.flat.owners()

        def attempt(weight: float) -> tuple[Tensor, int]:
            rate = None if weight == 0 else Rate(weight, rates, owner)
            rounded = round_weights(weights, steps, plans, rate)
            return rounded, self.coded_bytes(self._integers(rounded, exponents))

        rounded, untrimmed = attempt(0.0)
        if untrimmed <= most:
            return rounded, 0
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
        return best, untrimmed - most

    def _rate_tables(self, current: QuantizedModel) -> list[list[float]]:
        return [
            fit_distribution(tensor.integers).bits_table().tolist() for tensor in current.tensors
        ]

    def _steps(self, exponents: list[int]) -> Tensor:
        """(P,) float64 steps of the weights, from the exponents of the tensors."""
        return torch.exp2(torch.tensor(exponents).double())[self.flat.owners()]

    def _integers(self, weights: Tensor, exponents: list[int]) -> QuantizedModel:
        """The integers nearest to flat (P,) weights."""
        levels = (weights / self._steps(exponents)).round()
        levels = levels.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE).int()
        specs = self.model.architecture.tensors
        tensors = tuple(
            self.gate.get(spec.name, QuantizedTensor(integers.view(spec.shape).numpy(), exponent))
            for spec, integers, exponent in zip(
                specs, self.flat.in_file(levels), exponents, strict=True
            )
        )
        return QuantizedModel(self.model.architecture, tensors)


def _groups(flat: FlatWeights, most: int) -> list[Tensor]:
    """Runs of at most ``most`` neighbouring weights: all of them, or else such as the same paths
    pass."""
    segments = [(0, flat.size)] if flat.size <= most else flat.segments()
    return [
        run
        for start, stop in segments
        for run in torch.arange(start, stop).chunk(math.ceil((stop - start) / most))
    ]


def _tune(
    flat: FlatWeights,
    free: Tensor,
    sampler: VoxelSampler,
    steps: int,
    batch: int,
    report: Report,
    deadline: Deadline,
) -> None:
    """Train the free weights on; the rounded ones stay."""
    device = flat.layers[0].affine.weight.device
    mask = free.to(device)
    start = flat.get()
    # Adam steps are absolute, so each weight moves in its own unit: turns, or the values' spread.
    unit = torch.ones_like(start)
    for head in flat.heads:
        unit[head.start : head.stop] = sampler.statistics.deviation
    scaled = (start / unit).requires_grad_()
    rate = torch.zeros((), device=device)
    optimizer = torch.optim.Adam(
        [scaled], rate, (0.9, 0.99), 1e-15, fused=True, capturable=device.type == "cuda"
    )
    with gradients(flat.model, device, batch) as crew:
        batches = BalancedBatches(flat.model, sampler, batch, crew.parts, share_out=crew.share_out)

        def update(voxels: Step, teaches: bool) -> Tensor:
            error = crew.backward(voxels, teaches=teaches)
            scaled.grad = flat.gradient() * unit * mask
            optimizer.step()
            with torch.no_grad():
                flat.set(torch.where(mask, scaled * unit, start))
            return error

        repeated = crew.repeated(update)
        for step in range(steps):
            share = max(step / steps, deadline.share())
            if share >= 1:
                break
            ramp = min(1.0, (step + 1) / 20) * math.cos(math.pi / 2 * share)
            rate.fill_(TUNING_RATE * ramp)
            error = repeated(batches.next(), False)
            if step % 20 == 0 or step + 1 == steps:
                report(step + 1, steps, error.item())


def quantize_gate(model: INR) -> dict[str, QuantizedTensor]:
    """Round the gate's tensors in place, finely, and return them by name: borders that move now
    are met by the experts' tuning."""
    result: dict[str, QuantizedTensor] = {}
    for spec in model.architecture.tensors:
        levels_of = [levels for name, levels in _GATE_LEVELS if spec.name.startswith(name)]
        if not levels_of:
            continue
        parameter = model.get_parameter(spec.name)
        values = parameter.detach().cpu()
        scale = values.square().mean().sqrt().item()
        exponent = round(math.log2(max(scale, 1e-6) / levels_of[0]))
        exponent = min(max(exponent, MIN_STEP_EXPONENT), MAX_STEP_EXPONENT)
        levels = torch.ldexp(values, torch.tensor(-exponent)).round()
        integers = levels.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE).int().numpy()
        tensor = QuantizedTensor(integers, exponent)
        result[spec.name] = tensor
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensor.dequantize()))
    return result
