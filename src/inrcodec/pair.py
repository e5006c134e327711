"""Two volumes on one grid, read from their files to be compared voxel by voxel.

They may lie in their files in another order of the axes, or reversed (a NIfTI file beside the DICOM
series it was made of), and under another slope and intercept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.bitstream.container import MAGIC
from inrcodec.bitstream.geometry import no_geometry
from inrcodec.errors import InputError, MismatchError, NonFiniteError, naming
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.progress import OnProgress, ignore_progress
from inrcodec.volume.nifti import read_affine
from inrcodec.volume.read import read_volume
from inrcodec.volume.volume import Volume

TOLERANCE = 0.1
"""How far a voxel may lie from where the other volume has it, over the smallest spacing."""

_FloatArray = NDArray[np.float64]

_MM = {"m": 1000.0, "mm": 1.0, "um": 0.001, None: 1.0}
"""By unit of a header's lengths, which are taken for mm where it does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An original and a decoded volume, voxel by voxel, in the order of the original's axes."""

    original: Volume
    """Of shape (X, Y, Z) or (X, Y, Z, T)."""
    decoded: NDArray[Any]
    """In the same shape; in stored values of the original, whatever was stored here."""
    mask: NDArray[np.bool_] | None
    """(X, Y, Z): the voxels that the given mask marks."""
    rescaled: bool
    """Whether slopes and intercepts differ, so that ``decoded`` had to be converted."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of voxels along x, y and z, in ``unit``."""
        return _spacing(self.original) or (1.0, 1.0, 1.0)

    @property
    def unit(self) -> str:
        """``mm``, or ``voxel`` where the original does not say how large its voxels are."""
        return "voxel" if _spacing(self.original) is None else "mm"


def read_pair(
    original: Path,
    decoded: Path,
    mask: Path | None = None,
    *,
    series: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Pair:
    """Read two volumes to compare, and the mask of a part to look at.

    Each is NIfTI, DICOM, or a ``.moec`` file, which is decoded in memory and compared with its
    checksum. ``series`` is for an original of several DICOM series (see ``read_dicom``); ``device``
    and ``threads`` are for decoding.

    Volumes that say where they lie in space (a sform or qform, DICOM) may differ in the order and
    direction of their axes, and must agree at their corners within a tenth of the smallest spacing.
    Where slopes or intercepts differ, real values count. A decoded volume without any metadata
    (``--metadata none``) has to have the shape alone, and stored values count.

    Raises `MismatchError` for two grids, `InputError` for a volume that cannot be read, holds NaN,
    or an empty mask, and what ``decode_bytes`` does.
    """

    def read(path: Path, series: str | None = None) -> Volume:
        if not is_moec(path):
            return _read(path, series)
        from inrcodec.decoder import decode_bytes, read_bytes

        with naming(str(path)):
            volume = decode_bytes(
                read_bytes(path, limits),
                device=device,
                threads=threads,
                limits=limits,
                on_progress=on_progress,
            )
        return replace(volume, source=str(path))

    first = read(original, series)
    with _without_choice(decoded):
        second = read(decoded)
    with np.errstate(all="ignore"):  # what is not finite is refused where it matters
        values, rescaled = _stored_values(second, first)
        inside = None
        if mask is not None:
            with _without_choice(mask):
                inside = _marked(read(mask), first)
    return Pair(replace(first, data=_spatial(first)), values, inside, rescaled)


def is_moec(path: Path) -> bool:
    """Whether a path is of a ``.moec`` file, by its name or its first bytes."""
    if path.suffix.lower() == ".moec":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:  # a folder; what is missing is for the reader to say
        return False


@contextmanager
def _without_choice(path: Path) -> Iterator[None]:
    """Refuse several series in other words: those of the original alone can be chosen from."""
    try:
        yield
    except InputError as error:
        if error.table:
            error.args = (f"{path}: holds several series; name a folder or file of one",)
        raise


def _read(path: Path, series: str | None) -> Volume:
    try:
        return read_volume(path, series=series, allow_irregular=True)
    except NonFiniteError:
        raise NonFiniteError(
            f"{path}: holds NaN or infinite voxels, which have no error; replace them by numbers "
            "in both volumes"
        ) from None


def _spatial(volume: Volume) -> NDArray[Any]:
    """The voxels as (X, Y, Z), or (X, Y, Z, T) of more than one volume."""
    shape = (*volume.data.shape, 1, 1)[: max(volume.data.ndim, 3)]
    return volume.data.reshape(shape[:3] if shape[3:] == (1,) else shape)


def _marked(mask: Volume, original: Volume) -> NDArray[np.bool_]:
    shape = _spatial(original).shape[:3]
    inside = _turn(_spatial(mask), _orientation(mask, original))
    _check_grid(mask, inside.shape, original, shape)
    marked: NDArray[np.bool_] = inside != 0
    if not marked.any():
        raise InputError(f"{mask.source}: every voxel is 0; give a mask that marks some")
    return marked


def _stored_values(decoded: Volume, original: Volume) -> tuple[NDArray[Any], bool]:
    """The decoded voxels on the original's grid and scale, and whether they had another scale."""
    orientation = _orientation(decoded, original)
    data = _turn(_spatial(decoded), orientation)
    _check_grid(decoded, data.shape, original, _spatial(original).shape)
    if decoded.geometry == no_geometry(decoded.data.shape) or _same_table(decoded, original):
        return data, False
    slope, intercept = (_turn(part, orientation) for part in _scaling(decoded))
    target_slope, target_intercept = _scaling(original)
    offset = intercept - target_intercept
    if np.allclose(slope, target_slope, rtol=1e-6, atol=0) and np.all(
        abs(offset) <= 1e-6 * (abs(target_intercept) + abs(target_slope))
    ):
        return data, False
    values = data * (slope / target_slope)
    values += offset / target_slope
    if not (math.isfinite(values.min()) and math.isfinite(values.max())):
        raise InputError(
            f"{decoded.source}: slope and intercept, or those of {original.source}, take its "
            "values beyond what can be compared; mend the headers"
        )
    return values, True


def _scaling(volume: Volume) -> tuple[_FloatArray, _FloatArray]:
    """Slope and intercept to real values: arrays that broadcast with the voxels of `_spatial`."""
    shape = _spatial(volume).shape
    if volume.scaling is not None:
        slope, intercept = volume.scaling
        return np.full((1,) * len(shape), slope), np.full((1,) * len(shape), intercept)
    # Of DICOM, whose slices have each their own.
    from inrcodec.volume.dicom.attributes import find, numbers

    def parts(keyword: str, otherwise: float) -> _FloatArray:
        assert volume.dicom is not None
        found = [find(keyword, frame, volume.dicom.shared) for frame in volume.dicom.frames]
        values = [
            otherwise if value is None else numbers(value, 1, f"{volume.source}: {keyword}")[0]
            for value in found
        ]
        return np.reshape(values, (1, 1, *shape[2:]), order="F")

    return parts("RescaleSlope", 1.0), parts("RescaleIntercept", 0.0)


def _same_table(decoded: Volume, original: Volume) -> bool:
    """Whether the values of both go through one DICOM lookup table, in place of a scaling."""
    if decoded.dicom is None and original.dicom is None:
        return False
    from inrcodec.volume.dicom.attributes import find

    tables = [
        None
        if volume.dicom is None
        else find("ModalityLUTSequence", volume.dicom.frames[0], volume.dicom.shared)
        for volume in (decoded, original)
    ]
    if tables[0] != tables[1]:
        raise MismatchError(
            f"{decoded.source}: its values and those of {original.source} do not go through one "
            "lookup table (Modality LUT); decode to DICOM and compare that"
        )
    return tables[0] is not None


_Orientation = tuple[tuple[int, ...], tuple[int, ...]]
"""The axis to take for each of x, y, z, and those to reverse then."""


def _orientation(volume: Volume, original: Volume) -> _Orientation:
    """How to turn a volume so that its axes run as the original's."""
    source, target = _affine(volume), _affine(original)
    if source is None or target is None:
        return (0, 1, 2), ()
    # Steps along the axes of the volume (columns), in voxels of the original (rows).
    steps = np.linalg.solve(target[:3, :3], source[:3, :3])
    order = tuple(int(axis) for axis in abs(steps).argmax(axis=1))
    shape, target_shape = _spatial(volume).shape, _spatial(original).shape
    if sorted(order) != [0, 1, 2] or tuple(shape[axis] for axis in order) != target_shape[:3]:
        return (0, 1, 2), ()  # not the same grid, as shape or corners will tell
    return order, tuple(axis for axis in range(3) if steps[axis, order[axis]] < 0)


def _turn(data: NDArray[Any], orientation: _Orientation) -> NDArray[Any]:
    order, reversed_axes = orientation
    return np.flip(data.transpose(*order, *range(3, data.ndim)), reversed_axes)


def _check_grid(
    volume: Volume, shape: tuple[int, ...], original: Volume, target_shape: tuple[int, ...]
) -> None:
    """Raise `MismatchError` unless ``volume``, of ``shape`` when turned, has the original's
    grid."""
    if shape != target_shape:
        raise MismatchError(
            f"{volume.source}: has {_times(volume.data.shape)} voxels, and {original.source} has "
            f"{_times(original.data.shape)}; compare whole volumes of one grid, decoded without "
            "--roi, --volume, --scale and --spacing"
        )
    source, target = _affine(volume), _affine(original)
    if source is None or target is None:
        return
    order, reversed_axes = _orientation(volume, original)
    turned = source[:, [*order, 3]]
    for axis in reversed_axes:
        turned[:, 3] += (shape[axis] - 1) * turned[:, axis]
        turned[:, axis] *= -1
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape[:3]))])
    distance = np.linalg.norm((turned - target)[:3] @ corners.T, axis=0).max()
    if not distance <= TOLERANCE * np.linalg.norm(target[:3, :3], axis=0).min():
        raise MismatchError(
            f"{volume.source}: its voxels lie up to {distance:.4g} mm from those of "
            f"{original.source} (affines {_matrix(source)} and {_matrix(target)}); resample one to "
            "the grid of the other, or correct the header that is wrong"
        )


def _affine(volume: Volume) -> _FloatArray | None:
    """The (4, 4) affine from voxel indices to RAS+ mm; None where the file gives no usable one."""
    geometry = volume.geometry
    if geometry.sform_code <= 0 and geometry.qform_code <= 0:
        return None
    try:
        affine = read_affine(geometry, volume.data.shape)
        affine[:3] *= _MM[geometry.units(1)[0]]
        usable = bool(np.isfinite(affine).all() and np.isfinite(np.linalg.inv(affine)).all())
    except (ValueError, np.linalg.LinAlgError):
        return None
    return affine if usable else None


def _spacing(volume: Volume) -> tuple[float, ...] | None:
    """Distance of voxels along x, y and z in mm; None where the file does not say."""
    unit = volume.geometry.units(1)[0]
    if unit is None and _affine(volume) is None:
        return None
    lengths = [
        abs(step) * _MM[unit] if count > 1 else 1.0
        for step, count in zip(volume.geometry.spacing(3), volume.data.shape, strict=False)
    ]
    return tuple(lengths) if all(math.isfinite(x) and x > 0 for x in lengths) else None


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _matrix(affine: _FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{x:.4g}" for x in row) for row in affine[:3]) + "]"
