"""The experts: sine networks side by side, each run only on the coordinates routed to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inrcodec.model.sine import SineStack, sine_layer


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


class SineExperts(SineStack):
    """A stack of sine layers for each of ``count`` experts, over the encoder's features."""

    def __init__(self, features: int, width: int, layers: int, count: int) -> None:
        super().__init__(features, width, layers, experts=count)
        self.count = count

    def run(self, expert: int, features: Tensor) -> Tensor:
        """One expert on all of (F, N) features -> (W, N)."""
        hidden = features
        for layer in self:
            weight, bias = layer.weight[expert], layer.bias[expert]
            hidden = sine_layer(weight, bias, hidden, fixed_point=self.fixed_point)
        return hidden

    def forward(self, features: Tensor, routing: Tensor) -> Tensor:
        """Sparse dispatch: (F, N) features and (N,) expert indices -> (W, N).

        Coordinates are grouped by expert, so that each expert is one dense product and no
        coordinate meets another expert, forward or backward.
        """
        order = torch.argsort(routing)
        counts = torch.bincount(routing, minlength=self.count).tolist()
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        groups: list[Tensor] = _Permute.apply(features, order, inverse).split(counts, dim=1)  # type: ignore[no-untyped-call]
        outputs = [self.run(i, group) for i, group in enumerate(groups) if group.shape[1]]
        mixed: Tensor = _Permute.apply(torch.cat(outputs, dim=1), inverse, order)  # type: ignore[no-untyped-call]
        return mixed
