"""Elements of datasets that share them: a dataset is changed by new elements, never inside one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code


def put(dataset: Dataset, keyword: str, value: Any) -> None:
    """Set an attribute by a new element, with the standard's VR."""
    dataset.add_new(keyword, dictionary_VR(keyword), value)


def put_items(dataset: Dataset, keyword: str, items: Iterable[Dataset]) -> None:
    """Set a sequence."""
    put(dataset, keyword, Sequence(items))


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return the values of an attribute; none where it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue | Sequence | list):
        return list(value)
    return [] if value is None or value == "" else [value]


def copied(*datasets: Dataset) -> Dataset:
    """Return one dataset with the elements of all; a later dataset overrides."""
    merged = Dataset()
    for dataset in datasets:
        merged.update(dataset)
    return merged


def copy_private(elements: Iterable[DataElement], source: Dataset, target: Dataset) -> None:
    """Copy private elements of ``source``, into a block of ``target`` of the same creator.

    Two datasets may have given the same block to different creators.
    """
    for element in elements:
        tag = element.tag
        creator = source.get((tag.group, tag.element >> 8))
        if not tag.is_private_creator and creator is not None and creator.value:
            block = target.private_block(tag.group, creator.value, create=True)
            block.add_new(tag.element & 0xFF, element.VR, element.value)


def coded(code: Code) -> Dataset:
    """Return the item that stands for ``code``."""
    item = Dataset()
    put(item, "CodeValue", code.value)
    put(item, "CodingSchemeDesignator", code.scheme_designator)
    put(item, "CodeMeaning", code.meaning)
    return item
