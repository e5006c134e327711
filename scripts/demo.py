"""Encode and decode a scan with the command line, and draw what is left of it.

Run by ``make demo``, or by hand: ``python scripts/demo.py [--scan FILE] [--ratio N]``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InrcodecError
from inrcodec.metrics import measure
from inrcodec.montage import draw_planes
from inrcodec.volume.nifti import read_nifti

EXAMPLE = Path(nib.__file__).parent / "tests" / "data" / "example4d.nii.gz"
FOLDER = Path("demo")


def inrcodec(*arguments: str | Path) -> float:
    """Run a command as a user would, and return the seconds it took."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ inrcodec {shlex.join(words)}", flush=True)
    start = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "inrcodec", *words]).returncode
    if code:
        raise SystemExit(code)
    return time.perf_counter() - start


def upright(voxels: NDArray[np.generic], image: nib.Nifti1Image) -> NDArray[np.generic]:
    """The voxels with their axes in RAS order, as the picture shows them."""
    if voxels.ndim < 3:
        return voxels
    return nib.orientations.apply_orientation(voxels, nib.io_orientation(image.affine))


def draw(scan: Path, encoded: Path, decoded: Path, picture: Path) -> None:
    image = nib.load(scan)
    before, after = read_nifti(scan).data, read_nifti(decoded).data
    quality = measure(before, after)
    size = encoded.stat().st_size
    spacing = nib.as_closest_canonical(image).header.get_zooms()
    draw_planes(
        upright(before, image),
        upright(after, image),
        tuple(float(length) for length in spacing),
        title=f"{scan.name}: {before.nbytes:,} bytes of voxels in a file of {size:,}",
        caption=f"ratio {before.nbytes / size:,.0f}, PSNR {quality.psnr_range:.2f} dB"
        f" (peak: the value range), SSIM {quality.ssim:.3f}",
    ).save(picture, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path, default=EXAMPLE, help="a NIfTI file")
    parser.add_argument("--ratio", default="200", help="voxel bytes over file bytes")
    parser.add_argument("--preset", default="fast", help="fast, medium or slow")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    encoded, decoded, picture = (FOLDER / n for n in ("scan.moec", "decoded.nii.gz", "planes.png"))
    inrcodec(
        "encode", options.scan, "-r", options.ratio, "--preset", options.preset,
        "-o", encoded, "--force",
    )  # fmt: skip
    inrcodec("info", encoded)
    seconds = inrcodec("decode", encoded, "-o", decoded, "--force")
    print(f"decoded in {seconds:.1f} s, the start of Python and torch included")
    try:
        draw(options.scan, encoded, decoded, picture)
    except InrcodecError as error:
        raise SystemExit(f"demo: {error}") from None
    print(f"\n{picture}: three planes of original, decoded and error")


if __name__ == "__main__":
    main()
