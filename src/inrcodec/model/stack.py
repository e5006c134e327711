"""Stacks of hidden layers: what encoders, experts and nodes of a tree are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from inrcodec.architecture import Activation, Stack
from inrcodec.model.finer import bend, bend_slope, finer_layer, fixed_point_finer
from inrcodec.model.sine import TURN, cosine, fixed_point_sine, sine, sine_layer

FIRST_LAYER_TURNS = 15 / TURN
"""Bound of the first layer's initial weights, in turns over half the field of view: the initial
bandwidth. SIREN's w0 = 30 is too high for volumes at hundreds of bytes to a few kilobytes."""

FINER_FIRST_LAYER_TURNS = 7.5 / TURN
FINER_FIRST_BIAS_TURNS = 1.4
"""Those of FINER, and the bound of its biases, which spread the frequencies: a unit's is multiplied
by 1 + |phase| / 2 (docs/design.md, "Activations")."""

_LAYERS = {Activation.SINE: sine_layer, Activation.FINER: finer_layer}


class HiddenLayer(nn.Module):
    """Weights of one layer; ``experts`` > 0 stacks that many in front: (E, out, in)."""

    def __init__(self, fan_in: int, width: int, *, experts: int = 0) -> None:
        super().__init__()
        stack = (experts,) if experts else ()
        self.weight = nn.Parameter(torch.empty(*stack, width, fan_in))
        self.bias = nn.Parameter(torch.empty(*stack, width))

    def initialize(
        self,
        activation: Activation,
        bandwidths: Sequence[float] | None,
        generator: torch.Generator,
    ) -> None:
        """Fill the layer by SIREN's scheme; ``bandwidths`` are given where it reads coordinates,
        one for each."""
        fan_in = self.weight.shape[-1]
        bound = FIRST_LAYER_TURNS / fan_in if bandwidths else math.sqrt(6 / fan_in) / TURN
        bias_bound = FIRST_LAYER_TURNS / math.sqrt(fan_in)
        if bandwidths and activation is Activation.FINER:
            bound, bias_bound = FINER_FIRST_LAYER_TURNS / fan_in, FINER_FIRST_BIAS_TURNS
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if bandwidths:
                self.weight.mul_(torch.tensor(bandwidths))
            self.bias.uniform_(-bias_bound, bias_bound, generator=generator)


class HiddenStack(nn.ModuleList):
    """The layers of a `Stack`, one after the other; ``experts`` as in `HiddenLayer`.

    With ``fixed_point`` set, activations are rounded as the decoder rounds them.
    """

    fixed_point = False

    def __init__(
        self, stack: Stack, fan_in: int, activation: Activation, *, experts: int = 0
    ) -> None:
        fan_ins = [fan_in] + [stack.width] * (stack.layers - 1)
        super().__init__(
            HiddenLayer(n, stack.width, experts=experts) for n in fan_ins[: stack.layers]
        )
        self.activation = activation

    def __iter__(self) -> Iterator[HiddenLayer]:
        return cast(Iterator[HiddenLayer], super().__iter__())

    def forward(self, features: Tensor, expert: int | None = None) -> Tensor:
        """(in, N) -> (width, N), by the layers of one expert where there are several; or
        (E, in, N) -> (E, width, N), by all of them side by side."""
        layer_of = _LAYERS[self.activation]
        for layer in self:
            own = (layer.weight, layer.bias)
            weight, bias = own if expert is None else (p[expert] for p in own)
            features = layer_of(weight, bias, features, fixed_point=self.fixed_point)
        return features


def activate(
    activation: Activation, phase: Tensor, out: Tensor, *, fixed_point: bool = False
) -> None:
    """Fill ``out`` with what a layer makes of a phase in radians, of its shape."""
    if fixed_point:
        rounded = fixed_point_finer if activation is Activation.FINER else fixed_point_sine
        out.copy_(rounded(phase))
    else:
        sine(bend(phase) if activation is Activation.FINER else phase, out)


def slope_(activation: Activation, phase: Tensor) -> Tensor:
    """The derivative of `activate` by the phase, in place of the phase; rounding has none."""
    if activation is Activation.FINER:
        return torch.mul(cosine(bend(phase)), bend_slope(phase), out=phase)
    return cosine(phase, phase)
