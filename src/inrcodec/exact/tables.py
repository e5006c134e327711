"""The two tables of the exact arithmetic, made by integers alone (docs/format.md, "Tables").

A table that came out wrong would change voxels, so its CRC-32 is part of the format and checked.
"""

from __future__ import annotations

import functools
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.quantization import ACTIVATION_BITS, PHASE_BITS

BLEND_BITS = 16
"""Weights of the two experts of a blend are multiples of 2**-16."""

BLEND_STEP_BITS = 8
"""The blend's table has an entry for each 2**-8 between the two logits."""

BLEND_ENTRIES = 3072
"""The last of them are 0: beyond, the second expert has no weight."""

_SINE_CRC = 0x1C69656F
_BLEND_CRC = 0x66B02EC9

# More bits than any entry needs to be told from its neighbour.
_BITS = 80
_ONE = 1 << _BITS
_TWO_PI = 0x6487ED5110B4611A62633


@functools.cache
def sine_table() -> NDArray[np.int16]:
    """2**12 sin(2 pi (i + 1/2) / 2**14), rounded to the nearest -> (2**14,) int16.

    Phases stand for the middle of their step, so that rounding them down has no bias.
    """
    quarter = 1 << (PHASE_BITS - 2)
    rise = [_scaled_sine(2 * i + 1) for i in range(quarter)]
    half = rise + rise[::-1]
    table = np.array(half + [-value for value in half], np.int16)
    _check(table, _SINE_CRC)
    return table


@functools.cache
def blend_table() -> NDArray[np.int32]:
    """2**16 / (1 + exp((i + 1/2) / 2**8)), rounded to the nearest -> (3072,) int32.

    The weight of the second expert by the difference of the two logits.
    """
    step = 1 << (BLEND_STEP_BITS + 1)
    half_step = _exponential(_ONE // step)
    full_step = half_step * half_step >> _BITS
    power, entries = half_step, []
    for _ in range(BLEND_ENTRIES):
        divisor = _ONE + power
        entries.append(((_ONE << (BLEND_BITS + 1)) + divisor) // (2 * divisor))
        power = power * full_step >> _BITS
    table = np.array(entries, np.int32)
    _check(table, _BLEND_CRC)
    return table


def _scaled_sine(odd: int) -> int:
    """2**12 sin(2 pi odd / 2**15) to the nearest, for an angle in the first quarter."""
    angle = _TWO_PI * odd >> (PHASE_BITS + 1)
    square = angle * angle >> _BITS
    term = total = angle
    n = 1
    while term:
        term = term * square // ((n + 1) * (n + 2)) >> _BITS
        n += 2
        total += -term if n & 2 else term
    return (total + (_ONE >> (ACTIVATION_BITS + 1))) >> (_BITS - ACTIVATION_BITS)


def _exponential(x: int) -> int:
    """exp(x), both in units of 2**-80."""
    term = total = _ONE
    n = 0
    while term:
        n += 1
        term = (term * x >> _BITS) // n
        total += term
    return total


def _check(table: NDArray[Any], crc: int) -> None:
    if zlib.crc32(table.astype("<i4").tobytes()) != crc:
        raise AssertionError("a table of the format came out wrong: this Python is broken")
    table.flags.writeable = False
