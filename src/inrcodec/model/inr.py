"""What every network here can do: the one face that fitting and quantization see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inrcodec.architecture import Architecture
from inrcodec.model.stack import HiddenLayer, HiddenStack
from inrcodec.model.statistics import VolumeStatistics


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """One ``W x + b`` of a network; ``expert`` is its place in parameters that hold several."""

    weight: nn.Parameter
    bias: nn.Parameter
    expert: int | None = None

    def values(self) -> tuple[Tensor, Tensor]:
        """The (out, in) weight and (out,) bias, detached views."""
        weight, bias = self.weight.detach(), self.bias.detach()
        return (weight, bias) if self.expert is None else (weight[self.expert], bias[self.expert])


class INR(nn.Module, ABC):
    """Implicit neural representation of one volume.

    Coordinates are (D, N) float32 in -1..1 (voxel centres: see docs/format.md, "Samples"), values
    (N,) float32 with -1..1 standing for the volume's lowest and highest stored value. The output is
    not clamped here: the loss and the decoder do that.
    """

    architecture: Architecture
    fixed_point = False
    """Whether activations are rounded as the decoder does."""

    @abstractmethod
    def forward(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates -> (N,) values."""

    @property
    @abstractmethod
    def groups(self) -> int:
        """Groups of coordinates in `forward_balanced`: as many as paths, or 1 where a coordinate
        takes more than one path."""

    @abstractmethod
    def forward_balanced(self, coordinates: Tensor) -> Tensor:
        """`forward` of (D, groups * n) coordinates that stand by path: the first n take path 0, and
        so on."""

    @abstractmethod
    def hidden_layers(self) -> list[HiddenLayer]:
        """Sine layers from coordinates to heads, the gate's apart. The first reads coordinates."""

    @abstractmethod
    def heads(self) -> list[nn.Linear]:
        """Linear maps to values."""

    @abstractmethod
    def gate_parameters(self) -> list[nn.Parameter]:
        """All that routing depends on alone."""

    @abstractmethod
    def affines(self, name: str) -> list[Affine]:
        """The maps whose matrices the tensor ``name + ".weight"`` of the file holds, in order."""

    @abstractmethod
    def paths(self) -> list[list[tuple[str, int]]]:
        """For each expert or leaf, the maps that its coordinates pass: a name, and a place in its
        `affines`."""

    @abstractmethod
    def route(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """(D, N) coordinates -> the (A, N) paths that act on each, and their (A, N) weights."""

    @torch.no_grad()
    def initialize(self, volume: VolumeStatistics, generator: torch.Generator) -> None:
        """Make the network ready to be fitted to such a volume."""
        for index, layer in enumerate(self.hidden_layers()):
            bandwidths = None if index else volume.bandwidths
            layer.initialize(self.architecture.activation, bandwidths, generator)
        for head in self.heads():
            initialize_linear(head, generator)
            head.weight.mul_(0.1 * volume.deviation)
            head.bias.fill_(volume.mean)

    def use_fixed_point(self) -> None:
        """Round activations as the decoder does, from here on."""
        self.fixed_point = True
        for module in self.modules():
            if isinstance(module, HiddenStack):
                module.fixed_point = True

    @torch.no_grad()
    def load(self, tensors: list[Tensor]) -> None:
        """Fill the network with the values of ``architecture.tensors``."""
        specs = self.architecture.tensors
        for spec, weights, biases in zip(specs[::2], tensors[::2], tensors[1::2], strict=True):
            weights, biases = weights.reshape(-1), biases.reshape(-1)
            for affine in self.affines(spec.name.removesuffix(".weight")):
                weight, bias = affine.values()
                weight.copy_(weights[: weight.numel()].view_as(weight))
                bias.copy_(biases[: len(bias)])
                weights, biases = weights[weight.numel() :], biases[len(bias) :]


def initialize_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Fill a linear map, for inputs of about -1..1."""
    bound = (6 / layer.in_features) ** 0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
