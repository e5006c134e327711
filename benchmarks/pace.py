"""What quality an encode has after how much time: presets, time limits, and devices.

For each volume a row for each preset, on the CPU; with --limits, one for each time limit on
--device; and with --reach, the time limit at which that device first has the PSNR of the CPU's
medium preset, or one that is named: 5 s, and half as much again each time. ``make bench-cuda``
runs it for a GPU. Prints a Markdown table, a row as soon as it is measured; PSNR is that of the
decoded file, seconds those of the whole command.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from command import inrcodec
from measuring import add_data_option, path_of

COLUMNS = ("volume", "ratio", "device", "asked", "encode s", "peak MB", "PSNR dB")
LONGEST_REACH = 600.0


@dataclass(frozen=True)
class Encoding:
    """An encode of one volume, to be asked for in several ways."""

    name: str
    source: Path
    ratio: int
    folder: Path

    def row(self, device: str, asked: str, *options: str) -> float:
        """Measure and print one way; returns its PSNR."""
        run = inrcodec(
            "encode", self.source, "-r", str(self.ratio), "--json", "--device", device,
            "-o", self.folder / "pace.moec", "--force", *options,
        )  # fmt: skip
        psnr: float = json.loads(run.stdout)["psnr"]
        cells = (
            self.name, f"{self.ratio}x", device, asked, f"{run.seconds:.0f}",
            f"{run.peak_mb:,.0f}", f"{psnr:.2f}",
        )  # fmt: skip
        print("|", " | ".join(cells), "|", flush=True)
        return psnr

    def within(self, device: str, seconds: float) -> float:
        limit = ("--preset", "slow", "--time-limit", f"{seconds / 60:.6f}")
        return self.row(device, f"{seconds:.0f} s", *limit)


def growing() -> Iterator[float]:
    seconds = 5.0
    while seconds <= LONGEST_REACH:
        yield seconds
        seconds *= 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=["ct_head", "mr_t1_brain_crop"])
    parser.add_argument("--ratio", type=int, default=1024)
    parser.add_argument("--presets", default="fast,medium,slow", help="on the CPU")
    parser.add_argument("--limits", default="", help="seconds, on --device")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--reach", type=float, nargs="?", const=math.nan, metavar="DB")
    add_data_option(parser)
    options = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.volumes:
            source = path_of(name, options.data)
            encoding = Encoding(name, source, options.ratio, Path(folder))
            of_medium = math.nan
            for preset in filter(None, options.presets.split(",")):
                psnr = encoding.row("cpu", preset, "--preset", preset)
                of_medium = psnr if preset == "medium" else of_medium
            for seconds in map(float, filter(None, options.limits.split(","))):
                encoding.within(options.device, seconds)
            if options.reach is not None:
                goal = of_medium if math.isnan(options.reach) else options.reach
                next((s for s in growing() if encoding.within(options.device, s) >= goal), None)


if __name__ == "__main__":
    main()
