"""Gradients of one step, its parts on threads of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from inrcodec.device import ShareOut, single_threads
from inrcodec.fitting.backpropagation import Backpropagation
from inrcodec.fitting.batches import Step
from inrcodec.fitting.loss import squared_error
from inrcodec.fitting.replay import Replay, Update
from inrcodec.fitting.routing import gate_loss
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR

LEAST_PART = 4096
"""Voxels of one thread; with fewer, threads spend their time waiting for each other."""


class Gradients:
    """Of a network's mean squared error, and of what teaches its gate: as many parts of a step at a
    time as there are threads, one on a GPU."""

    def __init__(self, model: INR, device: torch.device, pool: ThreadPoolExecutor, parts: int):
        self._model = model
        self._parameters = list(model.parameters())
        self._pool = pool
        on_cpu, one_path = device.type == "cpu", model.groups == model.architecture.paths
        self.share_out: ShareOut = pool.map if on_cpu else map
        self.parts = parts
        self._by_hand = Backpropagation(model, parts) if on_cpu and one_path else None
        # Where a coordinate takes two paths, their lengths are counted on the host.
        self._replays = one_path and not on_cpu

    def repeated(self, update: Update) -> Update:
        """``update``, to be called for many steps: as one launch each where that is possible."""
        return Replay(update) if self._replays else update

    def backward(self, step: Step, *, teaches: bool) -> Tensor:
        """Set the parameters' ``grad``, that of the gate's loss where the step ``teaches`` it
        included, and return the mean squared error.

        A parameter that nothing depends on gets none. The sums go by the parts' order, so that the
        same number of parts gives the same bits.
        """
        for parameter in self._parameters:
            parameter.grad = None
        if self._by_hand is not None:
            self._by_hand.refresh()

        def part(number: int) -> tuple[Tensor, list[Sequence[Tensor | None]]]:
            voxels, found = step.parts[number], []
            if self._by_hand is not None:
                error = self._by_hand.run(number, voxels)
            else:
                output = self._model.forward_balanced(voxels.coordinates)
                error = squared_error(output, voxels.target, voxels.weight).mean()
                found.append(self._grad(error))
            if teaches:
                assert isinstance(self._model, MoEINR)
                found.append(self._grad(gate_loss(self._model, step.probes[number])))
            return error.detach(), found

        # The first part on this thread: to wake another one takes a tenth of a small step.
        others = [self._pool.submit(part, number) for number in range(1, self.parts)]
        results = [part(0), *(other.result() for other in others)]
        if self._by_hand is not None:
            self._by_hand.collect()
        for gradients in (gradients for _, found in results for gradients in found):
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                if gradient is not None:
                    share = gradient if self.parts == 1 else gradient / self.parts
                    parameter.grad = share if parameter.grad is None else parameter.grad + share
        return torch.stack([error for error, _ in results]).mean()

    def _grad(self, loss: Tensor) -> Sequence[Tensor | None]:
        return torch.autograd.grad(loss, self._parameters, allow_unused=True)


@contextmanager
def gradients(model: INR, device: torch.device, batch: int) -> Iterator[Gradients]:
    """Those of a network on a device, for batches of about that size: on a CPU in a part for each
    of torch's threads, unless the batch is so small that they would wait for each other."""
    count = min(max(batch // LEAST_PART, 1), torch.get_num_threads()) if device.type == "cpu" else 1
    with single_threads(count) as pool:
        yield Gradients(model, device, pool, count)
