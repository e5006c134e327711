"""A second decoder of `.moec` files, to show that docs/format.md says all there is to say.

It was written from docs/format.md alone and imports nothing from the package but the two lists that
the document's "Chunk D" names. It follows the document: the same order, the same names, its
formulas as they stand there. It is slow, and that is all right: what the document defines in
integers of unlimited size is computed in Python's own, or in numpy's int64 where a comment says why
no value leaves its range.

`decode` gives the voxels and the geometry or the attributes of a DICOM series, and raises
`ValueError` for whatever the document tells a reader to reject.
"""

# The names of the document's formulas are kept, capital letters included.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR

from inrcodec.bitstream.dicom_terms import ATTRIBUTES, TERMS

Integers = NDArray[np.int64]
# An array of Python's own integers.
Unlimited = NDArray[np.object_]
Geometry = dict[str, int | bool | bytes]
# A dataset of DICOM, by keyword: bytes, or a list of items of a sequence, of numbers or of texts.
Attributes = dict[str, Any]
# Elements in Explicit VR Little Endian, by tag.
Elements = dict[int, bytes]


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


# Conventions


class Reader:
    """Reads the fields of a chunk or a file one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0
        self.attributes = 0

    def take(self, size: int) -> bytes:
        require(size <= len(self.data) - self.offset, "a read past the end")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.offset)

    def end(self) -> None:
        require(self.offset == len(self.data), "bytes are left over")

    def uint(self, k: int) -> int:
        return int.from_bytes(self.take(k), "little")

    def u8(self) -> int:
        return self.uint(1)

    def u32(self) -> int:
        return self.uint(4)

    def f32(self) -> float:
        return bits_to_float(self.uint(4), 32)

    def f64(self) -> float:
        return bits_to_float(self.uint(8), 64)

    def varint(self) -> int:
        value = 0
        for group in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * group)
            if byte < 0x80:
                require(byte > 0 or group == 0, "a varint is not in its shortest form")
                require(value < 2**64, "a varint is 2^64 or more")
                return value
        raise ValueError("a varint is 2^64 or more")

    def svarint(self) -> int:
        return unzigzag(self.varint())


def zigzag(n: int) -> int:
    return 2 * n if n >= 0 else -2 * n - 1


def unzigzag(z: int) -> int:
    return z // 2 if z % 2 == 0 else -(z + 1) // 2


def bits_to_float(bits: int, w: int) -> float:
    """The value, in binary64, of a bit pattern of binary32 (w = 32) or binary64 (w = 64)."""
    return float(struct.unpack({32: "<f", 64: "<d"}[w], bits.to_bytes(w // 8, "little"))[0])


def float_to_bits(value: float, w: int) -> int:
    """The bit pattern of a value, rounded to nearest-even."""
    return int.from_bytes(struct.pack({32: "<f", 64: "<d"}[w], value), "little")


def shift_right(x: Any, n: int) -> Any:
    """x >> n for any n: a negative shift to the right is one to the left."""
    return x >> n if n >= 0 else x << -n


# Container


@dataclass(frozen=True)
class Chunk:
    type: str
    payload: bytes


def read_container(data: bytes) -> dict[str, bytes]:
    """The payloads of the known chunks, by type."""
    require(len(data) <= LIMIT_FILE, "the file is over the limit")
    file = Reader(data)
    require(file.take(4) == b"MOEC", "the magic is missing")
    require(file.u8() == 1, "the format version is unknown")
    chunks = [read_chunk(file) for _ in range(file.u8())]
    file.end()
    types = [chunk.type for chunk in chunks]
    require(len(set(types)) == len(types), "a chunk type occurs twice")
    known = [chunk for chunk in chunks if chunk.type in "VGDNm"]
    order = "".join(chunk.type for chunk in known).removesuffix("m")
    require(order in ("VGN", "VDN"), "chunks miss or misplaced")
    require(all(t in "VGDN" or t.islower() for t in types), "a critical chunk is unknown")
    return {chunk.type: chunk.payload for chunk in known}


def read_chunk(file: Reader) -> Chunk:
    start = file.offset
    type_byte = file.take(1)
    payload = file.take(file.varint())
    checksum = zlib.crc32(file.data[start : file.offset])
    require(file.u32() == checksum, "the checksum of a chunk differs")
    require(type_byte.isalpha(), "a chunk type is not an ASCII letter")
    return Chunk(type_byte.decode("ascii"), payload)


# Chunk V (volume)

VOXEL_TYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64"),
)


@dataclass(frozen=True)
class Volume:
    dtype: np.dtype[Any]
    lengths: tuple[int, ...]
    low: int | float
    high: int | float
    checksum: int


def read_volume(payload: bytes) -> Volume:
    chunk = Reader(payload)
    kind = chunk.u8()
    require(kind < 2**6, "reserved bits are set")
    require(kind % 16 < len(VOXEL_TYPES), "the voxel type is reserved")
    dtype = np.dtype(VOXEL_TYPES[kind % 16])
    lengths = tuple(chunk.varint() for _ in range(1 + (kind >> 4)))
    require(min(lengths) >= 1, "an axis has no voxels")
    require(math.prod(lengths) <= LIMIT_VOXELS, "the voxels are over the limit")
    low: int | float
    high: int | float
    if dtype.kind == "f":
        low, high = (chunk.f32() if dtype.itemsize == 4 else chunk.f64() for _ in range(2))
        require(math.isfinite(low) and math.isfinite(high), "low or high is not finite")
    else:
        low = chunk.varint() if dtype.kind == "u" else chunk.svarint()
        high = low + chunk.varint()
        values = np.iinfo(dtype)
        require(int(values.min) <= low and high <= int(values.max), "low or high is out of range")
    require(low <= high, "low is more than high")
    require(low == high or math.prod(lengths) > 1, "one voxel with two values")
    checksum = chunk.u32()
    chunk.end()
    return Volume(dtype, lengths, low, high, checksum)


def voxels_checksum(voxels: NDArray[Any]) -> int:
    return zlib.crc32(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F"))


# Chunk G (geometry)


@dataclass(frozen=True)
class Floats:
    """A float list: the names of its fields."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Svarints:
    names: tuple[str, ...]


@dataclass(frozen=True)
class Name:
    """The length and the bytes of a name."""

    name: str


def elements(name: str, indices: range) -> tuple[str, ...]:
    return tuple(f"{name}[{i}]" for i in indices)


FIRST_GROUP_BIT = 2
SROW = (
    *elements("srow_x", range(4)),
    *elements("srow_y", range(4)),
    *elements("srow_z", range(4)),
)
# The contents of the groups, from bit 2 on.
GROUPS: tuple[tuple[Floats | Svarints | Name, ...], ...] = (
    (Svarints(("xyzt_units", "qform_code", "sform_code")),),
    (Floats(elements("pixdim", range(1, 4))),),
    (Floats(("pixdim[0]", "quatern_b", "quatern_c", "quatern_d")),),
    (Floats(("qoffset_x", "qoffset_y", "qoffset_z")),),
    (Floats(SROW),),
    (Floats(elements("pixdim", range(4, 8))),),
    (Floats(("scl_slope", "scl_inter")),),
    (Floats(("cal_max", "cal_min")),),
    (Svarints(("dim_info",)),),
    (Svarints(("slice_code", "slice_start", "slice_end")), Floats(("slice_duration",))),
    (Floats(("toffset",)),),
    (
        Svarints(("intent_code",)),
        Floats(("intent_p1", "intent_p2", "intent_p3")),
        Name("intent_name"),
    ),
)

U8 = range(2**8)
I16 = range(-(2**15), 2**15)
I32 = range(-(2**31), 2**31)
I64 = range(-(2**63), 2**63)
# The values that the integer fields of the two headers hold.
INTEGER_FIELDS_NIFTI1 = {
    "xyzt_units": U8,
    "qform_code": I16,
    "sform_code": I16,
    "dim_info": U8,
    "slice_code": U8,
    "slice_start": I16,
    "slice_end": I16,
    "intent_code": I16,
}
INTEGER_FIELDS_NIFTI2 = {
    "xyzt_units": I32,
    "qform_code": I32,
    "sform_code": I32,
    "dim_info": U8,
    "slice_code": I32,
    "slice_start": I64,
    "slice_end": I64,
    "intent_code": I32,
}


def read_geometry(payload: bytes, lengths: tuple[int, ...]) -> Geometry:
    """The header's fields by name: floats as bit patterns, arrays element by element."""
    chunk = Reader(payload)
    flags = chunk.varint()
    require(flags < 2 ** (FIRST_GROUP_BIT + len(GROUPS)), "reserved flags are set")
    nifti2 = flags & 1 > 0
    require(nifti2 or max(lengths) <= 32767, "an axis is too long for NIfTI-1")
    fields: Geometry = {"NIfTI-2": nifti2, "big-endian": flags & 2 > 0}
    for bit, group in enumerate(GROUPS, start=FIRST_GROUP_BIT):
        if flags >> bit & 1:
            start = chunk.offset
            read_group(chunk, group, fields)
            require(any(payload[start : chunk.offset]), "a group that should be absent")
        else:
            read_group(Reader(bytes(16)), group, fields)
    chunk.end()
    return fields


def read_group(
    chunk: Reader, group: tuple[Floats | Svarints | Name, ...], fields: Geometry
) -> None:
    for part in group:
        if isinstance(part, Floats):
            read_floats(chunk, part.names, fields)
        elif isinstance(part, Svarints):
            ranges = INTEGER_FIELDS_NIFTI2 if fields["NIfTI-2"] else INTEGER_FIELDS_NIFTI1
            for name in part.names:
                value = chunk.svarint()
                require(value in ranges[name], f"{name} does not fit its field")
                fields[name] = value
        else:
            length = chunk.varint()
            require(length <= 16, "the name is too long")
            text = chunk.take(length)
            require(not text.endswith(b"\0"), "the name's last byte is 0")
            fields[part.name] = text


# Float lists


def read_floats(chunk: Reader, names: tuple[str, ...], fields: Geometry) -> None:
    w = 64 if fields["NIfTI-2"] else 32
    code_bytes = chunk.take((len(names) + 1) // 2)
    codes = [half for byte in code_bytes for half in (byte % 16, byte >> 4)]
    require(not any(codes[len(names) :]), "the unused half byte is not 0")
    for name, code in zip(names, codes, strict=False):
        fields[name] = read_float(chunk, code, prediction(name, fields, w), w)


def read_float(chunk: Reader, code: int, predicted: int, w: int) -> int:
    if code == 0:
        return predicted
    k = code if code <= 8 else code - 8
    require(k <= w // 8, "a float code is reserved")
    if code <= 8:
        distance = unzigzag(chunk.uint(k))
        value = from_ordinal(into_range(ordinal(predicted, w) + distance, w), w)
    else:
        value = chunk.uint(k) << (w - 8 * k)
    require(code == float_code(value, predicted, w), "a float has another code")
    return value


def float_code(value: int, predicted: int, w: int) -> int:
    """The only code that may be used."""
    if value == predicted:
        return 0
    z = zigzag(into_range(ordinal(value, w) - ordinal(predicted, w), w))
    k_distance = max(1, (z.bit_length() + 7) // 8)
    k_leading = max(1, len(value.to_bytes(w // 8, "big").rstrip(b"\0")))
    return 8 + k_leading if k_leading < k_distance else k_distance


def ordinal(b: int, w: int) -> int:
    S = 2 ** (w - 1)
    return b if b < S else S - 1 - b


def from_ordinal(o: int, w: int) -> int:
    S = 2 ** (w - 1)
    return o if o >= 0 else S - 1 - o


def into_range(o: int, w: int) -> int:
    """o modulo 2^w into the range -S to S - 1."""
    S = 2 ** (w - 1)
    result: int = (o + S) % 2**w - S
    return result


# Predictions

PREDICTED_BY_ONE = ("pixdim[0]", "pixdim[1]", "pixdim[4]", "pixdim[5]", "scl_slope")
PREDICTED_BY_FIELD = {
    "pixdim[2]": "pixdim[1]",
    "pixdim[3]": "pixdim[2]",
    "pixdim[6]": "pixdim[5]",
    "pixdim[7]": "pixdim[6]",
    "srow_x[3]": "qoffset_x",
    "srow_y[3]": "qoffset_y",
    "srow_z[3]": "qoffset_z",
}


def prediction(name: str, fields: Geometry, w: int) -> int:
    """The bit pattern that the fields read so far predict."""
    if name in PREDICTED_BY_ONE:
        return float_to_bits(1.0, w)
    if name in PREDICTED_BY_FIELD:
        return int(fields[PREDICTED_BY_FIELD[name]])
    if name.startswith("srow_"):
        return header_float(quaternion_affine(fields, w)[name], w)
    return 0


def header_float(value: float, w: int) -> int:
    smallest, largest = {
        32: (2.0**-126, (2 - 2.0**-23) * 2.0**127),
        64: (2.0**-1022, (2 - 2.0**-52) * 2.0**1023),
    }[w]
    return float_to_bits(value, w) if smallest <= abs(value) <= largest else 0


def quaternion_affine(fields: Geometry, w: int) -> dict[str, float]:
    """Python's floats are binary64, and each of their operations is rounded by itself."""
    b, c, d = (bits_to_float(int(fields[f"quatern_{i}"]), w) for i in "bcd")
    q, x, y, z = (bits_to_float(int(fields[name]), w) for name in elements("pixdim", range(4)))
    n = b * b + c * c + d * d
    a = 1 - n
    if a < 1e-7:
        s = 1 / math.sqrt(n)
        a = 0.0
        b = b * s
        c = c * s
        d = d * s
    else:
        a = math.sqrt(a)
    if q < 0:
        z = -z
    return {
        "srow_x[0]": (a * a + b * b - c * c - d * d) * x,
        "srow_x[1]": 2 * (b * c - a * d) * y,
        "srow_x[2]": 2 * (b * d + a * c) * z,
        "srow_y[0]": 2 * (b * c + a * d) * x,
        "srow_y[1]": (a * a + c * c - b * b - d * d) * y,
        "srow_y[2]": 2 * (c * d - a * b) * z,
        "srow_z[0]": 2 * (b * d - a * c) * x,
        "srow_z[1]": 2 * (c * d + a * b) * y,
        "srow_z[2]": (a * a + d * d - b * b - c * c) * z,
    }


# Chunk D (DICOM)

LEVELS = 6
MOST_DIGITS = 14


@dataclass
class Dicom:
    """The attributes that all planes have alike and those of each plane, axis 2 fastest."""

    one_file: bool
    shared: Attributes
    planes: list[Attributes]


def number_of_planes(lengths: tuple[int, ...]) -> tuple[int, int]:
    """Z and T."""
    require(len(lengths) >= 3, "a DICOM series has at least 3 axes")
    Z, T = (*lengths, 1)[2:4]
    require(Z * T <= LIMIT_PLANES, "the planes are over the limit")
    return Z, T


def read_dicom(payload: bytes, lengths: tuple[int, ...]) -> Dicom:
    Z, T = number_of_planes(lengths)
    chunk = Reader(payload)
    flags = chunk.u8()
    require(flags < 2, "reserved flags are set")
    series = Dicom(flags == 1, read_dataset(chunk, LEVELS), [{} for _ in range(Z * T)])
    for _ in range(chunk.varint()):
        read_column(chunk, Z, T, series.planes)
    chunk.end()
    return series


def claim(chunk: Reader, attributes: int) -> None:
    """Counts attributes, items and values yet to be read."""
    chunk.attributes += attributes
    require(chunk.attributes <= LIMIT_ATTRIBUTES, "the attributes are over the limit")


def read_attribute(chunk: Reader) -> str:
    number = chunk.u8()
    require(number < len(ATTRIBUTES), "an attribute has no number")
    return ATTRIBUTES[number]


def representation(keyword: str) -> str:
    """Of the value: bytes, a sequence, decimals, integers or texts."""
    vr = dictionary_VR(keyword)
    kinds = {"SQ": "SQ", **dict.fromkeys(("OB", "OW", "OB or OW", "US or OW"), "bytes")}
    kinds |= dict.fromkeys(("DS", "FD", "FL"), "decimals")
    kinds |= dict.fromkeys(("IS", "US", "SS", "UL", "SL", "UV", "SV", "US or SS"), "integers")
    return kinds.get(vr, "texts")


def read_dataset(chunk: Reader, levels: int) -> Attributes:
    """A dataset, of whose sequences no more than so many lie within each other."""
    require(levels >= 0, "sequences are nested too deep")
    dataset: Attributes = {}
    for _ in range(chunk.varint()):
        claim(chunk, 1)
        keyword = read_attribute(chunk)
        require(keyword not in dataset, "an attribute occurs twice")
        dataset[keyword] = read_value(chunk, keyword, levels)
        check_range(keyword, dataset[keyword])
    return dataset


def read_value(chunk: Reader, keyword: str, levels: int) -> Any:
    kind = representation(keyword)
    count = chunk.varint()
    if kind == "bytes":
        return chunk.take(count)
    claim(chunk, count)
    if kind == "SQ":
        return [read_dataset(chunk, levels - 1) for _ in range(count)]
    read = {"decimals": read_decimal, "integers": Reader.svarint, "texts": read_term}[kind]
    return [read(chunk) for _ in range(count)]


def check_range(keyword: str, values: Any) -> None:
    """Whether DICOM has room for the numbers of an attribute."""
    vr = dictionary_VR(keyword)
    if vr == "DS":
        require(all(math.isfinite(value) for value in values), "a DS is not finite")
    elif representation(keyword) == "integers":
        signed = vr in ("IS", "SS", "SL", "SV") or (vr == "US or SS" and min(values, default=0) < 0)
        bits = {"IS": 64, "UL": 32, "SL": 32, "UV": 64, "SV": 64}.get(vr, 16)
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
        require(all(least <= value < most for value in values), "an integer has no room in its VR")


def read_term(chunk: Reader) -> str:
    number = chunk.varint()
    require(number < len(TERMS), "a text has no number")
    return TERMS[number]


def read_decimal(chunk: Reader) -> Fraction | float:
    c = chunk.varint()
    if c == 15:
        return chunk.f64()
    require(c % 16 <= MOST_DIGITS, "a decimal is reserved")
    return Fraction(unzigzag(c // 16), 10 ** (c % 16))


def read_column(chunk: Reader, Z: int, T: int, planes: list[Attributes]) -> None:
    length = chunk.varint()
    require(1 <= length <= LEVELS, "neither 1 to 6 attributes on a path")
    claim(chunk, Z * T * length)
    path = [read_attribute(chunk) for _ in range(length)]
    require(all(representation(name) == "SQ" for name in path[:-1]), "a path without sequences")
    form = chunk.u8()
    require(form < 8, "the form of a column is reserved")
    values: list[Any] = [None] * (Z * T, Z, T, 1)[form % 4]
    if form < 4:
        values = read_numbers(chunk, path[-1], len(values))
    else:
        for i in range(len(values)):
            presence = chunk.u8()
            require(presence < 2, "a presence is neither 0 nor 1")
            if presence == 1:
                values[i] = read_value(chunk, path[-1], LEVELS)
    for p, plane in enumerate(planes):
        value = values[(p, p % Z, p // Z, 0)[form % 4]]
        if value is not None:
            claim(chunk, len(value) if representation(path[-1]) == "SQ" else 0)
            check_range(path[-1], value)
            # A copy, as a later column may lead into the items of a sequence.
            put(plane, path, deepcopy(value))


def put(dataset: Attributes, path: list[str], value: Any) -> None:
    """Adds a value behind sequences of one item."""
    for name in path[:-1]:
        items = dataset.setdefault(name, [{}])
        require(len(items) == 1, "a path leads through a sequence of other than one item")
        dataset = items[0]
    require(path[-1] not in dataset, "an attribute occurs twice")
    dataset[path[-1]] = value


def read_numbers(chunk: Reader, keyword: str, n: int) -> list[list[Fraction | int]]:
    kind = representation(keyword)
    require(kind in ("decimals", "integers"), "texts are no numbers")
    components = []
    number = chunk.varint()
    claim(chunk, number * n)
    for _ in range(number):
        head = chunk.u8()
        require(head < 32 and head % 16 <= MOST_DIGITS, "the head of a component is reserved")
        require(head % 16 == 0 or kind == "decimals", "an integer has digits")
        first, difference = chunk.svarint(), chunk.svarint()
        s = max(n - 1, 1)
        m = [first + (2 * difference * i + s) // (2 * s) for i in range(n)]
        if head >= 16:
            m[1:-1] = [value + chunk.svarint() for value in m[1:-1]]
        components.append([Fraction(v, 10 ** (head % 16)) if kind == "decimals" else v for v in m])
    return [[component[i] for component in components] for i in range(n)]


# Chunk N (network)


@dataclass(frozen=True)
class Layer:
    """A row of a table of tensors: matrices and their biases, one for each member (a node of a
    level, an expert) or a single one, and what the exact arithmetic says of such a layer."""

    matrices: list[Integers]
    biases: list[Integers]
    s: int
    t: int
    f: int
    M: int

    @property
    def u(self) -> int:
        return min(self.s - self.f, self.t)

    def size(self, member: int = 0) -> int:
        return self.matrices[member].size + self.biases[member].size


@dataclass(frozen=True)
class Kind:
    """Of a layer yet to be read: rows and columns of its matrices, and M."""

    shapes: list[tuple[int, int]]
    M: int = 2**12
    f: int = 12


OF_COORDINATES = {"M": 2**20, "f": 20}


@dataclass(frozen=True)
class Tree:
    D: int
    finer: bool
    levels: list[list[Layer]]
    heads: Layer


@dataclass(frozen=True)
class Mixture:
    finer: bool
    experts: int
    active_experts: int
    encoder: list[Layer]
    gate_reads: int
    gate_encoder: list[Layer]
    gate_layers: list[Layer]
    gate_output: Layer
    expert_layers: list[Layer]
    decoder: Layer


Network = Tree | Mixture


def positive(chunk: Reader) -> int:
    value = chunk.varint()
    require(value >= 1, "a number or a width is 0")
    return value


def read_network(payload: bytes, volume: Volume) -> Network:
    chunk = Reader(payload)
    D = sum(length > 1 for length in volume.lengths)
    kind = chunk.u8()
    family, finer = kind % 4, kind & 4 > 0
    require(kind < 8 and family < 2, "the kind of the network is reserved")
    network = (read_mixture if family else read_tree)(chunk, D, finer)
    check_work(network, math.prod(volume.lengths))
    return network


def read_tree(chunk: Reader, D: int, finer: bool) -> Tree:
    number = chunk.varint()
    require(1 <= number <= 16, "neither 1 to 16 levels")
    require(2 ** (D * (number - 1)) <= LIMIT_EXPERTS, "the leaves are over the limit")
    layers, widths = [], []
    for level in range(number):
        layers.append(positive(chunk))
        widths.append(read_widths(chunk, 2 ** (D * level)))
    require(sum(layers) <= LIMIT_LAYERS, "the layers are over the limit")
    kinds = []
    for level in range(number):
        for layer in range(layers[level]):
            root = level == 0 and layer == 0
            shapes = []
            for n, w in enumerate(widths[level]):
                inputs = w if layer > 0 else D if level == 0 else widths[level - 1][n >> D]
                shapes.append((w, inputs))
            kinds.append(Kind(shapes, **OF_COORDINATES) if root else Kind(shapes))
    kinds.append(Kind([(1, w) for w in widths[-1]]))
    tensors = read_layers(chunk, kinds)
    return Tree(D, finer, [[next(tensors) for _ in range(k)] for k in layers], next(tensors))


def read_widths(chunk: Reader, nodes: int) -> list[int]:
    code = chunk.varint()
    if code % 2 == 0:
        require(code >= 2, "a width is 0")
        require(code // 2 <= LIMIT_WIDTH, "a width is over the limit")
        return [code // 2] * nodes
    require(code == 1 and nodes > 1, "a width code is reserved")
    widths = [positive(chunk) for _ in range(nodes)]
    require(len(set(widths)) > 1, "equal widths are in a list")
    require(max(widths) <= LIMIT_WIDTH, "a width is over the limit")
    return widths


def read_mixture(chunk: Reader, D: int, finer: bool) -> Mixture:
    E = chunk.varint()
    require(E >= 2, "fewer than two experts")
    encoder_layers, F = positive(chunk), positive(chunk)
    expert_layers, W = positive(chunk), positive(chunk)
    gate_encoder_layers = chunk.varint()
    G = positive(chunk) if gate_encoder_layers > 0 else 0
    gate_layers = chunk.varint()
    H = positive(chunk) if gate_layers > 0 else 0
    active_experts = chunk.varint()
    require(active_experts in (1, 2), "neither one nor two active experts")
    gate_reads = chunk.varint() if gate_encoder_layers > 0 else 1
    require(gate_reads in (0, 1), "the gate reads what is not known")
    R = F * gate_reads
    layers = encoder_layers + expert_layers + gate_encoder_layers + gate_layers
    require(E <= LIMIT_EXPERTS, "the experts are over the limit")
    require(layers <= LIMIT_LAYERS, "the layers are over the limit")
    require(max(F, W, G, H) <= LIMIT_WIDTH, "a width is over the limit")

    def stack(number: int, w: int) -> list[Kind]:
        """Layers over the coordinates."""
        return [
            Kind([(w, w)]) if i > 0 else Kind([(w, D)], **OF_COORDINATES) for i in range(number)
        ]

    tensors = read_layers(
        chunk,
        [
            *stack(encoder_layers, F),
            *stack(gate_encoder_layers, G),
            *(
                Kind([(H, H if i > 0 else G + R)], 2**20 if i > 0 else 2**12)
                for i in range(gate_layers)
            ),
            Kind([(E, H if gate_layers > 0 else G + R)], 2**20 if gate_layers > 0 else 2**12),
            *(Kind([(W, W if i > 0 else F)] * E) for i in range(expert_layers)),
            Kind([(1, W)]),
        ],
    )

    def take(number: int) -> list[Layer]:
        return [next(tensors) for _ in range(number)]

    return Mixture(
        finer,
        E,
        active_experts,
        take(encoder_layers),
        gate_reads,
        take(gate_encoder_layers),
        take(gate_layers),
        *take(1),
        take(expert_layers),
        *take(1),
    )


def read_layers(chunk: Reader, kinds: list[Kind]) -> Iterator[Layer]:
    """The entries of all tensors and their integers, to the end of the chunk."""
    sizes = []
    for kind in kinds:
        sizes += [sum(w * inputs for w, inputs in kind.shapes), sum(w for w, _ in kind.shapes)]
    require(sum(sizes) <= LIMIT_PARAMETERS, "the parameters are over the limit")
    pairs = [(chunk.u8() - 24, chunk.u8()) for _ in sizes]
    require(all(-24 <= s <= 7 for s, _ in pairs), "a step exponent is out of range")
    symbols = rans_decode(
        chunk.rest(), [(wire, size) for (_, wire), size in zip(pairs, sizes, strict=True)]
    )
    require(all(-32767 <= k <= 32767 for k in symbols), "an integer is out of range")
    integers = np.array(symbols, np.int64)
    offset = 0

    def take(*shape: int) -> Integers:
        nonlocal offset
        offset += math.prod(shape)
        return integers[offset - math.prod(shape) : offset].reshape(shape)

    layers = []
    steps = iter([s for s, _ in pairs])
    for kind in kinds:
        matrices = [take(*shape) for shape in kind.shapes]
        biases = [take(w) for w, _ in kind.shapes]
        layer = Layer(matrices, biases, next(steps), next(steps), kind.f, kind.M)
        check_sums(layer)
        layers.append(layer)
    return iter(layers)


# Exact arithmetic


def samples(lengths: tuple[int, ...]) -> Integers:
    """The coordinates of all voxels, one row for each, first axis fastest.

    int64 holds every value: the numbers of voxels are at most 2^33, and 2^34 x 2^20 < 2^63.
    """
    axes = []
    for n in lengths:
        if n > 1:
            p = np.arange(n, dtype=np.int64)
            axes.append((2 * p + 1 - n) * 2**20 // n)
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([grid.ravel(order="F") for grid in grids], axis=1)


# Layers


def check_sums(layer: Layer) -> None:
    """The bound on the sums of every row, in Python's integers."""
    s, t, f, u = layer.s, layer.t, layer.f, layer.u
    for A, b in zip(layer.matrices, layer.biases, strict=True):
        for row, bias in zip(np.abs(A).sum(axis=-1).tolist(), b.tolist(), strict=True):
            bound = 2 ** (s - f - u) * row * layer.M + 2 ** (t - u) * abs(bias)
            require(bound < 2**52, "the sum of a row may be 2^52 or more")


def layer_sums(layer: Layer, v: Integers, member: int = 0) -> Integers:
    """The sums a of a layer's rows (columns here) for many vectors v (rows here).

    int64 is exact: `check_sums` bounds the sum of the magnitudes of all terms, whatever their
    order, by 2^52. That holds for terms of 0 too: 2^(s - f - u) and 2^(t - u) are below 2^52.
    """
    products = v @ layer.matrices[member].T
    sums: Integers = 2 ** (layer.s - layer.f - layer.u) * products
    return sums + 2 ** (layer.t - layer.u) * layer.biases[member]


def sine_layer(layer: Layer, finer: bool, v: Integers, member: int = 0) -> Integers:
    """u is at most -5, so that a shift to the left is by at most 9: int64 holds 2^(52 + 9)."""
    p = shift_right(layer_sums(layer, v, member), -14 - layer.u)
    if finer:
        q = np.clip(p, -(2**24), 2**24)
        p = q + ((q * np.abs(q)) >> 16)
    output: Integers = S[p % 2**14]
    return output


def relu_layer(layer: Layer, v: Integers) -> Integers:
    """A shift to the left is by at most 7."""
    output: Integers = np.clip(shift_right(layer_sums(layer, v), -12 - layer.u), 0, 2**20)
    return output


def linear_output(layer: Layer, v: Integers, member: int = 0) -> Unlimited:
    """Of the decoder or a head; in Python's integers, as a shift to the left may be by 19."""
    a = layer_sums(layer, v, member)
    y: Unlimited = shift_right(a[:, 0].astype(np.object_), -24 - layer.u)
    return y


def limited(x: Unlimited, magnitude: int) -> Unlimited:
    return np.minimum(np.maximum(x, -magnitude), magnitude)


def network_output(network: Network, inputs: Integers) -> Unlimited:
    """The output y of every sample."""
    if isinstance(network, Tree):
        return tree_output(network, inputs)
    return mixture_output(network, inputs)


# Output of a tree


def tree_output(tree: Tree, X: Integers) -> Unlimited:
    """Every node of the tree, applied to the samples that pass it."""
    y = np.zeros(len(X), np.object_)
    last = len(tree.levels) - 1
    outputs = X
    for level, layers in enumerate(tree.levels):
        nodes = node_numbers(level, X)
        passed: list[Integers] = [np.zeros(0, np.int64)] * len(X)
        for n in np.unique(nodes).tolist():
            samples_of_n = np.flatnonzero(nodes == n)
            v = np.stack([outputs[i] for i in samples_of_n])
            for layer in layers:
                v = sine_layer(layer, tree.finer, v, n)
            if level == last:
                y[samples_of_n] = linear_output(tree.heads, v, n)
            for i, output in zip(samples_of_n, v, strict=True):
                passed[i] = output
        outputs = passed
    return y


def node_numbers(level: int, X: Integers) -> Integers:
    """The node of every sample on a level."""
    D = X.shape[1]
    numbers = np.zeros(len(X), np.int64)
    for d in range(D):
        c = np.clip((X[:, d] + 2**20) * 2**level // 2**21, 0, 2**level - 1)
        for k in range(level):
            numbers += (c >> k) % 2 << (D * k + d)
    return numbers


# Output of a mixture


def expert_output(mixture: Mixture, g: Integers, encoded: Integers) -> Unlimited:
    """The decoder's output for the expert g[i] of each sample i."""
    y = np.zeros(len(encoded), np.object_)
    for e in range(mixture.experts):
        v = encoded[g == e]
        for layer in mixture.expert_layers:
            v = sine_layer(layer, mixture.finer, v, e)
        y[g == e] = linear_output(mixture.decoder, v)
    return y


def mixture_output(mixture: Mixture, inputs: Integers) -> Unlimited:
    encoded = inputs
    for layer in mixture.encoder:
        encoded = sine_layer(layer, mixture.finer, encoded)
    v = encoded
    if mixture.gate_encoder:
        own = inputs
        for layer in mixture.gate_encoder:
            own = sine_layer(layer, mixture.finer, own)
        v = np.concatenate([own, encoded], axis=1) if mixture.gate_reads else own
    for layer in mixture.gate_layers:
        v = relu_layer(layer, v)
    a = layer_sums(mixture.gate_output, v)
    # Of equal values argmax takes the first, and so the lowest-numbered expert.
    g1 = a.argmax(axis=1)
    y1 = expert_output(mixture, g1, encoded)
    if mixture.active_experts == 1:
        return y1
    y1 = limited(y1, 2**26)
    every = np.arange(len(a))
    a1 = a[every, g1]
    others = a.copy()
    others[every, g1] = np.iinfo(np.int64).min
    g2 = others.argmax(axis=1)
    a2 = others[every, g2]
    y2 = limited(expert_output(mixture, g2, encoded), 2**26)
    # a1 - a2 is less than 2^53, and a shift to the left is by at most 3.
    d = shift_right(a1 - a2, -8 - mixture.gate_output.u)
    w = B[np.minimum(d, 3071)].astype(np.object_)
    y: Unlimited = (y1 * (2**16 - w) + y2 * w) >> 16
    return y


# Tables

S: Integers = np.array(
    [round(2**12 * math.sin(2 * math.pi * (i + 0.5) / 2**14)) for i in range(16384)], np.int64
)
B: Integers = np.array(
    [round(2**16 / (1 + math.exp((i + 0.5) / 2**8))) for i in range(3072)], np.int64
)


# Intensity map


def voxel_values(y: Unlimited, volume: Volume) -> NDArray[Any]:
    low, high = volume.low, volume.high
    levels = limited(y, 2**24) + 2**24
    if volume.dtype.kind != "f":
        # Python's integers: a product takes up to 89 bits.
        return np.array(low + ((levels * (high - low) + 2**24) >> 25), volume.dtype)
    values = []
    for level in levels.tolist():
        r = level / 2**25
        value = low * (1 - r) + high * r
        values.append(min(max(value, low), high))
    return np.array(values, np.float64).astype(volume.dtype)


# Entropy coding

T = [math.isqrt(2 ** (6144 - i)) for i in range(256)]
for _ in range(7):
    T = [math.isqrt(root) for root in T]


# Distributions

FIRST = (-1, -5, -7, -10, -24)


def power(shape: int, t: int) -> int:
    """e(t), in 1/256 bit."""
    if shape == 0:
        a = t * t >> 12
        b = a * a >> 12
        return b * b >> 16
    if shape == 1:
        return t * t >> 16
    if shape == 2:
        return math.isqrt(t * t * t >> 20)
    if shape == 3:
        return t >> 4
    return math.isqrt(t << 4)


def weights(wire: int) -> list[int]:
    """W[0], ..., W[K]."""
    if wire == 0:
        return [T[0]]
    shape, scale = divmod(wire - 1, 51)
    octave, quarter = divmod(FIRST[shape] + scale, 4)
    W: list[int] = []
    while True:
        t = (len(W) * T[64 * quarter]) >> (12 + octave)
        e = power(shape, t)
        weight = T[e % 256] >> (e // 256)
        if weight == 0:
            return W
        W.append(weight)


@dataclass(frozen=True)
class Distribution:
    """F[-K..K] and start(-K..K): the symbol k is at index K + k."""

    K: int
    F: list[int]
    start: list[int]


@lru_cache(maxsize=16)
def distribution(wire: int) -> Distribution:
    W = weights(wire)
    K = len(W) - 1
    R = 2**24 - (2 * K + 1)
    total = W[0] + 2 * sum(W[1:])
    C = [part * R // total for part in accumulate(W[1:], initial=0)]
    upper = [1 + C[k] - C[k - 1] for k in range(1, K + 1)]
    F = [*reversed(upper), 2**24 - 2 * sum(upper), *upper]
    return Distribution(K, F, list(accumulate(F[:-1], initial=0)))


# The rANS stream


def rans_decode(stream: bytes, segments: list[tuple[int, int]]) -> list[int]:
    """The symbols of all segments, of which each is given by its wire byte and its length."""
    n = sum(length for _, length in segments)
    if n == 0:
        require(not stream, "a stream of no symbols is not empty")
        return []
    lanes = 1 if n < 2**18 else n >> 13
    return one_lane(stream, segments) if lanes == 1 else many_lanes(stream, lanes, segments)


def decode_symbol(x: int, model: Distribution) -> tuple[int, int]:
    """The symbol of a state, and the state after it."""
    slot = x % 2**24
    index = bisect_right(model.start, slot) - 1
    return index - model.K, model.F[index] * (x >> 24) + slot - model.start[index]


def one_lane(stream: bytes, segments: list[tuple[int, int]]) -> list[int]:
    require(not stream.startswith(b"\0"), "the stream starts with 0")
    following = iter(stream)

    def refill(x: int) -> int:
        while x < 2**31 and (byte := next(following, None)) is not None:
            x = 256 * x + byte
        return x

    symbols = []
    x = refill(0)
    for wire, length in segments:
        model = distribution(wire)
        for _ in range(length):
            symbol, x = decode_symbol(x, model)
            x = refill(x)
            symbols.append(symbol)
    require(next(following, None) is None, "bytes of the stream are left over")
    require(x == 4096, "the stream is damaged")
    return symbols


def many_lanes(stream: bytes, lanes: int, segments: list[tuple[int, int]]) -> list[int]:
    """Takes a lane's word right after each of its symbols, which gives the same order."""
    require(len(stream) % 4 == 0, "the stream is not of whole words")
    words = Reader(stream)
    states = [words.uint(8) for _ in range(lanes)]
    require(all(2**31 <= x < 2**63 for x in states), "a state is out of range")
    symbols: list[int] = []
    for wire, length in segments:
        model = distribution(wire)
        for _ in range(length):
            lane = len(symbols) % lanes
            symbol, x = decode_symbol(states[lane], model)
            states[lane] = 2**32 * x + words.uint(4) if x < 2**31 else x
            symbols.append(symbol)
    words.end()
    require(all(x == 2**31 for x in states), "the stream is damaged")
    return symbols


# Chunk m (metadata)

ZSTANDARD_MAGIC = b"\x28\xb5\x2f\xfd"


def read_metadata(payload: bytes, kind: int) -> bytes:
    """What is in the frame."""
    chunk = Reader(payload)
    require(chunk.u8() == kind, "the kind of metadata is reserved or of the other geometry")
    data = chunk.rest()
    require(data.startswith(ZSTANDARD_MAGIC), "the metadata is no zstandard frame")
    try:
        frame = zstandard.get_frame_parameters(data)
        require(frame.content_size != zstandard.CONTENTSIZE_UNKNOWN, "no content size")
        require(frame.content_size <= LIMIT_METADATA, "the metadata is over the limit")
        require(frame.dict_id == 0, "the frame uses a dictionary")
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        block = decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError("the zstandard frame is damaged") from error
    require(decompressor.eof, "the zstandard frame does not end")
    require(not decompressor.unused_data, "bytes are left over after the zstandard frame")
    require(len(block) == frame.content_size, "the content size is wrong")
    return block


def read_header_block(payload: bytes, nifti2: bool) -> bytes:
    """The original file's header block."""
    block = read_metadata(payload, 1)
    require(len(block) == (540 if nifti2 else 348), "not the size of a header")
    return block


@dataclass(frozen=True)
class AllAttributes:
    """Shared elements and those of each plane, by tag, as they lie in the chunk."""

    one_file: bool
    shared: Elements
    planes: list[Elements]


def read_all_attributes(payload: bytes, planes: int) -> AllAttributes:
    frame = Reader(read_metadata(payload, 2))
    flags = frame.u8()
    require(flags < 2, "reserved flags are set")
    shared = read_elements(frame.take(frame.varint()))
    result = AllAttributes(flags == 1, shared, [{} for _ in range(planes)])
    require(frame.varint() == planes, "not the planes of the grid")
    for _ in range(frame.varint()):
        for plane in result.planes:
            element = read_elements(frame.take(frame.varint()))
            require(len(element) <= 1, "a column has two elements for one plane")
            plane.update(element)
    frame.end()
    return result


# Of these value representations the length takes 32 bits.
LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


def read_elements(data: bytes) -> Elements:
    """The elements of a dataset, what is in them not looked at."""
    reader = Reader(data)
    elements: Elements = {}
    while reader.offset < len(data):
        start = reader.offset
        tag = reader.uint(2) << 16 | reader.uint(2)
        require(tag > max(elements, default=-1), "the tags do not ascend")
        if reader.take(2).decode("latin-1") in LONG:
            require(reader.uint(2) == 0, "reserved bytes are set")
            reader.take(reader.u32())
        else:
            reader.take(reader.uint(2))
        elements[tag] = data[start : reader.offset]
    return elements


# Limits

LIMIT_FILE = 2**31
LIMIT_VOXELS = 2**33
LIMIT_PARAMETERS = 2**27
LIMIT_EXPERTS = 256
LIMIT_LAYERS = 64
LIMIT_WIDTH = 4096
LIMIT_METADATA = 2**26
LIMIT_PLANES = 2**16
LIMIT_ATTRIBUTES = 2**22
LIMIT_WORK = 2**52


def check_work(network: Network, voxels: int) -> None:
    if isinstance(network, Tree):
        acting = max(
            network.heads.size(leaf)
            + sum(
                layer.size(leaf >> network.D * (len(network.levels) - 1 - level))
                for level, layers in enumerate(network.levels)
                for layer in layers
            )
            for leaf in range(len(network.heads.matrices))
        )
    else:
        shared = [*network.encoder, *network.gate_encoder, *network.gate_layers]
        acting = sum(layer.size() for layer in [*shared, network.gate_output, network.decoder])
        acting += network.active_experts * sum(layer.size() for layer in network.expert_layers)
    require(acting * voxels <= LIMIT_WORK, "the work is over the limit")


# The whole file


@dataclass(frozen=True)
class File:
    volume: Volume
    voxels: NDArray[Any]
    geometry: Geometry | Dicom
    metadata: bytes | AllAttributes | None


def decode_unverified(data: bytes) -> File:
    """Everything that the file says, its checksum of the voxels not compared."""
    chunks = read_container(data)
    volume = read_volume(chunks["V"])
    geometry: Geometry | Dicom
    metadata: bytes | AllAttributes | None = None
    if "D" in chunks:
        geometry = read_dicom(chunks["D"], volume.lengths)
        if "m" in chunks:
            metadata = read_all_attributes(chunks["m"], len(geometry.planes))
    else:
        geometry = read_geometry(chunks["G"], volume.lengths)
        if "m" in chunks:
            metadata = read_header_block(chunks["m"], bool(geometry["NIfTI-2"]))
    constant = volume.low == volume.high
    require(constant == (not chunks["N"]), "chunk N is empty if and only if low = high")
    if constant:
        line = np.full(math.prod(volume.lengths), volume.low, volume.dtype)
    else:
        network = read_network(chunks["N"], volume)
        line = voxel_values(network_output(network, samples(volume.lengths)), volume)
    return File(volume, line.reshape(volume.lengths, order="F"), geometry, metadata)


def decode(data: bytes) -> File:
    """What a `.moec` file holds: the voxels in Fortran order, the geometry and the metadata.

    The geometry is that of chunk D, or has the header's fields under the document's names, floats
    as bit patterns. The metadata is what chunk m gives: the original file's header, or the
    attributes of its DICOM series.
    """
    file = decode_unverified(data)
    require(voxels_checksum(file.voxels) == file.volume.checksum, "the voxels' checksum differs")
    return file
