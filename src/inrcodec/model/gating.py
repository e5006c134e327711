"""The gate: which expert a coordinate goes to, decided on its encoded features (MoEC, sec. 3).

Routing is hard and top-1, with weight one: the decoder compares logits and nothing else. The gate
learns from a dense probe of a few coordinates (`probe_loss`), where every expert's error is known
and weighted by the gate's probability (Neural Experts, arXiv 2410.21643, eq. 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Gate(nn.Module):
    """Features to one logit an expert: two ReLU layers of ``width`` and a linear map, or (width 0)
    the linear map alone."""

    def __init__(self, features: int, experts: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList()
        if width:
            self.hidden.extend([nn.Linear(features, width), nn.Linear(width, width)])
        self.output = nn.Linear(width or features, experts)

    def forward(self, features: Tensor) -> Tensor:
        """(F, N) features -> (E, N) logits."""
        hidden = features
        for layer in self.hidden:
            hidden = torch.relu(layer(hidden.mT).mT)
        return torch.addmm(self.output.bias[:, None], self.output.weight, hidden)

    def route(self, features: Tensor) -> Tensor:
        """(F, N) features -> (N,) index of the expert; ties go to the lowest."""
        return self.forward(features).argmax(dim=0)


def probe_loss(logits: Tensor, squared_errors: Tensor) -> Tensor:
    """Gate-weighted sum of the experts' squared errors, mean over coordinates. Both (E, N)."""
    return (functional.softmax(logits, dim=0) * squared_errors).sum(0).mean()


def balancing_loss(logits: Tensor) -> Tensor:
    """Switch's balance term (arXiv 2101.03961, eq. 4): E * sum_i share_i * mean probability_i.

    logits (E, N). It is 1 when the experts are used evenly and grows to E when one takes all.
    """
    experts = logits.shape[0]
    share = torch.bincount(logits.argmax(0), minlength=experts) / logits.shape[1]
    return experts * (share * functional.softmax(logits, dim=0).mean(1)).sum()
