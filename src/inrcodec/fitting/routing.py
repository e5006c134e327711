"""How a gate learns where to send coordinates.

From a dense probe: a few coordinates that pass all experts, whose errors say which of them should
have had each. The gate-weighted sum of the errors is Neural Experts' loss (arXiv 2410.21643,
eq. 4); the balancing loss and the capacity are MoEC's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.architecture import Partition
from inrcodec.fitting.loss import squared_error
from inrcodec.fitting.sampling import Batch
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR, best_expert

BALANCE_WEIGHT = 0.1
PROBE_SHARE = 8
"""One coordinate in this many, or in as many as there are experts where these are more, passes all
experts, at each `PROBE_INTERVAL`-th step."""
PROBE_INTERVAL = 2
FIRST_STEP = 100
"""Until then the experts differ by chance alone."""
GATE_SHARES = {Partition.MOEC: 0.3, Partition.NEURAL_EXPERTS: 0.8}
"""The gate learns for this share of the fit, and the experts then go on alone. That of Neural
Experts is the paper's; MoEC gains nothing by more (docs/design.md, "Where a gate starts")."""
CAPACITY = 1.25
"""Coordinates that one expert takes while the gate learns, over an even share."""


def gate_learns(model: INR, share: float) -> bool:
    """Whether the model has a gate that still moves when that share of the fit is done."""
    return isinstance(model, MoEINR) and share < GATE_SHARES[model.architecture.partition]


def is_probed(step: int) -> bool:
    """Whether a gate that learns is taught at that step."""
    return step >= FIRST_STEP and step % PROBE_INTERVAL == 0


def gate_loss(model: MoEINR, voxels: Batch) -> Tensor:
    """What teaches the gate, from all experts' errors at the voxels; Neural Experts' loss teaches
    the experts too."""
    teach_experts = model.architecture.partition is Partition.NEURAL_EXPERTS
    with torch.set_grad_enabled(teach_experts):
        features = model.encoder(voxels.coordinates)
        outputs = model.decode_each(model.experts(features.expand(model.experts.count, -1, -1)))
        errors = squared_error(outputs, voxels.target, voxels.weight)  # (E, N)
    # The gate reads the features without changing them: they serve the reconstruction alone.
    logits = model.gate(voxels.coordinates, features.detach())
    scale = errors.detach().amin(0).mean().clamp_min(1e-12)
    loss = probe_loss(logits, errors.detach() / scale) + BALANCE_WEIGHT * balancing_loss(logits)
    return loss + probe_loss(logits.detach(), errors) if teach_experts else loss


def probe_loss(logits: Tensor, squared_errors: Tensor) -> Tensor:
    """Gate-weighted sum of the experts' squared errors, mean over coordinates. Both (E, N)."""
    return (functional.softmax(logits, dim=0) * squared_errors).sum(0).mean()


def balancing_loss(logits: Tensor) -> Tensor:
    """Switch's balance term (arXiv 2101.03961, eq. 4): E * sum_i share_i * mean probability_i.

    logits (E, N). It is 1 when the experts are used evenly and grows to E when one takes all.
    """
    experts = logits.shape[0]
    numbers = torch.arange(experts, device=logits.device)
    share = (best_expert(logits) == numbers[:, None]).float().mean(1)
    return experts * (share * functional.softmax(logits, dim=0).mean(1)).sum()


def within_capacity(logits: Tensor) -> Tensor:
    """(E, N) logits -> (N,) the best expert of each coordinate, or the next best one with room
    where that has more than `CAPACITY` (GShard, arXiv 2006.16668).

    The surest coordinates keep their place (Tutel's batch-prioritized routing). None is dropped: it
    has to have a value.
    """
    experts, count = logits.shape
    capacity = int(CAPACITY * count / experts)
    routing = best_expert(logits)
    loads = torch.bincount(routing, minlength=experts)
    with_room = logits.masked_fill((loads >= capacity)[:, None], -torch.inf)
    for expert in (loads > capacity).nonzero()[:, 0].tolist():
        mine = (routing == expert).nonzero()[:, 0]
        sureness = logits[expert, mine] - logits[:, mine].logsumexp(0)
        over = mine[sureness.argsort()[: len(mine) - capacity]]
        routing[over] = best_expert(with_room[:, over])
    return routing
