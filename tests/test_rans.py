"""The rANS coder: round trips, exact bytes, its overhead, and hostile streams."""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrcodec.entropy import rans
from inrcodec.entropy.distribution import MAX_WIRE, Distribution, fit_distribution
from inrcodec.entropy.rans import (
    PRECISION,
    FrequencyTable,
    lane_count,
    rans_decode,
    rans_encode,
)
from inrcodec.errors import BitstreamError, TruncatedError

GOLDEN_WEIGHTS = [3, -1, 0, 2, -4, 1, 0, 0, -1]
GOLDEN_COUNTS = [6, 3]
GOLDEN_WIRES = [61, 162]
GOLDEN_BYTES = bytes.fromhex("0e2ef34e2bf8")


def tables_of(wires: list[int]) -> list[FrequencyTable]:
    return [Distribution(wire).table() for wire in wires]


def with_lanes(lanes: int):  # type: ignore[no-untyped-def]
    """Code small streams the way large ones are; 0 keeps the rule of the format."""
    return mock.patch.object(rans, "lane_count", lambda _: lanes) if lanes else nullcontext()


@st.composite
def frequency_tables(draw: st.DrawFn) -> FrequencyTable:
    shares = draw(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=40))
    frequencies = 1 + np.array(shares, np.int64) * ((1 << PRECISION) - len(shares)) // max(
        1, sum(shares)
    )
    frequencies[draw(st.integers(0, len(shares) - 1))] += (1 << PRECISION) - frequencies.sum()
    return FrequencyTable(draw(st.integers(-50, 50)), frequencies)


@st.composite
def streams(draw: st.DrawFn) -> tuple[NDArray[np.int64], list[int], list[FrequencyTable]]:
    choices = draw(st.lists(frequency_tables(), min_size=1, max_size=3))
    tables = draw(st.lists(st.sampled_from(choices), max_size=5))
    segments = [
        draw(
            st.lists(
                st.integers(table.lowest, table.lowest + table.frequencies.size - 1), max_size=30
            )
        )
        for table in tables
    ]
    symbols = np.array([symbol for segment in segments for symbol in segment], np.int64)
    return symbols, [len(segment) for segment in segments], tables


@given(streams(), st.sampled_from([0, 2, 3, 7, 64]))
def test_round_trip(
    stream: tuple[NDArray[np.int64], list[int], list[FrequencyTable]], lanes: int
) -> None:
    symbols, counts, tables = stream
    with with_lanes(lanes):
        data = rans_encode(symbols, counts, tables)
        decoded = rans_decode(data, counts, tables)
    assert decoded.dtype == np.int32
    assert decoded.tolist() == symbols.tolist()


@given(streams(), st.sampled_from([0, 2, 7]), st.data())
def test_a_damaged_stream_is_an_error_or_other_symbols(
    stream: tuple[NDArray[np.int64], list[int], list[FrequencyTable]],
    lanes: int,
    data: st.DataObject,
) -> None:
    symbols, counts, tables = stream
    with with_lanes(lanes):
        good = rans_encode(symbols, counts, tables)
        bad = data.draw(
            st.binary(max_size=len(good) + 9)
            | st.integers(0, len(good)).map(lambda cut: good[:cut])
            | st.integers(0, max(0, 8 * len(good) - 1)).map(lambda bit: flip(good, bit))
        )
        try:
            decoded = rans_decode(bad, counts, tables)
        except BitstreamError:
            assert bad != good
            return
        # A stream that is accepted is the one that its symbols encode to.
        assert rans_encode(decoded, counts, tables) == bad


def flip(data: bytes, bit: int) -> bytes:
    if not data:
        return b"\1"
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def gaussian(count: int, spread: float, seed: int = 0) -> NDArray[np.int64]:
    return np.rint(np.random.default_rng(seed).normal(0, spread, count)).astype(np.int64)


@pytest.mark.parametrize("count", [0, 1, 2, 8191, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 270_337])
def test_lane_boundaries(count: int) -> None:
    weights = gaussian(count, 5)
    counts = [count // 3, 0, count - count // 3]
    tables = tables_of([80, 0, 90])
    data = rans_encode(weights, counts, tables)
    assert np.array_equal(rans_decode(data, counts, tables), weights)
    ideal = (
        Distribution(80).bits(weights[: counts[0]]) + Distribution(90).bits(weights[counts[0] :])
    ) / 8
    overhead = 4 if lane_count(count) == 1 else 8 * lane_count(count)
    assert ideal < len(data) + 2
    assert len(data) < ideal * 1.0005 + overhead


def test_lane_rule() -> None:
    assert [lane_count(n) for n in (0, 1, 262_143, 262_144, 270_336, 10_000_000)] == [
        1, 1, 1, 32, 33, 1220,
    ]  # fmt: skip


def test_every_distribution_round_trips_in_one_stream() -> None:
    tables = tables_of(list(range(MAX_WIRE + 1)))
    rng = np.random.default_rng(1)
    weights = np.concatenate(
        [rng.integers(table.lowest, 1 - table.lowest, 3, dtype=np.int64) for table in tables]
    )
    counts = [3] * len(tables)
    for lanes in (0, 16):
        with with_lanes(lanes):
            data = rans_encode(weights, counts, tables)
            assert np.array_equal(rans_decode(data, counts, tables), weights)


def test_zero_tensors_add_nothing() -> None:
    weights = gaussian(100, 5)
    counts, tables = [100], tables_of([80])
    padded = np.concatenate([np.zeros(500, np.int64), weights, np.zeros(10_000, np.int64)])
    data = rans_encode(padded, [500, 100, 10_000], tables_of([0, 80, 0]))
    assert data == rans_encode(weights, counts, tables)


@pytest.mark.parametrize("family", ["normal", "laplace"])
@pytest.mark.parametrize("spread", [1, 10, 100, 2000])
def test_overhead_on_5000_symbols(family: str, spread: int) -> None:
    rng = np.random.default_rng(spread)
    weights = np.rint(getattr(rng, family)(0, spread, 5000)).astype(np.int64)
    distribution = fit_distribution(weights)
    ideal = distribution.bits(weights) / 8
    assert len(rans_encode(weights, [5000], [distribution.table()])) < ideal * 1.003


def test_overhead_of_many_small_streams() -> None:
    overheads = []
    for seed in range(100):
        weights = gaussian(200, 12, seed)
        distribution = fit_distribution(weights)
        data = rans_encode(weights, [200], [distribution.table()])
        overheads.append(len(data) - distribution.bits(weights) / 8)
    assert np.mean(overheads) < 3
    assert max(overheads) < 4


def test_golden_bytes() -> None:
    weights, tables = np.array(GOLDEN_WEIGHTS), tables_of(GOLDEN_WIRES)
    assert rans_encode(weights, GOLDEN_COUNTS, tables) == GOLDEN_BYTES
    assert rans_decode(GOLDEN_BYTES, GOLDEN_COUNTS, tables).tolist() == GOLDEN_WEIGHTS


def test_golden_interleaved_stream() -> None:
    weights = np.arange(1 << 18) ** 2 % 19 - 9
    data = rans_encode(weights, [weights.size], tables_of([61]))
    assert (len(data), zlib.crc32(data)) == (305_520, 0xD1E59C44)  # docs/format.md
    assert data[:8] == bytes.fromhex("010000feffbfd500")


def test_interleaved_decoding_by_the_letter() -> None:
    """The steps of docs/format.md, one symbol at a time."""
    weights = gaussian(1000, 40)
    table = fit_distribution(weights).table()
    lanes = 7
    with with_lanes(lanes):
        data = rans_encode(weights, [1000], [table])
    ends = np.cumsum(table.frequencies)
    states = [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(lanes)]
    position = 8 * lanes
    decoded = []
    for i in range(1000):
        state = states[i % lanes]
        slot = state % (1 << 24)
        index = int(np.flatnonzero(ends > slot)[0])
        frequency = int(table.frequencies[index])
        state = frequency * (state >> 24) + slot - int(ends[index]) + frequency
        if state < 1 << 31:
            state = state << 32 | int.from_bytes(data[position : position + 4], "little")
            position += 4
        states[i % lanes] = state
        decoded.append(index + table.lowest)
    assert decoded == weights.tolist()
    assert position == len(data)
    assert states == [1 << 31] * lanes


@pytest.mark.parametrize("cut", range(len(GOLDEN_BYTES)))
def test_cut_anywhere(cut: int) -> None:
    with pytest.raises(BitstreamError):
        rans_decode(GOLDEN_BYTES[:cut], GOLDEN_COUNTS, tables_of(GOLDEN_WIRES))


def test_cut_anywhere_with_lanes() -> None:
    weights, tables = gaussian(40, 100), tables_of([80])
    with with_lanes(2):
        data = rans_encode(weights, [40], tables)
        assert len(data) > 16 + 2 * 4
        for cut in range(len(data)):
            with pytest.raises(TruncatedError):
                rans_decode(data[:cut], [40], tables)


@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize("tail", [b"\0", b"\1", b"\0" * 4, b"\xff" * 4, b"\0" * 8])
def test_bytes_after_the_end(tail: bytes, lanes: int) -> None:
    weights, tables = np.array(GOLDEN_WEIGHTS), tables_of(GOLDEN_WIRES)
    with with_lanes(lanes):
        data = rans_encode(weights, GOLDEN_COUNTS, tables)
        with pytest.raises(BitstreamError):
            rans_decode(data + tail, GOLDEN_COUNTS, tables)


def test_bytes_without_symbols() -> None:
    assert rans_encode(np.empty(0, np.int8), [], []) == b""
    assert rans_decode(b"", [], []).shape == (0,)
    with pytest.raises(BitstreamError):
        rans_decode(b"\0", [0], tables_of([61]))


def test_a_leading_zero_byte_is_refused() -> None:
    with pytest.raises(BitstreamError):
        rans_decode(b"\0" + GOLDEN_BYTES, GOLDEN_COUNTS, tables_of(GOLDEN_WIRES))
    # Zeros alone leave the first state as it was.
    assert rans_decode(b"\x10\0", [5], tables_of([0])).tolist() == [0] * 5
    with pytest.raises(BitstreamError):
        rans_decode(b"\0\x10\0", [5], tables_of([0]))


@pytest.mark.parametrize("state", [0, (1 << 31) - 1, 1 << 63, (1 << 64) - 1])
def test_state_out_of_range(state: int) -> None:
    with with_lanes(2), pytest.raises(BitstreamError, match="range"):
        rans_decode(state.to_bytes(8, "little") * 2, [4], tables_of([61]))


@settings(max_examples=20)
@given(st.binary(max_size=64), st.integers(0, 300))
def test_noise_never_crashes_a_large_stream(noise: bytes, extra: int) -> None:
    count = (1 << 18) + extra
    with pytest.raises(BitstreamError):
        rans_decode(noise, [count], tables_of([61]))


def test_wrong_arguments() -> None:
    table = Distribution(61).table()
    with pytest.raises(ValueError, match="alphabet"):
        rans_encode(np.array([10]), [1], [table])
    with pytest.raises(ValueError, match="alphabet"):
        rans_encode(np.array([-10]), [1], [table])
    with pytest.raises(ValueError, match="expected"):
        rans_encode(np.array([1, 2]), [1], [table])
    with pytest.raises(ValueError, match="counts"):
        rans_decode(b"", [1, 2], [table])


@pytest.mark.parametrize(
    "frequencies",
    [
        np.array([1 << 24], np.int32),
        np.array([[1 << 24]], np.int64),
        np.empty(0, np.int64),
        np.array([0, 1 << 24], np.int64),
        np.array([1, 1 << 24], np.int64),
        np.array([-1, (1 << 24) + 1], np.int64),
    ],
)
def test_malformed_tables(frequencies: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="frequencies"):
        FrequencyTable(0, frequencies)
