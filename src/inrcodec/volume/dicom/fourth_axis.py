"""What tells the planes at one position apart: time, echo, b-value; the fourth axis of a series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.volume.dicom.attributes import numbers
from inrcodec.volume.dicom.slices import Slice

_Key = Callable[[Slice], Any]

_SPATIAL_INDICES = frozenset(
    ["StackID", "InStackPositionNumber", "ImagePositionPatient", "PlanePositionSequence"]
)

_IDENTIFIERS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
)
_TIMES = ("TriggerTime", "NominalCardiacTriggerDelayTime", "FrameReferenceTime")
_LATER_IDENTIFIERS = ("AcquisitionNumber", "FrameAcquisitionNumber")
_DATES_AND_TIMES = (
    ("FrameReferenceDateTime",),
    ("AcquisitionDateTime",),
    ("FrameAcquisitionDateTime",),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)

_KIND = ("ImageType", "EchoTime", "EffectiveEchoTime", "DiffusionBValue", "InversionTime")
"""What the slices of one volume have in common, so that times do not pair different images."""


def order_in_fourth_axis(groups: Sequence[Sequence[Slice]], source: str) -> list[list[Slice]]:
    """Sort the slices of each position by the first attribute that splits all positions alike.

    An identifier has to take the same values at every position, each once. A time has to differ
    between the slices of a position, and counts by its rank, since slices are taken one after the
    other; the slices of a rank have to be of one kind of image.

    Raises ``UnsupportedVolumeError`` where no attribute does, naming those tried, and
    ``InputError`` for the same image twice.
    """
    _refuse_copies(groups, source)
    tried = []
    for name, key, is_time in _keys(groups[0][0]):
        values = [[key(item) for item in group] for group in groups]
        if any(value is None for row in values for value in row):
            continue
        tried.append(name)
        sets = [set(row) for row in values]
        distinct = all(len(found) == len(row) for found, row in zip(sets, values, strict=True))
        if not distinct:
            continue
        ordered = [
            [item for _, item in sorted(zip(row, group, strict=True), key=lambda pair: pair[0])]
            for row, group in zip(values, groups, strict=True)
        ]
        if _are_of_one_kind(ordered) if is_time else all(found == sets[0] for found in sets):
            return ordered
    reason = f"none of {', '.join(tried)} tells" if tried else "no attribute is there to tell"
    raise UnsupportedVolumeError(
        f"{source}: {len(groups[0])} slices at each position, and {reason} them apart alike at all "
        "positions; give the slices of one volume"
    )


def _are_of_one_kind(groups: Sequence[Sequence[Slice]]) -> bool:
    return all(
        item.find(keyword) == volume[0].find(keyword)
        for volume in zip(*groups, strict=True)
        for keyword in _KIND
        for item in volume
    )


def _refuse_copies(groups: Sequence[Sequence[Slice]], source: str) -> None:
    for group in groups:
        seen: dict[Any, Slice] = {}
        for item in group:
            uid = item.find("SOPInstanceUID")
            if uid is None:
                continue
            other = seen.setdefault((str(uid), item.index), item)
            if other is not item:
                raise InputError(
                    f"{source}: the same image twice: {other.name} and {item.name}; leave one out"
                )


def _keys(example: Slice) -> list[tuple[str, _Key, bool]]:
    """Return what is tried, in order: the name, the value of a slice, whether it is a time."""
    return [
        ("DimensionIndexValues", _dimension_index(example), False),
        *((keyword, _number(keyword), False) for keyword in _IDENTIFIERS),
        ("DiffusionBValue", _diffusion, False),
        *((keyword, _number(keyword), True) for keyword in _TIMES),
        *((keyword, _number(keyword), False) for keyword in _LATER_IDENTIFIERS),
        *((keywords[-1], _date_and_time(keywords), True) for keywords in _DATES_AND_TIMES),
    ]


def _dimension_index(example: Slice) -> _Key:
    """Return the indices of a frame in all dimensions but those of space."""
    pointers = [
        keyword_for_tag(item.get("DimensionIndexPointer", 0))
        for item in example.header.dataset.get("DimensionIndexSequence") or ()
    ]
    kept = [at for at, keyword in enumerate(pointers) if keyword not in _SPATIAL_INDICES]

    def key(item: Slice) -> tuple[int, ...] | None:
        value = item.find("DimensionIndexValues")
        values: list[Any] = list(value) if isinstance(value, MultiValue | list) else [value]
        if not kept or len(values) != len(pointers):
            return None
        return tuple(int(values[at]) for at in kept)

    return key


def _number(keyword: str) -> _Key:
    def key(item: Slice) -> float | None:
        value = item.find(keyword)
        # EchoNumbers may be several.
        if value is None or isinstance(value, MultiValue):
            return None
        return numbers(value, 1, f"{item.name}: {keyword}")[0]

    return key


def _diffusion(item: Slice) -> tuple[float, ...] | None:
    """Return b-value and direction; no direction for the images without one."""
    b_value = item.find("DiffusionBValue")
    if b_value is None:
        return None
    direction = item.find("DiffusionGradientOrientation")
    return (
        *numbers(b_value, 1, f"{item.name}: DiffusionBValue"),
        *(() if direction is None else numbers(direction, 3, f"{item.name}: gradient direction")),
    )


def _date_and_time(keywords: Sequence[str]) -> _Key:
    def key(item: Slice) -> tuple[str, ...] | None:
        *date, time = (item.find(keyword) for keyword in keywords)
        return None if time is None else (*(str(part or "") for part in date), str(time))

    return key
