"""Random voxels with their coordinates: what one step of the fit sees."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.model.grid import Grid
from inrcodec.model.statistics import VolumeStatistics

_FLOOR = 0.5
"""A voxel of average value is drawn as often as one this many standard deviations away from it."""

_POOL = 1 << 22
_PASSES = 8
"""Times that a pool is gone through: to fill one takes as long as some hundred small steps."""

_SLAB = 1 << 22
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
    """Draws voxels in proportion to ``floor + |value - mean|``, reproducibly from a seed.

    Importance sampling: a few bright voxels carry most of the gradient in volumes with a long
    tail, and uniform batches meet them too seldom to steer by. The voxels of one pool are
    stratified over the volume, so that they repeat as little as possible; batches are neighbours in
    the shuffled pool, which costs no gathering. The random numbers come from the CPU, so that the
    same seed means the same voxels on every device; each pool has a seed of its own, so that
    `skip` need not draw those before.

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
        self._slabs = torch.split(self._values, _SLAB)
        self._totals = [float(self._importance(slab).sum()) for slab in self._slabs]
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

    def _importance(self, values: Tensor) -> Tensor:
        look = self.statistics
        return (values - look.mean).abs().double() + _FLOOR * look.deviation

    def _fill(self, index: int) -> Batch:
        """One draw from each of equal shares of the total importance, shuffled."""
        size, device = self._size, self._grid.device
        share = sum(self._totals) / size
        draws, order = self._random_numbers(index)
        draws = draws.to(device)
        draws.add_(torch.arange(size, device=device)).mul_(share)
        ends = torch.tensor(self._totals, dtype=torch.float64).cumsum(0)
        bounds = torch.searchsorted(draws, ends.to(device))
        bounds[-1] = size  # rounding must not lose the last draw
        counts = bounds.diff(prepend=bounds.new_zeros(1)).tolist()
        numbers, start, offset = [], 0, 0.0
        for slab, end, inside in zip(
            self._slabs, ends.tolist(), torch.split(draws, counts), strict=True
        ):
            running = self._importance(slab).cumsum(0)
            found = torch.searchsorted(running, inside - offset, right=True)
            numbers.append(found.clamp_(max=len(slab) - 1).add_(start))
            start, offset = start + len(slab), end
        # Numbers of 32 bits, where they suffice, are divided and gathered twice as fast.
        dtype = torch.int32 if self._grid.voxels < 1 << 31 else torch.int64
        number = torch.cat(numbers).to(dtype)
        number = number[order.to(device)]
        target = self._values[number]
        weight = (share * size / len(self._values)) / self._importance(target)
        return Batch(self._grid.at(number), target, weight.float())

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
