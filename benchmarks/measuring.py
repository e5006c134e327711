"""What the benchmarks of single stages share: a volume to fit, a network's quality on it, and files
of results, a line each, to which a command adds what is not there yet."""

from __future__ import annotations

import csv
import os
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.inr import INR
from inrcodec.volume.intensity import normalize
from inrcodec.volume.read import read_volume

VOXELS = 1 << 19
"""That the quality is measured on."""

_AT_A_TIME = 1 << 16


class Problem:
    """A volume as the fit sees it."""

    def __init__(self, path: Path) -> None:
        volume = read_volume(path)
        self.header = VolumeHeader.of(volume.data)
        self.values = normalize(volume.data, self.header)
        self.coordinates = sum(length > 1 for length in self.header.shape)
        # Drawn by importance, with the weights that undo it: an unbiased estimate, and the same
        # voxels for all networks.
        self._voxels = self.sampler(seed=1 << 20).draw(VOXELS)

    def sampler(self, seed: int) -> VoxelSampler:
        return VoxelSampler(self.values, self.header.shape, torch.device("cpu"), seed)

    def room(self, ratio: int) -> int:
        """Bytes of a file at that ratio."""
        return self.header.raw_bytes // ratio

    @torch.no_grad()
    def psnr(self, network: INR) -> float:
        """In dB, peak: the range of the volume's values."""
        errors = [
            (network(coordinates).clamp(-1, 1) - target).square() * weight
            for coordinates, target, weight in zip(
                torch.split(self._voxels.coordinates, _AT_A_TIME, dim=1),
                torch.split(self._voxels.target, _AT_A_TIME),
                torch.split(self._voxels.weight, _AT_A_TIME),
                strict=True,
            )
        ]
        return float(10 * torch.log10(4 / torch.cat(errors).mean()))


def add_data_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("INRCODEC_DATA", "../shared/data")
    )


def path_of(name: str, data: Path) -> Path:
    """The file of that name in a folder, whatever its suffix."""
    found = sorted(data.glob(f"{name}.*"))
    if not found:
        raise SystemExit(f"{data}: has no volume {name}: set INRCODEC_DATA, or use --data")
    return found[0]


def lines(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_known(path: Path, key: Mapping[str, str]) -> bool:
    """Whether a line has all of these."""
    return any(key.items() <= line.items() for line in lines(path))


def append(path: Path, line: Mapping[str, object], columns: Sequence[str]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)
