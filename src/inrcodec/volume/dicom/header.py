"""What a DICOM file says of itself: its attributes, and where its pixel data lie, unread."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.limits import Limits
from inrcodec.volume.dicom.damage import damage_reported, one_line

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_META_GROUP = 0x0002
_PIXEL_GROUP = 0x7FE0
_PIXEL_KEYWORDS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_TRAILING_PADDING = 0xFFFCFFFC
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = frozenset(["OB", "OW", "OF", "OD", "OL", "OV", "UN"])
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of the pixel data element lies in its file, inflated if it is deflated."""

    keyword: str
    vr: str
    offset: int
    length: int | None
    """None: in fragments, of undefined length."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A DICOM file without its pixel data."""

    number: int
    """That of the file in its source."""
    name: str
    dataset: Dataset
    """Its attributes, except for groups 0002 and 7FE0."""
    transfer_syntax: UID
    sop_class: str
    """Its name, where it is a standard one."""
    pixels: PixelElement

    @property
    def is_little_endian(self) -> bool:
        return self.transfer_syntax != uid.ExplicitVRBigEndian


def read_header(number: int, name: str, stream: BinaryIO, limits: Limits) -> Header | None:
    """Read the attributes before and behind the pixel data; None for what is no image.

    Raises ``InputError`` for a file that is truncated or damaged, or an image without pixel data.
    """
    with damage_reported(name):
        meta, stream = open_dataset(name, stream, limits)
        bounded = _BoundedStream(name, stream, limits.metadata_bytes)
        syntax = meta.get("TransferSyntaxUID")
        implicit, little, syntax = _encoding(bounded, UID(syntax) if syntax else None)
        if meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
            return None
        stop = _Stop()

        def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag in _PIXEL_KEYWORDS:
                stop.keyword, stop.vr = _PIXEL_KEYWORDS[tag], vr or "OW"
                return True
            bounded.expect(length)
            return False

        dataset = _parse(bounded, implicit, little, at_pixels)
        implicit = bool(dataset.original_encoding[0])  # what was found, whatever is declared
        sop_class = UID(str(meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")))
        if not stop.keyword:
            _require_no_image(name, dataset, sop_class)
            return None
        pixels = _skip_pixels(name, bounded, stop, implicit, little)
        if (pixels.length is None) != syntax.is_encapsulated:
            raise InputError(
                f"{name}: damaged: the pixel data are not in the transfer syntax {syntax.name}"
            )
        dataset.update(_read_trailing(bounded, implicit, little))
        offset_tables = dataset.group_dataset(_PIXEL_GROUP).keys()
        for tag in offset_tables:
            del dataset[tag]
        return Header(number, name, dataset, syntax, sop_class.name, pixels)


def open_dataset(name: str, stream: BinaryIO, limits: Limits) -> tuple[Dataset, BinaryIO]:
    """Return the file meta information, and the file behind it: inflated, if it is deflated.

    The stream returned stands at the first attribute. Where nothing is deflated, it is ``stream``.
    """
    start = _PREAMBLE_BYTES + len(_PREFIX)
    if stream.read(start)[_PREAMBLE_BYTES:] != _PREFIX:
        start = 0
    stream.seek(start)
    bounded = _BoundedStream(name, stream, limits.metadata_bytes)

    def behind_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag.group != _META_GROUP:
            return True
        bounded.expect(length)
        return False

    meta = _parse(bounded, False, True, behind_meta)
    if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        return meta, _inflate(name, stream, limits)
    return meta, stream


def _inflate(name: str, stream: BinaryIO, limits: Limits) -> BinaryIO:
    inflated = io.BytesIO()
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    while block := decompressor.unconsumed_tail or stream.read(_BLOCK_BYTES):
        inflated.write(decompressor.decompress(block, _BLOCK_BYTES))
        if inflated.tell() > limits.file_bytes:
            raise UnsupportedVolumeError(
                f"{name}: inflates to more than {limits.file_bytes} bytes, which is not supported"
            )
    if not decompressor.eof:
        raise InputError(f"{name}: truncated: the deflated data have no end; copy it again")
    inflated.seek(0)
    return inflated


def _encoding(stream: _BoundedStream, syntax: UID | None) -> tuple[bool, bool, UID]:
    """Return whether VRs are implicit, whether it is little endian, and the transfer syntax."""
    if syntax is None:
        start = stream.tell()
        head = stream.read(6)
        stream.seek(start)
        if not (head[4:6].isalpha() and head[4:6].isupper()):
            syntax = uid.ImplicitVRLittleEndian
        elif head[:2] in (b"\x00\x02", b"\x00\x08"):
            syntax = uid.ExplicitVRBigEndian
        else:
            syntax = uid.ExplicitVRLittleEndian
    if not syntax.is_transfer_syntax:
        raise UnsupportedVolumeError(
            f"{stream.name}: the transfer syntax {one_line(syntax)} is unknown; convert the file "
            "to a standard one"
        )
    return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian, syntax


def _require_no_image(name: str, dataset: Dataset, sop_class: UID) -> None:
    """Refuse what ends before its pixel data; a report, a plan or spectra never had any."""
    if not dataset:
        raise InputError(f"{name}: truncated: no attributes; copy it again")
    if "Image Storage" in sop_class.name or (
        "Rows" in dataset and "SpectroscopyData" not in dataset
    ):
        raise InputError(f"{name}: no pixel data, or truncated before them; copy it again")


def _skip_pixels(
    name: str, stream: _BoundedStream, stop: _Stop, implicit: bool, little: bool
) -> PixelElement:
    """Move from the start of the pixel data element behind it."""
    long_form = not implicit and stop.vr in _LONG_VRS
    head = stream.read(12 if long_form else 8)
    field = head[-4:] if implicit or long_form else head[-2:]
    length = int.from_bytes(field, "little" if little else "big")
    offset = stream.tell()
    if length != _UNDEFINED_LENGTH:
        stream.expect(length)
        stream.seek(offset + length)
        return PixelElement(stop.keyword, stop.vr, offset, length)
    while True:
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _SEQUENCE_END:
            return PixelElement(stop.keyword, stop.vr, offset, None)
        if head[:4] != _ITEM or length == _UNDEFINED_LENGTH:
            raise InputError(f"{name}: damaged: no fragment at byte {stream.tell() - len(head)}")
        stream.expect(length)
        stream.seek(stream.tell() + length)


def _read_trailing(stream: _BoundedStream, implicit: bool, little: bool) -> Dataset:
    """Read the attributes behind the pixel data; what is no attribute there is padding."""

    def is_padding(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag.group <= _PIXEL_GROUP or tag == _TRAILING_PADDING:
            return True
        stream.expect(length)
        return False

    stream.may_end = True
    return _parse(stream, implicit, little, is_padding)


def _parse(
    stream: _BoundedStream,
    implicit: bool,
    little: bool,
    stop_when: Callable[[BaseTag, str | None, int], bool],
) -> Dataset:
    return read_dataset(cast(BinaryIO, stream), implicit, little, stop_when=stop_when)


class _Stop:
    """The element that ended the reading of attributes."""

    keyword = ""
    vr = ""


class _BoundedStream:
    """A stream that says when a read goes beyond its end, or a header beyond the limit.

    pydicom takes a short value for the value, and the end of the file for the end of the dataset.
    """

    def __init__(self, name: str, stream: BinaryIO, most: int) -> None:
        self.name = name
        self._stream = stream
        self._most = self._left = most
        self.may_end = False
        """Whether the end of the file is no matter."""
        self._at_end = False
        self.tell = stream.tell
        self.seek = stream.seek
        start = stream.tell()
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(start)

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise UnsupportedVolumeError(
                f"{self.name}: attributes of more than {self._most} bytes are not supported"
            )
        data = self._stream.read(size)
        self._left -= len(data)
        if len(data) < size:
            # The one read that may find nothing is that of the element after the last.
            if (data or self._at_end) and not self.may_end:
                self._truncated()
            self._at_end = True
        return data

    def expect(self, length: int) -> None:
        """Refuse an element of a length that the rest of the file does not have."""
        if length != _UNDEFINED_LENGTH and self.tell() + length > self._size:
            self._truncated()

    def _truncated(self) -> None:
        raise InputError(f"{self.name}: truncated; copy it again")
