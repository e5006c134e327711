"""The mixture of experts: encoder, gate, experts, decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inrcodec.architecture import Mixture
from inrcodec.model.experts import Experts
from inrcodec.model.gating import Gate
from inrcodec.model.inr import INR, Affine, initialize_linear
from inrcodec.model.stack import HiddenLayer, HiddenStack
from inrcodec.model.statistics import VolumeStatistics

GATE_BANDWIDTH = 0.3
"""Initial bandwidth of the gate's own encoder, to that of the shared one: regions are coarser than
what is in them."""


def best_expert(logits: Tensor) -> Tensor:
    """(E, N) logits -> (N,) the expert with the highest, the lowest number among equals."""
    # A fraction of the time of argmax, and half of that of max; topk would leave ties open.
    experts = len(logits)
    numbers = torch.arange(experts, device=logits.device)[:, None]
    return torch.where(logits == logits.amax(0), numbers, experts - 1).amin(0)


class MoEINR(INR):
    """``Dec(sum_g w_g E_g(e))``, ``e = Enc(x)``, with ``g`` the experts that the gate picks."""

    architecture: Mixture

    def __init__(self, architecture: Mixture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.encoder = HiddenStack(a.encoder, a.coordinates, a.activation)
        self.gate = Gate(a)
        self.experts = Experts(a.expert, a.encoder.width, a.activation, a.experts)
        self.decoder = nn.Linear(a.expert.width, 1)

    def initialize(self, volume: VolumeStatistics, generator: torch.Generator) -> None:
        super().initialize(volume, generator)
        for layer in (*self.gate.hidden, self.gate.output):
            initialize_linear(layer, generator)
        for index, hidden in enumerate(self.gate.encoder):
            bandwidths = None if index else [GATE_BANDWIDTH * b for b in volume.bandwidths]
            hidden.initialize(self.architecture.activation, bandwidths, generator)

    def hidden_layers(self) -> list[HiddenLayer]:
        return [*self.encoder, *self.experts]

    def heads(self) -> list[nn.Linear]:
        return [self.decoder]

    def gate_parameters(self) -> list[nn.Parameter]:
        return list(self.gate.parameters())

    def affines(self, name: str) -> list[Affine]:
        weight, bias = self.get_parameter(f"{name}.weight"), self.get_parameter(f"{name}.bias")
        if not name.startswith("experts."):
            return [Affine(weight, bias)]
        return [Affine(weight, bias, expert) for expert in range(self.architecture.experts)]

    def paths(self) -> list[list[tuple[str, int]]]:
        a = self.architecture
        encoder = [(f"encoder.{layer}", 0) for layer in range(a.encoder.layers)]
        return [
            [*encoder, *((f"experts.{i}", expert) for i in range(a.expert.layers)), ("decoder", 0)]
            for expert in range(a.experts)
        ]

    def route(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        return self.pick(self.logits(coordinates))

    def logits(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates -> what the gate makes of them, (E, N)."""
        features = self.encoder(coordinates) if self.gate.reads_features else coordinates
        logits: Tensor = self.gate(coordinates, features)
        return logits

    def pick(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(E, N) logits -> the (A, N) experts that act, ties going to the lowest, and their (A, N)
        weights: the softmax of their logits."""
        first = best_expert(logits)[None]
        if self.architecture.gate.active == 1:
            return first, torch.ones_like(first, dtype=logits.dtype)
        rest = logits.scatter(0, first, -torch.inf)
        routing = torch.cat([first, best_expert(rest)[None]])
        return routing, torch.softmax(logits.gather(0, routing), dim=0)

    def forward(self, coordinates: Tensor) -> Tensor:
        features = self.encoder(coordinates)  # (F, N)
        with torch.no_grad():  # what teaches the gate is in inrcodec.fitting.routing
            routing, shares = self.pick(self.gate(coordinates, features))
        return self.decode(self.mix(features, routing, shares))

    @property
    def groups(self) -> int:
        return self.architecture.experts if self.architecture.gate.active == 1 else 1

    def forward_balanced(self, coordinates: Tensor) -> Tensor:
        if self.groups == 1:
            return self.forward(coordinates)
        features = self.encoder(coordinates)  # (F, E * n)
        grouped = features.view(len(features), self.architecture.experts, -1).transpose(0, 1)
        return self.decode_each(self.experts(grouped)).reshape(-1)

    def mix(self, features: Tensor, routing: Tensor, shares: Tensor) -> Tensor:
        """(F, N) features through their (A, N) experts -> (W, N), summed with the (A, N) shares:
        the linear decoder commutes with the sum."""
        outputs = [self.experts.dispatch(features, experts) for experts in routing]
        if len(outputs) == 1:
            return outputs[0]
        return outputs[0] * shares[0] + outputs[1] * shares[1]

    def decode_each(self, hidden: Tensor) -> Tensor:
        """`decode` for all experts: (E, W, n) -> (E, n)."""
        return (self.decoder.weight @ hidden + self.decoder.bias[:, None])[:, 0]

    def decode(self, hidden: Tensor) -> Tensor:
        """Shared linear decoder: (W, N) -> (N,)."""
        return torch.addmm(self.decoder.bias[:, None], self.decoder.weight, hidden)[0]
