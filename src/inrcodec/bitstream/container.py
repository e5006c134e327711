"""The ``.moec`` container: magic, format version, and checksummed chunks (docs/format.md)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError, ChecksumError, UnsupportedVersionError
from inrcodec.limits import Limits

MAGIC = b"MOEC"
FORMAT_VERSION = 1
PREAMBLE_BYTES = 6
"""Magic, format version and chunk count: what a file holds besides its chunks."""

_BLOCK_BYTES = 1 << 20


class ChunkType(IntEnum):
    """The chunks this format version defines, in the order a file holds them."""

    VOLUME = ord("V")
    GEOMETRY = ord("G")
    DICOM = ord("D")
    NETWORK = ord("N")
    METADATA = ord("m")

    @property
    def critical(self) -> bool:
        """Whether a volume cannot be decoded without it (an uppercase letter)."""
        return chr(self).isupper()


_ORDER = tuple(ChunkType)
_GEOMETRIES = {ChunkType.GEOMETRY, ChunkType.DICOM}
"""A file has one of them."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One typed block of bytes."""

    type: ChunkType
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Frame:
    """A chunk as it lies in a file: any letter, checksum verified."""

    letter: str
    payload: bytes
    framed_bytes: int


def read_file(file: BinaryIO, limits: Limits) -> bytes:
    """Return all bytes of an open file or stream.

    Raises ``LimitExceededError`` if they are more than ``limits.file_bytes``: before a file is
    read, and as soon as a stream has delivered too much.
    """
    if file.seekable():
        start = file.tell()
        limits.check("file_bytes", file.seek(0, io.SEEK_END) - start)
        file.seek(start)
    blocks: list[bytes] = []
    size = 0
    while block := file.read(_BLOCK_BYTES):
        size += len(block)
        limits.check("file_bytes", size)
        blocks.append(block)
    return b"".join(blocks)


def write_container(chunks: Sequence[Chunk]) -> bytes:
    """Return the file that holds ``chunks``.

    Raises ``ValueError`` unless they are V, G or D, N in that order, each once, and then at most
    one m.
    """
    types = [chunk.type for chunk in chunks]
    both = set(types) >= _GEOMETRIES
    if types != [t for t in _ORDER if t in types] or _missing(types) or both:
        raise ValueError(f"chunks {[chr(t) for t in types]} are not V, G or D, N, at most one m")
    writer = ByteWriter()
    writer.raw(MAGIC)
    writer.u8(FORMAT_VERSION)
    writer.u8(len(chunks))
    for chunk in chunks:
        writer.raw(_frame(chunk))
    return writer.getvalue()


def parse_container(data: bytes, limits: Limits) -> dict[ChunkType, bytes]:
    """Return the payload of each known chunk of the file ``data``; unknown ancillary ones go.

    Raises ``LimitExceededError`` for a file larger than ``limits.file_bytes``,
    ``UnsupportedVersionError`` for a format version or critical chunk of a later format,
    ``ChecksumError`` for damage, ``TruncatedError`` for missing bytes, and ``BitstreamError`` for
    anything else that is not a valid container.
    """
    payloads: dict[ChunkType, bytes] = {}
    for frame in _frames(data, limits):
        try:
            chunk_type = ChunkType(ord(frame.letter))
        except ValueError:
            if frame.letter.isupper():
                raise UnsupportedVersionError(
                    f"critical chunk '{frame.letter}' is unknown; a newer inrcodec wrote this file"
                ) from None
            continue
        payloads[chunk_type] = frame.payload
    if list(payloads) != [t for t in _ORDER if t in payloads]:
        raise BitstreamError("chunks are not in the order V, G, N, m")
    if missing := _missing(payloads):
        raise BitstreamError(f"required chunk {missing} is missing")
    if payloads.keys() >= _GEOMETRIES:
        raise BitstreamError("chunks 'G' and 'D' exclude each other")
    return payloads


def _missing(types: Collection[ChunkType]) -> str:
    """The first chunk that a file needs and is not among ``types``, for a message; or nothing."""
    if ChunkType.VOLUME not in types:
        return "'V'"
    if not _GEOMETRIES & set(types):
        return "'G'"
    return "" if ChunkType.NETWORK in types else "'N'"


def chunk_sizes(data: bytes, limits: Limits) -> dict[str, int]:
    """Return the bytes of each chunk, framing included, under its letter and in file order.

    Unknown chunks are listed too; the sizes and ``PREAMBLE_BYTES`` add up to the file. Raises as
    ``parse_container`` does for a damaged file.
    """
    return {frame.letter: frame.framed_bytes for frame in _frames(data, limits)}


def _frame(chunk: Chunk) -> bytes:
    writer = ByteWriter()
    writer.u8(chunk.type)
    writer.varint(len(chunk.payload))
    writer.raw(chunk.payload)
    framed = writer.getvalue()
    return framed + zlib.crc32(framed).to_bytes(4, "little")


def _frames(data: bytes, limits: Limits) -> Iterator[_Frame]:
    limits.check("file_bytes", len(data))
    reader = ByteReader(data)
    if reader.raw(min(len(MAGIC), len(data))) != MAGIC:
        raise BitstreamError("not a .moec file: it does not start with 'MOEC'")
    version = reader.u8()
    if version != FORMAT_VERSION:
        other = "a newer inrcodec" if version > FORMAT_VERSION else "the inrcodec that wrote it"
        raise UnsupportedVersionError(
            f"format version {version} is not supported; this inrcodec reads {FORMAT_VERSION}: "
            f"take {other}"
        )
    seen: set[str] = set()
    for _ in range(reader.u8()):
        start = reader.position
        letter = chr(reader.u8())
        payload = reader.raw(reader.varint())
        checksum = zlib.crc32(memoryview(data)[start : reader.position])
        # Before the type is judged: a damaged letter is damage, not a newer format.
        if reader.uint(4) != checksum:
            raise ChecksumError(f"chunk at offset {start} is damaged: its CRC-32 does not match")
        if not (letter.isascii() and letter.isalpha()):
            raise BitstreamError(f"chunk type {ord(letter)} at offset {start} is not a letter")
        if letter in seen:
            raise BitstreamError(f"chunk '{letter}' occurs twice")
        seen.add(letter)
        yield _Frame(letter, payload, reader.position - start)
    reader.expect_end()
