"""The gate: which experts a coordinate goes to (MoEC, sec. 3; Neural Experts, sec. 3).

Routing is hard: the decoder compares logits, and where one expert acts it has weight one. How the
gate learns is in `inrcodec.fitting.routing`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inrcodec.architecture import Mixture
from inrcodec.model.stack import HiddenStack


class Gate(nn.Module):
    """Coordinates and shared features to one logit an expert.

    ReLU layers, where there are any, and a linear map read the features of the gate's own encoder,
    the shared encoder's, or both.
    """

    def __init__(self, architecture: Mixture) -> None:
        super().__init__()
        a = architecture
        self.encoder = HiddenStack(a.gate.encoder, a.coordinates, a.activation)
        self.reads_features = a.gate.reads_features
        widths = [a.gate_inputs] + [a.gate.hidden.width] * a.gate.hidden.layers
        self.hidden = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.output = nn.Linear(widths[-1], a.experts)

    def forward(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """(D, N) coordinates and their (F, N) shared features -> (E, N) logits."""
        hidden = features
        if len(self.encoder):
            hidden = self.encoder(coordinates)
            if self.reads_features:
                hidden = torch.cat([hidden, features])
        for layer in self.hidden:
            hidden = torch.relu(layer(hidden.mT).mT)
        return torch.addmm(self.output.bias[:, None], self.output.weight, hidden)
