"""A series as images of one frame each, whichever way its files held it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from inrcodec.volume.dicom.elements import copied, copy_private, put, values
from inrcodec.volume.dicom.series import DicomSeries

_CLASSES = {
    uid.EnhancedCTImageStorage: uid.CTImageStorage,
    uid.EnhancedMRImageStorage: uid.MRImageStorage,
    uid.EnhancedPETImageStorage: uid.PositronEmissionTomographyImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage: uid.CTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage: uid.MRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage: uid.PositronEmissionTomographyImageStorage,
}
"""The SOP class of one frame of an enhanced image; Secondary Capture takes those of all others."""

_KEPT_GROUPS = frozenset(
    [
        "ReferencedImageSequence",
        "RealWorldValueMappingSequence",
        "PatientOrientationInFrameSequence",
    ]
)
"""Functional groups that an image of one frame has too, as they are."""

_OF_MANY_FRAMES = frozenset(
    [
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "NumberOfFrames",
        "FrameIncrementPointer",
        "DimensionOrganizationSequence",
        "DimensionOrganizationType",
        "DimensionIndexSequence",
        "DimensionIndexValues",
        "StackID",
        "InStackPositionNumber",
        "ConcatenationUID",
        "SOPInstanceUIDOfConcatenationSource",
        "InConcatenationNumber",
        "InConcatenationTotalNumber",
        "ConcatenationFrameOffsetNumber",
    ]
)

_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameLaterality": "ImageLaterality",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "EffectiveEchoTime": "EchoTime",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
}
"""What an attribute of a functional group is called in an image of one frame."""

_PULSES = {"GRADIENT": ["GR"], "SPIN": ["SE"], "BOTH": ["SE", "GR"]}


def single_frames(series: DicomSeries) -> Iterator[Dataset]:
    """Yield all attributes of each plane of the series, as an image of one frame has them.

    The elements are shared with the series: replace them, never change one.
    """
    for frame in series.frames:
        image = copied(series.shared)
        if series.enhanced:
            for groups in (*values(series.shared, "SharedFunctionalGroupsSequence"), frame):
                _flatten(groups, image)
            _rename(image)
        else:
            image.update(frame)
        yield image


def _flatten(groups: Dataset, image: Dataset) -> None:
    """Put the attributes in the functional groups of a frame among those of the image itself."""
    for element in groups:
        if element.tag.is_private:
            continue
        if element.VR != "SQ" or element.keyword in _KEPT_GROUPS or len(element.value) != 1:
            image[element.tag] = element
            continue
        (group,) = element.value
        _merge(group, image)
        if element.keyword == "MRDiffusionSequence":
            for direction in values(group, "DiffusionGradientDirectionSequence"):
                _merge(direction, image)
    copy_private((element for element in groups if element.tag.is_private), groups, image)


def _merge(group: Dataset, image: Dataset) -> None:
    for element in group:
        if not element.tag.is_private:
            image[element.tag] = element
    copy_private((element for element in group if element.tag.is_private), group, image)


def _rename(image: Dataset) -> None:
    for keyword in _OF_MANY_FRAMES:
        if keyword in image:
            del image[keyword]
    sop_class = uid.UID(str(image.get("SOPClassUID", "")))
    put(image, "SOPClassUID", _CLASSES.get(sop_class, uid.SecondaryCaptureImageStorage))
    for keyword, name in _RENAMED.items():
        if found := values(image, keyword):
            put(image, name, [_shortened(value) for value in found])
            del image[keyword]
    if pulses := _PULSES.get(image.get("EchoPulseSequence", "")):
        inversion = ["IR"] if image.get("InversionRecovery") == "YES" else []
        planar = ["EP"] if image.get("EchoPlanarPulseSequence") == "YES" else []
        put(image, "ScanningSequence", [*pulses, *inversion, *planar])
    if image.get("DecayCorrected") in ("YES", "NO"):
        put(image, "DecayCorrection", "START" if image.DecayCorrected == "YES" else "NONE")


def _shortened(value: Any) -> Any:
    """Return a binary float as a decimal string, which holds 16 characters."""
    return DSfloat(value, auto_format=True) if type(value) is float else value
