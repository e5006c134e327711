"""The experts: sine networks side by side, each run only on the coordinates routed to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inrcodec.model.sine import SineLayer, sine_layer


class SineExperts(nn.ModuleList):
    """``layers`` sine layers of ``width`` units for each of ``experts`` experts."""

    def __init__(self, features: int, width: int, layers: int, experts: int) -> None:
        fan_ins = [features] + [width] * (layers - 1)
        super().__init__(SineLayer(fan_in, width, experts=experts) for fan_in in fan_ins)

    def run(self, expert: int, features: Tensor) -> Tensor:
        """One expert on all of (F, N) features -> (W, N)."""
        hidden = features
        for layer in self:
            hidden = sine_layer(layer.weight[expert], layer.bias[expert], hidden)
        return hidden

    def forward(self, features: Tensor, routing: Tensor) -> Tensor:
        """Sparse dispatch: (F, N) features and (N,) expert indices -> (W, N).

        Coordinates are grouped by expert, so that each expert is one dense product and no
        coordinate meets another expert, forward or backward.
        """
        order = torch.argsort(routing)
        counts = torch.bincount(routing, minlength=self.count).tolist()
        groups = features.index_select(1, order).split(counts, dim=1)
        outputs = [self.run(i, group) for i, group in enumerate(groups) if group.shape[1]]
        return torch.cat(outputs, dim=1).index_select(1, torch.argsort(order))

    @property
    def count(self) -> int:
        """Number of experts."""
        return int(self[0].weight.shape[0])
