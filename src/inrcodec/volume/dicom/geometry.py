"""Where the planes of a series lie: from the patient coordinates of DICOM to RAS+ millimetres.

DICOM's patient coordinates are LPS: x to the left, y to the back, z to the head. Everything outside
of this module is RAS+, as in NIfTI, unless it says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inrcodec.errors import InputError
from inrcodec.volume.dicom.attributes import find, numbers

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_COSINE_TOLERANCE = 1e-3
"""How far direction cosines, which are written with few digits, may be from orthonormal."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Place of one plane in patient coordinates (LPS, mm)."""

    position: tuple[float, float, float]
    """Centre of the first voxel."""
    orientation: tuple[float, ...]
    """6 direction cosines: of a row (along which x grows), of a column (y)."""
    spacing: tuple[float, float]
    """Between rows (y), between columns (x): the order of PixelSpacing."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector of row direction cross column direction, shape (3,)."""
        row, column = _directions(self)
        normal = np.cross(row, column)
        unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
        return unit


def plane(frame: Dataset, shared: Dataset, name: str) -> Plane:
    """Return the place of a frame; ``name`` is for the ``InputError`` where it is not told."""

    def required(keyword: str, count: int) -> tuple[float, ...]:
        value = find(keyword, frame, shared)
        if value is None:
            raise InputError(f"{name}: no {keyword}, so its place in space is unknown")
        return numbers(value, count, f"{name}: {keyword}")

    x, y, z = required("ImagePositionPatient", 3)
    orientation = required("ImageOrientationPatient", 6)
    row, column = np.reshape(orientation, (2, 3))
    products = (row @ row, column @ column, 1.0 + row @ column)
    if any(abs(product - 1.0) > _COSINE_TOLERANCE for product in products):
        raise InputError(f"{name}: ImageOrientationPatient is not two orthogonal unit vectors")
    between_rows, between_columns = required("PixelSpacing", 2)
    if between_rows <= 0.0 or between_columns <= 0.0:
        raise InputError(f"{name}: PixelSpacing is not positive")
    return Plane((x, y, z), orientation, (between_rows, between_columns))


def thickness(frame: Dataset, shared: Dataset, name: str) -> float:
    """Return the third spacing of a slice that has no neighbour, in mm."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = find(keyword, frame, shared)
        if value is not None:
            (spacing,) = numbers(value, 1, f"{name}: {keyword}")
            if spacing > 0.0:
                return spacing
    raise InputError(
        f"{name}: a single slice with neither SliceThickness nor SpacingBetweenSlices, so its "
        "third spacing is unknown"
    )


def step(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Return the vector (LPS, mm), shape (3,), from a plane to the next: equal steps from the first
    to the last of at least two planes."""
    first, last = (np.array(plane.position) for plane in (planes[0], planes[-1]))
    vector: NDArray[np.float64] = (last - first) / (len(planes) - 1)
    return vector


def deviations(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Return by how many mm each plane lies off its place in equal steps, shape (Z,)."""
    if len(planes) < 2:
        return np.zeros(len(planes))
    positions = np.array([plane.position for plane in planes])
    regular = positions[0] + np.arange(len(planes))[:, None] * step(planes)
    distances: NDArray[np.float64] = np.linalg.norm(positions - regular, axis=1)
    return distances


def stack_planes(shared: Dataset, frames: Sequence[Dataset], depth: int) -> list[Plane]:
    """Return the places of the first ``depth`` of the ``frames`` of a `DicomSeries`."""
    return [plane(frames[z], shared, f"slice {z + 1}") for z in range(depth)]


def affine(shared: Dataset, frames: Sequence[Dataset], depth: int) -> NDArray[np.float64]:
    """Return the (4, 4) affine from voxel indices (x, y, z) to RAS+ mm.

    ``shared`` and ``frames`` are those of a `DicomSeries` with ``depth`` planes at each time. The
    third column is the step from the first to the last plane in equal parts, sheared where the
    gantry was tilted.
    """
    planes = stack_planes(shared, frames, depth)
    row, column = _directions(planes[0])
    between_rows, between_columns = planes[0].spacing
    matrix = np.eye(4)
    matrix[:3, 0] = row * between_columns
    matrix[:3, 1] = column * between_rows
    matrix[:3, 2] = (
        step(planes) if depth > 1 else planes[0].normal * thickness(frames[0], shared, "slice 1")
    )
    matrix[:3, 3] = planes[0].position
    ras: NDArray[np.float64] = _LPS_TO_RAS @ matrix
    return ras


def spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the distance in mm of a voxel to its neighbour along each axis."""
    x, y, z = (math.hypot(*affine[:3, axis]) for axis in range(3))
    return x, y, z


def _directions(plane: Plane) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    row, column = np.reshape(plane.orientation, (2, 3))
    return row / np.linalg.norm(row), column / np.linalg.norm(column)
