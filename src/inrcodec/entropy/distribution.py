"""The distributions of quantized weights that the format knows, each named by one byte.

A distribution is a generalized Gaussian over the integers, p(k) ~ 2^-(|k| / s)^p, where s is the
magnitude at which the probability has halved. Five exponents p (uniform-like to sparse) and 51
scales s, four an octave, fill the byte; zero is the distribution of a tensor of zeros. The
frequencies are defined by integer arithmetic alone (docs/format.md, section "Entropy coding").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.rans import PRECISION, FrequencyTable
from inrcodec.errors import BitstreamError

_IntArray = NDArray[np.int64]

_SCALES = 51


def _floor_sqrt(value: _IntArray) -> _IntArray:
    # Exact below 2^52: a correctly rounded square root cannot reach the next integer there.
    return np.floor(np.sqrt(value.astype(np.float64))).astype(np.int64)


def _eighth_power(ratio: _IntArray) -> _IntArray:
    square = ratio * ratio >> 12
    fourth = square * square >> 12
    return fourth * fourth >> 16


@dataclass(frozen=True, slots=True)
class _Shape:
    """One exponent of the family.

    ``surprisal`` maps |k| / s, in units of 2^-12, to its power, in units of 2^-8 bit.
    ``first_scale`` is log2 of the smallest s in quarters; ``reach`` bounds |k| / s in the support.
    """

    exponent: float
    surprisal: Callable[[_IntArray], _IntArray]
    first_scale: int
    reach: int


_SHAPES = (
    _Shape(8.0, _eighth_power, -1, 2),
    _Shape(2.0, lambda ratio: ratio * ratio >> 16, -5, 5),
    _Shape(1.5, lambda ratio: _floor_sqrt(ratio * ratio * ratio >> 20), -7, 9),
    _Shape(1.0, lambda ratio: ratio >> 4, -10, 25),
    _Shape(0.5, lambda ratio: _floor_sqrt(ratio << 4), -24, 625),
)

MAX_WIRE = len(_SHAPES) * _SCALES
"""The largest byte that names a distribution."""

MAX_MAGNITUDE = 52_150
"""The widest support of any distribution: no weight is coded beyond it."""


def _exp2_table() -> _IntArray:
    """floor(2^24 * 2^(-i / 256)) for i = 0..255: eight nested integer square roots."""
    table = []
    for i in range(256):
        value = 1 << (PRECISION * 256 - i)
        for _ in range(8):
            value = math.isqrt(value)
        table.append(value)
    return np.array(table, np.int64)


_EXP2 = _exp2_table()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities of the integers -support..support, symmetric around zero.

    ``wire`` is the byte that names it in the file: 0 for "all zero", else
    ``1 + 51 * shape + scale``. Raises BitstreamError if it is none of these.
    """

    wire: int

    def __post_init__(self) -> None:
        if not 0 <= self.wire <= MAX_WIRE:
            raise BitstreamError(f"{self.wire} names no weight distribution: damaged file")

    @property
    def support(self) -> int:
        """The largest magnitude that can be coded."""
        return self.table().frequencies.size // 2

    def frequencies(self) -> NDArray[np.int64]:
        """Frequencies of -support..support, shape (2 * support + 1,), summing to 2^PRECISION."""
        return self.table().frequencies

    def table(self) -> FrequencyTable:
        """The table for the entropy coder; equal distributions share one."""
        return _table(self.wire)

    def bits_table(self) -> NDArray[np.float64]:
        """Ideal code length of each magnitude 0..support in bits, shape (support + 1,)."""
        return _bits_table(self.wire)

    def bits(self, values: NDArray[np.integer]) -> float:
        """Ideal code length of ``values`` (any shape) in bits; inf if one is out of support."""
        if _largest_magnitude(values) > self.support:
            return math.inf
        counts = _magnitude_counts(values)
        return float(counts @ self.bits_table()[: counts.size])


def fit_distribution(values: NDArray[np.integer]) -> Distribution:
    """The distribution that codes ``values`` (any shape) in the fewest bits.

    Every distribution costs the same byte in the file, so the search is over all of them.
    Raises ValueError for a magnitude above MAX_MAGNITUDE.
    """
    largest = _largest_magnitude(values)
    if largest > MAX_MAGNITUDE:
        raise ValueError(f"no distribution reaches magnitude {largest}: quantize more coarsely")
    counts = _magnitude_counts(values)
    if counts.size <= 1:
        return Distribution(0)
    if counts.size <= _DENSE:
        costs = _dense_bits()[:, : counts.size] @ counts
        return Distribution(int(np.argmin(costs)))
    # Few tensors come here; only the magnitudes that occur are looked up.
    magnitudes = np.flatnonzero(counts)
    occurrences = counts[magnitudes]
    best, wire = math.inf, 0
    for candidate in range(1, MAX_WIRE + 1):
        table = _bits_table(candidate)
        if table.size >= counts.size and (cost := float(table[magnitudes] @ occurrences)) < best:
            best, wire = cost, candidate
    return Distribution(wire)


_DENSE = 512  # magnitudes below this are searched in one matrix product


@cache
def _dense_bits() -> NDArray[np.float64]:
    """Bits of the magnitudes 0.._DENSE - 1 under every wire byte, prohibitive past its support."""
    dense = np.full((MAX_WIRE + 1, _DENSE), 1e12)
    for wire in range(MAX_WIRE + 1):
        bits = _bits_table(wire)[:_DENSE]
        dense[wire, : bits.size] = bits
    return dense


@cache
def _bits_table(wire: int) -> NDArray[np.float64]:
    frequencies = _table(wire).frequencies
    bits = PRECISION - np.log2(frequencies[frequencies.size // 2 :])
    bits.setflags(write=False)
    return bits


@cache
def _table(wire: int) -> FrequencyTable:
    weights = _weights(wire)
    support = weights.size - 1
    # One count each, and the rest in proportion: rounding the running sum loses no count.
    rest = (1 << PRECISION) - (2 * support + 1)
    running = np.cumsum(weights) - weights[0]
    total = int(weights[0] + 2 * running[-1])
    half = 1 + np.diff(running * rest // total)
    zero = (1 << PRECISION) - 2 * int(half.sum())
    frequencies = np.concatenate([half[::-1], [zero], half])
    frequencies.setflags(write=False)
    return FrequencyTable(-support, frequencies)


def _weights(wire: int) -> _IntArray:
    """2^24 * 2^-(k / s)^p rounded down for k = 0.., as far as it is not zero."""
    if wire == 0:
        return _EXP2[:1]
    index, scale = divmod(wire - 1, _SCALES)
    shape = _SHAPES[index]
    octave, quarter = divmod(shape.first_scale + scale, 4)
    bound = (shape.reach << (octave + 7) >> 6) + 2
    ratio = np.arange(bound) * _EXP2[64 * quarter] >> (12 + octave)
    surprisal = shape.surprisal(ratio)
    weights: _IntArray = _EXP2[surprisal & 0xFF] >> np.minimum(surprisal >> 8, PRECISION + 1)
    return weights[: np.count_nonzero(weights)]


def _largest_magnitude(values: NDArray[np.integer]) -> int:
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _magnitude_counts(values: NDArray[np.integer]) -> _IntArray:
    counts: _IntArray = np.bincount(np.abs(values.reshape(-1).astype(np.int64)))
    return counts
