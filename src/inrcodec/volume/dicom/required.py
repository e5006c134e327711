"""What the standard demands of an image (PS3.3), where its source does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from inrcodec import __version__
from inrcodec.volume.dicom.elements import coded, put, put_items, values

UNKNOWN = Code("261665006", "SCT", "Unknown")
RECUMBENT = Code("102538003", "SCT", "recumbent")
_GANTRY = {
    "HF": Code("102540008", "SCT", "headfirst"),
    "FF": Code("102541007", "SCT", "feet-first"),
}
_POSTURE = {
    "S": Code("40199007", "SCT", "supine"),
    "P": Code("1240000", "SCT", "prone"),
    "DR": Code("102535000", "SCT", "right lateral decubitus"),
    "DL": Code("102536004", "SCT", "left lateral decubitus"),
}

# None stands for an attribute that must be there and may be empty.

_EVERY_IMAGE: Mapping[str, Any] = {
    "PatientName": None,
    "PatientID": None,
    "PatientBirthDate": None,
    "PatientSex": None,
    "StudyDate": None,
    "StudyTime": None,
    "StudyID": None,
    "AccessionNumber": None,
    "ReferringPhysicianName": None,
    "SeriesNumber": None,
    "PositionReferenceIndicator": None,
    "Manufacturer": None,
}

_CT: Mapping[str, Any] = {
    "SliceThickness": None,
    "KVP": None,
    "AcquisitionNumber": None,
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
}

_MR: Mapping[str, Any] = {
    "SliceThickness": None,
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": None,
    "MRAcquisitionType": None,
    "RepetitionTime": None,
    "EchoTime": None,
    "EchoTrainLength": None,
}

_PET: Mapping[str, Any] = {
    "SliceThickness": None,
    "RadiopharmaceuticalInformationSequence": None,
    "Units": "NONE",
    "CountsSource": "EMISSION",
    "CorrectedImage": None,
    "DecayCorrection": "NONE",
    "CollimatorType": None,
    "AcquisitionDate": None,
    "AcquisitionTime": None,
    "ActualFrameDuration": None,
    "FrameReferenceTime": 0,
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
}

_CAPTURE: Mapping[str, Any] = {"ConversionType": "WSD", "PatientOrientation": None}

_MULTI_FRAME_CAPTURE: Mapping[str, Any] = {
    **_CAPTURE,
    "BurnedInAnnotation": "NO",
    "PresentationLUTShape": "IDENTITY",
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
    "RescaleType": "US",
    "FrameIncrementPointer": 0x52009230,
}

_ENHANCED: Mapping[str, Any] = {
    "AcquisitionContextSequence": None,
    "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME",
    "VolumeBasedCalculationTechnique": "NONE",
    "BurnedInAnnotation": "NO",
    "PresentationLUTShape": "IDENTITY",
}
_ENHANCED_MR: Mapping[str, Any] = {
    **_ENHANCED,
    "ComplexImageComponent": "MAGNITUDE",
    "AcquisitionContrast": "UNKNOWN",
}
_EQUIPMENT: Mapping[str, Any] = {
    "Manufacturer": "inrcodec",
    "ManufacturerModelName": "inrcodec",
    "DeviceSerialNumber": "unknown",
    "SoftwareVersions": __version__,
}

_WITH_FRAME_LATERALITY = (
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
)

_BY_CLASS: Mapping[str, Mapping[str, Any]] = {
    uid.CTImageStorage: _CT,
    uid.MRImageStorage: _MR,
    uid.PositronEmissionTomographyImageStorage: _PET,
    uid.SecondaryCaptureImageStorage: _CAPTURE,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: _MULTI_FRAME_CAPTURE,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: _MULTI_FRAME_CAPTURE,
    uid.EnhancedCTImageStorage: {**_ENHANCED, **_EQUIPMENT},
    uid.EnhancedMRImageStorage: {**_ENHANCED_MR, **_EQUIPMENT},
    uid.EnhancedPETImageStorage: {**_ENHANCED, **_EQUIPMENT},
    uid.LegacyConvertedEnhancedCTImageStorage: _ENHANCED,
    uid.LegacyConvertedEnhancedMRImageStorage: _ENHANCED_MR,
    uid.LegacyConvertedEnhancedPETImageStorage: {**_ENHANCED, "ContentQualification": "RESEARCH"},
}

_IMAGE_TYPE: Mapping[str, tuple[str, ...]] = {
    uid.CTImageStorage: ("AXIAL",),
    uid.MRImageStorage: ("OTHER",),
    uid.EnhancedCTImageStorage: ("VOLUME", "NONE"),
    uid.EnhancedMRImageStorage: ("VOLUME", "NONE"),
    uid.EnhancedPETImageStorage: ("VOLUME", "NONE"),
    uid.LegacyConvertedEnhancedCTImageStorage: ("VOLUME", "NONE"),
    uid.LegacyConvertedEnhancedMRImageStorage: ("VOLUME", "NONE"),
    uid.LegacyConvertedEnhancedPETImageStorage: ("VOLUME", "NONE"),
}
"""Third and fourth value of ImageType, where the source has none."""


def add_required(image: Dataset, planes: tuple[int, ...], created: datetime) -> None:
    """Give an image of a known SOP class what it must have and has not.

    What is unknown stays empty where the standard lets it, and else has its term for that.
    ``planes`` are the positions of the series, and the images at one of them if that is an axis;
    ``created`` is when the image was made.
    """
    by_class = dict(_BY_CLASS.get(str(image.SOPClassUID), {}))
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    if "NumberOfFrames" in image:
        by_class |= {"ContentDate": date, "ContentTime": time}
    if image.SOPClassUID != uid.PositronEmissionTomographyImageStorage:
        by_class["PatientPosition"] = None
    else:
        _code_patient_position(image)
        by_class |= {"SeriesDate": date, "SeriesTime": time, "NumberOfSlices": planes[0]}
        if len(planes) == 1:
            by_class["SeriesType"] = ["STATIC", "IMAGE"]
        else:
            by_class |= {"SeriesType": ["DYNAMIC", "IMAGE"], "NumberOfTimeSlices": planes[1]}
    if image.SOPClassUID not in _WITH_FRAME_LATERALITY and not any(
        values(image, keyword) for keyword in ("BodyPartExamined", "ImageLaterality")
    ):
        by_class["Laterality"] = None
    for keyword, value in {**_EVERY_IMAGE, **by_class}.items():
        if value is None and keyword not in image:
            put(image, keyword, None)
        elif value is not None and not values(image, keyword):
            put(image, keyword, value)


def _code_patient_position(image: Dataset) -> None:
    """Replace PatientPosition by the two sequences that PET has for it."""
    if "PatientOrientationCodeSequence" in image:
        return
    position = str(image.get("PatientPosition", ""))
    gantry, posture = _GANTRY.get(position[:2]), _POSTURE.get(position[2:])
    orientations, relationships = [], []
    if gantry is not None and posture is not None:
        orientation = coded(RECUMBENT)
        put_items(orientation, "PatientOrientationModifierCodeSequence", [coded(posture)])
        orientations, relationships = [orientation], [coded(gantry)]
    put_items(image, "PatientOrientationCodeSequence", orientations)
    put_items(image, "PatientGantryRelationshipCodeSequence", relationships)
    if "PatientPosition" in image:
        del image["PatientPosition"]


def whole_type(image_type: list[str], sop_class: str) -> list[str]:
    """Return ImageType, or FrameType, of an image of ``sop_class`` with all values it must have."""
    tail = _IMAGE_TYPE.get(sop_class, ())
    return [*image_type, *tail[max(len(image_type) - 2, 0) :]]


def unknown_anatomy() -> Dataset:
    """Return the item of FrameAnatomySequence that says that the region is not known."""
    item = Dataset()
    put_items(item, "AnatomicRegionSequence", [coded(UNKNOWN)])
    put(item, "FrameLaterality", "U")
    return item
