"""The sine layer (SIREN, arXiv 2006.09661), with its weights in turns.

Features stand first and coordinates second, ``(features, N)``: every product is then a small
matrix times a long one, which is the faster order on CPUs, and a bias is a column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from inrcodec.quantization import ACTIVATION_BITS, PHASE_BITS

TURN = 2 * math.pi

FIRST_LAYER_TURNS = 15 / TURN
"""Bound of the first layer's initial weights, in turns over half the field of view: the initial
bandwidth. SIREN's w0 = 30 is too high for volumes at hundreds of bytes to a few kilobytes."""


class _Sine(torch.autograd.Function):
    """The layer with its derivative by hand: the scaling by a turn falls on the small weights,
    which halves the passes over (out, N) arrays."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, features: Tensor, fixed_point: bool
    ) -> Tensor:
        phase = torch.addmm(bias[:, None] * TURN, weight * TURN, features)  # (out, N), radians
        ctx.save_for_backward(weight, features, phase)
        return _fixed_point_sine(phase) if fixed_point else torch.sin(phase)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        weight, features, phase = ctx.saved_tensors
        delta = torch.cos(phase).mul_(gradient)
        back = (weight.mT * TURN) @ delta if ctx.needs_input_grad[2] else None
        return (delta @ features.mT).mul_(TURN), delta.sum(1).mul_(TURN), back, None


def _fixed_point_sine(phase: Tensor) -> Tensor:
    step = TURN / (1 << PHASE_BITS)
    middle = (phase / step).floor_().add_(0.5).mul_(step)
    one = float(1 << ACTIVATION_BITS)
    return middle.sin_().mul_(one).round_().div_(one)


def sine_layer(
    weight: Tensor, bias: Tensor, features: Tensor, *, fixed_point: bool = False
) -> Tensor:
    """``sin(2 pi (W x + b))``. weight (out, in), bias (out,), features (in, N) -> (out, N).

    ``fixed_point`` rounds phase and result as the decoder does (docs/format.md, "Exact
    arithmetic"), to within float32; the derivative is that of the sine.
    """
    output: Tensor = _Sine.apply(weight, bias, features, fixed_point)  # type: ignore[no-untyped-call]
    return output


def init_sine_(weight: Tensor, bias: Tensor, *, first: bool, generator: torch.Generator) -> None:
    """Fill a sine layer in place: weight (..., out, in), bias (..., out), SIREN's scheme."""
    fan_in = weight.shape[-1]
    bound = FIRST_LAYER_TURNS / fan_in if first else math.sqrt(6 / fan_in) / TURN
    bias_bound = FIRST_LAYER_TURNS / math.sqrt(fan_in)
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bias_bound, bias_bound, generator=generator)


class SineLayer(nn.Module):
    """Weights of one sine layer; ``experts`` > 0 stacks that many in front: (E, out, in)."""

    def __init__(self, fan_in: int, width: int, *, experts: int = 0) -> None:
        super().__init__()
        stack = (experts,) if experts else ()
        self.weight = nn.Parameter(torch.empty(*stack, width, fan_in))
        self.bias = nn.Parameter(torch.empty(*stack, width))


class SineStack(nn.ModuleList):
    """``layers`` sine layers of ``width`` units, one after the other.

    With ``fixed_point`` set, activations are rounded as the decoder rounds them.
    """

    fixed_point = False

    def __init__(self, fan_in: int, width: int, layers: int, *, experts: int = 0) -> None:
        fan_ins = [fan_in] + [width] * (layers - 1)
        super().__init__(SineLayer(n, width, experts=experts) for n in fan_ins)

    def __iter__(self) -> Iterator[SineLayer]:
        return cast(Iterator[SineLayer], super().__iter__())
