"""What `info` tells of a file, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import FILE_BYTES

from inrcodec.bitstream.container import Chunk, ChunkType, parse_container, write_container
from inrcodec.bitstream.geometry import decode_geometry, encode_geometry
from inrcodec.bitstream.primitives import ByteWriter
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.encoder import Target, encode_volume
from inrcodec.errors import BitstreamError, LimitExceededError
from inrcodec.info import NOTICE, Info, read_info
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.geometry import NiftiGeometry, float_to_bits
from inrcodec.volume.nifti import read_nifti

CONSTANT = VolumeHeader(np.dtype(np.int16), (4, 5, 6), 7, 7)


def geometry(moec: bytes, **changes: object) -> NiftiGeometry:
    chunk = parse_container(moec, DEFAULT_LIMITS)[ChunkType.GEOMETRY]
    return dataclasses.replace(decode_geometry(chunk, (24, 20, 16)), **changes)  # type: ignore[arg-type]


def constant_file(where: NiftiGeometry, shape: tuple[int, ...] = CONSTANT.shape) -> bytes:
    header = dataclasses.replace(CONSTANT, shape=shape)
    return write_container(
        [
            Chunk(ChunkType.VOLUME, encode_volume_header(header)),
            Chunk(ChunkType.GEOMETRY, encode_geometry(where)),
            Chunk(ChunkType.NETWORK, b""),
        ]
    )


def with_network(moec: bytes, payload: bytes) -> bytes:
    chunks = parse_container(moec, DEFAULT_LIMITS) | {ChunkType.NETWORK: payload}
    return write_container([Chunk(kind, chunks[kind]) for kind in chunks])


def test_of_a_file(moec: bytes) -> None:
    info = read_info(moec)
    assert info.format_version == 1
    assert info.file_bytes == len(moec) <= FILE_BYTES
    assert info.header.shape == (24, 20, 16)
    assert info.header.dtype == np.int16
    assert info.ratio == 24 * 20 * 16 * 2 / len(moec)
    assert info.bits_per_voxel == 8 * len(moec) / (24 * 20 * 16)
    assert (info.axes, info.spacing, info.units) == ("xyz", (1.0, 1.5, 2.0), ("mm",) * 3)
    assert info.sform == ((1, 0, 0, 0), (0, 1.5, 0, 0), (0, 0, 2, 0))
    assert info.scaling == (1, 0)
    assert not info.has_full_header
    assert info.architecture is not None
    assert info.bits_per_weight == 8 * info.chunk_bytes["N"] / info.architecture.parameters
    assert sum(info.chunk_bytes.values()) + 6 == len(moec)


def test_range_is_that_of_the_scan(moec: bytes, scan: Path) -> None:
    data = nib.load(scan).dataobj.get_unscaled()
    header = read_info(moec).header
    assert (header.low, header.high) == (data.min(), data.max())


def test_as_dict_is_json(moec: bytes) -> None:
    found = read_info(moec).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["notice"] == NOTICE == "Lossy: not for primary diagnosis."
    assert found["network"]["weights"] > 0


def test_of_a_volume_of_one_value(moec: bytes) -> None:
    info = read_info(constant_file(geometry(moec)))
    assert info.architecture is None
    assert info.bits_per_weight is None
    assert info.as_dict()["network"] is None


@pytest.mark.usefixtures("short_fit")
def test_full_header_is_told(scan: Path) -> None:
    data, _ = encode_volume(read_nifti(scan), target=Target(file_bytes=600), metadata="full")
    info = read_info(data)
    assert info.has_full_header
    assert info.as_dict()["full_header"] is True
    assert "m" in info.chunk_bytes


def test_time_axis(moec: bytes) -> None:
    where = geometry(moec, xyzt_units=3 | 16)
    info = read_info(constant_file(where, (4, 5, 6, 2)))
    assert info.axes == "xyzt"
    assert info.units == ("um", "um", "um", "ms")


def test_unknown_units(moec: bytes) -> None:
    info = read_info(constant_file(geometry(moec, xyzt_units=0)))
    assert info.units == (None,) * 3


@pytest.mark.parametrize(
    ("slope", "intercept", "scaling"),
    [(2.0, -1024.0, (2.0, -1024.0)), (0.0, 5.0, (1.0, 0.0)), (math.nan, math.nan, (1.0, 0.0))],
)
def test_scaling(moec: bytes, slope: float, intercept: float, scaling: tuple[float, float]) -> None:
    where = geometry(moec, scl_slope=float_to_bits(slope, 1), scl_inter=float_to_bits(intercept, 1))
    assert read_info(constant_file(where)).scaling == scaling


def test_no_sform(moec: bytes) -> None:
    info = read_info(constant_file(geometry(moec, sform_code=0)))
    assert info.sform is None
    assert info.as_dict()["sform"] is None


def test_nonfinite_geometry_is_null_in_json(moec: bytes) -> None:
    nan = float_to_bits(math.nan, 1)
    original = geometry(moec)
    where = geometry(moec, pixdim=(original.pixdim[0], nan, *original.pixdim[2:]), srow=(nan,) * 12)
    found = read_info(constant_file(where)).as_dict()
    assert found["spacing"] == [None, 1.5, 2.0]
    assert found["sform"] == [[None] * 4] * 3
    json.dumps(found, allow_nan=False)


def test_truncated_anywhere(moec: bytes) -> None:
    for cut in range(len(moec)):
        with pytest.raises(BitstreamError):
            read_info(moec[:cut])


def test_damaged_anywhere(moec: bytes) -> None:
    for position in range(len(moec)):
        damaged = bytearray(moec)
        damaged[position] ^= 0x10
        with pytest.raises(BitstreamError):
            read_info(bytes(damaged))


@pytest.mark.parametrize(
    "values",
    [
        (0, 4, *(1, 2) * 4),
        (0, 1, 65, 8),
        (4, 1, 1 << 40, 8),
        (0, 1, 2, 10000),
        (0, 2, 1, 2, 1, 1, 5000, *(1,) * 7),
        (1, 257, 2, 8, 3, 8, 0, 0, 1),
        (5, 2, 62, 8, 3, 8, 0, 0, 1),
        (1, 2, 2, 8, 3, 8, 1, 5000, 0, 1, 1),
    ],
)
def test_network_beyond_the_limits(moec: bytes, values: tuple[int, ...]) -> None:
    writer = ByteWriter()
    for value in values:
        writer.varint(value)
    with pytest.raises(LimitExceededError):
        read_info(with_network(moec, writer.getvalue()))


@pytest.mark.parametrize("payload", [b"", b"\x00\x01\x00\x08", b"\x00\x01", b"\x08\x01\x02\x08"])
def test_network_that_is_none(moec: bytes, payload: bytes) -> None:
    with pytest.raises(BitstreamError):
        read_info(with_network(moec, payload))


def test_network_of_a_volume_of_one_value(moec: bytes) -> None:
    with pytest.raises(BitstreamError, match="one value has a network"):
        read_info(with_network(constant_file(geometry(moec)), b"\x00\x01\x03\x08"))


def test_limits_are_the_callers(moec: bytes) -> None:
    with pytest.raises(LimitExceededError):
        read_info(moec, Limits(voxels=100))


def test_is_frozen(moec: bytes) -> None:
    info = read_info(moec)
    assert isinstance(info, Info)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.file_bytes = 1  # type: ignore[misc]
