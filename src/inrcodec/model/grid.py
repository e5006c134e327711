"""Voxel grids as coordinates: the centre of voxel ``i`` of ``n`` lies at ``(2 i + 1 - n) / n``.

The field of view thus spans -1..1 along each axis, edge to edge. Axes of one voxel carry no
coordinate. Voxels are numbered with the first axis fastest, as NIfTI stores them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Grid:
    """Coordinates of the voxels of a (X, Y, Z[, T]) grid, on one device."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.voxels = math.prod(shape)
        self.device = device
        self.lengths: list[int] = []
        self.strides: list[int] = []
        self._centres: list[Tensor] = []
        stride = 1
        for length in shape:
            if length > 1:
                index = torch.arange(length, dtype=torch.float64, device=device)
                self.lengths.append(length)
                self.strides.append(stride)
                self._centres.append(((2 * index + 1 - length) / length).float())
            stride *= length

    def coordinates(self, indices: list[Tensor]) -> Tensor:
        """One (N,) index tensor for each axis longer than one voxel -> (D, N) float32."""
        return torch.stack([c[i] for c, i in zip(self._centres, indices, strict=True)])

    def span(self, start: int, stop: int) -> Tensor:
        """Coordinates of the voxels numbered start..stop-1 -> (D, stop - start) float32."""
        number = torch.arange(start, stop, device=self.device)
        return self.coordinates(
            [(number // s) % n for s, n in zip(self.strides, self.lengths, strict=True)]
        )
