"""What a reader accepts before it allocates anything (docs/format.md, "Limits")."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds checked on the values a file claims, before memory is spent on them."""

    file_bytes: int = 1 << 31
    voxels: int = 1 << 33
    parameters: int = 1 << 27
    experts: int = 256
    layers: int = 64
    width: int = 4096
    metadata_bytes: int = 1 << 26


DEFAULT_LIMITS = Limits()
