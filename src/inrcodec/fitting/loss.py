"""Squared error on the clamped output: what the decoder's clamp forgives costs nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAK = 0.05
"""Share of the gradient that passes outside -1..1, so that a saturated voxel can come back."""


class _ClampToRange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        ctx.save_for_backward(output)
        return output.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return torch.where(output.abs() > 1, gradient * LEAK, gradient)


def clamp_to_range(output: Tensor) -> Tensor:
    """Clamp to the value range -1..1 with a leaky gradient outside. Any shape."""
    clamped: Tensor = _ClampToRange.apply(output)  # type: ignore[no-untyped-call]
    return clamped


def squared_error(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error of the clamped output, element by element."""
    return (clamp_to_range(output) - target).square() * weight


def add_error(output: Tensor, target: Tensor, weight: Tensor, error: Tensor) -> None:
    """Add the sum of `squared_error` to ``error``, and put its gradient by the output in the
    output's place."""
    difference = output.clamp(-1, 1) - target
    delta = difference * weight
    error += torch.dot(delta.view(-1), difference.view(-1))
    torch.where(output.abs() > 1, delta * (2 * LEAK), delta * 2, out=output)
