"""The search for the smallest file of a quality, on curves that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.quality_search import TOLERANCE, Stages, UnreachedError, smallest


@dataclass
class Encoder:
    """Quality as a line over the octaves of size, or a curve that ``flattens`` by so much of its
    slope each octave; a fit coded coarser than planned loses more."""

    at_1000: float
    slope: float
    gain: float = 0.8
    flattens: float = 0.0
    drafts: list[int] = field(default_factory=list)
    fits: list[int] = field(default_factory=list)
    codings: int = 0

    def fitted(self, size: int) -> float:
        octaves = math.log2(size / 1000)
        return self.at_1000 + self.slope * octaves * (1 - self.flattens * octaves / 2)

    def stages(self) -> Stages[tuple[int, float], int]:
        def draft(size: int) -> tuple[int, float]:
            self.drafts.append(size)
            return size, self.fitted(size)

        def fit(size: int) -> tuple[int, float]:
            self.fits.append(size)
            return size, self.fitted(size) + self.gain

        def code(state: tuple[int, float], size: int) -> tuple[float, int]:
            planned, quality = state
            assert size <= planned
            self.codings += 1
            coarser = math.log2(planned / size)
            return quality - 1.5 * self.slope * coarser - 4 * coarser**2, size

        return Stages(fit, draft if self.gain else None, code)


@given(
    st.floats(20, 45), st.floats(1, 3.5), st.sampled_from([0.0, 0.2, 0.5, 2.0]), st.floats(25, 50)
)
def test_it_is_good_enough_and_hardly_better(
    at_1000: float, slope: float, gain: float, goal: float
) -> None:
    encoder = Encoder(at_1000, slope, gain)
    least, most = 50, 1 << 24
    needed = 1000 * 2 ** ((goal - at_1000 - gain) / slope)
    if not least < needed < most / 2:
        return
    found = smallest(goal, encoder.stages(), 1000, least, most)
    assert needed * 0.999 <= found <= needed * 2 ** (0.5 / slope)
    assert len(encoder.drafts) <= 4 and len(encoder.fits) <= 4
    assert encoder.codings <= 12


@given(st.floats(1, 3.5), st.floats(0.01, 0.09), st.floats(0.1, 0.99))
def test_what_larger_files_have_is_not_out_of_reach(
    slope: float, flattens: float, share: float
) -> None:
    """Without drafts each line through what was tried falls short."""
    encoder = Encoder(30, slope, gain=0, flattens=flattens)
    most = 1 << 20
    goal = 30 + share * (encoder.fitted(most) - 30)
    found = smallest(goal, encoder.stages(), 1000, 50, most)
    assert encoder.fitted(found) >= goal


def test_a_usual_search_takes_one_full_fit() -> None:
    encoder = Encoder(30, 2.5)
    found = smallest(36, encoder.stages(), 1000, 50, 1 << 20)
    assert len(encoder.fits) == 1
    assert 36 <= encoder.fitted(found) + encoder.gain <= 36 + 2.5 * TOLERANCE


@given(st.floats(1, 3.5))
def test_a_quality_out_of_reach_says_how_far_it_came(slope: float) -> None:
    encoder = Encoder(30, slope)
    with pytest.raises(UnreachedError) as caught:
        smallest(60, encoder.stages(), 1000, 50, 4000)
    assert caught.value.quality == pytest.approx(30 + 2 * slope + encoder.gain)
    assert caught.value.coded == 4000
    assert encoder.fits == [4000]


def test_the_smallest_size_may_be_too_good() -> None:
    encoder = Encoder(60, 2)
    assert smallest(10, encoder.stages(), 1000, 500, 4000) == 500


@given(st.integers(1, 12), st.floats(25, 45), st.sampled_from([0.0, 0.8]))
def test_when_time_is_over_it_takes_the_best_so_far(stages: int, goal: float, gain: float) -> None:
    encoder = Encoder(30, 2.5, gain)
    tried = []

    def code(state: tuple[int, float], size: int) -> tuple[float, int]:
        tried.append(every.code(state, size))
        return tried[-1]

    every = encoder.stages()
    limited = replace(every, code=code, time_left=lambda: len(tried) < stages)
    try:
        found = smallest(goal, limited, 1000, 50, 1 << 20)
    except UnreachedError as error:
        assert error.quality == max(quality for quality, _ in tried) < goal
    else:
        good = [size for quality, size in tried if quality >= goal]
        assert found == min(good)
    assert len(tried) <= stages
