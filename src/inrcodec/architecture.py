"""The shape of a network: a few integers from which every tensor's shape follows.

``f(x) = Dec(sum_g w_g E_g(e))`` with ``e = Enc(x)`` and ``g`` the one or two experts that the gate
picks from ``e`` (MoEC, arXiv 2312.01361). Free of torch: the file format speaks in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from inrcodec.limits import Limits


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name (as in ``MoEINR.named_parameters``) and shape of one tensor of the network."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Architecture:
    """Layer counts and widths of one mixture-of-experts network (docs/format.md, "Chunk N").

    ``coordinates`` counts the grid axes longer than one voxel. ``gate_width`` is the width of the
    gate's two ReLU layers; 0 makes the gate one linear map. ``active_experts`` (1 or 2) of the
    experts act on each coordinate. Neither means anything for one expert.
    """

    coordinates: int
    experts: int
    encoder_layers: int
    expert_layers: int
    encoder_width: int
    expert_width: int
    gate_width: int = 0
    active_experts: int = 1

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors, in the order in which the file stores them."""
        specs: list[TensorSpec] = []

        def linear(name: str, *shape: int) -> None:
            specs.append(TensorSpec(f"{name}.weight", shape))
            specs.append(TensorSpec(f"{name}.bias", shape[:-1]))

        fan_in = self.coordinates
        for layer in range(self.encoder_layers):
            linear(f"encoder.{layer}", self.encoder_width, fan_in)
            fan_in = self.encoder_width
        if self.experts > 1:
            gate_in = fan_in
            for layer in range(2 if self.gate_width else 0):
                linear(f"gate.hidden.{layer}", self.gate_width, gate_in)
                gate_in = self.gate_width
            linear("gate.output", self.experts, gate_in)
        for layer in range(self.expert_layers):
            linear(f"experts.{layer}", self.experts, self.expert_width, fan_in)
            fan_in = self.expert_width
        linear("decoder", 1, fan_in)
        return tuple(specs)

    @property
    def layers(self) -> int:
        """Sine layers from coordinate to decoder."""
        return self.encoder_layers + self.expert_layers

    @property
    def parameters(self) -> int:
        """Number of weights and biases in the file."""
        return self._shared_parameters + self.experts * self._expert_parameters

    @property
    def active_parameters(self) -> int:
        """Number of weights and biases that one coordinate meets on its way (its cost)."""
        active = min(self.active_experts, self.experts)
        return self._shared_parameters + active * self._expert_parameters

    # In closed form: hostile numbers of layers must not be listed before they are refused.

    @property
    def _shared_parameters(self) -> int:
        width, gate = self.encoder_width, self.gate_width
        count = (self.coordinates + 1) * width + (self.encoder_layers - 1) * (width + 1) * width
        if self.experts > 1:
            hidden = (width + 1) * gate + (gate + 1) * gate
            count += hidden + ((gate or width) + 1) * self.experts
        return count + self.expert_width + 1

    @property
    def _expert_parameters(self) -> int:
        width = self.expert_width
        return (self.encoder_width + 1) * width + (self.expert_layers - 1) * (width + 1) * width

    def check(self, limits: Limits) -> None:
        """Raise `LimitExceededError` if the network is beyond what the reader accepts."""
        width = max(self.encoder_width, self.expert_width, self.gate_width)
        limits.check("experts", self.experts)
        limits.check("layers", self.layers)
        limits.check("width", width)
        limits.check("parameters", self.parameters)
