"""What a ``.moec`` file says about itself, without decoding a voxel: no torch, no nibabel."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from inrcodec.architecture import Architecture, Tree
from inrcodec.bitstream.architecture import read_architecture
from inrcodec.bitstream.container import MAGIC, ChunkType, chunk_sizes, parse_container
from inrcodec.bitstream.geometry import decode_geometry
from inrcodec.bitstream.primitives import ByteReader
from inrcodec.bitstream.volume_header import decode_volume_header
from inrcodec.errors import BitstreamError
from inrcodec.file_size import FileSize
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.geometry import NiftiGeometry, bits_to_float

NOTICE = "Lossy: not for primary diagnosis."

_AXES = "xyzt"


@dataclass(frozen=True, slots=True)
class Info(FileSize):
    """The headers of a ``.moec`` file."""

    format_version: int
    geometry: NiftiGeometry
    modality: str | None = None
    """Of a volume that was DICOM (CT, MR, ...); None of one that was NIfTI."""

    @property
    def has_full_header(self) -> bool:
        """Whether all of the original header is inside: of DICOM it identifies the patient, of
        NIfTI its free text may."""
        return chr(ChunkType.METADATA) in self.chunk_bytes

    @property
    def axes(self) -> str:
        """The names of the grid's axes, fastest first: ``xyz``, say."""
        return _AXES[: len(self.header.shape)]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring voxels along each axis, in ``units``."""
        return self.geometry.spacing(len(self.header.shape))

    @property
    def units(self) -> tuple[str | None, ...]:
        """Unit of the spacing along each axis; None where the file does not say."""
        return self.geometry.units(len(self.header.shape))

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept from stored values to real ones; (1, 0) where there is no scaling.

        None for DICOM whose planes have each their own, or a lookup table in their place.
        """
        return self.geometry.scaling(of_dicom=self.modality is not None)

    @property
    def sform(self) -> tuple[tuple[float, ...], ...] | None:
        """The 3x4 affine from voxel indices to RAS+ space, where the file has an sform."""
        if self.geometry.sform_code <= 0:
            return None
        values = [bits_to_float(bits, self.geometry.version) for bits in self.geometry.srow]
        return tuple(tuple(values[row : row + 4]) for row in (0, 4, 8))

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON types, under the names that docs/cli.md lists."""
        header, geometry, a, sform = self.header, self.geometry, self.architecture, self.sform
        slope, intercept = self.scaling or (None, None)
        return {
            "format_version": self.format_version,
            "bytes": self.file_bytes,
            "ratio": self.ratio,
            "bits_per_voxel": self.bits_per_voxel,
            "shape": list(header.shape),
            "axes": list(self.axes),
            "dtype": header.dtype.name,
            "spacing": [_finite(length) for length in self.spacing],
            "units": list(self.units),
            "value_range": [header.low, header.high],
            "slope": slope,
            "intercept": intercept,
            "nifti_version": geometry.version,
            "qform_code": geometry.qform_code,
            "sform_code": geometry.sform_code,
            "sform": None if sform is None else [[_finite(v) for v in row] for row in sform],
            "modality": self.modality,
            "full_header": self.has_full_header,
            "network": None if a is None else network_dict(a),
            "bits_per_weight": self.bits_per_weight,
            "chunks": dict(self.chunk_bytes),
            "notice": NOTICE,
        }


def read_info(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Info:
    """Read the headers in the bytes of a ``.moec`` file.

    The checksums of the chunks are verified; no weight is decoded. Raises a `BitstreamError` for
    data that is not a valid file, or beyond ``limits``.
    """
    chunks = parse_container(data, limits)
    header = decode_volume_header(chunks[ChunkType.VOLUME], limits)
    modality = None
    if ChunkType.DICOM in chunks:
        # Not at the top: pydicom takes a moment to import, and most files do without.
        from inrcodec.bitstream.dicom import parse_dicom

        dicom, geometry = parse_dicom(chunks, header.shape, limits)
        modality = str(dicom.shared.get("Modality", "unknown modality"))
    else:
        geometry = decode_geometry(chunks[ChunkType.GEOMETRY], header.shape)
    payload = chunks[ChunkType.NETWORK]
    architecture = None
    if header.low != header.high:
        coordinates = sum(length > 1 for length in header.shape)
        architecture = read_architecture(ByteReader(payload), coordinates, limits)
    elif payload:
        raise BitstreamError("chunk N: a volume of one value has a network")
    return Info(
        format_version=data[len(MAGIC)],
        file_bytes=len(data),
        header=header,
        geometry=geometry,
        architecture=architecture,
        chunk_bytes=chunk_sizes(data, limits),
        modality=modality,
    )


def network_dict(architecture: Architecture) -> dict[str, Any]:
    """A network as JSON types, under the names that docs/cli.md lists."""
    a = architecture
    found: dict[str, Any] = {
        "partition": a.partition.value,
        "activation": a.activation.value,
        "coordinates": a.coordinates,
        "weights": a.parameters,
    }
    if isinstance(a, Tree):
        levels = [{"layers": level.layers, "widths": list(level.widths)} for level in a.levels]
        return {**found, "levels": levels}
    return {
        **found,
        "experts": a.experts,
        "encoder": asdict(a.encoder),
        "expert": asdict(a.expert),
        "gate": asdict(a.gate),
    }


def _finite(value: float) -> float | None:
    # JSON has no NaN and no infinity.
    return value if math.isfinite(value) else None
