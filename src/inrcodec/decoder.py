"""bytes -> chunks -> QuantizedModel -> network -> samples -> Volume -> path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.bitstream.container import ChunkType, parse_container, read_file
from inrcodec.bitstream.geometry import decode_geometry
from inrcodec.bitstream.metadata import decode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, decode_volume_header
from inrcodec.device import pick_device
from inrcodec.entropy.network import decode_network
from inrcodec.errors import BitstreamError, naming
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.model.grid import Grid
from inrcodec.model.moe import MoEINR
from inrcodec.output import atomic_output, check_output
from inrcodec.progress import OnProgress, Progress, ignore_progress
from inrcodec.quantization import QuantizedModel
from inrcodec.volume.intensity import denormalize
from inrcodec.volume.nifti import write_nifti
from inrcodec.volume.volume import Volume

_WORKSPACE = 1 << 22
"""Activations held at a time: the voxels of one step times the network's width stay below it."""


def decode_file(
    source: Path,
    output: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Volume:
    """Decode the ``.moec`` file ``source`` to the NIfTI file ``output``, and return the volume.

    ``output`` ends in .nii or .nii.gz. Raises a `BitstreamError` for a damaged file, and an
    `OutputError` where the output cannot be written, before anything is computed.
    """
    check_output(output, overwrite)
    with naming(str(source)):
        volume = decode_bytes(
            _read(source, limits),
            device=device,
            threads=threads,
            limits=limits,
            on_progress=on_progress,
        )
    with atomic_output(output, overwrite) as file:
        write_nifti(volume, file, compress=output.name.endswith(".gz"))
    return volume


def _read(source: Path, limits: Limits) -> bytes:
    try:
        with source.open("rb") as file:
            return read_file(file, limits)
    except OSError as error:
        raise BitstreamError(f"cannot be read: {error.strerror}") from error


def decode_bytes(
    data: bytes,
    *,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Volume:
    """Decode the bytes of a ``.moec`` file to the volume they stand for."""
    chunks = parse_container(data, limits)
    header = decode_volume_header(chunks[ChunkType.VOLUME], limits)
    geometry = decode_geometry(chunks[ChunkType.GEOMETRY], header.shape)
    header_block = None
    if ChunkType.METADATA in chunks:
        header_block = decode_metadata(chunks[ChunkType.METADATA], geometry.version, limits)
    payload = chunks[ChunkType.NETWORK]
    if header.low == header.high:
        if payload:
            raise BitstreamError("chunk N: a volume of one value has a network")
        voxels = np.full(header.shape, header.low, header.dtype, order="F")
    else:
        coordinates = sum(length > 1 for length in header.shape)
        network = decode_network(payload, coordinates, limits)
        voxels = sample(network, header, pick_device(device, threads), on_progress)
    return Volume(voxels, geometry, header_block, source="")


@torch.no_grad()
def sample(
    network: QuantizedModel, header: VolumeHeader, device: torch.device, on_progress: OnProgress
) -> NDArray[Any]:
    """Evaluate the network at every voxel of the header's grid -> stored values, that shape."""
    model = MoEINR.from_quantized(network).to(device)
    grid = Grid(header.shape, device)
    flat = np.empty(grid.voxels, header.dtype)
    a = network.architecture
    step = max(1, _WORKSPACE // max(a.encoder_width, a.expert_width, a.gate_width, a.experts))
    for start in range(0, grid.voxels, step):
        stop = min(start + step, grid.voxels)
        values = model(grid.span(start, stop)).clamp(-1, 1)
        flat[start:stop] = denormalize(values.cpu().numpy(), header)
        on_progress(Progress("decode", stop, grid.voxels))
    return flat.reshape(header.shape, order="F")
