"""A series as one image of many frames."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from inrcodec.volume.dicom.derivation import (
    Derivation,
    Instance,
    derived_type,
    describe_derivation,
    instance_of,
    reference,
)
from inrcodec.volume.dicom.elements import copied, copy_private, put, put_items, values
from inrcodec.volume.dicom.required import unknown_anatomy, whole_type
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.dicom.single_frame import single_frames

_CONVERTED_CLASSES = {
    uid.CTImageStorage: uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage: uid.LegacyConvertedEnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage: uid.LegacyConvertedEnhancedPETImageStorage,
}
_CAPTURE_CLASSES = {
    "uint8": uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    "uint16": uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}

_CT_CLASSES = (uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
_WITH_ANATOMY = (
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
)

_FRAME_TYPES = {
    uid.LegacyConvertedEnhancedCTImageStorage: "CTImageFrameTypeSequence",
    uid.LegacyConvertedEnhancedMRImageStorage: "MRImageFrameTypeSequence",
    uid.LegacyConvertedEnhancedPETImageStorage: "PETFrameTypeSequence",
}

_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": (
        "WindowCenter",
        "WindowWidth",
        "WindowCenterWidthExplanation",
        "VOILUTFunction",
    ),
    "DerivationImageSequence": (
        "DerivationDescription",
        "DerivationCodeSequence",
        "SourceImageSequence",
    ),
}
"""The functional group that takes attributes of an image of one frame."""

_OF_CAPTURE = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Groups whose attributes Secondary Capture has outside of them."""

_COMPLEX_PARTS = {
    "M": "MAGNITUDE",
    "P": "PHASE",
    "PHASE": "PHASE",
    "R": "REAL",
    "REAL": "REAL",
    "I": "IMAGINARY",
    "IMAGINARY": "IMAGINARY",
}

_ACQUISITION_GROUPS = (0x0018, 0x0054)
_OF_SERIES = (
    "BodyPartExamined",
    "DeviceSerialNumber",
    "PatientPosition",
    "ProtocolName",
    "SoftwareVersions",
)
_OF_INSTANCE = (
    "ImageType",
    "InstanceNumber",
    "LargestImagePixelValue",
    "SmallestImagePixelValue",
    "SOPClassUID",
    "SOPInstanceUID",
)


def multi_frame_class(series: DicomSeries) -> str | None:
    """Return the SOP class of the series in one file; None: there is none for it."""
    sop_class = uid.UID(str(series.shared.get("SOPClassUID", "")))
    if series.enhanced and sop_class not in ("", uid.SecondaryCaptureImageStorage):
        return sop_class
    if series.shared.get("PhotometricInterpretation") == "MONOCHROME1":
        return None
    if sop_class == uid.SecondaryCaptureImageStorage:
        return _CAPTURE_CLASSES.get(series.data.dtype.name)
    return _CONVERTED_CLASSES.get(sop_class)


def multi_frame(
    series: DicomSeries, sop_class: str, derivation: Derivation, dimensions_uid: str
) -> Dataset:
    """Return the attributes of the series as one image of ``sop_class``, its pixels apart.

    Frames are in the order of ``series.frames``. What of an image of one frame has no place in a
    functional group goes to the groups for unassigned converted attributes.
    """
    if series.enhanced:
        image = copied(series.shared)
        shared = copied(*values(image, "SharedFunctionalGroupsSequence")[:1])
        frames = [copied(frame) for frame in series.frames]
        sources = [instance_of(image)] * len(frames)
    else:
        image, shared, frames, sources = _converted(series, sop_class)
    put(image, "SOPClassUID", sop_class)
    _complete(shared, frames, sop_class)
    for groups in (shared, *frames):
        _derive_type(groups, sop_class)
    _describe(image, shared, frames, derivation, sources)
    if "DimensionIndexSequence" not in image or not all(
        any(values(content, "DimensionIndexValues") for content in _contents(frame))
        for frame in frames
    ):
        _index(image, frames, series.data.shape, dimensions_uid)
    put(image, "NumberOfFrames", len(frames))
    put_items(image, "SharedFunctionalGroupsSequence", [shared])
    put_items(image, "PerFrameFunctionalGroupsSequence", frames)
    return image


def _converted(
    series: DicomSeries, sop_class: str
) -> tuple[Dataset, Dataset, list[Dataset], list[Instance | None]]:
    """Return the image, its shared functional groups, those of each frame, and their sources."""
    planes = list(single_frames(series))
    sources = [instance_of(plane) for plane in planes]
    image = copied(series.shared)
    rest = [copied(frame) for frame in series.frames]
    shared = Dataset()
    frames = [Dataset() for _ in rest]
    for name, keywords in _GROUPS.items():
        varies = any(keyword in frame for frame in rest for keyword in keywords)
        if not varies and name in _OF_CAPTURE and sop_class in _CAPTURE_CLASSES.values():
            continue
        for plane, groups in zip(planes, frames, strict=True) if varies else [(planes[0], shared)]:
            group = _picked(plane, keywords)
            if group and (name != "FrameVOILUTSequence" or values(group, "WindowWidth")):
                put_items(groups, name, [group])
        for dataset in (image, *rest):
            _remove(dataset, keywords)
    if name := _FRAME_TYPES.get(uid.UID(sop_class), ""):
        types = [_frame_type(plane, sop_class) for plane in planes]
        for groups, item in zip(frames, types, strict=True):
            put_items(groups, name, [item])
        put(image, "ImageType", types[0].FrameType)
        parts = {str(item.get("ComplexImageComponent", "")) for item in types}
        if parts != {""}:
            put(image, "ComplexImageComponent", parts.pop() if len(parts) == 1 else "MIXED")
        put_items(shared, "UnassignedSharedConvertedAttributesSequence", [_unassigned(image)])
        for attributes, plane, groups in zip(rest, planes, frames, strict=True):
            _remove(attributes, _OF_INSTANCE)
            item = Dataset()
            item.update({e.tag: e for e in attributes if not e.tag.is_private})
            # The creator of a private block is likely the same in all frames, and so in the image.
            copy_private([e for e in attributes if e.tag.is_private], plane, item)
            put_items(groups, "UnassignedPerFrameConvertedAttributesSequence", [item])
        for source, groups in zip(sources, frames, strict=True):
            if source is not None:
                put_items(groups, "ConversionSourceAttributesSequence", [reference(source)])
    return image, shared, frames, sources


def _frame_type(plane: Dataset, sop_class: str) -> Dataset:
    """Return the item that says what a frame shows, from ImageType of an image of one frame."""
    image_type = values(plane, "ImageType")
    item = Dataset()
    third = "LOCALIZER" if "LOCALIZER" in image_type[2:] else "VOLUME"
    put(item, "FrameType", ["DERIVED", "PRIMARY", third, "NONE"])
    put(item, "PixelPresentation", "MONOCHROME")
    put(item, "VolumetricProperties", "VOLUME")
    put(item, "VolumeBasedCalculationTechnique", "NONE")
    if sop_class == uid.LegacyConvertedEnhancedMRImageStorage:
        parts = [_COMPLEX_PARTS[value] for value in image_type[2:] if value in _COMPLEX_PARTS]
        put(item, "ComplexImageComponent", parts[0] if parts else "MAGNITUDE")
        put(item, "AcquisitionContrast", "UNKNOWN")
    return item


def _unassigned(image: Dataset) -> Dataset:
    """Take from the image what of the acquisition no functional group holds."""
    of_series = {tag_for_keyword(keyword) for keyword in _OF_SERIES}
    item = Dataset()
    for element in list(image):
        if element.tag.group in _ACQUISITION_GROUPS and element.tag not in of_series:
            item.add(element)
            del image[element.tag]
    return item


def _complete(shared: Dataset, frames: list[Dataset], sop_class: str) -> None:
    """Add what the functional groups of ``sop_class`` must have, where it is not known."""
    if sop_class in _CAPTURE_CLASSES.values():
        return
    rescale = "PixelValueTransformationSequence"
    if not _has([shared, *frames], rescale):
        put_items(shared, rescale, [Dataset()])
    unit = "HU" if sop_class in _CT_CLASSES else "US"
    for groups in (shared, *frames):
        if items := values(groups, rescale):
            item = copied(items[0])
            for keyword, value in zip(_GROUPS[rescale], (1, 0, unit), strict=True):
                if not values(item, keyword):
                    put(item, keyword, value)
            put_items(groups, rescale, [item])
    if sop_class in _WITH_ANATOMY and not _has([shared, *frames], "FrameAnatomySequence"):
        put_items(shared, "FrameAnatomySequence", [unknown_anatomy()])


def _derive_type(groups: Dataset, sop_class: str) -> None:
    for name in _FRAME_TYPES.values():
        if items := values(groups, name):
            item = copied(items[0])
            frame_type = derived_type(values(item, "FrameType"))
            put(item, "FrameType", whole_type(frame_type, sop_class))
            put_items(groups, name, [item])


def _describe(
    image: Dataset,
    shared: Dataset,
    frames: list[Dataset],
    derivation: Derivation,
    sources: list[Instance | None],
) -> None:
    known = [source for source in sources if source is not None]
    if len(known) < len(sources) or "SeriesInstanceUID" not in image:
        # The functional group is for derivations whose source is named.
        describe_derivation(image, derivation, None)
        return
    name = "DerivationImageSequence"
    before = values(shared, name)
    alike = len(set(known)) == 1 and not _has(frames, name)
    if not alike:
        _remove(shared, [name])
    for groups, source in zip([shared] if alike else frames, known, strict=not alike):
        steps = values(groups, name) or before
        item = copied(*steps[-1:])
        describe_derivation(item, derivation, source)
        put_items(groups, name, [*steps[:-1], item])
    series = Dataset()
    put(series, "SeriesInstanceUID", image.SeriesInstanceUID)
    put_items(series, "ReferencedSOPSequence", map(reference, dict.fromkeys(known)))
    evidence = Dataset()
    put(evidence, "StudyInstanceUID", image.get("StudyInstanceUID"))
    put_items(evidence, "ReferencedSeriesSequence", [series])
    evidences = values(image, "SourceImageEvidenceSequence")
    put_items(image, "SourceImageEvidenceSequence", [*evidences, evidence])


def _index(
    image: Dataset, frames: list[Dataset], shape: tuple[int, ...], dimensions_uid: str
) -> None:
    """Number the frames by their place in time, if that is an axis, and in the stack."""
    organization = Dataset()
    put(organization, "DimensionOrganizationUID", dimensions_uid)
    put_items(image, "DimensionOrganizationSequence", [organization])
    keywords = ["StackID", "TemporalPositionIndex", "InStackPositionNumber"]
    if len(shape) < 4:
        keywords.remove("TemporalPositionIndex")
    dimensions = []
    for keyword in keywords:
        dimension = Dataset()
        put(dimension, "DimensionOrganizationUID", dimensions_uid)
        put(dimension, "DimensionIndexPointer", tag_for_keyword(keyword))
        put(dimension, "FunctionalGroupPointer", tag_for_keyword("FrameContentSequence"))
        dimensions.append(dimension)
    put_items(image, "DimensionIndexSequence", dimensions)
    for number, groups in enumerate(frames):
        t, z = divmod(number, shape[2])
        place = {"StackID": 1, "TemporalPositionIndex": t + 1, "InStackPositionNumber": z + 1}
        content = copied(*_contents(groups)[:1])
        for keyword in keywords:
            put(content, keyword, "1" if keyword == "StackID" else place[keyword])
        put(content, "DimensionIndexValues", [place[keyword] for keyword in keywords])
        put_items(groups, "FrameContentSequence", [content])


def _contents(groups: Dataset) -> list[Dataset]:
    return values(groups, "FrameContentSequence")


def _has(everywhere: Iterable[Dataset], keyword: str) -> bool:
    return any(keyword in groups for groups in everywhere)


def _picked(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    picked = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            picked.add(dataset[keyword])
    return picked


def _remove(dataset: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword in dataset:
            del dataset[keyword]
