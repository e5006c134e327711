"""A file as an array: what numpy gives for the whole volume, the reader gives for a part of it."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_exact import network
from test_headers import geometry

import inrcodec
from inrcodec import reader
from inrcodec.architecture import Activation, Gate, Mixture, Stack
from inrcodec.bitstream.container import Chunk, ChunkType, write_container
from inrcodec.bitstream.geometry import encode_geometry
from inrcodec.bitstream.metadata import encode_metadata
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.decoder import Content, decode_bytes, sample
from inrcodec.entropy.network import encode_network
from inrcodec.errors import (
    BitstreamError,
    ChecksumError,
    DeviceError,
    LimitExceededError,
    OutOfMemoryError,
    RegionError,
)
from inrcodec.info import read_info
from inrcodec.limits import Limits
from inrcodec.reader import Reader
from inrcodec.volume.checksum import checksum
from inrcodec.volume.geometry import NiftiGeometry
from inrcodec.volume.nifti import write_nifti
from inrcodec.volume.sampling_grid import SamplingGrid

SHAPE = (9, 1, 7, 5)

OBLIQUE = geometry(
    qform_code=1,
    pixdim=(-1.0, 0.5, 0.75, 2.0, 2.5, 1.0, 1.0, 1.0),
    quatern=(0.25, -0.5, 0.5),
    qoffset=(-30.0, 12.5, 7.0),
    srow=(0.5, 0.1, 0.0, -30.0, -0.1, 0.75, 0.25, 12.5, 0.0, 0.125, 2.0, 7.0),
)


def two_experts(coordinates: int) -> Mixture:
    gate = Gate(Stack(0, 0), Stack(0, 0), 1)
    return Mixture(coordinates, Activation.SINE, Stack(1, 8), 2, Stack(1, 8), gate)


def crafted(
    shape: tuple[int, ...] = SHAPE,
    dtype: str = "int16",
    low: float = -300,
    high: float = 1000,
    where: NiftiGeometry = OBLIQUE,
    *,
    header_block: bytes | None = None,
    damage: int = 0,
) -> bytes:
    """The bytes of a .moec file with a network of arbitrary weights; ``damage`` is done to the
    checksum of the voxels, and to that alone."""
    coordinates = sum(length > 1 for length in shape)
    model = None if low == high else network(two_experts(coordinates))
    header = VolumeHeader(np.dtype(dtype), shape, low, high)
    content = Content(header, where, header_block, model)
    voxels = sample(content, SamplingGrid.whole(shape), torch.device("cpu"))
    header = replace(header, checksum=checksum(voxels) ^ damage)
    chunks = [
        Chunk(ChunkType.VOLUME, encode_volume_header(header)),
        Chunk(ChunkType.GEOMETRY, encode_geometry(where)),
        Chunk(ChunkType.NETWORK, b"" if model is None else encode_network(model)),
    ]
    if header_block is not None:
        chunks.append(Chunk(ChunkType.METADATA, encode_metadata(header_block)))
    return write_container(chunks)


DATA = crafted()
WHOLE = decode_bytes(DATA).data
READER = inrcodec.open(DATA)


def grid_points(found: Reader, positions: NDArray[Any]) -> NDArray[np.float64]:
    """Points in mm of (..., 3) positions in voxels."""
    return nib.affines.apply_affine(found.affine, positions)


# Opening


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.moec"
    path.write_bytes(DATA)
    return path


def test_sources(path: Path) -> None:
    behind = io.BytesIO(b"something" + DATA)
    behind.seek(9)
    with path.open("rb") as file:
        for source in (path, str(path), DATA, file, io.BytesIO(DATA), behind):
            assert np.array_equal(inrcodec.open(source)[0], WHOLE[0])


def test_what_it_knows() -> None:
    assert isinstance(READER, Reader)
    assert (READER.shape, READER.ndim, READER.dtype) == (SHAPE, 4, np.int16)
    assert READER.info == read_info(DATA)
    assert repr(READER) == "<inrcodec.Reader data: 9 x 1 x 7 x 5 int16>"


def test_errors_name_the_file(path: Path) -> None:
    path.write_bytes(DATA[:-1])
    for source in (path, str(path), path.open("rb")):
        with pytest.raises(BitstreamError) as error:
            inrcodec.open(source)
        assert str(error.value).startswith(f"{path}: ")
    source.close()
    for unnamed in (DATA[:-1], io.BytesIO(DATA[:-1])):
        with pytest.raises(BitstreamError, match=r"^data: "):
            inrcodec.open(unnamed)
    with pytest.raises(BitstreamError, match=r"missing\.moec: cannot be read: No such file"):
        inrcodec.open(path.parent / "missing.moec")


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError):
        inrcodec.open(DATA, device="cuda")
    with pytest.raises(LimitExceededError, match="claims 315 voxels"):
        inrcodec.open(DATA, limits=Limits(voxels=314))
    threads = torch.get_num_threads()
    try:
        assert np.array_equal(inrcodec.open(DATA, device="cpu", threads=3)[...], WHOLE)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_a_file_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inrcodec.open(DATA)
    for name in ("parse_content", "read_info", "Decoder"):
        monkeypatch.delattr(reader, name)
    for number in range(3):
        assert np.array_equal(found[number], WHOLE[number])


def test_importing_the_package_is_light() -> None:
    shown = run_python(
        "import inrcodec, sys; print(callable(inrcodec.open), 'torch' in sys.modules)"
    )
    assert shown == "True False\n"


# Indexing


@pytest.mark.parametrize(
    "index",
    [
        (),
        ...,
        3,
        -1,
        np.int64(-2),
        slice(2, 8),
        slice(None, None, -1),
        slice(-3, 0, -2),
        slice(None, None, 10**400),
        slice(None, None, -(10**30)),
        slice(-100, 100),
        (..., -1),
        (1, ...),
        (1, ..., 2),
        (1, 0, 2, 3),
        (1, 0, ..., 2),
        (slice(None), 0),
        (slice(3, 8, 2), slice(None), 4),
        (slice(None), slice(None), slice(None), slice(1, 2)),
        slice(4, 4),
        (2, slice(5, 0), 1),
        (slice(0, 0), ..., slice(7, 9)),
    ],
    ids=repr,
)
def test_index(index: Any) -> None:
    found, expected = READER[index], WHOLE[index]
    assert type(found) is type(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(found, expected)


@given(st.data())
def test_any_basic_index(data: st.DataObject) -> None:
    axes = [st.integers(-n, n - 1) | st.slices(n) for n in SHAPE]
    index = data.draw(st.tuples(*axes[: data.draw(st.integers(0, 4))]))
    assert np.array_equal(READER[index], WHOLE[index])


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (9, IndexError, "index 9 is out of bounds for axis 0 with 9 voxels"),
        ((0, 0, -8), IndexError, "index -8 is out of bounds for axis 2"),
        ((slice(0, 0), 5), IndexError, "index 5 is out of bounds for axis 1"),
        ((0,) * 5, IndexError, "too many indices"),
        ((..., 0, ...), IndexError, "only one"),
        (slice(0, 5, 0), ValueError, "zero"),
        (slice(0.5, 5), TypeError, "slice indices must be integers"),
        (1.0, TypeError, "float is no index of a volume; take integers, slices and '...'"),
        (None, TypeError, "NoneType is no index"),
        (True, TypeError, "bool is no index"),
        (np.True_, TypeError, "bool is no index"),
        ([1, 2], TypeError, "list is no index"),
        (np.array([1, 2]), TypeError, "ndarray is no index"),
        (np.ones(SHAPE, bool), TypeError, "ndarray is no index"),
        ("x", TypeError, "str is no index"),
    ],
)
def test_index_refusals(index: Any, error: type[Exception], message: str) -> None:
    if not isinstance(index, bool | np.bool_ | list | np.ndarray) and index is not None:
        with pytest.raises((error, IndexError)):
            WHOLE[index]
    with pytest.raises(error, match=message):
        READER[index]


def test_as_an_array() -> None:
    for whole in (np.asarray(READER), np.array(READER), READER[...]):
        assert whole.dtype == np.int16
        assert np.array_equal(whole, WHOLE)
    assert np.asarray(READER, np.float32).dtype == np.float32
    assert float(np.mean(READER)) == WHOLE.mean()
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(READER, copy=False)


def test_iteration_is_along_the_first_axis() -> None:
    assert [part.shape for part in READER] == [SHAPE[1:]] * 9


def test_only_what_is_asked_for_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    evaluate = inrcodec.decoder.evaluate  # type: ignore[attr-defined]

    def counting(network: object, grid: SamplingGrid, *rest: object) -> None:
        counts.append(grid.samples)
        evaluate(network, grid, *rest)

    monkeypatch.setattr("inrcodec.decoder.evaluate", counting)
    READER[2:5, :, 3]
    READER[0, 0, 0, 0]
    READER[5:5]
    assert counts == [15, 1]


def test_a_volume_of_one_value() -> None:
    found = inrcodec.open(crafted((4, 5, 6), "uint8", 7, 7))
    assert np.array_equal(found[1:3, 2], np.full((2, 6), 7, np.uint8))
    assert (found[...] == 7).all()


def test_the_whole_volume_is_compared_with_its_checksum(path: Path) -> None:
    path.write_bytes(crafted(damage=1))
    found = inrcodec.open(path)
    assert np.array_equal(found[1:], WHOLE[1:])
    for read in (found.read, lambda: found[...], lambda: np.asarray(found)):
        with pytest.raises(ChecksumError, match=r"a\.moec: the decoded voxels do not match"):
            read()


# Reading with geometry


def test_read() -> None:
    volume = READER.read()
    assert np.array_equal(volume.data, WHOLE)
    assert volume.geometry == OBLIQUE
    part = READER.read(READER.grid.crop((slice(2, 8), 0, slice(None, None, 2))))
    assert np.array_equal(part.data, WHOLE[2:8, :, ::2])
    assert part.geometry != OBLIQUE


def test_read_between_the_voxels() -> None:
    half = READER.read(READER.grid.crop((slice(1, 9),)).scale((0.5, 1, 1)))
    assert half.data.shape == (4, 1, 7, 5)
    found = READER.sample(grid_points(READER, np.array([1.5, 0, 3])), volume=2)
    assert abs(half.data[0, 0, 3, 2] - found) <= 0.5 + 1e-3


def test_work_and_memory_are_checked_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inrcodec.decoder.evaluate", None)
    found = inrcodec.open(DATA, limits=Limits(work=10_000))
    with pytest.raises(LimitExceededError, match="--limit work="):
        found[...]
    with pytest.raises(LimitExceededError, match="--limit work="):
        found.sample(np.tile(grid_points(found, np.zeros(3)), (1000, 1)), volume=0)
    monkeypatch.setattr("os.sysconf", lambda name: 10)
    with pytest.raises(OutOfMemoryError, match=r"^data: the voxels take .* --roi, .* --scale$"):
        READER[...]


# The affine


def affine_of_decoded(data: bytes, path: Path) -> NDArray[np.float64]:
    write_nifti(decode_bytes(data), path)
    return nib.load(path).affine


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(9,), (9, 8), (9, 8, 7), (5, 4, 3, 2), (1, 8, 1)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sform_code": 0},
        {"sform_code": 0, "qform_code": 0},
        {"sform_code": 0, "byte_order": ">"},
        {"sform_code": 0, "pixdim": (0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0)},
        {"sform_code": 77, "qform_code": -3},
        {"sform_code": 0, "qform_code": 0, "pixdim": (0.0,) * 8},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_affine_is_nibabels(
    tmp_path: Path, changes: dict[str, Any], shape: tuple[int, ...], version: int
) -> None:
    given = {
        "qform_code": 1,
        "pixdim": (-1.0, 0.5, 0.75, 2.0, 2.5, 1.0, 1.0, 1.0),
        "quatern": (0.25, -0.5, 0.5),
        "qoffset": (-30.0, 12.5, 7.0),
        "srow": (0.5, 0.1, 0.0, -30.0, -0.1, 0.75, 0.25, 12.5, 0.0, 0.125, 2.0, 7.0),
    }
    data = crafted(shape, "uint8", 7, 7, geometry(version, **given | changes))  # type: ignore[arg-type]
    found = inrcodec.open(data).affine
    assert (found.shape, found.dtype) == ((4, 4), np.float64)
    assert np.array_equal(found, affine_of_decoded(data, tmp_path / "a.nii"))


def test_the_affine_is_quiet_and_fixed(capfd: pytest.CaptureFixture[str]) -> None:
    where = geometry(sform_code=0, qform_code=1, pixdim=(0.0,) * 8)
    found = inrcodec.open(crafted((4, 5, 6), low=7, high=7, where=where))
    assert found.affine is found.affine
    with pytest.raises(ValueError, match="read-only"):
        found.affine[0, 0] = 5
    assert capfd.readouterr() == ("", "")


def test_a_geometry_without_an_affine(path: Path) -> None:
    where = geometry(sform_code=0, qform_code=1, quatern=(1.0, 1.0, 1.0))
    path.write_bytes(crafted((4, 5, 6), low=7, high=7, where=where))
    found = inrcodec.open(path)
    assert found[0].shape == (5, 6)
    with pytest.raises(BitstreamError, match=r"a\.moec: the geometry has no affine: "):
        found.affine  # noqa: B018


# Points


@pytest.mark.parametrize("shape", [(9,), (9, 8), (9, 8, 7), (1, 8, 6)])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int16", -300, 1000),
        ("float32", -1.5, 2.5),
        ("uint64", 5, 10**15),
        ("float64", -1e308, 1e308),
    ],
)
def test_points_at_voxels(shape: tuple[int, ...], dtype: str, low: float, high: float) -> None:
    found = inrcodec.open(crafted(shape, dtype, low, high, geometry()))
    voxels = found[...].astype(np.float64)
    points = np.stack(np.meshgrid(*map(np.arange, (*shape, 1, 1)[:3]), indexing="ij"), -1)
    values = found.sample(points)
    assert (values.shape, values.dtype) == (points.shape[:-1], np.float64)
    rounding = 0.5 if dtype[0] in "iu" else 1e-7
    assert np.abs(values.reshape(shape) - voxels).max() <= rounding


def test_points_are_in_space_and_time() -> None:
    for time in (0, 4, -1):
        points = grid_points(READER, np.array([[3, 0, 5], [8, 0, 0]]))
        values = READER.sample(points, volume=time)
        assert np.abs(values - WHOLE[[3, 8], 0, [5, 0], time]).max() < 0.6


def test_fractions_are_kept() -> None:
    line = np.linspace(0, 8, 801)
    values = READER.sample(
        grid_points(READER, np.stack([line, 0 * line, 0 * line + 3], -1)), volume=0
    )
    assert len(np.unique(values % 1)) > 400


def test_the_field_of_view_ends_half_a_voxel_beyond_the_centres() -> None:
    found = inrcodec.open(crafted((4, 8, 2), where=geometry()))
    edges = [-0.5, 3.5], [-0.5, 7.5], [-0.5, 1.5]
    assert np.isfinite(found.sample(np.array(list(product(*edges))))).all()
    for axis, (first, last) in enumerate(edges):
        for position in (first - 1e-9, last + 1e-9, math.nan, math.inf, 1e308):
            point = np.ones(3)
            point[axis] = position
            assert np.isnan(found.sample(point))


def test_a_missing_axis_is_one_voxel_thick() -> None:
    plane = inrcodec.open(crafted((4, 8), where=geometry()))
    values = plane.sample([[1, 2, 0], [1, 2, 0.5], [1, 2, -0.5], [1, 2, 0.6]])
    assert np.isnan(values).tolist() == [False, False, False, True]
    assert values[0] == values[1] == values[2]
    line = inrcodec.open(crafted((8,), where=geometry()))
    assert np.isnan(line.sample([[3, 0, 0], [3, 1, 0]])).tolist() == [False, True]


def test_shapes_of_points() -> None:
    assert READER.sample(np.zeros((0, 3)), volume=1).shape == (0,)
    assert READER.sample(np.zeros((2, 4, 3)), volume=1).shape == (2, 4)
    assert READER.sample([0, 0, 0], volume=1).shape == ()
    for points in ([1.0, 2.0], 5.0, np.zeros((3, 2))):
        with pytest.raises(ValueError, match=r"not \(\.\.\., 3\)"):
            READER.sample(points, volume=1)


def test_points_of_a_volume_of_one_value() -> None:
    found = inrcodec.open(crafted((4, 5, 6), "uint8", 7, 7, geometry()))
    assert found.sample([[1, 1, 1.5], [9, 0, 0]]).tolist()[0] == 7.0
    assert np.isnan(found.sample([9, 0, 0]))


def test_points_where_only_time_has_length() -> None:
    found = inrcodec.open(crafted((1, 1, 1, 6), where=geometry()))
    voxels = found[0, 0, 0]
    values = [float(found.sample([0, 0, 0], volume=time)) for time in range(6)]
    assert np.abs(values - voxels).max() <= 0.5


def test_the_volume_of_the_points() -> None:
    with pytest.raises(ValueError, match="there is a time axis: choose one"):
        READER.sample([0, 0, 0])
    with pytest.raises(ValueError, match="there is no time axis"):
        inrcodec.open(crafted((4, 5, 6))).sample([0, 0, 0], volume=0)
    for volume in (5, -6):
        with pytest.raises(IndexError):
            READER.sample([0, 0, 0], volume=volume)
    with pytest.raises(TypeError):
        READER.sample([0, 0, 0], volume=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_an_affine_without_an_inverse(value: float) -> None:
    where = geometry(srow=(value, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    found = inrcodec.open(crafted((4, 5, 6), where=where))
    with pytest.raises(RegionError, match="data: the affine has no inverse"):
        found.sample([0, 0, 0])
