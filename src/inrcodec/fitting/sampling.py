"""Random voxels with their coordinates: what one step of the fit sees."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.fitting.importance import ImportanceMap
from inrcodec.model.grid import Grid
from inrcodec.model.statistics import VolumeStatistics

_POOL = 1 << 22
_PASSES = 8
"""Times that a pool is gone through: to fill one takes as long as some hundred small steps."""

_DRAWS_PER_VOXEL = 16


class Batch(NamedTuple):
    """Voxels drawn with unequal chances; ``weight`` makes every sum over them unbiased."""

    coordinates: Tensor
    """(D, N) float32 in -1..1."""
    target: Tensor
    """(N,) float32 values in -1..1."""
    weight: Tensor
    """(N,) float32, 1 on average: the chance under uniform drawing over the actual one."""


class VoxelSampler:
    """Draws voxels in proportion to an `ImportanceMap`, reproducibly from a seed.

    The voxels of one pool are stratified over the volume, so that they repeat as little as
    possible; batches are neighbours in the shuffled pool, which costs no gathering. The random
    numbers come from the CPU, so that the same seed means the same voxels on every device; each
    pool has a seed of its own, so that `skip` need not draw those before.

    values: (voxels,) float32 in -1..1, not all equal, first axis fastest.
    """

    def __init__(
        self, values: NDArray[np.float32], shape: tuple[int, ...], device: torch.device, seed: int
    ) -> None:
        self.statistics = VolumeStatistics.of(values, shape)
        self.device = device
        self.lengths = [length for length in shape if length > 1]
        """Voxels along the axes of the coordinates."""
        self._grid = Grid(shape, device)
        self._values = torch.from_numpy(values).to(device)
        self._seed = seed
        self._importance = ImportanceMap(values, shape, device)
        self._size = min(_POOL, _DRAWS_PER_VOXEL * len(values))
        self._pool: Batch | None = None
        self._pass = 0
        self._next = 0
        # A GPU is done with a pool before the CPU has drawn the numbers of the next one.
        self._ahead = None if device.type == "cpu" else ThreadPoolExecutor(1, "inrcodec")
        self._coming: dict[int, Future[tuple[Tensor, Tensor]]] = {}

    @property
    def pool(self) -> int:
        """The most voxels of one `draw`."""
        return self._size

    def draw(self, count: int) -> Batch:
        """The next ``count`` voxels (fewer, all of a pool, where the volume is tiny)."""
        count = min(count, self._size)
        if self._next + count > self._size:
            self._pass, self._next = self._pass + 1, 0
            if self._pass % _PASSES == 0:
                self._pool = None
        if self._pool is None:
            self._pool = self._fill(self._pass // _PASSES)
        part = slice(self._next, self._next + count)
        self._next += count
        coordinates, target, weight = self._pool
        return Batch(coordinates[:, part], target[part], weight[part])

    @property
    def place(self) -> tuple[int, int]:
        """The number of the pool that the latest draw was of, and where in it that ended: draws of
        one size that have it in common are one and the same."""
        return self._pass // _PASSES, self._next

    def peek(self, count: int) -> Batch:
        """The first ``count`` voxels of the pool at hand (fewer where it is smaller), not drawn."""
        if self._pool is None:
            self._pool = self._fill(self._pass // _PASSES)
        coordinates, target, weight = self._pool
        return Batch(coordinates[:, :count], target[:count], weight[:count])

    def skip(self, draws: int, count: int) -> None:
        """Go on from where ``draws`` calls of ``draw(count)``, at least one, would have led."""
        count = min(count, self._size)
        # Counted from the last draw: a pool that is used up is still the current one.
        self._pass, last = divmod(draws - 1, self._size // count)
        self._next = (last + 1) * count
        self._pool = None

    def _fill(self, index: int) -> Batch:
        """One draw from each of equal shares of the total importance, shuffled."""
        size, device = self._size, self.device
        shares, order = self._random_numbers(index)
        shares = shares.to(device).add_(torch.arange(size, device=device)).div_(size)
        number, weight = self._importance.at(shares)
        order = order.to(device)
        number, weight = number[order], weight[order]
        return Batch(self._grid.at(number), self._values[number], weight)

    def _random_numbers(self, index: int) -> tuple[Tensor, Tensor]:
        """Those of a pool: where to draw, and in what order."""
        if self._ahead is None:
            return _random_numbers(self._size, self._seed, index)
        wanted = (index, index + 1)
        self._coming = {
            number: self._coming.get(number)
            or self._ahead.submit(_random_numbers, self._size, self._seed, number)
            for number in wanted
        }
        return self._coming[index].result()


def _random_numbers(size: int, seed: int, index: int) -> tuple[Tensor, Tensor]:
    """(size,) float64 in 0..1, and an int32 permutation."""
    own = np.random.SeedSequence([seed, index]).generate_state(1)
    generator = torch.Generator().manual_seed(own.item())
    draws = torch.rand(size, generator=generator, dtype=torch.float64)
    return draws, torch.randperm(size, generator=generator, dtype=torch.int32)
