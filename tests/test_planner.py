"""Bytes to architecture, preset to steps."""

from __future__ import annotations

import pytest

from inrcodec.architecture import Activation, Architecture, Mixture, Partition, Tree
from inrcodec.errors import BudgetError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.planner import (
    BITS_PER_WEIGHT,
    Allocation,
    NetworkChoice,
    Preset,
    plan_architecture,
    plan_effort,
    plan_network,
    smallest_network_bytes,
)

ANY = NetworkChoice()
SINGLE = NetworkChoice(Partition.SINGLE)
OCTREE = NetworkChoice(Partition.OCTREE)
UNEVEN = NetworkChoice(Partition.OCTREE, allocation=Allocation.IMPORTANCE)
SEVEN = NetworkChoice(Partition.MOEC, experts=7)
NEURAL = NetworkChoice(Partition.NEURAL_EXPERTS, active_experts=2)
CHOICES = pytest.mark.parametrize("choice", [ANY, SINGLE, OCTREE, UNEVEN, SEVEN, NEURAL])


def importance(level: int) -> list[float]:
    return [0.0, 1.0, 4.0, 9.0] * 2 ** (3 * level - 2)


@CHOICES
@pytest.mark.parametrize("budget", [150, 400, 1000, 4000, 14_000, 100_000])
def test_the_network_fills_its_bytes_but_for_a_row(budget: int, choice: NetworkChoice) -> None:
    architecture = plan_architecture(budget, 3, choice, importance)
    architecture.check(DEFAULT_LIMITS)
    weights = architecture.parameters * BITS_PER_WEIGHT / 8
    assert weights < budget
    if budget >= 1000:
        assert weights > 0.9 * budget


@CHOICES
@pytest.mark.parametrize("coordinates", [1, 2, 4])
def test_any_number_of_axes(coordinates: int, choice: NetworkChoice) -> None:
    def even(level: int) -> list[float]:
        return [1.0] * (1 << coordinates * level)

    for budget in (1000, 20_000):
        plan_architecture(budget, coordinates, choice, even).check(DEFAULT_LIMITS)


def experts_of(architecture: Architecture) -> int:
    return architecture.experts if isinstance(architecture, Mixture) else 1


def test_large_budgets_get_several_experts_and_small_ones_one() -> None:
    plans = [plan_architecture(b, 3, ANY) for b in (900, 4600, 13_700)]
    assert [experts_of(plan) for plan in plans] == [1, 1, 4]
    assert [plan.partition for plan in plans] == [Partition.SINGLE] * 2 + [Partition.MOEC]


@pytest.mark.parametrize("partition", Partition)
@pytest.mark.parametrize("activation", Activation)
def test_what_is_asked_for_is_had(partition: Partition, activation: Activation) -> None:
    architecture = plan_architecture(3000, 3, NetworkChoice(partition, activation=activation))
    assert (architecture.partition, architecture.activation) == (partition, activation)


def test_experts_asked_for_are_had() -> None:
    for choice, experts, active in (
        (NetworkChoice(experts=3), 3, 1),
        (NetworkChoice(active_experts=2), 2, 2),
        (NetworkChoice(Partition.NEURAL_EXPERTS, 5, 2), 5, 2),
    ):
        architecture = plan_architecture(900, 3, choice)
        assert isinstance(architecture, Mixture)
        assert (architecture.experts, architecture.gate.active) == (experts, active)


def test_important_cells_get_wide_nodes() -> None:
    architecture = plan_architecture(4000, 3, UNEVEN, importance)
    assert isinstance(architecture, Tree)
    root, *below = architecture.levels
    assert len(root.widths) == 1
    for level in below:
        least, *rising = level.widths[:4]
        assert least == 1
        assert rising[2] - 1 == pytest.approx(3 * (rising[0] - 1), abs=2)
        assert level.widths == level.widths[:4] * (len(level.widths) // 4)


def test_equal_importance_is_an_even_octree() -> None:
    flat = plan_architecture(4000, 3, UNEVEN, lambda level: [2.0] * (1 << 3 * level))
    assert flat == plan_architecture(4000, 3, OCTREE)


def test_cells_of_one_value_make_an_even_octree() -> None:
    flat = plan_architecture(4000, 3, UNEVEN, lambda level: [0.0] * (1 << 3 * level))
    assert flat == plan_architecture(4000, 3, OCTREE)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"partition": Partition.SINGLE, "experts": 4}, "single has no experts"),
        ({"partition": Partition.OCTREE, "experts": 8}, "octree has no experts"),
        ({"partition": Partition.OCTREE, "active_experts": 2}, "octree has no experts"),
        ({"experts": 1}, "2 experts or more"),
        ({"allocation": Allocation.EVEN}, "take the partition octree"),
        ({"partition": Partition.MOEC, "allocation": Allocation.EVEN}, "for an octree"),
    ],
)
def test_contradictions(choice: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkChoice(**choice)  # type: ignore[arg-type]


@CHOICES
def test_smallest_network(choice: NetworkChoice) -> None:
    least = smallest_network_bytes(3, choice)
    assert plan_architecture(least, 3, choice, importance).parameters > 0
    with pytest.raises(BudgetError, match=f"needs {least} or more"):
        plan_architecture(least - 1, 3, choice, importance)


@CHOICES
def test_presets_differ_in_length_and_work_is_bounded(choice: NetworkChoice) -> None:
    for budget in (900, 14_000, 200_000):
        architecture = plan_architecture(budget, 3, choice, importance)
        efforts = [plan_effort(preset, architecture, 1 << 24) for preset in Preset]
        voxels = [effort.fit_steps * effort.batch for effort in efforts]
        assert voxels == sorted(voxels) and voxels[0] < voxels[-1]
        assert all(effort.tuning_steps < effort.fit_steps for effort in efforts)
    assert plan_effort(Preset.FAST, architecture, 500).batch == 500


@pytest.mark.parametrize(
    ("preset", "steps"), [(Preset.FAST, 1000), (Preset.MEDIUM, 4000), (Preset.SLOW, 8000)]
)
@pytest.mark.parametrize("choice", [ANY, SINGLE, OCTREE, SEVEN, NEURAL])
def test_a_preset_gets_no_network_too_large_for_its_time(
    choice: NetworkChoice, preset: Preset, steps: int
) -> None:
    voxels, budget = 1 << 24, 2_000_000
    largest = plan_architecture(budget, 3, choice)
    plan = plan_network(preset, voxels, budget, 3, choice)
    assert plan.architecture.parameters < largest.parameters
    assert plan.most_bytes < budget
    assert 7 < 8 * plan.most_bytes / plan.architecture.parameters < 9
    assert plan_effort(preset, plan.architecture, voxels).fit_steps >= steps
    assert plan_effort(preset, largest, voxels).fit_steps < steps


@CHOICES
def test_small_networks_fill_their_bytes_whatever_the_preset(choice: NetworkChoice) -> None:
    for budget in (400, 14_000):
        plan = plan_network(Preset.FAST, 1 << 24, budget, 3, choice, importance)
        assert plan.architecture == plan_architecture(budget, 3, choice, importance)
        assert plan.most_bytes == budget


def test_a_tiny_volume_has_time_for_what_its_epochs_leave_few_steps_for() -> None:
    plan = plan_network(Preset.MEDIUM, 40**3, 16_000, 3, OCTREE)
    assert plan_effort(Preset.MEDIUM, plan.architecture, 40**3).fit_steps < 4000
    assert plan.architecture == plan_architecture(16_000, 3, OCTREE)


def test_what_is_slow_at_any_size_gets_its_bytes() -> None:
    choice = NetworkChoice(Partition.MOEC, experts=256)
    plan = plan_network(Preset.FAST, 1 << 24, 30_000, 3, choice)
    assert plan.architecture == plan_architecture(30_000, 3, choice)
    assert plan.most_bytes == 30_000
