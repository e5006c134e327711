"""The geometry of a NIfTI file: every header field that must come back exactly."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from inrcodec.errors import RegionError
from inrcodec.volume.region import AXIS_NAMES
from inrcodec.volume.sampling_grid import SPATIAL_AXES, AxisSamples, SamplingGrid

NiftiVersion = Literal[1, 2]
ByteOrder = Literal["<", ">"]

HEADER_BYTES: dict[NiftiVersion, int] = {1: 348, 2: 540}
"""Size of a NIfTI header block."""

NIFTI1_MAX_LENGTH = (1 << 15) - 1
"""Voxels along an axis that a NIfTI-1 header can hold."""

INTENT_NAME_BYTES = 16

_FLOAT_FORMAT: dict[NiftiVersion, tuple[str, str]] = {1: ("<f", "<I"), 2: ("<d", "<Q")}

_SPACE_UNITS = {1: "m", 2: "mm", 3: "um"}
_TIME_UNITS = {8: "s", 16: "ms", 24: "us", 32: "Hz", 40: "ppm", 48: "rad/s"}

_UINT8 = range(1 << 8)
_INT16 = range(-(1 << 15), 1 << 15)
_INT32 = range(-(1 << 31), 1 << 31)
_INT64 = range(-(1 << 63), 1 << 63)

_INTEGER_RANGES: dict[NiftiVersion, dict[str, range]] = {
    1: {
        "dim_info": _UINT8,
        "xyzt_units": _UINT8,
        "qform_code": _INT16,
        "sform_code": _INT16,
        "intent_code": _INT16,
        "slice_code": _UINT8,
        "slice_start": _INT16,
        "slice_end": _INT16,
    },
    2: {
        "dim_info": _UINT8,
        "xyzt_units": _INT32,
        "qform_code": _INT32,
        "sform_code": _INT32,
        "intent_code": _INT32,
        "slice_code": _INT32,
        "slice_start": _INT64,
        "slice_end": _INT64,
    },
}


def float_bytes(version: NiftiVersion) -> int:
    """Size of a header's floats: 4 in NIfTI-1, 8 in NIfTI-2."""
    return 4 if version == 1 else 8


def bits_to_float(bits: int, version: NiftiVersion) -> float:
    """Return the value of the bit pattern of a header float."""
    float_format, integer_format = _FLOAT_FORMAT[version]
    value: float = struct.unpack(float_format, struct.pack(integer_format, bits))[0]
    return value


def float_to_bits(value: float, version: NiftiVersion) -> int:
    """Return the bit pattern of ``value`` rounded to a header float.

    Raises ``OverflowError`` if a finite ``value`` is too large for it.
    """
    float_format, integer_format = _FLOAT_FORMAT[version]
    bits: int = struct.unpack(integer_format, struct.pack(float_format, value))[0]
    return bits


@dataclass(frozen=True, slots=True)
class NiftiGeometry:
    """The fields of a NIfTI header, under their NIfTI names, that a round trip keeps.

    Floats are held as the bit patterns of the header (float32 in NIfTI-1, float64 in NIfTI-2), so
    that NaN payloads and negative zeros survive and equality is exact; ``bits_to_float`` gives
    their values. Lengths are in the unit of ``xyzt_units``.

    Not kept: the free text (``descrip``, ``aux_file``, ``db_name``), which may name a patient, and
    the fields that follow from the voxels (``dim``, ``datatype``, ``bitpix``).

    Raises ``ValueError`` for a value that the header of this version cannot hold.
    """

    version: NiftiVersion
    byte_order: ByteOrder
    dim_info: int
    xyzt_units: int
    pixdim: tuple[int, ...]
    """8 floats: qfac, then the spacing of each axis."""
    qform_code: int
    quatern: tuple[int, ...]
    """3 floats: b, c, d."""
    qoffset: tuple[int, ...]
    """3 floats: x, y, z."""
    sform_code: int
    srow: tuple[int, ...]
    """12 floats: srow_x, srow_y, srow_z; the 3x4 affine, row after row."""
    scl_slope: int
    """1 float. As stored: 0 or NaN mean that there is no scaling."""
    scl_inter: int
    """1 float."""
    cal_max: int
    """1 float."""
    cal_min: int
    """1 float."""
    toffset: int
    """1 float."""
    intent_code: int
    intent_p: tuple[int, ...]
    """3 floats: intent_p1, intent_p2, intent_p3."""
    intent_name: bytes
    """At most 16 bytes, without the zeros that pad it."""
    slice_code: int
    slice_start: int
    slice_end: int
    slice_duration: int
    """1 float."""

    def __post_init__(self) -> None:
        for name, allowed in _INTEGER_RANGES[self.version].items():
            value: int = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} {value} does not fit a NIfTI-{self.version} header")
        if len(self.intent_name) > INTENT_NAME_BYTES or self.intent_name.endswith(b"\0"):
            raise ValueError(f"intent_name {self.intent_name!r} is padded or over 16 bytes")

    def without_text(self) -> NiftiGeometry:
        """The same geometry without ``intent_name``, in which people put names too."""
        return replace(self, intent_name=b"")

    def spacing(self, axes: int) -> tuple[float, ...]:
        """Return the spacing of the first ``axes`` axes: ``pixdim[1]`` onwards."""
        return tuple(bits_to_float(bits, self.version) for bits in self.pixdim[1 : 1 + axes])

    def units(self, axes: int) -> tuple[str | None, ...]:
        """Return the unit of the spacing of the first ``axes`` axes; None where it is not told."""
        space = _SPACE_UNITS.get(self.xyzt_units & 0x07)
        time = _TIME_UNITS.get(self.xyzt_units & 0x38)
        return (*[space] * SPATIAL_AXES, time)[:axes]

    def scaling(self, *, of_dicom: bool) -> tuple[float, float] | None:
        """Slope and intercept from stored values to real ones; (1, 0) where there is no scaling.

        None for DICOM whose planes have each their own, or a lookup table in their place: its slope
        is 0 here.
        """
        if of_dicom and not self.scl_slope:
            return None
        slope = bits_to_float(self.scl_slope, self.version)
        intercept = bits_to_float(self.scl_inter, self.version)
        # NIfTI: a slope of 0 stands for no scaling; readers take NaN and infinity the same way.
        if not (slope and math.isfinite(slope) and math.isfinite(intercept)):
            return 1.0, 0.0
        return slope, intercept


_Rows = tuple[tuple[float, float, float], ...]


def qform_matrix(pixdim: Sequence[float], quatern: Sequence[float]) -> _Rows:
    """Return the 3x3 matrix of pixdim[0..3] and quatern_b, c, d: rotation times spacing, in rows.

    Chunk G predicts the sform by it, so docs/format.md prescribes each operation. Plain Python
    floats: IEEE 754 binary64, each operation rounded once, in the order written.
    """
    qfac, dx, dy, dz = pixdim
    a, b, c, d = _unit_quaternion(quatern)
    if qfac < 0.0:
        dz = -dz
    return (
        (
            (a * a + b * b - c * c - d * d) * dx,
            2.0 * (b * c - a * d) * dy,
            2.0 * (b * d + a * c) * dz,
        ),
        (
            2.0 * (b * c + a * d) * dx,
            (a * a + c * c - b * b - d * d) * dy,
            2.0 * (c * d - a * b) * dz,
        ),
        (
            2.0 * (b * d - a * c) * dx,
            2.0 * (c * d + a * b) * dy,
            (a * a + d * d - b * b - c * c) * dz,
        ),
    )


def _unit_quaternion(quatern: Sequence[float]) -> tuple[float, float, float, float]:
    """Return a, b, c, d of the stored b, c, d, which do not say the sign of ``a``: it is not
    negative."""
    b, c, d = quatern
    norm = b * b + c * c + d * d
    a = 1.0 - norm
    if a < 1e-7:
        scale = 1.0 / math.sqrt(norm)
        return 0.0, b * scale, c * scale, d * scale
    return math.sqrt(a), b, c, d


def regrid(geometry: NiftiGeometry, grid: SamplingGrid) -> NiftiGeometry:
    """Return the geometry of the samples of ``grid``, from that of the volume's voxels.

    qform and sform map each sample to the point in space where the volume's do, whatever their
    codes. A reversed axis is a column of the opposite sign in the sform; the qform has it in the
    quaternion and in qfac, and spacing stays positive. Time: ``toffset`` is that of the first
    sample. Slice timing is cleared, unless the slices are those of the volume.

    Computed in float64 and rounded to header floats, overflow to infinity. What does not change
    keeps its bits: the whole grid gives ``geometry`` back.

    Raises ``RegionError`` for more samples along an axis than a NIfTI-1 header can hold.
    """
    version = geometry.version
    for axis, count in zip(AXIS_NAMES, grid.shape, strict=False):
        if version == 1 and count > NIFTI1_MAX_LENGTH:
            raise RegionError(
                f"axis {axis}: {count} samples do not fit a NIfTI-1 header, whose axes have at "
                f"most {NIFTI1_MAX_LENGTH}"
            )
    axes = (*grid.axes, *[AxisSamples.whole(1)] * (SPATIAL_AXES + 1 - len(grid.axes)))
    *spatial, time = axes
    origin = [axis.origin for axis in spatial]
    spacing = [axis.spacing for axis in spatial]

    def values(fields: Sequence[int]) -> list[float]:
        return [bits_to_float(bits, version) for bits in fields]

    def scaled(bits: int, factor: float) -> int:
        return bits if factor == 1.0 else _to_bits(bits_to_float(bits, version) * factor, version)

    def moved(bits: int, steps: Sequence[float], origin: Sequence[float]) -> int:
        if not any(origin):
            return bits
        shift = sum(step * start for step, start in zip(steps, origin, strict=True) if start)
        return _to_bits(bits_to_float(bits, version) + shift, version)

    matrix = qform_matrix(values(geometry.pixdim[:4]), values(geometry.quatern))
    srow: list[int] = []
    for row in range(0, 12, 4):
        *columns, offset = geometry.srow[row : row + 4]
        srow += map(scaled, columns, spacing)
        srow.append(moved(offset, values(columns), origin))
    regridded = replace(
        geometry,
        pixdim=(
            geometry.pixdim[0],
            *(scaled(geometry.pixdim[1 + k], abs(axis.spacing)) for k, axis in enumerate(axes)),
            *geometry.pixdim[5:],
        ),
        qoffset=tuple(
            moved(offset, row, origin) for offset, row in zip(geometry.qoffset, matrix, strict=True)
        ),
        srow=tuple(srow),
        toffset=moved(geometry.toffset, values(geometry.pixdim[4:5]), [time.origin]),
    )
    regridded = _flip_qform(regridded, [step < 0.0 for step in spacing])
    slice_axis = geometry.dim_info >> 4 & 3
    sliced = spatial[slice_axis - 1 : slice_axis] if slice_axis else spatial
    if all(axis.is_whole for axis in sliced):
        return regridded
    return replace(regridded, slice_code=0, slice_start=0, slice_end=0, slice_duration=0)


def _flip_qform(geometry: NiftiGeometry, flipped: Sequence[bool]) -> NiftiGeometry:
    """Return ``geometry`` with the axes of the qform that are ``flipped`` in the other direction.

    qfac takes up the handedness by reversing the third axis. What then is left of a flip of x is a
    half turn around y, of y one around x, of both one around z, and of z nothing. A half turn
    permutes the parts of the quaternion, so that no matrix has to be taken apart.
    """
    version = geometry.version
    qfac = geometry.pixdim[0]
    if sum(flipped) % 2:
        qfac = _to_bits(1.0 if bits_to_float(qfac, version) < 0.0 else -1.0, version)
    quatern = geometry.quatern
    if flipped[0] or flipped[1]:
        a, b, c, d = _unit_quaternion([bits_to_float(bits, version) for bits in quatern])
        match flipped[0], flipped[1]:
            case False, True:
                a, b, c, d = -b, a, d, -c
            case True, False:
                a, b, c, d = -c, -d, a, b
            case _:
                a, b, c, d = -d, c, -b, a
        sign = -1.0 if a < 0.0 else 1.0
        quatern = tuple(_to_bits(sign * part, version) for part in (b, c, d))
    return replace(geometry, pixdim=(qfac, *geometry.pixdim[1:]), quatern=quatern)


def _to_bits(value: float, version: NiftiVersion) -> int:
    """Return the bits of ``value`` rounded to a header float, beyond its range to infinity."""
    try:
        return float_to_bits(value, version)
    except OverflowError:
        return float_to_bits(math.copysign(math.inf, value), version)
