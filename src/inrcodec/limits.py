"""What a reader accepts before it allocates anything (docs/format.md, "Limits")."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.errors import LimitExceededError

_CLAIMS = {
    "file_bytes": "the file has at least {} bytes",
    "voxels": "the file claims {} voxels",
    "parameters": "the file claims {} parameters",
    "experts": "the file claims {} experts",
    "layers": "the file claims {} layers",
    "width": "the file claims a layer of {} units",
    "metadata_bytes": "the file claims {} bytes of metadata",
    "planes": "the file claims {} DICOM planes",
    "attributes": "the file has at least {} DICOM attributes",
    "work": "decoding takes {} multiplications",
}

_MOST_CREDIBLE = (1 << 63) - 1
"""What a file claims beyond this is not worth allowing: no machine has the memory or the time."""


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
    planes: int = 1 << 16
    """Slices times volumes of a DICOM series, whose attributes each take memory."""
    attributes: int = 1 << 22
    """Of a DICOM series, in all of its planes, with their items and values."""
    work: int = 1 << 52
    """Multiplications of a weight with a sample: voxels decoded times active parameters."""

    def check(self, name: str, claimed: int) -> None:
        """Raise `LimitExceededError` if ``claimed`` is beyond the limit of that name (a field)."""
        most: int = getattr(self, name)
        if claimed <= most:
            return
        if claimed <= _MOST_CREDIBLE:
            amount = str(claimed)
            advice = f"if you trust the file, add --limit {name.replace('_', '-')}={claimed}"
        else:
            amount = f"{claimed:.1e}"
            advice = "no real file needs that: do not trust it"
        claim = _CLAIMS[name].format(amount)
        raise LimitExceededError(f"{claim}, more than the limit of {most}; {advice}", name, claimed)


DEFAULT_LIMITS = Limits()
