"""Files written once decode as they did then."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from inrcodec.decoder import decode_bytes

FOLDER = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(FOLDER / "make.py"))


@pytest.mark.parametrize("name", MAKE["CASES"])
def test_golden_file(name: str) -> None:
    original = MAKE["volume"](name)
    decoded = decode_bytes((FOLDER / f"{name}.moec").read_bytes(), device="cpu")
    assert decoded.geometry == original.geometry
    assert decoded.header_block == original.header_block
    expected = np.load(FOLDER / f"{name}.npy")
    assert decoded.data.dtype == expected.dtype == original.data.dtype
    assert decoded.data.shape == expected.shape == original.data.shape
    # Format version 0 decodes in floating point: machines may differ by a rounding step.
    step = 1e-4 * np.ptp(expected) if expected.dtype.kind == "f" else 1
    difference = np.abs(decoded.data.astype(float) - expected.astype(float))
    assert difference.max() <= step
    assert (difference > 0).mean() < 0.02 or expected.dtype.kind == "f"


def test_no_golden_file_stands_alone() -> None:
    assert {p.stem for p in FOLDER.glob("*.moec")} == set(MAKE["CASES"])
