"""Rounding weights one after the other, each error made up for by those that come after it.

Optimal Brain Surgeon's update with the whole network's Gauss-Newton matrix; GPTQ (arXiv 2210.17323)
does it layer by layer. In the language of lattices: Babai's nearest plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.quantization import MAX_MAGNITUDE

DAMPING = 3e-2
"""Of the mean diagonal. Without it errors go to weights that hardly act, which are far from where
the matrix holds before they make up for them (docs/design.md, "Damped compensation")."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Round the first ``count`` of the B weights at flat ``indices``, in that order.

    ``spread`` (count, B) is the factor U of `error_spread` for these weights: an error of one step
    in weight i takes ``U[i, j] / U[i, i]`` steps from each weight j that comes after it.
    """

    indices: Tensor
    count: int
    spread: Tensor


@dataclass(frozen=True, slots=True)
class Rate:
    """``weight`` is the error that one bit is worth; ``bits[t][|k|]`` the bits of a level."""

    weight: float
    bits: list[list[float]]
    owner: Tensor


def error_spread(matrix: Tensor, count: int) -> Tensor:
    """The first ``count`` rows of the upper Cholesky factor U of the inverse of a (B, B)
    positive-definite H, `DAMPING` added to its diagonal, with U' U = inv(H).

    From H = R R' with R upper triangular follows U = inv(R).
    """
    lower = _cholesky_backwards(matrix)
    rows = torch.zeros(count, len(matrix), dtype=matrix.dtype)
    rows[:, len(matrix) - count :] = torch.eye(count, dtype=matrix.dtype)
    found: Tensor = torch.linalg.solve_triangular(lower, rows, upper=False, left=False)
    return found.flip(0, 1)


def lasting_error(matrix: Tensor) -> Tensor:
    """(B,) what is left of each weight's squared error, in units of the weight's own, when all that
    come after it have made up for it: ``1 / U[i, i] ** 2``."""
    return _cholesky_backwards(matrix).diagonal().flip(0).square()


def _cholesky_backwards(matrix: Tensor) -> Tensor:
    """R of `error_spread` with rows and columns read backwards, which is a lower triangle."""
    backwards = matrix.flip(0, 1)
    backwards.diagonal().add_(DAMPING * matrix.diagonal().mean() + 1e-30)
    found = torch.linalg.cholesky_ex(backwards)
    if found.info:
        # Samples too few or weights without effect: fall back on each weight's own error.
        return torch.diag(backwards.diagonal().sqrt())
    lower: Tensor = found.L
    return lower


def round_weights(weights: Tensor, steps: Tensor, plans: list[Plan], rate: Rate | None) -> Tensor:
    """Round what the plans name; the others of their groups take over the errors."""
    weights = weights.clone()
    for plan in plans:
        own = weights[plan.indices].numpy()
        own_steps = steps[plan.indices].tolist()
        spread = plan.spread.numpy()
        owners = None if rate is None else rate.owner[plan.indices].tolist()
        for i in range(plan.count):
            step, share = own_steps[i], spread[i, i]
            level = own[i] / step
            chosen = round(level)
            if rate is not None and owners is not None:
                chosen = _cheapest(level, (step / share) ** 2, rate, rate.bits[owners[i]])
            chosen = min(max(chosen, -MAX_MAGNITUDE), MAX_MAGNITUDE)
            own[i:] -= (own[i] - chosen * step) / share * spread[i, i:]
            own[i] = chosen * step
        weights[plan.indices] = torch.from_numpy(own)
    return weights


def _cheapest(level: float, error: float, rate: Rate, bits: list[float]) -> int:
    """Of the two neighbours of ``level`` and the next towards zero, the cheapest in error + rate.

    ``error`` is the cost of being one level off.
    """
    below = math.floor(level)
    toward_zero = below - 1 if level > 0 else below + 2

    def cost(k: int) -> float:
        size = bits[abs(k)] if abs(k) < len(bits) else math.inf
        return error * (level - k) ** 2 + rate.weight * size

    return min((below, below + 1, toward_zero), key=cost)
