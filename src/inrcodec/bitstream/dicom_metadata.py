"""All attributes of a DICOM series as bytes: kind 2 of chunk m (docs/format.md, "Chunk m").

Elements are those of Explicit VR Little Endian. What all planes share stands once; the rest stands
attribute by attribute, not plane by plane: neighbours then resemble each other, and zstandard
finds it.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from copy import deepcopy

from pydicom import config
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from inrcodec.bitstream.metadata import MetadataKind, pack, unpack
from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError
from inrcodec.limits import Limits
from inrcodec.volume.dicom.series import DicomHeader

_ENHANCED = 1

_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
"""Their elements have a length of four bytes, after two that are not used."""

_DEFAULT_CHARACTERS = "ISO_IR 6"


def encode_dicom_metadata(header: DicomHeader) -> bytes:
    """Return the payload of chunk m for all attributes of a series."""
    characters = header.shared.get("SpecificCharacterSet", _DEFAULT_CHARACTERS)
    writer = ByteWriter()
    writer.u8(_ENHANCED if header.enhanced else 0)
    _write_block(writer, _encode(header.shared, characters))
    frames = [dict(_elements(_encode(frame, characters))) for frame in header.frames]
    tags = sorted({tag for frame in frames for tag in frame})
    writer.varint(len(frames))
    writer.varint(len(tags))
    for tag in tags:
        for frame in frames:
            _write_block(writer, frame.get(tag, b""))
    return pack(MetadataKind.DICOM_ATTRIBUTES, writer.getvalue())


def decode_dicom_metadata(payload: bytes, planes: int, limits: Limits) -> DicomHeader:
    """Read the payload of chunk m for a grid of that many planes.

    Raises ``LimitExceededError`` for more planes or bytes than ``limits`` allow,
    ``BitstreamError`` for anything that breaks the format.
    """
    return read_attributes(unpack(payload, MetadataKind.DICOM_ATTRIBUTES, limits), planes, limits)


def read_attributes(data: bytes, planes: int, limits: Limits) -> DicomHeader:
    """Read what the zstandard frame holds. Raises what ``decode_dicom_metadata`` does."""
    limits.check("planes", planes)
    reader = ByteReader(data)
    flags = reader.u8()
    if flags & ~_ENHANCED:
        raise BitstreamError("chunk m: reserved flags are set")
    shared = _decode(reader.raw(reader.varint()), _DEFAULT_CHARACTERS)
    characters = shared.get("SpecificCharacterSet", _DEFAULT_CHARACTERS)
    if (count := reader.varint()) != planes:
        raise BitstreamError(f"chunk m: it has the attributes of {count} planes, not of {planes}")
    frames = [bytearray() for _ in range(planes)]
    for _ in range(reader.varint()):
        for frame in frames:
            frame += reader.raw(reader.varint())
    reader.expect_end()
    return DicomHeader(
        shared,
        tuple(_decode(bytes(frame), characters) for frame in frames),
        bool(flags & _ENHANCED),
    )


def _write_block(writer: ByteWriter, block: bytes) -> None:
    writer.varint(len(block))
    writer.raw(block)


def _encode(dataset: Dataset, characters: str | list[str]) -> bytes:
    dataset = deepcopy(dataset)
    _settle_lengths(dataset)
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset, characters)
    return stream.getvalue()


def _settle_lengths(dataset: Dataset) -> None:
    """Give every sequence and item a defined length, so that elements can be told apart."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = False
            for item in element.value:
                item.is_undefined_length_sequence_item = False
                _settle_lengths(item)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and bytes of each element of an encoded dataset.

    Raises a `BitstreamError` where one is cut, out of order, or has reserved bytes.
    """
    start, before = 0, -1
    while start < len(data):
        try:
            group, number, vr, length = struct.unpack_from("<HH2sH", data, start)
            stop = start + 8 + length
            if vr in _LONG_VRS:
                reserved, (length,) = length, struct.unpack_from("<I", data, start + 8)
                stop = start + 12 + length
                if reserved:
                    raise BitstreamError("chunk m: an element has reserved bytes")
        except struct.error:
            stop = len(data) + 1
        if stop > len(data):
            raise BitstreamError("chunk m: the attributes are damaged: an element is cut")
        tag = group << 16 | number
        if tag <= before:
            raise BitstreamError("chunk m: elements are out of order")
        yield tag, data[start:stop]
        start, before = stop, tag


def _decode(data: bytes, characters: str | list[str]) -> Dataset:
    for _ in _elements(data):
        pass  # what pydicom reads over
    try:
        # Values come back as they were, however wrong.
        with config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encodings = convert_encodings(characters)
            stream = io.BytesIO(data)
            dataset = read_dataset(stream, False, True, len(data), parent_encoding=encodings)
            for _ in dataset.iterall():  # elements are converted when they are looked at
                pass
    except Exception as error:
        # pydicom meets damage with whatever fails first.
        raise BitstreamError(f"chunk m: the attributes are damaged: {error}") from None
    return dataset
