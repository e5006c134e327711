"""Which voxels of a large volume a page shows: every n-th along each axis."""

from __future__ import annotations

import math

from inrcodec.volume.sampling_grid import SPATIAL_AXES

_FEWEST_VOLUMES = 4
"""Of a time series, before its volumes lose voxels."""


def strides(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Steps along the axes of a volume that leave ``most`` voxels or fewer, at least one.

    A time series is thinned out first; then, again and again, the axis with the most samples is.
    """
    steps = [1] * len(shape)

    def counts() -> list[int]:
        return [-(-length // step) for length, step in zip(shape, steps, strict=True)]

    while math.prod(left := counts()) > max(most, 1):
        if len(shape) > SPATIAL_AXES and left[SPATIAL_AXES] > _FEWEST_VOLUMES:
            axis = SPATIAL_AXES
        else:
            axis = left.index(max(left))
        steps[axis] += 1
    return tuple(steps)
