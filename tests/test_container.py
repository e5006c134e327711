"""The container of docs/format.md: every damage is a typed error."""

from __future__ import annotations

import random
import zlib

import pytest

from inrcodec.bitstream.container import (
    FORMAT_VERSION,
    MAGIC,
    PREAMBLE_BYTES,
    Chunk,
    ChunkType,
    chunk_sizes,
    parse_container,
    write_container,
)
from inrcodec.errors import (
    BitstreamError,
    ChecksumError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)
from inrcodec.limits import DEFAULT_LIMITS, Limits

PAYLOADS = {
    ChunkType.VOLUME: bytes(range(10)),
    ChunkType.GEOMETRY: b"",
    ChunkType.NETWORK: random.Random(0).randbytes(140),
    ChunkType.METADATA: b"metadata",
}
FILE = write_container([Chunk(*item) for item in PAYLOADS.items()])


def frame(letter: str, payload: bytes) -> bytes:
    assert len(payload) < 128
    data = letter.encode("latin-1") + bytes([len(payload)]) + payload
    return data + zlib.crc32(data).to_bytes(4, "little")


def file_of(*letters: str) -> bytes:
    frames = [frame(letter, letter.encode("latin-1")) for letter in letters]
    return MAGIC + bytes([FORMAT_VERSION, len(frames)]) + b"".join(frames)


def parse(data: bytes) -> dict[ChunkType, bytes]:
    return parse_container(data, DEFAULT_LIMITS)


def test_layout() -> None:
    data = write_container([Chunk(ChunkType(ord(t)), t.encode()) for t in "VGN"])
    assert data == file_of("V", "G", "N")
    assert data[:6].hex() == "4d4f45430103"


def test_wire_values() -> None:
    assert {t.name: chr(t) for t in ChunkType} == {
        "VOLUME": "V",
        "GEOMETRY": "G",
        "DICOM": "D",
        "NETWORK": "N",
        "METADATA": "m",
    }
    assert [t for t in ChunkType if not t.critical] == [ChunkType.METADATA]


def test_round_trip() -> None:
    assert parse(FILE) == PAYLOADS
    del (without := dict(PAYLOADS))[ChunkType.METADATA]
    assert parse(write_container([Chunk(*item) for item in without.items()])) == without


@pytest.mark.parametrize("cut", range(len(FILE)))
def test_truncated_anywhere(cut: int) -> None:
    with pytest.raises(BitstreamError):
        parse(FILE[:cut])


def test_any_flipped_bit() -> None:
    for bit in range(8 * len(FILE)):
        damaged = bytearray(FILE)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            parse(bytes(damaged))
        with pytest.raises(BitstreamError):
            chunk_sizes(bytes(damaged), DEFAULT_LIMITS)


@pytest.mark.parametrize("position", range(4))
def test_unknown_ancillary_chunk_is_skipped(position: int) -> None:
    letters = ["V", "G", "N"]
    letters.insert(position, "x")
    data = file_of(*letters)
    assert [chr(t) for t in parse(data)] == ["V", "G", "N"]
    assert list(chunk_sizes(data, DEFAULT_LIMITS)) == letters


def test_unknown_critical_chunk_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match="'X'"):
        parse(file_of("V", "G", "N", "X"))


def test_damaged_letter_is_damage_not_a_newer_format() -> None:
    data = file_of("V", "G", "N", "x")
    with pytest.raises(ChecksumError):
        parse(data.replace(b"x\x01x", b"X\x01x"))


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("", "'V' is missing"),
        ("GN", "'V' is missing"),
        ("VN", "'G' is missing"),
        ("VGm", "'N' is missing"),
        ("GVN", "order"),
        ("VGmN", "order"),
        ("DVN", "order"),
        ("VGDN", "exclude each other"),
        ("VVGN", "'V' occurs twice"),
        ("VxGNx", "'x' occurs twice"),
        ("VGN\x01", "not a letter"),
        ("VGN\xe9", "not a letter"),
        ("VGN7", "not a letter"),
    ],
)
def test_chunk_rules(letters: str, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        parse(file_of(*letters))


@pytest.mark.parametrize("data", [b"", b"MO", b"\x1f\x8b\x08\x00 gzip", b"moec" + FILE[4:]])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError, match=r"not a \.moec file"):
        parse(data)


def test_later_format_version_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match="format version 9"):
        parse(MAGIC + b"\x09" + FILE[5:])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(BitstreamError, match="follow"):
        parse(FILE + b"\0")


def test_length_beyond_the_file_is_truncation() -> None:
    with pytest.raises(TruncatedError):
        parse(MAGIC + b"\x01\x01V" + b"\xff" * 9 + b"\x01")


def test_size_limit() -> None:
    assert parse_container(FILE, Limits(file_bytes=len(FILE))) == PAYLOADS
    with pytest.raises(LimitExceededError):
        parse_container(FILE, Limits(file_bytes=len(FILE) - 1))


def test_sizes_add_up_to_the_file() -> None:
    sizes = chunk_sizes(FILE, DEFAULT_LIMITS)
    assert sizes == {"V": 16, "G": 6, "N": 147, "m": 14}
    assert PREAMBLE_BYTES + sum(sizes.values()) == len(FILE)


@pytest.mark.parametrize("letters", ["", "VG", "VNG", "VGNN", "VGNmm", "mVGN", "VGDN"])
def test_writer_refuses_what_the_reader_would(letters: str) -> None:
    with pytest.raises(ValueError, match="are not V, G or D, N"):
        write_container([Chunk(ChunkType(ord(letter)), b"") for letter in letters])
