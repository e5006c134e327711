"""Gradients of one step, its parts on threads of their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inrcodec.device import single_threads
from inrcodec.fitting.backpropagation import Backpropagation
from inrcodec.fitting.batches import Step
from inrcodec.fitting.loss import squared_error
from inrcodec.fitting.routing import gate_loss
from inrcodec.fitting.sampling import Batch
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR

_Gradients = dict[nn.Parameter, Tensor]


class Gradients:
    """Of a network's mean squared error, and of what teaches its gate: as many parts of a step at a
    time as there are threads, one on a GPU."""

    def __init__(self, model: INR, device: torch.device, pool: ThreadPoolExecutor, parts: int):
        self._model = model
        self._pool = pool
        self.share_out = pool.map
        self.parts = parts
        self._by_hand = None
        if device.type == "cpu" and model.groups == model.architecture.paths:
            self._by_hand = Backpropagation(model, parts)

    def backward(self, step: Step, *, teaches: bool) -> Tensor:
        """Set the parameters' ``grad``, that of the gate's loss where the step ``teaches`` it
        included, and return the mean squared error.

        A parameter that nothing depends on gets none. The sums go by the parts' order, so that the
        same number of parts gives the same bits.
        """
        if self._by_hand is not None:
            self._by_hand.refresh()

        def part(number: int) -> tuple[Tensor, list[_Gradients]]:
            error, found = self._reconstruction(number, step.parts[number])
            if not teaches:
                return error, [found]
            assert isinstance(self._model, MoEINR)
            return error, [found, self._grad(gate_loss(self._model, step.probes[number]))]

        results = list(self._pool.map(part, range(self.parts)))
        for parameter in self._model.parameters():
            given = [g[parameter] for _, found in results for g in found if parameter in g]
            parameter.grad = torch.stack(given).sum(0).div_(self.parts) if given else None
        return torch.stack([error for error, _ in results]).mean()

    def _reconstruction(self, number: int, voxels: Batch) -> tuple[Tensor, _Gradients]:
        if self._by_hand is not None:
            return self._by_hand.gradients(number, voxels)
        output = self._model.forward_balanced(voxels.coordinates)
        error = squared_error(output, voxels.target, voxels.weight).mean()
        return error.detach(), self._grad(error)

    def _grad(self, value: Tensor) -> _Gradients:
        parameters = list(self._model.parameters())
        found = torch.autograd.grad(value, parameters, allow_unused=True)
        return {p: g for p, g in zip(parameters, found, strict=True) if g is not None}


@contextmanager
def gradients(model: INR, device: torch.device, most: int) -> Iterator[Gradients]:
    """Those of a network on a device, in ``most`` parts at most: on a CPU one for each of torch's
    threads."""
    count = min(most, torch.get_num_threads()) if device.type == "cpu" else 1
    with single_threads(count) as pool:
        yield Gradients(model, device, pool, count)
