"""Voxel grids as coordinates: the centre of voxel ``i`` of ``n`` lies at ``(2 i + 1 - n) / n``.

The field of view thus spans -1..1 along each axis, edge to edge; coordinates are the decoder's, in
fixed point. Axes of one voxel carry no coordinate. Voxels are numbered with the first axis fastest,
as NIfTI stores them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inrcodec.volume.sampling_grid import COORDINATE_BITS, AxisSamples


class Grid:
    """Coordinates of the voxels of a (X, Y, Z[, T]) grid, on one device."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.voxels = math.prod(shape)
        self.device = device
        self._lengths: list[int] = []
        self._strides: list[int] = []
        self._centres: list[Tensor] = []
        stride = 1
        for length in shape:
            if length > 1:
                fixed = AxisSamples.whole(length).coordinates()
                self._lengths.append(length)
                self._strides.append(stride)
                self._centres.append(
                    torch.from_numpy(fixed * 2.0**-COORDINATE_BITS).float().to(device)
                )
            stride *= length

    def at(self, number: Tensor) -> Tensor:
        """Voxel numbers (N,) -> coordinates (D, N) float32."""
        axes = zip(self._centres, self._strides, self._lengths, strict=True)
        return torch.stack([c[(number // s) % n] for c, s, n in axes])
