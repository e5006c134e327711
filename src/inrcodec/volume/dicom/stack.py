"""Putting the planes of a series in order, and refusing what is no regular stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.volume.dicom.attributes import numbers
from inrcodec.volume.dicom.damage import damage_reported, one_line
from inrcodec.volume.dicom.fourth_axis import order_in_fourth_axis
from inrcodec.volume.dicom.geometry import deviations, step
from inrcodec.volume.dicom.slices import Slice

_SAME_POSITION = 1e-3
"""mm: planes nearer to each other are at one position."""

_REGULAR_FRACTION = 1e-2
_REGULAR_MM = 0.02
_REGULAR_MOST = 0.1

_SAME_COSINE = 1e-4
_SAME_SPACING = 1e-4

_GAP = 1.5
"""A step of more than this many usual steps is a gap."""

_MAX_KINDS = 16
"""So many different planes are too many to go on comparing."""

_NAMED = 3
"""At most this many planes are named in a message."""

_T = TypeVar("_T")


def stack(planes: Sequence[Slice], source: str, allow_irregular: bool) -> list[list[Slice]]:
    """Return the planes in order: for each place in the fourth axis, those along the normal.

    The list has one item for a 3D volume. See `inrcodec.volume.dicom.read.read_dicom` for what is
    refused; ``source`` names the series in messages.
    """
    with damage_reported(source):
        _refuse_mixtures(planes, source)
        groups = _by_position(planes, source)
        if len(groups[0]) > 1:
            groups = order_in_fourth_axis(groups, source)
        times = [list(column) for column in zip(*groups, strict=True)]
        _require_regular(times[0], source, allow_irregular)
        return times


def _refuse_mixtures(planes: Sequence[Slice], source: str) -> None:
    """Refuse planes that differ in what one array, or one affine, has to share."""

    def same(what: str, kind: Callable[[Slice], _T], equal: Callable[[_T, _T], bool]) -> None:
        kinds: list[tuple[_T, list[Slice]]] = []
        for item in planes:
            value = kind(item)
            for other, members in kinds:
                if equal(value, other):
                    members.append(item)
                    break
            else:
                kinds.append((value, [item]))
                if len(kinds) > _MAX_KINDS:
                    break
        if len(kinds) > 1:
            kinds.sort(key=lambda entry: -len(entry[1]))
            (usual, most), (unusual, few) = kinds[:2]
            raise InputError(
                f"{source}: mixed {what}: {_text(usual)} in {len(most)} of {len(planes)} slices, "
                f"{_text(unusual)} in {_names(few)}; leave out what does not belong to the volume"
            )

    def attributes(*keywords: str) -> Callable[[Slice], tuple[Any, ...]]:
        return lambda item: tuple(item.find(keyword) for keyword in keywords)

    same("images and localizers", _image_kind, _is_equal)
    same("SOP classes", lambda item: item.header.sop_class, _is_equal)
    same("sizes (columns, rows)", attributes("Columns", "Rows"), _is_equal)
    same(
        "pixel formats (BitsAllocated, BitsStored, HighBit, PixelRepresentation, "
        "PhotometricInterpretation)",
        attributes(
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
            "PhotometricInterpretation",
        ),
        _is_equal,
    )
    same("FrameOfReferenceUID", attributes("FrameOfReferenceUID"), _is_equal)
    same("stacks (StackID)", attributes("StackID"), _is_equal)
    same("orientations", lambda item: item.plane.orientation, _is_same_orientation)
    same("PixelSpacing", lambda item: item.plane.spacing, _is_same_spacing)
    if planes[0].find("Modality") != "PT":
        same("rescale (RescaleSlope, RescaleIntercept)", _rescale, _is_equal)
        same("modality lookup tables", attributes("ModalityLUTSequence"), _is_equal)


def _by_position(planes: Sequence[Slice], source: str) -> list[list[Slice]]:
    """Return the planes at each position, sorted along the normal; as many at each."""
    normal = planes[0].plane.normal
    distances = np.array([item.plane.position for item in planes]) @ normal
    groups: list[list[Slice]] = []
    reached = -np.inf
    for index in np.argsort(distances, kind="stable"):
        item = planes[index]
        if distances[index] - reached > _SAME_POSITION:
            groups.append([])
            reached = distances[index]
        groups[-1].append(item)
    for group in groups:
        for item in group[1:]:
            offset = np.subtract(item.plane.position, group[0].plane.position)
            if np.linalg.norm(offset) > _SAME_POSITION:
                raise InputError(
                    f"{source}: two slices in one plane, shifted: {_place(group[0])} and "
                    f"{_place(item)}"
                )
    counts = sorted(len(group) for group in groups)
    usual = counts[len(counts) // 2]
    odd = next((group for group in groups if len(group) != usual), None)
    if odd is not None:
        what = "duplicate slices" if len(odd) > usual else "missing slices"
        raise InputError(
            f"{source}: {what}: {len(odd)} at {_position(odd[0])} ({_names(odd)}), {usual} at most "
            "other positions"
        )
    return groups


def _require_regular(planes: Sequence[Slice], source: str, allow_irregular: bool) -> None:
    """Refuse slices that are not at equal steps along a line."""
    if len(planes) < 3 or allow_irregular:
        return
    positions = [item.plane for item in planes]
    spacing = float(np.linalg.norm(step(positions)))
    tolerance = max(_REGULAR_FRACTION * spacing, min(_REGULAR_MM, _REGULAR_MOST * spacing))
    off = deviations(positions)
    if off.max() <= tolerance:
        return
    steps = np.diff([plane.position for plane in positions], axis=0) @ positions[0].normal
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > _GAP * usual)
    advice = (
        "or add --allow-irregular (in Python, allow_irregular=True), which keeps the position of "
        "each slice"
    )
    if gaps.size:
        named = "; ".join(
            f"{steps[gap]:.6g} mm between {_place(planes[gap])} and {_place(planes[gap + 1])}"
            for gap in gaps[:_NAMED]
        )
        more = f"; {gaps.size - _NAMED} more" if gaps.size > _NAMED else ""
        raise InputError(
            f"{source}: gaps between slices that are {usual:.6g} mm apart: {named}{more}; add the "
            f"missing slices, {advice}"
        )
    worst = int(off.argmax())
    raise UnsupportedVolumeError(
        f"{source}: irregular positions: {_place(planes[worst])} is {off[worst]:.3g} mm off equal "
        f"steps of {spacing:.6g} mm; resample the volume, {advice}"
    )


def _image_kind(item: Slice) -> str:
    value = item.find("ImageType")
    return "localizer" if value is not None and "LOCALIZER" in value else "image"


def _rescale(item: Slice) -> tuple[Any, ...]:
    values = [item.find(keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
    pair = [
        None if value is None else numbers(value, 1, f"{item.name}: rescale") for value in values
    ]
    return (*pair, item.find("RescaleType"))


def _is_equal(a: Any, b: Any) -> bool:
    return bool(a == b)


def _is_same_orientation(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(abs(x - y) <= _SAME_COSINE for x, y in zip(a, b, strict=True))


def _is_same_spacing(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(abs(x - y) <= _SAME_SPACING * y for x, y in zip(a, b, strict=True))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return (
            "(" + ", ".join(_text(part) for part in value) + ")"
            if len(value) > 1
            else _text(*value)
        )
    return f"{value:g}" if isinstance(value, float) else one_line(value)


def _names(planes: Sequence[Slice]) -> str:
    more = f" and {len(planes) - _NAMED} more" if len(planes) > _NAMED else ""
    return ", ".join(item.name for item in planes[:_NAMED]) + more


def _position(item: Slice) -> str:
    return "({:g}, {:g}, {:g})".format(*item.plane.position)


def _place(item: Slice) -> str:
    return f"{_position(item)} ({item.name})"
