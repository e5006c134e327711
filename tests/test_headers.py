"""Chunks V, G and m: round trips over all that a header can hold, and refusals."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from inrcodec.bitstream.geometry import decode_geometry, encode_geometry
from inrcodec.bitstream.metadata import decode_metadata, encode_metadata
from inrcodec.bitstream.volume_header import (
    VolumeHeader,
    decode_volume_header,
    encode_volume_header,
)
from inrcodec.errors import BitstreamError, LimitExceededError, UnsupportedVersionError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.geometry import (
    HEADER_BYTES,
    NiftiGeometry,
    NiftiVersion,
    bits_to_float,
    float_to_bits,
)
from inrcodec.volume.nifti import read_nifti
from inrcodec.volume.volume import VOXEL_DTYPES

SHARED = Path(os.environ.get("INRCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))

NIBABEL = Path(nibabel.__file__).parent / "tests" / "data"
DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"

SHAPE = (4, 5, 6)


def geometry(version: NiftiVersion = 1, **values: Any) -> NiftiGeometry:
    """An axis-aligned header of 1 mm voxels; floats in ``values`` are given as numbers."""
    fields: dict[str, Any] = {
        "dim_info": 0,
        "xyzt_units": 2,
        "pixdim": (1.0,) * 8,
        "qform_code": 0,
        "quatern": (0.0,) * 3,
        "qoffset": (0.0,) * 3,
        "sform_code": 2,
        "srow": (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "scl_slope": 1.0,
        "scl_inter": 0.0,
        "cal_max": 0.0,
        "cal_min": 0.0,
        "toffset": 0.0,
        "intent_code": 0,
        "intent_p": (0.0,) * 3,
        "intent_name": b"",
        "slice_code": 0,
        "slice_start": 0,
        "slice_end": 0,
        "slice_duration": 0.0,
        "byte_order": "<",
    } | values

    def bits(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(bits(item) for item in value)
        return float_to_bits(value, version) if isinstance(value, float) else value

    return NiftiGeometry(version=version, **{name: bits(v) for name, v in fields.items()})


# The volume of the worked example in docs/format.md.
EXAMPLE_HEADER = VolumeHeader(np.dtype("int16"), SHAPE, -1024, 3071, 0x12345678)
EXAMPLE_GEOMETRY = geometry(
    qform_code=1,
    sform_code=1,
    pixdim=(1.0, 0.5, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0),
    quatern=(0.25, 0.0, 0.0),
    qoffset=(-1.0, -1.25, -5.0),
    srow=(
        *(0.5, 0.0, 0.0, -1.0),
        *(0.0, 0.4375 + 2**-25, -0.9682458639144897, -1.25),  # one unit in the last place off
        *(0.0, 0.24206146597862244, 1.75, -5.0),
    ),
)
EXAMPLE_V = "23040506ff0fff1f78563412"
EXAMPLE_G = "7c04020209093f40a000803eaa0a80bfa0bfa0c000001000000002"


def test_worked_example_of_the_format_document() -> None:
    assert encode_volume_header(EXAMPLE_HEADER).hex() == EXAMPLE_V
    assert encode_geometry(EXAMPLE_GEOMETRY).hex() == EXAMPLE_G
    document = DOCUMENT.read_text()
    for payload in (EXAMPLE_V, EXAMPLE_G):
        assert bytes.fromhex(payload).hex(" ") in document


# Chunk V


@st.composite
def volume_headers(draw: st.DrawFn) -> VolumeHeader:
    dtype = np.dtype(draw(st.sampled_from(sorted(VOXEL_DTYPES))))
    values: st.SearchStrategy[Any]
    if dtype.kind == "f":
        values = st.floats(
            width=8 * dtype.itemsize,  # type: ignore[arg-type]
            allow_nan=False,
            allow_infinity=False,
        )
    else:
        values = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    low, high = sorted((draw(values), draw(values)))
    shape = draw(st.lists(st.integers(1, 2**33), min_size=1, max_size=4))
    while np.prod(shape, dtype=object) > DEFAULT_LIMITS.voxels:
        shape = [max(1, length // 2) for length in shape]
    if np.prod(shape, dtype=object) == 1:
        high = low
    return VolumeHeader(dtype, tuple(shape), low, high, draw(st.integers(0, 2**32 - 1)))


@given(volume_headers())
@example(VolumeHeader(np.dtype("uint64"), (2,), 0, 2**64 - 1))
@example(VolumeHeader(np.dtype("int64"), (1, 1, 1, 2), -(2**63), 2**63 - 1))
@example(VolumeHeader(np.dtype("float64"), (2, 3), -sys.float_info.max, sys.float_info.max))
def test_volume_header_round_trip(header: VolumeHeader) -> None:
    payload = encode_volume_header(header)
    assert decode_volume_header(payload, DEFAULT_LIMITS) == header
    for cut in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_volume_header(payload[:cut], DEFAULT_LIMITS)
    with pytest.raises(BitstreamError):
        decode_volume_header(payload + b"\0", DEFAULT_LIMITS)


@pytest.mark.parametrize("name", sorted(VOXEL_DTYPES))
def test_volume_header_of_an_array(name: str) -> None:
    data = np.arange(24, dtype=name).reshape(2, 3, 4)
    header = VolumeHeader.of(data)
    assert header == VolumeHeader(np.dtype(name), (2, 3, 4), 0, 23)
    assert (header.voxels, header.raw_bytes) == (24, data.nbytes)
    assert type(header.low) is (float if data.dtype.kind == "f" else int)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("6304050600", "reserved"),
        ("a304050600", "reserved"),
        ("2a0405060000", "voxel type 10"),
        ("2304000600" + "00", "at least one voxel"),
        ("2004050680" + "02" + "00", "not a range"),  # 256 in uint8
        ("2304050600" + "808002", "not a range"),  # 32768 in int16
        ("28040506" + "0000803f" + "00000000", "not a range"),  # low > high
        ("23010101" + "0001", "one voxel"),
        ("28040506" + "00000000" + "0000807f", "not a range"),  # infinity
        ("28040506" + "0000c07f" + "0000c07f", "not a range"),  # NaN
    ],
)
def test_volume_header_refusals(payload: str, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        decode_volume_header(bytes.fromhex(payload) + bytes(4), DEFAULT_LIMITS)


def test_volume_header_limit() -> None:
    payload = encode_volume_header(EXAMPLE_HEADER)
    assert decode_volume_header(payload, Limits(voxels=120)) == EXAMPLE_HEADER
    with pytest.raises(LimitExceededError):
        decode_volume_header(payload, Limits(voxels=119))


@given(st.binary(max_size=24))
def test_volume_header_of_any_bytes(payload: bytes) -> None:
    try:
        header = decode_volume_header(payload, DEFAULT_LIMITS)
    except BitstreamError:
        return
    assert encode_volume_header(header) == payload


# Chunk G


@st.composite
def geometries(draw: st.DrawFn) -> NiftiGeometry:
    version: NiftiVersion = draw(st.sampled_from((1, 2)))
    width = 32 * version
    sign = 1 << width - 1
    infinity = float_to_bits(float("inf"), version)
    nasty = [0, sign, 1, sign | 1, infinity, sign | infinity, infinity | 1, sign - 1, 2 * sign - 1]
    bits = st.one_of(
        st.integers(0, 2 * sign - 1),
        st.sampled_from(nasty),
        st.floats(width=width).map(lambda value: float_to_bits(value, version)),  # type: ignore[arg-type]
        st.sampled_from([1.0, -1.0, 0.5, 0.7, 2.2, 1e-30, 3e38]).map(
            lambda value: float_to_bits(value, version)
        ),
    )

    def floats(count: int) -> Any:
        return st.tuples(*[bits] * count)

    small = st.integers(0, 255)
    code = st.integers(-(1 << 16 * version - 1), (1 << 16 * version - 1) - 1)
    slice_index = st.integers(-(1 << 15), (1 << 15) - 1)
    if version == 2:
        slice_index = st.integers(-(1 << 63), (1 << 63) - 1)
    return draw(
        st.builds(
            NiftiGeometry,
            version=st.just(version),
            byte_order=st.sampled_from("<>"),
            dim_info=small,
            xyzt_units=small if version == 1 else code,
            pixdim=floats(8),
            qform_code=code,
            quatern=floats(3),
            qoffset=floats(3),
            sform_code=code,
            srow=floats(12),
            scl_slope=bits,
            scl_inter=bits,
            cal_max=bits,
            cal_min=bits,
            toffset=bits,
            intent_code=code,
            intent_p=floats(3),
            intent_name=st.binary(max_size=16).map(lambda name: name.rstrip(b"\0")),
            slice_code=small if version == 1 else code,
            slice_start=slice_index,
            slice_end=slice_index,
            slice_duration=bits,
        )
    )


@given(geometries())
@example(geometry())
@example(geometry(2))
@example(geometry(scl_slope=float("nan"), scl_inter=float("nan"), byte_order=">"))
@example(geometry(quatern=(float("inf"),) * 3, pixdim=(3e38,) * 8))
@example(geometry(quatern=(1.0, 1.0, 1.0), pixdim=(-1.0, 3e38, 1e-38, -0.0, 0.0, 0.0, 1.0, 1.0)))
@example(geometry(2, quatern=(1e200,) * 3))
def test_geometry_round_trip(value: NiftiGeometry) -> None:
    payload = encode_geometry(value)
    assert decode_geometry(payload, SHAPE) == value


@pytest.mark.parametrize("value", [EXAMPLE_GEOMETRY, geometry(2, intent_name=b"name")])
def test_geometry_truncated_or_extended(value: NiftiGeometry) -> None:
    payload = encode_geometry(value)
    for cut in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_geometry(payload[:cut], SHAPE)
    with pytest.raises(BitstreamError, match="follow"):
        decode_geometry(payload + b"\0", SHAPE)


@given(st.binary(max_size=40))
def test_geometry_of_any_bytes(payload: bytes) -> None:
    try:
        value = decode_geometry(payload, SHAPE)
    except BitstreamError:
        return
    assert encode_geometry(value) == payload


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("808001", "reserved flags"),
        ("08" + "0000", "shortest form"),  # a group as predicted
        ("08" + "0010", "padding bits"),
        ("08" + "0400" + "01000000", "shortest form"),  # three bytes too many
        ("08" + "0500" + "0000000001", "float code 5"),
        ("08" + "0d00" + "0000000001", "float code 13"),
        ("04" + "00" + "808004" + "00", "qform_code"),  # 32768
        ("800801", "dim_info"),
        ("8040" + "00" + "0000" + "11" + "61" * 17, "intent_name"),
        ("8040" + "00" + "0000" + "02" + "6100", "intent_name"),
    ],
)
def test_geometry_refusals(payload: str, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        decode_geometry(bytes.fromhex(payload), SHAPE)


def test_grid_beyond_nifti1_is_refused() -> None:
    shape = (32768, 1, 1)
    with pytest.raises(BitstreamError, match="does not fit a NIfTI-1"):
        decode_geometry(encode_geometry(geometry()), shape)
    assert decode_geometry(encode_geometry(geometry(2)), shape) == geometry(2)


def test_sform_like_the_qform_costs_nothing() -> None:
    # Rotation by 30 degrees about x, 1 x 1 x 3 mm, stored left-handed, as a scanner would write it.
    b, cos, sin = 0.25881904, 0.8660254, 0.5
    value = geometry(
        qform_code=1,
        sform_code=1,
        pixdim=(-1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0),
        quatern=(b, 0.0, 0.0),
        qoffset=(-90.5, -126.25, 72.125),
        srow=(1.0, 0.0, 0.0, -90.5, 0.0, cos, 3 * sin, -126.25, 0.0, sin, -3 * cos, 72.125),
    )
    exact = len(encode_geometry(dataclasses.replace(value, srow=_srow_of_qform(value))))
    assert exact <= 33
    assert len(encode_geometry(value)) <= exact + 6 + 4  # codes, and a byte for each inexact entry


def _srow_of_qform(value: NiftiGeometry) -> tuple[int, ...]:
    """The affine as an independent implementation in numpy computes it."""
    qfac, dx, dy, dz = (bits_to_float(bits, value.version) for bits in value.pixdim[:4])
    b, c, d = (bits_to_float(bits, value.version) for bits in value.quatern)
    a = np.sqrt(1.0 - (b * b + c * c + d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = rotation * [dx, dy, dz * qfac]
    return tuple(
        bits
        for row, offset in zip(matrix, value.qoffset, strict=True)
        for bits in (*(float_to_bits(entry, value.version) for entry in row), offset)
    )


@pytest.mark.parametrize(
    ("path", "most"),
    [
        (NIBABEL / "standard.nii.gz", 20),
        (NIBABEL / "anatomical.nii", 38),
        (NIBABEL / "example4d.nii.gz", 89),
        (NIBABEL / "example_nifti2.nii.gz", 115),
        (SHARED / "ct_head.nii.gz", 25),
        (SHARED / "hipct_tinc_sample.nii.gz", 19),
        (SHARED / "microscopy_mouse_brain.nii.gz", 27),
        (SHARED / "mr_t1_brain_crop.nii.gz", 40),
        (SHARED / "mr_t2_brain.nii.gz", 81),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_bytes_of_v_and_g(path: Path, most: int) -> None:
    if not path.exists():
        pytest.skip(f"{path} is absent; INRCODEC_DATA names the folder")
    volume = read_nifti(path)
    header = VolumeHeader.of(volume.data)
    chunk_v, chunk_g = encode_volume_header(header), encode_geometry(volume.geometry)
    assert decode_volume_header(chunk_v, DEFAULT_LIMITS) == header
    assert decode_geometry(chunk_g, header.shape) == volume.geometry
    assert len(chunk_v) + len(chunk_g) <= most


# Chunk m


@pytest.mark.parametrize("version", [1, 2])
def test_metadata_round_trip(version: NiftiVersion) -> None:
    block = bytes(range(100)).ljust(HEADER_BYTES[version], b"\0")
    payload = encode_metadata(block)
    assert payload[0] == 1
    assert decode_metadata(payload, version, DEFAULT_LIMITS) == block
    for cut in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_metadata(payload[:cut], version, DEFAULT_LIMITS)
    with pytest.raises(BitstreamError):
        decode_metadata(payload + b"\0", version, DEFAULT_LIMITS)
    other: NiftiVersion = 2 if version == 1 else 1
    with pytest.raises(BitstreamError, match=f"not a NIfTI-{other} header"):
        decode_metadata(payload, other, DEFAULT_LIMITS)


def test_metadata_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match="kind 3"):
        decode_metadata(b"\x03", 1, DEFAULT_LIMITS)
    with pytest.raises(BitstreamError, match="another kind of volume"):
        decode_metadata(b"\x02", 1, DEFAULT_LIMITS)


def test_metadata_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    with pytest.raises(LimitExceededError):
        decode_metadata(b"\x01" + bomb, 1, Limits(metadata_bytes=(1 << 20) - 1))


def test_metadata_of_unstated_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(348))
    with pytest.raises(BitstreamError, match="does not say its size"):
        decode_metadata(b"\x01" + frame, 1, DEFAULT_LIMITS)


@given(st.binary(max_size=64))
def test_metadata_of_any_bytes(payload: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode_metadata(b"\x01" + payload, 1, DEFAULT_LIMITS)


def test_bitstream_needs_neither_nibabel_nor_torch() -> None:
    code = (
        "import sys, inrcodec.bitstream.container, inrcodec.bitstream.geometry,"
        " inrcodec.bitstream.metadata, inrcodec.bitstream.volume_header\n"
        "sys.exit(bool({'nibabel', 'torch'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
