"""The FINER layer (arXiv 2312.02434): a sine whose frequency grows with its phase.

The paper's ``sin(w0 (|z| + 1) z)`` in turns is ``sin(2 pi (p + p |p| / 4))``: with ``p = 4 z`` and
``w0 = 8 pi`` folded into the weights, p is the phase of a sine layer where it is small. A bias
moves a unit to where the sine is slow or fast: the wider the biases start, the wider the band of
frequencies at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inrcodec.model.sine import TURN, affine, cosine, sine, sine_of_steps, steps_of
from inrcodec.quantization import PHASE_BITS

_LARGEST_PHASE = 1 << 24
"""In steps: the decoder limits the phase before it squares it."""


class _Finer(torch.autograd.Function):
    """The layer with its derivative by hand, as `sine_layer` has it."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, features: Tensor, fixed_point: bool
    ) -> Tensor:
        phase = affine(weight * TURN, bias * TURN, features)  # (out, N), radians
        bent = bend(phase)
        ctx.save_for_backward(weight, features, phase, bent)
        return fixed_point_finer(phase) if fixed_point else sine(bent)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        weight, features, phase, bent = ctx.saved_tensors
        delta = cosine(bent).mul_(gradient).mul_(bend_slope(phase))
        back = (weight.mT * TURN) @ delta if ctx.needs_input_grad[2] else None
        return (delta @ features.mT).mul_(TURN), delta.sum(-1).mul_(TURN), back, None


def finer_layer(
    weight: Tensor, bias: Tensor, features: Tensor, *, fixed_point: bool = False
) -> Tensor:
    """``sin(2 pi (p + p |p| / 4))``, ``p = W x + b``. weight (out, in), bias (out,), features
    (in, N) -> (out, N). ``fixed_point`` is that of `sine_layer`."""
    output: Tensor = _Finer.apply(weight, bias, features, fixed_point)  # type: ignore[no-untyped-call]
    return output


def bend(phase: Tensor) -> Tensor:
    """``p + p |p| / 4`` of phases in turns, here of phases in radians."""
    return torch.addcmul(phase, phase, phase.abs(), value=1 / (4 * TURN))


def bend_slope(phase: Tensor) -> Tensor:
    """Derivative of `bend`."""
    return phase.abs().mul_(1 / (2 * TURN)).add_(1)


def fixed_point_finer(phase: Tensor) -> Tensor:
    """What the decoder makes of a phase in radians, to within float32."""
    steps = steps_of(phase).clamp_(-_LARGEST_PHASE, _LARGEST_PHASE)
    bent = (steps * steps.abs()).mul_(2.0 ** -(PHASE_BITS + 2)).floor_().add_(steps)
    # Whole turns are taken off while they are exact: radians of many turns would not be.
    return sine_of_steps(bent.remainder_(1 << PHASE_BITS))
