"""bytes -> chunks -> QuantizedModel -> integer network -> levels -> Volume -> path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.bitstream.container import ChunkType, parse_container, read_file
from inrcodec.bitstream.geometry import decode_geometry
from inrcodec.bitstream.metadata import decode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, decode_volume_header
from inrcodec.device import pick_device
from inrcodec.entropy.network import decode_network
from inrcodec.errors import BitstreamError, ChecksumError, OutOfMemoryError, RegionError, naming
from inrcodec.exact.evaluate import evaluate, expert_map
from inrcodec.exact.network import ExactNetwork
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.progress import OnProgress, Progress, ignore_progress
from inrcodec.quantization import QuantizedModel
from inrcodec.volume.checksum import OrderedChecksum, checksum
from inrcodec.volume.geometry import NiftiGeometry, regrid
from inrcodec.volume.intensity import denormalize
from inrcodec.volume.sampling_grid import SPATIAL_AXES, SamplingGrid
from inrcodec.volume.selection import EVERYTHING, Selection
from inrcodec.volume.volume import Volume
from inrcodec.volume.write import VolumeOutput

if TYPE_CHECKING:
    from inrcodec.volume.dicom.series import DicomHeader

_SLAB = 1 << 20
"""Voxels of one value made at a time."""


@dataclass(frozen=True, slots=True)
class Content:
    """What the chunks of a ``.moec`` file hold."""

    header: VolumeHeader
    geometry: NiftiGeometry
    header_block: bytes | None
    """The original NIfTI header, where the file has it."""
    network: QuantizedModel | None
    """None: every voxel has the one value of the header's range."""
    dicom: DicomHeader | None = None
    """Of a volume that was DICOM: all of its attributes, or the essential ones."""

    def without_voxels(self) -> Volume:
        """The volume with its type and shape and no memory behind its voxels."""
        voxels = np.broadcast_to(self.header.dtype.type(0), self.header.shape)
        return Volume(voxels, self.geometry, self.header_block, source="", dicom=self.dicom)


def decode_file(
    source: Path,
    output: Path,
    *,
    selection: Selection = EVERYTHING,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Volume:
    """Decode ``selection`` of the ``.moec`` file ``source`` to ``output``, and return it.

    ``output`` is a NIfTI file (.nii, .nii.gz), a multi-frame DICOM file (.dcm), or a folder for
    DICOM files: see `VolumeOutput`. Raises what `decode_bytes` does, and an `OutputError` where the
    output cannot be written, before anything is computed.
    """
    target = VolumeOutput(output, overwrite)
    target.check()
    with naming(str(source)):
        data = read_bytes(source, limits)
        volume = decode_bytes(
            data,
            selection=selection,
            output=target,
            device=device,
            threads=threads,
            limits=limits,
            on_progress=on_progress,
        )
    target.write(volume, parse_content(data, limits).header.raw_bytes / len(data))
    return volume


def read_bytes(source: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """All bytes of a file, refused beyond ``limits.file_bytes``."""
    try:
        with source.open("rb") as file:
            return read_file(file, limits)
    except OSError as error:
        raise BitstreamError(f"cannot be read: {error.strerror}") from error


def decode_bytes(
    data: bytes,
    *,
    selection: Selection = EVERYTHING,
    output: VolumeOutput | None = None,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Volume:
    """Decode ``selection`` of the volume that the bytes of a ``.moec`` file stand for.

    A whole volume is compared with its checksum. Raises a `BitstreamError` for a damaged file, and,
    before anything is computed, a `RegionError` for a selection that does not fit the volume or its
    NIfTI header, an `OutOfMemoryError` for one that does not fit into memory, and an
    ``UnsupportedVolumeError`` for a volume that ``output`` cannot hold.
    """
    content = parse_content(data, limits)
    header, geometry = content.header, content.geometry
    if output is not None:
        output.check_volume(content.without_voxels())
        if not output.is_nifti and selection != EVERYTHING:
            raise RegionError("a part of a volume is written as NIfTI: name a .nii.gz file")
    grid = selection.grid(header.shape, geometry.spacing(len(header.shape[:SPATIAL_AXES])), limits)
    decoder = Decoder(content, pick_device(device, threads), limits)
    volume = decoder.decode(grid, on_progress)
    if selection.volume is not None:
        volume = replace(volume, data=volume.data[..., 0])
    return volume


def verify_bytes(
    data: bytes,
    *,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Decode all voxels of a ``.moec`` file and check them, in memory that does not grow with them.

    Raises a `BitstreamError` for a damaged file.
    """
    content = parse_content(data, limits)
    Decoder(content, pick_device(device, threads), limits).verify(on_progress)


def parse_content(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Read everything in the bytes of a ``.moec`` file but the voxels.

    Raises a `BitstreamError` for data that is not a valid file, or beyond ``limits``.
    """
    chunks = parse_container(data, limits)
    header = decode_volume_header(chunks[ChunkType.VOLUME], limits)
    header_block, dicom = None, None
    if ChunkType.DICOM in chunks:
        # Not at the top: pydicom takes a moment to import, and most files do without.
        from inrcodec.bitstream.dicom import parse_dicom

        dicom, geometry = parse_dicom(chunks, header.shape, limits)
    else:
        geometry = decode_geometry(chunks[ChunkType.GEOMETRY], header.shape)
        if ChunkType.METADATA in chunks:
            header_block = decode_metadata(chunks[ChunkType.METADATA], geometry.version, limits)
    payload = chunks[ChunkType.NETWORK]
    network = None
    if header.low != header.high:
        coordinates = sum(length > 1 for length in header.shape)
        network = decode_network(payload, coordinates, limits)
    elif payload:
        raise BitstreamError("chunk N: a volume of one value has a network")
    return Content(header, geometry, header_block, network, dicom)


class Decoder:
    """A file's content, ready to be sampled, again and again.

    Raises a `BitstreamError` for weights that the exact arithmetic does not allow.
    """

    def __init__(
        self, content: Content, device: torch.device, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._content = content
        self._limits = limits
        self._network: ExactNetwork | None = None
        if content.network is not None:
            self._network = ExactNetwork(content.network, device)

    def decode(
        self, grid: SamplingGrid | None = None, on_progress: OnProgress = ignore_progress
    ) -> Volume:
        """The volume sampled on ``grid``; without one, at all of its voxels.

        Raises `ChecksumError` where all voxels were decoded and are not those of the encoder;
        before anything is computed, `RegionError` where the grid does not fit a NIfTI header,
        and what `sample` does.
        """
        header, geometry = self._content.header, self._content.geometry
        whole = SamplingGrid.whole(header.shape)
        grid = grid or whole
        geometry = regrid(geometry, grid)
        samples = self.sample(grid, on_progress)
        if grid == whole:
            self._check(checksum(samples))
        dicom = self._content.dicom if grid == whole else None
        return Volume(samples, geometry, self._content.header_block, source="", dicom=dicom)

    def sample(self, grid: SamplingGrid, on_progress: OnProgress = ignore_progress) -> NDArray[Any]:
        """Stored values on ``grid``, in its shape; not compared with the checksum.

        Raises `LimitExceededError` beyond ``limits.work``, and `OutOfMemoryError`, before anything
        is computed.
        """
        header = self._content.header
        self._check_work(grid.samples)
        _check_memory(grid.samples * header.dtype.itemsize)
        flat = np.empty(grid.samples, header.dtype)

        def store(first: int, values: NDArray[Any]) -> None:
            flat[first : first + len(values)] = values

        self._evaluate(grid, grid.samples, header, store, on_progress)
        return flat.reshape(grid.shape, order="F")

    def sample_at(self, coordinates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Stored values before their rounding to the dtype, (N,), at (D, N) coordinates.

        Coordinates are those of docs/format.md, "Samples", on the axes longer than one voxel.
        """
        self._check_work(coordinates.shape[1])
        header = self._content.header
        low, high = float(header.low), float(header.high)
        unrounded = replace(header, dtype=np.dtype(np.float64), low=low, high=high)
        result = np.empty(coordinates.shape[1])

        def store(first: int, values: NDArray[Any]) -> None:
            result[first : first + len(values)] = values

        self._evaluate(coordinates, len(result), unrounded, store)
        return result

    def expert_map(self, grid: SamplingGrid) -> NDArray[np.uint16]:
        """The expert network that makes most of each sample of ``grid``, in its shape, uint16.

        Zeros for a volume of one value. Raises what `sample` does.
        """
        self._check_work(grid.samples)
        _check_memory(2 * grid.samples)
        if self._network is None:
            return np.zeros(grid.shape, np.uint16, order="F")
        return expert_map(self._network, grid, lambda _: None)

    def verify(self, on_progress: OnProgress = ignore_progress) -> None:
        """Raise `ChecksumError` unless all voxels are those of the encoder; none are kept."""
        header = self._content.header
        self._check_work(header.voxels)
        found = OrderedChecksum()
        whole = SamplingGrid.whole(header.shape)
        self._evaluate(whole, header.voxels, header, found.add, on_progress)
        self._check(found.value)

    def _evaluate(
        self,
        samples: SamplingGrid | NDArray[np.int64],
        count: int,
        header: VolumeHeader,
        store: Callable[[int, NDArray[Any]], None],
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        """Call ``store`` with the number of a sample and the values from there on, which are those
        of ``header``: in any order, from any thread."""

        def done(number: int) -> None:
            on_progress(Progress("decode", number, count))

        if self._network is None:
            for first in range(0, count, _SLAB):
                store(first, np.full(min(_SLAB, count - first), header.low, header.dtype))
                done(min(first + _SLAB, count))
            return

        def store_levels(first: int, levels: torch.Tensor) -> None:
            store(first, denormalize(levels.cpu().numpy(), header))

        evaluate(self._network, samples, store_levels, done)

    def _check_work(self, samples: int) -> None:
        if self._network is not None:
            self._limits.check("work", samples * self._network.architecture.active_parameters)

    def _check(self, found: int) -> None:
        if found != self._content.header.checksum:
            raise ChecksumError(
                "the decoded voxels do not match the file's checksum: the file was not written by "
                "a correct encoder, or this machine computes wrongly"
            )


def sample(
    content: Content,
    grid: SamplingGrid,
    device: torch.device,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> NDArray[Any]:
    """`Decoder.sample`, once."""
    return Decoder(content, device, limits).sample(grid, on_progress)


def _check_memory(needed: int) -> None:
    """Raise `OutOfMemoryError` if ``needed`` bytes are more than the machine's memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return
    if needed > memory > 0:
        raise OutOfMemoryError(
            f"the voxels take {needed / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB of "
            "memory; decode a part with --roi, or fewer samples with --scale"
        )
