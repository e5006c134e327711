"""The weight distributions: exact tables, the search over them, and their wire byte."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.entropy.distribution import (
    MAX_MAGNITUDE,
    MAX_WIRE,
    Distribution,
    fit_distribution,
)
from inrcodec.entropy.rans import PRECISION
from inrcodec.errors import BitstreamError


def reference_frequencies(wire: int) -> list[int]:
    """The rule of docs/format.md in plain Python integers, k = 0..K."""
    exp2 = []
    for i in range(256):
        root = 1 << (6144 - i)
        for _ in range(8):
            root = math.isqrt(root)
        assert root**256 <= 1 << (6144 - i) < (root + 1) ** 256
        exp2.append(root)
    weights = []
    if wire == 0:
        weights = [1 << 24]
    else:
        shape, scale = divmod(wire - 1, 51)
        octave, quarter = divmod(scale + (-1, -5, -7, -10, -24)[shape], 4)
        k = 0
        while True:
            t = (k * exp2[64 * quarter]) >> (12 + octave)
            if shape == 0:
                t = (t * t) >> 12
                t = (t * t) >> 12
                e = (t * t) >> 16
            elif shape == 1:
                e = (t * t) >> 16
            elif shape == 2:
                e = math.isqrt((t**3) >> 20)
            elif shape == 3:
                e = t >> 4
            else:
                e = math.isqrt(t << 4)
            weight = exp2[e % 256] >> (e // 256)
            if not weight:
                break
            weights.append(weight)
            k += 1
    support = len(weights) - 1
    total = weights[0] + 2 * sum(weights[1:])
    rest = (1 << 24) - (2 * support + 1)
    frequencies, running, floor = [], 0, 0
    for weight in weights[1:]:
        running += weight
        frequencies.append(1 + running * rest // total - floor)
        floor = running * rest // total
    return [(1 << 24) - 2 * sum(frequencies), *frequencies]


@pytest.mark.parametrize(
    "wire", [*range(0, MAX_WIRE, 17), 51, 52, 102, 103, 153, 154, 200, 204, 205]
)
def test_frequencies_follow_the_format(wire: int) -> None:
    distribution = Distribution(wire)
    half = reference_frequencies(wire)
    assert distribution.support == len(half) - 1
    assert distribution.frequencies().tolist() == half[:0:-1] + half


def test_every_table_is_complete_symmetric_and_frozen() -> None:
    checksum = 0
    for wire in range(MAX_WIRE + 1):
        distribution = Distribution(wire)
        frequencies = distribution.frequencies()
        assert frequencies.shape == (2 * distribution.support + 1,)
        assert frequencies.min() >= 1
        assert frequencies.sum() == 1 << PRECISION
        assert np.array_equal(frequencies, frequencies[::-1])
        with pytest.raises(ValueError, match="read-only"):
            frequencies[0] = 0
        checksum = zlib.crc32(frequencies.astype("<u4").tobytes(), checksum)
    assert checksum == 0x29E45A8B  # docs/format.md; changing it breaks every file
    assert max(Distribution(wire).support for wire in range(MAX_WIRE + 1)) == MAX_MAGNITUDE


def test_worked_frequencies() -> None:
    assert Distribution(61).frequencies()[9:].tolist() == [
        3940284, 3313369, 1970142, 828343, 246268, 51772, 7697, 810, 61, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("wire", [-1, 256, 1 << 40])
def test_unknown_wire_byte(wire: int) -> None:
    with pytest.raises(BitstreamError, match="distribution"):
        Distribution(wire)


@pytest.mark.parametrize("shape", [(0,), (1,), (1000,), (30, 40)])
def test_zeros_are_free(shape: tuple[int, ...]) -> None:
    zeros = np.zeros(shape, np.int8)
    assert fit_distribution(zeros) == Distribution(0)
    assert Distribution(0).bits(zeros) == 0


def test_bits_match_the_table() -> None:
    distribution = Distribution(61)
    values = np.array([[0, -3], [9, 1]], np.int16)
    table = distribution.bits_table()
    assert table.shape == (10,)
    assert distribution.bits(values) == pytest.approx(table[0] + table[3] + table[9] + table[1])
    assert distribution.bits(np.array([10])) == math.inf
    assert distribution.bits(np.array([-(1 << 62)])) == math.inf


@given(
    st.lists(
        st.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE) | st.integers(-600, 600) | st.integers(-3, 3),
        max_size=30,
    )
)
def test_fit_is_the_best_of_all(values: list[int]) -> None:
    array = np.array(values, np.int64)
    best = min(Distribution(wire).bits(array) for wire in range(MAX_WIRE + 1))
    assert fit_distribution(array).bits(array) == pytest.approx(best)
    assert math.isfinite(best)


@pytest.mark.parametrize(
    "value", [MAX_MAGNITUDE + 1, -MAX_MAGNITUDE - 1, -(1 << 63), (1 << 63) - 1]
)
def test_too_large_a_weight(value: int) -> None:
    with pytest.raises(ValueError, match="magnitude"):
        fit_distribution(np.array([0, value]))


def test_narrow_dtypes_do_not_wrap() -> None:
    values = np.array([-128, 127, 0], np.int8)
    assert fit_distribution(values) == fit_distribution(values.astype(np.int64))


@pytest.mark.parametrize("spread", [4, 30, 250, 2000])
@pytest.mark.parametrize(("family", "entropy"), [("normal", 2.0471), ("laplace", 1.9427)])
def test_samples_cost_close_to_their_entropy(family: str, entropy: float, spread: int) -> None:
    rng = np.random.default_rng(spread)
    unit = rng.normal(size=5000) if family == "normal" else rng.laplace(0, 0.5**0.5, 5000)
    values = np.rint(spread * unit).astype(np.int64)
    # The differential entropy in bits of the family at that standard deviation, sampled.
    if family == "normal":
        ideal = np.sum(math.log2(spread * math.sqrt(2 * math.pi)) + unit**2 / 2 / math.log(2))
    else:
        ideal = np.sum(math.log2(spread * math.sqrt(2)) + np.abs(unit) * 2**0.5 / math.log(2))
    assert ideal / 5000 == pytest.approx(entropy + math.log2(spread), abs=0.05)
    assert fit_distribution(values).bits(values) / 5000 < ideal / 5000 + 0.05
