"""Attributes of a series: finding them, whatever the kind of file, and telling what is shared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag

from inrcodec.errors import InputError
from inrcodec.volume.dicom.damage import damage_reported

FUNCTIONAL_GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "SliceThickness": ("PixelMeasuresSequence",),
    "SpacingBetweenSlices": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "RescaleType": ("PixelValueTransformationSequence",),
    "StackID": ("FrameContentSequence",),
    "DimensionIndexValues": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "FrameAcquisitionDateTime": ("FrameContentSequence",),
    "FrameReferenceDateTime": ("FrameContentSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "DiffusionGradientOrientation": ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
}
"""Where a multi-frame file holds what a single-frame file has at its top."""

_GREATEST = 1e9
"""No length in mm and no rescale slope of use is beyond it; products of such do not overflow."""

_SWAPPED_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""VRs whose values pydicom leaves in the byte order of the file."""

_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_OVERLAY_BIT_POSITION = 0x0102
_OVERLAY_DATA = 0x3000


def find(keyword: str, frame: Dataset, shared: Dataset) -> Any | None:
    """Return the value of an attribute: of the frame, else of all frames; None if it has none.

    ``frame`` and ``shared`` are as in `DicomSeries`. In both, the attribute may lie in its
    functional group.
    """
    for holder in (frame, *_items(shared, "SharedFunctionalGroupsSequence")[:1], shared):
        value = _find_in_group(keyword, holder)
        if value is None:
            value = holder.get(keyword)
        if value is not None and value != "":
            return value
    return None


def numbers(value: Any, count: int, what: str) -> tuple[float, ...]:
    """Return ``value`` as ``count`` finite numbers; ``what`` names it in the ``InputError``."""
    try:
        parts = value if isinstance(value, MultiValue | list | tuple) else [value]
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(math.isfinite(x) and abs(x) < _GREATEST for x in found):
        raise InputError(f"{what} is not {'a number' if count == 1 else f'{count} numbers'}")
    return found


def split(
    datasets: Sequence[Dataset], names: Sequence[str], little_endian: Sequence[bool]
) -> tuple[Dataset, tuple[Dataset, ...]]:
    """Return the attributes that are equal in all datasets, and those left of each.

    All of them are decoded; see `settle`.
    """
    first = datasets[0]
    shared, rest = Dataset(), tuple(Dataset() for _ in datasets)
    tags: set[BaseTag] = set().union(*(dataset.keys() for dataset in datasets))
    for tag in sorted(tags):
        with damage_reported(names[0]):
            if all(tag in other and _equal(first, other, tag) for other in datasets):
                _add(shared, first, tag, little_endian[0])
                continue
        for name, dataset, little, part in zip(names, datasets, little_endian, rest, strict=True):
            with damage_reported(name):
                if tag in dataset:
                    _add(part, dataset, tag, little)
    for part in (shared, *rest):
        _drop_overlays_in_pixels(part)
    return shared, rest


def settle(dataset: Dataset, little_endian: bool) -> Dataset:
    """Return the dataset with all attributes decoded, so that using it raises nothing.

    One whose value cannot be understood is kept as bytes, with VR UN. Group lengths are left out.
    """
    settled = Dataset()
    for tag in sorted(dataset.keys()):
        _add(settled, dataset, tag, little_endian)
    _drop_overlays_in_pixels(settled)
    return settled


def _find_in_group(keyword: str, holder: Dataset) -> Any | None:
    for group in FUNCTIONAL_GROUPS.get(keyword, ()):
        items = _items(holder, group)
        if not items:
            return None
        holder = items[0]
    return holder.get(keyword)


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    items = dataset.get(keyword)
    return items if isinstance(items, Items) else ()


def _equal(first: Dataset, other: Dataset, tag: BaseTag) -> bool:
    if first is other:
        return True
    a, b = first.get_item(tag), other.get_item(tag)
    if isinstance(a, RawDataElement) and isinstance(b, RawDataElement):
        if a.VR == b.VR and a.value == b.value:
            return a.is_little_endian == b.is_little_endian
        if a.is_implicit_VR == b.is_implicit_VR and a.is_little_endian == b.is_little_endian:
            return False
    try:
        return bool(first[tag] == other[tag])
    except RecursionError:
        raise
    except Exception:  # as in `_decoded`
        return False


def _add(target: Dataset, source: Dataset, tag: BaseTag, little_endian: bool) -> None:
    if tag.element != 0:
        target[tag] = _decoded(source, tag, little_endian, [source])


def _decoded(
    dataset: Dataset, tag: BaseTag, little_endian: bool, ancestors: list[Dataset]
) -> DataElement:
    raw = dataset.get_item(tag)
    try:
        element = dataset[tag]
        if " or " in element.VR:
            correct_ambiguous_vr_element(element, dataset, little_endian, ancestors)
        if element.VR == "PN":
            str(element.value)  # decodes it
        if element.VR == "SQ":
            for item in element.value:
                for inner in list(item.keys()):
                    if inner.element == 0:
                        del item[inner]
                    else:
                        item[inner] = _decoded(item, inner, little_endian, [item, *ancestors])
        elif not little_endian and element.VR in _SWAPPED_BYTES and element.value:
            words = np.frombuffer(element.value, f"u{_SWAPPED_BYTES[element.VR]}")
            element.value = words.byteswap().tobytes()
    except RecursionError:
        raise
    except Exception:
        # A stranger's attribute that nothing here needs must not keep a scan from being read.
        value = raw.value if isinstance(raw.value, bytes) else b""
        return DataElement(tag, "UN", value, already_converted=True)
    return element


def _drop_overlays_in_pixels(dataset: Dataset) -> None:
    """Remove overlays that lie in unused bits of the pixel data, which are not kept."""
    for group in _OVERLAY_GROUPS:
        position = dataset.get((group, _OVERLAY_BIT_POSITION))
        if position is not None and position.value and (group, _OVERLAY_DATA) not in dataset:
            overlay = dataset.group_dataset(group).keys()
            for tag in overlay:
                del dataset[tag]
