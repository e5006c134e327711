"""Chunk m: the original header, on request (docs/format.md)."""

from __future__ import annotations

from enum import IntEnum

import zstandard

from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError, UnsupportedVersionError
from inrcodec.limits import Limits
from inrcodec.volume.geometry import HEADER_BYTES, NiftiVersion

_ZSTD_LEVEL = 19


class MetadataKind(IntEnum):
    """What the chunk holds."""

    NIFTI_HEADER = 1
    DICOM_ATTRIBUTES = 2


def encode_metadata(header_block: bytes) -> bytes:
    """Return the payload of chunk m for a NIfTI header block."""
    return pack(MetadataKind.NIFTI_HEADER, header_block)


def decode_metadata(payload: bytes, version: NiftiVersion, limits: Limits) -> bytes:
    """Return the NIfTI header block in the payload of chunk m; ``version`` is that of chunk G.

    Raises ``LimitExceededError`` if it claims more than ``limits.metadata_bytes``,
    ``UnsupportedVersionError`` for an unknown kind of metadata, ``BitstreamError`` for damage.
    """
    frame, size = _frame(payload, MetadataKind.NIFTI_HEADER, limits)
    if size != HEADER_BYTES[version]:
        raise BitstreamError(f"chunk m: {size} bytes are not a NIfTI-{version} header")
    return _decompress(frame)


def pack(kind: MetadataKind, data: bytes) -> bytes:
    """Return the payload of chunk m that holds ``data``."""
    writer = ByteWriter()
    writer.u8(kind)
    writer.raw(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data))
    return writer.getvalue()


def unpack(payload: bytes, kind: MetadataKind, limits: Limits) -> bytes:
    """Return the data in the payload of chunk m. Raises as ``decode_metadata`` does."""
    return _decompress(_frame(payload, kind, limits)[0])


def _frame(payload: bytes, kind: MetadataKind, limits: Limits) -> tuple[bytes, int]:
    """The zstandard frame and the size that it claims to have when it is unpacked."""
    reader = ByteReader(payload)
    found = reader.u8()
    if found not in tuple(MetadataKind):
        raise UnsupportedVersionError(f"chunk m: metadata of kind {found} is unknown")
    if found != kind:
        raise BitstreamError(f"chunk m: metadata of kind {found} belongs to another kind of volume")
    frame = reader.raw(reader.remaining)
    try:
        size: int = zstandard.frame_content_size(frame)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"chunk m: {error}") from None
    if size < 0:
        raise BitstreamError("chunk m: the zstandard frame does not say its size")
    limits.check("metadata_bytes", size)
    return frame, size


def _decompress(frame: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"chunk m: {error}") from None
