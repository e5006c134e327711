"""How much happens in the cells of an octree: what its uneven nodes are shared out by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.model.grid import Grid
from inrcodec.model.tree import cell_of

_SPAN = 1 << 20


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
