"""Bytes to architecture, preset to steps."""

from __future__ import annotations

import pytest

from inrcodec.errors import BudgetError
from inrcodec.planner import (
    BITS_PER_WEIGHT,
    Preset,
    plan_architecture,
    plan_effort,
    smallest_network_bytes,
)


@pytest.mark.parametrize("experts", [None, 1, 2, 7])
@pytest.mark.parametrize("budget", [100, 400, 1000, 4000, 14_000, 100_000])
def test_the_network_fills_its_bytes_but_for_a_row(budget: int, experts: int | None) -> None:
    architecture = plan_architecture(budget, 3, experts)
    weights = architecture.parameters * BITS_PER_WEIGHT / 8
    assert weights < budget
    if budget >= 1000:
        assert weights > 0.75 * budget


def test_large_budgets_get_several_experts_and_small_ones_one() -> None:
    assert [plan_architecture(b, 3, None).experts for b in (900, 4600, 13_700)] == [1, 1, 4]


def test_experts_asked_for_are_had() -> None:
    assert plan_architecture(900, 3, 3).experts == 3
    assert plan_architecture(50_000, 4, 1).experts == 1


@pytest.mark.parametrize("experts", [None, 1, 5])
def test_smallest_network(experts: int | None) -> None:
    least = smallest_network_bytes(3, experts)
    assert plan_architecture(least, 3, experts).parameters > 0
    with pytest.raises(BudgetError, match=f"needs {least} or more"):
        plan_architecture(least - 1, 3, experts)


def test_presets_differ_in_length_and_work_is_bounded() -> None:
    for budget in (900, 14_000, 200_000):
        architecture = plan_architecture(budget, 3, None)
        efforts = [plan_effort(preset, architecture, 1 << 24) for preset in Preset]
        voxels = [effort.fit_steps * effort.batch for effort in efforts]
        assert voxels == sorted(voxels) and voxels[0] < voxels[-1]
        assert all(effort.tuning_steps < effort.fit_steps for effort in efforts)
    assert plan_effort(Preset.FAST, architecture, 500).batch == 500
