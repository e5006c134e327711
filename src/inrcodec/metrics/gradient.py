"""How much of a volume's sharpness is lost or made up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.metrics.blocks import blocks


def gradient_error(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: Sequence[float],
    mask: NDArray[np.bool_] | None = None,
) -> float:
    """Relative root-mean-square error of the gradient vectors::

        sqrt( sum |grad(original) - grad(decoded)|^2 / sum |grad(original)|^2 )

    over all voxels, or those of a ``mask`` of the shape of the first three axes, and volumes of a
    fourth axis. 0 for equal volumes, 1 for a decoded volume that
    is constant; inf where only the decoded volume has a gradient. Gradients are central
    differences, one-sided at the border, over ``spacing``: the distance of voxels along each of the
    first three axes, in one unit. An axis of one voxel has none.
    """
    error = energy = 0.0
    for region in blocks(original.shape):
        # One voxel more on each side, where the volume has one, makes all differences central.
        around = tuple(
            slice(max(part.start - 1, 0), min(part.stop + 1, length))
            for part, length in zip(region[:3], original.shape, strict=False)
        )
        kept = tuple(
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(region, around, strict=False)
        )
        read = around + region[3:]
        reference = original[read].astype(np.float64)
        difference = reference - decoded[read]
        inside = ... if mask is None else mask[region[:3]]
        for axis, distance in zip(range(len(around)), spacing, strict=False):
            if original.shape[axis] > 1:
                error += _energy(np.gradient(difference, distance, axis=axis)[kept][inside])
                energy += _energy(np.gradient(reference, distance, axis=axis)[kept][inside])
    if energy == 0:
        return math.inf if error else 0.0
    return math.sqrt(error / energy)


def _energy(values: NDArray[np.float64]) -> float:
    return float(np.sum(values * values))
