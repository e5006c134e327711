"""The rate parameter at which a codec just fits into the bytes it may use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

TOLERANCE = 0.01
"""A file that leaves at most this share of its bytes unused is close enough."""

_RESOLUTION = 2.0**-10
"""Parameters closer than this share of their range are not told apart."""

_MOST_TRIALS = 14
"""Encodes that one target may take; a smooth codec needs four or five."""

_TRIALS_BELOW = 5
"""After as many that are all too small, the finest parameter is tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One encode, and the seconds it took."""

    parameter: float
    data: bytes
    seconds: float


class RateSearch:
    """A codec's sizes as a function of its parameter, explored where targets ask for it.

    ``encode`` is called with parameters between ``coarsest`` (fewest bytes) and ``finest``, either
    of which may be the larger number; the logarithm of the size should be about linear between
    them. It need not be smooth, nor monotone: what is returned was encoded, and fits.
    """

    def __init__(
        self,
        encode: Callable[[float], bytes],
        coarsest: float,
        finest: float,
        largest: int,
    ) -> None:
        """``largest``: bytes that are expected at ``finest``, which is not tried for that."""
        self._encode = encode
        self._coarsest, self._finest = coarsest, finest
        self._largest = largest
        self._trials: dict[float, Trial] = {}

    def within(self, size: int) -> Trial | None:
        """The trial of most bytes that has at most ``size``; None where even the coarsest has more.

        It has at least 1 - TOLERANCE of them, unless the codec jumps over that or ends before.
        """
        self._try(0.0)
        if self.smallest() > size:
            return None
        goal = math.log(size * (1 - TOLERANCE / 2))
        for number in range(_MOST_TRIALS):
            low = self._best(size)
            if len(self._trials[low].data) >= size * (1 - TOLERANCE):
                break
            above = [
                at for at, trial in self._trials.items() if at > low and len(trial.data) > size
            ]
            high = min(above, default=1.0)
            if high - low < _RESOLUTION or low == 1.0:
                break
            most = len(self._trials[high].data) if above else max(self._largest, size + 1)
            start, end = (math.log(max(n, 1)) for n in (len(self._trials[low].data), most))
            share = (goal - start) / (end - start)
            # Interpolation alone creeps along a curve; every third trial halves the bracket.
            share = 0.5 if number % 3 == 2 else min(max(share, 0.02), 0.98)
            # What never exceeds the size may do so nowhere.
            ends = not above and number >= _TRIALS_BELOW
            self._try(1.0 if ends else low + share * (high - low))
        return self._trials[self._best(size)]

    def smallest(self) -> int:
        """Bytes of the smallest trial so far."""
        return min(len(trial.data) for trial in self._trials.values())

    def _best(self, size: int) -> float:
        """Where the trial of most bytes within ``size`` lies, 0 (coarsest) to 1 (finest)."""
        fitting = [at for at, trial in self._trials.items() if len(trial.data) <= size]
        return max(fitting, key=lambda at: (len(self._trials[at].data), at))

    def _try(self, at: float) -> None:
        if at in self._trials:
            return
        parameter = (1 - at) * self._coarsest + at * self._finest  # either end to the bit
        begin = time.perf_counter()
        data = self._encode(parameter)
        self._trials[at] = Trial(parameter, data, time.perf_counter() - begin)
