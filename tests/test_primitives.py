"""The byte-level types of docs/format.md, "Conventions"."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.bitstream.primitives import ByteReader, ByteWriter, unzigzag, zigzag
from inrcodec.errors import BitstreamError, TruncatedError

UINT64 = st.integers(0, 2**64 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


def varint(value: int) -> bytes:
    writer = ByteWriter()
    writer.varint(value)
    return writer.getvalue()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_varint_known_values(value: int, encoded: str) -> None:
    assert varint(value).hex() == encoded
    assert ByteReader(bytes.fromhex(encoded)).varint() == value


@pytest.mark.parametrize(
    ("value", "mapped"),
    [(0, 0), (-1, 1), (1, 2), (-2, 3), (2**63 - 1, 2**64 - 2), (-(2**63), 2**64 - 1)],
)
def test_zigzag_known_values(value: int, mapped: int) -> None:
    assert zigzag(value) == mapped
    assert unzigzag(mapped) == value


@given(st.lists(st.tuples(UINT64, INT64), max_size=20))
def test_varints_round_trip(values: list[tuple[int, int]]) -> None:
    writer = ByteWriter()
    for unsigned, signed in values:
        writer.varint(unsigned)
        writer.svarint(signed)
    reader = ByteReader(writer.getvalue())
    assert [(reader.varint(), reader.svarint()) for _ in values] == values
    reader.expect_end()


@given(st.binary(max_size=12))
def test_a_varint_has_one_encoding(data: bytes) -> None:
    reader = ByteReader(data)
    try:
        value = reader.varint()
    except BitstreamError:
        return
    assert varint(value) == data[: reader.position]


@pytest.mark.parametrize("overlong", ["8000", "ff00", "80808000", "80808080808080808000"])
def test_overlong_varint_is_refused(overlong: str) -> None:
    with pytest.raises(BitstreamError, match="shortest form"):
        ByteReader(bytes.fromhex(overlong)).varint()


@pytest.mark.parametrize("large", ["ffffffffffffffffff02", "80" * 10 + "01", "ff" * 40])
def test_varint_beyond_64_bits_is_refused(large: str) -> None:
    with pytest.raises(BitstreamError, match="64 bits"):
        ByteReader(bytes.fromhex(large)).varint()


def test_fixed_size_values_round_trip() -> None:
    writer = ByteWriter()
    writer.u8(255)
    writer.uint(0x123456, 3)
    writer.f32(0.1)
    writer.f64(-0.0)
    writer.raw(b"raw")
    data = writer.getvalue()
    assert data.hex() == "ff563412" + "cdcccc3d" + "0000000000000080" + b"raw".hex()
    reader = ByteReader(data)
    assert reader.u8() == 255
    assert reader.uint(3) == 0x123456
    assert reader.f32() == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert struct.pack("<d", reader.f64()) == struct.pack("<d", -0.0)
    assert reader.position == 16
    assert reader.remaining == 3
    assert reader.raw(3) == b"raw"
    reader.expect_end()


@pytest.mark.parametrize("read", ["u8", "varint", "svarint", "f32", "f64"])
def test_reading_past_the_end_is_truncation(read: str) -> None:
    for data in (b"", b"\x80"[: read.endswith("varint")]):
        with pytest.raises(TruncatedError):
            getattr(ByteReader(data), read)()


def test_a_length_beyond_the_data_is_truncation_not_an_allocation() -> None:
    with pytest.raises(TruncatedError, match="truncated"):
        ByteReader(b"abc").raw(2**64 - 1)


def test_expect_end_refuses_what_is_left() -> None:
    reader = ByteReader(b"ab")
    reader.u8()
    with pytest.raises(BitstreamError, match="1 bytes follow"):
        reader.expect_end()


@pytest.mark.parametrize(
    ("write", "value"), [("u8", 256), ("u8", -1), ("varint", -1), ("varint", 2**64)]
)
def test_writer_refuses_what_does_not_fit(write: str, value: int) -> None:
    with pytest.raises(OverflowError):
        getattr(ByteWriter(), write)(value)
    with pytest.raises(OverflowError):
        ByteWriter().svarint(2**63)
