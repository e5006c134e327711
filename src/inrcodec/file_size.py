"""What a ``.moec`` file's bytes are spent on."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.architecture import Architecture
from inrcodec.bitstream.volume_header import VolumeHeader


@dataclass(frozen=True, slots=True)
class FileSize:
    """The bytes of a file, against what is in it."""

    header: VolumeHeader
    file_bytes: int
    chunk_bytes: dict[str, int]
    """Bytes of each chunk, framing included, by its letter."""
    architecture: Architecture | None
    """None for a volume of one value."""

    @property
    def ratio(self) -> float:
        """Bytes of the stored voxels over bytes of the file."""
        return self.header.raw_bytes / self.file_bytes

    @property
    def bits_per_voxel(self) -> float:
        return 8 * self.file_bytes / self.header.voxels

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of the network chunk for each of its weights."""
        if self.architecture is None:
            return None
        return 8 * self.chunk_bytes["N"] / self.architecture.parameters
