"""NIfTI in and out: what comes back is what was there, and what is refused says why."""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.errors import (
    InputError,
    NonFiniteError,
    OutOfMemoryError,
    UnsupportedVolumeError,
)
from inrcodec.volume.geometry import HEADER_BYTES
from inrcodec.volume.nifti import read_nifti, write_nifti
from inrcodec.volume.volume import VOXEL_DTYPES, Volume

SHARED = Path(os.environ.get("INRCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
NIBABEL = Path(nib.__file__).parent / "tests" / "data"

REAL_FILES = [
    NIBABEL / "anatomical.nii",
    NIBABEL / "example4d.nii.gz",
    NIBABEL / "example_nifti2.nii.gz",
    NIBABEL / "functional.nii",
    NIBABEL / "reoriented_anat_moved.nii",
    NIBABEL / "standard.nii.gz",
    SHARED / "ct_head.nii.gz",
    SHARED / "hipct_tinc_sample.nii.gz",
    SHARED / "mr_t2_brain.nii.gz",
]

# Free text, fields of no meaning in NIfTI, the lengths of axes that do not exist.
DROPPED_FIELDS = {
    *("descrip", "aux_file", "db_name", "unused_str", "dim", "vox_offset"),
    *("data_type", "extents", "session_error", "regular", "glmax", "glmin"),
}

IMAGE_CLASSES = {1: nib.Nifti1Image, 2: nib.Nifti2Image}


def write_image(
    path: Path,
    dtype: Any = "int16",
    *,
    version: int = 1,
    byte_order: str = "<",
    shape: tuple[int, ...] = (3, 4, 5),
    change: Callable[[Any], None] = lambda header: None,
) -> np.ndarray:
    """Write a file through nibabel, scanner-like geometry included; return its stored voxels."""
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    image_class = IMAGE_CLASSES[version]
    header = image_class.header_class(endianness=byte_order)
    header.set_data_dtype(dtype)
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([-0.7, 0.7, 2.5]), (90.5, -126, -72)
    )
    image = image_class(data, None, header)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(1, 0)
    change(image.header)
    with open(path, "wb") as file:
        image.header.write_to(file)
        file.seek(int(image.header["vox_offset"]))
        file.write(data.astype(np.dtype(dtype).newbyteorder(byte_order)).tobytes(order="F"))
    return data


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


def contents(path: Path) -> bytes:
    """The bytes of a file, uncompressed."""
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def written(volume: Volume) -> bytes:
    file = io.BytesIO()
    write_nifti(volume, file)
    return file.getvalue()


def without_block(volume: Volume) -> Volume:
    return dataclasses.replace(volume, header_block=None)


def assert_same_image(path: Path, other: Path) -> None:
    """Everything nibabel sees is equal, but free text and extensions."""
    before, after = nib.load(path), nib.load(other)
    np.testing.assert_array_equal(before.affine, after.affine)
    stored, decoded = before.dataobj.get_unscaled(), after.dataobj.get_unscaled()
    assert stored.dtype == decoded.dtype
    np.testing.assert_array_equal(stored, decoded)
    assert before.header.endianness == after.header.endianness
    assert before.header.get_zooms() == after.header.get_zooms()
    assert before.header.get_xyzt_units() == after.header.get_xyzt_units()
    assert before.header.get_intent() == after.header.get_intent()
    assert type(before.header) is type(after.header)
    raw_before, raw_after = (
        type(before.header)(contents(p)[: before.header.sizeof_hdr], check=False).structarr
        for p in (path, other)
    )
    for name in set(raw_before.dtype.names) - DROPPED_FIELDS:
        assert raw_before[name].tobytes() == raw_after[name].tobytes(), name


# Round trips


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_real_files(path: Path, tmp_path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is absent; INRCODEC_DATA names the folder")
    volume = read_nifti(path)
    stored = np.asarray(nib.load(path).dataobj.get_unscaled())
    assert volume.data.dtype == stored.dtype.newbyteorder("=")
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data, stored)
    assert volume.source == str(path)

    output = tmp_path / "output.nii"
    write_nifti(without_block(volume), output)
    assert_same_image(path, output)
    assert read_nifti(output).geometry == volume.geometry


@pytest.mark.parametrize("dtype", sorted(VOXEL_DTYPES))
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_type(dtype: str, byte_order: str, version: int, tmp_path: Path) -> None:
    path, output = tmp_path / "input.nii", tmp_path / "output.nii.gz"
    data = write_image(path, dtype, version=version, byte_order=byte_order)
    volume = read_nifti(path)
    assert (volume.geometry.version, volume.geometry.byte_order) == (version, byte_order)
    assert volume.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.data, data)
    write_nifti(without_block(volume), output)
    assert output.read_bytes()[:2] == b"\x1f\x8b"
    assert_same_image(path, output)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_beyond_float_are_exact(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path, dtype)
    extremes = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 2**53 + 1], dtype)
    patch(path, 352, extremes.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
    np.testing.assert_array_equal(read_nifti(path).data[:, 0, 0], extremes)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (3, 4, 5), (3, 4, 1), (3, 4, 5, 2), (3, 4, 1, 2)])
def test_one_to_four_axes(shape: tuple[int, ...], tmp_path: Path) -> None:
    path, output = tmp_path / "input.nii", tmp_path / "output.nii"
    data = write_image(path, shape=shape)
    volume = read_nifti(path)
    assert volume.data.shape == shape
    assert volume.geometry.spacing(len(shape)) == tuple(
        float(zoom) for zoom in nib.load(path).header.get_zooms()
    )
    np.testing.assert_array_equal(volume.data, data)
    write_nifti(without_block(volume), output)
    assert_same_image(path, output)


@pytest.mark.parametrize(
    ("slope", "inter"),
    [(0.0, 0.0), (1.0, 0.0), (0.0754, 3100.76), (float("nan"), float("nan")), (-2.0, 1e30)],
)
def test_slope_and_voxels_come_back_as_stored(slope: float, inter: float, tmp_path: Path) -> None:
    path, output = tmp_path / "input.nii", tmp_path / "output.nii"

    def scale(header: Any) -> None:
        header.structarr["scl_slope"], header.structarr["scl_inter"] = slope, inter

    data = write_image(path, change=scale)
    volume = read_nifti(path)
    np.testing.assert_array_equal(volume.data, data)
    write_nifti(without_block(volume), output)
    assert contents(path)[112:120] == contents(output)[112:120] == struct.pack("<2f", slope, inter)
    np.testing.assert_array_equal(nib.load(path).get_fdata(), nib.load(output).get_fdata())


def test_all_header_fields_come_back(tmp_path: Path) -> None:
    path, output = tmp_path / "input.nii", tmp_path / "output.nii"

    def fill(header: Any) -> None:
        header.set_intent("t test", (5,), "a name of 16 byt")
        header.set_dim_info(freq=1, phase=0, slice=2)
        header.set_slice_duration(0.125)
        header["slice_code"], header["slice_start"], header["slice_end"] = 3, 1, 4
        header["cal_max"], header["cal_min"], header["toffset"] = 1234.5, -7, 0.1
        header["descrip"], header["aux_file"] = b"a patient", b"of that name"

    for version in (1, 2):
        write_image(path, version=version, change=fill)
        volume = read_nifti(path)
        assert volume.geometry.intent_name == b"a name of 16 byt"
        write_nifti(without_block(volume), output)
        assert_same_image(path, output)
        for text in (b"a patient", b"of that name"):
            assert text in contents(path)
            assert text not in contents(output)


def random_header(version: int, seed: int) -> bytes:
    """A header with random bits in every field that a round trip keeps."""
    header_class = IMAGE_CLASSES[version].header_class
    block = bytearray(np.random.default_rng(seed).bytes(HEADER_BYTES[version]))
    record = np.frombuffer(block, header_class.template_dtype)
    header = header_class(check=False).structarr
    for name in ("sizeof_hdr", "magic", "dim", "datatype", "bitpix", "vox_offset"):
        record[name] = header[name]
    if version == 2:
        record["eol_check"] = header["eol_check"]
    record["dim"][0, :4] = (3, 2, 2, 2)
    record["datatype"], record["bitpix"] = 4, 16
    record["vox_offset"] = HEADER_BYTES[version] + 4
    return bytes(block)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_every_bit_pattern_survives(version: int, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    path.write_bytes(random_header(version, seed) + bytes(4) + bytes(range(16)))
    volume = read_nifti(path)
    assert written(volume) == path.read_bytes()
    path.write_bytes(written(without_block(volume)))
    again = read_nifti(path)
    assert again.geometry == volume.geometry
    np.testing.assert_array_equal(again.data, volume.data)


# Header block


@pytest.mark.parametrize("path", REAL_FILES[:6], ids=lambda path: path.name)
def test_header_block_comes_back_verbatim(path: Path) -> None:
    volume = read_nifti(path)
    size = HEADER_BYTES[volume.geometry.version]
    assert volume.header_block == contents(path)[:size]
    output = written(volume)
    assert output[:size] == contents(path)[:size]
    offset = int(nib.load(path).header_class(output[:size], check=False).get_data_offset())
    assert set(output[size:offset]) == {0}
    assert output[offset:] == contents(path)[offset:]


def test_header_block_cannot_contradict_the_volume(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path)
    volume = read_nifti(path)
    for offset in (-1.0, 0.0, 351.0, 2.0**40, float("inf"), float("nan")):
        hostile = bytearray(b"\xff" * 348)
        hostile[108:112] = struct.pack("<f", offset)
        path.write_bytes(written(dataclasses.replace(volume, header_block=bytes(hostile))))
        again = read_nifti(path)
        assert again.geometry == volume.geometry
        np.testing.assert_array_equal(again.data, volume.data)
        assert path.stat().st_size == 352 + volume.data.nbytes


# Writing


def test_the_name_says_whether_to_compress(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path)
    volume = read_nifti(path)
    for name in ("a.nii.gz", "b.NII.GZ"):
        write_nifti(volume, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
        assert contents(tmp_path / name) == contents(path)
    write_nifti(volume, str(tmp_path / "c.nii"))
    assert (tmp_path / "c.nii").read_bytes() == path.read_bytes()
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.NII.GZ").read_bytes()


def test_an_open_file_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path)
    volume = read_nifti(path)
    plain, compressed = io.BytesIO(), io.BytesIO()
    write_nifti(volume, plain)
    write_nifti(volume, compressed, compress=True)
    assert gzip.decompress(compressed.getvalue()) == plain.getvalue() == path.read_bytes()


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path, "int16", byte_order=">", shape=(65, 64, 63, 3))
    volume = read_nifti(path)
    for data in (np.ascontiguousarray(volume.data), volume.data[::-1].copy()[::-1]):
        assert written(dataclasses.replace(volume, data=data)) == path.read_bytes()


# Refusals


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (128, "RGB"),
        (2304, "RGBA"),
        (32, "complex64"),
        (1792, "complex128"),
        (1536, "float128"),
        (1, "binary"),
        (0, "none"),
    ],
)
def test_kinds_of_voxels_that_are_not_coded(code: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path)
    patch(path, 70, struct.pack("<h", code))
    with pytest.raises(UnsupportedVolumeError, match=f"input.nii: {name} voxels"):
        read_nifti(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nonfinite_voxels(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    data = write_image(path, dtype, byte_order=">")
    bad = np.array([np.nan, np.inf, -np.inf], dtype=np.dtype(dtype).newbyteorder(">"))
    patch(path, 352, bad.tobytes())
    with pytest.raises(NonFiniteError, match=r"3 voxels .* infinite; .* add --nonfinite zero"):
        read_nifti(path)
    data[:, 0, 0] = 0
    np.testing.assert_array_equal(read_nifti(path, nonfinite="zero").data, data)


def test_more_voxels_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    path = tmp_path / "input.nii"
    write_image(path)
    monkeypatch.setattr(np, "empty", no_memory)
    with pytest.raises(OutOfMemoryError, match=r"input\.nii: \d+ voxels do not fit in memory"):
        read_nifti(path)


def dims(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


@pytest.mark.parametrize(
    ("offset", "data", "error", "message"),
    [
        (40, dims(5, 3, 4, 5, 1, 1), UnsupportedVolumeError, "5 axes; at most 4"),
        (40, dims(0), InputError, "no voxels"),
        (40, dims(-1), InputError, "no voxels"),
        (40, dims(3, 3, 0, 5), InputError, "no voxels"),
        (40, dims(3, -1, 1, 1), InputError, "no voxels"),
        (40, dims(3, 3, 4, 6), InputError, "truncated"),
        (40, dims(3, 32767, 32767, 8), InputError, "truncated"),
        (40, dims(4, 32767, 32767, 32767, 9), UnsupportedVolumeError, "at most 8589934592"),
        (70, dims(999), InputError, "unknown NIfTI data type 999"),
        (108, struct.pack("<f", 0), InputError, "inside the header"),
        (108, struct.pack("<f", 348), InputError, "inside the header"),
        (108, struct.pack("<f", float("nan")), InputError, "inside the header"),
        (108, struct.pack("<f", 353), InputError, "truncated"),
        (108, struct.pack("<f", 1e30), InputError, "truncated"),
        (0, b"\x00", InputError, "not a NIfTI file"),
        (344, b"abc", InputError, "not a NIfTI file"),
        (344, b"ni1\0", UnsupportedVolumeError, "header/image pairs"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_hostile_headers(
    offset: int,
    data: bytes,
    error: type[InputError],
    message: str,
    compressed: bool,
    tmp_path: Path,
) -> None:
    path = tmp_path / "input.nii"
    write_image(path)
    patch(path, offset, data)
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(error, match=message) as caught:
        read_nifti(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nifti2_claims_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path, version=2)
    patch(path, 16, struct.pack("<4q", 3, 2**62, 2**62, 2**62))
    with pytest.raises(UnsupportedVolumeError, match="voxels; at most"):
        read_nifti(path)
    patch(path, 16, struct.pack("<4q", 3, 2**33, 1, 1))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="truncated"):
        read_nifti(path)


def test_converted_line_endings_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "input.nii"
    write_image(path, version=2)
    patch(path, 8, b"\n\n\x1a\n")
    with pytest.raises(InputError, match="line endings"):
        read_nifti(path)


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_pairs_are_refused_by_name(suffix: str, tmp_path: Path) -> None:
    image = nib.Nifti1Pair(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.to_filename(tmp_path / "input.hdr")
    with pytest.raises(UnsupportedVolumeError, match="pairs are not supported"):
        read_nifti(tmp_path / f"input{suffix}")


@pytest.mark.parametrize(
    "content", [b"", b"\x1f", b"\x1f\x8b", b"text", b"\x5c\x01\0\0", bytes(999)]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "input.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"input\.nii\.gz: "):
        read_nifti(path)


def test_paths_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.nii: cannot be read: No such file"):
        read_nifti(tmp_path / "absent.nii")
    with pytest.raises(InputError, match="cannot be read"):
        read_nifti(tmp_path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    path, cut_path = tmp_path / "input.nii", tmp_path / "cut.nii"
    write_image(path, "uint8")
    for data in (path.read_bytes(), gzip.compress(path.read_bytes())):
        for cut in range(len(data)):
            cut_path.write_bytes(data[:cut])
            with pytest.raises(InputError):
                read_nifti(cut_path)


def test_damaged_gzip_data_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "input.nii.gz"
    write_image(path, "uint8")
    data = gzip.compress(path.read_bytes(), 0)  # stored: no bit but the checksum protects them
    middle = len(data) - 30
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(InputError, match="CRC check failed"):
        read_nifti(path)


@given(
    version=st.sampled_from([1, 2]),
    damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8),
    compressed=st.booleans(),
)
def test_a_damaged_file_is_read_or_refused(
    version: int, damage: list[tuple[int, int]], compressed: bool, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.nii"
    data = bytearray(random_header(version, 0) + bytes(4) + bytes(16))
    for offset, value in damage:
        data[offset % len(data)] = value
    path.write_bytes(gzip.compress(data, 1) if compressed else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            volume = read_nifti(path)
        except InputError as error:
            assert "\n" not in str(error)
            return
    assert volume.data.size > 0
