"""The planes of a file: one, or those of a multi-frame file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.volume.dicom.attributes import find, numbers
from inrcodec.volume.dicom.damage import damage_reported, one_line
from inrcodec.volume.dicom.geometry import Plane, plane
from inrcodec.volume.dicom.header import Header


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One plane, with the file it is from."""

    header: Header
    index: int
    """Of the frame in its file."""
    frame: Dataset
    """For a multi-frame file, the item of PerFrameFunctionalGroupsSequence; else empty."""
    name: str
    plane: Plane

    def find(self, keyword: str) -> Any | None:
        """Return the value of an attribute of this plane; None if it has none."""
        return find(keyword, self.frame, self.header.dataset)


def slices(header: Header) -> list[Slice]:
    """Return the planes of a file.

    Raises ``InputError`` for one whose place is not told, ``UnsupportedVolumeError`` for a
    multi-frame file of a kind that has no places.
    """
    name = header.name
    with damage_reported(name):
        count = frame_count(header)
        if "MOSAIC" in (header.dataset.get("ImageType") or ()):
            raise UnsupportedVolumeError(
                f"{name}: mosaics, whose slices lie side by side in one image, are not supported; "
                "convert the series to NIfTI"
            )
        items = header.dataset.get("PerFrameFunctionalGroupsSequence")
        if items is None:
            if count > 1:
                raise UnsupportedVolumeError(
                    f"{name}: {count} frames without functional groups "
                    f"({one_line(header.sop_class)}); only enhanced multi-frame files are supported"
                )
            nothing = Dataset()
            return [Slice(header, 0, nothing, name, plane(nothing, header.dataset, name))]
        if len(items) != count:
            raise InputError(
                f"{name}: damaged: NumberOfFrames is {count}, but "
                f"PerFrameFunctionalGroupsSequence has {len(items)} items"
            )
        return [
            Slice(header, index, item, label, plane(item, header.dataset, label))
            for index, item in enumerate(items)
            for label in [f"{name}, frame {index + 1}"]
        ]


def frame_count(header: Header) -> int:
    """Return NumberOfFrames, 1 where there is none."""
    with damage_reported(header.name):
        value = header.dataset.get("NumberOfFrames")
        (count,) = numbers(1 if value in (None, "") else value, 1, f"{header.name}: NumberOfFrames")
        if count < 1 or count != int(count):
            raise InputError(f"{header.name}: NumberOfFrames is {count:g}")
        return int(count)
