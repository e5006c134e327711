"""Volume -> normalized -> INR (fitted) -> QuantizedModel -> bytes -> decoded, and measured."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.architecture import Architecture
from inrcodec.bitstream.container import Chunk, ChunkType, chunk_sizes, write_container
from inrcodec.bitstream.geometry import encode_geometry, no_geometry
from inrcodec.bitstream.metadata import encode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.decoder import parse_content, sample
from inrcodec.entropy.network import encode_network
from inrcodec.errors import BudgetError, InputError, LimitExceededError
from inrcodec.file_size import FileSize
from inrcodec.fitting.checkpoint import Checkpoint
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
from inrcodec.planner import (
    Effort,
    Importance,
    NetworkChoice,
    Preset,
    plan_effort,
    plan_network,
    smallest_network_bytes,
)
from inrcodec.progress import OnProgress, Progress
from inrcodec.quantization import QuantizedModel
from inrcodec.volume.checksum import checksum
from inrcodec.volume.intensity import normalize
from inrcodec.volume.sampling_grid import SamplingGrid
from inrcodec.volume.volume import Volume

Metadata = Literal["geometry", "full", "none"]

_FIT_SHARE = 0.7
_QUANTIZE_SHARE = 0.75
"""Of the time left in front of each, where it is limited."""

ALWAYS_ALLOWED = 4096
"""Bytes that a file may have however small the volume is."""


@dataclass(frozen=True, slots=True)
class EncodeReport(FileSize):
    """What was written, and how good it is: measured on the decoded file, never on the float
    network."""

    quality: Quality
    seconds: dict[str, float]
    """An entry a stage."""
    short_of_time: bool
    """Whether there are bytes left because the preset has no time for a larger network."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network, and its weights before any quantization."""

    model: INR
    sampler: VoxelSampler
    effort: Effort
    most_bytes: int
    """That are worth its while."""
    weights: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Coded:
    """A file, what it decodes to, and how good that is."""

    data: bytes
    decoded: NDArray[Any]
    report: EncodeReport


class Encoding:
    """One volume on its way to bytes, stage by stage."""

    def __init__(
        self,
        volume: Volume,
        network: NetworkChoice,
        metadata: Metadata,
        where: torch.device,
        seed: int,
        on_progress: OnProgress,
    ) -> None:
        self.volume = volume
        self.header = VolumeHeader.of(volume.data)
        self._network = network
        self._where, self._seed = where, seed
        self._on_progress = on_progress
        self._chunks = [
            Chunk(ChunkType.VOLUME, encode_volume_header(self.header)),
            _geometry_chunk(volume, metadata),
            Chunk(ChunkType.NETWORK, b""),
        ]
        if metadata == "full":
            self._chunks += _metadata_chunks(volume)
        self._around = len(write_container(self._chunks))
        self._coordinates = sum(length > 1 for length in self.header.shape)
        self._flat = self.header.low == self.header.high
        self._clock = _Clock()

    def check(self, budget: int) -> int:
        """The bytes of the smallest file. Raises a `BudgetError` where ``budget`` is no size for
        this volume."""
        # Framing and kind apart, whose few bytes do not decide anything.
        metadata = (c for c in self._chunks if c.type is ChunkType.METADATA)
        extra = sum(len(chunk.payload) for chunk in metadata)
        least = self._around
        if not self._flat:
            network = smallest_network_bytes(self._coordinates, self._network)
            least += network
            while self._room(least) < network:
                least += 1
        bare = encode_geometry(no_geometry(self.header.shape))
        geometry = len(self._chunks[1].payload) - len(bare)
        _check_budget(budget, least, extra, geometry, self.volume, self.header)
        if not self._flat and budget > max(self.header.raw_bytes, ALWAYS_ALLOWED):
            raise BudgetError(
                f"{self.volume.source}: {budget} bytes are more than its voxels take "
                f"({self.header.raw_bytes}): ask for a smaller file, or keep the original"
            )
        return least

    def fit(
        self, budget: int, preset: Preset, checkpoint: Path | None, deadline: Deadline
    ) -> Fitted | None:
        """A network for a file of ``budget`` bytes; None for a volume of one value."""
        self.check(budget)
        header, source = self.header, self.volume.source
        if self._flat:
            if checkpoint is not None and checkpoint.exists():
                raise InputError(
                    f"{checkpoint}: belongs to another encode: a volume of one value takes no fit; "
                    "leave --checkpoint out"
                )
            return None
        plan = plan_network(
            preset,
            header.voxels,
            self._room(budget),
            self._coordinates,
            self._network,
            self._importance,
        )
        architecture = plan.architecture
        try:
            architecture.check(DEFAULT_LIMITS)
            DEFAULT_LIMITS.check("work", header.voxels * architecture.active_parameters)
        except LimitExceededError as error:
            most = getattr(DEFAULT_LIMITS, error.limit)
            raise BudgetError(
                f"{source}: the network is beyond what readers accept ({error.limit}: "
                f"{error.claimed}, at most {most}): ask for a smaller file, or for fewer experts"
            ) from None
        sampler = VoxelSampler(self._values, header.shape, self._where, self._seed)
        effort = plan_effort(preset, architecture, header.voxels)
        kept = None
        if checkpoint is not None:
            steps, batch = effort.fit_steps, effort.batch
            fit_of = self.volume.data, architecture, steps, batch, self._seed, self._where
            kept = Checkpoint(checkpoint, *fit_of)
        model = _fit(
            architecture,
            sampler,
            effort,
            self._where,
            self._seed,
            kept,
            deadline,
            self._on_progress,
        )
        self._clock.lap("fit")
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return Fitted(model, sampler, effort, plan.most_bytes, weights)

    def code(self, fitted: Fitted | None, budget: int, deadline: Deadline) -> Coded:
        """A file of at most ``budget`` bytes, which need not be those of the fit."""
        chunks, header, on_progress = list(self._chunks), self.header, self._on_progress
        architecture, short_of_time = None, False
        if fitted is not None:
            fitted.model.load_state_dict(fitted.weights)
            room = self._room(budget)
            short_of_time = fitted.most_bytes < room
            most = min(fitted.most_bytes, room)
            quantized = _quantize(fitted, most, deadline, on_progress)
            architecture = quantized.architecture
            chunks[2] = Chunk(ChunkType.NETWORK, encode_network(quantized))
            self._clock.lap("quantize")
        # The checksum is part of the file and comes of what the rest of it decodes to.
        unsealed = parse_content(write_container(chunks))
        grid = SamplingGrid.whole(header.shape)
        decoded = sample(unsealed, grid, self._where, on_progress=on_progress)
        header = replace(header, checksum=checksum(decoded))
        chunks[0] = Chunk(ChunkType.VOLUME, encode_volume_header(header))
        data = write_container(chunks)
        if len(data) > budget:
            raise BudgetError(
                f"{self.volume.source}: the smallest file is {len(data)} bytes, more than the "
                f"target of {budget}: ask for as many, or take the partition single"
            )
        self._clock.lap("decode")
        on_progress(Progress("measure", 0, 1))
        quality = measure(self.volume.data, decoded)
        on_progress(Progress("measure", 1, 1, quality.psnr_range))
        self._clock.lap("measure")
        report = EncodeReport(
            header=header,
            file_bytes=len(data),
            chunk_bytes=chunk_sizes(data, DEFAULT_LIMITS),
            architecture=architecture,
            quality=quality,
            seconds=dict(self._clock.seconds),
            short_of_time=short_of_time,
        )
        return Coded(data, decoded, report)

    @cached_property
    def _values(self) -> NDArray[np.float32]:
        """(voxels,) in -1..1, first axis fastest."""
        return normalize(self.volume.data, self.header)

    @cached_property
    def _importance(self) -> Importance:
        # A pass over the volume a level, however many networks are planned.
        return cache(partial(cell_variation, self._values, self.header.shape))

    def _room(self, budget: int) -> int:
        """Bytes of ``budget`` that are the network's."""
        # The empty chunk has one byte for its length: a long one takes another for each 7 bits.
        room = budget - self._around
        return room - (room.bit_length() - 1) // 7


def _geometry_chunk(volume: Volume, metadata: Metadata) -> Chunk:
    if metadata == "none":
        return Chunk(ChunkType.GEOMETRY, encode_geometry(no_geometry(volume.data.shape)))
    if volume.dicom is None:
        geometry = volume.geometry if metadata == "full" else volume.geometry.without_text()
        return Chunk(ChunkType.GEOMETRY, encode_geometry(geometry))
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
    model = initialized(architecture, sampler.statistics, generator)
    model.to(device)
    if isinstance(model, MoEINR):
        pretrain_gate(model, sampler, generator)
    report = _reporter("fit", on_progress)
    ends = deadline.part(_FIT_SHARE)
    fit(model, sampler, effort.fit_steps, effort.batch, report, checkpoint, ends)
    return model


def _quantize(
    fitted: Fitted, most: int, deadline: Deadline, on_progress: OnProgress
) -> QuantizedModel:
    return quantize(
        fitted.model,
        fitted.sampler,
        most,
        lambda candidate: len(encode_network(candidate)),
        fitted.effort.tuning_steps,
        fitted.effort.batch,
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
    budget: int, needed: int, metadata: int, geometry: int, volume: Volume, header: VolumeHeader
) -> None:
    """``needed`` bytes hold ``metadata`` and ``geometry``, which an encode may leave out."""
    if metadata and budget < needed <= budget + metadata:
        raise BudgetError(
            f"{volume.source}: the metadata takes {metadata} bytes, {needed - budget} more than "
            f"the target of {budget} bytes has room for: leave out --metadata full, or ask for "
            f"{needed} bytes or more"
        )
    if budget < needed:
        without = ""
        if budget >= needed - geometry:
            without = f"; with --metadata none, {needed - geometry} bytes"
        raise BudgetError(
            f"{volume.source}: the target of {budget} bytes is too small: the smallest file is "
            f"{needed} bytes, a ratio of {header.raw_bytes / needed:.4g}{without}"
        )


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
