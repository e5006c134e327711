"""Reading a volume, whatever its kind of file: NIfTI or a DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from inrcodec.volume.dicom.files import looks_like_dicom
from inrcodec.volume.volume import Volume


def read_volume(
    path: Path,
    *,
    nonfinite: Literal["refuse", "zero"] = "refuse",
    series: str | None = None,
    allow_irregular: bool = False,
) -> Volume:
    """Read a NIfTI file, or a DICOM series in a folder, an archive or a file.

    ``nonfinite`` is for NIfTI, ``series`` and ``allow_irregular`` are for DICOM: see `read_nifti`
    and `read_dicom`, whose errors these are too.
    """
    if not looks_like_dicom(path):
        from inrcodec.volume.nifti import read_nifti

        return read_nifti(path, nonfinite)

    from inrcodec.volume.dicom.read import read_dicom
    from inrcodec.volume.dicom.volume import volume_of

    found = read_dicom(path, series=series, allow_irregular=allow_irregular)
    return volume_of(found, source=str(path))
