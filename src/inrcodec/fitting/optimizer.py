"""Muon on the hidden sine matrices, Adam on everything else.

Muon (Jordan et al., 2024; for INRs: arXiv 2512.14366) replaces a matrix's momentum by its nearest
orthogonal matrix, so that all directions of a layer learn at one speed. Learning rates here are in
turns, the unit of the sine layers' weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.device import ShareOut
from inrcodec.fitting.padding import padded
from inrcodec.model.inr import INR

MUON_RATE = 8e-3
ADAM_RATE = 1.4e-2
GATE_RATE = 6e-3
DECODER_RATE = 1.5e-2
"""In standard deviations of the volume's values: the decoder's weights are in units of them."""

_VOXELS_AT_FULL_RATE = 2048
_STEPS_AT_FULL_RATE = 1400
"""Paths that see fewer voxels of a batch have noisier directions, which harm in long fits: from as
many steps on Muon's rate goes down by the root, but not below the root of the voxels' share
(docs/design.md, "Draws of few, not paths of many")."""

_DECAY = 0.1
"""Of matrices, times the rate, each step: noise makes them grow for as long as a fit goes on, until
what they describe is noise too (docs/design.md, "Weights that grow")."""

_MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 3
"""Muon's five are for larger matrices (docs/design.md, "Three steps to a direction")."""

_SHARE = {"cpu": 32, "cuda": 1 << 16}
"""Matrices that go through a step together, on a thread of their own: as many as a core's cache
holds."""


def orthogonalize(matrices: Tensor) -> Tensor:
    """Push the singular values of each of (B, M, N) matrices towards 1 (Newton-Schulz)."""
    a, b, c = _NEWTON_SCHULZ
    rows, columns = matrices.shape[1:]
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-12)
    x = functional.pad(x, (0, padded(columns) - columns, 0, padded(rows) - rows))
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x[:, :rows, :columns]


def muon_rate(voxels: float, steps: float) -> float:
    """The rate of Muon for a network whose paths see so many voxels of a batch each, in a fit of so
    many steps."""
    share = max(voxels / _VOXELS_AT_FULL_RATE, _STEPS_AT_FULL_RATE / steps)
    return MUON_RATE * math.sqrt(min(1.0, share))


class _Matrices:
    """Some of one shape, of which the parameters hold one each or many: small ones are worked on
    side by side."""

    def __init__(self, views: list[tuple[nn.Parameter, slice]]) -> None:
        self._views = views
        self._values = [_matrices(parameter.detach())[own] for parameter, own in views]
        self._counts = [len(values) for values in self._values]
        self.momentum = torch.cat([torch.zeros_like(values) for values in self._values])

    def step(self, rate: Tensor) -> None:
        direction = torch.cat([_matrices(_gradient(p).contiguous())[own] for p, own in self._views])
        self.momentum.mul_(_MOMENTUM).add_(direction)
        direction.add_(self.momentum, alpha=_MOMENTUM)
        update = orthogonalize(direction).mul_(rate)
        kept = 1 - _DECAY * rate
        for values, part in zip(self._values, torch.split(update, self._counts), strict=True):
            values.mul_(kept).sub_(part)


def _matrices(tensor: Tensor) -> Tensor:
    """A (B, M, N) view of one or of many."""
    return tensor.view(-1, *tensor.shape[-2:])


def _gradient(parameter: nn.Parameter) -> Tensor:
    # Experts and nodes that no coordinate reached have no gradient.
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _side_by_side(parameters: list[nn.Parameter], most: int) -> Iterator[_Matrices]:
    """All matrices of some parameters, those of one shape together, ``most`` at a time."""
    by_shape: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_shape.setdefault(parameter.shape[-2:], []).append(parameter)
    for alike in by_shape.values():
        views: list[tuple[nn.Parameter, slice]] = []
        room = most
        for parameter in alike:
            start, count = 0, len(_matrices(parameter))
            while start < count:
                stop = min(start + room, count)
                views.append((parameter, slice(start, stop)))
                room -= stop - start
                start = stop
                if not room:
                    yield _Matrices(views)
                    views, room = [], most
        if views:
            yield _Matrices(views)


class MuonAdam:
    """Optimizer of a network for values of that standard deviation."""

    def __init__(self, model: INR, deviation: float) -> None:
        first, *hidden = model.hidden_layers()
        in_turns = [first.weight, first.bias, *(layer.bias for layer in hidden)]
        heads = [parameter for head in model.heads() for parameter in head.parameters()]
        device = heads[0].device
        self._matrices = list(
            _side_by_side([layer.weight for layer in hidden], _SHARE[device.type])
        )
        self._muon = torch.zeros((), device=device)
        groups = (
            (ADAM_RATE, in_turns),
            (DECODER_RATE * deviation, heads),
            (GATE_RATE, model.gate_parameters()),
        )
        self._adam = torch.optim.Adam(
            [
                {"params": parameters, "base": rate, "lr": torch.zeros((), device=device)}
                for rate, parameters in groups
            ],
            betas=(0.9, 0.99),
            eps=1e-15,
            fused=True,
            capturable=device.type == "cuda",
        )
        # What Adam would make on a parameter's first step; made here, it can be restored before.
        for group in self._adam.param_groups:
            for parameter in group["params"]:
                self._adam.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }

    def state_dict(self) -> dict[str, Tensor]:
        """Momenta and step counters by name: the tensors themselves, to be read or filled."""
        state = {f"muon.{i}": own.momentum for i, own in enumerate(self._matrices)}
        for i, moments in enumerate(self._adam.state.values()):
            state |= {f"adam.{i}.{name}": tensor for name, tensor in moments.items()}
        return state

    def set_rates(self, scale: float, muon: float = MUON_RATE) -> None:
        """``scale`` times Adam's base rates, and times ``muon``, for the steps from here on."""
        for group in self._adam.param_groups:
            group["lr"].fill_(group["base"] * scale)
        self._muon.fill_(muon * scale)

    @torch.no_grad()
    def step(self, share_out: ShareOut = map) -> None:
        """Update all parameters from their gradients. ``share_out`` may map a function over a list
        on several threads."""
        self._adam.step()
        list(share_out(lambda matrices: matrices.step(self._muon), self._matrices))
