"""Parts and samplings of a volume, by `inrcodec decode` and from Python: voxels and geometry."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_reader import OBLIQUE, crafted

from inrcodec import decoder
from inrcodec.bitstream.container import Chunk, ChunkType, parse_container, write_container
from inrcodec.bitstream.volume_header import decode_volume_header, encode_volume_header
from inrcodec.cli import main
from inrcodec.decoder import decode_bytes, decode_file
from inrcodec.errors import LimitExceededError, OutOfMemoryError, RegionError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.nifti import read_nifti
from inrcodec.volume.sampling_grid import SamplingGrid
from inrcodec.volume.selection import Selection

SPACE = (12, 10, 8)
SERIES = (7, 6, 5, 4)


def claiming(shape: tuple[int, ...], data: bytes) -> bytes:
    """``data`` with axes of other lengths."""
    chunks = parse_container(data, DEFAULT_LIMITS)
    header = decode_volume_header(chunks[ChunkType.VOLUME], DEFAULT_LIMITS)
    chunks[ChunkType.VOLUME] = encode_volume_header(replace(header, shape=shape))
    return write_container([Chunk(letter, payload) for letter, payload in chunks.items()])


SPACE_FILE = crafted(SPACE, where=OBLIQUE)
SERIES_FILE = crafted(SERIES, where=OBLIQUE)
LONG_FILE = claiming((30_000,), crafted((20,)))
LARGE_FILE = claiming((2000, 2000, 2000), crafted((20, 20, 20)))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the volume ``space.moec`` and the time series ``series.moec``."""
    (tmp_path / "space.moec").write_bytes(SPACE_FILE)
    (tmp_path / "series.moec").write_bytes(SERIES_FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be computed."""

    def evaluate(*arguments: object) -> None:
        raise AssertionError("the network is evaluated")

    monkeypatch.setattr(decoder, "evaluate", evaluate)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["decode", *arguments])


def decode(*arguments: str) -> nib.Nifti1Image:
    """The image that the command writes, which says nothing else."""
    result = run(*arguments, "-q", "-f", "-o", "out.nii")
    assert (result.exit_code, result.output) == (0, "")
    return nib.load("out.nii")


def voxels(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj)


def edges(image: nib.Nifti1Image) -> np.ndarray:
    """Two opposite corners of the field of view, in mm."""
    shape = np.array((*image.shape, 1, 1)[:3])
    return nib.affines.apply_affine(image.affine, [-0.5 + 0 * shape, shape - 0.5])


# Regions


@pytest.mark.parametrize(
    ("source", "region", "index"),
    [
        ("space", "2:9,:,3", np.s_[2:9, :, 3:4]),
        ("space", "...,-1", np.s_[:, :, 7:]),
        ("space", "-5:,:-2,1:8:3", np.s_[7:, :8, 1:8:3]),
        ("space", "::2,::3,::4", np.s_[::2, ::3, ::4]),
        ("space", "11,0,0", np.s_[11:, :1, :1]),
        ("space", ":", np.s_[:]),
        ("space", "3:100", np.s_[3:]),
        ("series", "1:6,2:5", np.s_[1:6, 2:5]),
        ("series", ":,:,::2,1:3", np.s_[:, :, ::2, 1:3]),
        ("series", "...,2", np.s_[..., 2:3]),
    ],
)
def test_a_region_is_a_crop(source: str, region: str, index: Any) -> None:
    decode(f"{source}.moec").to_filename("whole.nii")
    whole = nib.load("whole.nii")
    image = decode(f"{source}.moec", "--roi", region)
    assert np.array_equal(voxels(image), voxels(whole)[index])
    expected = whole.slicer[index]
    np.testing.assert_allclose(image.affine, expected.affine, rtol=1e-6, atol=1e-6)
    moved = whole.get_qform() @ np.linalg.inv(whole.affine) @ expected.affine
    np.testing.assert_allclose(image.get_qform(), moved, atol=1e-5)


def test_a_step_beyond_the_axis_takes_one_voxel() -> None:
    image = decode("space.moec", "--roi", "3::100000000000000000")
    assert np.array_equal(voxels(image), voxels(decode("space.moec"))[3:4])


@pytest.mark.parametrize("number", ["0", "2", "-1"])
def test_a_volume_of_a_series_is_3d(number: str) -> None:
    whole = decode_bytes(Path("series.moec").read_bytes()).data
    image = decode("series.moec", "--volume", number)
    assert np.array_equal(voxels(image), whole[..., int(number)])
    assert image.header["dim"].tolist() == [3, 7, 6, 5, 1, 1, 1, 1]
    part = decode("series.moec", "--volume", number, "--roi", "2,:,1:4")
    assert np.array_equal(voxels(part), whole[2:3, :, 1:4, int(number)])


def test_dtypes_and_other_numbers_of_axes() -> None:
    for shape, dtype in [((40,), "float32"), ((9, 8), "uint8"), ((1, 8, 6, 1), "float64")]:
        Path("a.moec").write_bytes(crafted(shape, dtype, 0, 5, OBLIQUE))
        whole = voxels(decode("a.moec"))
        part = voxels(decode("a.moec", "--roi", "...,-1"))
        assert part.dtype == whole.dtype
        assert np.array_equal(part, whole[..., -1:])


def test_a_full_header_gets_the_new_lengths() -> None:
    header = nib.Nifti1Header()
    header.set_data_shape(SERIES)
    header["descrip"], header["dim"][5:] = b"a text", (9, 8, 7)
    data = crafted(SERIES, where=OBLIQUE, header_block=header.binaryblock)
    Path("full.moec").write_bytes(data)
    for options, dim in [
        (("--roi", "1:3"), [4, 2, 6, 5, 4, 9, 8, 7]),
        (("--volume", "1"), [3, 7, 6, 5, 1, 9, 8, 7]),
        (("--scale", "2"), [4, 14, 12, 10, 4, 9, 8, 7]),
    ]:
        image = decode("full.moec", *options)
        assert image.header["descrip"] == b"a text"
        assert image.header["dim"].tolist() == dim
        np.testing.assert_allclose(image.affine, decode("series.moec", *options).affine)


def test_a_part_that_is_the_whole_is_checked() -> None:
    Path("a.moec").write_bytes(crafted(SERIES, damage=1))
    for options in ([], ["--roi", ":"], ["--scale", "1"]):
        result = run("a.moec", *options, "-o", "out.nii")
        assert result.exit_code == 4
        assert "a.moec: the decoded voxels do not match the file's checksum" in result.stderr
    assert run("a.moec", "--roi", "1:", "-o", "out.nii").exit_code == 0


def test_the_cost_is_that_of_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    evaluate = decoder.evaluate  # type: ignore[attr-defined]

    def counting(network: object, grid: SamplingGrid, *rest: object) -> None:
        counts.append(grid.samples)
        evaluate(network, grid, *rest)

    monkeypatch.setattr(decoder, "evaluate", counting)
    decode("series.moec", "--roi", "1:3,2:5", "--volume", "1")
    decode("space.moec", "--scale", "0.5", "--limit", "work=20000")
    assert counts == [2 * 3 * 5, 6 * 5 * 4]


# Other samplings


@pytest.mark.parametrize(
    ("source", "options", "shape"),
    [
        ("space", ["--scale", "2"], (24, 20, 16)),
        ("space", ["--scale", "0.5"], (6, 5, 4)),
        ("space", ["--scale", "1,0.5,3"], (12, 5, 24)),
        ("series", ["--scale", "0.4"], (3, 2, 2, 4)),
        ("series", ["--scale", "2", "--volume", "3"], (14, 12, 10)),
        ("space", ["--spacing", "0.5"], (12, 15, 32)),
        ("space", ["--spacing", "1,0.75,1"], (6, 10, 16)),
        ("series", ["--spacing", "1,1,1"], (4, 4, 10, 4)),
    ],
)
def test_a_sampling_keeps_the_field_of_view(
    source: str, options: list[str], shape: tuple[int, ...]
) -> None:
    image = decode(f"{source}.moec", *options)
    assert image.shape == shape
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(edges(image), edges(decode(f"{source}.moec")), atol=1e-4)


def test_a_sampling_of_a_region_keeps_its_field_of_view() -> None:
    region = decode("space.moec", "--roi", "2:8,:,4")
    for scale, shape in [("2", (12, 20, 2)), ("0.5,1,1", (3, 10, 1))]:
        image = decode("space.moec", "--roi", "2:8,:,4", "--scale", scale)
        assert image.shape == shape
        np.testing.assert_allclose(edges(image), edges(region), atol=1e-4)
    image = decode("space.moec", "--roi", "2:8,:,4", "--spacing", "0.25")
    assert image.shape == (12, 30, 8)
    np.testing.assert_allclose(edges(image), edges(region), atol=1e-4)


def test_samples_lie_between_those_of_the_voxels() -> None:
    whole = voxels(decode("space.moec"))
    odd = voxels(decode("space.moec", "--scale", "3"))
    # The middle one of three samples is where the voxel is.
    assert np.array_equal(odd[1::3, 1::3, 1::3], whole)


# Errors


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("space", ["--roi", "12"], "axis x: 12 is out of range; choose from -12 to 11"),
        ("space", ["--roi", "0,5:5"], "axis y: the slice selects none of its voxels"),
        ("space", ["--roi", "::-1"], "axis x: the step of '::-1' must be at least 1"),
        ("space", ["--roi", "0,0,0,0"], "region '0,0,0,0' names 4 axes; the volume has 3"),
        ("space", ["--roi", "a"], "axis x: 'a' is not a voxel"),
        ("space", ["--volume", "0"], "volume 0 is asked for, but there is no time axis"),
        ("space", ["--scale", "0"], "scale 0.0 must be a number above 0"),
        ("space", ["--scale", "nan"], "scale nan must be a number above 0"),
        ("space", ["--scale", "1,2"], "scale: 2 for 3 spatial axes"),
        ("space", ["--spacing", "1,2,3,4"], "spacing: 4 for 3 spatial axes"),
        ("space", ["--roi", "::2", "--scale", "2"], "axis x: only neighbouring voxels"),
        ("series", ["--volume", "4"], "axis t: 4 is out of range; choose from -4 to 3"),
        (
            "series",
            ["--volume", "1", "--roi", "...,1"],
            "region '...,1' and volume 1 both choose from axis t",
        ),
    ],
)
def test_a_wrong_selection_is_one_line(source: str, options: list[str], message: str) -> None:
    result = run(f"{source}.moec", *options, "-q", "-o", "out.nii")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"inrcodec: error: {source}.moec: {message}")
    shape = SPACE if source == "space" else SERIES
    assert line.endswith(f" (the volume is {' x '.join(map(str, shape))})")
    assert not Path("out.nii").exists()


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "2", "--spacing", "1"], "--scale and --spacing exclude each other"),
        (["--scale", "much"], "'much' is not a number, nor one for each axis"),
        (["--spacing", "1,,1"], "'1,,1' is not a number"),
        (["--volume", "first"], "'first' is not a valid integer"),
    ],
)
def test_usage(options: list[str], message: str) -> None:
    result = run("space.moec", *options)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.usefixtures("never")
def test_what_does_not_fit_a_nifti1_header() -> None:
    Path("long.moec").write_bytes(LONG_FILE)
    result = run("long.moec", "--scale", "2", "-o", "out.nii")
    assert result.exit_code == 2
    assert "long.moec: axis x: 60000 samples do not fit a NIfTI-1 header" in result.stderr


@pytest.mark.usefixtures("never")
def test_limits() -> None:
    result = run("space.moec", "--scale", "2000", "-q", "-o", "out.nii")
    assert result.exit_code == 4
    assert re.search(r"space\.moec: 24000 x 20000 x 16000 samples are more than", result.stderr)
    result = run("space.moec", "--roi", "1:3", "--limit", "work=1000", "-q", "-o", "out.nii")
    assert re.search(r"--limit work=\d+$", result.stderr.strip())


@pytest.mark.usefixtures("never")
def test_what_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 1 << 20))
    Path("large.moec").write_bytes(LARGE_FILE)
    result = run("large.moec", "-q", "-o", "out.nii")
    assert result.exit_code == 8
    assert result.stderr == (
        "inrcodec: error: large.moec: the voxels take 16.0 GB, and this machine has 4.3 GB of "
        "memory; decode a part with --roi, or fewer samples with --scale\n"
    )
    with pytest.raises(MemoryError):
        decode_bytes(LARGE_FILE)
    with pytest.raises(AssertionError, match="evaluated"):
        decode_bytes(LARGE_FILE, selection=Selection("1000"))


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_a_system_that_does_not_tell_its_memory(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def sysconf(name: str) -> int:
        raise error(name)

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert decode("space.moec").shape == SPACE


# From Python


def test_decode_file() -> None:
    selection = Selection("2:5", volume=1, spacing=(0.5, 0.5, 1.0))
    volume = decode_file(Path("series.moec"), Path("part.nii.gz"), selection=selection)
    assert volume.data.shape == (3, 9, 10)
    written = read_nifti("part.nii.gz")
    assert np.array_equal(written.data, volume.data)
    assert written.geometry == volume.geometry
    with pytest.raises(RegionError, match=r"series\.moec: axis x"):
        decode_file(Path("series.moec"), Path("b.nii"), selection=Selection("7"))
    with pytest.raises(OutOfMemoryError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sysconf", lambda name: 1)
        decode_file(Path("series.moec"), Path("b.nii"))
    assert not Path("b.nii").exists()


def test_selection() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        Selection(scale=2, spacing=1.0)
    assert Selection().grid((4, 5), (1, 1)) == SamplingGrid.whole((4, 5))
    grid = Selection("1:3", 2, scale=(2, 1, 1)).grid((4, 5, 6, 3), (1, 1, 1))
    assert grid.shape == (4, 5, 6, 1)
    with pytest.raises(LimitExceededError):
        Selection(scale=2).grid((4, 4), (1, 1), Limits(voxels=63))
    with pytest.raises(RegionError, match=r"voxel spacing 0\.0 must be a number above 0"):
        Selection(spacing=1).grid((4, 4), (1.0, 0.0))
