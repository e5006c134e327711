"""Write the malformed files: `make malformed`, when a rule of the format changes.

Each file breaks one rule of docs/format.md and no other: its checksums are right, unless they are
what is wrong. `CASES` gives the error that a reader must raise, and words of its message.
manifest.json says the same.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from golden.assembly import Chunks, chunk, container, network_fields

from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Stack,
    Tree,
    TreeLevel,
    single,
)
from inrcodec.bitstream.primitives import zigzag
from inrcodec.entropy.distribution import Distribution
from inrcodec.entropy.rans import rans_encode
from inrcodec.errors import (
    BitstreamError,
    ChecksumError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"

# The worked example of docs/format.md, "Exact arithmetic": a line of 8 voxels, int16, -100 to 300.
VOLUME = bytes.fromhex("03 08 c7 01 90 03 78 13 ca 1a")
GEOMETRY = b"\0"
HEAD = bytes.fromhex("00 02 01 04 01 02")
PAIRS = bytes.fromhex("16 09 15 09 15 09 14 07 17 07 16 04")
STREAM = bytes.fromhex("fd f2 89 f9 a2 06 73")
NETWORK = HEAD + PAIRS + STREAM

SINE = Activation.SINE

CHECKSUM = VOLUME[-4:]
LARGE = (1 << 64) - 1


@dataclass(frozen=True)
class Malformed:
    """A file, the error that it is, and words of the message."""

    data: bytes
    error: type[BitstreamError]
    words: str
    info: bool = True
    """Whether reading the headers alone finds it."""


# Fields


def varint(value: int, more: int = 0) -> bytes:
    """LEB128, with ``more`` bytes than it takes."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    for _ in range(more):
        groups[-1] |= 0x80
        groups.append(0)
    return bytes(groups)


def svarint(value: int) -> bytes:
    return varint(zigzag(value))


# Files


def moec(
    volume: bytes = VOLUME,
    geometry: bytes = GEOMETRY,
    network: bytes = NETWORK,
    metadata: bytes | None = None,
) -> bytes:
    return container(parts(volume, geometry, network, metadata))


def parts(
    volume: bytes = VOLUME,
    geometry: bytes = GEOMETRY,
    network: bytes = NETWORK,
    metadata: bytes | None = None,
) -> list[tuple[str, bytes]]:
    chunks = [("V", volume), ("G", geometry), ("N", network)]
    return chunks if metadata is None else [*chunks, ("m", metadata)]


def damaged(letter: str) -> bytes:
    """One chunk, which has bits of a payload byte flipped."""
    chunks = [*parts(metadata=metadata()), ("x", b"unknown")]
    framed = bytearray(container(chunks))
    payload = dict(chunks)[letter]
    framed[framed.index(chunk(letter, payload)) + 2] ^= 0x11
    return bytes(framed)


# Chunk V


def integers(kind: int, low: int, span: int, shape: Sequence[int] = (8,)) -> bytes:
    """A range of an integer type; ``kind`` 1, 3, 5 and 7 are signed."""
    lengths = b"".join(varint(n) for n in shape)
    first = bytes([kind | len(shape) - 1 << 4])
    return first + lengths + (svarint(low) if kind & 1 else varint(low)) + varint(span) + CHECKSUM


def float32s(low: float, high: float) -> bytes:
    return b"\x08\x08" + struct.pack("<ff", low, high) + CHECKSUM


def float64s(low: float, high: float) -> bytes:
    return b"\x09\x08" + struct.pack("<dd", low, high) + CHECKSUM


# Chunk G

NIFTI2 = 1
CODES, SPACING, ROTATION, OFFSET, AFFINE, OTHER_SPACING, SCALING, DISPLAY_RANGE = range(2, 10)
DIM_INFO, SLICE_TIMING, TIME_ORIGIN, INTENT = range(10, 14)

ABSENT = {
    "codes": (CODES, 3),
    "spacing": (SPACING, 2),
    "rotation": (ROTATION, 2),
    "offset": (OFFSET, 2),
    "affine": (AFFINE, 6),
    "other_spacing": (OTHER_SPACING, 2),
    "scaling": (SCALING, 1),
    "display_range": (DISPLAY_RANGE, 1),
    "dim_info": (DIM_INFO, 1),
    "slice_timing": (SLICE_TIMING, 4),
    "time_origin": (TIME_ORIGIN, 1),
    "intent": (INTENT, 4),
}
"""Bit of each group, and the bytes of one in which everything is as predicted."""


def group(bit: int, contents: bytes, version: int = 0) -> bytes:
    """Chunk G with one group."""
    return varint(1 << bit | version) + contents


def intent(name: bytes, length: int | None = None) -> bytes:
    return group(INTENT, bytes(3) + varint(len(name) if length is None else length) + name)


# Chunk N


def tree(*values: int) -> bytes:
    """Chunk N of a tree of any sizes."""
    return b"\0" + b"".join(map(varint, values)) + PAIRS + STREAM


def mixture(*values: int) -> bytes:
    """Chunk N of a mixture of any sizes."""
    return b"\1" + b"".join(map(varint, values)) + PAIRS + STREAM


def network(
    architecture: Architecture,
    weights: dict[str, tuple[int | list[int], int, int]],
    stream: bytes | None = None,
) -> bytes:
    """Tensors by name: integers (or one for all), step exponent, wire byte; zeros otherwise."""
    fields = [weights.get(spec.name, (0, 0, 0)) for spec in architecture.tensors]
    counts = [spec.size for spec in architecture.tensors]
    if stream is None:
        symbols = np.concatenate(
            [np.broadcast_to(values, n) for (values, _, _), n in zip(fields, counts, strict=True)]
        )
        stream = rans_encode(symbols, counts, [Distribution(wire).table() for _, _, wire in fields])
    return network_fields(architecture, [(step, wire) for _, step, wire in fields], stream)


WIDEST = 255
"""Wire byte of the distribution that reaches beyond what a weight may be."""


def weight(integer: int) -> bytes:
    """A network with one weight that is too large, or nearly."""
    return network(single(1, SINE, Stack(1, 1)), {"heads.weight": (integer, -15, WIDEST)})


def deepest(encoder: Stack, expert: Stack) -> Mixture:
    """Two experts and a hidden gate, on a line."""
    gate = Gate(Stack(0, 0), Stack(2, 1), 1)
    return Mixture(1, SINE, encoder, 2, expert, gate)


DEEPEST = deepest(Stack(31, 1), Stack(31, 1))
DEEPEST_NAMES = [spec.name for spec in DEEPEST.tensors]
WIDE_FIELDS = [(0, 0, WIDEST - index) for index in range(len(DEEPEST_NAMES))]
"""As many distributions as the limits allow, the widest among them: 9 MB of frequencies."""

DEEPEST_MANY = deepest(Stack(3, 363), Stack(59, 1))
"""The same with many lanes: wide in the encoder, whose zeros take no bits."""
DEEPEST_MANY_FIELDS = {
    spec.name: (0, 0, 0 if spec.name.startswith("encoder") else WIDEST - index)
    for index, spec in enumerate(DEEPEST_MANY.tensors)
}

NARROW = Mixture(1, SINE, Stack(2, 1), 2, Stack(1, 1), Gate(Stack(2, 1), Stack(2, 1), 1))
NARROW_TREE = Tree(1, SINE, (TreeLevel(2, (1,)), TreeLevel(2, (1, 1))))
WIDE = deepest(Stack(1, 128), Stack(1, 1))
WIDE_TREE = Tree(1, SINE, (TreeLevel(1, (128,)), TreeLevel(1, (1, 1))))


def names_of_layers(architecture: Architecture) -> Iterator[str]:
    return (
        name
        for name, _, kind in (spec.name.rpartition(".") for spec in architecture.tensors)
        if kind == "bias"
    )


def large_bias(architecture: Architecture, layer: str) -> bytes:
    """A layer whose sums reach 2^52 by its bias alone."""
    bias = 2 if layer in ("encoder.0", "gate.encoder.0", "levels.0.0") else 512
    weights = {f"{layer}.weight": (0, -24, 0), f"{layer}.bias": (bias, 7, WIDEST)}
    return network(architecture, weights)


def large_weights(architecture: Architecture, layer: str) -> bytes:
    """A layer whose sums reach 2^52 by weights: 128 of them, or one of an input up to 2^20."""
    weight = 1 << 13 if layer in ("gate.hidden.1", "gate.output") else 1 << 14
    weights = {f"{layer}.weight": (weight, 7, WIDEST), f"{layer}.bias": (0, -24, 0)}
    return network(architecture, weights)


LINE_OF_CELLS = Tree(1, SINE, tuple(TreeLevel(1, (1,) * (1 << level)) for level in range(5)))
"""Twice as many leaves as there are voxels: every other one has none."""

UNUSED_LEAF = network(
    LINE_OF_CELLS, {"heads.weight": (0, -24, 0), "heads.bias": ([512] + [0] * 15, 7, WIDEST)}
)

LARGEST = single(3, SINE, Stack(2, 728))
"""With the most voxels that a reader accepts, more work than it accepts."""

MANY = single(1, SINE, Stack(2, 511))
"""The narrowest network of two layers that takes many lanes."""

MANY_WEIGHTS = {"levels.0.0.weight": (1, 0, 60), "heads.weight": (-1, -9, 60)}
MANY_LANES = network(MANY, MANY_WEIGHTS)
STATES = len(network(MANY, {}, b""))
"""Where the stream of `MANY_LANES` starts."""


def with_state(state: int) -> bytes:
    """The stream of many lanes with another first state."""
    return MANY_LANES[:STATES] + state.to_bytes(8, "little") + MANY_LANES[STATES + 8 :]


def with_another_weight() -> bytes:
    """The stream of many lanes with a last weight that takes more than the file gives it."""
    other = network(MANY, {**MANY_WEIGHTS, "heads.bias": (1, 0, 60)})
    return MANY_LANES[:STATES] + other[STATES:]


# Chunk m


def frame(
    content: int,
    blocks: Sequence[tuple[int, int, bytes]],
    *,
    stated: int | None = None,
    dictionary: bytes = b"",
    checksum: bytes = b"",
) -> bytes:
    """A zstandard frame (RFC 8878) that states ``stated`` bytes of content, or ``content``.

    Blocks: type (0 raw, 1 one byte repeated, 3 reserved), size, bytes.
    """
    size = content if stated is None else stated
    descriptor = 0xE0 | 4 * bool(checksum) | bool(dictionary)
    header = b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + dictionary + struct.pack("<Q", size)
    return header + framed(blocks) + checksum


def framed(blocks: Sequence[tuple[int, int, bytes]]) -> bytes:
    last = len(blocks) - 1
    return b"".join(
        (size << 3 | kind << 1 | (index == last)).to_bytes(3, "little") + data
        for index, (kind, size, data) in enumerate(blocks)
    )


def zeros(count: int) -> list[tuple[int, int, bytes]]:
    """Blocks of that many zeros."""
    most = 1 << 17
    whole, rest = divmod(count, most)
    return [(1, most, b"\0")] * whole + [(1, rest, b"\0")] * bool(rest)


def metadata(header: bytes = frame(348, zeros(348)), kind: int = 1) -> bytes:
    return bytes([kind]) + header


def zstd(header: bytes, words: str, error: type[BitstreamError] = BitstreamError) -> Malformed:
    return Malformed(moec(metadata=metadata(header)), error, words, info=False)


def in_network(
    payload: bytes, words: str, error: type[BitstreamError] = BitstreamError
) -> Malformed:
    """Wrong in the weights, which only decoding reads."""
    return Malformed(moec(network=payload), error, words, info=False)


def in_sizes(
    payload: bytes,
    words: str,
    error: type[BitstreamError] = BitstreamError,
    volume: bytes = VOLUME,
) -> Malformed:
    """Wrong in the architecture."""
    return Malformed(moec(volume, network=payload), error, words)


def dicom(payload: bytes, planes: int = 1 << 16) -> Malformed:
    """A series of so many planes whose attributes are too many."""
    volume = integers(3, 0, 0, (2, 2, planes))
    file = container([("V", volume), ("D", payload), ("N", b"")])
    return Malformed(file, LimitExceededError, "DICOM")


def chunks(*letters: str) -> Chunks:
    known = dict(parts(metadata=metadata()))
    return [(letter, known.get(letter, b"?")) for letter in letters]


VALID = moec()
NAN, INFINITY = float("nan"), float("inf")
SHORT = "data ends"
FORM = "not in its shortest form"
STATE = "does not return to its first state"

CASES: dict[str, Malformed] = {
    # Conventions
    "varint_overlong": Malformed(
        moec(b"\x03" + varint(8, more=1) + VOLUME[2:]), BitstreamError, "not in shortest form"
    ),
    "varint_overlong_zero": Malformed(
        moec(geometry=varint(0, more=2)), BitstreamError, "not in shortest form"
    ),
    "varint_of_65_bits": Malformed(
        moec(b"\x03" + varint(1 << 64) + VOLUME[2:]), BitstreamError, "exceeds 64 bits"
    ),
    "varint_endless": Malformed(moec(b"\x03" + b"\x80" * 30), BitstreamError, "exceeds 64 bits"),
    "varint_cut": Malformed(moec(b"\x03\x88"), TruncatedError, SHORT),
    "svarint_overlong": Malformed(
        moec(geometry=group(DIM_INFO, varint(2, more=1))), BitstreamError, "not in shortest form"
    ),
    # Container
    "empty": Malformed(b"", BitstreamError, "not a .moec file"),
    "magic_cut": Malformed(VALID[:3], BitstreamError, "not a .moec file"),
    "magic_wrong": Malformed(b"moec" + VALID[4:], BitstreamError, "not a .moec file"),
    "version_missing": Malformed(VALID[:4], TruncatedError, SHORT),
    "version_unreleased": Malformed(
        container(parts(), version=0), UnsupportedVersionError, "format version 0"
    ),
    "version_unknown": Malformed(
        container(parts(), version=2), UnsupportedVersionError, "format version 2"
    ),
    "version_highest": Malformed(
        container(parts(), version=255), UnsupportedVersionError, "format version 255"
    ),
    "count_missing": Malformed(VALID[:5], TruncatedError, SHORT),
    "count_zero": Malformed(container([]), BitstreamError, "'V' is missing"),
    "count_too_low": Malformed(container(parts(), count=2), BitstreamError, "bytes follow"),
    "count_too_high": Malformed(container(parts(), count=4), TruncatedError, SHORT),
    "trailing_byte": Malformed(VALID + b"\0", BitstreamError, "1 bytes follow"),
    "trailing_file": Malformed(VALID + VALID, BitstreamError, "60 bytes follow"),
    "chunk_length_beyond_end": Malformed(
        VALID[:6] + b"V" + varint(200) + VOLUME, TruncatedError, SHORT
    ),
    "chunk_length_largest": Malformed(
        VALID[:6] + b"V" + varint(LARGE) + VOLUME, TruncatedError, SHORT
    ),
    "chunk_length_overlong": Malformed(
        VALID[:6] + b"V" + varint(10, more=1) + VOLUME, BitstreamError, "not in shortest form"
    ),
    "chunk_checksum_cut": Malformed(VALID[:-1], TruncatedError, SHORT),
    "chunk_type_digit": Malformed(
        container([*parts(), ("1", b"")]), BitstreamError, "not a letter"
    ),
    "chunk_type_zero": Malformed(
        container([*parts(), ("\0", b"")]), BitstreamError, "not a letter"
    ),
    "chunk_type_not_ascii": Malformed(
        container([*parts(), ("\xe9", b"")]), BitstreamError, "not a letter"
    ),
    **{
        f"checksum_of_{letter}": Malformed(damaged(letter), ChecksumError, "is damaged")
        for letter in "VGNmx"
    },
    "checksum_before_type": Malformed(
        VALID[:5] + b"\x04" + VALID[6:] + chunk("X", b"")[:-1] + b"?", ChecksumError, "is damaged"
    ),
    "chunk_unknown_critical": Malformed(
        container(chunks("V", "X", "G", "N")), UnsupportedVersionError, "critical chunk 'X'"
    ),
    **{
        f"chunk_{letter}_twice": Malformed(
            container([*parts(metadata=metadata()), *chunks(letter)]),
            BitstreamError,
            "occurs twice",
        )
        for letter in "VGNm"
    },
    "chunk_unknown_twice": Malformed(
        container([("x", b""), *parts(), ("x", b"")]), BitstreamError, "'x' occurs twice"
    ),
    **{
        f"order_{order}": Malformed(container(chunks(*order)), BitstreamError, "order V, G, N, m")
        for order in ("GVN", "VNG", "NGV", "mVGN", "VmGN", "VGmN")
    },
    "chunks_G_and_D": Malformed(
        container(chunks("V", "G", "D", "N")), BitstreamError, "exclude each other"
    ),
    **{
        f"missing_{missing}": Malformed(
            container([pair for pair in parts() if pair[0] != missing]),
            BitstreamError,
            f"required chunk '{missing}' is missing",
        )
        for missing in "VGN"
    },
    # Chunk V
    "volume_empty": Malformed(moec(b""), TruncatedError, SHORT),
    "volume_cut": Malformed(moec(VOLUME[:-1]), TruncatedError, SHORT),
    "volume_longer": Malformed(moec(VOLUME + b"\0"), BitstreamError, "1 bytes follow"),
    **{
        f"volume_reserved_bit_{bit}": Malformed(
            moec(bytes([3 | 1 << bit]) + VOLUME[1:]), BitstreamError, "reserved bits"
        )
        for bit in (6, 7)
    },
    **{
        f"volume_type_{kind}": Malformed(
            moec(bytes([kind]) + VOLUME[1:]), BitstreamError, f"voxel type {kind} is unknown"
        )
        for kind in range(10, 16)
    },
    "volume_axis_of_zero": Malformed(
        moec(integers(3, 0, 9, (5, 0, 4))), BitstreamError, "at least one voxel"
    ),
    "volume_too_many_voxels": Malformed(
        moec(integers(3, 0, 9, (10_000,) * 3), bytes([NIFTI2])),
        LimitExceededError,
        "1000000000000 voxels",
    ),
    "volume_far_too_many_voxels": Malformed(
        moec(integers(3, 0, 9, (LARGE,) * 4), bytes([NIFTI2])), LimitExceededError, "voxels"
    ),
    "volume_low_below_int8": Malformed(moec(integers(1, -129, 1)), BitstreamError, "not a range"),
    "volume_low_above_uint8": Malformed(moec(integers(0, 256, 1)), BitstreamError, "not a range"),
    "volume_high_above_uint8": Malformed(moec(integers(0, 1, 255)), BitstreamError, "not a range"),
    "volume_high_above_int16": Malformed(
        moec(integers(3, 0, 1 << 15)), BitstreamError, "not a range"
    ),
    "volume_high_above_uint32": Malformed(
        moec(integers(4, 1, (1 << 32) - 1)), BitstreamError, "not a range"
    ),
    "volume_high_above_uint64": Malformed(
        moec(integers(6, 1, LARGE)), BitstreamError, "not a range"
    ),
    "volume_high_above_int64": Malformed(
        moec(integers(7, 1, (1 << 63) - 1)), BitstreamError, "not a range"
    ),
    "volume_low_above_high": Malformed(moec(float32s(2, 1)), BitstreamError, "not a range"),
    "volume_low_nan": Malformed(moec(float32s(NAN, 1)), BitstreamError, "not a range"),
    "volume_high_nan": Malformed(moec(float32s(0, NAN)), BitstreamError, "not a range"),
    "volume_low_infinite": Malformed(moec(float32s(-INFINITY, 1)), BitstreamError, "not a range"),
    "volume_high_infinite": Malformed(moec(float64s(0, INFINITY)), BitstreamError, "not a range"),
    "volume_both_nan": Malformed(moec(float64s(NAN, NAN)), BitstreamError, "not a range"),
    "volume_one_voxel_two_values": Malformed(
        moec(integers(3, 0, 9, (1, 1))), BitstreamError, "one voxel"
    ),
    "volume_checksum": Malformed(
        moec(VOLUME[:-1] + b"\x0c"), ChecksumError, "do not match", info=False
    ),
    # Chunk G
    "geometry_empty": Malformed(moec(geometry=b""), TruncatedError, SHORT),
    "geometry_longer": Malformed(moec(geometry=b"\0\0"), BitstreamError, "1 bytes follow"),
    "geometry_reserved_flag": Malformed(
        moec(geometry=varint(1 << 14)), BitstreamError, "reserved flags"
    ),
    "geometry_last_reserved_flag": Malformed(
        moec(geometry=varint(1 << 63)), BitstreamError, "reserved flags"
    ),
    **{
        f"geometry_absent_{name}": Malformed(
            moec(geometry=group(bit, bytes(size))), BitstreamError, FORM
        )
        for name, (bit, size) in ABSENT.items()
    },
    "geometry_group_cut": Malformed(
        moec(geometry=group(SPACING, b"\x09\x09")), TruncatedError, SHORT
    ),
    **{
        f"geometry_float_code_{code}": Malformed(
            moec(geometry=group(TIME_ORIGIN, bytes([code]) + b"\x01" * 8)),
            BitstreamError,
            f"float code {code}",
        )
        for code in (5, 6, 7, 8, 13, 14, 15)
    },
    "geometry_float_padding": Malformed(
        moec(geometry=group(TIME_ORIGIN, b"\x11\x01")), BitstreamError, "padding bits"
    ),
    "geometry_float_as_predicted": Malformed(
        moec(geometry=group(OFFSET, b"\x11\x00\x00\x02")), BitstreamError, FORM
    ),
    "geometry_float_distance_too_long": Malformed(
        moec(geometry=group(TIME_ORIGIN, b"\x02\x02\x00")), BitstreamError, FORM
    ),
    "geometry_float_leading_too_long": Malformed(
        moec(geometry=group(TIME_ORIGIN, b"\x0b\x00\x80\x3f")), BitstreamError, FORM
    ),
    "geometry_float_distance_for_leading": Malformed(
        # 1.0, which is 0x3f800000 floats above 0
        moec(geometry=group(TIME_ORIGIN, b"\x04\x00\x00\x00\x7f")),
        BitstreamError,
        FORM,
    ),
    "geometry_float_leading_for_distance": Malformed(
        # the second float above 0
        moec(geometry=group(TIME_ORIGIN, b"\x0c\x02\x00\x00\x00")),
        BitstreamError,
        FORM,
    ),
    "geometry_float_leading_on_a_tie": Malformed(
        # 0x10100 floats above 1: three bytes either way
        moec(geometry=group(SCALING, b"\x0b\x01\x81\x3f")),
        BitstreamError,
        FORM,
    ),
    "geometry_float_leading_as_predicted": Malformed(
        moec(geometry=group(SCALING, b"\x0a\x80\x3f")), BitstreamError, FORM
    ),
    "geometry_dim_info": Malformed(
        moec(geometry=group(DIM_INFO, svarint(256))), BitstreamError, "dim_info 256"
    ),
    "geometry_xyzt_units": Malformed(
        moec(geometry=group(CODES, svarint(-1) + bytes(2))), BitstreamError, "xyzt_units -1"
    ),
    "geometry_qform_code": Malformed(
        moec(geometry=group(CODES, b"\0" + svarint(1 << 15) + b"\0")),
        BitstreamError,
        "qform_code 32768",
    ),
    "geometry_sform_code_nifti2": Malformed(
        moec(geometry=group(CODES, bytes(2) + svarint(-(1 << 31) - 1), NIFTI2)),
        BitstreamError,
        "sform_code -2147483649",
    ),
    "geometry_slice_code": Malformed(
        moec(geometry=group(SLICE_TIMING, svarint(256) + bytes(3))), BitstreamError, "slice_code"
    ),
    "geometry_slice_start": Malformed(
        moec(geometry=group(SLICE_TIMING, b"\0" + svarint(-32769) + bytes(2))),
        BitstreamError,
        "slice_start",
    ),
    "geometry_slice_end": Malformed(
        moec(geometry=group(SLICE_TIMING, bytes(2) + svarint(32768) + b"\0")),
        BitstreamError,
        "slice_end",
    ),
    "geometry_intent_code": Malformed(
        moec(geometry=group(INTENT, svarint(40000) + bytes(3))), BitstreamError, "intent_code"
    ),
    "geometry_intent_name_too_long": Malformed(
        moec(geometry=intent(b"seventeen letters")), BitstreamError, "intent_name"
    ),
    "geometry_intent_name_padded": Malformed(
        moec(geometry=intent(b"name\0")), BitstreamError, "intent_name"
    ),
    "geometry_intent_name_cut": Malformed(
        moec(geometry=intent(b"name", length=5)), TruncatedError, SHORT
    ),
    "geometry_intent_name_largest": Malformed(
        moec(geometry=intent(b"name", length=LARGE)), TruncatedError, SHORT
    ),
    "geometry_nifti1_length": Malformed(
        moec(integers(3, 0, 9, (1 << 15,))), BitstreamError, "does not fit a NIfTI-1 header"
    ),
    # Chunk N
    "network_empty": Malformed(moec(network=b""), TruncatedError, SHORT),
    "network_of_one_value": Malformed(
        moec(integers(3, 7, 0)), BitstreamError, "one value has a network"
    ),
    "network_of_two_zeros": Malformed(
        moec(float32s(-0.0, 0.0)), BitstreamError, "one value has a network"
    ),
    **{
        f"network_family_{family}": in_sizes(
            bytes([family]) + NETWORK[1:], f"network family {family} is unknown"
        )
        for family in (2, 3)
    },
    **{
        f"network_reserved_bit_{bit}": in_sizes(
            bytes([1 << bit]) + NETWORK[1:], "reserved bits are set"
        )
        for bit in range(3, 8)
    },
    # Chunk N, a tree
    **{
        f"tree_of_{levels}_levels": in_sizes(tree(levels, *(1, 4) * 20), "levels, not 1 to 16")
        for levels in (0, 17)
    },
    "tree_levels_largest": in_sizes(tree(LARGE, 1, 4), "levels, not 1 to 16"),
    "tree_levels_cut": in_sizes(tree(2, 1, 4)[:4], SHORT, TruncatedError),
    "tree_too_many_leaves": in_sizes(tree(10, *(1, 2) * 10), "512 experts", LimitExceededError),
    "tree_far_too_many_leaves": in_sizes(
        tree(16, *(1, 2) * 16),
        f"{1 << 60} experts",
        LimitExceededError,
        integers(3, 0, 9, (2, 2, 2, 2)),
    ),
    "tree_without_layers": in_sizes(tree(2, 0, 4, 1, 2), "is zero"),
    "tree_without_leaf_layers": in_sizes(tree(2, 1, 4, 0, 2), "is zero"),
    "tree_width_zero": in_sizes(tree(2, 1, 4, 1, 0), "is zero"),
    "tree_width_code_3": in_sizes(tree(2, 1, 4, 1, 3), "3 is no code"),
    "tree_width_code_largest": in_sizes(tree(2, 1, 4, 1, LARGE), "is no code"),
    "tree_root_list": in_sizes(tree(2, 1, 1, 2, 1, 2), "first level has a list"),
    "tree_list_of_equals": in_sizes(tree(2, 1, 4, 1, 1, 3, 3), "not in shortest form"),
    "tree_list_with_zero": in_sizes(tree(2, 1, 4, 1, 1, 3, 0), "is zero"),
    "tree_list_too_long": in_sizes(
        tree(9, *(1, 2) * 8, 1, 1, *(1, 2) * 100), "before a level's widths do", TruncatedError
    ),
    "tree_list_cut": in_sizes(
        b"\0" + b"".join(map(varint, (2, 1, 4, 1, 1, 300))), SHORT, TruncatedError
    ),
    "tree_too_many_layers": in_sizes(tree(1, 65, 4) + bytes(300), "65 layers", LimitExceededError),
    "tree_too_many_layers_together": in_sizes(
        tree(2, 33, 4, 32, 2) + bytes(300), "65 layers", LimitExceededError
    ),
    "tree_far_too_many_layers": in_sizes(tree(1, LARGE, 4), "layers", LimitExceededError),
    "tree_ends_in_layers": in_network(tree(1, 64, 4), "ends before its layers do", TruncatedError),
    "tree_too_wide": in_sizes(tree(2, 1, 8194, 1, 2), "4097 units", LimitExceededError),
    "tree_list_too_wide": in_sizes(tree(2, 1, 4, 1, 1, 4097, 2), "4097 units", LimitExceededError),
    "tree_width_largest": in_sizes(tree(1, 1, LARGE - 1), "units", LimitExceededError),
    "tree_too_many_parameters": in_sizes(tree(9, *(1, 2048) * 9), "parameters", LimitExceededError),
    # Chunk N, a mixture
    **{
        f"mixture_of_{experts}_experts": in_sizes(
            mixture(experts, 1, 2, 1, 1, 0, 0, 1), "not at least 2"
        )
        for experts in (0, 1)
    },
    **{
        f"mixture_without_{part}": in_sizes(mixture(*values), "is zero")
        for part, values in {
            "encoder_layers": (2, 0, 2, 1, 1, 0, 0, 1),
            "encoder_width": (2, 1, 0, 1, 1, 0, 0, 1),
            "expert_layers": (2, 1, 2, 0, 1, 0, 0, 1),
            "expert_width": (2, 1, 2, 1, 0, 0, 0, 1),
            "gate_encoder_width": (2, 1, 2, 1, 1, 1, 0, 0, 1, 1),
            "gate_width": (2, 1, 2, 1, 1, 0, 1, 0, 1),
        }.items()
    },
    **{
        f"mixture_active_experts_{count}": in_sizes(
            mixture(3, 1, 2, 1, 1, 0, 0, count), f"{count} experts act"
        )
        for count in (0, 3)
    },
    "mixture_gate_reads_2": in_sizes(
        mixture(3, 1, 2, 1, 1, 1, 2, 0, 1, 2), "does not say what the gate reads"
    ),
    "mixture_cut": in_sizes(mixture(3, 1, 2, 1, 1, 0)[:7], SHORT, TruncatedError),
    "mixture_too_many_experts": in_sizes(
        mixture(257, 1, 2, 1, 1, 0, 0, 1), "257 experts", LimitExceededError
    ),
    "mixture_too_many_layers": in_sizes(
        mixture(2, 31, 2, 31, 1, 1, 2, 2, 2, 1, 1) + bytes(300), "65 layers", LimitExceededError
    ),
    "mixture_far_too_many_layers": in_sizes(
        mixture(2, LARGE, 2, 1, 1, 0, 0, 1), "layers", LimitExceededError
    ),
    "mixture_ends_in_layers": in_network(
        mixture(2, 32, 2, 32, 1, 0, 0, 1), "ends before its layers do", TruncatedError
    ),
    **{
        f"mixture_{part}_too_wide": in_sizes(mixture(*values), "4097 units", LimitExceededError)
        for part, values in {
            "encoder": (2, 1, 4097, 1, 1, 0, 0, 1),
            "expert": (2, 1, 2, 1, 4097, 0, 0, 1),
            "gate_encoder": (2, 1, 2, 1, 1, 1, 4097, 0, 1, 1),
            "gate": (2, 1, 2, 1, 1, 0, 1, 4097, 1),
        }.items()
    },
    "mixture_width_largest": in_sizes(
        mixture(2, 1, LARGE, 1, 1, 0, 0, 1), "units", LimitExceededError
    ),
    "mixture_too_many_parameters": in_sizes(
        mixture(256, 1, 1024, 1, 1024, 0, 0, 1), "parameters", LimitExceededError
    ),
    # Chunk N, the weights
    "network_ends_in_pairs": in_network(HEAD + PAIRS[:-1], SHORT, TruncatedError),
    "network_step_exponent_8": in_network(
        HEAD + b"\x20" + PAIRS[1:] + STREAM, "step exponent 8 is out of range"
    ),
    "network_step_exponent_231": in_network(
        HEAD + b"\xff" + PAIRS[1:] + STREAM, "step exponent 231 is out of range"
    ),
    "network_widest_distributions": in_network(
        network(DEEPEST, dict(zip(DEEPEST_NAMES, WIDE_FIELDS, strict=True)), STREAM), STATE
    ),
    "network_weight_too_large": in_network(weight(32768), "beyond 32767"),
    "network_weight_too_small": in_network(weight(-32768), "beyond 32767"),
    "network_weight_widest": in_network(weight(52150), "beyond 32767"),
    **{
        f"network_{layer.replace('.', '_')}_large_bias": in_network(
            large_bias(architecture, layer), "exceed 52 bits"
        )
        for architecture in (NARROW, NARROW_TREE)
        for layer in names_of_layers(architecture)
    },
    **{
        f"network_{layer.replace('.', '_')}_large_weights": in_network(
            large_weights(architecture, layer), "exceed 52 bits"
        )
        for architecture, layer in (
            (WIDE, "gate.hidden.0"),
            (WIDE, "gate.hidden.1"),
            (WIDE, "gate.output"),
            (WIDE, "experts.0"),
            (WIDE_TREE, "levels.1.0"),
        )
    },
    "network_unused_leaf_large_bias": in_network(UNUSED_LEAF, "exceed 52 bits"),
    "network_too_much_work": Malformed(
        moec(integers(0, 0, 9, (2048,) * 3), network=network(LARGEST, {})),
        LimitExceededError,
        "multiplications",
        info=False,
    ),
    # The rANS stream
    "stream_empty": in_network(HEAD + PAIRS, STATE),
    "stream_longer": in_network(NETWORK + b"\0", STATE),
    "stream_cut": in_network(NETWORK[:-1], STATE),
    "stream_first_byte_zero": in_network(HEAD + PAIRS + b"\0" + STREAM, STATE),
    "stream_last_state": in_network(NETWORK[:-1] + b"\x74", STATE),
    "lanes_state_too_small": in_network(with_state((1 << 31) - 1), "out of range"),
    "lanes_state_too_large": in_network(with_state(1 << 63), "out of range"),
    "lanes_states_cut": in_network(MANY_LANES[: STATES + 252], "ends inside", TruncatedError),
    "lanes_word_cut": in_network(MANY_LANES[:-1], "ends inside", TruncatedError),
    "lanes_words_missing": in_network(
        MANY_LANES[: STATES + 256], "ends before its last symbol", TruncatedError
    ),
    "lanes_word_left": in_network(MANY_LANES + bytes(4), STATE),
    "lanes_last_state": in_network(with_another_weight(), STATE),
    "lanes_widest_distributions": in_network(
        network(DEEPEST_MANY, DEEPEST_MANY_FIELDS) + bytes(4), STATE
    ),
    # Chunk m
    "metadata_empty": Malformed(moec(metadata=b""), TruncatedError, SHORT, info=False),
    "metadata_kind_0": Malformed(
        moec(metadata=metadata(kind=0)), UnsupportedVersionError, "kind 0", info=False
    ),
    "metadata_kind_255": Malformed(
        moec(metadata=metadata(kind=255)), UnsupportedVersionError, "kind 255", info=False
    ),
    "metadata_no_frame": zstd(b"", "chunk m"),
    "metadata_not_zstandard": zstd(b"\x1f\x8b" + bytes(348), "chunk m"),
    "metadata_frame_cut": zstd(frame(348, zeros(348))[:-1], "chunk m"),
    "metadata_reserved_block": zstd(frame(348, [(3, 348, b"\0")]), "chunk m"),
    "metadata_size_not_stated": zstd(
        b"\x28\xb5\x2f\xfd\0\0" + framed(zeros(348)), "does not say its size"
    ),
    "metadata_size_347": zstd(frame(347, zeros(347)), "347 bytes are not a NIfTI-1"),
    "metadata_size_0": zstd(frame(0, [(0, 0, b"")]), "0 bytes are not a NIfTI-1"),
    "metadata_of_nifti2": zstd(frame(540, zeros(540)), "540 bytes are not a NIfTI-1"),
    "metadata_of_nifti1": Malformed(
        moec(geometry=bytes([NIFTI2]), metadata=metadata()),
        BitstreamError,
        "348 bytes are not a NIfTI-2",
        info=False,
    ),
    "metadata_content_shorter": zstd(frame(347, zeros(347), stated=348), "chunk m"),
    "metadata_content_longer": zstd(frame(349, zeros(349), stated=348), "chunk m"),
    "metadata_size_largest": zstd(
        frame(348, zeros(348), stated=LARGE - 2), "bytes of metadata", LimitExceededError
    ),
    "metadata_bomb": zstd(
        frame((1 << 26) + 1, zeros((1 << 26) + 1)), "67108865 bytes of metadata", LimitExceededError
    ),
    "metadata_bomb_within_limit": zstd(
        frame(1 << 26, zeros(1 << 26)), "67108864 bytes are not a NIfTI-1"
    ),
    "metadata_bomb_behind_size": zstd(frame(1 << 27, zeros(1 << 27), stated=348), "chunk m"),
    "metadata_dictionary": zstd(frame(348, zeros(348), dictionary=b"\x01"), "chunk m"),
    "metadata_content_checksum": zstd(frame(348, zeros(348), checksum=b"oops"), "chunk m"),
    "metadata_byte_after_frame": zstd(frame(348, zeros(348)) + b"\0", "chunk m"),
    "metadata_two_frames": zstd(2 * frame(348, zeros(348)), "chunk m"),
    "metadata_skippable_frame": zstd(b"\x50\x2a\x4d\x18\x04\0\0\0" + bytes(4), "chunk m"),
    # Chunk D, of no shared attributes
    "dicom_planes": dicom(b"\0\0\0", (1 << 16) + 1),
    "dicom_columns_of_many_planes": dicom(b"\0\0" + varint(65)),
    "dicom_numbers_of_many_planes": dicom(b"\0\0\1" + b"\1\5\0" + varint(64)),
}


def main() -> None:
    for file in FOLDER.glob("*.moec"):
        file.unlink()
    manifest = {}
    for name, case in CASES.items():
        (FOLDER / f"{name}.moec").write_bytes(case.data)
        manifest[name] = {"error": case.error.__name__, "words": case.words, "info": case.info}
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
