"""path -> Volume -> Encoding (fit, then code) -> bytes -> path; for a PSNR, until it is met."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.device import pick_device
from inrcodec.encoding import ALWAYS_ALLOWED, Coded, EncodeReport, Encoding, Fitted, Metadata
from inrcodec.errors import BudgetError
from inrcodec.fitting.checkpoint import check_checkpoint, remove_checkpoint
from inrcodec.fitting.deadline import Deadline
from inrcodec.output import atomic_output, check_output
from inrcodec.planner import NetworkChoice, Preset
from inrcodec.progress import OnProgress, ignore_progress
from inrcodec.quality_search import Stages, UnreachedError, smallest
from inrcodec.volume.read import read_volume
from inrcodec.volume.volume import Volume

__all__ = ["EncodeReport", "Target", "encode_file", "encode_volume"]

_ANY_NETWORK = NetworkChoice()

_FIRST_RATIO, _LEAST_RATIO = 1000, 32
"""Where the search for a quality begins, and how far it goes."""

_LOSSLESS = 150.0
"""dB that stand for voxels without error."""


class _Shares(NamedTuple):
    """Of the time left, where it is limited, before a fit and before each of its codings."""

    fit: float
    code: float


_DRAFT, _FIRST_FIT, _LATER_FIT = _Shares(0.1, 0.05), _Shares(0.55, 0.35), _Shares(0.9, 0.8)
"""Of a search for a PSNR: a second fit, should the first not do, takes about as long as it."""

_TOO_LATE = 0.9
"""Share of the time after which nothing more is tried."""

_Shared = tuple[Fitted | None, _Shares]


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: at most one of ``ratio`` (raw bytes / file bytes), ``file_bytes``, and
    ``bits_per_voxel``, the largest file; or ``psnr`` (dB, range peak), the smallest that has it; or
    both."""

    ratio: float | None = None
    file_bytes: int | None = None
    bits_per_voxel: float | None = None
    psnr: float | None = None

    def bytes_for(self, header: VolumeHeader) -> int:
        """The largest file that meets the target for that volume."""
        if self.ratio is not None:
            return int(header.raw_bytes / self.ratio)
        if self.bits_per_voxel is not None:
            return int(header.voxels * self.bits_per_voxel / 8)
        if self.file_bytes is None:
            raise ValueError("a target names a ratio, a number of bytes, or bits per voxel")
        return self.file_bytes


def encode_file(
    source: Path,
    output: Path,
    *,
    target: Target,
    preset: Preset = Preset.MEDIUM,
    network: NetworkChoice = _ANY_NETWORK,
    metadata: Metadata = "geometry",
    nonfinite: Literal["refuse", "zero"] = "refuse",
    series: str | None = None,
    allow_irregular: bool = False,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    checkpoint: Path | None = None,
    time_limit: float = math.inf,
    on_progress: OnProgress = ignore_progress,
) -> EncodeReport:
    """Encode the NIfTI file or DICOM series ``source`` to the ``.moec`` file ``output``, whole or
    not at all.

    ``nonfinite``, ``series`` and ``allow_irregular`` are those of `read_volume`.

    ``checkpoint`` and ``time_limit`` are as in `encode_volume`; the former is removed once
    ``output`` is written.

    Raises an `InputError` for a volume that cannot be coded, a `BudgetError` where no file of the
    target's size exists, and an `OutputError` where the output cannot be written.
    """
    check_output(output, overwrite)
    if checkpoint is not None:
        check_checkpoint(checkpoint, output)
    data, report = encode_volume(
        read_volume(source, nonfinite=nonfinite, series=series, allow_irregular=allow_irregular),
        target=target,
        preset=preset,
        network=network,
        metadata=metadata,
        device=device,
        threads=threads,
        seed=seed,
        checkpoint=checkpoint,
        time_limit=time_limit,
        on_progress=on_progress,
    )
    with atomic_output(output, overwrite) as file:
        file.write(data)
    if checkpoint is not None:
        remove_checkpoint(checkpoint)
    return report


def encode_volume(
    volume: Volume,
    *,
    target: Target,
    preset: Preset = Preset.MEDIUM,
    network: NetworkChoice = _ANY_NETWORK,
    metadata: Metadata = "geometry",
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    time_limit: float = math.inf,
    on_decoded: Callable[[NDArray[Any]], None] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[bytes, EncodeReport]:
    """Encode a volume to the bytes of a ``.moec`` file, and measure what they decode to.

    The same volume, options, seed, machine and thread count give the same bytes. ``checkpoint`` is
    a file for the state of the fit: where it is there, the fit goes on from it, to the same bytes.
    It stays for the caller to remove when the bytes are safe. Raises an `InputError` where it is
    damaged or belongs to another volume or other options. ``on_decoded`` is given the voxels that
    the bytes decode to.

    ``time_limit`` is in seconds. A fit that would take longer ends sooner, its learning rate too;
    what it comes to depends on the machine, so there can be no checkpoint. Nor has a search for a
    PSNR one. Where no file within its bounds has that PSNR, it raises a `BudgetError`; with a time
    limit, it returns the best file that it has then, which the report tells.
    """
    if checkpoint is not None and (time_limit < math.inf or target.psnr is not None):
        raise ValueError("a fit with a time limit or a wanted PSNR has no checkpoint")
    deadline = Deadline(time_limit)
    where = pick_device(device, threads)
    encoding = Encoding(volume, network, metadata, where, seed, on_progress)
    if target.psnr is None:
        budget = target.bytes_for(encoding.header)
        fitted = encoding.fit(budget, preset, checkpoint, deadline)
        coded = encoding.code(fitted, budget, deadline)
    else:
        coded = _search(encoding, target, preset, deadline)
    if on_decoded is not None:
        on_decoded(coded.decoded)
    return coded.data, coded.report


def _search(encoding: Encoding, target: Target, preset: Preset, deadline: Deadline) -> Coded:
    """The smallest file of the wanted PSNR."""
    assert target.psnr is not None
    header, source = encoding.header, encoding.volume.source
    most = max(header.raw_bytes // _LEAST_RATIO, ALWAYS_ALLOWED)
    limited = target.ratio or target.file_bytes or target.bits_per_voxel
    if limited is not None:
        most = target.bytes_for(header)
    least = encoding.check(most)
    if header.low == header.high:
        return encoding.code(None, most, deadline)
    stages = _stages(encoding, preset, deadline)
    try:
        goal = min(target.psnr, _LOSSLESS)
        return smallest(goal, stages, header.raw_bytes // _FIRST_RATIO, least, most)
    except UnreachedError as error:
        if deadline.limited:
            nearest: Coded = error.coded
            return nearest
        raise BudgetError(
            f"{source}: {target.psnr:g} dB are out of reach: files of up to {most} bytes have "
            f"{error.quality:.2f} dB: ask for less, allow more bytes, or take a longer preset"
        ) from None


def _stages(encoding: Encoding, preset: Preset, deadline: Deadline) -> Stages[_Shared, Coded]:
    full_fits = itertools.chain([_FIRST_FIT], itertools.repeat(_LATER_FIT))

    def fit(size: int, preset: Preset, shares: _Shares) -> _Shared:
        fitted = encoding.fit(size, preset, None, deadline.part(shares.fit))
        return fitted, shares

    def code(state: _Shared, size: int) -> tuple[float, Coded]:
        fitted, shares = state
        coded = encoding.code(fitted, size, deadline.part(shares.code))
        return min(coded.report.quality.psnr_range, _LOSSLESS), coded

    quick = preset is Preset.FAST and not deadline.limited
    return Stages(
        fit=lambda size: fit(size, preset, next(full_fits)),
        draft=None if quick else lambda size: fit(size, Preset.FAST, _DRAFT),
        code=code,
        time_left=lambda: deadline.share() < _TOO_LATE,
    )
