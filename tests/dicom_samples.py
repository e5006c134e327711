"""Series for the tests of DICOM: from pydicom's own files, from shared ones, and made up."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    generate_uid,
)

from inrcodec.volume.dicom.attributes import find
from inrcodec.volume.dicom.series import DicomSeries

SHARED = Path(os.environ.get("INRCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))

_PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def places(orientation: Iterable[Any], positions: Iterable[Iterable[Any]]) -> list[float]:
    """How far planes lie along their normal."""
    row, column = np.reshape([float(x) for x in orientation], (2, 3))
    normal = np.cross(row, column)
    return [float(normal @ [float(x) for x in position]) for position in positions]


def classic_series(datasets: Iterable[Dataset], volumes: int = 1) -> DicomSeries:
    """The series of single-frame images, given for one volume after the other."""
    images = list(datasets)
    depth = len(images) // volumes
    found = places(
        images[0].ImageOrientationPatient, (image.ImagePositionPatient for image in images)
    )
    order = sorted(range(len(images)), key=lambda index: (index // depth, found[index]))
    images = [images[index] for index in order]
    stacked = np.stack([image.pixel_array.T for image in images], axis=-1)
    shape = (*stacked.shape[:2], depth, volumes)[: 4 if volumes > 1 else 3]
    shared, frames = Dataset(), tuple(Dataset() for _ in images)
    for tag in sorted({tag for image in images for tag in image.keys()}):  # noqa: SIM118
        if pydicom.datadict.keyword_for_tag(tag) in _PIXEL_ELEMENTS:
            continue
        with warnings.catch_warnings():  # of values too long, in real files
            warnings.simplefilter("ignore")
            elements = [image.get(tag) for image in images]
        if all(element == elements[0] for element in elements):
            assert elements[0] is not None
            shared[tag] = elements[0]
            continue
        for frame, element in zip(frames, elements, strict=True):
            if element is not None:
                frame[tag] = element
    return DicomSeries(stacked.reshape(shape, order="F"), shared, frames, enhanced=False)


def enhanced_series(dataset: Dataset, volumes: int = 1) -> DicomSeries:
    """The series in a multi-frame file, whose volumes are one after the other."""
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    stacked = np.moveaxis(frames, 0, -1).swapaxes(0, 1)
    shape = (*stacked.shape[:2], stacked.shape[2] // volumes, volumes)[: 4 if volumes > 1 else 3]
    shared = Dataset()
    with warnings.catch_warnings():  # of values too long, in real files
        warnings.simplefilter("ignore")
        shared.update({element.tag: element for element in dataset})
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    found = places(
        find("ImageOrientationPatient", groups[0], shared),
        (find("ImagePositionPatient", group, shared) for group in groups),
    )
    if found[0] > found[-1] and volumes == 1:
        groups.reverse()
        stacked = stacked[..., ::-1]
    del shared.PerFrameFunctionalGroupsSequence, shared.PixelData
    return DicomSeries(stacked.reshape(shape, order="F"), shared, tuple(groups), enhanced=True)


def read_series(path: Path, volumes: int = 1) -> DicomSeries:
    """The series that was written to a folder, or to a file of many frames."""
    if path.is_dir():
        files = sorted(path.iterdir())
        return classic_series([pydicom.dcmread(file) for file in files], volumes)
    return enhanced_series(pydicom.dcmread(path), volumes)


def pydicom_file(name: str) -> Dataset:
    """One of the files inside pydicom's own package."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return pydicom.dcmread(path)


OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)
"""Direction cosines of rows and columns, exact in decimals."""


def made_up(
    shape: Sequence[int] = (7, 6, 5),
    *,
    sop_class: str = CTImageStorage,
    modality: str = "CT",
    dtype: str = "int16",
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (0.5, 0.75),
    first: Sequence[float] = (-10.5, 20.25, -30.125),
    step: Sequence[float] | None = None,
    seed: int = 0,
    **attributes: Any,
) -> list[Dataset]:
    """Images of one frame, one after the other along the normal, or along ``step`` (LPS, mm).

    A list in ``attributes`` has a value for each image.
    """
    columns, rows, depth = shape
    random = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    row, column = np.reshape(orientation, (2, 3))
    along = np.array(step if step is not None else 2.5 * np.cross(row, column))
    study, series, space = (generate_uid() for _ in range(3))
    images = []
    for z in range(depth):
        image = Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = sop_class, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID = space
        image.Modality = modality
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.PatientName, image.PatientID = "Doe^Jane", "4711"
        image.PatientBirthDate, image.PatientSex = "19700102", "F"
        image.StudyDate, image.StudyTime, image.StudyID = "20200304", "101112", "12"
        image.AccessionNumber, image.ReferringPhysicianName = "A1", "House^Gregory"
        image.SeriesNumber, image.InstanceNumber = 3, depth - z
        image.Manufacturer, image.BodyPartExamined = "Maker", "HEAD"
        image.PatientPosition, image.PositionReferenceIndicator = "HFS", ""
        image.ImageOrientationPatient = [f"{x:.12g}" for x in orientation]
        image.ImagePositionPatient = [f"{x:.12g}" for x in np.array(first) + z * along]
        image.PixelSpacing, image.SliceThickness = list(spacing), 2.5
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = rows, columns
        image.BitsAllocated = image.BitsStored = limits.bits
        image.HighBit = limits.bits - 1
        image.PixelRepresentation = int(limits.min < 0)
        pixels = random.integers(limits.min, limits.max, (rows, columns), dtype, endpoint=True)
        content = pixels.tobytes()
        image.PixelData = content + bytes(len(content) % 2)
        image["PixelData"].VR = "OB" if limits.bits == 8 else "OW"
        for keyword, value in attributes.items():
            setattr(image, keyword, value[z] if isinstance(value, list) else value)
        images.append(image)
    return images
