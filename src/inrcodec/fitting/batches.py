"""Batches in which every expert has as many voxels as every other: balanced dispatch.

Where voxels go is decided for many steps at once, and each expert gets the same number of its own
in every step; their weights make up for its share of the volume. Then no step sorts, counts or
permutes anything, and all experts are one batched product. A gate that learns moves its borders
little in so few steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from inrcodec.device import ShareOut
from inrcodec.fitting.routing import PROBE_SHARE, within_capacity
from inrcodec.fitting.sampling import Batch, VoxelSampler
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR

ROUTED_STEPS = 32
"""Steps whose voxels are routed together, at most."""

_ROUTED_TOGETHER = 1 << 19
"""Their voxels: where batches are large, progress is told between fewer steps."""

_ROUTED_AT_A_TIME = {"cpu": 1 << 14, "cuda": 1 << 20}


class Step(NamedTuple):
    """What one step sees, in parts of one size that may be worked on side by side."""

    parts: list[Batch]
    """Voxels by path, as `INR.forward_balanced` takes them."""
    probes: list[Batch]
    """A few of the voxels as they were drawn, to teach a gate with."""

    def tensors(self) -> Iterator[Tensor]:
        """All that it is made of, in one order for steps of one size."""
        return chain.from_iterable((*self.parts, *self.probes))

    def clone(self) -> Step:
        """One of its own memory."""
        of_lists = ([Batch(*map(torch.clone, part)) for part in parts] for parts in self)
        return Step(*of_lists)


class BalancedBatches:
    """Steps of about ``batch`` voxels in ``parts`` parts, after the first ``done`` of them.
    ``share_out`` may find where voxels go on several threads."""

    def __init__(
        self,
        model: INR,
        sampler: VoxelSampler,
        batch: int,
        parts: int,
        *,
        share_out: ShareOut = map,
        done: int = 0,
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._parts = parts
        self._share_out = share_out
        self._paths = model.groups
        self._each = max(1, batch // (parts * self._paths))
        """Voxels of one path in one part."""
        size = self._each * self._paths * parts
        self._steps = max(1, min(ROUTED_STEPS, min(_ROUTED_TOGETHER, sampler.pool) // size))
        self._count = self._steps * size
        self._done = done
        self._drawn: Batch | None = None
        self._balanced: Batch | None = None
        self._moves = isinstance(model, MoEINR) and model.gate.reads_features
        """Whether voxels change their path as long as any weight is trained."""
        self._settled: dict[tuple[int, int], Batch] = {}
        """Of voxels that do not: those of one pool, routed once, by the sampler's place."""
        if done:
            sampler.skip(-(-done // self._steps), self._count)

    def may_stop(self) -> bool:
        """Whether the next step's voxels are still to be drawn: a fit that is stopped here can go
        on as if it had not been."""
        return self._done % self._steps == 0

    def next(self, *, learning: bool = False) -> Step:
        """The next step's voxels. While the gate of a mixture is ``learning``, no expert takes more
        than its capacity."""
        if self.may_stop() or self._drawn is None or self._balanced is None:
            self._drawn = self._sampler.draw(self._count)
            self._balanced = self._routed(self._drawn, learning)
        step = self._done % self._steps
        self._done += 1
        size = self._each * self._paths
        probe = max(1, size // max(PROBE_SHARE, self._model.architecture.paths))
        numbers = range(step * self._parts, (step + 1) * self._parts)
        return Step(
            [_cut(self._balanced, number * size, size) for number in numbers],
            [_cut(self._drawn, number * probe, probe) for number in numbers],
        )

    def _routed(self, drawn: Batch, learning: bool) -> Batch:
        if self._paths == 1:
            return drawn
        if learning or self._moves:
            return self._balance(drawn, learning)
        pool, _ = place = self._sampler.place
        if place not in self._settled:
            if any(pool != other for other, _ in self._settled):
                self._settled.clear()
            self._settled[place] = self._balance(drawn, learning)
        return self._settled[place]

    @torch.no_grad()
    def _balance(self, drawn: Batch, learning: bool) -> Batch:
        """Some of the voxels, flat: part after part, in each the same number of each path."""
        routing = self._route(drawn.coordinates, learning)
        counts = torch.bincount(routing, minlength=self._paths)
        order = routing.to(torch.int16).argsort(stable=True)  # sorts 4 times as fast
        first = (counts.cumsum(0) - counts)[:, None]
        parts = self._steps * self._parts
        # A path with few voxels sees them again and again, one with none a voxel of weight 0.
        places = torch.arange(parts * self._each, device=order.device)
        places = places % counts.clamp(min=1)[:, None] + first  # (paths, parts * each)
        chosen = order[places.clamp(max=len(order) - 1)]
        chosen = chosen.view(self._paths, parts, self._each).transpose(0, 1)
        shares = counts.float() * (self._paths / len(routing))
        weight = drawn.weight[chosen] * shares[None, :, None]
        chosen = chosen.reshape(-1)
        return Batch(drawn.coordinates[:, chosen], drawn.target[chosen], weight.reshape(-1))

    def _route(self, coordinates: Tensor, learning: bool) -> Tensor:
        """(D, N) coordinates -> (N,) paths."""
        pieces = torch.split(coordinates, _ROUTED_AT_A_TIME[coordinates.device.type], dim=1)
        model = self._model

        @torch.no_grad()
        def route(piece: Tensor) -> Tensor:
            if learning and isinstance(model, MoEINR):
                return within_capacity(model.logits(piece))
            return model.route(piece)[0][0]

        return torch.cat(list(self._share_out(route, pieces)))


def _cut(voxels: Batch, start: int, size: int) -> Batch:
    part = slice(start, start + size)
    return Batch(voxels.coordinates[:, part], voxels.target[part], voxels.weight[part])
