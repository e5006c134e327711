"""A training step as a CUDA graph: hundreds of kernels, launched by one call.

A step of these small networks takes a GPU less time than Python needs to launch its kernels one by
one. They are captured once, with all of their arrays, and launched together from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.fitting.batches import Step

Update = Callable[[Step, bool], Tensor]
"""What a step does with its voxels, and whether these teach a gate; returns the error."""

_WARM_UP_STEPS = 3


class Replay:
    """``update``, which must not wait for the device and must find all that changes from step to
    step in tensors: the voxels, which are copied to where the graph looks for them, and its own.
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._seen = {True: 0, False: 0}
        self._captured: dict[bool, _Captured] = {}

    def __call__(self, step: Step, teaches: bool) -> Tensor:
        self._seen[teaches] += 1
        # Libraries set themselves up in the first steps, which a capture does not allow.
        if self._seen[teaches] <= _WARM_UP_STEPS:
            return self._update(step, teaches)
        if teaches not in self._captured:
            self._captured[teaches] = _Captured(self._update, step, teaches)
        return self._captured[teaches].run(step)


class _Captured:
    def __init__(self, update: Update, step: Step, teaches: bool) -> None:
        self._step = step.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._error = update(self._step, teaches)

    def run(self, step: Step) -> Tensor:
        for place, tensor in zip(self._step.tensors(), step.tensors(), strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return self._error
