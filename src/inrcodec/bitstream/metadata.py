"""Chunk m: the original header block, on request (docs/format.md)."""

from __future__ import annotations

import zstandard

from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError, UnsupportedVersionError
from inrcodec.limits import Limits
from inrcodec.volume.geometry import HEADER_BYTES, NiftiVersion

_NIFTI_HEADER = 1
_ZSTD_LEVEL = 19


def encode_metadata(header_block: bytes) -> bytes:
    """Return the payload of chunk m for a NIfTI header block."""
    writer = ByteWriter()
    writer.u8(_NIFTI_HEADER)
    writer.raw(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(header_block))
    return writer.getvalue()


def decode_metadata(payload: bytes, version: NiftiVersion, limits: Limits) -> bytes:
    """Return the NIfTI header block in the payload of chunk m; ``version`` is that of chunk G.

    Raises ``LimitExceededError`` if it claims more than ``limits.metadata_bytes``,
    ``UnsupportedVersionError`` for an unknown kind of metadata, ``BitstreamError`` for damage.
    """
    reader = ByteReader(payload)
    kind = reader.u8()
    if kind != _NIFTI_HEADER:
        raise UnsupportedVersionError(f"chunk m: metadata of kind {kind} is unknown")
    return _decompress(reader.raw(reader.remaining), version, limits)


def _decompress(frame: bytes, version: NiftiVersion, limits: Limits) -> bytes:
    try:
        size = zstandard.frame_content_size(frame)
        if size < 0:
            raise BitstreamError("chunk m: the zstandard frame does not say its size")
        limits.check("metadata_bytes", size)
        if size != HEADER_BYTES[version]:
            raise BitstreamError(f"chunk m: {size} bytes are not a NIfTI-{version} header")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BitstreamError(f"chunk m: {error}") from None
