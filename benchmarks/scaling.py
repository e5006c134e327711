"""How the time and memory of encoding grow with the volume: synthetic ones of 64^3 to 512^3 voxels.

Run by ``make bench-scaling``. Prints a Markdown table, a row as soon as it is measured. The volume
of each size is the same phantom on a finer grid: ellipsoids at random, smoothed, with noise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from command import inrcodec
from numpy.typing import NDArray

COLUMNS = (
    "voxels", "weights", "experts", "encode s", "of it fit", "quantize", "decode and measure",
    "encode peak MB", "PSNR dB", "decode s", "decode peak MB",
)  # fmt: skip
ELLIPSOIDS = 60
NOISE = 20
"""Standard deviation, of values up to some thousands."""


def phantom(side: int) -> NDArray[np.int16]:
    """(side, side, side) int16, Fortran order."""
    random = np.random.default_rng(0)
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    x, y, z = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    total = np.zeros((side, side, side), dtype=np.float32)
    for _ in range(ELLIPSOIDS):
        centre, radii = random.uniform(-0.7, 0.7, 3), random.uniform(0.05, 0.6, 3)
        height = random.uniform(-400, 800)
        distance = sum(
            np.square((at - c) / r) for at, c, r in zip((x, y, z), centre, radii, strict=True)
        )
        total += height / (1 + np.exp(np.minimum((np.sqrt(distance) - 1) * 40, 80)))
    total += random.normal(0, NOISE, total.shape)
    return np.asfortranarray(np.clip(total, -32768, 32767).astype(np.int16))


def row(side: int, ratio: int, preset: str, folder: Path) -> tuple[str, ...]:
    source, encoded = folder / f"{side}.nii", folder / f"{side}.moec"
    nib.save(nib.Nifti1Image(phantom(side), np.eye(4)), source)  # type: ignore[no-untyped-call]
    encode = inrcodec(
        "encode", source, "-r", str(ratio), "--preset", preset, "--json", "-o", encoded
    )
    decode = inrcodec("decode", encoded, "-o", folder / "decoded.nii", "--force", "--quiet")
    source.unlink()
    report: dict[str, Any] = json.loads(encode.stdout)
    network, seconds = report["network"], report["seconds"]
    return (
        f"{side}^3", f"{network['weights']:,}", str(network.get("experts", 1)),
        f"{encode.seconds:.0f}", f"{seconds['fit']:.0f}", f"{seconds['quantize']:.0f}",
        f"{seconds['decode'] + seconds['measure']:.0f}", f"{encode.peak_mb:,.0f}",
        f"{report['psnr']:.2f}", f"{decode.seconds:.1f}", f"{decode.peak_mb:,.0f}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--ratio", type=int, default=1024)
    parser.add_argument("--preset", default="fast")
    options = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sides:
            cells = row(side, options.ratio, options.preset, Path(folder))
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
