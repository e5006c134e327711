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
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

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

_ITEM = b"\xfe\xff\x00\xe0"

_DEFAULT_CHARACTERS = "ISO_IR 6"


class _Element(NamedTuple):
    """An element, and where in the bytes it starts, its value starts, and both end."""

    tag: int
    vr: bytes
    start: int
    value: int
    end: int


def encode_dicom_metadata(header: DicomHeader) -> bytes:
    """Return the payload of chunk m for all attributes of a series."""
    characters = header.shared.get("SpecificCharacterSet", _DEFAULT_CHARACTERS)
    writer = ByteWriter()
    writer.u8(_ENHANCED if header.enhanced else 0)
    _write_block(writer, _encode(header.shared, characters))
    frames = [_by_tag(_encode(frame, characters)) for frame in header.frames]
    tags = sorted({tag for frame in frames for tag in frame})
    writer.varint(len(frames))
    writer.varint(len(tags))
    for tag in tags:
        for frame in frames:
            _write_block(writer, frame.get(tag, b""))
    return pack(MetadataKind.DICOM_ATTRIBUTES, writer.getvalue())


def decode_dicom_metadata(payload: bytes, planes: int, limits: Limits) -> DicomHeader:
    """Read the payload of chunk m for a grid of that many planes.

    Raises ``LimitExceededError`` for more planes, bytes or attributes than ``limits`` allow,
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
    whole = reader.raw(reader.varint())
    if (count := reader.varint()) != planes:
        raise BitstreamError(f"chunk m: it has the attributes of {count} planes, not of {planes}")
    blocks = [bytearray() for _ in range(planes)]
    for _ in range(reader.varint()):
        for block in blocks:
            block += reader.raw(reader.varint())
    reader.expect_end()
    frames = [bytes(block) for block in blocks]
    limits.check("attributes", sum(map(_count, (whole, *frames))))
    shared = _decode(whole, _DEFAULT_CHARACTERS)
    characters = shared.get("SpecificCharacterSet", _DEFAULT_CHARACTERS)
    return DicomHeader(
        shared,
        tuple(_decode(frame, characters) for frame in frames),
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


def _by_tag(data: bytes) -> dict[int, bytes]:
    return {e.tag: data[e.start : e.end] for e in _elements(data, 0, len(data))}


def _settle_lengths(dataset: Dataset) -> None:
    """Give every sequence and item a defined length, so that elements can be told apart."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = False
            for item in element.value:
                item.is_undefined_length_sequence_item = False
                _settle_lengths(item)


def _elements(data: bytes, start: int, stop: int) -> Iterator[_Element]:
    """The elements of the dataset in ``data[start:stop]``.

    Raises a `BitstreamError` where one is cut, out of order, of no representation, or has reserved
    bytes.
    """
    before = -1
    while start < stop:
        group, number, vr, length = _unpack("<HH2sH", data, start, stop)
        value = start + 8
        if not b"AA" <= vr <= b"ZZ":  # pydicom would go on in another encoding
            raise BitstreamError("chunk m: an element has no value representation")
        if vr in _LONG_VRS:
            if length:
                raise BitstreamError("chunk m: an element has reserved bytes")
            (length,) = _unpack("<I", data, value, stop)
            value += 4
        tag = group << 16 | number
        if tag <= before:
            raise BitstreamError("chunk m: elements are out of order")
        element = _Element(tag, vr, start, value, _end(value, length, stop))
        yield element
        start, before = element.end, tag


def _items(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the dataset of each item of a sequence starts and ends."""
    while start < stop:
        head, length = _unpack("<4sI", data, start, stop)
        if head != _ITEM:
            raise BitstreamError("chunk m: a sequence has something between its items")
        end = _end(start + 8, length, stop)
        yield start + 8, end
        start = end


def _unpack(form: str, data: bytes, start: int, stop: int) -> tuple[Any, ...]:
    _end(start, struct.calcsize(form), stop)
    return struct.unpack_from(form, data, start)


def _end(start: int, length: int, stop: int) -> int:
    if start + length > stop:
        raise BitstreamError("chunk m: the attributes are damaged: an element is cut")
    return start + length


def _count(data: bytes) -> int:
    """The elements of a dataset and of its sequences, their items, and values of text after the
    first: what pydicom makes of it. Raises what ``_elements`` does."""

    def count(start: int, stop: int) -> int:
        number = 0
        for element in _elements(data, start, stop):
            number += 1
            if element.vr == b"SQ":
                number += sum(1 + count(*item) for item in _items(data, element.value, element.end))
            elif element.vr not in _LONG_VRS:
                number += data.count(b"\\", element.value, element.end)
        return number

    try:
        return count(0, len(data))
    except RecursionError:
        raise BitstreamError("chunk m: sequences are nested too deep") from None


def _decode(data: bytes, characters: str | list[str]) -> Dataset:
    try:
        # Values come back as they were, however wrong.
        with config.disable_value_validation(), _unknown_stays_unknown(), warnings.catch_warnings():
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


@contextmanager
def _unknown_stays_unknown() -> Iterator[None]:
    """Keep pydicom from looking for a sequence, which nobody counted, in an element of VR UN."""
    before = config.replace_un_with_known_vr
    config.replace_un_with_known_vr = False
    try:
        yield
    finally:
        config.replace_un_with_known_vr = before
