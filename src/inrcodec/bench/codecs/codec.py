"""What the benchmark asks of a codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from inrcodec.volume.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A volume as a codec coded it.

    Attributes:
        decoded: the decoded voxels, shape and dtype of the original.
        size: bytes that a decoder needs, all included.
        parameter: the codec's rate parameter; None for a codec that is asked for the size.
        factor: the down-sampling of each axis before the codec; 1 is none.
        encode_seconds, decode_seconds: wall time of this one encode and its decode.
        ends: whether the codec's finest parameter leaves bytes that the search would have used.
    """

    decoded: NDArray[Any]
    size: int
    parameter: float | None
    factor: int
    encode_seconds: float
    decode_seconds: float
    ends: bool


class UnreachableError(Exception):
    """The codec makes no file that small; ``smallest`` is the least it came to, in bytes, where
    that is known."""

    def __init__(self, smallest: int | None = None) -> None:
        super().__init__("no file is that small")
        self.smallest = smallest


class Coder(Protocol):
    """A codec at work on one volume."""

    def within(self, size: int) -> Coded:
        """The best it makes of at most ``size`` bytes.

        Raises `UnreachableError` where it makes no file that small, and `PeerError` where it
        fails.
        """
        ...


class Codec(Protocol):
    """A codec that can be measured."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> str:
        """What it is told, in its own words; part of what a measurement depends on."""
        ...

    def missing(self) -> str | None:
        """What has to be installed before it can be used, and how; None where all is there."""
        ...

    def version(self) -> str:
        """Its version and that of the program or package it comes in."""
        ...

    def open(self, volume: Volume) -> Coder: ...
