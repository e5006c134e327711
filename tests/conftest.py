"""A small scan and its ``.moec`` file, shared by the tests of what surrounds the codec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import settings

from inrcodec import encoding
from inrcodec.encoder import Target, encode_file
from inrcodec.planner import Effort

FILE_BYTES = 400

# The networks here are too small to share out.
torch.set_num_threads(1)

# The same examples in every run, however slow the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NIfTI file of 24 x 20 x 16 voxels, int16, 1 x 1.5 x 2 mm."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 20, 16)), indexing="ij")
    data = 1000 * np.exp(-2 * (x * x + y * y + z * z)) + 200 * np.sin(5 * x)
    image = nib.Nifti1Image(data.astype(np.int16), np.diag([1.0, 1.5, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = "Jane Doe"
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nib.save(image, path)
    return path


@pytest.fixture
def short_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding in this process takes a moment, whatever the preset."""
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(60, 4, 2048))


@pytest.fixture(scope="session")
def moec(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a ``.moec`` file of ``scan``."""
    path = tmp_path_factory.mktemp("moec") / "scan.moec"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "plan_effort", lambda *_: Effort(60, 4, 2048))
        encode_file(scan, path, target=Target(file_bytes=FILE_BYTES))
    return path.read_bytes()


def run_python(code: str, *arguments: str) -> str:
    """Run Python code in a fresh interpreter and return what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
