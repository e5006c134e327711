"""What a gate is taught before the fit begins: balanced cells, one for each expert.

Without it a gate starts with a few large regions, and experts that begin with no coordinates learn
nothing. Neural Experts (arXiv 2410.21643, sec. 3) teaches a random pattern; MoEC's gate starts here
from compact boxes, whose experts have less to describe (docs/design.md, "Where a gate starts").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.architecture import Partition
from inrcodec.device import single_threads
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.moe import MoEINR

STEPS = 400
BATCH = 4096
RATE = 1e-2

_CELLS = 1 << 18
"""Of the random pattern: 64 an axis of a volume, as in the paper."""

_CUT_BY = 1 << 18
"""Voxels that the boxes are balanced by."""

Cells = Callable[[Tensor], Tensor]
"""(D, N) coordinates -> (N,) number of the cell that each is in."""


def pretrain_gate(model: MoEINR, sampler: VoxelSampler, generator: torch.Generator) -> None:
    """Teach the gate, and nothing else."""
    a = model.architecture
    voxels = sampler.peek(max(_CUT_BY, STEPS * BATCH)).coordinates
    if a.partition is Partition.NEURAL_EXPERTS:
        cells = random_cells(a.coordinates, a.experts, generator)
    else:
        cells = balanced_boxes(voxels[:, :_CUT_BY].cpu(), sampler.lengths, a.experts)
    optimizer = torch.optim.Adam(model.gate_parameters(), lr=RATE, betas=(0.9, 0.99), fused=True)
    batches = list(
        zip(torch.split(voxels, BATCH, dim=1), torch.split(cells(voxels), BATCH), strict=True)
    )
    with single_threads(1):
        for step in range(STEPS):
            coordinates, target = batches[step % len(batches)]
            with torch.no_grad():
                features = model.encoder(coordinates)
            loss = functional.cross_entropy(model.gate(coordinates, features).mT, target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()


def random_cells(axes: int, count: int, generator: torch.Generator) -> Cells:
    """A grid of cells with a random number below ``count`` each, as many of one as of another."""
    side = int(_CELLS ** (1 / axes) + 1e-9)
    pattern = torch.randperm(side**axes, generator=generator) % count

    def cells(coordinates: Tensor) -> Tensor:
        places = ((coordinates + 1) * (side / 2)).long().clamp_(max=side - 1)
        numbers = sum(place * side**axis for axis, place in enumerate(places))
        return pattern.to(coordinates.device)[numbers]

    return cells


def balanced_boxes(coordinates: Tensor, lengths: list[int], count: int) -> Cells:
    """``count`` boxes that hold as many of the (D, N) coordinates each: a k-d tree, cut across the
    axis along which a box's coordinates spread furthest. ``lengths`` (D,): voxels along the axes.
    """
    if count == 1 or not coordinates.numel():
        return lambda points: torch.zeros_like(points[0], dtype=torch.int64)
    few = count // 2
    axis = int((torch.tensor(lengths) * coordinates.std(dim=1, correction=0)).argmax())
    values = coordinates[axis]
    border = values.kthvalue(max(1, len(values) * few // count)).values
    low = balanced_boxes(coordinates[:, values <= border], lengths, few)
    high = balanced_boxes(coordinates[:, values > border], lengths, count - few)

    def cells(points: Tensor) -> Tensor:
        return torch.where(points[axis] <= border, low(points), high(points) + few)

    return cells
