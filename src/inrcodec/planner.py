"""From bytes to an architecture, and from a preset to the length of the fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Partition,
    Stack,
    Tree,
    TreeLevel,
    single,
)
from inrcodec.errors import BudgetError

BITS_PER_WEIGHT = 5.3
"""Where rounding error and a smaller network cost the same (docs/design.md, "Bits a weight")."""
_FINEST = 8 / BITS_PER_WEIGHT
"""Bytes that are worth spending on a network whose size does not follow from them, to its planned
ones: more bits a weight say nothing new."""

_DEPTHS = ((800, 6), (300, 5), (120, 4), (0, 2))
"""Hidden layers by number of weights: deep networks need some width to work with."""

_ENCODER_SHAPES = ((12, 2, 1.0), (0, 1, 0.7))
"""By number of experts, the layers that they share, and the experts' width to that of these. A wide
first layer has more frequencies; many experts see few voxels each, and are better off sharing more
(docs/design.md, "What experts share")."""

_WEIGHTS_OF_AN_EXPERT = ((250_000, 10_000), (0, 6_000))
_LEAST_WEIGHTS_OF_A_MIXTURE = 12_000
"""With the budget, which the first are weights of, it is the number of experts that grows more than
their size; below this a single network is as good (docs/design.md, "Number of experts")."""

_GATE_WIDTH = 16
"""Of MoEC's gate, which has one layer of its own."""

_GATE_LAYERS = 2
_GATE_SHARE = 1 / 2
"""Width of Neural Experts' gate, in its encoder and behind it, to that of the experts."""

_TREE_LEVELS = ((4_000, 3), (0, 2))
"""Levels of an octree by number of weights."""

_LEVEL_RATIO = 1.0
"""Weights of a level of an octree to those of the level above."""

_TREE_OVERHEAD, _MIXTURE_OVERHEAD = 8, 11
_TENSOR_OVERHEAD = 2
"""Bytes of chunk N besides the weights, and for each tensor."""


Importance = Callable[[int], list[float]]
"""Level of an octree -> a number for each of its cells, in the order of `TreeLevel.widths`."""


class Allocation(StrEnum):
    """How the weights of one level of an octree are shared out among its nodes."""

    EVEN = "even"
    IMPORTANCE = "importance"
    """In proportion to the variation of the values in the nodes' cells."""


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """What is asked of the network beyond its size; None leaves it to the budget.

    Raises `ValueError` for choices that contradict each other.
    """

    partition: Partition | None = None
    experts: int | None = None
    """2 or more."""
    active_experts: int | None = None
    """Experts that act on a voxel, 1 (the default) or 2. This or the one above, without a
    partition, means `Partition.MOEC`."""
    activation: Activation = Activation.SINE
    allocation: Allocation | None = None
    """Of an octree, `Allocation.EVEN` by default."""

    def __post_init__(self) -> None:
        mixture = self.partition in (None, Partition.MOEC, Partition.NEURAL_EXPERTS)
        if not mixture and (self.experts is not None or self.active_experts is not None):
            raise ValueError(
                f"the partition {self.partition} has no experts to choose: leave their number out, "
                "or take the partition moec or neural-experts"
            )
        if self.experts is not None and self.experts < 2:
            raise ValueError("a mixture has 2 experts or more: for one, take the partition single")
        if self.allocation is not None and self.partition is not Partition.OCTREE:
            raise ValueError("an allocation is for an octree: take the partition octree too")

    @property
    def settled(self) -> Partition | None:
        """The partition, where it does not depend on the budget."""
        if self.partition is None and (self.experts or self.active_experts):
            return Partition.MOEC
        return self.partition


class Preset(StrEnum):
    """How long to fit."""

    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"


_WORK = {Preset.FAST: 0.8e12, Preset.MEDIUM: 4.4e12, Preset.SLOW: 20e12}
"""Products of a weight with a voxel, forward, that a fit may take: about 1, 4 and 20 minutes on two
cores for a volume of 256^3 voxels, quantization included."""

_MOST_EPOCHS = 1600
"""Bounds the fits of tiny volumes."""

_SINE_COST = 10
"""One sine unit, in such products."""
_ROUTING_COST = 6_000
_ROUTING_COST_OF_AN_EXPERT = 60
"""Finding a voxel's expert, and teaching the gate."""
_STEP_COST = 7e7
"""What a step costs however few voxels it sees: the interpreter, waiting for threads."""
_UPDATE_COST = 600
_NODE_COST = 1.6e6
"""What each weight and each layer of each node of an octree adds to that."""

_VOXELS_FOR_ROOT_OF_WEIGHTS = 44
"""Voxels of a batch to the root of the weights (docs/design.md, "Small batches, many steps")."""

_VOXELS_OF_AN_EXPERT = 640
_VOXELS_OF_A_LEAF = 512
"""Of a batch, at the least: with fewer its directions are noise (docs/design.md, "Many experts need
large batches")."""

_LARGEST_BATCH = 10240
"""Of one path, or a few."""
_SMALLEST_BATCH = 8192
"""Smaller ones save no time where two threads share them out."""
_LEAST_BATCH = 4096
_ENOUGH_STEPS = {Preset.FAST: 1000, Preset.MEDIUM: 4000, Preset.SLOW: 8000}
"""With fewer a smaller network is better, or as good (docs/design.md, "Too large for the time")."""
_SMALLER = 0.9

_WANTED_STEPS = 400
_FEWEST_STEPS = 200
_TUNING_SHARE = 1 / 32
_WANTED_TUNING_STEPS = 150
_LARGEST_TUNING_SHARE = 1 / 15
"""Of the fit's work, for each of the five tunings."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Length of the fit and of each tuning between the rounds of quantization, in steps of
    ``batch`` voxels."""

    fit_steps: int
    tuning_steps: int
    batch: int


def plan_effort(preset: Preset, architecture: Architecture, voxels: int) -> Effort:
    """Steps that take the preset's time, whatever the network's size, unless the volume is tiny."""
    affordable, batch = _affordable_steps(preset, architecture, voxels)
    steps = max(int(min(affordable, _MOST_EPOCHS * voxels / batch)), _FEWEST_STEPS)
    tuning_steps = max(int(steps * _TUNING_SHARE), _WANTED_TUNING_STEPS)
    most = int(max(affordable, steps) * _LARGEST_TUNING_SHARE)
    return Effort(steps, min(tuning_steps, most), batch)


def _affordable_steps(preset: Preset, architecture: Architecture, voxels: int) -> tuple[float, int]:
    """Steps that there is time for, and the voxels of one."""
    a, work = architecture, _WORK[preset]
    overhead = _STEP_COST + _UPDATE_COST * a.parameters
    cost: float = a.active_parameters + _SINE_COST * _hidden_units(a)
    of_a_path = _VOXELS_OF_A_LEAF
    if isinstance(a, Mixture):
        of_a_path = _VOXELS_OF_AN_EXPERT
        cost += _ROUTING_COST + _ROUTING_COST_OF_AN_EXPERT * a.experts
    elif a.leaves > 1:
        overhead += _NODE_COST * sum(level.layers * len(level.widths) for level in a.levels)
    batch = int(_VOXELS_FOR_ROOT_OF_WEIGHTS * math.sqrt(a.parameters))
    batch = min(max(batch, _SMALLEST_BATCH), _LARGEST_BATCH)
    batch = max(batch, of_a_path * a.paths)
    # A large network gets smaller batches before it gets too few steps.
    batch = min(batch, max(int((work / _WANTED_STEPS - overhead) / cost), _LEAST_BATCH), voxels)
    return work / (cost * batch + overhead), batch


def _hidden_units(architecture: Architecture) -> int:
    """Sine units that a voxel meets, at most."""
    a = architecture
    if isinstance(a, Tree):
        return sum(level.layers * max(level.widths) for level in a.levels)
    stacks = (a.encoder, a.gate.encoder, *[a.expert] * a.gate.active)
    return sum(stack.layers * stack.width for stack in stacks)


@dataclass(frozen=True, slots=True)
class Plan:
    """A network, and the most bytes that are worth its while."""

    architecture: Architecture
    most_bytes: int


def plan_network(
    preset: Preset,
    voxels: int,
    network_bytes: int,
    coordinates: int,
    choice: NetworkChoice,
    importance: Importance | None = None,
) -> Plan:
    """The network of `plan_architecture` for ``network_bytes``, or a smaller one where the preset's
    time would leave that fewer than `_ENOUGH_STEPS`. Raises `BudgetError` as that does."""

    def of_size(size: int) -> Plan:
        architecture = plan_architecture(size, coordinates, choice, importance)
        worth = network_bytes if size == network_bytes else int(size * _FINEST)
        return Plan(architecture, min(worth, network_bytes))

    largest = plan = of_size(network_bytes)
    size = network_bytes
    while _affordable_steps(preset, plan.architecture, voxels)[0] < _ENOUGH_STEPS[preset]:
        size = int(size * _SMALLER)
        try:
            plan = of_size(size)
        except BudgetError:
            return largest  # a choice that is slow at any size
    return plan


def plan_architecture(
    network_bytes: int,
    coordinates: int,
    choice: NetworkChoice,
    importance: Importance | None = None,
) -> Architecture:
    """The widest network of the ``choice`` whose coded weights fill ``network_bytes``.

    ``importance`` is asked for `Allocation.IMPORTANCE` alone. Raises `BudgetError` where not even
    the smallest network fits.
    """
    for least_weights, shape in _shapes(network_bytes, coordinates, choice, importance):
        candidate = _widest(shape, network_bytes)
        if candidate is not None and candidate.parameters >= least_weights:
            return candidate
    raise BudgetError(
        f"{max(network_bytes, 0)} bytes are left for the network, which needs "
        f"{smallest_network_bytes(coordinates, choice)} or more: lower the ratio, or take fewer "
        "experts or the partition single"
    )


def smallest_network_bytes(coordinates: int, choice: NetworkChoice) -> int:
    """Bytes that a network needs at the least."""
    *_, (_, shape) = _shapes(0, coordinates, choice, None)
    return _coded_bytes(shape.make([1] * len(shape.weights)))


@dataclass(frozen=True, slots=True)
class _Shape:
    """Networks that differ in some widths: ``make`` takes one for each of ``weights``, which tell
    how large they are to be in comparison: a width over its weight is what grows evenly."""

    make: Callable[[list[int]], Architecture]
    weights: tuple[float, ...]


def _shapes(
    network_bytes: int, coordinates: int, choice: NetworkChoice, importance: Importance | None
) -> Iterator[tuple[int, _Shape]]:
    """What to try, the first choice first, each with the weights that it needs to work with."""
    partition = choice.settled
    experts = choice.experts or _experts(network_bytes)
    if partition is None:
        deepest = _mixture(coordinates, choice, experts, _DEPTHS[0][1])
        yield _LEAST_WEIGHTS_OF_A_MIXTURE, deepest
    for least_weights, layers in _DEPTHS:
        match partition:
            case None | Partition.SINGLE:
                yield least_weights, _single(coordinates, choice, layers)
            case Partition.OCTREE:
                for least_weights_of_levels, levels in _TREE_LEVELS:
                    if layers >= levels:
                        least = max(least_weights, least_weights_of_levels)
                        yield least, _octree(coordinates, choice, levels, layers, importance)
            case _:
                yield least_weights, _mixture(coordinates, choice, experts, layers)


def _single(coordinates: int, choice: NetworkChoice, layers: int) -> _Shape:
    def make(widths: list[int]) -> Architecture:
        return single(coordinates, choice.activation, Stack(layers, widths[0]))

    return _Shape(make, (1.0,))


def _experts(network_bytes: int) -> int:
    """The power of two, at least 2, that makes experts of about `_WEIGHTS_OF_AN_EXPERT`."""
    weights = network_bytes * 8 / BITS_PER_WEIGHT
    of_one = next(of_one for least, of_one in _WEIGHTS_OF_AN_EXPERT if weights >= least)
    return max(2, 1 << max(0, round(math.log2(max(weights / of_one, 1)))))


def _mixture(coordinates: int, choice: NetworkChoice, experts: int, layers: int) -> _Shape:
    neural = choice.settled is Partition.NEURAL_EXPERTS
    shared, share = next((n, share) for least, n, share in _ENCODER_SHAPES if experts >= least)
    encoder_layers = min(shared, layers - 1)

    def make(widths: list[int]) -> Architecture:
        active = choice.active_experts or 1
        if neural:
            own = Stack(min(_GATE_LAYERS, layers - 1), widths[2])
            gate = Gate(own, Stack(1, widths[2]), active)
        else:
            gate = Gate(
                Stack(1, min(_GATE_WIDTH, 2 * widths[0])), Stack(0, 0), active, reads_features=False
            )
        return Mixture(
            coordinates,
            choice.activation,
            Stack(encoder_layers, widths[0]),
            experts,
            Stack(layers - encoder_layers, widths[1]),
            gate,
        )

    widths = (1.0, share, share * _GATE_SHARE)
    return _Shape(make, widths if neural else widths[:2])


def _octree(
    coordinates: int,
    choice: NetworkChoice,
    levels: int,
    layers: int,
    importance: Importance | None,
) -> _Shape:
    # The root has the layers that are over.
    depths = [layers // levels + (layers % levels if level == 0 else 0) for level in range(levels)]
    shares: list[list[float]] = [[1.0] * (1 << coordinates * level) for level in range(levels)]
    if choice.allocation is Allocation.IMPORTANCE and importance is not None:
        for level in range(1, levels):
            # A node's weights go with the square of its width, which is 1 at least.
            roots = [math.sqrt(value) for value in importance(level)]
            if mean := sum(roots) / len(roots):  # 0 where every cell has one value
                shares[level] = [root / mean for root in roots]

    def make(widths: list[int]) -> Architecture:
        return Tree(
            coordinates,
            choice.activation,
            tuple(
                TreeLevel(depth, tuple(1 + round((width - 1) * share) for share in of_level))
                for depth, width, of_level in zip(depths, widths, shares, strict=True)
            ),
        )

    # Weights of a level are about depth x nodes x width^2.
    return _Shape(
        make,
        tuple(
            (_LEVEL_RATIO**level / (depth * len(of_level))) ** 0.5
            for level, (depth, of_level) in enumerate(zip(depths, shares, strict=True))
        ),
    )


def _widest(shape: _Shape, network_bytes: int) -> Architecture | None:
    """Grow the width that is furthest behind for as long as one can grow."""
    best, candidates = None, [[1] * len(shape.weights)]
    while True:
        fitting = (w for w in candidates if _coded_bytes(shape.make(w)) <= network_bytes)
        widths = next(fitting, None)
        if widths is None:
            return best
        best = shape.make(widths)
        lags = [width / weight for width, weight in zip(widths, shape.weights, strict=True)]
        candidates = [
            [width + (i == grown) for i, width in enumerate(widths)]
            for grown in sorted(range(len(widths)), key=lags.__getitem__)
        ]


def _coded_bytes(architecture: Architecture) -> int:
    overhead = _MIXTURE_OVERHEAD if isinstance(architecture, Mixture) else _TREE_OVERHEAD
    weights = round(architecture.parameters * BITS_PER_WEIGHT / 8)
    return overhead + _TENSOR_OVERHEAD * len(architecture.tensors) + weights
