"""Files written once decode to the same voxels, bit for bit, in all releases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden.make import CASES, FOLDER, MANIFEST, describe

from inrcodec.decoder import decode_bytes
from inrcodec.volume.dicom.series import DicomHeader

EXPECTED = json.loads(MANIFEST.read_text())


def test_no_golden_file_is_missing_or_stands_alone() -> None:
    assert {path.stem for path in FOLDER.glob("*.moec")} == set(CASES) == set(EXPECTED)
    assert len(CASES) >= 20


def attributes(header: DicomHeader | None) -> object:
    return header and (header.shared, list(header.frames), header.enhanced)


@pytest.mark.parametrize("name", CASES)
def test_golden_file(name: str) -> None:
    data = (FOLDER / f"{name}.moec").read_bytes()
    decoded = decode_bytes(data, device="cpu")
    assert describe(data, decoded.data) == EXPECTED[name]
    assert decoded.geometry == CASES[name].geometry
    assert decoded.header_block == CASES[name].header_block
    assert attributes(decoded.dicom) == attributes(CASES[name].dicom)


def test_the_worked_example_is_that_of_the_document() -> None:
    data = (FOLDER / "worked_example.moec").read_bytes()
    assert data == bytes.fromhex(
        "4d 4f 45 43 01 03 56 0a 03 08 c7 01 90 03 78 13 ca 1a f1 02 9d ea"
        "47 01 00 16 73 8f 93 4e 19 00 02 01 04 01 02 16 09 15 09 15 09 14 07 17 07 16 04"
        "fd f2 89 f9 a2 06 73 16 d3 55 65"
    )
    voxels = decode_bytes(data, device="cpu").data
    assert np.array_equal(voxels, [249, 131, 93, 189, 216, 243, -13, -77])
