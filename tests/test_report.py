"""Reports: what is in the page and the picture, and what never gets there."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from dicom_files import image, save_all
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from report_pages import Page, content, levels, script, unpack, view

from inrcodec.architecture import Activation, Gate, Mixture, Stack
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.cli import main
from inrcodec.compare import compare
from inrcodec.info import Info
from inrcodec.reader import Reader
from inrcodec.report.content import Content, Encoded
from inrcodec.report.html import render
from inrcodec.report.levels import Levels, pack
from inrcodec.report.orientation import UNKNOWN, orientation, orientation_of_affine
from inrcodec.report.reduction import strides
from inrcodec.report.terminal import draw_preview
from inrcodec.volume.nifti import read_nifti
from inrcodec.volume.read import read_volume

RAS = np.diag([1.0, 1.5, 2.0, 1.0])


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def values(*shape: int, dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)


# Levels


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    )
)
def test_levels_come_back(volume: NDArray[Any]) -> None:
    packed = pack(volume)
    assert len(packed) == volume.itemsize
    assert np.array_equal(unpack(packed, volume.shape), volume)


@pytest.mark.parametrize(
    ("values", "dtype", "itemsize"),
    [
        ([-1024, 3071], np.int16, 2),
        ([5, 260], np.uint16, 1),
        ([-(2**63), -(2**63) + 65535], np.int64, 2),
        ([2**64 - 200, 2**64 - 1], np.uint64, 1),
        ([7, 7], np.uint8, 1),
    ],
)
def test_integers_of_a_small_span_are_exact(values: list[int], dtype: Any, itemsize: int) -> None:
    volume = np.array(values, dtype).reshape(1, 1, 2)
    found = Levels.spanning(volume)
    assert found.exact
    assert found.dtype.itemsize == itemsize
    assert [found.low + found.step * int(level) for level in found.of(volume).flat] == values


@pytest.mark.parametrize(
    "values",
    [[0.25, 0.5, 1.0], [-8e307, 0.0, 8e307], [1e-310, 3e-310, 9e-310], [0.0, 5e-324, 1e-323]],
)
def test_other_values_are_rescaled(values: list[float]) -> None:
    volume = np.array(values).reshape(1, 1, 3)
    found = Levels.spanning(volume)
    assert not found.exact
    shown = [found.low + found.step * float(level) for level in found.of(volume).flat]
    tolerance = (values[2] / 65535 - values[0] / 65535) / 1.9
    assert shown == pytest.approx(values, rel=0, abs=max(tolerance, 1e-323))


def test_levels_of_integers_and_floats_together() -> None:
    found = Levels.spanning(values(2, 2, 2), values(2, 2, 2) + 0.5)
    assert not found.exact
    assert found.highest == 65535


@given(st.lists(st.integers(1, 3000), min_size=3, max_size=4), st.integers(1, 1 << 26))
def test_strides_leave_few_enough_voxels(shape: list[int], most: int) -> None:
    steps = strides(tuple(shape), most)
    assert math.prod(-(-n // step) for n, step in zip(shape, steps, strict=True)) <= most


def test_strides_keep_what_can_be_kept() -> None:
    assert strides((256, 256, 108), 1 << 25) == (1, 1, 1)
    assert strides((512, 512, 300), 1 << 24) == (2, 2, 2)
    assert strides((512, 512, 40), 1 << 22) == (2, 2, 1)
    assert strides((64, 64, 36, 300), 1 << 24) == (1, 1, 1, 3)


# Orientation


def test_the_patients_left_is_at_the_right_however_the_file_has_it() -> None:
    ras = np.zeros((6, 8, 10), np.int16)
    ras[0, 7, 9] = 1  # left, anterior, superior
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.diag([0.5, 1.5, 2.0])[:, axes] * signs
            stored = ras.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
            found = orientation_of_affine(affine)
            assert found.marks == (("R", "L"), ("A", "P"), ("I", "S"))
            upright = found.upright(stored)
            assert upright.shape == ras.shape
            assert np.argwhere(upright).tolist() == [[5, 0, 9]]
            spacing = [(0.5, 1.5, 2.0)[axis] for axis in axes]
            assert found.along(spacing) == (0.5, 1.5, 2.0)


def test_oblique_volumes_have_two_letters() -> None:
    turn = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    found = orientation_of_affine(affine)
    assert found.marks == (("RA", "LP"), ("AL", "PR"), ("I", "S"))


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1]), np.ones((4, 4))],
)
def test_an_affine_that_is_none_marks_nothing(affine: NDArray[np.float64]) -> None:
    assert orientation_of_affine(affine) == UNKNOWN


def test_a_file_without_orientation_marks_nothing(tmp_path: Path) -> None:
    data = values(5, 4, 3)
    about = content(tmp_path, data, data)
    assert orientation(about.original.geometry, data.shape) == UNKNOWN
    page = render(about)
    assert view(page)["marks"] is None
    assert view(page)["affine"] is None
    assert "no sides are marked" in Page(page).text


# The page


def test_the_page_has_the_voxels(tmp_path: Path) -> None:
    original, decoded = values(7, 6, 5), values(7, 6, 5) // 2
    page = render(content(tmp_path, original, decoded, RAS))
    known = view(page)
    for name, volume in (("original", original), ("decoded", decoded)):
        shown = known["levels"]["first"] + known["levels"]["step"] * levels(page, name)[..., 0]
        assert np.array_equal(shown, volume[::-1, ::-1])
    assert [axis["spacing"] for axis in known["axes"]] == [1.0, 1.5, 2.0]
    assert [axis["flipped"] for axis in known["axes"]] == [True, True, False]
    assert "experts" not in known["streams"]


def test_values_are_real_ones(tmp_path: Path) -> None:
    original = values(5, 5, 5)
    page = render(content(tmp_path, original, original, RAS, slope=2.0, intercept=-1024.0))
    known = view(page)["levels"]
    assert (known["first"], known["step"]) == (2 * original.min() - 1024.0, 2.0)
    assert "real values = 2 x stored -1024" in Page(page).text


@pytest.mark.parametrize(
    "shape", [(20,), (20, 16), (20, 16, 1), (1, 20, 16), (9, 8, 7, 3), (1, 1, 1), (5, 4, 3, 1)]
)
def test_every_shape_has_a_page(tmp_path: Path, shape: tuple[int, ...]) -> None:
    original = values(*shape)
    page = render(content(tmp_path, original, original // 2, RAS))
    assert levels(page, "original").size == original.size


def test_absurd_values_have_a_page(tmp_path: Path) -> None:
    original = 1.7e308 * np.linspace(-1, 1, 60).reshape(5, 4, 3)
    for slope in (1.0, 1e30, -1e-40):
        page = render(content(tmp_path, original, original / 2, RAS, slope=slope))
        assert levels(page, "decoded").size == original.size


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, np.uint64])
def test_every_dtype_has_a_page(tmp_path: Path, dtype: Any) -> None:
    original = values(6, 5, 4, dtype=np.int64).astype(dtype)
    page = render(content(tmp_path, original, original, RAS))
    assert "exact" in Page(page).text
    assert view(page)["histogram"] is None


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = render(content(tmp_path, values(6, 5, 4), values(6, 5, 4) // 2, RAS))
    parsed = Page(page)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    names = {name for _, name, _ in parsed.attributes}
    assert not names & {"src", "href", "srcset", "style", "action", "data", "onclick", "onload"}
    assert not set(parsed.tags) & {"link", "iframe", "object", "embed", "form", "base", "img"}
    text = page.decode()
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "not for diagnostic use" in parsed.text


def test_the_policy_allows_this_script_and_this_style_alone(tmp_path: Path) -> None:
    text = render(content(tmp_path, values(6, 5, 4), values(6, 5, 4), RAS)).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    for rule, element in (("script-src", '<script type="module">'), ("style-src", "<style>")):
        inside = text.split(element)[1].split("</")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_names_are_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&amp;\"'$view</title>.nii.gz"
    plain = Page(render(content(tmp_path, values(6, 5, 4), values(6, 5, 4), RAS)))
    page = Page(render(content(tmp_path, values(6, 5, 4), values(6, 5, 4), RAS, name=name)))
    assert page.tags == plain.tags
    assert page.texts["h1"] == [name]
    assert page.texts["title"][0].startswith(name)


def test_the_data_end_no_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrcodec.report.html._CT_WINDOWS", {"</script><b>&": (40, 80)})
    monkeypatch.setattr("inrcodec.report.html._FIRST_CT_WINDOW", "</script><b>&")
    original = np.linspace(-1024, 2000, 60).reshape(5, 4, 3).astype(np.int16)
    page = render(content(tmp_path, original, original, RAS))
    assert not set("<>&") & set(script(page, "view"))
    assert view(page)["window"]["presets"]["first"] == "</script><b>&"


def test_windows_of_ct(tmp_path: Path) -> None:
    hounsfield = np.linspace(-1024, 2000, 60).reshape(5, 4, 3).astype(np.int16)
    found = view(render(content(tmp_path, hounsfield, hounsfield, RAS)))["window"]
    assert found["presets"]["windows"]["Brain"] == [40, 80]
    assert found["presets"]["guessed"]
    other = values(5, 4, 3)
    assert view(render(content(tmp_path, other, other, RAS)))["window"]["presets"] is None


def test_a_large_volume_is_thinned_out_to_the_size_of_a_page(tmp_path: Path) -> None:
    original = np.random.default_rng(0).integers(0, 60000, (64, 60, 50)).astype(np.uint16)
    decoded = np.roll(original, 1)
    about = content(tmp_path, original, decoded, RAS)
    whole = render(about)
    assert "too large" not in Page(whole).text
    page = render(about, page_bytes=len(whole) // 3)
    assert len(page) <= len(whole) // 3
    assert "too large for this page" in Page(page).text
    known = view(page)
    steps = [axis["stride"] for axis in known["axes"]]
    shown = levels(page, "decoded")[..., 0] + known["levels"]["first"]
    kept = decoded[tuple(slice(None, None, step) for step in steps)][::-1, ::-1]
    assert np.array_equal(shown, kept)
    assert sum(known["histogram"]["counts"]) == original.size
    assert [len(curve) for curve in known["whole"]["slicePsnr"]] == list(original.shape)


def test_histogram(tmp_path: Path) -> None:
    original = np.zeros((4, 4, 4), np.int16)
    decoded = original.copy()
    decoded[0, 0] = (-2, 1, 1, 0)
    found = view(render(content(tmp_path, original + 5, decoded + 5)))["histogram"]
    assert found == {"first": -2.0, "width": 1.0, "counts": [1, 0, 61, 2, 0]}
    found = view(render(content(tmp_path, original.astype(np.float32), decoded / 7)))["histogram"]
    assert sum(found["counts"]) == 64
    assert found["counts"][0] == 1
    assert found["first"] == pytest.approx(-2 / 7)


def test_expert_map(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "eight_experts_hidden_gate.moec"
    reader = Reader(golden)
    encoded = Encoded.of(golden.read_bytes(), {"fit": 1.0}, {"--preset": "slow"}, device="cpu")
    data = reader.read().data
    about = content(tmp_path, data, data, RAS, encoded=encoded)
    page = render(about)
    assert sum(view(page)["experts"]) == data.size
    assert np.array_equal(
        np.bincount(levels(page, "experts").ravel(), minlength=1),
        view(page)["experts"],
    )
    text = Page(page).text
    assert "8 experts of" in text
    assert "time to fit 1.0 s" in text
    assert "--preset slow" in text
    assert f"{golden.stat().st_size:,} bytes" in text


def test_the_expert_map_is_turned_as_its_own_file_says(tmp_path: Path) -> None:
    data = values(6, 5, 4)
    about = content(tmp_path, data, data, RAS)
    lps = content(tmp_path, data[::-1, ::-1], data[::-1, ::-1], RAS * [-1, -1, 1, 1]).original
    info = Info(
        format_version=0,
        file_bytes=100,
        header=VolumeHeader.of(lps.data),
        geometry=lps.geometry,
        architecture=Mixture(
            3, Activation.SINE, Stack(1, 8), 200, Stack(1, 8), Gate(Stack(0, 0), Stack(0, 0), 1)
        ),
        chunk_bytes={"N": 94},
    )
    encoded = Encoded(info, lambda grid: (data[::-1, ::-1] % 200).astype(np.uint16))
    page = render(replace(about, encoded=encoded))
    assert np.array_equal(levels(page, "experts")[..., 0], data[::-1, ::-1] % 200)
    assert np.array_equal(levels(page, "original")[..., 0] + data.min(), data[::-1, ::-1])
    # Thinned out from the other end, the experts would be those of other voxels.
    small = render(replace(about, encoded=encoded), page_bytes=len(page) - 1)
    assert "experts" not in view(small)["streams"]


def test_of_dicom_geometry_and_modality_alone(tmp_path: Path) -> None:
    marker = "MRS^MARKER"
    attributes = dict.fromkeys(
        ("PatientName", "PatientID", "SeriesDescription", "StationName", "InstitutionName"), marker
    )
    folder = save_all([image(k, **attributes) for k in range(4)], tmp_path / "series")
    volume = read_volume(folder)
    comparison = compare(volume.data, volume.data)
    page = render(Content(volume, volume.data, "series", "scan.moec", comparison))
    assert marker.encode() not in page
    assert marker.encode() not in base64.b64decode(script(page, "original-0"))
    assert "modality CT" in Page(page).text
    assert view(page)["unit"] == "HU"
    assert not view(page)["window"]["presets"]["guessed"]


def test_of_slices_of_different_rescale_stored_values_are_shown(tmp_path: Path) -> None:
    attributes = {"Modality": "PT", "SOPClassUID": uid.PositronEmissionTomographyImageStorage}
    slices = [image(k, RescaleSlope=1 + k, RescaleIntercept=0, **attributes) for k in range(4)]
    volume = read_volume(save_all(slices, tmp_path / "series"))
    comparison = compare(volume.data, volume.data)
    page = render(Content(volume, volume.data, "series", "scan.moec", comparison))
    assert "told in stored values: their rescale differs between slices" in Page(page).text
    assert view(page)["levels"]["first"] == volume.data.min()


def test_the_page_is_made_of_files_of_the_package() -> None:
    page = resources.files("inrcodec.report") / "page"
    assert {file.name for file in page.iterdir()} >= {"report.html", "report.css", "report.js"}


# The command line


@pytest.fixture
def files(tmp_path: Path, scan: Path, moec: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with scan.nii.gz and scan.moec."""
    (tmp_path / "scan.nii.gz").write_bytes(scan.read_bytes())
    (tmp_path / "scan.moec").write_bytes(moec)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_compare_writes_page_and_picture(files: Path) -> None:
    arguments = ("compare", "scan.nii.gz", "scan.moec", "--report", "r.html", "--png", "p.png")
    assert run(*arguments).exit_code == 0
    page = (files / "r.html").read_bytes()
    text = Page(page).text
    assert "scan.nii.gz compared with scan.moec" in text
    assert str(files) not in page.decode()
    assert "Jane Doe" not in page.decode()
    with Image.open("p.png") as picture:
        assert picture.format == "PNG"
    # NIfTI's voxels have no orientation code here, so nothing is said of it.
    again = run(*arguments)
    assert again.exit_code == 6
    assert "exists already" in again.stderr
    assert run(*arguments, "--force").exit_code == 0
    assert sorted(path.name for path in files.iterdir()) == [
        "p.png",
        "r.html",
        "scan.moec",
        "scan.nii.gz",
    ]


def test_a_report_of_two_volumes_has_no_rate(files: Path) -> None:
    assert run("compare", "scan.nii.gz", "scan.nii.gz", "--report", "r.html").exit_code == 0
    text = Page((files / "r.html").read_bytes()).text
    assert "there is no file size" in text
    assert "bits per weight" not in text


def test_encode_writes_a_report(files: Path, short_fit: None) -> None:
    result = run("encode", "scan.nii.gz", "--bytes", "400", "-o", "new.moec", "--report", "r.html")
    assert result.exit_code == 0, result.stderr
    page = (files / "r.html").read_bytes()
    text = Page(page).text
    assert "scan.nii.gz compared with new.moec" in text
    assert "time to fit" in text
    for option in ("--max-bytes 400", "--preset medium", "--seed 0", "--partition auto"):
        assert option in text
    assert "--output" not in text and "--report" not in text
    decoded = Reader(files / "new.moec").read().data
    known = view(page)
    shown = levels(page, "decoded")[..., 0] + known["levels"]["first"]
    turn = orientation(read_nifti("scan.nii.gz").geometry, decoded.shape)
    assert np.array_equal(shown, turn.upright(decoded))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--report", "r.txt"), "must end in .html"), (("--png", "p.html"), "must end in .png")],
)
def test_pictures_have_their_suffix(files: Path, arguments: tuple[str, str], message: str) -> None:
    result = run("compare", "scan.nii.gz", "scan.moec", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_that_is_missing_is_told_first(files: Path) -> None:
    result = run("compare", "scan.nii.gz", "missing.moec", "--report", "no/r.html")
    assert result.exit_code == 6
    assert "does not exist" in result.stderr


# The preview


def test_preview_without_colours(files: Path) -> None:
    result = run("info", "--preview", "scan.moec")
    assert result.exit_code == 0
    table, picture = result.stdout.split("\n\n", 1)
    assert "not for primary diagnosis" in table
    lines = picture.rstrip().splitlines()
    assert 8 <= len(lines) < 24
    assert max(map(len, lines)) < 80
    assert set("".join(lines[:-1])) <= set(" .:-=+*#%@")
    assert lines[-1].split() == ["R", "L", "R", "L", "A", "P"]


def test_preview_has_the_aspect_of_the_voxels(moec: bytes) -> None:
    # 24 x 20 x 16 voxels of 1 x 1.5 x 2 mm: 24 x 30 x 32 mm.
    text = draw_preview(Reader(moec), 120, 60, colour=True)
    assert text.spans
    lines = text.plain.splitlines()[:-1]
    axial, coronal, sagittal = re.split(" {2}", lines[0].rstrip())
    assert len(coronal) == len(axial)
    assert len(sagittal) / len(axial) == pytest.approx(30 / 24, abs=0.05)
    assert 2 * len(lines) / len(axial) == pytest.approx(32 / 24, abs=0.06)


def test_preview_and_json_exclude_each_other(files: Path) -> None:
    result = run("info", "--preview", "--json", "scan.moec")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "name", ["one_voxel", "one_value", "four_axes", "plane_of_primes", "axis_of_one"]
)
def test_preview_of_every_shape(name: str) -> None:
    reader = Reader(Path(__file__).parent / "golden" / f"{name}.moec")
    assert draw_preview(reader, 60, 20, colour=True).plain.strip()
