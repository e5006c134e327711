"""From DICOM to NIfTI and back: what of the one the other can hold.

NIfTI holds one affine, one slope and one intercept for all voxels. DICOM holds integers, in planes
whose rows and columns are at right angles.
"""

from __future__ import annotations

import math

import numpy as np
from nibabel.quaternions import mat2quat
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.volume.dicom.attributes import find, numbers
from inrcodec.volume.dicom.elements import put
from inrcodec.volume.dicom.geometry import spacing
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.geometry import (
    NIFTI1_MAX_LENGTH,
    NiftiGeometry,
    NiftiVersion,
    bits_to_float,
    float_to_bits,
)
from inrcodec.volume.nifti import read_affine
from inrcodec.volume.volume import Volume

_DTYPES = ("uint8", "uint16", "int16")
_MAX_ROWS = (1 << 16) - 1


_MAX_COSINE = 1e-4
"""Of two axes that are at right angles."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From RAS+ to the patient coordinates of DICOM, and back."""

# Codes of NIfTI
_SCANNER = 1
_MM_IN_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_SECONDS_IN_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}
_MM_AND_SECONDS = 2 | 8

_TIMES = ("TriggerTime", "FrameReferenceTime", "NominalCardiacTriggerDelayTime")
"""In milliseconds."""


def nifti_geometry(series: DicomSeries, *, strict: bool = True) -> NiftiGeometry:
    """Return the header fields of the series' data, as it is, in a NIfTI file.

    No voxel moves: x runs along the rows of the image, y down, z along its normal. The affine maps
    them to RAS+ mm: as sform and, unless a tilted gantry shears it, as qform, both of code 1
    (scanner). Slope and intercept are the rescale. The fourth spacing is the step in time in
    seconds, 0 where it is not known.

    Raises ``UnsupportedVolumeError`` where NIfTI cannot hold the series: slices at unequal steps, a
    rescale that differs between them, a lookup table in its place. With ``strict`` off, the affine
    has equal steps then, and slope and intercept are 0, which stands for none. ``InputError`` is
    for attributes that place no slices.
    """
    shape = series.data.shape
    version: NiftiVersion = 1 if max(shape) <= NIFTI1_MAX_LENGTH else 2
    matrix = series.affine
    lengths = spacing(matrix)
    if min(lengths) == 0.0:
        raise InputError("all slices lie at one position")
    if strict and series.irregularity > max(0.01 * lengths[2], min(0.02, 0.1 * lengths[2])):
        raise UnsupportedVolumeError(
            f"slices lie up to {series.irregularity:.3g} mm off equal steps, which NIfTI cannot "
            "hold; decode to DICOM"
        )
    try:
        slope, intercept = _rescale(series)
    except UnsupportedVolumeError:
        if strict:
            raise
        slope, intercept = 0.0, 0.0
    rotation = matrix[:3, :3] / lengths
    handedness = -1.0 if np.linalg.det(rotation) < 0.0 else 1.0
    rotation[:, 2] *= handedness
    sheared = abs(rotation.T @ rotation - np.eye(3)).max() > _MAX_COSINE
    quaternion = (0.0,) * 3 if sheared else mat2quat(rotation)[1:]  # type: ignore[no-untyped-call]
    time = (_time_step(series),) if len(shape) == 4 else ()

    def bits(*values: float) -> tuple[int, ...]:
        return tuple(float_to_bits(float(value), version) for value in values)

    zero, one = bits(0.0, 1.0)
    pixdim = bits(handedness, *lengths, *time)
    return NiftiGeometry(
        version=version,
        byte_order="<",
        dim_info=0,
        xyzt_units=_MM_AND_SECONDS,
        pixdim=pixdim + (one,) * (8 - len(pixdim)),
        qform_code=0 if sheared else _SCANNER,
        quatern=bits(*quaternion),
        qoffset=(zero,) * 3 if sheared else bits(*matrix[:3, 3]),
        sform_code=_SCANNER,
        srow=bits(*matrix[:3].flat),
        scl_slope=bits(slope)[0],
        scl_inter=bits(intercept)[0],
        cal_max=zero,
        cal_min=zero,
        toffset=zero,
        intent_code=0,
        intent_p=(zero,) * 3,
        intent_name=b"",
        slice_code=0,
        slice_start=0,
        slice_end=0,
        slice_duration=zero,
    )


def series_from_nifti(volume: Volume) -> DicomSeries:
    """Return a volume that was NIfTI as a series of Secondary Capture images.

    NIfTI does not say what made the image, so its modality is OT (other). Axes are reversed where
    they must be for rows and columns to run to the left, the back or the feet of the patient, which
    is how images are looked at, and for slices to follow their normal; every voxel stays where it
    lies in space. Slope and intercept become the rescale, cal_min and cal_max the window, the
    fourth axis temporal positions.

    Raises ``UnsupportedVolumeError`` for voxels that are not integers of 8 (unsigned) or 16 bits, a
    header that does not place them in mm, rows and columns that are not at right angles, and axes
    too long.
    """
    geometry = volume.geometry
    if volume.data.dtype.name not in _DTYPES:
        raise UnsupportedVolumeError(
            f"{volume.data.dtype} voxels; DICOM images have {', '.join(_DTYPES)}; convert the "
            "volume first, or decode to NIfTI"
        )
    shape = (*volume.data.shape, 1, 1)[: max(volume.data.ndim, 3)]
    if max(shape[:2]) > _MAX_ROWS:
        raise UnsupportedVolumeError(f"DICOM images have at most {_MAX_ROWS} rows")
    data = volume.data.reshape(shape)
    matrix = _patient_matrix(volume, shape)
    for axis in range(2):
        main = matrix[abs(matrix[:3, axis]).argmax(), axis]
        towards_head = abs(matrix[:3, axis]).argmax() == 2
        if (main > 0.0) == towards_head:
            data, matrix = _flip(data, matrix, axis)
    row, column, step = matrix[:3, :3].T
    normal = np.cross(row, column)
    if step @ normal < 0.0:
        data, matrix = _flip(data, matrix, 2)
    lengths = spacing(matrix)

    shared = Dataset()
    put(shared, "SOPClassUID", uid.SecondaryCaptureImageStorage)
    put(shared, "Modality", "OT")
    put(shared, "ImageType", ["DERIVED", "SECONDARY"])
    put(shared, "PhotometricInterpretation", "MONOCHROME2")
    cosines = (matrix[:3, :2] / lengths[:2]).T
    put(shared, "ImageOrientationPatient", _decimals(*cosines.flat))
    put(shared, "PixelSpacing", _decimals(lengths[1], lengths[0]))
    put(shared, "SliceThickness", None)
    distance = abs(step @ normal) / float(np.linalg.norm(normal))
    put(shared, "SpacingBetweenSlices", _decimals(distance))
    slope, intercept, low, high = (
        bits_to_float(bits, geometry.version)
        for bits in (geometry.scl_slope, geometry.scl_inter, geometry.cal_min, geometry.cal_max)
    )
    if math.isfinite(slope) and math.isfinite(intercept) and slope != 0.0:
        put(shared, "RescaleSlope", _decimals(slope))
        put(shared, "RescaleIntercept", _decimals(intercept))
        put(shared, "RescaleType", "US")
    if math.isfinite(low) and math.isfinite(high) and low < high:
        put(shared, "WindowCenter", _decimals((low + high) / 2.0))
        put(shared, "WindowWidth", _decimals(high - low))
    volumes = data.shape[3] if data.ndim == 4 else 1
    if data.ndim == 4:
        put(shared, "NumberOfTemporalPositions", volumes)
        seconds = _SECONDS_IN_UNIT.get(geometry.xyzt_units & 0x38, 0.0) * geometry.spacing(4)[3]
        if math.isfinite(seconds) and seconds > 0.0:
            put(shared, "TemporalResolution", _decimals(1000.0 * seconds))
    frames = []
    for t in range(volumes):
        for z in range(data.shape[2]):
            frame = Dataset()
            position = matrix[:3, 3] + z * matrix[:3, 2]
            put(frame, "ImagePositionPatient", _decimals(*position))
            if data.ndim == 4:
                put(frame, "TemporalPositionIdentifier", t + 1)
            frames.append(frame)
    return DicomSeries(data, shared, tuple(frames), enhanced=False)


def _rescale(series: DicomSeries) -> tuple[float, float]:
    if any("ModalityLUTSequence" in dataset for dataset in (series.shared, *series.frames)):
        raise UnsupportedVolumeError(
            "the values go through a lookup table, which NIfTI cannot hold; decode to DICOM"
        )

    def number(keyword: str, frame: Dataset, otherwise: float) -> float:
        value = find(keyword, frame, series.shared)
        return otherwise if value is None else numbers(value, 1, keyword)[0]

    found = {
        (number("RescaleSlope", frame, 1.0), number("RescaleIntercept", frame, 0.0))
        for frame in series.frames
    }
    if len(found) > 1:
        raise UnsupportedVolumeError(
            "the rescale differs between slices, which NIfTI cannot hold; decode to DICOM"
        )
    return found.pop()


def _time_step(series: DicomSeries) -> float:
    """Return the seconds from one volume to the next; 0 if they are unknown or differ."""
    first = series.frames[:: series.data.shape[2]]
    resolution = find("TemporalResolution", first[0], series.shared)
    if resolution is not None:
        return numbers(resolution, 1, "TemporalResolution")[0] / 1000.0
    for keyword in _TIMES:
        found = [find(keyword, frame, series.shared) for frame in first]
        if len(found) > 1 and None not in found:
            steps = np.diff([numbers(value, 1, keyword)[0] for value in found])
            if steps[0] > 0.0 and np.allclose(steps, steps[0], rtol=1e-3):
                return float(steps.mean()) / 1000.0
    return 0.0


def _patient_matrix(volume: Volume, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the (4, 4) affine from voxel indices to patient coordinates (LPS, mm)."""
    geometry = volume.geometry
    unit = geometry.xyzt_units & 7
    if (geometry.sform_code <= 0 and geometry.qform_code <= 0) or unit not in _MM_IN_UNIT:
        raise UnsupportedVolumeError(
            "the NIfTI header does not say where the voxels lie in space, which DICOM must; decode "
            "to NIfTI"
        )
    try:
        matrix = _LPS @ read_affine(geometry, shape)
    except ValueError as error:
        raise UnsupportedVolumeError(str(error)) from None
    matrix[:3] *= _MM_IN_UNIT[unit]
    lengths = spacing(matrix)
    if not np.isfinite(matrix).all() or min(lengths) == 0.0 or abs(matrix).max() >= 1e9:
        raise UnsupportedVolumeError("the NIfTI header's affine places no voxels")
    row, column, step = (matrix[:3, :3] / lengths).T
    if abs(row @ column) > _MAX_COSINE or abs(step @ np.cross(row, column)) < _MAX_COSINE:
        raise UnsupportedVolumeError(
            "rows and columns are not at right angles, which DICOM cannot hold; decode to NIfTI"
        )
    return matrix


def _flip(
    data: np.ndarray, matrix: NDArray[np.float64], axis: int
) -> tuple[np.ndarray, NDArray[np.float64]]:
    """Return data and affine with the axis in the other direction."""
    flipped = matrix.copy()
    flipped[:3, 3] += (data.shape[axis] - 1) * matrix[:3, axis]
    flipped[:3, axis] *= -1.0
    return np.flip(data, axis), flipped


def _decimals(*values: float) -> list[DSfloat]:
    """Return decimal strings, of 16 characters at most."""
    return [DSfloat(float(value), auto_format=True) for value in values]
