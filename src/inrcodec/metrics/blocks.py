"""A volume in blocks, so that temporary memory does not grow with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

BLOCK_VOXELS = 1 << 20


def blocks(shape: tuple[int, ...], voxels: int = BLOCK_VOXELS) -> Iterator[tuple[slice, ...]]:
    """Regions of at most ``voxels`` voxels that make up ``shape``, long in its first axes."""
    regions = []
    for length in shape:
        size = max(1, min(length, voxels))
        voxels //= size
        regions.append([slice(i, min(i + size, length)) for i in range(0, length, size)])
    return itertools.product(*regions)
