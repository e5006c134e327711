"""Byte-level reading and writing: the types of docs/format.md, "Conventions".

All multi-byte values are little-endian. A variable-length integer is an unsigned LEB128 of at most
64 bits, in its shortest form; a signed one is zigzag-mapped first.
"""

from __future__ import annotations

import struct

from inrcodec.errors import BitstreamError, TruncatedError

UINT64_MAX = (1 << 64) - 1


def zigzag(value: int) -> int:
    """Map 0, -1, 1, -2, 2, ... to 0, 1, 2, 3, 4, ..."""
    return value << 1 if value >= 0 else (~value << 1) | 1


def unzigzag(value: int) -> int:
    """Inverse of ``zigzag``."""
    return value >> 1 if value & 1 == 0 else ~(value >> 1)


class ByteWriter:
    """Appends values to a byte string."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def getvalue(self) -> bytes:
        """Return everything written so far."""
        return bytes(self._data)

    def raw(self, data: bytes) -> None:
        """Append ``data`` as it is."""
        self._data += data

    def uint(self, value: int, size: int) -> None:
        """Append ``value`` as ``size`` bytes; ``OverflowError`` if it does not fit."""
        self._data += value.to_bytes(size, "little")

    def u8(self, value: int) -> None:
        """Append one byte; ``OverflowError`` if ``value`` is outside 0..255."""
        self.uint(value, 1)

    def varint(self, value: int) -> None:
        """Append an unsigned LEB128; ``OverflowError`` if ``value`` is outside 0..2^64-1."""
        if not 0 <= value <= UINT64_MAX:
            raise OverflowError(f"{value} is not an unsigned 64-bit integer")
        while value > 0x7F:
            self._data.append(value & 0x7F | 0x80)
            value >>= 7
        self._data.append(value)

    def svarint(self, value: int) -> None:
        """Append a zigzag LEB128; ``OverflowError`` if ``value`` is outside -2^63..2^63-1."""
        self.varint(zigzag(value))

    def f32(self, value: float) -> None:
        """Append an IEEE 754 binary32; ``OverflowError`` if ``value`` is too large for it."""
        self._data += struct.pack("<f", value)

    def f64(self, value: float) -> None:
        """Append an IEEE 754 binary64."""
        self._data += struct.pack("<d", value)


class ByteReader:
    """Reads values from a byte string, front to back; never past its end."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        """Offset in bytes of the next value."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._position

    def raw(self, size: int) -> bytes:
        """Read ``size`` bytes; ``TruncatedError`` if fewer are left."""
        if size > self.remaining:
            raise TruncatedError(
                f"data ends {size - self.remaining} bytes short of a field at offset "
                f"{self._position}; the file is truncated"
            )
        start = self._position
        self._position += size
        return self._data[start : self._position]

    def uint(self, size: int) -> int:
        """Read an unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.raw(size), "little")

    def u8(self) -> int:
        """Read one byte."""
        return self.uint(1)

    def varint(self) -> int:
        """Read an unsigned LEB128; ``BitstreamError`` if it is overlong or exceeds 64 bits."""
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if value > UINT64_MAX or shift > 63:
                raise BitstreamError(f"varint before offset {self._position} exceeds 64 bits")
            if byte < 0x80:
                break
            shift += 7
        if byte == 0 and shift > 0:
            raise BitstreamError(f"varint before offset {self._position} is not in shortest form")
        return value

    def svarint(self) -> int:
        """Read a zigzag LEB128, -2^63..2^63-1."""
        return unzigzag(self.varint())

    def f32(self) -> float:
        """Read an IEEE 754 binary32."""
        value: float = struct.unpack("<f", self.raw(4))[0]
        return value

    def f64(self) -> float:
        """Read an IEEE 754 binary64."""
        value: float = struct.unpack("<d", self.raw(8))[0]
        return value

    def expect_end(self) -> None:
        """Raise ``BitstreamError`` unless everything has been read."""
        if self.remaining:
            raise BitstreamError(
                f"{self.remaining} bytes follow the last field, at offset {self._position}"
            )
