"""Files put together from any chunks and fields at all, valid or not."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from inrcodec.architecture import Architecture
from inrcodec.bitstream.architecture import write_architecture
from inrcodec.bitstream.container import FORMAT_VERSION, MAGIC
from inrcodec.bitstream.primitives import ByteWriter
from inrcodec.quantization import MIN_STEP_EXPONENT

Chunks = Sequence[tuple[str, bytes]]


def container(chunks: Chunks, version: int = FORMAT_VERSION, count: int | None = None) -> bytes:
    """A file of any chunks at all, valid or not, with the right CRC-32 each."""
    preamble = MAGIC + bytes([version, len(chunks) if count is None else count])
    return preamble + b"".join(chunk(letter, payload) for letter, payload in chunks)


def chunk(letter: str, payload: bytes) -> bytes:
    """One chunk with its length and CRC-32."""
    writer = ByteWriter()
    writer.raw(letter.encode("latin-1"))
    writer.varint(len(payload))
    writer.raw(payload)
    writer.uint(zlib.crc32(writer.getvalue()), 4)
    return writer.getvalue()


def network_fields(
    architecture: Architecture, pairs: Sequence[tuple[int, int]], stream: bytes
) -> bytes:
    """Chunk N of any fields at all: ``pairs`` are step exponents and wire bytes."""
    writer = ByteWriter()
    write_architecture(writer, architecture)
    for step_exponent, wire in pairs:
        writer.u8(step_exponent - MIN_STEP_EXPONENT)
        writer.u8(wire)
    writer.raw(stream)
    return writer.getvalue()
