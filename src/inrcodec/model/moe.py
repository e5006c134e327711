"""The whole network: encoder, gate, experts, decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inrcodec.architecture import Architecture
from inrcodec.model.encoder import SharedEncoder
from inrcodec.model.experts import SineExperts
from inrcodec.model.gating import Gate
from inrcodec.model.sine import init_sine_
from inrcodec.quantization import QuantizedModel


class MoEINR(nn.Module):
    """Mixture-of-experts implicit neural representation of one volume.

    Coordinates are (D, N) float32 in -1..1 (voxel centres: see docs/format.md, "Samples"), values
    (N,) float32 with -1..1 standing for the volume's lowest and highest stored value. The output is
    not clamped here: the loss and the decoder do that.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.encoder = SharedEncoder(a.coordinates, a.encoder_width, a.encoder_layers)
        self.gate = Gate(a.encoder_width, a.experts, a.gate_width) if a.experts > 1 else None
        self.experts = SineExperts(a.encoder_width, a.expert_width, a.expert_layers, a.experts)
        self.decoder = nn.Linear(a.expert_width, 1)

    @classmethod
    def initialized(
        cls, architecture: Architecture, mean: float, deviation: float, generator: torch.Generator
    ) -> MoEINR:
        """A network ready to be fitted to values of that mean and standard deviation."""
        model = cls(architecture)
        for index, layer in enumerate([*model.encoder, *model.experts]):
            init_sine_(layer.weight, layer.bias, first=index == 0, generator=generator)
        linear = [model.decoder]
        if model.gate is not None:
            linear += [*model.gate.hidden, model.gate.output]
        with torch.no_grad():
            for layer in linear:
                bound = (6 / layer.in_features) ** 0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()
            model.decoder.weight.mul_(0.1 * deviation)
            model.decoder.bias.fill_(mean)
        return model

    @classmethod
    def from_quantized(cls, quantized: QuantizedModel) -> MoEINR:
        """The network that the file's integers stand for."""
        model = cls(quantized.architecture)
        with torch.no_grad():
            parameters = model.ordered_parameters()
            for parameter, tensor in zip(parameters, quantized.tensors, strict=True):
                parameter.copy_(torch.from_numpy(tensor.dequantize()))
        return model.requires_grad_(False)

    def ordered_parameters(self) -> list[nn.Parameter]:
        """Parameters in the order of ``architecture.tensors``."""
        named = dict(self.named_parameters())
        return [named[spec.name] for spec in self.architecture.tensors]

    def forward(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates -> (N,) values."""
        features = self.encoder.forward(coordinates)  # (F, N)
        return self.decode(self.mix(features))

    def mix(self, features: Tensor) -> Tensor:
        """Route (F, N) features to their experts -> (W, N); where two act on a coordinate, their
        softmax-weighted sum, which the linear decoder commutes with."""
        if self.gate is None:
            return self.experts.run(0, features)
        if self.architecture.active_experts == 1:
            with torch.no_grad():
                routing = self.gate.route(features)  # (N,)
            return self.experts.forward(features, routing)
        logits, routings = self.gate(features).topk(2, dim=0)  # (2, N)
        shares = torch.softmax(logits, dim=0)
        first, second = (self.experts.forward(features, routing) for routing in routings)
        return first * shares[0] + second * shares[1]

    def use_fixed_point(self) -> None:
        """Round activations as the decoder does, from here on."""
        self.encoder.fixed_point = self.experts.fixed_point = True

    def decode(self, hidden: Tensor) -> Tensor:
        """Shared linear decoder: (W, N) -> (N,)."""
        return torch.addmm(self.decoder.bias[:, None], self.decoder.weight, hidden)[0]
