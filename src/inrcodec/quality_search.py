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

_GAIN = 0.5
"""dB that a full fit is expected to have over a draft of its size."""

_MOST_DRAFTS = 4
_MOST_FITS = 4
_MOST_CODINGS = 4


class UnreachedError(Exception):
    """No size within the bounds is good enough: ``best`` dB is what the largest has."""

    def __init__(self, best: float) -> None:
        super().__init__(best)
        self.best = best


@dataclass(frozen=True)
class Stages(Generic[State, Coded]):
    """What an encoder does: ``fit`` and ``draft``, where that is quicker, take a size in bytes,
    ``code`` what they made and a size, and gives a file of at most that size with its quality in
    dB."""

    fit: Callable[[int], State]
    draft: Callable[[int], State] | None
    code: Callable[[State, int], tuple[float, Coded]]


def smallest(goal: float, stages: Stages[State, Coded], first: int, least: int, most: int) -> Coded:
    """A file of ``goal`` dB or more, at most `TOLERANCE` above if that can be, of between ``least``
    and ``most`` bytes; ``first`` is the size to begin with. Raises `UnreachedError`."""
    size, slope = min(max(first, least), most), _USUAL_SLOPE
    if stages.draft is not None:
        size, slope = _drafted(goal - _GAIN, stages.draft, stages.code, size, least, most)
    curve = _Curve(goal, least, most, slope)
    best: tuple[int, float, State, Coded] | None = None
    for _ in range(_MOST_FITS):
        state = stages.fit(size)
        quality, coded = stages.code(state, size)
        curve.add(size, quality)
        if quality >= goal and (best is None or size < best[0]):
            best = size, quality, state, coded
        before, size = size, curve.next()
        # A quarter of an octave is what coarser steps can make up for.
        near = best is not None and best[1] - goal < slope / 4
        if near or size == before:
            break
    if best is None:
        raise UnreachedError(curve.best)
    return _trimmed(goal, stages, slope, least, *best)


def _drafted(
    goal: float,
    draft: Callable[[int], State],
    code: Callable[[State, int], tuple[float, Coded]],
    size: int,
    least: int,
    most: int,
) -> tuple[int, float]:
    """The size for ``goal``, by drafts alone, and the dB an octave there."""
    curve = _Curve(goal, least, most)
    for _ in range(_MOST_DRAFTS):
        quality, _ = code(draft(size), size)
        curve.add(size, quality)
        before, size = size, curve.next()
        if abs(quality - goal) < _DRAFT_TOLERANCE or size == before:
            break
    return size, curve.slope()


def _trimmed(
    goal: float,
    stages: Stages[State, Coded],
    slope: float,
    least: int,
    size: int,
    quality: float,
    state: State,
    coded: Coded,
) -> Coded:
    """The smallest file that coarser steps make of one fit."""
    curve = _Curve(goal, least, size, slope)
    curve.add(size, quality)
    for _ in range(_MOST_CODINGS):
        if quality - goal <= TOLERANCE:
            break
        size = curve.next()
        found, candidate = stages.code(state, size)
        curve.add(size, found)
        if found >= goal:
            quality, coded = found, candidate
    return coded


class _Curve:
    """Quality against size, as far as it is known."""

    def __init__(self, goal: float, least: int, most: int, slope: float = _USUAL_SLOPE) -> None:
        self._goal, self._least, self._most = goal, least, most
        self._slope = slope
        self._points: list[tuple[float, float]] = []

    @property
    def best(self) -> float:
        """The highest quality so far."""
        return max(quality for _, quality in self._points)

    def add(self, size: int, quality: float) -> None:
        self._points.append((math.log2(size), quality))

    def slope(self) -> float:
        """dB an octave about the goal."""
        near = sorted(self._points, key=lambda point: abs(point[1] - self._goal))[:2]
        if len(near) < 2 or abs(near[0][0] - near[1][0]) < 1e-3:
            return self._slope
        (x0, y0), (x1, y1) = near
        return min(max((y1 - y0) / (x1 - x0), _FLATTEST), _STEEPEST)

    def next(self) -> int:
        """The size that should just do."""
        x, y = min(self._points, key=lambda point: abs(point[1] - self._goal))
        if 0 <= y - self._goal <= _MARGIN:
            return round(math.exp2(x))
        x += (self._goal + _MARGIN - y) / self.slope()
        below = [x for x, y in self._points if y < self._goal]
        above = [x for x, y in self._points if y >= self._goal]
        low, high = max(below, default=-math.inf), min(above, default=math.inf)
        if low < high and not low < x < high:
            x = (low + high) / 2
        return round(min(max(math.exp2(min(x, 60)), self._least), self._most))
