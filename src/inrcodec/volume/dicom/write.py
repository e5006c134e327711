"""Writing a series as DICOM: a folder of one file a plane, or one file of many frames.

Explicit VR Little Endian. The images say that they were lossily compressed, and are instances and a
series of their own. Study and frame of reference are those of the source where its attributes tell
them, and new ones else.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset

from inrcodec import __version__
from inrcodec.errors import InrcodecError, OutputError
from inrcodec.output import atomic_output, check_output
from inrcodec.volume.dicom.damage import one_line
from inrcodec.volume.dicom.derivation import (
    Derivation,
    describe_derivation,
    instance_of,
    mark_derived,
)
from inrcodec.volume.dicom.elements import put, values
from inrcodec.volume.dicom.folder import atomic_folder, check_output_folder
from inrcodec.volume.dicom.multi_frame import multi_frame, multi_frame_class
from inrcodec.volume.dicom.required import add_required, whole_type
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.dicom.single_frame import single_frames
from inrcodec.volume.dicom.uids import IMPLEMENTATION_CLASS_UID, new_uid

FILE_NAME = re.compile(r"(T\d{3,}_)?IM\d{4,}\.dcm")
"""Of a file in a folder that `write_dicom` writes."""

_VOXEL_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32")

_FOURTH_AXIS = (
    ("TemporalPositionIdentifier",),
    ("EchoTime",),
    ("EchoNumbers",),
    ("DiffusionBValue", "DiffusionGradientOrientation"),
    ("TriggerTime",),
    ("FrameReferenceTime",),
    ("AcquisitionNumber",),
    ("AcquisitionDateTime",),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)
"""Attributes by which readers tell images at one position apart."""

_MAX_PIXEL_BYTES = (1 << 32) - 2

_OF_THE_SOURCE = (
    "DataSetTrailingPadding",
    "DigitalSignaturesSequence",
    "EncapsulatedPixelDataValueTotalLength",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "MACParametersSequence",
    "PixelDataProviderURL",
    "PlanarConfiguration",
)
"""Attributes that are true of the source's instances and files alone."""

_NO_TIME = datetime(1970, 1, 1)
"""The date and time in files that are to be the same whenever they are written."""


def check_dicom_output(output: Path, *, enhanced: bool = False, overwrite: bool = False) -> None:
    """Raise `OutputError` now, before any work, where `write_dicom` could not write ``output``."""
    if enhanced:
        check_output(output, overwrite)
    else:
        check_output_folder(output, overwrite, FILE_NAME)


def write_dicom(
    series: DicomSeries,
    output: Path,
    *,
    derivation: Derivation,
    enhanced: bool = False,
    deterministic: bool = False,
    overwrite: bool = False,
) -> int:
    """Write the series and return the number of files, whole or not at all.

    ``output`` is a folder for one file a plane, named by its place: ``IM0001.dcm`` on, along the
    normal, and ``T001_IM0001.dcm`` on with a fourth axis. With ``enhanced``, it is one file of many
    frames: of the source's SOP class if that was one, else of the legacy converted enhanced class
    of CT, MR or PET, or multi-frame Secondary Capture.

    UIDs are random (2.25 and a UUID). With ``deterministic`` they follow from everything that is
    written, so that equal series give equal files; dates that would be today's are 1970-01-01.

    An attribute that the SOP class demands and the series has not is filled as unknown. Raises
    `OutputError` where the output cannot be written: it exists (``overwrite`` replaces a file, and
    a folder of nothing but files named as here), the disk is full, the series has no form of many
    frames, or an attribute has a value that it cannot have.
    """
    check_dicom_output(output, enhanced=enhanced, overwrite=overwrite)
    if series.data.dtype.name not in _VOXEL_DTYPES:
        raise OutputError(
            f"{output}: {series.data.dtype} voxels cannot be written as DICOM; name a NIfTI file"
        )
    planes = series.data.shape[2:]
    if len(series.frames) != np.prod(planes, dtype=np.int64):
        raise ValueError(f"{len(series.frames)} frames for {planes} planes")
    with _encoding(output):
        seed = _digest(series, derivation, enhanced) if deterministic else None
    new = _New.instances(series, derivation, seed)
    if enhanced:
        with _encoding(output):
            content = _whole(new, output)
        with atomic_output(output, overwrite) as file:
            file.write(content)
        return 1
    with atomic_folder(output, overwrite, FILE_NAME) as folder:
        names = _names(planes)
        with _encoding(output):
            images = list(single_frames(series))
            _tell_apart(images, planes)
        for number, (name, image) in enumerate(zip(names, images, strict=True), 1):
            with _encoding(output):
                content = _single(new, image, name, number)
            (folder / name).write_bytes(content)
    return len(names)


@dataclass(frozen=True, slots=True)
class _New:
    """What the new instances of a series have in common."""

    series: DicomSeries
    derivation: Derivation
    seed: str | None
    created: datetime
    study_uid: uid.UID
    series_uid: uid.UID
    space_uid: uid.UID
    bits_stored: int

    @classmethod
    def instances(cls, series: DicomSeries, derivation: Derivation, seed: str | None) -> _New:
        return cls(
            series=series,
            derivation=derivation,
            seed=seed,
            created=datetime.now() if seed is None else _NO_TIME,
            study_uid=new_uid("study", seed),
            series_uid=new_uid("series", seed),
            space_uid=new_uid("space", seed),
            bits_stored=_bits_stored(series),
        )

    def encode(self, image: Dataset, name: str, number: int, pixels: NDArray[Any]) -> bytes:
        """Return the file of an image, whose attributes this completes.

        ``pixels`` are its rows from top to bottom: shape (..., rows, columns).
        """
        mark_derived(image, self.derivation)
        for keyword in _OF_THE_SOURCE:
            if keyword in image:
                del image[keyword]
        put(image, "InstanceNumber", number)
        for keyword, value in (
            ("StudyInstanceUID", self.study_uid),
            ("FrameOfReferenceUID", self.space_uid),
        ):
            if not values(image, keyword):
                put(image, keyword, value)
        put(image, "SeriesInstanceUID", self.series_uid)
        put(image, "SOPInstanceUID", new_uid(name, self.seed))
        _put_pixels(image, pixels, self.bits_stored)
        add_required(image, self.series.data.shape[2:], self.created)
        put(image, "ImageType", whole_type(values(image, "ImageType"), str(image.SOPClassUID)))
        return _file(image)


def _names(planes: tuple[int, ...]) -> list[str]:
    """Return the names of the files of a folder, in the order of the frames."""
    digits = max(4, len(str(planes[0])))
    positions = [f"IM{z:0{digits}}.dcm" for z in range(1, planes[0] + 1)]
    if len(planes) == 1:
        return positions
    return [f"T{t:03}_{name}" for t in range(1, planes[1] + 1) for name in positions]


def _single(new: _New, image: Dataset, name: str, number: int) -> bytes:
    """Return the content of the file of one plane; planes are numbered from 1."""
    series = new.series
    t, z = divmod(number - 1, series.data.shape[2])
    if "SOPClassUID" not in image:
        put(image, "SOPClassUID", uid.SecondaryCaptureImageStorage)
    if image.SOPClassUID == uid.PositronEmissionTomographyImageStorage:
        put(image, "ImageIndex", number)
    source = instance_of(series.shared if series.enhanced else image)
    describe_derivation(image, new.derivation, source)
    volumes = series.data.reshape(*series.data.shape[:3], -1)
    return new.encode(image, name, number, volumes[:, :, z, t].T)


def _whole(new: _New, output: Path) -> bytes:
    """Return the content of the one file with all planes."""
    series = new.series
    sop_class = multi_frame_class(series)
    if sop_class is None:
        raise OutputError(
            f"{output}: this kind of image has no form of many frames; name a folder for a file "
            "of each"
        )
    if series.data.nbytes > _MAX_PIXEL_BYTES:
        raise OutputError(f"{output}: over 4 GiB for one file; name a folder for a file a plane")
    image = multi_frame(series, sop_class, new.derivation, new_uid("dimensions", new.seed))
    return new.encode(image, "whole", 1, series.data.T)


def _tell_apart(images: list[Dataset], planes: tuple[int, ...]) -> None:
    """Number the images at each position, unless their attributes tell them apart."""
    first = images[:: planes[0]]
    if len(planes) == 1 or any(
        len({tuple(str(image.get(key, "")) for key in keys) for image in first}) == len(first)
        for keys in _FOURTH_AXIS
    ):
        return
    for index, image in enumerate(images):
        put(image, "TemporalPositionIdentifier", index // planes[0] + 1)
        put(image, "NumberOfTemporalPositions", planes[1])


def _bits_stored(series: DicomSeries) -> int:
    """Return BitsStored: the source's, where the values fit it."""
    dtype = series.data.dtype
    allocated = 8 * dtype.itemsize
    stored = values(series.shared, "BitsStored")
    if len(stored) == 1 and isinstance(stored[0], int) and 0 < stored[0] < allocated:
        low, high = int(series.data.min()), int(series.data.max())
        half = 1 << (stored[0] - 1)
        if (-half <= low and high < half) if dtype.kind == "i" else high < 2 * half:
            return stored[0]
    return allocated


def _put_pixels(image: Dataset, pixels: NDArray[Any], bits_stored: int) -> None:
    allocated = 8 * pixels.dtype.itemsize
    signed = pixels.dtype.kind == "i"
    put(image, "SamplesPerPixel", 1)
    if not values(image, "PhotometricInterpretation"):
        put(image, "PhotometricInterpretation", "MONOCHROME2")
    put(image, "Rows", pixels.shape[-2])
    put(image, "Columns", pixels.shape[-1])
    put(image, "BitsAllocated", allocated)
    put(image, "BitsStored", bits_stored)
    put(image, "HighBit", bits_stored - 1)
    put(image, "PixelRepresentation", int(signed))
    for keyword, value in (
        ("SmallestImagePixelValue", pixels.min()),
        ("LargestImagePixelValue", pixels.max()),
    ):
        if keyword in image:
            image.add_new(keyword, "SS" if signed else "US", int(value))
    stored = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    image.add_new("PixelData", "OB" if allocated == 8 else "OW", stored + bytes(len(stored) % 2))


def _file(image: Dataset) -> bytes:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    image.file_meta.ImplementationVersionName = f"INRCODEC_{__version__}"[:16]
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def _digest(series: DicomSeries, derivation: Derivation, enhanced: bool) -> str:
    """Return a digest of everything that is to be written."""
    digest = hashlib.sha256(repr((__version__, derivation, enhanced, series.data.shape)).encode())
    digest.update(np.ascontiguousarray(series.data.T).data)
    for image in single_frames(series):
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_dataset(buffer, image)
        digest.update(buffer.getvalue())
    return digest.hexdigest()


@contextmanager
def _encoding(output: Path) -> Iterator[None]:
    """Turn what pydicom raises for a value that its attribute cannot have into an `OutputError`.

    It raises what the value leads it to (AttributeError, struct.error, OSError, ...), and documents
    little of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InrcodecError, MemoryError):
        raise
    except Exception as error:
        reason = one_line(str(error).partition("\n")[0])
        raise OutputError(
            f"{output}: an attribute cannot be written as DICOM ({reason}); name a NIfTI file"
        ) from error
