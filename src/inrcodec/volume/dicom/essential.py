"""What of a series' attributes shows its image right, and nothing that tells whose it is.

A positive list: what is not named here is left out, in whatever sequence it hides. A value is kept
only if it is what its attribute is for: a number, or a term that the standard (PS3.3) or the maker
of a scanner defines. There is no free text, so no name fits in. No attribute on the list is one of
the basic confidentiality profile's (PS3.15, table E.1-1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Union

from pydicom import uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import DSfloat

from inrcodec.volume.dicom.series import DicomSeries

_Keep = Callable[[list[Any]], list[Any]]
"""From the values of an attribute to those that are kept; none of them: the attribute is left
out."""
_Attributes = Mapping[str, Union[_Keep, "_Attributes"]]

_MAX_VALUES = 64
"""Of an attribute with as many values as it likes: windows, gradient directions."""

_DECIMAL_STRING = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def essential(series: DicomSeries) -> DicomSeries:
    """Return the series with only those attributes that show its image right and let it be written.

    They are: what the stored values mean (rescale, units, lookup tables, padding), how they are
    shown (window, photometric interpretation), where the voxels lie, what tells the planes of one
    position apart, what kind of image it is, and its history of lossy compression. No patient, no
    person, no institution, no date or time, no UID but that of the SOP class, no description and no
    private attribute is among them.

    A SOP class that these attributes cannot fill becomes Secondary Capture, and Enhanced PET its
    legacy converted form.
    """
    return replace(
        series,
        shared=_filter(series.shared, _SHARED),
        frames=tuple(
            _filter(frame, _FUNCTIONAL_GROUPS if series.enhanced else _IMAGE)
            for frame in series.frames
        ),
    )


def _filter(dataset: Dataset, attributes: _Attributes) -> Dataset:
    kept = Dataset()
    for keyword, rule in attributes.items():
        if keyword not in dataset:
            continue
        element = dataset[keyword]
        if isinstance(rule, Mapping):
            items = [_filter(item, rule) for item in _items(element)]
            if any(items):
                kept.add_new(element.tag, "SQ", Sequence(item for item in items if item))
        elif values := rule(_values(element)):
            value = values if len(values) > 1 else values[0]
            with suppress(ValueError, TypeError, OverflowError):  # 1.5 where an integer belongs
                kept.add_new(element.tag, _representation(element), value)
    return kept


def _items(element: DataElement) -> list[Dataset]:
    return list(element.value) if isinstance(element.value, Sequence) else []


def _values(element: DataElement) -> list[Any]:
    value = element.value
    if isinstance(value, MultiValue | list | tuple):
        return list(value)
    return [] if value is None or value == "" else [value]


def _representation(element: DataElement) -> str:
    """Return the VR that the standard gives; where it leaves a choice, that of the element."""
    choice = dictionary_VR(element.tag).split(" or ")
    return element.VR if element.VR in choice else choice[0]


# Rules


def _terms(defined: str, otherwise: str | None = None) -> _Keep:
    """Keep values up to the first that is not ``defined`` (terms between commas).

    With ``otherwise``, that stands for the values instead if not all are defined.
    """
    allowed = frozenset(term.strip() for term in defined.split(","))

    def keep(values: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for value in values:
            if not isinstance(value, str) or value not in allowed:
                return kept if otherwise is None else [otherwise]
            kept.append(str(value))
        return kept

    return keep


def _numbers(*counts: int) -> _Keep:
    """Keep finite numbers, if there are as many as one of ``counts``; by default, any few."""

    def keep(values: list[Any]) -> list[Any]:
        numbers = [_number(value) for value in values]
        fits = len(numbers) in counts if counts else len(numbers) <= _MAX_VALUES
        return numbers if fits and None not in numbers else []

    return keep


def _number(value: Any) -> Any | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return None
    if isinstance(value, DSfloat):
        # As it was written, if that is a number and nothing else.
        text = str(value).strip()
        plain = len(text) <= 16 and _DECIMAL_STRING.fullmatch(text)
        return DSfloat(text) if plain else DSfloat(float(value), auto_format=True)
    return int(value) if isinstance(value, int) else float(value)


def _table(values: list[Any]) -> list[Any]:
    """Keep the entries of a lookup table, which the standard stores as bytes or as numbers."""
    if len(values) == 1 and isinstance(values[0], bytes):
        return values if len(values[0]) <= 2 * 65536 else []
    whole = all(isinstance(value, int) and 0 <= value < 65536 for value in values)
    return values if whole and len(values) <= 65536 else []


def _sop_class(values: list[Any]) -> list[Any]:
    return [_SOP_CLASSES.get(str(values[0]), uid.SecondaryCaptureImageStorage)] if values else []


_SOP_CLASSES: Mapping[str, str] = {
    **{
        sop_class: sop_class
        for sop_class in (
            uid.CTImageStorage,
            uid.MRImageStorage,
            uid.PositronEmissionTomographyImageStorage,
            uid.EnhancedCTImageStorage,
            uid.EnhancedMRImageStorage,
            uid.LegacyConvertedEnhancedCTImageStorage,
            uid.LegacyConvertedEnhancedMRImageStorage,
            uid.LegacyConvertedEnhancedPETImageStorage,
        )
    },
    # It demands the radiopharmaceutical, and much of the acquisition.
    uid.EnhancedPETImageStorage: uid.LegacyConvertedEnhancedPETImageStorage,
}

_ONE = _numbers(1)
_THREE = _numbers(3)
_ANY = _numbers()
_YES_NO = _terms("YES, NO")

_IMAGE_TYPE = _terms(
    "ORIGINAL, DERIVED, MIXED, PRIMARY, SECONDARY,"
    # CT, MR and PET
    "AXIAL, LOCALIZER, OTHER, DENSITY MAP, DIFFUSION MAP, IMAGE ADDITION, MODULUS SUBTRACT, MPR,"
    "PHASE MAP, PHASE SUBTRACT, PROJECTION IMAGE, T1 MAP, T2 MAP, VELOCITY MAP, NONE,"
    # Their enhanced forms, third and fourth value
    "ANGIO, ANGIO_TIME, ATTENUATION, CARDIAC, CARDIAC_CASCORE, CARDIAC_CTA, CARDIAC_GATED, CINE,"
    "CARDRESP_GATED, DIFFUSION, DIXON, DYNAMIC, FLOW_ENCODED, FLUID_ATTENUATED, FLUOROSCOPY, FMRI,"
    "MAX_IP, METABOLITE_MAP, MIN_IP, MOTION, MULTIECHO, NON_PARALLEL, PARALLEL, PERFUSION,"
    "POST_CONTRAST, PRE_CONTRAST, PROTON_DENSITY, REALTIME, REFERENCE, RESP_GATED, REST, STATIC,"
    "STIR, STRESS, T1, T2, T2_STAR, TAGGING, TEMPERATURE, TOF, VELOCITY, VOLUME, WHOLE_BODY,"
    "ADC, ADDITION, DIFFUSION_ANISO, DIVISION, FILTERED, MASKED, MAXIMUM, MEAN, MEDIAN, MINIMUM,"
    "MTT, MULTIPLICATION, QUANTITY, RCBF, RCBV, RESAMPLED, STD_DEVIATION, SUBTRACTION, TTP,"
    # What scanners add: the part of the complex signal, filters, maps
    "M, P, R, I, MAGNITUDE, PHASE, REAL, IMAGINARY, M_FFE, P_FFE, R_FFE, I_FFE, M_SE, P_SE, R_SE,"
    "I_SE, M_IR, P_IR, R_IR, I_IR, ND, NORM, DIS2D, DIS3D, DIFFUSION, TRACEW, FA, MOSAIC, FM,"
    "WATER, FAT, IN_PHASE, OPP_PHASE, SUB, UNSPECIFIED"
)

_LUT: _Attributes = {"LUTDescriptor": _THREE, "LUTData": _table}

_NO_TEXT = "none"
"""In place of a free text that the standard demands."""

_REAL_WORLD_VALUES: _Attributes = {
    "RealWorldValueFirstValueMapped": _ONE,
    "RealWorldValueLastValueMapped": _ONE,
    "RealWorldValueSlope": _ONE,
    "RealWorldValueIntercept": _ONE,
    "LUTLabel": _terms("", otherwise=_NO_TEXT),
    "LUTExplanation": _terms("", otherwise=_NO_TEXT),
    "MeasurementUnitsCodeSequence": {
        "CodeValue": _terms(
            "[hnsf'U], Bq/ml, g/ml, cm2/ml, {SUVbw}g/ml, {SUVlbm}g/ml, {SUVbsa}cm2/ml,"
            "{SUVibw}g/ml, {counts}, {counts}/s, {propcounts}, {propcounts}/s, %, ms, s, mm2/s,"
            "um2/s, ml/ml, ml/min/ml, mg/min/ml, umol/ml, umol/min/ml, /cm, mg/ml, 1",
            otherwise="1",
        ),
        "CodingSchemeDesignator": _terms("UCUM", otherwise="UCUM"),
        "CodeMeaning": _terms("", otherwise=_NO_TEXT),
    },
}
_RESCALE: _Attributes = {
    "RescaleSlope": _ONE,
    "RescaleIntercept": _ONE,
    "RescaleType": _terms("HU, US, OD, MGML, Z_EFF, ED, EDW, HU_MOD, PCT, BQML", otherwise="US"),
}
_WINDOW: _Attributes = {
    "WindowCenter": _ANY,
    "WindowWidth": _ANY,
    "VOILUTFunction": _terms("LINEAR, LINEAR_EXACT, SIGMOID"),
}
_PIXEL_MEASURES: _Attributes = {
    "PixelSpacing": _numbers(2),
    "SliceThickness": _ONE,
    "SpacingBetweenSlices": _ONE,
}
_PLANE_POSITION: _Attributes = {"ImagePositionPatient": _THREE}
_PLANE_ORIENTATION: _Attributes = {"ImageOrientationPatient": _numbers(6)}

_KIND: _Attributes = {
    "PixelPresentation": _terms("MONOCHROME"),
    "VolumetricProperties": _terms("VOLUME, SAMPLED, DISTORTED, MIXED"),
    "VolumeBasedCalculationTechnique": _terms(
        "NONE, MAX_IP, MIN_IP, VOLUME_RENDER, SURFACE_RENDER, MPR, CURVED_MPR, MIXED"
    ),
    "ComplexImageComponent": _terms("MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED"),
    "AcquisitionContrast": _terms(
        "DIFFUSION, FLOW_ENCODED, FLUID_ATTENUATED, PERFUSION, PROTON_DENSITY, STIR, TAGGING, T1,"
        "T2, T2_STAR, TOF, UNKNOWN, MIXED"
    ),
}
"""What an image or a frame of an enhanced file shows."""

_DIFFUSION: _Attributes = {
    "DiffusionBValue": _ONE,
    "DiffusionDirectionality": _terms("DIRECTIONAL, BMATRIX, ISOTROPIC, NONE"),
}
_GRADIENT: _Attributes = {"DiffusionGradientOrientation": _THREE}

_IMAGE: _Attributes = {
    # What kind of image it is, and what its SOP class demands
    "SOPClassUID": _sop_class,
    "Modality": _terms(
        "CT, MR, PT, NM, US, CR, DX, MG, XA, RF, OT, IO, PX, XC, OP, OPT, OCT, IVUS, IVOCT, BMD,"
        "ES, GM, SM, RG, RTIMAGE, RTDOSE"
    ),
    "ImageType": _IMAGE_TYPE,
    # dcm2niix reads many frames by the custom of the scanner's maker.
    "Manufacturer": _terms(
        "CANON_MEC, Canon Medical Systems, FUJIFILM, FUJIFILM Corporation, GE HEALTHCARE,"
        "GE Healthcare, GE MEDICAL SYSTEMS, GE Medical Systems, HITACHI, Hitachi,"
        "Hitachi Medical Corporation, PHILIPS, Philips, Philips Healthcare,"
        "Philips Medical Systems, SIEMENS, SIEMENS Healthineers, SIEMENS HEALTHINEERS, Siemens,"
        "Siemens Healthineers, Siemens HealthCare GmbH, TOSHIBA, TOSHIBA_MEC, UIH"
    ),
    "PatientPosition": _terms(
        "HFS, HFP, HFDR, HFDL, FFS, FFP, FFDR, FFDL, LFS, LFP, RFS, RFP, AFDR, AFDL, PFDR, PFDL"
    ),
    "ScanningSequence": _terms("SE, IR, GR, EP, RM"),
    "SequenceVariant": _terms("SK, MTC, SS, TRSS, SP, MP, OSP, NONE"),
    "ContentQualification": _terms("PRODUCT, RESEARCH, SERVICE"),
    "ApplicableSafetyStandardAgency": _terms("IEC, FDA, MHW"),
    **_KIND,
    # Where the voxels lie
    **_PLANE_POSITION,
    **_PLANE_ORIENTATION,
    **_PIXEL_MEASURES,
    "ImagerPixelSpacing": _numbers(2),
    "PixelAspectRatio": _numbers(2),
    "GantryDetectorTilt": _ONE,
    # What the stored values mean, and how they are shown
    "PhotometricInterpretation": _terms("MONOCHROME1, MONOCHROME2"),
    "SamplesPerPixel": _ONE,
    "Rows": _ONE,
    "Columns": _ONE,
    "BitsAllocated": _ONE,
    "BitsStored": _ONE,
    "HighBit": _ONE,
    "PixelRepresentation": _ONE,
    "PixelPaddingValue": _ONE,
    "PixelPaddingRangeLimit": _ONE,
    "PresentationLUTShape": _terms("IDENTITY, INVERSE"),
    **_RESCALE,
    **_WINDOW,
    "ModalityLUTSequence": {**_LUT, "ModalityLUTType": _RESCALE["RescaleType"]},
    "VOILUTSequence": _LUT,
    "RealWorldValueMappingSequence": _REAL_WORLD_VALUES,
    # The units of PET, and what of its corrections they depend on
    "Units": _terms(
        "CNTS, NONE, CM2, CM2ML, PCNT, CPS, BQML, MGMINML, UMOLMINML, MLMING, MLG, 1CM, UMOLML,"
        "PROPCNTS, PROPCPS, MLMINML, MLML, GML, STDDEV"
    ),
    "SUVType": _terms("BSA, BW, LBM, LBMJAMES128, LBMJANMA, IBW"),
    "CountsSource": _terms("EMISSION, TRANSMISSION"),
    "SeriesType": _terms("STATIC, DYNAMIC, GATED, WHOLE BODY, IMAGE, REPROJECTION"),
    "ReprojectionMethod": _terms("SUM, MAX PIXEL"),
    "CorrectedImage": _terms("DECY, ATTN, SCAT, DTIM, MOTN, PMOT, CLN, RAN, RADL, DCAL, NORM"),
    "DecayCorrection": _terms("NONE, START, ADMIN"),
    "DecayCorrected": _YES_NO,
    "DecayFactor": _ONE,
    "DoseCalibrationFactor": _ONE,
    # What tells the planes of one position apart
    "AcquisitionNumber": _ONE,
    "TemporalPositionIdentifier": _ONE,
    "TemporalPositionIndex": _ONE,
    "NumberOfTemporalPositions": _ONE,
    "TemporalResolution": _ONE,
    "TriggerTime": _ONE,
    "LowRRValue": _ONE,
    "HighRRValue": _ONE,
    "FrameTime": _ONE,
    "FrameReferenceTime": _ONE,
    "ActualFrameDuration": _ONE,
    "NumberOfSlices": _ONE,
    "NumberOfTimeSlices": _ONE,
    "NumberOfTimeSlots": _ONE,
    "NumberOfRRIntervals": _ONE,
    "RepetitionTime": _ONE,
    "EchoTime": _ANY,
    "EchoNumbers": _ANY,
    "EchoTrainLength": _ONE,
    "InversionTime": _ONE,
    "FlipAngle": _ONE,
    **_DIFFUSION,
    **_GRADIENT,
    # What was lost before, and what the picture itself may show
    "LossyImageCompression": _terms("00, 01"),
    "LossyImageCompressionRatio": _ANY,
    "LossyImageCompressionMethod": _terms(
        "ISO_10918_1, ISO_14495_1, ISO_15444_1, ISO_15444_15, ISO_18181_1, ISO_13818_2,"
        "ISO_14496_10, ISO_23008_2, INRCODEC_MOEC_1"
    ),
    "BurnedInAnnotation": _YES_NO,
    "RecognizableVisualFeatures": _YES_NO,
}
"""Attributes of an image, or of the image of one file in a series."""

_FRAME_TYPE: _Attributes = {"FrameType": _IMAGE_TYPE, **_KIND}

_FUNCTIONAL_GROUPS: _Attributes = {
    "CTImageFrameTypeSequence": _FRAME_TYPE,
    "MRImageFrameTypeSequence": _FRAME_TYPE,
    "PETFrameTypeSequence": _FRAME_TYPE,
    "PixelMeasuresSequence": _PIXEL_MEASURES,
    "PlanePositionSequence": _PLANE_POSITION,
    "PlaneOrientationSequence": _PLANE_ORIENTATION,
    "PixelValueTransformationSequence": _RESCALE,
    "FrameVOILUTSequence": _WINDOW,
    "RealWorldValueMappingSequence": _REAL_WORLD_VALUES,
    "FrameContentSequence": {"FrameAcquisitionNumber": _ONE, "TemporalPositionIndex": _ONE},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": _ONE},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": _ONE},
    "MREchoSequence": {"EffectiveEchoTime": _ONE},
    "MRDiffusionSequence": {**_DIFFUSION, "DiffusionGradientDirectionSequence": _GRADIENT},
    # A series that was once converted has its other attributes here.
    "UnassignedSharedConvertedAttributesSequence": _IMAGE,
    "UnassignedPerFrameConvertedAttributesSequence": _IMAGE,
}
"""Attributes of a frame of an enhanced file."""

_SHARED: _Attributes = {**_IMAGE, "SharedFunctionalGroupsSequence": _FUNCTIONAL_GROUPS}
