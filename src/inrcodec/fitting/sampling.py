"""Random voxels with their coordinates: what one step of the fit sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.model.grid import Grid


class VoxelSampler:
    """Draws voxels uniformly over the whole volume, with replacement, reproducibly from a seed.

    values: (voxels,) float32 in -1..1, first axis fastest. The indices are drawn on the CPU, so
    that the same seed means the same voxels on every device.
    """

    def __init__(
        self, values: NDArray[np.float32], shape: tuple[int, ...], device: torch.device, seed: int
    ) -> None:
        self._grid = Grid(shape, device)
        self._values = torch.from_numpy(values).to(device)
        self.mean = float(values.mean(dtype=np.float64))
        self.deviation = float(values.std(dtype=np.float64))
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """(D, count) coordinates and (count,) values."""
        grid = self._grid
        indices = [
            torch.randint(n, (count,), generator=self._generator).to(grid.device)
            for n in grid.lengths
        ]
        number = torch.zeros(count, dtype=torch.int64, device=grid.device)
        for index, stride in zip(indices, grid.strides, strict=True):
            number.add_(index, alpha=stride)
        return grid.coordinates(indices), self._values[number]
