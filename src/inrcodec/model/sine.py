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

TURN = 2 * math.pi

FIRST_LAYER_TURNS = 15 / TURN
"""Bound of the first layer's initial weights, in turns over half the field of view: the initial
bandwidth. SIREN's w0 = 30 is too high for volumes at hundreds of bytes to a few kilobytes."""


class _Sine(torch.autograd.Function):
    """The layer with its derivative by hand: the scaling by a turn falls on the small weights,
    which halves the passes over (out, N) arrays."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
        phase = torch.addmm(bias[:, None] * TURN, weight * TURN, features)  # (out, N), radians
        ctx.save_for_backward(weight, features, phase)
        return torch.sin(phase)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        weight, features, phase = ctx.saved_tensors
        delta = torch.cos(phase).mul_(gradient)
        back = (weight.mT * TURN) @ delta if ctx.needs_input_grad[2] else None
        return (delta @ features.mT).mul_(TURN), delta.sum(1).mul_(TURN), back


def sine_layer(weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
    """``sin(2 pi (W x + b))``. weight (out, in), bias (out,), features (in, N) -> (out, N)."""
    output: Tensor = _Sine.apply(weight, bias, features)  # type: ignore[no-untyped-call]
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
    """``layers`` sine layers of ``width`` units, one after the other."""

    def __init__(self, fan_in: int, width: int, layers: int, *, experts: int = 0) -> None:
        fan_ins = [fan_in] + [width] * (layers - 1)
        super().__init__(SineLayer(n, width, experts=experts) for n in fan_ins)

    def __iter__(self) -> Iterator[SineLayer]:
        return cast(Iterator[SineLayer], super().__iter__())
