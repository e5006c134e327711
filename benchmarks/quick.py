"""Four real volumes at 6000x: quality, time and memory of the command line.

Run by ``make bench-quick``. Prints a Markdown table, a row as soon as it is measured. The volumes
are looked for in --data, by default the folder in INRCODEC_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import inrcodec

RATIO = 6000
LEAST_FILL = 0.97
"""A file uses at least this share of the bytes it may have."""

COLUMNS = (
    "volume", "bytes", "ratio", "PSNR dB", "SSIM", "target dB", "SPERR dB",
    "encode s", "decode s", "peak MB",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """PSNR (range peak) to reach, and that of SPERR at the same ratio."""

    target: float
    sperr: float


VOLUMES = {
    "mr_t1_brain_crop": Reference(27.2, 27.19),
    "ct_head": Reference(28.9, 27.21),
    "mr_t2_brain": Reference(24.6, 22.75),
    "microscopy_mouse_brain": Reference(48.3, 49.23),
}


def row(name: str, source: Path, folder: Path, preset: str, device: str) -> tuple[str, ...]:
    encoded = folder / f"{name}.moec"
    common = ("--device", device)
    encode = inrcodec(
        "encode", source, "-r", str(RATIO), "--preset", preset, "--json", "-o", encoded, *common
    )
    decode = inrcodec("decode", encoded, "-o", folder / f"{name}.nii.gz", "--quiet", *common)
    report: dict[str, Any] = json.loads(encode.stdout)
    size = encoded.stat().st_size
    if not LEAST_FILL * report["ratio"] <= RATIO <= report["ratio"]:
        raise SystemExit(f"{name}: {size} bytes are a ratio of {report['ratio']:.1f}, not {RATIO}")
    reference = VOLUMES[name]
    return (
        name, f"{size:,}", f"{report['ratio']:.0f}", f"{report['psnr']:.2f}",
        f"{report['ssim']:.4f}", f"{reference.target:.1f}", f"{reference.sperr:.2f}",
        f"{encode.seconds:.0f}", f"{decode.seconds:.1f}", f"{encode.peak_mb:.0f}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="VOLUME", help=f"of {', '.join(VOLUMES)}")
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("INRCODEC_DATA", "../shared/data"))
    )
    options = parser.parse_args()
    names = options.volumes or list(VOLUMES)
    sources = {name: options.data / f"{name}.nii.gz" for name in names}
    for name, source in sources.items():
        if name not in VOLUMES:
            parser.error(f"unknown volume {name}")
        if not source.is_file():
            parser.error(f"{source} is missing: name the folder by --data or INRCODEC_DATA")
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            cells = row(name, source, Path(folder), options.preset, options.device)
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
