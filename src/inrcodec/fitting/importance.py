"""Where in a volume how much happens: what voxels are drawn by, and what the uneven nodes of an
octree are shared out by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.model.grid import Grid
from inrcodec.model.tree import cell_of

_SPAN = 1 << 20

_CELL_AXES = 3
"""A fourth axis counts volumes, each of which has cells of its own."""

_FLOOR = 0.1
"""A voxel with nothing around it is worth this share of one whose surroundings deviate as much as
those of all do (root of the mean square)."""


class _Axis(NamedTuple):
    """One of more than one voxel, and its cells; the last of them may be smaller."""

    length: int
    side: int

    @property
    def cells(self) -> int:
        return -(-self.length // self.side)

    def voxels(self) -> NDArray[np.int64]:
        """(cells,) of each."""
        return np.diff(np.append(np.arange(0, self.length, self.side), self.length))


class ImportanceMap:
    """How often voxels are to be drawn: as much more often as values change more around them.

    A network is wrong, and its gradients are noisy, where values change; most voxels of a scan are
    of air, or of something else that a few steps teach. What voxels are worth is known by cells of
    two along each axis, so that a draw need not look at every voxel (docs/design.md, "Importance
    sampling").

    values: (voxels,) float32 in -1..1, first axis fastest, of a volume of that shape.
    """

    def __init__(
        self, values: NDArray[np.float32], shape: tuple[int, ...], device: torch.device
    ) -> None:
        self._voxels = len(values)
        self._axes = [
            _Axis(length, 2 if axis < _CELL_AXES else 1)
            for axis, length in enumerate(shape)
            if length > 1
        ]
        slowest_first = self._axes[::-1]
        deviation = local_deviation(
            values.reshape([axis.length for axis in slowest_first]),
            [number for number, axis in enumerate(slowest_first) if axis.side > 1],
        )
        scale = math.sqrt(np.square(deviation).mean(dtype=np.float64)) or 1.0
        worth = deviation.astype(np.float64) / scale + _FLOOR
        of_cells = worth.copy()
        for number, axis in enumerate(slowest_first):
            of_cells *= np.expand_dims(axis.voxels(), [n for n in range(worth.ndim) if n != number])
        self._worth = torch.from_numpy(worth.reshape(-1)).to(device)
        """(cells,) of a voxel of each."""
        self._ends = torch.from_numpy(of_cells.reshape(-1).cumsum()).to(device)
        """(cells,) of all voxels up to the last one of each."""

    def at(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) float64 shares of all importance, 0 to 1 -> the (N,) numbers of the voxels where
        these are reached, and (N,) float32 weights: the chance of a voxel under uniform drawing
        over its own, 1 on average."""
        total = self._ends[-1]
        reached = shares * total
        cell = torch.searchsorted(self._ends, reached, right=True).clamp_(max=len(self._ends) - 1)
        worth = self._worth[cell]
        # Numbers of 32 bits, where they suffice, are divided and gathered twice as fast.
        dtype = torch.int32 if self._voxels < 1 << 31 else torch.int64
        inside = ((self._ends[cell] - reached) / worth).to(dtype)
        cell, number, stride = cell.to(dtype), torch.zeros_like(cell, dtype=dtype), 1
        for axis in self._axes:
            start = cell % axis.cells * axis.side
            width = (axis.length - start).clamp_(max=axis.side)
            # What rounding has led out of the cell comes in again on its other side.
            number += (start + inside % width) * stride
            cell, inside, stride = cell // axis.cells, inside // width, stride * axis.length
        return number, (total / self._voxels / worth).float()


def local_deviation(values: NDArray[np.float32], axes: Sequence[int]) -> NDArray[np.float32]:
    """Standard deviation around each cell of two voxels along the ``axes`` and one along others: of
    the four along each of the ``axes`` that are in the cell or next to it. Beyond the border the
    last voxels count again."""
    mean = values - values.mean(dtype=np.float64).astype(np.float32)
    square = np.square(mean)
    for axis in axes:
        mean, square = _means_of_four(mean, axis), _means_of_four(square, axis)
    found: NDArray[np.float32] = np.sqrt(np.maximum(square - np.square(mean), 0))
    return found


def _means_of_four(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Along an axis, of every two neighbours and the ones before and behind."""
    line = np.moveaxis(values, axis, 0)
    padded = np.concatenate([line[:1], line, *[line[-1:]] * (1 + len(line) % 2)])
    pairs = padded[0::2] + padded[1::2]
    return np.moveaxis((pairs[:-1] + pairs[1:]) / 4, 0, axis)


def cell_variation(values: NDArray[np.float32], shape: tuple[int, ...], level: int) -> list[float]:
    """Sum of squared deviations from the mean in each cell of a level, in Morton order.

    values: (voxels,), first axis fastest, of a grid of that shape. 0 for a cell without voxels.
    """
    grid = Grid(shape, torch.device("cpu"))
    cells = 1 << sum(length > 1 for length in shape) * level
    count, total, squares = torch.zeros(3, cells, dtype=torch.float64)
    for start in range(0, len(values), _SPAN):
        part = torch.from_numpy(values[start : start + _SPAN]).double()
        cell = cell_of(grid.at(torch.arange(start, start + len(part))), level)
        count += torch.bincount(cell, minlength=cells)
        total += torch.bincount(cell, part, minlength=cells)
        squares += torch.bincount(cell, part.square(), minlength=cells)
    deviations: list[float] = (squares - total.square() / count.clamp(min=1)).clamp(min=0).tolist()
    return deviations
