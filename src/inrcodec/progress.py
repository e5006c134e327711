"""What a long operation tells its caller: the library never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units of one ``stage``, with the PSNR (dB, range peak) where one is
    known: an estimate from the last few thousand voxels fitted. The stage "quantize" may start
    over."""

    stage: str
    done: int
    total: int
    psnr: float | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The callback of those who do not want any."""
