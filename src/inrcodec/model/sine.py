"""The sine layer (SIREN, arXiv 2006.09661), with its weights in turns.

Features stand first and coordinates second, ``(features, N)``: every product is then a small
matrix times a long one, which is the faster order on CPUs, and a bias is a column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inrcodec.quantization import ACTIVATION_BITS, PHASE_BITS

TURN = 2 * math.pi


def sine(phase: Tensor, out: Tensor | None = None) -> Tensor:
    """The sine of radians, which have no gradient; ``out`` is filled with it where it is given."""
    return _of_radians(np.sin, torch.sin, phase, out)


def cosine(phase: Tensor, out: Tensor | None = None) -> Tensor:
    """The cosine, as `sine`."""
    return _of_radians(np.cos, torch.cos, phase, out)


def _of_radians(
    by_numpy: np.ufunc, by_torch: Callable[..., Tensor], phase: Tensor, out: Tensor | None
) -> Tensor:
    out = torch.empty_like(phase) if out is None else out
    if not phase.is_cpu:
        return by_torch(phase, out=out)
    # torch takes two and a half times as long where its library has no code for the processor.
    by_numpy(phase.numpy(), out=out.numpy())
    return out


class _Sine(torch.autograd.Function):
    """The layer with its derivative by hand: the scaling by a turn falls on the small weights,
    which halves the passes over (out, N) arrays."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, features: Tensor, fixed_point: bool
    ) -> Tensor:
        phase = affine(weight * TURN, bias * TURN, features)  # (out, N), radians
        ctx.save_for_backward(weight, features, phase)
        return fixed_point_sine(phase) if fixed_point else sine(phase)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        weight, features, phase = ctx.saved_tensors
        delta = cosine(phase).mul_(gradient)
        back = (weight.mT * TURN) @ delta if ctx.needs_input_grad[2] else None
        return (delta @ features.mT).mul_(TURN), delta.sum(-1).mul_(TURN), back, None


def affine(weight: Tensor, bias: Tensor, features: Tensor) -> Tensor:
    """``W x + b``: weight (out, in), bias (out,), features (in, N), or all with an axis of experts
    in front -> (out, N), likewise."""
    product = torch.addmm if weight.dim() == 2 else torch.baddbmm
    return product(bias[..., None], weight, features)


def sine_layer(
    weight: Tensor, bias: Tensor, features: Tensor, *, fixed_point: bool = False
) -> Tensor:
    """``sin(2 pi (W x + b))``. weight (out, in), bias (out,), features (in, N) -> (out, N); all of
    them may have an axis of experts in front.

    ``fixed_point`` rounds phase and result as the decoder does (docs/format.md, "Exact
    arithmetic"), to within float32; the derivative is that of the sine.
    """
    output: Tensor = _Sine.apply(weight, bias, features, fixed_point)  # type: ignore[no-untyped-call]
    return output


_STEP = TURN / (1 << PHASE_BITS)


def steps_of(phase: Tensor) -> Tensor:
    """Radians to whole steps of the decoder's phase, rounded down."""
    return (phase / _STEP).floor_()


def sine_of_steps(steps: Tensor) -> Tensor:
    """The decoder's table at whole steps of a phase; overwrites ``steps``."""
    one = float(1 << ACTIVATION_BITS)
    phase = steps.add_(0.5).mul_(_STEP)
    return sine(phase, phase).mul_(one).round_().div_(one)


def fixed_point_sine(phase: Tensor) -> Tensor:
    """What the decoder makes of a phase in radians, to within float32."""
    return sine_of_steps(steps_of(phase))
