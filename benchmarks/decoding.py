"""What exact decoding costs in quality, and what decoding costs in time and memory.

Run by ``make bench-decoding``. Prints a Markdown table, a row as soon as it is measured. The
volumes are looked for in --data, by default the folder in INRCODEC_DATA or ../shared/data. Files
that are in --files already are not encoded again: no cost depends on how long the fit was.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray

from inrcodec.decoder import Content, parse_content
from inrcodec.errors import BudgetError
from inrcodec.metrics import measure
from inrcodec.model.grid import Grid
from inrcodec.model.network import from_quantized
from inrcodec.volume.nifti import read_nifti

VOLUMES = (
    "mr_t1_brain_crop", "ct_head", "mr_t2_brain", "microscopy_mouse_brain", "ct_bonsai_uint8",
    "mr_dti_4d", "hipct_tinc_sample", "ct_thigh_dicom_series", "mr_t1_enhanced_multiframe",
)  # fmt: skip
RATIOS = (6000, 1024)
ALL_RATIOS = (6000, 1024, 256, 64)
"""Of the first volume, the one that the decoder's targets are set for."""

COLUMNS = (
    "volume", "ratio", "bytes", "weights", "partition", "float dB", "decoded dB", "cost dB",
    "decode s", "1 % region s", "quarter scale s", "peak MB above output",
)  # fmt: skip

_SPAN = 1 << 15


def as_nifti(name: str, data: Path, folder: Path) -> Path:
    """The volume as a NIfTI file; slices of DICOM are stacked, their geometry left out."""
    nifti = data / f"{name}.nii.gz"
    if nifti.exists():
        return nifti
    nifti = folder / f"{name}.nii.gz"
    if not nifti.exists():
        if (series := data / f"{name}.tar.gz").exists():
            with tarfile.open(series) as archive:
                files = [archive.extractfile(member) for member in archive if member.isfile()]
                slices = [pydicom.dcmread(io.BytesIO(file.read())) for file in files if file]
            slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
            voxels = np.stack([s.pixel_array for s in slices])
        else:
            voxels = pydicom.dcmread(data / f"{name}.dcm").pixel_array
        nib.save(nib.Nifti1Image(np.ascontiguousarray(voxels.T), np.eye(4)), nifti)  # type: ignore[no-untyped-call]
    return nifti


_INRCODEC = """
import atexit, sys
from inrcodec.cli import main

def tell_peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            print(line.split()[1])

atexit.register(tell_peak)
main()
"""
"""The command line, which then prints its peak resident set in KiB: that which the system tells a
parent process starts with the parent's own."""


def run(*arguments: str | Path) -> tuple[float, float]:
    """Seconds and peak resident set, in 10^6 bytes, of a command of inrcodec."""
    command = [sys.executable, "-c", _INRCODEC, *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.returncode)
    return seconds, int(done.stdout) * 1024 / 1e6


def float_voxels(content: Content) -> NDArray[np.generic]:
    """What the weights of the file give in float32, without the format's fixed point."""
    header, network = content.header, content.network
    assert network is not None
    model = from_quantized(network)
    grid = Grid(header.shape, torch.device("cpu"))
    voxels = np.empty(header.voxels, header.dtype)
    half = (float(header.high) - float(header.low)) / 2
    with torch.no_grad():
        for start in range(0, header.voxels, _SPAN):
            number = torch.arange(start, min(start + _SPAN, header.voxels))
            values = model(grid.at(number)).clamp(-1, 1).double().numpy() + 1
            voxels[start : start + _SPAN] = np.rint(float(header.low) + values * half)
    return voxels.reshape(header.shape, order="F")


def row(source: Path, name: str, ratio: int, folder: Path, preset: str) -> list[str]:
    encoded, decoded = folder / f"{name}.{ratio}.moec", folder / "decoded.nii"
    if not encoded.exists():
        size = ("-r", str(ratio), "--preset", preset)
        run("encode", source, *size, "-q", "-o", encoded)
    content = parse_content(encoded.read_bytes())
    header, network = content.header, content.network
    assert network is not None
    original = read_nifti(source).data
    decode = ("decode", encoded, "-q", "-f", "-o", decoded)
    seconds, peak = run(*decode)
    exact = measure(original, read_nifti(decoded).data).psnr_range
    in_float = measure(original, float_voxels(content)).psnr_range
    # A cube of a hundredth of the voxels, in the middle.
    region = ",".join(
        f"{(n - length) // 2}:{(n - length) // 2 + length}"
        for n in header.shape[:3]
        for length in [max(1, round(n * 0.01 ** (1 / 3)))]
    )
    return [
        name, str(ratio), f"{encoded.stat().st_size:,}", f"{network.architecture.parameters:,}",
        network.architecture.partition.value, f"{in_float:.3f}", f"{exact:.3f}",
        f"{in_float - exact:.4f}", f"{seconds:.1f}",
        f"{run(*decode, '--roi', region)[0]:.2f}", f"{run(*decode, '--scale', '0.25')[0]:.2f}",
        f"{peak - header.raw_bytes / 1e6:.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="VOLUME", help=f"of {', '.join(VOLUMES)}")
    parser.add_argument("--preset", default="fast", help="of the fits (fast)")
    parser.add_argument("--files", type=Path, help="folder that keeps the .moec files")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("INRCODEC_DATA", "../shared/data"))
    )
    options = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.files or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.volumes or VOLUMES:
            source = as_nifti(name, options.data, folder)
            for ratio in ALL_RATIOS if name == VOLUMES[0] else RATIOS:
                try:
                    cells = row(source, name, ratio, folder, options.preset)
                except SystemExit as stop:
                    if stop.code != BudgetError.exit_code:
                        raise
                    cells = [name, str(ratio), "no file is that small"]
                print("|", " | ".join(cells), "|", flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    print(f"\nImporting torch takes {time.perf_counter() - start:.2f} s of each command.")


if __name__ == "__main__":
    main()
