"""path -> Volume -> normalized -> INR (fitted) -> QuantizedModel -> bytes -> decoded -> path."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from inrcodec.architecture import Architecture
from inrcodec.bitstream.container import Chunk, ChunkType, chunk_sizes, write_container
from inrcodec.bitstream.geometry import encode_geometry, no_geometry
from inrcodec.bitstream.metadata import encode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.decoder import parse_content, sample
from inrcodec.device import pick_device
from inrcodec.entropy.network import encode_network
from inrcodec.errors import BudgetError, InputError
from inrcodec.fitting.checkpoint import Checkpoint, check_checkpoint, remove_checkpoint
from inrcodec.fitting.deadline import Deadline
from inrcodec.fitting.fit import Report, fit
from inrcodec.fitting.importance import cell_variation
from inrcodec.fitting.pretraining import pretrain_gate
from inrcodec.fitting.quantize import quantize
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.metrics import Quality, measure
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR
from inrcodec.model.network import initialized
from inrcodec.output import atomic_output, check_output
from inrcodec.planner import (
    Effort,
    NetworkChoice,
    Preset,
    plan_architecture,
    plan_effort,
    smallest_network_bytes,
)
from inrcodec.progress import OnProgress, Progress, ignore_progress
from inrcodec.quantization import QuantizedModel
from inrcodec.volume.checksum import checksum
from inrcodec.volume.intensity import normalize
from inrcodec.volume.read import read_volume
from inrcodec.volume.sampling_grid import SamplingGrid
from inrcodec.volume.volume import Volume

Metadata = Literal["geometry", "full", "none"]

_ANY_NETWORK = NetworkChoice()

_FIT_SHARE = 0.7
_QUANTIZE_SHARE = 0.75
"""Of the time left in front of each, where it is limited."""

_ALWAYS_ALLOWED = 4096
"""Bytes that a file may have however small the volume is."""


@dataclass(frozen=True, slots=True)
class Target:
    """The size asked for: exactly one of ``ratio`` (raw bytes / file bytes), ``file_bytes``, and
    ``bits_per_voxel`` is set."""

    ratio: float | None = None
    file_bytes: int | None = None
    bits_per_voxel: float | None = None

    def bytes_for(self, header: VolumeHeader) -> int:
        """The largest file that meets the target for that volume."""
        if self.ratio is not None:
            return int(header.raw_bytes / self.ratio)
        if self.bits_per_voxel is not None:
            return int(header.voxels * self.bits_per_voxel / 8)
        if self.file_bytes is None:
            raise ValueError("a target names a ratio, a number of bytes, or bits per voxel")
        return self.file_bytes


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What was written, and how good it is: measured on the decoded file, never on the float
    network. ``seconds`` has an entry a stage; ``architecture`` is None for a volume of one value.
    """

    header: VolumeHeader
    file_bytes: int
    chunk_bytes: dict[str, int]
    architecture: Architecture | None
    quality: Quality
    seconds: dict[str, float]

    @property
    def ratio(self) -> float:
        """Bytes of the stored voxels over bytes of the file."""
        return self.header.raw_bytes / self.file_bytes

    @property
    def bits_per_voxel(self) -> float:
        return 8 * self.file_bytes / self.header.voxels

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of the network chunk for each of its weights."""
        if self.architecture is None:
            return None
        return 8 * self.chunk_bytes["N"] / self.architecture.parameters


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
    what it comes to depends on the machine, so there can be no checkpoint.
    """
    if checkpoint is not None and time_limit < math.inf:
        raise ValueError("a fit with a time limit has no checkpoint")
    deadline = Deadline(time_limit)
    where = pick_device(device, threads)
    header = VolumeHeader.of(volume.data)
    chunks = [
        Chunk(ChunkType.VOLUME, encode_volume_header(header)),
        _geometry_chunk(volume, metadata),
        Chunk(ChunkType.NETWORK, b""),
    ]
    if metadata == "full":
        chunks += _metadata_chunks(volume)
    clock = _Clock()
    quantized: QuantizedModel | None = None
    budget = target.bytes_for(header)
    around = len(write_container(chunks))
    # Framing and kind apart, whose few bytes do not decide anything.
    extra = sum(len(chunk.payload) for chunk in chunks if chunk.type is ChunkType.METADATA)
    if header.low == header.high:
        _check_budget(budget, around, extra, volume, header)
        if checkpoint is not None and checkpoint.exists():
            raise InputError(
                f"{checkpoint}: belongs to another encode: a volume of one value takes no fit; "
                "leave --checkpoint out"
            )
    else:
        coordinates = sum(length > 1 for length in header.shape)
        smallest = smallest_network_bytes(coordinates, network)
        _check_budget(budget, around + smallest, extra, volume, header)
        if budget > max(header.raw_bytes, _ALWAYS_ALLOWED):
            raise BudgetError(
                f"{volume.source}: {budget} bytes are more than its voxels take "
                f"({header.raw_bytes}): ask for a smaller file, or keep the original"
            )
        # The empty chunk has one byte for its length: a long one takes another for each 7 bits.
        room = budget - around
        room -= (room.bit_length() - 1) // 7
        values = normalize(volume.data, header)
        architecture = plan_architecture(
            room, coordinates, network, lambda level: cell_variation(values, header.shape, level)
        )
        if header.voxels * architecture.active_parameters > DEFAULT_LIMITS.work:
            raise BudgetError(
                f"{volume.source}: a network of {architecture.parameters} weights for "
                f"{header.voxels} voxels takes more work to decode than readers accept: ask for "
                "a smaller file"
            )
        sampler = VoxelSampler(values, header.shape, where, seed)
        effort = plan_effort(preset, architecture, header.voxels)
        kept = None
        if checkpoint is not None:
            steps, batch = effort.fit_steps, effort.batch
            kept = Checkpoint(checkpoint, volume.data, architecture, steps, batch, seed)
        model = _fit(architecture, sampler, effort, where, seed, kept, deadline, on_progress)
        clock.lap("fit")
        quantized = _quantize(model, sampler, effort, room, deadline, on_progress)
        clock.lap("quantize")
        chunks[2] = Chunk(ChunkType.NETWORK, encode_network(quantized))
    # The checksum is part of the file and comes of what the rest of it decodes to.
    unsealed = parse_content(write_container(chunks))
    grid = SamplingGrid.whole(header.shape)
    decoded = sample(unsealed, grid, where, on_progress=on_progress)
    header = replace(header, checksum=checksum(decoded))
    chunks[0] = Chunk(ChunkType.VOLUME, encode_volume_header(header))
    data = write_container(chunks)
    clock.lap("decode")
    on_progress(Progress("measure", 0, 1))
    quality = measure(volume.data, decoded)
    on_progress(Progress("measure", 1, 1, quality.psnr_range))
    clock.lap("measure")
    if on_decoded is not None:
        on_decoded(decoded)
    return data, EncodeReport(
        header=header,
        file_bytes=len(data),
        chunk_bytes=chunk_sizes(data, DEFAULT_LIMITS),
        architecture=None if quantized is None else quantized.architecture,
        quality=quality,
        seconds=clock.seconds,
    )


def _geometry_chunk(volume: Volume, metadata: Metadata) -> Chunk:
    if metadata == "none":
        return Chunk(ChunkType.GEOMETRY, encode_geometry(no_geometry(volume.data.shape)))
    if volume.dicom is None:
        return Chunk(ChunkType.GEOMETRY, encode_geometry(volume.geometry))
    from inrcodec.bitstream.dicom import encode_dicom_header
    from inrcodec.volume.dicom.essential import essential
    from inrcodec.volume.dicom.volume import header_of, series_of

    shape = volume.data.shape
    kept = header_of(essential(series_of(volume)))
    payload = encode_dicom_header(kept, (shape[2], shape[3] if len(shape) > 3 else 1))
    return Chunk(ChunkType.DICOM, payload)


def _metadata_chunks(volume: Volume) -> list[Chunk]:
    if volume.dicom is not None:
        from inrcodec.bitstream.dicom_metadata import encode_dicom_metadata

        return [Chunk(ChunkType.METADATA, encode_dicom_metadata(volume.dicom))]
    if volume.header_block is not None:
        return [Chunk(ChunkType.METADATA, encode_metadata(volume.header_block))]
    return []


def _fit(
    architecture: Architecture,
    sampler: VoxelSampler,
    effort: Effort,
    device: torch.device,
    seed: int,
    checkpoint: Checkpoint | None,
    deadline: Deadline,
    on_progress: OnProgress,
) -> INR:
    generator = torch.Generator().manual_seed(seed)
    model = initialized(architecture, sampler.mean, sampler.deviation, generator)
    model.to(device)
    if isinstance(model, MoEINR):
        pretrain_gate(model, sampler, generator)
    report = _reporter("fit", on_progress)
    ends = deadline.part(_FIT_SHARE)
    fit(model, sampler, effort.fit_steps, effort.batch, report, checkpoint, ends)
    return model


def _quantize(
    model: INR,
    sampler: VoxelSampler,
    effort: Effort,
    most: int,
    deadline: Deadline,
    on_progress: OnProgress,
) -> QuantizedModel:
    return quantize(
        model,
        sampler,
        most,
        lambda candidate: len(encode_network(candidate)),
        effort.tuning_steps,
        effort.batch,
        _reporter("quantize", on_progress),
        deadline.part(_QUANTIZE_SHARE),
    )


def _reporter(stage: str, on_progress: OnProgress) -> Report:
    def report(done: int, total: int, mse: float) -> None:
        # The values span -1..1, hence a peak of 2.
        psnr = 10 * math.log10(4 / mse) if mse > 0 else None
        on_progress(Progress(stage, done, total, psnr))

    return report


def _check_budget(
    budget: int, needed: int, metadata: int, volume: Volume, header: VolumeHeader
) -> None:
    if metadata and budget < needed <= budget + metadata:
        raise BudgetError(
            f"{volume.source}: the metadata takes {metadata} bytes, {needed - budget} more than "
            f"the target of {budget} bytes has room for: leave out --metadata full, or ask for "
            f"{needed} bytes or more"
        )
    if budget < needed:
        raise BudgetError(
            f"{volume.source}: the target of {budget} bytes is too small: the smallest file is "
            f"{needed} bytes, a ratio of {header.raw_bytes / needed:.4g}"
        )


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
