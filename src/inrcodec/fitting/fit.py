"""The float fit: from the voxels to a network, with routing learned along the way."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from inrcodec.fitting.batches import BalancedBatches, Step
from inrcodec.fitting.checkpoint import Checkpoint
from inrcodec.fitting.deadline import Deadline
from inrcodec.fitting.gradients import gradients
from inrcodec.fitting.optimizer import MuonAdam, muon_rate
from inrcodec.fitting.routing import gate_learns, is_probed
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.inr import INR

WARM_UP_STEPS = 50
FINAL_RATE = 0.01

_SMOOTHING = 0.97

Report = Callable[[int, int, float], None]
"""Called with the steps done, their total, and the running mean squared error (values -1..1)."""


def learning_rate(step: int, share: float) -> float:
    """Scale of the learning rate: a short warm-up, then a cosine down to `FINAL_RATE`, by the share
    of the fit that is done."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * share)
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def fit(
    model: INR,
    sampler: VoxelSampler,
    steps: int,
    batch: int,
    report: Report,
    checkpoint: Checkpoint | None = None,
    deadline: Deadline | None = None,
) -> None:
    """Fit ``model`` in place to the sampler's voxels by mean squared error: ``steps`` steps of
    about ``batch`` voxels, or as many as there are before the ``deadline``. A ``checkpoint`` is
    where to go on from, and where to leave the state.
    """
    deadline = deadline or Deadline()
    optimizer = MuonAdam(model, sampler.statistics.deviation)
    state = model.state_dict() | optimizer.state_dict()
    done, smoothed = (0, math.nan) if checkpoint is None else checkpoint.restore(state)
    if done:
        report(done, steps, smoothed)
    with gradients(model, sampler.device, batch) as crew:
        batches = BalancedBatches(
            model, sampler, batch, crew.parts, share_out=crew.share_out, done=done
        )

        def update(voxels: Step, teaches: bool) -> Tensor:
            error = crew.backward(voxels, teaches=teaches)
            optimizer.step(crew.share_out)
            return error

        repeated = crew.repeated(update)
        for step in range(done, steps):
            share = max(step / steps, deadline.share())
            if share >= 1:
                break
            # Where the deadline is what ends it, as many steps as its pace so far says.
            expected = step / share if step else steps
            muon = muon_rate(batch / model.architecture.paths, expected)
            optimizer.set_rates(learning_rate(step, share), muon)
            learning = gate_learns(model, share)
            loss = repeated(batches.next(learning=learning), learning and is_probed(step))
            if not batches.may_stop() and step + 1 < steps:
                continue
            # Reading the loss waits for the device, hence not at each step.
            current = loss.item()
            smoothed = current if step < 200 else current + _SMOOTHING * (smoothed - current)
            if checkpoint is not None:
                checkpoint.update(step + 1, smoothed, state)
            report(max(step + 1, int(share * steps)), steps, smoothed)
