"""A ``.moec`` file as an array that decodes what is asked of it."""

from __future__ import annotations

import operator
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import EllipsisType
from typing import Any, BinaryIO, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from inrcodec.bitstream.container import read_file
from inrcodec.decoder import Decoder, parse_content, read_bytes
from inrcodec.device import pick_device
from inrcodec.errors import BitstreamError, RegionError, naming
from inrcodec.info import Info, read_info
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.nifti import read_affine
from inrcodec.volume.sampling_grid import (
    COORDINATE_BITS,
    SPATIAL_AXES,
    AxisSamples,
    SamplingGrid,
)
from inrcodec.volume.volume import Volume

Source = str | os.PathLike[str] | bytes | BinaryIO
AxisIndex = SupportsIndex | slice | EllipsisType


class Reader:
    """The volume of a ``.moec`` file: indexed as a numpy array is, decoded where it is indexed.

    All values are stored values: ``info.scaling`` has the slope and intercept to real ones. A file
    is read and the checksums of its chunks are verified at once; a voxel is the same in whatever
    part it is decoded, and the whole volume is compared with its checksum.
    """

    def __init__(
        self,
        source: Source,
        *,
        device: str = "auto",
        threads: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Read a path, the bytes of a file, or a binary file from where it stands.

        ``device`` is ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``; ``threads`` is
        torch's number of threads from here on. Raises a `BitstreamError` for data that cannot be
        read or is beyond ``limits``, and a `DeviceError`.
        """
        self._name = _name(source)
        with naming(self._name):
            data = _read(source, limits)
            self._content = parse_content(data, limits)
            self._decoder = Decoder(self._content, pick_device(device, threads), limits)
            self.info: Info = read_info(data, limits)
            """What the file says of itself: spacing, units, scaling, network, sizes."""

    def __repr__(self) -> str:
        return f"<inrcodec.Reader {self._name}: {' x '.join(map(str, self.shape))} {self.dtype}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis: (X,), (X, Y), (X, Y, Z) or (X, Y, Z, T)."""
        return self._content.header.shape

    @property
    def ndim(self) -> int:
        """Number of axes, 1 to 4."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values: an integer or float of at most 64 bits."""
        return self._content.header.dtype

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): voxel indices to RAS+ mm, as nibabel has it for the decoded NIfTI file.

        Raises a `BitstreamError` for a geometry that nibabel finds no affine in.
        """
        try:
            affine = read_affine(self._content.geometry, self.shape)
        except ValueError as error:
            raise BitstreamError(f"{self._name}: the geometry has no affine: {error}") from None
        affine.flags.writeable = False
        return affine

    @property
    def grid(self) -> SamplingGrid:
        """The voxels as a sampling grid, to crop, scale or respace for `read`."""
        return SamplingGrid.whole(self.shape)

    def read(self, grid: SamplingGrid | None = None) -> Volume:
        """Decode the samples of ``grid``, or all voxels, to an array in the grid's shape with the
        geometry of these samples.

        Raises `RegionError`, `LimitExceededError` and `OutOfMemoryError` before anything is
        computed; `ChecksumError` where all voxels were decoded and are not those of the encoder.
        """
        with naming(self._name):
            return self._decoder.decode(grid)

    def __getitem__(self, index: AxisIndex | tuple[AxisIndex, ...]) -> Any:
        """Stored values of a part, an array or, where every axis has an integer, a scalar.

        Integers, slices of either direction and ``...`` mean what they do in numpy; its other
        indices raise a TypeError.
        """
        selected = _selected(index, self.shape)
        shape = tuple(len(voxels) for voxels in selected if isinstance(voxels, range))
        if 0 in shape:
            return np.empty(shape, self.dtype)
        axes = (
            AxisSamples.whole(length).crop(
                voxels if isinstance(voxels, range) else range(voxels, voxels + 1)
            )
            for voxels, length in zip(selected, self.shape, strict=True)
        )
        return self.read(SamplingGrid(tuple(axes))).data.reshape(shape, order="F")[()]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole volume."""
        if copy is False:
            raise ValueError("decoding makes a new array: it cannot do without a copy")
        whole: NDArray[Any] = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def sample(self, points: ArrayLike, volume: int | None = None) -> NDArray[np.float64]:
        """Values of the continuous volume at ``points``: (..., 3) RAS+ mm -> (...) float64.

        They are stored values before their rounding to the dtype, NaN outside of the field of view,
        which ends half a voxel beyond the outermost voxel centres; a missing y or z axis is one
        voxel thick. A volume with a time axis needs ``volume``, an index of it.

        Raises ``ValueError`` for another shape of ``points`` and for a ``volume`` missing or out of
        place, ``IndexError`` for one out of range, and `RegionError` where the affine has no
        inverse.
        """
        points = np.asarray(points, np.float64)
        if points.shape[-1:] != (SPATIAL_AXES,):
            raise ValueError(f"points have the shape {points.shape}, not (..., 3)")
        if self.ndim > SPATIAL_AXES and volume is None:
            raise ValueError("there is a time axis: choose one of its volumes")
        if self.ndim <= SPATIAL_AXES and volume is not None:
            raise ValueError("there is no time axis to choose a volume of")
        lengths = np.array((*self.shape, 1, 1)[:SPATIAL_AXES])
        with np.errstate(invalid="ignore", over="ignore"):  # points of NaN, infinity, 1e308
            offsets = points.reshape(-1, SPATIAL_AXES) - self.affine[:3, 3]
            positions = offsets @ self._inverse.T
            coordinates = (2 * positions + 1 - lengths) * 2.0**COORDINATE_BITS / lengths
        inside = (np.abs(coordinates) <= 1 << COORDINATE_BITS).all(axis=1)
        inputs = np.floor(coordinates[inside].T[lengths > 1]).astype(np.int64)
        if volume is not None:
            times = AxisSamples.whole(self.shape[SPATIAL_AXES]).coordinates()
            time = np.full((int(len(times) > 1), inputs.shape[1]), times[operator.index(volume)])
            inputs = np.concatenate([inputs, time])
        values = np.full(len(inside), np.nan)
        with naming(self._name):
            values[inside] = self._decoder.sample_at(inputs)
        return values.reshape(points.shape[:-1])

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        """(3, 3): the matrix from mm to voxels."""
        matrix = self.affine[:3, :3]
        with suppress(np.linalg.LinAlgError):
            inverse = np.asarray(np.linalg.inv(matrix), np.float64)
            if np.isfinite(matrix).all() and np.isfinite(inverse).all():
                return inverse
        raise RegionError(
            f"{self._name}: the affine has no inverse, so that points have no voxels; index instead"
        )


def _name(source: Source) -> str:
    """What messages call the file."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "data"


def _read(source: Source, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return read_bytes(Path(source), limits)
    return read_file(source, limits)


def _selected(
    index: AxisIndex | tuple[AxisIndex, ...], shape: tuple[int, ...]
) -> list[int | range]:
    """What numpy takes of each axis of an array of ``shape``: one index, or a range of them.

    Raises what numpy raises, and ``TypeError`` for a kind of index that only numpy knows.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    gaps = [number for number, item in enumerate(items) if item is Ellipsis]
    if len(gaps) > 1:
        raise IndexError("an index can have only one '...'")
    named = len(items) - len(gaps)
    if named > len(shape):
        raise IndexError(f"too many indices: the volume has {len(shape)} axes, not {named}")
    gap = gaps[0] if gaps else named
    items[gap : gap + 1] = [slice(None)] * (len(shape) - named)
    return [
        _select(item, length, axis)
        for axis, (item, length) in enumerate(zip(items, shape, strict=True))
    ]


def _select(item: AxisIndex, length: int, axis: int) -> int | range:
    if isinstance(item, slice):
        voxels = range(length)[item]
        # The step of a single voxel leads nowhere, and may be beyond a float.
        return range(voxels[0], voxels[0] + 1) if len(voxels) == 1 else voxels
    try:
        if isinstance(item, bool | np.bool_ | EllipsisType):
            raise TypeError
        number = operator.index(item)
    except TypeError:
        raise TypeError(
            f"{type(item).__name__} is no index of a volume; take integers, slices and '...'"
        ) from None
    if not -length <= number < length:
        raise IndexError(f"index {number} is out of bounds for axis {axis} with {length} voxels")
    return number % length
