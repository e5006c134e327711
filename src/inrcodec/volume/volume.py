"""A volume as it lies in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inrcodec.volume.geometry import NiftiGeometry

if TYPE_CHECKING:
    from inrcodec.volume.dicom.series import DicomHeader

MAX_AXES = 4

VOXEL_DTYPES = frozenset(
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
"""Names of the dtypes that are coded; wider floats are not, since machines differ in them."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Stored voxels, before slope and intercept, with the geometry of their file."""

    data: NDArray[Any]
    """Stored values: integer or float of at most 64 bits, native byte order, shape (X,), (X, Y),
    (X, Y, Z) or (X, Y, Z, T)."""
    geometry: NiftiGeometry
    header_block: bytes | None
    """The header verbatim (348 or 540 bytes); carries free text. None: not kept."""
    source: str
    """Where the volume comes from, for messages."""
    dicom: DicomHeader | None = None
    """The attributes of a volume that was a DICOM series; ``geometry`` is made of them."""
    skipped: int = 0
    """Files that were passed over to read it: not DICOM, or without an image."""

    @property
    def scaling(self) -> tuple[float, float] | None:
        """See `NiftiGeometry.scaling`."""
        return self.geometry.scaling(of_dicom=self.dicom is not None)
