"""The lists of chunk D are part of the format: they never change, and the document has them."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from inrcodec.bitstream.dicom_terms import ATTRIBUTES, TERMS

DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"
APPENDIX = "## Attributes and terms of chunk D"


@pytest.mark.parametrize(
    ("words", "count", "checksum"), [(ATTRIBUTES, 112, 0x14F811E1), (TERMS, 321, 0xF77023BD)]
)
def test_lists_are_those_of_version_1(words: tuple[str, ...], count: int, checksum: int) -> None:
    assert len(words) == len(set(words)) == count
    assert zlib.crc32("\n".join(words).encode("ascii")) == checksum


def test_the_document_has_both_lists() -> None:
    appendix = DOCUMENT.read_text().split(APPENDIX)[1]
    blocks = re.findall(r"```\n(.*?)\n```", appendix, re.DOTALL)[:2]
    for block, words in zip(blocks, (ATTRIBUTES, TERMS), strict=True):
        cells = [cell for line in block.splitlines() for cell in line.split(" | ")]
        assert cells == [f"{number} {word}" for number, word in enumerate(words)]
