"""Regions of a volume in numpy's syntax: ``10:50,:,20`` is x 10 to 49, all of y, z 20."""

from __future__ import annotations

import re

from inrcodec.errors import RegionError

AXIS_NAMES = "xyzt"

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def parse_region(text: str, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Read a region of a volume of ``shape`` -> one slice for each axis, first axis first.

    Commas separate the axes. An axis is ``start:stop:step`` with each part optional, or one voxel,
    which leaves the axis in place with a length of 1. ``...`` stands for all axes not named, and
    axes missing at the end are whole. Negative numbers count from the end of the axis, and slices
    are clipped to it, as in numpy.

    The slices returned are not empty, and have no negative number and a step of at least 1. Raises
    ``RegionError`` for anything else.
    """
    items = [item.strip() for item in text.split(",")]
    if "..." not in items:
        items.append("...")
    gap = items.index("...")
    del items[gap]
    if len(items) > len(shape):
        raise RegionError(f"region {text!r} names {len(items)} axes; the volume has {len(shape)}")
    items[gap:gap] = [":"] * (len(shape) - len(items))
    selected = []
    for item, length, axis in zip(items, shape, AXIS_NAMES, strict=False):
        voxels = select_voxels(_parse_item(item, length, axis), length, axis)
        selected.append(slice(voxels.start, voxels.stop, voxels.step))
    return tuple(selected)


def select_voxels(index: int | slice, length: int, axis: str) -> range:
    """Return the voxels that ``index`` selects on an axis of ``length`` voxels, at least one.

    Raises ``RegionError``, with the name ``axis``, for one out of range and for an empty selection.
    """
    if isinstance(index, slice):
        voxels = range(*index.indices(length))
        if not voxels:
            raise RegionError(
                f"axis {axis}: the slice selects none of its voxels; choose within 0:{length}"
            )
        return voxels
    if not -length <= index < length:
        raise RegionError(
            f"axis {axis}: {index} is out of range; choose from {-length} to {length - 1}"
        )
    return range(index % length, index % length + 1)


def _parse_item(item: str, length: int, axis: str) -> int | slice:
    parts = [part.strip() for part in item.split(":")]
    if len(parts) > 3 or not all(
        _NUMBER.fullmatch(part) or (not part and len(parts) > 1) for part in parts
    ):
        raise RegionError(
            f"axis {axis}: {item!r} is not a voxel from {-length} to {length - 1}, nor "
            f"start:stop or start:stop:step within 0:{length}"
        )
    numbers = [int(part) if part else None for part in parts]
    if len(numbers) == 1 and numbers[0] is not None:
        return numbers[0]
    if len(numbers) == 3 and numbers[2] is not None and numbers[2] < 1:
        raise RegionError(f"axis {axis}: the step of {item!r} must be at least 1")
    return slice(*numbers)
