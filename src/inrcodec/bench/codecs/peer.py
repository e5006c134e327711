"""Peers: codecs that are not told a size, but searched to it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.bench.codecs.codec import Coded, UnreachableError
from inrcodec.bench.resampling import FILTERS, FloatArray, Shape, low_shape, upsample
from inrcodec.bench.search import TOLERANCE, RateSearch
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.errors import InputError, PeerError
from inrcodec.volume.intensity import LEVELS, denormalize, normalize
from inrcodec.volume.volume import Volume

SIDE_BYTES = 16
"""Charged to each peer for what its bytes do not tell: shape, dtype, and the range of values."""


class Peer(ABC):
    """An encoder and a decoder with a rate parameter, of stacks of slices.

    A stack is float32 (Z, Y, X), contiguous, with values from 0 to 1: the volume's smallest and
    largest. The volumes of a time series follow each other.
    """

    name: str
    settings: str
    """What it is told, in its own words."""
    coarsest: float
    """The parameter of the fewest bytes; the logarithm of the size is about linear in it."""
    finest: float
    """The parameter of the most bytes."""
    factors: tuple[int, ...] = (1,)
    """By how much each axis may be down-sampled before it."""

    @abstractmethod
    def missing(self) -> str | None:
        """What has to be installed before it can be used, and how; None where all is there."""

    @abstractmethod
    def version(self) -> str:
        """Its version, and that of the program or package it comes in."""

    def coarsest_for(self, stack: FloatArray) -> float:
        """`coarsest`, where it does not depend on the stack."""
        return self.coarsest

    @abstractmethod
    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        """The bytes that `decode` needs. Raises `PeerError` or RuntimeError where it fails."""

    @abstractmethod
    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        """The stack again; values may leave 0..1. Fails as `encode` does."""

    def open(self, volume: Volume) -> PeerCoder:
        return PeerCoder(self, volume)


class PeerCoder:
    """A peer at work on one volume: searched at each factor until one is worse."""

    def __init__(self, peer: Peer, volume: Volume) -> None:
        """Raises `InputError` for a volume of one value, which leaves nothing to compare."""
        self._peer = peer
        self._header = header = VolumeHeader.of(volume.data)
        if header.low == header.high:
            raise InputError(f"{volume.source}: all voxels have one value: name another volume")
        x, y, z, t = header.shape + (1,) * (4 - len(header.shape))
        self._shape = (t * z, y, x)
        half = np.float32(0.5)
        self._stack = normalize(volume.data, header).reshape(self._shape) * half + half
        self._searches: dict[int, list[_StackSearch]] = {}

    def within(self, size: int) -> Coded:
        """See `Coder.within`."""
        best, least = None, np.inf
        smallest: list[int] = []
        for factor in self._peer.factors:
            found: list[tuple[float, Coded]] = []
            for search in self._at_factor(factor):
                try:
                    found.append(self._coded(search, size))
                except UnreachableError as unreachable:
                    smallest.append(unreachable.smallest or 0)
                except RuntimeError as failure:  # imagecodecs' errors are of this type
                    raise PeerError(f"{self._peer.name}: {failure}") from failure
            if found:
                error, coded = min(found, key=lambda pair: pair[0])
                if error >= least:
                    break  # more of it would lose more
                best, least = coded, error
        if best is None:
            raise UnreachableError(min(smallest))
        return best

    def _at_factor(self, factor: int) -> list[_StackSearch]:
        """Searches on the stack with so much of its samples, one for each way down."""
        if factor not in self._searches:
            ways = FILTERS if factor > 1 else (lambda stack, _: stack,)
            self._searches[factor] = [
                _StackSearch(self._peer, self._stack, factor, way) for way in ways
            ]
        return self._searches[factor]

    def _coded(self, search: _StackSearch, size: int) -> tuple[float, Coded]:
        """What one search gives, behind its mean squared error, in units of the range."""
        room = size - SIDE_BYTES
        trial = search.rate.within(room)
        if trial is None:
            raise UnreachableError(search.rate.smallest() + SIDE_BYTES)
        begin = time.perf_counter()
        stack = search.decode(trial.data)
        decoded = self._restored(stack)
        decode_seconds = time.perf_counter() - begin
        with_room = len(trial.data) < room * (1 - TOLERANCE)
        coded = Coded(
            decoded=decoded,
            size=len(trial.data) + SIDE_BYTES,
            parameter=trial.parameter,
            factor=search.factor,
            encode_seconds=trial.seconds + search.seconds,
            decode_seconds=decode_seconds,
            ends=with_room and trial.parameter == self._peer.finest,
        )
        return float(np.square(stack - self._stack).mean(dtype=np.float64)), coded

    def _restored(self, stack: FloatArray) -> NDArray[Any]:
        """Stored values: within the volume's range, which the decoder knows, and rounded."""
        levels = np.rint(stack.reshape(-1).astype(np.float64) * LEVELS)
        stored = denormalize(levels.clip(0, LEVELS).astype(np.int64), self._header)
        return stored.reshape(self._header.shape, order="F")


class _StackSearch:
    """One peer's search on one stack at one ``factor``, which takes ``seconds`` to get there by
    the ``way`` down."""

    def __init__(
        self,
        peer: Peer,
        stack: FloatArray,
        factor: int,
        way: Callable[[FloatArray, int], FloatArray],
    ) -> None:
        self._peer, self.factor, self._shape = peer, factor, stack.shape
        begin = time.perf_counter()
        low = way(stack, factor).clip(0, 1)
        self.seconds = time.perf_counter() - begin
        coarsest = peer.coarsest_for(low)
        self.rate = RateSearch(
            lambda parameter: peer.encode(low, parameter), coarsest, peer.finest, 2 * low.size
        )

    def decode(self, data: bytes) -> FloatArray:
        stack = self._peer.decode(data, low_shape(self._shape, self.factor))
        stack = stack.clip(0, 1)
        return stack if self.factor == 1 else upsample(stack, self.factor, self._shape).clip(0, 1)
