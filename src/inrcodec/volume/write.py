"""Writing a volume as the kind of file that the output's name asks for: NIfTI or DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inrcodec.errors import OutputError
from inrcodec.output import atomic_output, check_output

if TYPE_CHECKING:
    from inrcodec.volume.volume import Volume

_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_DICOM_SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True)
class VolumeOutput:
    """Where a volume goes: a NIfTI file (.nii, .nii.gz), one multi-frame DICOM file (.dcm), or a
    folder of DICOM files, one a plane (any name without a suffix).

    Raises `OutputError` for another suffix.
    """

    path: Path
    overwrite: bool = False
    deterministic: bool = False
    """DICOM: the same UIDs for the same volume, not random ones."""

    def __post_init__(self) -> None:
        if not (self.is_nifti or self.is_multi_frame or self._may_be_folder()):
            raise OutputError(
                f"{self.path}: name a .nii or .nii.gz file, a .dcm file for multi-frame DICOM, or "
                "a folder (no suffix) for DICOM files"
            )

    @property
    def is_nifti(self) -> bool:
        """Whether it is NIfTI, and not DICOM."""
        return self.path.name.lower().endswith(_NIFTI_SUFFIXES)

    @property
    def is_multi_frame(self) -> bool:
        """Whether it is one multi-frame DICOM file."""
        return self.path.suffix.lower() == _DICOM_SUFFIX

    def _may_be_folder(self) -> bool:
        try:
            return not self.path.suffix or self.path.is_dir()
        except OSError:  # no such path can be; `check` says why
            return True

    def check(self) -> None:
        """Raise `OutputError` now, before any work, where `write` would later."""
        if self.is_nifti:
            check_output(self.path, self.overwrite)
            return
        from inrcodec.volume.dicom.write import check_dicom_output

        check_dicom_output(self.path, enhanced=self.is_multi_frame, overwrite=self.overwrite)

    def check_volume(self, volume: Volume) -> None:
        """Raise ``UnsupportedVolumeError`` where this kind of file cannot hold such a volume.

        Only the shape and type of its voxels matter, and its attributes.
        """
        if self.is_nifti and volume.dicom is None:
            return
        from inrcodec.volume.dicom.volume import check_nifti, series_of

        if self.is_nifti:
            check_nifti(volume)
        else:
            series_of(volume)

    def write(self, volume: Volume, ratio: float) -> None:
        """Write the volume, whole or not at all; ``ratio`` is what it was compressed by."""
        self.check_volume(volume)
        if self.is_nifti:
            from inrcodec.volume.nifti import write_nifti

            with atomic_output(self.path, self.overwrite) as file:
                write_nifti(volume, file, compress=self.path.name.lower().endswith(".gz"))
            return
        from inrcodec.volume.dicom.derivation import Derivation
        from inrcodec.volume.dicom.volume import series_of
        from inrcodec.volume.dicom.write import write_dicom

        write_dicom(
            series_of(volume),
            self.path,
            derivation=Derivation(ratio),
            enhanced=self.is_multi_frame,
            deterministic=self.deterministic,
            overwrite=self.overwrite,
        )
