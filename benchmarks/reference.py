"""Whether x265 and SPERR come to figures measured before, with the plain settings of those.

The reference is a coarser search: SPERR with columns first at 16/ratio bits per voxel, x265 by a
rate factor, its frames' rows along the first axis, some of it on a volume with half or a quarter of
the samples along each axis, here means of boxes, which a cubic spline brings back. Prints a
Markdown table of PSNR in dB, the reference in brackets: SPERR's at the same bits per voxel, x265's
between two rate factors about the reference's ratio, a quarter apart. What the benchmark itself
gives these codecs is better (docs/benchmarks/peers.md). Needs inrcodec[bench] and ffmpeg.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from measuring import add_data_option, path_of
from numpy.typing import NDArray

from inrcodec.bench.codecs import ffmpeg
from inrcodec.bench.resampling import FloatArray, Shape, box_means, upsample
from inrcodec.volume.read import read_volume

SPERR = {
    "ct_head": (45.01, 37.08, 31.69, 27.21),
    "mr_t1_brain_crop": (35.28, 32.42, 29.96, 27.19),
    "mr_t2_brain": (34.06, 29.27, 25.99, 22.75),
    "microscopy_mouse_brain": (67.34, 60.30, 54.59, 49.23),
    "ct_bonsai_uint8": (47.39, 39.92, 33.91, 28.92),
}
"""PSNR at 64x, 256x, 1024x and 6000x."""

IN_PLANE = "2 in plane"
"""Down-sampling of slices twice as thick as their pixels are wide, which makes voxels cubes."""

X265: dict[str, tuple[tuple[int, int | str, float], ...]] = {
    "ct_head": ((68, 1, 49.39), (262, 1, 40.91), (1049, 2, 33.38)),
    "mr_t1_brain_crop": ((68, 1, 35.07), (282, 1, 31.54), (1089, 2, 29.48)),
    "mr_t2_brain": ((65, 1, 35.32), (264, 1, 29.64), (1062, IN_PLANE, 25.22)),
    "microscopy_mouse_brain": (
        (251, 1, 61.75), (270, 1, 61.35), (1080, 2, 51.65), (6293, 4, 45.34)
    ),
    "ct_bonsai_uint8": ((66, 1, 48.97), (269, 1, 39.42), (1054, 2, 34.05)),
}  # fmt: skip
"""Ratio, by how much each axis was down-sampled, and PSNR; of ``medium`` or ``slow``. That T2's was
`IN_PLANE` is a guess: so it comes out again, and along all axes it would be 0.3 dB more."""

RATIOS = (64, 256, 1024, 6000)
PRESETS = ("medium", "slow")
FORMAT, PEAK = "gray12le", np.float32(4095)


@dataclass(frozen=True)
class Stack:
    """A volume as video: ``frames`` (Z, X, Y) from 0 to 1, of ``raw_bytes``."""

    frames: FloatArray
    raw_bytes: int

    def psnr(self, decoded: FloatArray) -> float:
        error = np.square(decoded.clip(0, 1) - self.frames).mean(dtype=np.float64)
        return float(-10 * np.log10(error))


def sperr(data: NDArray[Any], ratio: int) -> float:
    """PSNR at the bits per voxel of that ratio, of the volume as nibabel gives it."""
    import imagecodecs

    values = np.ascontiguousarray(data, dtype=np.float32)
    bits = 8 * data.itemsize / ratio
    coded = imagecodecs.sperr_encode(values, bits, "bpp", chunks=values.shape)
    low, high = float(data.min()), float(data.max())
    decoded = np.asarray(imagecodecs.sperr_decode(coded)).clip(low, high)
    error = np.square(decoded.astype(np.float64) - values).mean()
    return float(20 * np.log10(high - low) - 10 * np.log10(error))


def down(frames: FloatArray, sampling: int | str) -> FloatArray:
    if sampling == IN_PLANE:
        return np.concatenate([box_means(frame[None], 2) for frame in frames])
    return frames if sampling == 1 else box_means(frames, int(sampling))


def up(low: FloatArray, sampling: int | str, shape: Shape) -> FloatArray:
    if sampling == IN_PLANE:
        return np.concatenate([upsample(frame[None], 2, (1, *shape[1:])) for frame in low])
    return low if sampling == 1 else upsample(low, int(sampling), shape)


def x265(stack: Stack, ratio: float, sampling: int | str, preset: str) -> float | None:
    """PSNR at that ratio, between the rate factors that are next to it; None beyond the last."""
    frames = np.rint(down(stack.frames, sampling) * PEAK).astype("<u2")
    _, height, width = frames.shape

    @cache
    def coded(quarters: int) -> bytes:
        options = ["-c:v", "libx265", "-preset", preset]
        options += ["-x265-params", f"crf={quarters / 4}:log-level=error"]
        return ffmpeg.encode(frames.tobytes(), FORMAT, width, height, options, "hevc")

    def octaves(quarters: int) -> float:
        return math.log2(stack.raw_bytes / len(coded(quarters)))

    def quality(quarters: int) -> float:
        raw = ffmpeg.decode(coded(quarters), FORMAT, "hevc", 2, frames.nbytes)
        decoded = np.frombuffer(raw, "<u2").reshape(frames.shape).astype(np.float32) / PEAK
        return stack.psnr(up(decoded, sampling, stack.frames.shape))

    finer, coarser, wanted = 0, 4 * 51, math.log2(ratio)
    if octaves(coarser) < wanted:
        return None
    while coarser - finer > 1:
        middle = (finer + coarser) // 2
        finer, coarser = (middle, coarser) if octaves(middle) < wanted else (finer, middle)
    share = (wanted - octaves(finer)) / (octaves(coarser) - octaves(finer))
    return quality(finer) * (1 - share) + quality(coarser) * share


def rows(name: str, path: Path) -> Iterator[tuple[str, ...]]:
    data = read_volume(path).data
    yield (
        name, "SPERR",
        *(f"{sperr(data, ratio):.2f} ({reference:.2f})"
          for ratio, reference in zip(RATIOS, SPERR[name], strict=True)),
    )  # fmt: skip
    low, high = float(data.min()), float(data.max())
    frames = np.ascontiguousarray(np.moveaxis(data, 2, 0), dtype=np.float32)
    stack = Stack((frames - np.float32(low)) / np.float32(high - low), data.nbytes)
    for preset in PRESETS:
        cells = []
        for ratio, sampling, reference in X265[name]:
            found = x265(stack, ratio, sampling, preset)
            shown = "-" if found is None else f"{found:.2f}"
            sampled = "" if sampling == 1 else f" ↓{sampling}"
            cells.append(f"{shown} ({reference:.2f} at {ratio}x{sampled})")
        yield name, f"x265 {preset}", *cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=list(SPERR))
    add_data_option(parser)
    options = parser.parse_args()
    print("| volume | codec | 64x | 256x | 1024x | 6000x |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.volumes:
        for cells in rows(name, path_of(name, options.data)):
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
