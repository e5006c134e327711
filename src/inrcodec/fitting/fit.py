"""The float fit: from the voxels to a `MoEINR`, with routing learned along the way."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from inrcodec.fitting.checkpoint import Checkpoint
from inrcodec.fitting.loss import squared_error
from inrcodec.fitting.optimizer import MuonAdam
from inrcodec.fitting.sampling import Batch, VoxelSampler
from inrcodec.model.gating import Gate, balancing_loss, probe_loss
from inrcodec.model.moe import MoEINR

WARM_UP_STEPS = 50
FINAL_RATE = 0.01
BALANCE_WEIGHT = 0.3
PROBE_SHARE = 8
"""One coordinate in this many runs through all experts, to teach the gate."""
GATE_SHARE = 0.8
"""The gate learns for this share of the steps; the experts then go on alone (Neural Experts)."""

_REPORT_EVERY = 20
_SMOOTHING = 0.97

Report = Callable[[int, int, float], None]
"""Called with the steps done, their total, and the running mean squared error (values -1..1)."""


def learning_rate(step: int, steps: int) -> float:
    """Scale of the learning rate: a short warm-up, then a cosine down to `FINAL_RATE`."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def fit(
    model: MoEINR,
    sampler: VoxelSampler,
    steps: int,
    batch: int,
    report: Report,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fit ``model`` in place to the sampler's voxels by mean squared error: ``steps`` steps of
    ``batch`` voxels. A ``checkpoint`` is where to go on from, and where to leave the state."""
    optimizer = MuonAdam(model, sampler.deviation)
    state = model.state_dict() | optimizer.state_dict()
    done, smoothed = (0, math.nan) if checkpoint is None else checkpoint.restore(state)
    if done:
        sampler.skip(done, batch)
        report(done, steps, smoothed)
    for step in range(done, steps):
        voxels = sampler.draw(batch)
        features = model.encoder(voxels.coordinates)
        output = model.decode(model.mix(features))
        loss = squared_error(output, voxels.target, voxels.weight).mean()
        objective = loss
        if model.gate is not None and step < GATE_SHARE * steps:
            objective = loss + _gate_loss(model, model.gate, features, voxels)
        objective.backward()  # type: ignore[no-untyped-call]
        optimizer.step(learning_rate(step, steps))
        if step % _REPORT_EVERY == 0 or step + 1 == steps:
            # Reading the loss waits for the device, hence not at each step.
            current = loss.item()
            smoothed = current if step < 200 else current + _SMOOTHING * (smoothed - current)
            if checkpoint is not None:
                checkpoint.update(step + 1, smoothed, state)
            report(step + 1, steps, smoothed)


def _gate_loss(model: MoEINR, gate: Gate, features: torch.Tensor, voxels: Batch) -> torch.Tensor:
    """Teach the gate from a dense probe of the batch. features (F, N).

    The gate reads the features without changing them: they serve the reconstruction alone.
    """
    probe = slice(len(voxels.target) // PROBE_SHARE)
    features = features[:, probe].detach()
    with torch.no_grad():
        outputs = [model.decode(model.experts.run(i, features)) for i in range(model.experts.count)]
        target, weight = voxels.target[probe], voxels.weight[probe]
        errors = squared_error(torch.stack(outputs), target, weight)  # (E, N)
        errors = errors / errors.mean().clamp_min(1e-12)
    logits = gate(features)  # (E, N)
    return probe_loss(logits, errors) + BALANCE_WEIGHT * balancing_loss(logits)
