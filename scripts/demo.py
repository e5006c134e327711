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

from inrcodec.errors import InrcodecError
from inrcodec.metrics import measure
from inrcodec.report.montage import draw_planes
from inrcodec.report.orientation import orientation
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


def draw(scan: Path, encoded: Path, decoded: Path, picture: Path) -> None:
    before, after = read_nifti(scan), read_nifti(decoded)
    quality = measure(before.data, after.data)
    size = encoded.stat().st_size
    draw_planes(
        before.data,
        after.data,
        before.geometry.spacing(before.data.ndim),
        title=f"{scan.name}: {before.data.nbytes:,} bytes of voxels in a file of {size:,}",
        caption=f"ratio {before.data.nbytes / size:,.0f}, PSNR {quality.psnr_range:.2f} dB"
        f" (peak: the value range), SSIM {quality.ssim:.3f}",
        orientation=orientation(before.geometry, before.data.shape),
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
