"""Files that break one rule each, and a file that breaks at random: a typed error, always."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from golden.assembly import container
from golden.make import FOLDER as GOLDEN
from malformed.make import CASES, FOLDER, MANIFEST

from inrcodec import errors
from inrcodec.bitstream.container import parse_container
from inrcodec.decoder import decode_bytes, parse_content
from inrcodec.errors import BitstreamError, ChecksumError, LimitExceededError, TruncatedError
from inrcodec.info import read_info
from inrcodec.limits import DEFAULT_LIMITS

EXPECTED = json.loads(MANIFEST.read_text())
MOST_BYTES = 20 << 20
SLOW_TO_TRACE = {"lanes_word_left", "lanes_last_state", "network_too_much_work"}
"""Read to the end of a stream of many lanes; their memory is that of those that end early."""


def test_the_corpus_is_complete() -> None:
    on_disk = {path.stem: path.read_bytes() for path in FOLDER.glob("*.moec")}
    assert on_disk == {name: case.data for name, case in CASES.items()}
    assert {
        name: {"error": case.error.__name__, "words": case.words, "info": case.info}
        for name, case in CASES.items()
    } == EXPECTED
    assert len(CASES) >= 40


@pytest.fixture(scope="module", autouse=True)
def what_stays() -> None:
    """Tables that are made once do not count as memory of the file that asks first."""
    for name in ("worked_example", "many_lanes"):
        decode_bytes((GOLDEN / f"{name}.moec").read_bytes(), device="cpu")


@pytest.mark.parametrize("name", EXPECTED)
def test_malformed_file(name: str) -> None:
    expected = EXPECTED[name]
    data = (FOLDER / f"{name}.moec").read_bytes()
    most = 0
    if name not in SLOW_TO_TRACE:
        tracemalloc.start()
    try:
        with pytest.raises(BitstreamError) as decoding:
            decode_bytes(data, device="cpu")
        if expected["info"]:
            with pytest.raises(BitstreamError) as reading:
                read_info(data)
            assert str(reading.value) == str(decoding.value)
        else:
            read_info(data).as_dict()
        if tracemalloc.is_tracing():
            _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(decoding.value) is getattr(errors, expected["error"])
    assert expected["words"] in str(decoding.value)
    assert len(str(decoding.value).splitlines()) == 1
    assert most < MOST_BYTES


def test_every_truncation_and_every_flipped_bit_is_noticed() -> None:
    data = (GOLDEN / "four_kilobytes.moec").read_bytes()
    assert 3900 < len(data) < 4100
    for damaged in chain(truncations(data), flips(data)):
        with pytest.raises(BitstreamError):
            parse_content(damaged)


def truncations(data: bytes) -> Iterator[bytes]:
    return (data[:length] for length in range(len(data)))


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_flipped_bits_behind_right_checksums() -> None:
    """An error, or the same voxels under another geometry: never other voxels."""
    original = (GOLDEN / "worked_example.moec").read_bytes()
    voxels = decode_bytes(original, device="cpu").data
    chunks = parse_container(original, DEFAULT_LIMITS)
    outcomes = set()
    for letter, payload in chunks.items():
        for flipped in flips(payload):
            pairs = [(chr(k), flipped if k == letter else v) for k, v in chunks.items()]
            try:
                decoded = decode_bytes(container(pairs), device="cpu").data
            except BitstreamError as error:
                outcomes.add(type(error))
            else:
                assert np.array_equal(decoded, voxels)
    assert outcomes == {BitstreamError, ChecksumError, LimitExceededError, TruncatedError}


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_starts_from(name: str) -> None:
    """Its targets accept inputs as they are now: some are read to the end, and no other error."""
    accepted = 0
    for data in seeds(name):
        try:
            TARGETS[name](data)
        except BitstreamError:
            continue
        accepted += 1
    assert accepted
