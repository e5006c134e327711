"""Mutations that get past the checks, to what lies behind them.

What libFuzzer makes of a file by itself hardly ever gets beyond a CRC-32, and an rANS stream hardly
ever ends in its first state. Half of the mutations here change what such a check protects, and then
make the check right again. They are functions of their arguments: (input, most bytes, seed).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import atheris
import numpy as np
from fuzz.targets import LANES, LIMITS, segments
from golden.assembly import container, network_fields

from inrcodec.bitstream.architecture import read_architecture
from inrcodec.bitstream.primitives import ByteReader
from inrcodec.entropy import rans
from inrcodec.entropy.distribution import Distribution
from inrcodec.entropy.rans import FrequencyTable, rans_encode
from inrcodec.errors import BitstreamError
from inrcodec.quantization import MIN_STEP_EXPONENT


def mutate_container(data: bytes, most: int, seed: int) -> bytes:
    """A file: the bytes of one chunk change, or the order; the CRC-32 are right."""
    return _mutate_file(data, most, random.Random(seed), inside=False)


def mutate_content(data: bytes, most: int, seed: int) -> bytes:
    """The same, and streams of other weights."""
    return _mutate_file(data, most, random.Random(seed), inside=True)


def mutate_network(data: bytes, most: int, seed: int) -> bytes:
    """Coordinates and chunk N: any bytes, or the stream of other weights of the same sizes."""
    rng = random.Random(seed)
    coordinates = 1 + (data[0] & 3) if data else 1
    try:
        reader = ByteReader(data[1:])
        architecture = read_architecture(reader, coordinates, LIMITS)
        if rng.random() < 0.5:
            return _any(data, most)
        pairs = [(reader.u8() + MIN_STEP_EXPONENT, reader.u8()) for _ in architecture.tensors]
    except BitstreamError:
        return _any(data, most)
    pairs[rng.randrange(len(pairs))] = rng.randrange(-24, 8), rng.randrange(256)
    counts = [spec.size for spec in architecture.tensors]
    tables = [Distribution(wire).table() for _, wire in pairs]
    stream = rans_encode(_symbols(counts, tables, rng), counts, tables)
    return (data[:1] + network_fields(architecture, pairs, stream))[:most]


def mutate_stream(data: bytes, most: int, seed: int) -> bytes:
    """Distributions and a stream of one lane: any bytes, or the stream of other symbols."""
    return _mutate_stream(data, most, random.Random(seed), 1)


def mutate_lanes(data: bytes, most: int, seed: int) -> bytes:
    """The same for several lanes."""
    return _mutate_stream(data, most, random.Random(seed), LANES)


def _mutate_file(data: bytes, most: int, rng: random.Random, inside: bool) -> bytes:
    try:
        chunks = _chunks(data)
    except BitstreamError:
        chunks = []
    if not chunks or rng.random() < 0.1:
        return _any(data, most)
    index = rng.randrange(len(chunks))
    letter, payload = chunks[index]
    if rng.random() < 0.05:
        chunks[rng.randrange(len(chunks))] = chunks[index]
    elif inside and letter == "N":
        chunks[index] = letter, mutate_network(b"\2" + payload, most, rng.getrandbits(32))[1:]
    else:
        chunks[index] = letter, _any(payload, most)
    if rng.random() < 0.01:
        chunks.append((chr(rng.randrange(256)), payload))
    return container(chunks[:255])[:most]


def _mutate_stream(data: bytes, most: int, rng: random.Random, lanes: int) -> bytes:
    if rng.random() < 0.5:
        return _any(data, most)
    try:
        counts, tables, stream = segments(ByteReader(data))
    except BitstreamError:
        return _any(data, most)
    if not sum(counts):
        return _any(data, most)
    symbols = _symbols(counts, tables, rng)
    if lanes == 1:
        other = rans_encode(symbols, counts, tables)
    else:
        joined = rans._Segments(counts, tables)
        other = rans._encode_interleaved(joined.rows_of(symbols), lanes, joined)
    return (data[: len(data) - len(stream)] + other)[:most]


def _any(data: bytes, most: int) -> bytes:
    mutated: bytes = atheris.Mutate(data, most)
    return mutated


def _chunks(data: bytes) -> list[tuple[str, bytes]]:
    """Letter and payload of each chunk; checksums are not looked at."""
    reader = ByteReader(data)
    reader.raw(5)
    chunks = []
    for _ in range(reader.u8()):
        chunks.append((chr(reader.u8()), reader.raw(reader.varint())))
        reader.raw(4)
    return chunks


def _symbols(
    counts: Sequence[int], tables: Sequence[FrequencyTable], rng: random.Random
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Symbols from all over the alphabets."""
    numbers = [
        table.lowest + rng.randrange(table.frequencies.size)
        for count, table in zip(counts, tables, strict=True)
        for _ in range(count)
    ]
    return np.array(numbers, np.int64)
