"""A quick look at a volume: what a network starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOOKED_AT = 64
"""Samples along an axis, about: finer detail is beyond what small networks show, or noise."""

_LEAST_BANDWIDTH = 0.05


@dataclass(frozen=True, slots=True)
class VolumeStatistics:
    """Of values in -1..1, not all equal."""

    mean: float
    deviation: float
    """Standard deviation."""
    bandwidths: tuple[float, ...]
    """For each axis of more than one voxel, how fast values change along it, edge to edge of the
    field of view, to how fast they do on the whole; the mean of their squares is 1."""

    @classmethod
    def of(cls, values: NDArray[np.float32], shape: tuple[int, ...]) -> VolumeStatistics:
        """Look at (voxels,) values, first axis fastest, of a volume of that shape."""
        mean = float(values.mean(dtype=np.float64))
        deviation = float(values.std(dtype=np.float64))
        return cls(mean, deviation, _bandwidths(values, shape))


def _bandwidths(values: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[float, ...]:
    """Roots of the root mean square slopes: the frequencies that a network needs along an axis
    grow more slowly than slopes do, which a few edges can make steep (docs/design.md, "Bandwidth of
    the first layer")."""
    small = values.reshape([length for length in reversed(shape) if length > 1])
    for axis in range(small.ndim):
        small = _averaged(small, axis)
    slopes = [
        float(np.square(np.diff(small, axis=axis)).mean(dtype=np.float64)) ** 0.5
        * small.shape[axis]
        for axis in reversed(range(small.ndim))
    ]
    mean = sum(slopes) / len(slopes)
    if mean == 0:  # what there is cancels out in the averages
        return (1.0,) * len(slopes)
    return tuple(max((slope / mean) ** 0.5, _LEAST_BANDWIDTH) for slope in slopes)


def _averaged(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Means of neighbours along an axis, `_LOOKED_AT` of them or somewhat more."""
    together = values.shape[axis] // _LOOKED_AT
    if together < 2:
        return values
    count = values.shape[axis] // together
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    whole = np.take(values, range(count * together), axis=axis)
    means: NDArray[np.float32] = whole.reshape(*before, count, together, *after).mean(axis + 1)
    return means
