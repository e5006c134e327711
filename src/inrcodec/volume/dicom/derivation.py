"""What tells that an image was lossily compressed: by what, how far, from which image."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DSfloat

from inrcodec import __version__
from inrcodec.volume.dicom.elements import coded, put, put_items, values

LOSSY_COMPRESSION = Code("113040", "DCM", "Lossy Compression")
UNCOMPRESSED_PREDECESSOR = Code("121320", "DCM", "Uncompressed predecessor")
MODIFYING_EQUIPMENT = Code("109103", "DCM", "Modifying Equipment")

Instance = tuple[str, str]
"""SOP class and SOP instance UID of an image."""

_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Derivation:
    """How the voxels of a series came from those of its source.

    Raises ``ValueError`` for a ratio that is none, and text that its attribute cannot hold.
    """

    ratio: float
    """Bytes of the stored voxels, for each byte of the file that they were decoded from."""
    method: str = "INRCODEC_MOEC_1"
    """LossyImageCompressionMethod: the standard defines no term for it, and lets others be used. At
    most 16 capitals, digits, underscores and spaces. By default the codec's name, that of its
    format, and the format's version."""
    description: str = "Lossy compression by inrcodec. Not for primary diagnosis."
    """DerivationDescription: ASCII, at most 512 characters."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and self.ratio > 0):
            raise ValueError(f"ratio {self.ratio} is not a positive number")
        if not _CODE_STRING.fullmatch(self.method):
            raise ValueError(f"method {self.method!r} is not a DICOM code string")
        if not self.description.isascii() or len(self.description) > _MAX_TEXT // 2:
            raise ValueError("the description is not ASCII, or over 512 characters")


def mark_derived(image: Dataset, derivation: Derivation) -> None:
    """Mark an image, of one frame or many: type, history of lossy compression, equipment.

    The history is appended to: an image that was compressed before says so ever after.
    """
    put(image, "ImageType", derived_type(values(image, "ImageType")))
    ratios = values(image, "LossyImageCompressionRatio")
    methods = values(image, "LossyImageCompressionMethod")
    # They belong together by their positions.
    steps = max(len(ratios), len(methods))
    ratios += [""] * (steps - len(ratios))
    methods += [""] * (steps - len(methods))
    put(image, "LossyImageCompression", "01")
    put(image, "LossyImageCompressionRatio", [*ratios, DSfloat(f"{derivation.ratio:.6g}")])
    put(image, "LossyImageCompressionMethod", [*methods, derivation.method])

    equipment = Dataset()
    put_items(equipment, "PurposeOfReferenceCodeSequence", [coded(MODIFYING_EQUIPMENT)])
    put(equipment, "Manufacturer", "inrcodec")
    put(equipment, "ManufacturerModelName", "inrcodec")
    put(equipment, "SoftwareVersions", __version__)
    put(equipment, "ContributionDescription", LOSSY_COMPRESSION.meaning)
    equipments = values(image, "ContributingEquipmentSequence")
    put_items(image, "ContributingEquipmentSequence", [*equipments, equipment])


def describe_derivation(dataset: Dataset, derivation: Derivation, source: Instance | None) -> None:
    """Describe the step in an image of one frame, or in an item of DerivationImageSequence.

    ``source`` is the image before; None: unknown.
    """
    before = str(dataset.get("DerivationDescription", "") or "")
    if before:
        before = before[: _MAX_TEXT - len(derivation.description) - 2] + "; "
    put(dataset, "DerivationDescription", before + derivation.description)
    codes = values(dataset, "DerivationCodeSequence")
    put_items(dataset, "DerivationCodeSequence", [*codes, coded(LOSSY_COMPRESSION)])
    if source is not None:
        item = reference(source)
        put_items(item, "PurposeOfReferenceCodeSequence", [coded(UNCOMPRESSED_PREDECESSOR)])
        sources = values(dataset, "SourceImageSequence")
        put_items(dataset, "SourceImageSequence", [*sources, item])


def derived_type(image_type: list[str]) -> list[str]:
    """Return ImageType, or FrameType, of an image made from one of that type.

    The first value says that the pixels are derived. The second, whether the image came about in
    the examination or after it, does not change by compression.
    """
    return ["DERIVED", *(image_type[1:] or ["SECONDARY"])]


def instance_of(image: Dataset) -> Instance | None:
    """Return what identifies an image; None where its attributes do not."""
    names = (str(image.get("SOPClassUID", "")), str(image.get("SOPInstanceUID", "")))
    return names if all(names) else None


def reference(instance: Instance) -> Dataset:
    """Return an item that refers to an image."""
    item = Dataset()
    put(item, "ReferencedSOPClassUID", instance[0])
    put(item, "ReferencedSOPInstanceUID", instance[1])
    return item
