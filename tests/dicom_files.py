"""Small DICOM files for the tests, made attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

ROWS, COLUMNS = 4, 6
ORIENTATION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING = (0.5, 0.75)
"""Between rows, between columns."""
ORIGIN = (10.0, 20.0, -30.0)
STEP = (0.0, 0.0, 2.5)
SERIES = "1.2.3.4"


def pixels(k: int, dtype: str = "int16") -> NDArray[Any]:
    """The stored values of slice ``k``, shape (ROWS, COLUMNS), each different."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 100 * k).astype(dtype)


def position(k: float, step: tuple[float, ...] = STEP) -> list[float]:
    return [start + k * part for start, part in zip(ORIGIN, step, strict=True)]


def image(k: int = 0, stored: NDArray[Any] | None = None, **attributes: Any) -> Dataset:
    """A CT slice, number ``k`` of a stack; an attribute of None is left out."""
    stored = pixels(k) if stored is None else stored
    dataset = Dataset()
    bits = 8 * stored.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": uid.CTImageStorage,
        "SOPInstanceUID": f"{SERIES}.{k + 1}",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "SeriesDescription": "Thorax",
        "SeriesInstanceUID": SERIES,
        "SeriesNumber": 2,
        "FrameOfReferenceUID": "1.2.3.9",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SliceThickness": 2.5,
        "ImagePositionPatient": position(k),
        "ImageOrientationPatient": list(ORIENTATION),
        "PixelSpacing": list(SPACING),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Write a DICOM file; the dataset's pixel data have to be in that transfer syntax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(datasets: Iterable[Dataset], folder: Path) -> Path:
    """Write files whose order by name is no order in space."""
    for number, dataset in enumerate(datasets):
        save(dataset, folder / f"{number * 7 % 10}{number}.dcm")
    return folder


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def functional_groups(**groups: dict[str, Any]) -> Dataset:
    """An item of functional groups, each a sequence of one item."""
    return item(**{name: Sequence([item(**content)]) for name, content in groups.items()})


def place(k: float, **content: Any) -> Dataset:
    """The functional groups of a frame at slice ``k``; ``content`` is of FrameContentSequence."""
    return functional_groups(
        PlanePositionSequence={"ImagePositionPatient": position(k)},
        FrameContentSequence={"StackID": "1", **content},
    )


def multi_frame(
    frames: list[Dataset], stored: NDArray[Any], shared: Dataset | None = None, **attributes: Any
) -> Dataset:
    """An enhanced MR image of ``stored``, shape (frames, rows, columns)."""
    if shared is None:
        shared = functional_groups(
            PlaneOrientationSequence={"ImageOrientationPatient": list(ORIENTATION)},
            PixelMeasuresSequence={"PixelSpacing": list(SPACING), "SliceThickness": 2.5},
        )
    dataset = image(
        stored=stored[0],
        **{
            "SOPClassUID": uid.EnhancedMRImageStorage,
            "Modality": "MR",
            "NumberOfFrames": len(frames),
            "SharedFunctionalGroupsSequence": Sequence([shared]),
            "PerFrameFunctionalGroupsSequence": Sequence(frames),
            **dict.fromkeys(
                (
                    "ImagePositionPatient",
                    "ImageOrientationPatient",
                    "PixelSpacing",
                    "SliceThickness",
                    "RescaleSlope",
                    "RescaleIntercept",
                )
            ),
            **attributes,
        },
    )
    dataset.PixelData = stored.tobytes()
    return dataset


def dimensions(*pointers: str) -> Sequence:
    """A DimensionIndexSequence with these attributes."""
    return Sequence(item(DimensionIndexPointer=tag_for_keyword(name)) for name in pointers)
