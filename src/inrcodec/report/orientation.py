"""How a volume is turned to be looked at: as radiologists see it, from the feet and the front.

The pictures' axes are x (to the right), y (down) and z (up). Of a volume whose orientation is known
x runs to the patient's left, y to the back and z to the head, so that the patient's right is at the
left of a picture, and sagittal planes look to the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.geometry import NiftiGeometry
from inrcodec.volume.sampling_grid import SPATIAL_AXES

PLANES = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
"""Axial, coronal, sagittal: the pictures' axes across the plane, along its rows, and along its
columns."""

_POSITIVE, _NEGATIVE = "RAS", "LPI"
_LEAST_COSINE = 0.38
"""A direction has the letters of all axes that it is within 67.5 degrees of."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """Which of a volume's three spatial axes the pictures' axes are, and in which direction."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    """Of the pictures' axes: whether they run against the volume's."""
    marks: tuple[tuple[str, str], ...] | None
    """Where the two ends of each of the pictures' axes lie in the patient, the first sample's end
    first: ``("R", "L")``; two letters or three where the volume is oblique. None: unknown."""

    def upright(self, volume: NDArray[Any]) -> NDArray[Any]:
        """(X, Y, Z) or (X, Y, Z, T) in the volume's axes -> in the pictures', as a view."""
        turned = volume.transpose(*self.axes, *range(SPATIAL_AXES, volume.ndim))
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def along(self, lengths: Sequence[float]) -> tuple[float, float, float]:
        """A number for each of the volume's axes -> for each of the pictures'."""
        x, y, z = (lengths[axis] for axis in self.axes)
        return x, y, z


UNKNOWN = Orientation((0, 1, 2), (False, True, False), None)
"""x to the right, y and z up."""


def orientation(geometry: NiftiGeometry, shape: tuple[int, ...]) -> Orientation:
    """The orientation that a header tells, or `UNKNOWN` where it tells none."""
    from inrcodec.volume.nifti import read_affine

    if geometry.qform_code <= 0 and geometry.sform_code <= 0:
        return UNKNOWN
    try:
        return orientation_of_affine(read_affine(geometry, shape))
    except ValueError:
        return UNKNOWN


def orientation_of_affine(affine: NDArray[np.float64]) -> Orientation:
    """The orientation by a (4, 4) affine from voxel indices to RAS+; `UNKNOWN` if singular."""
    from nibabel.orientations import io_orientation

    with np.errstate(all="ignore"):
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        if not abs(np.linalg.det(directions)) > 1e-3:
            return UNKNOWN
    nearest = io_orientation(affine)  # type: ignore[no-untyped-call]
    axes = [int(np.flatnonzero(nearest[:, 0] == axis)[0]) for axis in range(SPATIAL_AXES)]
    # RAS+ to the pictures' L, P and S.
    x, y, z = (bool(nearest[axis, 1] != sign) for axis, sign in zip(axes, (-1, -1, 1), strict=True))
    marks = []
    for axis, flip in zip(axes, (x, y, z), strict=True):
        towards = -directions[:, axis] if flip else directions[:, axis]
        marks.append((_letters(-towards), _letters(towards)))
    return Orientation((axes[0], axes[1], axes[2]), (x, y, z), tuple(marks))


def _letters(direction: NDArray[np.float64]) -> str:
    """The letters of a unit vector in RAS+, the nearest axis first."""
    order = np.argsort(-abs(direction), kind="stable")
    return "".join(
        (_POSITIVE if direction[axis] > 0 else _NEGATIVE)[axis]
        for axis in order
        if abs(direction[axis]) > _LEAST_COSINE
    )


def three_axes(volume: NDArray[Any]) -> NDArray[Any]:
    """(X,), (X, Y), (X, Y, Z) or (X, Y, Z, T) -> the same with at least three axes, as a view."""
    return volume.reshape(volume.shape + (1,) * (SPATIAL_AXES - volume.ndim))


def lengths(spacing: Sequence[float], axes: int = SPATIAL_AXES) -> list[float]:
    """Spacing as sizes that can be drawn: 1 where it is missing, 0 or not finite."""
    drawn = [abs(length) if np.isfinite(length) and length else 1.0 for length in spacing[:axes]]
    return drawn + [1.0] * (axes - len(drawn))
