"""Range asymmetric numeral systems (rANS): symbols to bytes and back, by integers alone.

docs/format.md, section "Entropy coding", defines the stream. A short stream is one state that is
renormalized by bytes, so that no byte is wasted; a long one interleaves many states renormalized by
32-bit words, which numpy advances together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import BitstreamError, TruncatedError

PRECISION = 24
"""Every frequency table sums to ``2**PRECISION``."""

_SLOTS = (1 << PRECISION) - 1
_LOWER = 1 << 31  # a renormalized state is in [2^31, 2^31 * base of the units)
_SEED = 1 << 12  # first state of a single lane: one that the tables spread over for free
_SINGLE_LANE_SYMBOLS = 1 << 18
_SYMBOLS_PER_LANE_LOG2 = 13
_RUN_LOG2 = 8


@dataclass(frozen=True, slots=True, eq=False)
class FrequencyTable:
    """An alphabet of consecutive integers and how often each of them is expected.

    ``lowest`` is the first symbol; ``frequencies``, int64 of shape (symbols,), are all at least 1
    and sum to ``2**PRECISION``. Raises ValueError otherwise. Tables compare by identity.
    """

    lowest: int
    frequencies: NDArray[np.int64]

    def __post_init__(self) -> None:
        frequencies = self.frequencies
        if frequencies.ndim != 1 or frequencies.dtype != np.int64:
            raise ValueError("frequencies must be a one-dimensional int64 array")
        if not frequencies.size or frequencies.min() < 1 or frequencies.sum() != 1 << PRECISION:
            raise ValueError(f"frequencies must be at least 1 and sum to 2^{PRECISION}")


def lane_count(symbols: int) -> int:
    """Number of interleaved states in a stream of that many symbols."""
    return 1 if symbols < _SINGLE_LANE_SYMBOLS else symbols >> _SYMBOLS_PER_LANE_LOG2


def rans_encode(
    symbols: NDArray[np.integer], counts: Sequence[int], tables: Sequence[FrequencyTable]
) -> bytes:
    """Code ``symbols``, shape (n,): the first ``counts[0]`` by ``tables[0]``, and so on.

    The counts sum to n. Raises ValueError where a symbol is not in its table's alphabet.
    """
    segments = _Segments(counts, tables)
    rows = segments.rows_of(symbols)
    if not rows.size:
        return b""
    lanes = lane_count(rows.size)
    if lanes == 1:
        return _encode_single(rows, segments)
    return _encode_interleaved(rows, lanes, segments)


def rans_decode(
    data: bytes, counts: Sequence[int], tables: Sequence[FrequencyTable]
) -> NDArray[np.int32]:
    """The symbols, int32 of shape (sum of counts,), that `rans_encode` made ``data`` from.

    Work and memory are bounded by the counts, which the caller checks against its limits.
    Raises BitstreamError where ``data`` is not the coding of any such symbols.
    """
    total = _total(counts, tables)
    if not total and data:
        raise BitstreamError("the entropy-coded stream has bytes but no symbols: damaged file")
    if not total:
        return np.empty(0, np.int32)
    lanes = lane_count(total)
    if lanes == 1:
        return _decode_single(data, counts, tables)
    return _decode_interleaved(data, lanes, counts, tables)


def _total(counts: Sequence[int], tables: Sequence[FrequencyTable]) -> int:
    """Number of symbols of all segments."""
    if len(counts) != len(tables):
        raise ValueError(f"{len(counts)} counts for {len(tables)} tables")
    return sum(counts)


class _Segments:
    """The distinct tables end to end, one row a (table, symbol), and which segment uses which."""

    def __init__(self, counts: Sequence[int], tables: Sequence[FrequencyTable]) -> None:
        self.total = _total(counts, tables)
        self.counts = np.array(counts, np.int64)
        distinct = list(dict.fromkeys(tables))
        position = {table: index for index, table in enumerate(distinct)}
        self.table_of = np.array([position[table] for table in tables], np.int32)
        sizes = np.array([table.frequencies.size for table in distinct], np.int64)
        self.first_row = np.cumsum(sizes) - sizes
        self.lowest = np.array([table.lowest for table in distinct], np.int64)
        self.frequencies = np.concatenate(
            [np.empty(0, np.int64), *(table.frequencies for table in distinct)]
        )
        self.bounds = np.cumsum(self.frequencies) - self.frequencies

    def rows_of(self, symbols: NDArray[np.integer]) -> NDArray[np.int32]:
        """The row of every symbol, shape (n,)."""
        if symbols.shape != (self.total,):
            raise ValueError(f"{self.total} symbols expected, got shape {symbols.shape}")
        index = symbols - np.repeat(self.lowest[self.table_of], self.counts)
        sizes = np.diff(self.first_row, append=self.frequencies.size)[self.table_of]
        if np.any(index < 0) or np.any(index >= np.repeat(sizes, self.counts)):
            raise ValueError("a symbol is outside its table's alphabet")
        rows = index + np.repeat(self.first_row[self.table_of], self.counts)
        return rows.astype(np.int32)


def _encode_single(rows: NDArray[np.int32], segments: _Segments) -> bytes:
    frequencies = segments.frequencies[rows].tolist()
    starts = (segments.bounds[rows] & _SLOTS).tolist()
    out = bytearray()
    state = _SEED
    for frequency, start in zip(reversed(frequencies), reversed(starts), strict=True):
        while state >> (39 - PRECISION) >= frequency:
            out.append(state & 0xFF)
            state >>= 8
        quotient, remainder = divmod(state, frequency)
        state = (quotient << PRECISION) + remainder + start
    while state:
        out.append(state & 0xFF)
        state >>= 8
    out.reverse()
    return bytes(out)


def _decode_single(
    data: bytes, counts: Sequence[int], tables: Sequence[FrequencyTable]
) -> NDArray[np.int32]:
    symbols = np.empty(sum(counts), np.int32)
    position = done = 0
    end = len(data)
    state = 0
    while state < _LOWER and position < end:
        state = state << 8 | data[position]
        position += 1
    for count, table in zip(counts, tables, strict=True):
        # Lists of one table at a time: those of all of the widest would take 100 MB.
        starts = (np.cumsum(table.frequencies) - table.frequencies).tolist()
        frequencies = table.frequencies.tolist()
        decoded = []
        for _ in range(count):
            slot = state & _SLOTS
            index = bisect_right(starts, slot) - 1
            decoded.append(index)
            state = frequencies[index] * (state >> PRECISION) + slot - starts[index]
            while state < _LOWER and position < end:
                state = state << 8 | data[position]
                position += 1
        symbols[done : done + count] = decoded
        symbols[done : done + count] += table.lowest
        done += count
    if position != end or state != _SEED or data[:1] == b"\0":
        raise BitstreamError(
            "the entropy-coded stream does not return to its first state: damaged or cut file"
        )
    return symbols


def _encode_interleaved(rows: NDArray[np.int32], lanes: int, segments: _Segments) -> bytes:
    frequencies = segments.frequencies
    starts = segments.bounds & _SLOTS
    states = np.full(lanes, _LOWER, np.int64)
    steps: list[NDArray[np.uint32]] = []  # the words of one step, last step first
    for begin in range((rows.size - 1) // lanes * lanes, -1, -lanes):
        row = rows[begin : begin + lanes]
        state = states[: row.size]
        frequency = frequencies[row]
        full = (state >> (63 - PRECISION) >= frequency).nonzero()[0]
        spilled = state[full]
        steps.append(spilled.astype("<u4"))
        state[full] = spilled >> 32
        # quotient * 2^24 + remainder, with the remainder as state - quotient * frequency
        state += (state // frequency) * ((1 << PRECISION) - frequency) + starts[row]
    steps.reverse()
    return states.astype("<u8").tobytes() + np.concatenate(steps).tobytes()


def _decode_interleaved(
    data: bytes, lanes: int, counts: Sequence[int], tables: Sequence[FrequencyTable]
) -> NDArray[np.int32]:
    header = 8 * lanes
    if len(data) < header or len(data) % 4:
        raise TruncatedError("the entropy-coded stream ends inside a state or word: cut file")
    initial = np.frombuffer(data, "<u8", lanes)
    if initial.min() < _LOWER or initial.max() >= _LOWER << 32:
        raise BitstreamError("a state of the entropy-coded stream is out of range: damaged file")
    states = initial.astype(np.int64)
    words = np.frombuffer(data, "<u4", offset=header)
    symbols = np.empty(sum(counts), np.int32)
    position = begin = 0
    for count, table in zip(counts, tables, strict=True):
        # One table at a time: the lookups of all of the widest would take 100 MB.
        lookup = _Lookup(table)
        last = begin + count
        while begin < last:
            lane = begin % lanes
            end = min(last, begin - lane + lanes)
            state = states[lane : lane + end - begin]
            symbols[begin:end] = lookup.step(state)
            symbols[begin:end] += table.lowest
            empty = (state < _LOWER).nonzero()[0]
            refill = words[position : position + empty.size]
            if refill.size < empty.size:
                raise TruncatedError(
                    "the entropy-coded stream ends before its last symbol: cut file"
                )
            state[empty] = state[empty] << 32 | refill
            position += empty.size
            begin = end
    if position != words.size or np.any(states != _LOWER):
        raise BitstreamError(
            "the entropy-coded stream does not return to its first state: damaged file"
        )
    return symbols


class _Lookup:
    """A table by slot: the index of the symbol that owns it, found for many states together."""

    def __init__(self, table: FrequencyTable) -> None:
        self.frequencies = table.frequencies
        self.ends = np.cumsum(table.frequencies)
        self.starts = self.ends - table.frequencies
        # The index at the start of each run of 256 slots: it is that of most slots of the run.
        runs = np.arange(0, 1 << PRECISION, 1 << _RUN_LOG2)
        self.index_of_run: NDArray[np.int64] = self.ends.searchsorted(runs, "right")

    def step(self, state: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take one symbol out of every state, in place; their indices in the alphabet."""
        slot = state & _SLOTS
        index: NDArray[np.int64] = self.index_of_run[slot >> _RUN_LOG2]
        further = (self.ends[index] <= slot).nonzero()[0]
        index[further] = self.ends.searchsorted(slot[further], "right")
        state >>= PRECISION
        state *= self.frequencies[index]
        state += slot - self.starts[index]
        return index
