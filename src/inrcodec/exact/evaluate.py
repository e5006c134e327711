"""A network at many points: piece by piece, on several threads, in bounded memory."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.device import single_threads
from inrcodec.errors import is_out_of_memory
from inrcodec.exact.network import ExactNetwork
from inrcodec.volume.sampling_grid import SamplingGrid

_ACTIVATIONS = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Activations of one layer in a piece: what a processor's cache holds, or what fills a GPU."""

OnLevels = Callable[[int, Tensor], None]
"""Called with the number of a sample and the (N,) int64 levels from there on; pieces come in any
order and from any thread."""

_Function = Callable[[Tensor], Tensor]


def evaluate(
    network: ExactNetwork,
    samples: SamplingGrid | NDArray[np.int64],
    on_levels: OnLevels,
    on_done: Callable[[int], None],
    piece: int | None = None,
) -> None:
    """Evaluate ``network`` at all samples of a grid, numbered with the first axis fastest, or at
    (D, N) coordinates in units of 2**-20.

    ``on_done`` is told the number of samples done, from the calling thread. Neither ``piece``
    (samples at a time) nor the number of threads (torch's) changes a level.
    """
    _evaluate(network, network, samples, on_levels, on_done, piece)


def expert_map(
    network: ExactNetwork, grid: SamplingGrid, on_done: Callable[[int], None]
) -> NDArray[np.uint16]:
    """The expert that the gate picks first at each sample of a grid, in its shape, uint16."""
    flat = np.empty(grid.samples, np.uint16)

    def store(first: int, experts: Tensor) -> None:
        flat[first : first + len(experts)] = experts.cpu().numpy()

    _evaluate(network, network.route, grid, store, on_done)
    return flat.reshape(grid.shape, order="F")


def _evaluate(
    network: ExactNetwork,
    function: _Function,
    samples: SamplingGrid | NDArray[np.int64],
    on_levels: OnLevels,
    on_done: Callable[[int], None],
    piece: int | None = None,
) -> None:
    points: _GridPoints | _GivenPoints
    if isinstance(samples, SamplingGrid):
        points = _GridPoints(samples, network.device)
    else:
        points = _GivenPoints(samples, network.device)
    if piece is None:
        piece = max(1, _ACTIVATIONS[network.device.type] // network.architecture.widest)
    starts = iter(range(0, points.count, piece))
    finished: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    stopped = False

    def work() -> None:
        try:
            for start in starts:  # shared by the threads: each takes the next
                if stopped:
                    return
                stop = min(start + piece, points.count)
                for first, levels in _levels(function, points, start, stop):
                    on_levels(first, levels)
                finished.put(stop - start)
        except BaseException as error:
            finished.put(error)

    threads = torch.get_num_threads() if network.device.type == "cpu" else 1
    threads = max(1, min(threads, math.ceil(points.count / piece)))
    done = 0
    with _exact_products(), single_threads(threads) as pool:
        try:
            for _ in range(threads):
                pool.submit(work)
            while done < points.count:
                result = finished.get()
                if isinstance(result, BaseException):
                    raise result
                done += result
                on_done(done)
        finally:
            stopped = True


def _levels(
    function: _Function, points: _GridPoints | _GivenPoints, start: int, stop: int
) -> Iterator[tuple[int, Tensor]]:
    """Levels of the samples start..stop-1, in halves where memory is short."""
    try:
        levels = function(points.span(start, stop))
    except Exception as error:
        if stop - start == 1 or not is_out_of_memory(error):
            raise
    else:
        yield start, levels
        return
    middle = (start + stop) // 2
    yield from _levels(function, points, start, middle)
    yield from _levels(function, points, middle, stop)


class _GridPoints:
    """Fixed-point coordinates of the samples of a grid, by their numbers."""

    def __init__(self, grid: SamplingGrid, device: torch.device) -> None:
        self.count = math.prod(grid.shape)
        self._device = device
        self._axes: list[tuple[int, Tensor]] = []
        stride = 1
        for axis in grid.axes:
            if axis.length > 1:
                coordinates = torch.from_numpy(axis.coordinates()).to(device, torch.float64)
                self._axes.append((stride, coordinates))
            stride *= axis.count

    def span(self, start: int, stop: int) -> Tensor:
        """Coordinates of the samples start..stop-1 -> (D, stop - start) float64."""
        number = torch.arange(start, stop, device=self._device)
        return torch.stack([c[(number // stride) % len(c)] for stride, c in self._axes])


class _GivenPoints:
    """Fixed-point coordinates given as (D, N)."""

    def __init__(self, coordinates: NDArray[np.int64], device: torch.device) -> None:
        self.count = coordinates.shape[1]
        self._device = device
        self._coordinates = coordinates

    def span(self, start: int, stop: int) -> Tensor:
        """Coordinates of the samples start..stop-1 -> (D, stop - start) float64."""
        return torch.from_numpy(self._coordinates[:, start:stop]).to(self._device, torch.float64)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Keep torch from shortening float32 products (TF32, bfloat16), which it may be set to do."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
