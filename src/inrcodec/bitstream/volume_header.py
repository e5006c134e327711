"""Chunk V: what the voxels are, and the range of their values (docs/format.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError
from inrcodec.limits import Limits

_TYPE_MASK = 0x0F
_AXES_SHIFT = 4
_AXES_MASK = 0x30
_RESERVED_MASK = 0xC0
_CHECKSUM_BYTES = 4


class _VoxelType(IntEnum):
    """Wire value of a dtype, by numpy's name for it."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    UINT64 = 6
    INT64 = 7
    FLOAT32 = 8
    FLOAT64 = 9


@dataclass(frozen=True, slots=True)
class VolumeHeader:
    """Type, grid and value range of a volume.

    Raises ``ValueError`` for a dtype that is not coded, for other than one to four axes, for an
    axis without voxels, and for a range that is empty, not finite, or outside of the dtype.
    """

    dtype: np.dtype[Any]
    """Integer or float of at most 64 bits, native byte order."""
    shape: tuple[int, ...]
    """(X,), (X, Y), (X, Y, Z) or (X, Y, Z, T)."""
    low: int | float
    """Smallest stored value: an ``int`` if the dtype is an integer's, else a ``float``."""
    high: int | float
    """Largest stored value."""
    checksum: int = 0
    """CRC-32 of the decoded voxels as they lie in memory: little-endian, first axis fastest."""

    def __post_init__(self) -> None:
        if self.dtype.name.upper() not in _VoxelType.__members__:
            raise ValueError(f"dtype {self.dtype} is not coded")
        if not 1 <= len(self.shape) <= 4 or min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} is not one to four axes of at least one voxel")
        if self.voxels == 1 and self.low != self.high:
            raise ValueError(f"one voxel cannot have both values {self.low} and {self.high}")
        minimum, maximum = _value_limits(self.dtype)
        if not minimum <= self.low <= self.high <= maximum:
            raise ValueError(f"{self.low}..{self.high} is not a range of {self.dtype.name} values")

    @classmethod
    def of(cls, data: NDArray[Any]) -> VolumeHeader:
        """Describe ``data``, the finite stored voxels."""
        return cls(data.dtype, data.shape, data.min().item(), data.max().item())

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the stored voxel array, which compression ratios refer to."""
        return self.voxels * self.dtype.itemsize


def encode_volume_header(header: VolumeHeader) -> bytes:
    """Return the payload of chunk V."""
    writer = ByteWriter()
    writer.u8(_VoxelType[header.dtype.name.upper()] | len(header.shape) - 1 << _AXES_SHIFT)
    for length in header.shape:
        writer.varint(length)
    match header.dtype.kind, header.dtype.itemsize:
        case "f", 4:
            writer.f32(header.low)
            writer.f32(header.high)
        case "f", _:
            writer.f64(header.low)
            writer.f64(header.high)
        case kind, _:
            low, high = int(header.low), int(header.high)
            (writer.svarint if kind == "i" else writer.varint)(low)
            writer.varint(high - low)
    writer.uint(header.checksum, _CHECKSUM_BYTES)
    return writer.getvalue()


def decode_volume_header(payload: bytes, limits: Limits) -> VolumeHeader:
    """Read the payload of chunk V.

    Raises ``LimitExceededError`` for more than ``limits.voxels`` voxels, ``BitstreamError`` for
    anything that breaks the format.
    """
    reader = ByteReader(payload)
    kinds = reader.u8()
    if kinds & _RESERVED_MASK:
        raise BitstreamError("chunk V: reserved bits are set")
    try:
        dtype = np.dtype(_VoxelType(kinds & _TYPE_MASK).name.lower())
    except ValueError:
        raise BitstreamError(f"chunk V: voxel type {kinds & _TYPE_MASK} is unknown") from None
    axes = (kinds & _AXES_MASK) >> _AXES_SHIFT
    shape = tuple(reader.varint() for _ in range(axes + 1))
    limits.check("voxels", math.prod(shape))
    low: int | float
    high: int | float
    match dtype.kind, dtype.itemsize:
        case "f", 4:
            low, high = reader.f32(), reader.f32()
        case "f", _:
            low, high = reader.f64(), reader.f64()
        case kind, _:
            low = reader.svarint() if kind == "i" else reader.varint()
            high = low + reader.varint()
    checksum = reader.uint(_CHECKSUM_BYTES)
    reader.expect_end()
    try:
        return VolumeHeader(dtype, shape, low, high, checksum)
    except ValueError as error:
        raise BitstreamError(f"chunk V: {error}") from None


def _value_limits(dtype: np.dtype[Any]) -> tuple[int | float, int | float]:
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
