"""Chunk G: the geometry of a NIfTI file, coded as what differs from a prediction (docs/format.md).

Fields form groups, and a group that is as predicted costs one clear bit. A float that is not as
predicted is coded by its distance in units in the last place, or by its leading bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntFlag

from inrcodec.bitstream.primitives import ByteReader, ByteWriter, unzigzag, zigzag
from inrcodec.errors import BitstreamError
from inrcodec.volume.geometry import (
    NIFTI1_MAX_LENGTH,
    ByteOrder,
    NiftiGeometry,
    NiftiVersion,
    bits_to_float,
    float_bytes,
    float_to_bits,
    qform_matrix,
)


class _Flag(IntFlag):
    """The first field of chunk G: two properties of the file, then the groups that follow."""

    NIFTI2 = 1 << 0
    BIG_ENDIAN = 1 << 1
    CODES = 1 << 2
    SPACING = 1 << 3
    ROTATION = 1 << 4
    OFFSET = 1 << 5
    AFFINE = 1 << 6
    OTHER_SPACING = 1 << 7
    SCALING = 1 << 8
    DISPLAY_RANGE = 1 << 9
    DIM_INFO = 1 << 10
    SLICE_TIMING = 1 << 11
    TIME_ORIGIN = 1 << 12
    INTENT = 1 << 13


_DEFINED_FLAGS = (1 << 14) - 1

_LEADING = 8
"""Float code 8 + k: the k leading bytes of the value. Codes 1 to 8: bytes of the distance."""

_ZERO = 0
_PREVIOUS = None
"""Prediction: the value before it in the same list."""

_Predictions = Sequence[int | None]

# Largest group that may be absent: AFFINE, twelve 4-bit codes.
_ABSENT = bytes(6)


def encode_geometry(geometry: NiftiGeometry) -> bytes:
    """Return the payload of chunk G."""
    version, pixdim = geometry.version, geometry.pixdim
    one = float_to_bits(1.0, version)
    affine = _predict_affine(version, pixdim, geometry.quatern, geometry.qoffset)

    def floats(values: Sequence[int], predictions: _Predictions) -> bytes:
        return _encode_floats(values, predictions, float_bytes(version))

    groups = {
        _Flag.CODES: _encode_integers(
            geometry.xyzt_units, geometry.qform_code, geometry.sform_code
        ),
        _Flag.SPACING: floats(pixdim[1:4], (one, _PREVIOUS, _PREVIOUS)),
        _Flag.ROTATION: floats((pixdim[0], *geometry.quatern), (one, _ZERO, _ZERO, _ZERO)),
        _Flag.OFFSET: floats(geometry.qoffset, (_ZERO,) * 3),
        _Flag.AFFINE: floats(geometry.srow, affine),
        _Flag.OTHER_SPACING: floats(pixdim[4:], (one, one, _PREVIOUS, _PREVIOUS)),
        _Flag.SCALING: floats((geometry.scl_slope, geometry.scl_inter), (one, _ZERO)),
        _Flag.DISPLAY_RANGE: floats((geometry.cal_max, geometry.cal_min), (_ZERO,) * 2),
        _Flag.DIM_INFO: _encode_integers(geometry.dim_info),
        _Flag.SLICE_TIMING: _encode_integers(
            geometry.slice_code, geometry.slice_start, geometry.slice_end
        )
        + floats((geometry.slice_duration,), (_ZERO,)),
        _Flag.TIME_ORIGIN: floats((geometry.toffset,), (_ZERO,)),
        _Flag.INTENT: _encode_integers(geometry.intent_code)
        + floats(geometry.intent_p, (_ZERO,) * 3)
        + _encode_text(geometry.intent_name),
    }
    flags = _Flag.NIFTI2 * (version == 2) | _Flag.BIG_ENDIAN * (geometry.byte_order == ">")
    writer = ByteWriter()
    writer.varint(flags | sum(flag for flag, group in groups.items() if any(group)))
    for group in groups.values():
        if any(group):
            writer.raw(group)
    return writer.getvalue()


def no_geometry(shape: tuple[int, ...]) -> NiftiGeometry:
    """The geometry of the shortest chunk G: voxels of 1, in no space."""
    flags = _Flag.NIFTI2 if max(shape) > NIFTI1_MAX_LENGTH else 0
    return decode_geometry(bytes([flags]), shape)


def decode_geometry(payload: bytes, shape: tuple[int, ...]) -> NiftiGeometry:
    """Read the payload of chunk G; ``shape`` is the grid of chunk V.

    Raises ``BitstreamError`` for anything that ``encode_geometry`` does not write, or that a
    header of the NIfTI version cannot hold.
    """
    reader = ByteReader(payload)
    flags = reader.varint()
    if flags & ~_DEFINED_FLAGS:
        raise BitstreamError("chunk G: reserved flags are set")
    version: NiftiVersion = 2 if flags & _Flag.NIFTI2 else 1
    byte_order: ByteOrder = ">" if flags & _Flag.BIG_ENDIAN else "<"
    if version == 1 and max(shape) > NIFTI1_MAX_LENGTH:
        raise BitstreamError(f"chunk G: grid {shape} does not fit a NIfTI-1 header")
    one = float_to_bits(1.0, version)

    def group(flag: _Flag) -> ByteReader:
        return reader if flags & flag else ByteReader(_ABSENT)

    def floats(source: ByteReader, predictions: _Predictions) -> tuple[int, ...]:
        return _decode_floats(source, predictions, float_bytes(version))

    source = group(_Flag.CODES)
    xyzt_units, qform_code, sform_code = (source.svarint() for _ in range(3))
    spacing = floats(group(_Flag.SPACING), (one, _PREVIOUS, _PREVIOUS))
    qfac, *quatern = floats(group(_Flag.ROTATION), (one, _ZERO, _ZERO, _ZERO))
    qoffset = floats(group(_Flag.OFFSET), (_ZERO,) * 3)
    affine = _predict_affine(version, (qfac, *spacing), quatern, qoffset)
    srow = floats(group(_Flag.AFFINE), affine)
    other_spacing = floats(group(_Flag.OTHER_SPACING), (one, one, _PREVIOUS, _PREVIOUS))
    scl_slope, scl_inter = floats(group(_Flag.SCALING), (one, _ZERO))
    cal_max, cal_min = floats(group(_Flag.DISPLAY_RANGE), (_ZERO,) * 2)
    dim_info = group(_Flag.DIM_INFO).svarint()
    source = group(_Flag.SLICE_TIMING)
    slice_code, slice_start, slice_end = (source.svarint() for _ in range(3))
    (slice_duration,) = floats(source, (_ZERO,))
    (toffset,) = floats(group(_Flag.TIME_ORIGIN), (_ZERO,))
    source = group(_Flag.INTENT)
    intent_code = source.svarint()
    intent_p = floats(source, (_ZERO,) * 3)
    intent_name = source.raw(source.varint())
    reader.expect_end()
    try:
        geometry = NiftiGeometry(
            version=version,
            byte_order=byte_order,
            dim_info=dim_info,
            xyzt_units=xyzt_units,
            pixdim=(qfac, *spacing, *other_spacing),
            qform_code=qform_code,
            quatern=tuple(quatern),
            qoffset=qoffset,
            sform_code=sform_code,
            srow=srow,
            scl_slope=scl_slope,
            scl_inter=scl_inter,
            cal_max=cal_max,
            cal_min=cal_min,
            toffset=toffset,
            intent_code=intent_code,
            intent_p=intent_p,
            intent_name=intent_name,
            slice_code=slice_code,
            slice_start=slice_start,
            slice_end=slice_end,
            slice_duration=slice_duration,
        )
    except ValueError as error:
        raise BitstreamError(f"chunk G: {error}") from None
    if encode_geometry(geometry) != payload:
        raise BitstreamError("chunk G is not in its shortest form")
    return geometry


def _predict_affine(
    version: NiftiVersion,
    pixdim: Sequence[int],
    quatern: Sequence[int],
    qoffset: Sequence[int],
) -> tuple[int, ...]:
    """Return the 3x4 affine of the quaternion, row after row, as bit patterns."""
    matrix = qform_matrix(
        [bits_to_float(bits, version) for bits in pixdim[:4]],
        [bits_to_float(bits, version) for bits in quatern],
    )
    return tuple(
        bits
        for row, offset in zip(matrix, qoffset, strict=True)
        for bits in (*(_normal_bits(value, version) for value in row), offset)
    )


def _normal_bits(value: float, version: NiftiVersion) -> int:
    """Return the bits of ``value`` as a header float; +0 unless it is a normal number there.

    NaN bits and the treatment of subnormal numbers differ between machines, normal numbers do not.
    """
    exponent = 126 if version == 1 else 1022
    largest = 0x7F7FFFFF if version == 1 else 0x7FEFFFFFFFFFFFFF
    if math.ldexp(1.0, -exponent) <= abs(value) <= bits_to_float(largest, version):
        return float_to_bits(value, version)
    return _ZERO


def _encode_integers(*values: int) -> bytes:
    writer = ByteWriter()
    for value in values:
        writer.svarint(value)
    return writer.getvalue()


def _encode_text(text: bytes) -> bytes:
    writer = ByteWriter()
    writer.varint(len(text))
    writer.raw(text)
    return writer.getvalue()


def _encode_floats(values: Sequence[int], predictions: _Predictions, size: int) -> bytes:
    """Return the 4-bit codes of ``values``, then their bytes; ``size``: bytes of a float."""
    codes, body = 0, b""
    previous = _ZERO
    for index, (value, prediction) in enumerate(zip(values, predictions, strict=True)):
        code, data = _encode_float(value, previous if prediction is None else prediction, size)
        codes |= code << 4 * index
        body += data
        previous = value
    return codes.to_bytes((len(values) + 1) // 2, "little") + body


def _decode_floats(reader: ByteReader, predictions: _Predictions, size: int) -> tuple[int, ...]:
    codes = reader.uint((len(predictions) + 1) // 2)
    values: list[int] = []
    for prediction in predictions:
        predicted = values[-1] if prediction is None else prediction
        values.append(_decode_float(reader, codes & 0xF, predicted, size))
        codes >>= 4
    if codes:
        raise BitstreamError("chunk G: padding bits are set")
    return tuple(values)


def _encode_float(value: int, prediction: int, size: int) -> tuple[int, bytes]:
    """Return the 4-bit code of a float and the bytes that belong to it, the fewest possible."""
    if value == prediction:
        return 0, b""
    distance = _ordinal(value, size) - _ordinal(prediction, size)
    sign = 1 << 8 * size - 1
    near = zigzag((distance + sign) % (2 * sign) - sign).to_bytes(size, "little").rstrip(b"\0")
    leading = value.to_bytes(size, "little").lstrip(b"\0") or b"\0"
    if len(leading) < len(near):
        return _LEADING + len(leading), leading
    return len(near), near


def _decode_float(reader: ByteReader, code: int, prediction: int, size: int) -> int:
    count = code - _LEADING if code > _LEADING else code
    if count > size:
        raise BitstreamError(f"chunk G: float code {code} in a header with {size}-byte floats")
    if code > _LEADING:
        return reader.uint(count) << 8 * (size - count)
    ordinal = _ordinal(prediction, size) + unzigzag(reader.uint(count))
    return _ordinal(ordinal % (1 << 8 * size), size)


def _ordinal(bits: int, size: int) -> int:
    """Map a float's bits to a two's complement integer that orders as the float does, and back."""
    sign = 1 << 8 * size - 1
    return bits ^ (sign - 1) if bits & sign else bits
