"""The geometry of a NIfTI file: every header field that must come back exactly."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

NiftiVersion = Literal[1, 2]
ByteOrder = Literal["<", ">"]

HEADER_BYTES: dict[NiftiVersion, int] = {1: 348, 2: 540}
"""Size of a NIfTI header block."""

INTENT_NAME_BYTES = 16

_FLOAT_FORMAT: dict[NiftiVersion, tuple[str, str]] = {1: ("<f", "<I"), 2: ("<d", "<Q")}

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

    def spacing(self, axes: int) -> tuple[float, ...]:
        """Return the spacing of the first ``axes`` axes: ``pixdim[1]`` onwards."""
        return tuple(bits_to_float(bits, self.version) for bits in self.pixdim[1 : 1 + axes])
