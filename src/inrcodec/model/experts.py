"""Sparse dispatch: each coordinate to one of several networks side by side, and to no other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inrcodec.architecture import Activation, Stack
from inrcodec.model.stack import HiddenStack


class _Permute(torch.autograd.Function):
    """Reorder columns. The derivative of a gather is a scatter, which is slow; that of a
    permutation is the gather by its inverse."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return features.index_select(1, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(1, inverse), None, None


class Grouping:
    """Coordinates in the order of the network they go to. routing: (N,) numbers below ``count``."""

    def __init__(self, routing: Tensor, count: int) -> None:
        self._order = torch.argsort(routing)
        self._inverse = torch.empty_like(self._order)
        self._inverse[self._order] = torch.arange(len(routing), device=routing.device)
        self.counts: list[int] = torch.bincount(routing, minlength=count).tolist()
        """Coordinates that go to each network."""

    def gather(self, features: Tensor) -> Tensor:
        """(F, N) features, those of one network side by side."""
        grouped: Tensor = _Permute.apply(features, self._order, self._inverse)  # type: ignore[no-untyped-call]
        return grouped

    def scatter(self, features: Tensor) -> Tensor:
        """The inverse of `gather`."""
        features = _Permute.apply(features, self._inverse, self._order)  # type: ignore[no-untyped-call]
        return features


class Experts(HiddenStack):
    """A stack of layers for each of ``count`` experts, over the encoder's features."""

    def __init__(self, stack: Stack, fan_in: int, activation: Activation, count: int) -> None:
        super().__init__(stack, fan_in, activation, experts=count)
        self.count = count

    def dispatch(self, features: Tensor, routing: Tensor) -> Tensor:
        """(F, N) features and (N,) expert indices -> (W, N): each expert is one dense product."""
        grouping = Grouping(routing, self.count)
        groups = torch.split(grouping.gather(features), grouping.counts, dim=1)
        outputs = [self.forward(group, i) for i, group in enumerate(groups) if group.shape[1]]
        return grouping.scatter(torch.cat(outputs, dim=1))
