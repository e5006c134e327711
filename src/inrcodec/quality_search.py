"""The smallest file of a wanted quality.

Quality grows about linearly with the logarithm of the size, by 1 to 3.5 dB an octave, so the next
size follows from the line through the two nearest. Drafts, fitted quickly, find about where to be;
a full fit then gives a file that is good enough, and what it is too good by is taken from it by
coarser steps of the same fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")
Coded = TypeVar("Coded")

TOLERANCE = 0.1
"""dB above the goal that a file may be."""

_DRAFT_TOLERANCE = 0.5
_MARGIN = 0.04
"""dB above the goal that is aimed at: to fall short costs another fit."""

_USUAL_SLOPE, _FLATTEST, _STEEPEST = 2.5, 0.7, 6.0
"""dB an octave."""

_FLATTENS = 1.25
"""How much steeper the line through two sizes may be than the curve behind both."""

_GAIN = 0.5
"""dB that a full fit is expected to have over a draft of its size."""

_MOST_DRAFTS = 4
_MOST_FITS = 5
_MOST_CODINGS = 4


class UnreachedError(Exception, Generic[Coded]):
    """No file tried is good enough: ``coded`` has the most, ``quality`` dB."""

    def __init__(self, quality: float, coded: Coded) -> None:
        super().__init__(quality)
        self.quality, self.coded = quality, coded


@dataclass(frozen=True)
class Stages(Generic[State, Coded]):
    """What an encoder does: ``fit`` and ``draft``, where that is quicker, take a size in bytes,
    ``code`` what they made and a size, and gives a file of at most that size with its quality in
    dB. ``time_left`` tells whether there is time for another of them."""

    fit: Callable[[int], State]
    draft: Callable[[int], State] | None
    code: Callable[[State, int], tuple[float, Coded]]
    time_left: Callable[[], bool] = lambda: True


def smallest(goal: float, stages: Stages[State, Coded], first: int, least: int, most: int) -> Coded:
    """A file of ``goal`` dB or more, at most `TOLERANCE` above if that can be, of between ``least``
    and ``most`` bytes; ``first`` is the size to begin with. When time is over, the smallest so far.
    Raises `UnreachedError`."""
    return _Search(goal, stages, least, most).run(min(max(first, least), most))


@dataclass(frozen=True)
class _Trial(Generic[State, Coded]):
    size: int
    quality: float
    state: State
    coded: Coded


class _Search(Generic[State, Coded]):
    """Where a search stands: the best of either kind so far."""

    def __init__(self, goal: float, stages: Stages[State, Coded], least: int, most: int) -> None:
        self._goal, self._stages = goal, stages
        self._least, self._most = least, most
        self._draft: _Trial[State, Coded] | None = None
        self._fit: _Trial[State, Coded] | None = None

    def run(self, size: int) -> Coded:
        slope = _USUAL_SLOPE
        if self._stages.draft is not None:
            size, slope = self._drafted(self._stages.draft, size)
        self._fitted(size, slope)
        best = self._fit
        if best is None or best.quality < self._goal:
            best = self._better(best, self._draft)
        assert best is not None
        if best.quality < self._goal:
            raise UnreachedError(best.quality, best.coded)
        return self._trimmed(best, slope)

    def _better(
        self, one: _Trial[State, Coded] | None, other: _Trial[State, Coded] | None
    ) -> _Trial[State, Coded] | None:
        """The smaller of two that are good enough, or else the one of more quality."""
        if one is None or other is None:
            return one or other
        if min(one.quality, other.quality) >= self._goal:
            return min(one, other, key=lambda trial: trial.size)
        return max(one, other, key=lambda trial: trial.quality)

    def _try(self, state: State, size: int) -> _Trial[State, Coded]:
        quality, coded = self._stages.code(state, size)
        return _Trial(size, quality, state, coded)

    def _drafted(self, draft: Callable[[int], State], size: int) -> tuple[int, float]:
        """The size for the goal, by drafts alone, and the dB an octave there."""
        goal = self._goal - _GAIN
        curve = _Curve(goal, self._least, self._most)
        for _ in range(_MOST_DRAFTS):
            trial = self._try(draft(size), size)
            self._draft = self._better(self._draft, trial)
            curve.add(size, trial.quality)
            before, size = size, curve.next()
            close = abs(trial.quality - goal) < _DRAFT_TOLERANCE or size == before
            if close or not self._stages.time_left():
                break
        return size, curve.slope()

    def _fitted(self, size: int, slope: float) -> None:
        curve = _Curve(self._goal, self._least, self._most, slope)
        for number in range(_MOST_FITS):
            if (self._draft or self._fit) and not self._stages.time_left():
                break
            trial = self._try(self._stages.fit(size), size)
            best = self._fit = self._better(self._fit, trial)
            curve.add(size, trial.quality)
            before, size = size, curve.next(_MOST_FITS - 1 - number)
            # A quarter of an octave is what coarser steps can make up for.
            near = best is not None and 0 <= best.quality - self._goal < slope / 4
            if near or size == before:
                break

    def _trimmed(self, best: _Trial[State, Coded], slope: float) -> Coded:
        """The smallest file that coarser steps make of one fit."""
        curve = _Curve(self._goal, self._least, best.size, slope)
        curve.add(best.size, best.quality)
        found = best
        for _ in range(_MOST_CODINGS):
            if found.quality - self._goal <= TOLERANCE or not self._stages.time_left():
                break
            size = curve.next()
            trial = self._try(best.state, size)
            curve.add(size, trial.quality)
            if trial.quality >= self._goal:
                found = trial
        return found.coded


class _Curve:
    """Quality against size, as far as it is known."""

    def __init__(self, goal: float, least: int, most: int, slope: float = _USUAL_SLOPE) -> None:
        self._goal, self._least, self._most = goal, least, most
        self._slope = slope
        self._points: list[tuple[float, float]] = []

    def add(self, size: int, quality: float) -> None:
        self._points.append((math.log2(size), quality))

    def slope(self) -> float:
        """dB an octave about the goal."""
        near = sorted(self._points, key=lambda point: abs(point[1] - self._goal))[:2]
        if len(near) < 2 or abs(near[0][0] - near[1][0]) < 1e-3:
            return self._slope
        (x0, y0), (x1, y1) = near
        return min(max((y1 - y0) / (x1 - x0), _FLATTEST), _STEEPEST)

    def next(self, left: int = _MOST_FITS) -> int:
        """The size that should just do; where none has so far and few more sizes are ``left`` to
        try, one that does more surely."""
        x, y = min(self._points, key=lambda point: abs(point[1] - self._goal))
        if 0 <= y - self._goal <= _MARGIN:
            return round(math.exp2(x))
        below = [x for x, y in self._points if y < self._goal]
        above = [x for x, y in self._points if y >= self._goal]
        slope = self.slope()
        if len(below) > 1 and not above:
            if left == 1:
                return self._most
            slope = _FLATTEST if left == 2 else max(slope / _FLATTENS, _FLATTEST)
        x += (self._goal + _MARGIN - y) / slope
        low, high = max(below, default=-math.inf), min(above, default=math.inf)
        if low < high and not low < x < high:
            x = (low + high) / 2
        return round(min(max(math.exp2(min(x, 60)), self._least), self._most))
