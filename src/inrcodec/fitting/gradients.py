"""Gradients of one step, its parts on threads of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inrcodec.device import single_threads

Objective = Callable[[int], tuple[Tensor, Tensor]]
"""The number of a part -> its shares of what is to be minimized and of what is to be reported."""


class Workers:
    """As many parts of a step at a time as there are threads: one on a GPU."""

    def __init__(self, pool: ThreadPoolExecutor, parts: int) -> None:
        self._pool = pool
        self.parts = parts

    def backward(self, objective: Objective, parameters: list[nn.Parameter]) -> Tensor:
        """Set the parameters' ``grad`` to the sum of the parts' gradients, and return the sum of
        what they report.

        A parameter that no part depends on gets none. The sums go by the parts' order, so that the
        same number of parts gives the same bits.
        """

        def gradients(part: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            value, reported = objective(part)
            return reported, torch.autograd.grad(value, parameters, allow_unused=True)

        results = list(self._pool.map(gradients, range(self.parts)))
        for index, parameter in enumerate(parameters):
            given = [found[index] for _, found in results]
            present = [gradient for gradient in given if gradient is not None]
            parameter.grad = torch.stack(present).sum(0) if present else None
        return torch.stack([reported for reported, _ in results]).sum()


@contextmanager
def workers(device: torch.device, most: int) -> Iterator[Workers]:
    """Workers for the device, ``most`` at most: on a CPU one for each of torch's threads."""
    count = min(most, torch.get_num_threads()) if device.type == "cpu" else 1
    with single_threads(count) as pool:
        yield Workers(pool, count)
