"""From bytes to an architecture, and from a preset to the length of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inrcodec.architecture import Architecture
from inrcodec.errors import BudgetError

BITS_PER_WEIGHT = 5.3
"""Where rounding error and a smaller network cost the same (docs/design.md, "Bits a weight")."""

ENCODER_LAYERS = 2
_DEPTHS = ((800, 6), (300, 5), (120, 4), (0, 2))
"""Sine layers by number of weights: deep networks need some width to work with."""

_EXPERTS = ((15_000, 4), (0, 1))
"""Experts by number of weights (docs/design.md, "Number of experts")."""

_NETWORK_OVERHEAD = 8
_TENSOR_OVERHEAD = 2
"""Bytes of chunk N besides the weights, and for each tensor."""


class Preset(StrEnum):
    """How long to fit."""

    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class _Duration:
    """``work``: products of a weight with a voxel, forward; ``most_steps`` bounds tiny fits."""

    work: float
    most_steps: int


_DURATIONS = {
    Preset.FAST: _Duration(2.2e11, 3_000),
    Preset.MEDIUM: _Duration(9e11, 12_000),
    Preset.SLOW: _Duration(50e11, 60_000),
}
"""About 1, 4 and 20 minutes on two cores for a volume of 256^3 voxels at 6000x."""

_SINE_COST = 12
_ROUTING_COST = 40
_VOXEL_COST = 600
"""One sine unit, one feature sent to an expert and back, and one voxel's sampling and loss, in
such products."""

_LARGEST_BATCH = 16384
_SMALLEST_BATCH = 2048
_WANTED_STEPS = 2000
_FEWEST_STEPS = 200
_TUNING_SHARE = 1 / 32


@dataclass(frozen=True, slots=True)
class Effort:
    """Length of the fit and of each tuning between the rounds of quantization, in steps of
    ``batch`` voxels."""

    fit_steps: int
    tuning_steps: int
    batch: int


def plan_effort(preset: Preset, architecture: Architecture, voxels: int) -> Effort:
    """Steps that take the preset's time, whatever the network's size."""
    a, duration = architecture, _DURATIONS[preset]
    units = a.encoder_layers * a.encoder_width + a.expert_layers * a.expert_width
    cost = a.active_parameters + _SINE_COST * units + _VOXEL_COST
    if a.experts > 1:
        cost += _ROUTING_COST * (a.encoder_width + a.expert_width)
    # A large network gets smaller batches before it gets fewer steps.
    batch = int(duration.work / (cost * _WANTED_STEPS))
    batch = min(max(batch, _SMALLEST_BATCH), _LARGEST_BATCH, voxels)
    steps = min(max(int(duration.work / (cost * batch)), _FEWEST_STEPS), duration.most_steps)
    return Effort(steps, max(int(steps * _TUNING_SHARE), 1), batch)


def plan_architecture(network_bytes: int, coordinates: int, experts: int | None) -> Architecture:
    """The widest network whose coded weights fill ``network_bytes``.

    ``experts`` None leaves their number to the budget. Raises `BudgetError` where not even the
    smallest network fits.
    """
    if experts is None:
        for least_weights, count in _EXPERTS[:-1]:
            candidate = _widest(network_bytes, coordinates, count, _DEPTHS[0][1])
            if candidate is not None and candidate.parameters >= least_weights:
                return candidate
        experts = _EXPERTS[-1][1]
    for least_weights, layers in _DEPTHS:
        candidate = _widest(network_bytes, coordinates, experts, layers)
        if candidate is not None and candidate.parameters >= least_weights:
            return candidate
    raise BudgetError(
        f"{max(network_bytes, 0)} bytes are left for the network, which needs "
        f"{smallest_network_bytes(coordinates, experts)} or more: lower the ratio or the number "
        "of experts"
    )


def smallest_network_bytes(coordinates: int, experts: int | None) -> int:
    """Bytes that a network needs at the least."""
    return _coded_bytes(_candidate(coordinates, experts or 1, 2, 1))


def _widest(network_bytes: int, coordinates: int, experts: int, layers: int) -> Architecture | None:
    best, width = None, 1
    while True:
        candidate = _candidate(coordinates, experts, layers, width)
        if _coded_bytes(candidate) > network_bytes:
            return best
        best, width = candidate, width + 1


def _candidate(coordinates: int, experts: int, layers: int, width: int) -> Architecture:
    encoder_layers = min(ENCODER_LAYERS, layers - 1)
    return Architecture(coordinates, experts, encoder_layers, layers - encoder_layers, width, width)


def _coded_bytes(architecture: Architecture) -> int:
    weights = round(architecture.parameters * BITS_PER_WEIGHT / 8)
    return _NETWORK_OVERHEAD + _TENSOR_OVERHEAD * len(architecture.tensors) + weights
