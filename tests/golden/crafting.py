"""Networks, geometries and files put together field by field: what no fit would come up with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from dicom_files import functional_groups, item
from golden.assembly import container, network_fields
from pydicom.sequence import Sequence as ItemSequence

from inrcodec.architecture import Architecture, TensorSpec
from inrcodec.bitstream.dicom import encode_dicom_header
from inrcodec.bitstream.dicom_metadata import encode_dicom_metadata
from inrcodec.bitstream.geometry import encode_geometry
from inrcodec.bitstream.metadata import encode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.decoder import Content, sample
from inrcodec.entropy.distribution import Distribution, fit_distribution
from inrcodec.entropy.rans import rans_encode
from inrcodec.quantization import QuantizedModel, QuantizedTensor
from inrcodec.volume.checksum import checksum
from inrcodec.volume.dicom.series import DicomHeader
from inrcodec.volume.geometry import NiftiGeometry, NiftiVersion, float_to_bits
from inrcodec.volume.sampling_grid import SamplingGrid


def whole_file(
    header: VolumeHeader,
    place: NiftiGeometry | DicomHeader,
    network: QuantizedModel | None,
    *,
    wires: Sequence[int] | None = None,
    header_block: bytes | None = None,
    all_attributes: DicomHeader | None = None,
    ancillary: bytes | None = None,
) -> bytes:
    """A valid file of that content, the checksum in ``header`` being that of what it decodes to.

    ``wires`` names the distribution of each tensor; without it, each gets the best one.
    ``place`` is what chunk G or D says, ``header_block`` or ``all_attributes`` what chunk m does.
    ``ancillary`` goes into a first chunk of a type that no reader knows; two more follow later.
    """
    content = Content(header, plain_geometry(), header_block, network)
    voxels = sample(content, SamplingGrid.whole(header.shape), torch.device("cpu"))
    header = replace(header, checksum=checksum(voxels))
    payload = b"" if network is None else network_payload(network, wires)
    chunks = [
        ("V", encode_volume_header(header)),
        ("G", encode_geometry(place))
        if isinstance(place, NiftiGeometry)
        else ("D", encode_dicom_header(place, _planes(header.shape))),
        ("N", payload),
    ]
    if all_attributes is not None:
        chunks.append(("m", encode_dicom_metadata(all_attributes)))
    if header_block is not None:
        chunks.append(("m", encode_metadata(header_block)))
    if ancillary is not None:
        chunks = [("a", ancillary), chunks[0], ("z", b"a"), *chunks[1:], ("b", b"")]
    return container(chunks)


def _planes(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[2], shape[3] if len(shape) > 3 else 1


def network_payload(network: QuantizedModel, wires: Sequence[int] | None = None) -> bytes:
    """Chunk N with the distributions named, or with the best ones."""
    integers = [tensor.integers for tensor in network.tensors]
    if wires is None:
        wires = [fit_distribution(values).wire for values in integers]
    pairs = [(t.step_exponent, wire) for t, wire in zip(network.tensors, wires, strict=True)]
    stream = rans_encode(
        np.concatenate([values.reshape(-1) for values in integers]),
        [values.size for values in integers],
        [Distribution(wire).table() for wire in wires],
    )
    return network_fields(network.architecture, pairs, stream)


def random_network(
    architecture: Architecture, seed: int = 0, contrast: float = 1
) -> QuantizedModel:
    """Weights as a fit leaves them: phases within some turns, outputs of about +-``contrast``."""
    rng = np.random.default_rng(seed)
    sizes = {spec.name: spec.size for spec in architecture.tensors}

    def draw(spec: TensorSpec) -> QuantizedTensor:
        layer, _, kind = spec.name.rpartition(".")
        fan_in = sizes[f"{layer}.weight"] / sizes[f"{layer}.bias"]
        match [*layer.split("."), kind]:
            case [*_, "bias"]:
                deviation = 0.2
            case ["encoder", "0", _] | ["gate", "encoder", "0", _] | ["levels", "0", "0", _]:
                deviation = 0.8
            case ["decoder" | "heads", _]:
                deviation = contrast / fan_in**0.5
            case ["gate", "hidden" | "output", *_]:
                deviation = 4 / fan_in**0.5
            case _:
                deviation = 0.5 / fan_in**0.5
        step_exponent = int(np.floor(np.log2(deviation))) - 3
        values = rng.normal(0, deviation * 2.0**-step_exponent, spec.shape)
        return QuantizedTensor(np.rint(values).astype(np.int32), step_exponent)

    return QuantizedModel(architecture, tuple(draw(spec) for spec in architecture.tensors))


def with_tensors(network: QuantizedModel, changed: dict[str, tuple[object, int]]) -> QuantizedModel:
    """``network`` with other integers (whatever broadcasts to the shape) and step exponents."""
    tensors = []
    for spec, tensor in zip(network.architecture.tensors, network.tensors, strict=True):
        if spec.name in changed:
            values, step_exponent = changed[spec.name]
            integers = np.array(values, np.int32)
            if integers.size == spec.size:
                integers = integers.reshape(spec.shape)
            tensor = QuantizedTensor(np.broadcast_to(integers, spec.shape), step_exponent)
        tensors.append(tensor)
    return QuantizedModel(network.architecture, tuple(tensors))


def slices(depth: int, volumes: int = 1, *, identified: bool = False) -> DicomHeader:
    """Attributes of slices of 6 x 4 voxels, one volume after the other: numbers of every form, and
    columns along every axis of the planes."""
    shared = item(
        Modality="CT" if volumes == 1 else "MR",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        PhotometricInterpretation="MONOCHROME2",
        BitsStored=16,
        PixelRepresentation=1,
        ImageOrientationPatient=[1, 0, 0, 0, 0.8, -0.6],
        PixelSpacing=[0.5, 0.75],
        SliceThickness=2.5,
        RescaleSlope=1.25,
        RescaleIntercept=-1024,
    )
    frames = []
    for plane in range(depth * volumes):
        z, t = plane % depth, plane // depth
        frame = item(
            ImagePositionPatient=[10.0, -20.0 + 1.5 * z, 30.5 + 2 * z],
            WindowCenter=[40 + 7 * (plane * plane % 5), 400],
            WindowWidth=[80, 1500 - plane],
        )
        if volumes > 1:
            frame.EchoTime = 4.5 * (t + 1)
            frame.TemporalPositionIdentifier = t + 1
        frames.append(frame)
    if identified:
        shared.PatientName = "Made^Up"
        for plane, frame in enumerate(frames):
            frame.SOPInstanceUID = f"1.2.3.{plane}"
    return DicomHeader(shared, tuple(frames), enhanced=False)


def frames_of_one_file(depth: int) -> DicomHeader:
    """Attributes of an enhanced MR image of 6 x 4 voxels."""
    shared = item(
        Modality="MR",
        PhotometricInterpretation="MONOCHROME2",
        BitsStored=16,
        PixelRepresentation=1,
        SharedFunctionalGroupsSequence=ItemSequence(
            [
                functional_groups(
                    PlaneOrientationSequence={"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
                    PixelMeasuresSequence={"PixelSpacing": [2, 2], "SliceThickness": 2},
                )
            ]
        ),
    )
    frames = [
        functional_groups(
            PlanePositionSequence={"ImagePositionPatient": [89.5761 - 2 * z, -156.094, 113.224]},
            FrameContentSequence={"TemporalPositionIndex": 1},
            MREchoSequence={"EffectiveEchoTime": (z + 1) / 3},
            FrameVOILUTSequence={"WindowCenter": 341 + z * z, "WindowWidth": 670},
        )
        for z in range(depth)
    ]
    return DicomHeader(shared, tuple(frames), enhanced=True)


def plain_geometry(version: NiftiVersion = 1) -> NiftiGeometry:
    """What chunk G says in one byte: voxels of 1 x 1 x 1, and nothing else."""
    one, zero = float_to_bits(1.0, version), 0
    return NiftiGeometry(
        version=version,
        byte_order="<",
        dim_info=0,
        xyzt_units=0,
        pixdim=(one,) * 8,
        qform_code=0,
        quatern=(zero,) * 3,
        qoffset=(zero,) * 3,
        sform_code=0,
        srow=(one, 0, 0, 0, 0, one, 0, 0, 0, 0, one, 0),
        scl_slope=one,
        scl_inter=zero,
        cal_max=zero,
        cal_min=zero,
        toffset=zero,
        intent_code=0,
        intent_p=(zero,) * 3,
        intent_name=b"",
        slice_code=0,
        slice_start=0,
        slice_end=0,
        slice_duration=zero,
    )


def scanner_geometry(version: NiftiVersion = 1) -> NiftiGeometry:
    """0.7 x 0.8 x 2 mm, a rotation about the third axis, and an sform that differs from it."""

    def bits(*values: float) -> tuple[int, ...]:
        return tuple(float_to_bits(value, version) for value in values)

    return replace(
        plain_geometry(version),
        xyzt_units=10,
        pixdim=bits(1, 0.7, 0.8, 2, 1.5, 1, 1, 1),
        qform_code=1,
        quatern=bits(0, 0, 0.25),
        qoffset=bits(-30, 12.5, 7),
        sform_code=2,
        srow=bits(0.7, 0, 0, -30, 0, 0.8, 0, 12.5, 0, 0, 2, 7),
        scl_slope=bits(2.0)[0],
        scl_inter=bits(-1024.0)[0],
    )


def extreme_geometry(version: NiftiVersion) -> NiftiGeometry:
    """Big-endian, all fields in use: the ends of the integers, and NaN, infinite, subnormal and
    negative-zero floats with all their bits."""
    size = 32 if version == 1 else 64
    sign = 1 << size - 1
    infinity = float_to_bits(float("inf"), version)
    nan = infinity | 0x2BEEF
    largest, smallest = infinity - 1, 1
    short = 15 if version == 1 else 31
    long = 15 if version == 1 else 63
    most = 255 if version == 1 else (1 << 31) - 1
    third = float_to_bits(1 / 3, version)
    return NiftiGeometry(
        version=version,
        byte_order=">",
        dim_info=255,
        xyzt_units=most,
        pixdim=(sign | third, third, third + 1, third - 300, nan, largest, smallest, sign),
        qform_code=-(1 << short),
        quatern=(third, sign | third, third),
        qoffset=(infinity, sign | infinity, smallest),
        sform_code=(1 << short) - 1,
        srow=(third, nan, sign | nan, infinity, 0, sign, smallest, 7, third, 0, largest, 1),
        scl_slope=nan,
        scl_inter=sign,
        cal_max=sign | largest,
        cal_min=sign | smallest,
        toffset=largest,
        intent_code=-1,
        intent_p=(nan + 1, third, sign),
        intent_name=bytes(range(16)),
        slice_code=most,
        slice_start=-(1 << long),
        slice_end=(1 << long) - 1,
        slice_duration=third << 1 & (sign - 1),
    )
