"""Chunk D: what a DICOM series needs to be shown and written back (docs/format.md, "Chunk D").

Attributes go by number, and values by a form that their value representation names, so that a
header takes tens of bytes. What varies from plane to plane is a column, coded as what differs from
a straight line between its ends: the positions of an even stack cost nothing but these. Text is
one of the format's terms: there is no place for a name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from typing import Any, Union

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.valuerep import format_number_as_ds

from inrcodec.bitstream.container import ChunkType
from inrcodec.bitstream.dicom_metadata import decode_dicom_metadata
from inrcodec.bitstream.dicom_terms import ATTRIBUTES, TERMS
from inrcodec.bitstream.primitives import ByteReader, ByteWriter, unzigzag, zigzag
from inrcodec.errors import BitstreamError
from inrcodec.limits import Limits
from inrcodec.volume.dicom.elements import put_items
from inrcodec.volume.dicom.series import DicomHeader
from inrcodec.volume.dicom.volume import geometry_of
from inrcodec.volume.geometry import NiftiGeometry

_NUMBERS = {name: number for number, name in enumerate(ATTRIBUTES)}
_TERM_NUMBERS = {term: number for number, term in enumerate(TERMS)}

_DERIVED = ("Rows", "Columns", "SamplesPerPixel", "HighBit")
"""Left out: they follow from the grid and from BitsStored."""

_ENHANCED = 1

_DECIMAL_VRS = {"DS", "FD", "FL"}
_INTEGER_VRS = {"IS", "US", "SS", "UL", "SL", "US or SS", "UV", "SV"}
_RANGES = {
    "US": (0, 0xFFFF), "SS": (-0x8000, 0x7FFF), "UL": (0, 0xFFFFFFFF),
    "SL": (-0x80000000, 0x7FFFFFFF), "UV": (0, (1 << 64) - 1), "SV": (-(1 << 63), (1 << 63) - 1),
    "IS": (-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
"""Of integers. DICOM has 32 bits for IS, and files that write dates into it."""

_BINARY_VRS = {"OB", "OW", "OB or OW", "US or OW", "OF", "OD"}

_MOST_DIGITS = 14
_RAW = 15
"""Exponent that says: a binary64 follows."""

_LARGEST_MANTISSA = (1 << 58) - 1
_MOST_DEPTH = 6

_RESIDUALS = 16
"""Set in a component's digits: what differs from the line follows."""

Path = tuple[str, ...]
"""Keywords from a sequence of one item down to an attribute."""

_Tree = dict[str, Union[DataElement, "_Tree"]]
"""A plane's attributes by keyword: elements, which planes share, and sequences of one item."""


class _Spread(IntEnum):
    """Along which planes a column varies."""

    BOTH = 0
    Z = 1
    T = 2
    NEITHER = 3


class _Column(IntEnum):
    """How a column's values are coded."""

    NUMBERS = 0
    VALUES = 1


def parse_dicom(
    chunks: Mapping[ChunkType, bytes], shape: tuple[int, ...], limits: Limits
) -> tuple[DicomHeader, NiftiGeometry]:
    """Read the attributes of a file with chunk D, all of them where chunk m has them, and the
    geometry that they give a grid of ``shape``.

    Raises what ``decode_dicom_header`` does.
    """
    if len(shape) < 3:
        raise BitstreamError(f"chunk D: a grid of {len(shape)} axes is no stack of planes")
    planes = (shape[2], shape[3] if len(shape) > 3 else 1)
    header = decode_dicom_header(chunks[ChunkType.DICOM], planes, limits)
    if ChunkType.METADATA in chunks:
        payload = chunks[ChunkType.METADATA]
        enhanced = header.enhanced
        header = decode_dicom_metadata(payload, planes[0] * planes[1], limits)
        if header.enhanced != enhanced:
            raise BitstreamError("chunks D and m: one says multi-frame, the other does not")
    return header, geometry_of(header, shape)


def encode_dicom_header(header: DicomHeader, planes: tuple[int, int]) -> bytes:
    """Return the payload of chunk D; ``planes`` is the grid's (Z, T).

    Raises ``ValueError`` for an attribute that is none of `ATTRIBUTES`, or a text none of `TERMS`.
    """
    writer = ByteWriter()
    writer.u8(_ENHANCED if header.enhanced else 0)
    _write_dataset(writer, header.shared)
    columns = _columns(header.frames)
    writer.varint(len(columns))
    for path, values in columns.items():
        writer.varint(len(path))
        for keyword in path:
            writer.u8(_number(keyword))
        _write_column(writer, path[-1], values, planes)
    return writer.getvalue()


def decode_dicom_header(payload: bytes, planes: tuple[int, int], limits: Limits) -> DicomHeader:
    """Read the payload of chunk D for a grid of (Z, T) planes.

    Raises ``LimitExceededError`` for more planes or attributes than ``limits`` allow,
    ``BitstreamError`` for anything that breaks the format.
    """
    count = planes[0] * planes[1]
    limits.check("planes", count)
    reader = _Reader(payload, limits)
    flags = reader.u8()
    if flags & ~_ENHANCED:
        raise BitstreamError("chunk D: reserved flags are set")
    shared = _read_dataset(reader, 0)
    columns = reader.varint()
    reader.expect(columns * count)
    trees: list[_Tree] = [{} for _ in range(count)]
    for _ in range(columns):
        steps = reader.varint()
        if not 1 <= steps <= _MOST_DEPTH:
            raise BitstreamError(f"chunk D: a path of {steps} attributes")
        path = tuple(_keyword(reader.u8()) for _ in range(steps))
        if any(_vr(keyword) != "SQ" for keyword in path[:-1]):
            raise BitstreamError("chunk D: a path leads through no sequence")
        elements = _read_column(reader, path[-1], planes)
        # Sequences are made on the way, and each item of one is told where it is.
        reader.expect((steps - 1) * count + sum(map(_item_count, elements)))
        for tree, element in zip(trees, elements, strict=True):
            if element is not None:
                _place(tree, path, element)
    reader.expect_end()
    return DicomHeader(shared, tuple(map(_dataset, trees)), bool(flags & _ENHANCED))


class _Reader(ByteReader):
    """Reads chunk D, and counts what is made of it."""

    __slots__ = ("_expected", "_limits")

    def __init__(self, payload: bytes, limits: Limits) -> None:
        super().__init__(payload)
        self._limits = limits
        self._expected = 0

    def expect(self, number: int) -> None:
        """Count attributes, items or values before they are made.

        Raises ``LimitExceededError`` where they are more than ``limits.attributes`` by now.
        """
        self._expected += number
        self._limits.check("attributes", self._expected)


def _number(keyword: str) -> int:
    try:
        return _NUMBERS[keyword]
    except KeyError:
        raise ValueError(f"attribute {keyword} has no number in the format") from None


def _keyword(number: int) -> str:
    if number >= len(ATTRIBUTES):
        raise BitstreamError(f"chunk D: attribute {number} is unknown")
    return ATTRIBUTES[number]


def _vr(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return dictionary_VR(tag)


def _write_dataset(writer: ByteWriter, dataset: Dataset) -> None:
    elements = [element for element in dataset if element.keyword not in _DERIVED]
    writer.varint(len(elements))
    for element in elements:
        writer.u8(_number(element.keyword))
        _write_value(writer, element.keyword, element.value)


def _read_dataset(reader: _Reader, depth: int) -> Dataset:
    if depth > _MOST_DEPTH:
        raise BitstreamError("chunk D: sequences are nested too deep")
    dataset = Dataset()
    for _ in range(reader.varint()):
        reader.expect(1)
        keyword = _keyword(reader.u8())
        if keyword in dataset:
            raise BitstreamError(f"chunk D: attribute {keyword} occurs twice")
        dataset.add(_element(keyword, _read_value(reader, keyword, depth)))
    return dataset


# Values


def _write_value(writer: ByteWriter, keyword: str, value: Any) -> None:
    vr = _vr(keyword)
    if vr == "SQ":
        writer.varint(len(value))
        for item in value:
            _write_dataset(writer, item)
    elif vr in _BINARY_VRS:
        writer.varint(len(value))
        writer.raw(bytes(value))
    else:
        values = _as_list(value)
        writer.varint(len(values))
        for one in values:
            if vr in _DECIMAL_VRS:
                _write_decimal(writer, one)
            elif vr in _INTEGER_VRS:
                writer.svarint(int(one))
            else:
                _write_term(writer, str(one))


def _read_value(reader: _Reader, keyword: str, depth: int) -> Any:
    vr = _vr(keyword)
    count = reader.varint()
    # Every value and every item takes a byte at least.
    if count > reader.remaining:
        raise BitstreamError(f"chunk D: {keyword} claims {count} values")
    if vr in _BINARY_VRS:
        return reader.raw(count)
    reader.expect(count)
    if vr == "SQ":
        return ItemSequence([_read_dataset(reader, depth + 1) for _ in range(count)])
    if vr in _DECIMAL_VRS:
        return [_read_decimal(reader) for _ in range(count)]
    if vr in _INTEGER_VRS:
        return [reader.svarint() for _ in range(count)]
    return [_read_term(reader) for _ in range(count)]


def _write_decimal(writer: ByteWriter, value: Any) -> None:
    split = _split(value)
    if split is None:
        writer.varint(_RAW)
        writer.f64(float(value))
    else:
        mantissa, digits = split
        writer.varint(zigzag(mantissa) << 4 | digits)


def _read_decimal(reader: ByteReader) -> Decimal | float:
    coded = reader.varint()
    if coded & 15 == _RAW:
        if coded != _RAW:
            raise BitstreamError("chunk D: a number has a reserved form")
        return reader.f64()
    return _join(unzigzag(coded >> 4), coded & 15)


def _split(value: Any) -> tuple[int, int] | None:
    """A number as (mantissa, digits after the point), in lowest terms; None if it has no such
    form."""
    try:
        decimal = Decimal(str(value)).normalize()
    except InvalidOperation:
        return None
    sign, _, exponent = decimal.as_tuple()
    if not isinstance(exponent, int) or (sign and not decimal):  # NaN, infinity, -0
        return None
    if not -_MOST_DIGITS <= exponent <= _MOST_DIGITS:
        return None
    mantissa = int(decimal.scaleb(max(-exponent, 0)))
    return (mantissa, max(-exponent, 0)) if abs(mantissa) <= _LARGEST_MANTISSA else None


def _join(mantissa: int, digits: int) -> Decimal:
    return Decimal(mantissa).scaleb(-digits)


def _write_term(writer: ByteWriter, term: str) -> None:
    if term not in _TERM_NUMBERS:
        raise ValueError(f"{term!r} has no number in the format")
    writer.varint(_TERM_NUMBERS[term])


def _read_term(reader: ByteReader) -> str:
    number = reader.varint()
    if number >= len(TERMS):
        raise BitstreamError(f"chunk D: term {number} is unknown")
    return TERMS[number]


# Columns


def _columns(frames: Sequence[Dataset]) -> dict[Path, list[Any]]:
    """The attributes of the planes by path, one value for each plane; None where it is missing."""
    columns: dict[Path, list[Any]] = {}
    for plane, frame in enumerate(frames):
        for path, value in _leaves(frame, ()):
            columns.setdefault(path, [None] * len(frames))[plane] = value
    return columns


def _leaves(dataset: Dataset, before: Path) -> Iterator[tuple[Path, Any]]:
    for element in dataset:
        path = (*before, element.keyword)
        # An item without attributes has no leaf to be told by.
        single = element.VR == "SQ" and len(element.value) == 1 and len(element.value[0]) > 0
        if single and len(path) < _MOST_DEPTH:
            yield from _leaves(element.value[0], path)
        else:
            yield path, element.value


def _item_count(element: DataElement | None) -> int:
    return len(element.value) if element is not None and element.VR == "SQ" else 0


def _place(tree: _Tree, path: Path, element: DataElement) -> None:
    for keyword in path[:-1]:
        inside = tree.setdefault(keyword, {})
        if isinstance(inside, DataElement):
            items = inside.value
            if len(items) != 1:
                raise BitstreamError(
                    f"chunk D: a path leads through {len(items)} items of {keyword}"
                )
            # The plane's own, since others may share this one.
            inside = tree[keyword] = {inner.keyword: inner for inner in items[0]}
        tree = inside
    if path[-1] in tree:
        raise BitstreamError(f"chunk D: attribute {path[-1]} occurs twice in a plane")
    tree[path[-1]] = element


def _dataset(tree: _Tree) -> Dataset:
    dataset = Dataset()
    for keyword, content in tree.items():
        if isinstance(content, DataElement):
            dataset.add(content)
        else:
            put_items(dataset, keyword, [_dataset(content)])
    return dataset


def _write_column(
    writer: ByteWriter, keyword: str, values: list[Any], planes: tuple[int, int]
) -> None:
    slices, volumes = planes
    spread = _Spread.BOTH
    if values == values[:1] * len(values):
        spread, values = _Spread.NEITHER, values[:1]
    elif values == values[:slices] * volumes:
        spread, values = _Spread.Z, values[:slices]
    elif values == [value for value in values[::slices] for _ in range(slices)]:
        spread, values = _Spread.T, values[::slices]
    numbers = _number_columns(keyword, values)
    if numbers is None:
        writer.u8(_Column.VALUES << 2 | spread)
        for value in values:
            writer.u8(value is not None)
            if value is not None:
                _write_value(writer, keyword, value)
        return
    writer.u8(_Column.NUMBERS << 2 | spread)
    writer.varint(len(numbers))
    for digits, column in numbers:
        line = _line(column[0], column[-1], len(column))
        writer.u8(digits if column == line else digits | _RESIDUALS)
        writer.svarint(column[0])
        writer.svarint(column[-1] - column[0])
        if column != line:
            for mantissa, predicted in zip(column[1:-1], line[1:-1], strict=True):
                writer.svarint(mantissa - predicted)


def _read_column(
    reader: _Reader, keyword: str, planes: tuple[int, int]
) -> list[DataElement | None]:
    """One attribute for each plane, which planes of one value share; None where it has none."""
    slices, volumes = planes
    code = reader.u8()
    try:
        spread, form = _Spread(code & 3), _Column(code >> 2)
    except ValueError:
        raise BitstreamError(f"chunk D: column form {code} is unknown") from None
    length = {
        _Spread.BOTH: slices * volumes,
        _Spread.Z: slices,
        _Spread.T: volumes,
        _Spread.NEITHER: 1,
    }[spread]
    values: list[DataElement | None]
    if form is _Column.VALUES:
        values = [
            _element(keyword, _read_value(reader, keyword, 0)) if _read_presence(reader) else None
            for _ in range(length)
        ]
    else:
        values = [_element(keyword, value) for value in _read_numbers(reader, keyword, length)]
    if spread is _Spread.NEITHER:
        return values * (slices * volumes)
    if spread is _Spread.Z:
        return values * volumes
    if spread is _Spread.T:
        return [value for value in values for _ in range(slices)]
    return values


def _read_presence(reader: ByteReader) -> bool:
    presence = reader.u8()
    if presence > 1:
        raise BitstreamError(f"chunk D: a value's presence is {presence}, not 0 or 1")
    return presence == 1


def _read_numbers(reader: _Reader, keyword: str, length: int) -> list[Any]:
    vr = _vr(keyword)
    if vr not in _DECIMAL_VRS | _INTEGER_VRS:
        raise BitstreamError(f"chunk D: {keyword} has no numbers")
    count = reader.varint()
    reader.expect(count * length)
    components: list[list[Any]] = []
    for _ in range(count):
        code, first = reader.u8(), reader.svarint()
        last = first + reader.svarint()
        digits = code & ~_RESIDUALS
        if digits > (_MOST_DIGITS if vr in _DECIMAL_VRS else 0):
            raise BitstreamError(f"chunk D: {keyword} has {digits} digits after the point")
        column = _line(first, last, length)
        if code & _RESIDUALS:
            for place in range(1, length - 1):
                column[place] += reader.svarint()
        if vr in _DECIMAL_VRS:
            components.append([_join(mantissa, digits).normalize() for mantissa in column])
        else:
            components.append(column)
    return [list(value) for value in zip(*components, strict=True)] or [[]] * length


def _number_columns(keyword: str, values: list[Any]) -> list[tuple[int, list[int]]] | None:
    """For each component of the values its digits and mantissas; None where they are no numbers, or
    not all alike."""
    if _vr(keyword) not in _DECIMAL_VRS | _INTEGER_VRS or any(v is None for v in values):
        return None
    rows = [_as_list(value) for value in values]
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        return None
    columns = []
    for component in zip(*rows, strict=True):
        splits = [_split(value) for value in component]
        known = [split for split in splits if split is not None]
        if len(known) < len(splits):
            return None
        digits = max(split[1] for split in known)
        mantissas = [mantissa * 10 ** (digits - own) for mantissa, own in known]
        if max(map(abs, mantissas)) > _LARGEST_MANTISSA:
            return None
        columns.append((digits, mantissas))
    return columns


def _line(first: int, last: int, count: int) -> list[int]:
    """Integers next to a straight line."""
    steps = max(count - 1, 1)
    return [first + (2 * (last - first) * i + steps) // (2 * steps) for i in range(count)]


# Datasets


def _as_list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    single = isinstance(value, str | bytes) or not isinstance(value, Iterable)
    return [value] if single else list(value)


def _element(keyword: str, value: Any) -> DataElement:
    vr = _vr(keyword)
    if isinstance(value, list):
        if vr == "DS":
            if not all(math.isfinite(one) for one in value):
                raise BitstreamError(f"chunk D: {keyword} is not finite")
            value = [_decimal_string(one) for one in value]
        elif vr in _DECIMAL_VRS:
            value = [float(one) for one in value]
        value = value[0] if len(value) == 1 else value or None
    if vr == "US or SS":
        vr = "SS" if any(number < 0 for number in _as_list(value)) else "US"
    elif vr in ("OB or OW", "US or OW"):
        vr = "OW"
    low, high = _RANGES.get(vr, (None, None))
    if low is not None and not all(low <= number <= high for number in _as_list(value)):
        raise BitstreamError(f"chunk D: {keyword} is beyond the range of {vr}")
    tag = tag_for_keyword(keyword)
    assert tag is not None
    try:
        return DataElement(tag, vr, value, validation_mode=config.IGNORE)
    except (ValueError, TypeError, OverflowError) as error:
        raise BitstreamError(f"chunk D: {keyword} has a value out of range: {error}") from None


def _decimal_string(value: Decimal | float) -> str:
    """At most 16 characters, DICOM's limit; the very number unless it has too many digits."""
    text = format(value, "f") if isinstance(value, Decimal) else repr(value)
    if len(text) > 16:
        text = text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
    return text if len(text) <= 16 else format_number_as_ds(float(value))
