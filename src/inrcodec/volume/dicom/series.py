"""A DICOM series in memory: its stored values as one array, its attributes apart from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inrcodec.volume.dicom.geometry import affine, deviations, spacing, stack_planes


@dataclass(frozen=True, slots=True, eq=False)
class DicomSeries:
    """The planes of a series, sorted along their normal, with everything that was in its files.

    ``data`` holds stored values, before any rescale or lookup table: integers of the type that
    BitsAllocated and PixelRepresentation name, or the floats of a parametric map, native byte
    order, Fortran-ordered, shape (X, Y, Z) or (X, Y, Z, T). X runs along a row of the image (its
    columns), Y down its rows, Z along the normal (row direction cross column direction), T is time,
    echo, b-value: whatever else tells two planes at one position apart.
    """

    data: NDArray[Any]
    shared: Dataset
    """The attributes that are the same in every file; for an enhanced file, its attributes without
    PerFrameFunctionalGroupsSequence. No pixel data, no file meta information, no group lengths."""
    frames: tuple[Dataset, ...]
    """The attributes that differ, one dataset for each plane of ``data``, Z fastest; for an
    enhanced file, the items of PerFrameFunctionalGroupsSequence."""
    enhanced: bool
    """Whether it was one multi-frame file."""
    skipped: int = 0
    """Files of the folder or archive that were passed over: not DICOM, or without an image."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """The (4, 4) affine from voxel indices to RAS+ mm, sheared where the gantry was tilted.

        Slices that were read with ``allow_irregular`` have their own positions in ``frames``; the
        affine then has equal steps from the first of them to the last.
        """
        return affine(self.shared, self.frames, self.data.shape[2])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm of a voxel to its neighbour along x, y and z."""
        return spacing(self.affine)

    @property
    def irregularity(self) -> float:
        """By how many mm the slice farthest from its place in ``affine`` lies off it."""
        planes = stack_planes(self.shared, self.frames, self.data.shape[2])
        return float(deviations(planes).max())


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """The attributes of a `DicomSeries`, as there."""

    shared: Dataset
    frames: tuple[Dataset, ...]
    enhanced: bool
