"""How much time a stage of the encoder has."""

from __future__ import annotations

import math
import time


class Deadline:
    """``seconds`` from now on; for ever by default."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._seconds = max(seconds, 1e-3)
        self._start = time.monotonic()

    @property
    def limited(self) -> bool:
        return self._seconds < math.inf

    def share(self) -> float:
        """Of the time, what is over: 1 and more once all of it is."""
        return (time.monotonic() - self._start) / self._seconds

    def part(self, share: float) -> Deadline:
        """One that ends when that share of the time left is over."""
        left = self._seconds - (time.monotonic() - self._start)
        return Deadline(left * share)
