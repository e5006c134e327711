"""Series as volumes and volumes as series."""

from __future__ import annotations

import numpy as np

from inrcodec.errors import BitstreamError, InputError, naming
from inrcodec.volume.dicom.conversion import nifti_geometry, series_from_nifti
from inrcodec.volume.dicom.series import DicomHeader, DicomSeries
from inrcodec.volume.geometry import NiftiGeometry
from inrcodec.volume.volume import Volume


def volume_of(series: DicomSeries, source: str) -> Volume:
    """The volume of a series, which keeps its attributes.

    Raises ``InputError`` for attributes that place no slices.
    """
    with naming(source):
        geometry = nifti_geometry(series, strict=False)
    return Volume(
        data=series.data,
        geometry=geometry,
        header_block=None,
        source=source,
        dicom=header_of(series),
        skipped=series.skipped,
    )


def header_of(series: DicomSeries) -> DicomHeader:
    """The attributes of a series, apart from its voxels."""
    return DicomHeader(series.shared, series.frames, series.enhanced)


def series_of(volume: Volume) -> DicomSeries:
    """The series that a volume was, or what DICOM can make of a volume that was NIfTI.

    Raises ``UnsupportedVolumeError`` where DICOM cannot hold that one.
    """
    if volume.dicom is None:
        with naming(volume.source):
            return series_from_nifti(volume)
    header = volume.dicom
    return DicomSeries(volume.data, header.shared, header.frames, header.enhanced)


def check_nifti(volume: Volume) -> None:
    """Raise ``UnsupportedVolumeError`` where the volume was DICOM that NIfTI cannot hold."""
    if volume.dicom is not None:
        with naming(volume.source):
            nifti_geometry(series_of(volume))


def geometry_of(header: DicomHeader, shape: tuple[int, ...]) -> NiftiGeometry:
    """The geometry of the series with the attributes ``header`` and a grid of that shape.

    Raises ``BitstreamError`` for attributes that place no image.
    """
    nothing = np.broadcast_to(np.uint8(0), shape)
    series = DicomSeries(nothing, header.shared, header.frames, header.enhanced)
    try:
        return nifti_geometry(series, strict=False)
    except InputError as error:
        raise BitstreamError(f"the DICOM attributes give no geometry: {error}") from None
