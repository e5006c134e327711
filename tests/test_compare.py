"""``inrcodec compare``: two volumes on one grid, all figures, and what is refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from dicom_files import COLUMNS, ROWS, image, position, save_all
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from inrcodec.cli import main
from inrcodec.compare import compare, compare_files
from inrcodec.decoder import decode_file
from inrcodec.encoder import Target, encode_file
from inrcodec.errors import InputError, MismatchError, NonFiniteError
from inrcodec.metrics import axis_psnr, gradient_error, measure, spectrum_error
from inrcodec.pair import Pair, read_pair
from inrcodec.progress import Progress

SHAPE = (13, 12, 14)
OBLIQUE = np.array([[0.9, 0.2, 0, -5], [-0.2, 1.1, 0.1, 7], [0, -0.1, 2.0, 3], [0, 0, 0, 1.0]])


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def values(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    return (300 * np.exp(rng.normal(size=shape))).astype(np.int16)


def disturbed(data: NDArray[Any]) -> NDArray[Any]:
    noise = np.random.default_rng(9).integers(-20, 21, data.shape)
    return (data + noise).astype(data.dtype)


def save(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64] | None = OBLIQUE,
    slope: float = 1.0,
    intercept: float = 0.0,
    unit: str = "mm",
) -> Path:
    """A NIfTI file of these stored values."""
    picture = nib.Nifti1Image(data, affine)
    picture.header.set_xyzt_units(unit)
    picture.header.set_slope_inter(slope, intercept)
    nib.save(picture, path)
    # nibabel scales as it writes; the stored values are ours.
    with path.open("r+b") as file:
        file.seek(112)
        file.write(np.array([slope, intercept], "<f4").tobytes())
        file.seek(352)
        file.write(data.tobytes(order="F"))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A volume and a disturbed copy."""
    data = values()
    return save(tmp_path / "a.nii", data), save(tmp_path / "b.nii", disturbed(data))


def turned(data: NDArray[Any], affine: NDArray[np.float64], axes: str) -> Any:
    """An image with its axes in other directions, every voxel where it was."""
    picture = nib.Nifti1Image(data, affine)
    codes = nib.orientations.axcodes2ornt(axes)
    return picture.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), codes))


# The figures


@pytest.mark.parametrize("shape", [SHAPE, (30, 25), (40,), (12, 13, 14, 2), (1, 20, 30)])
def test_the_figures_are_those_of_the_metrics(shape: tuple[int, ...]) -> None:
    a = values(shape)
    b = disturbed(a)
    spacing = (0.5, 1.0, 2.0)
    found = compare(a, b, spacing=spacing, unit="mm")
    assert found.whole.quality == measure(a, b)
    assert found.whole.voxels == a.size
    assert found.foreground is not None
    assert found.foreground_from is not None
    if len(shape) < 4:
        mask = a >= found.foreground_from
        assert found.foreground.quality == measure(a, b, mask)
        assert found.foreground.voxels == np.count_nonzero(mask)
    inside = a.mean(3) if a.ndim == 4 else a
    for part, mask in ((found.whole, None), (found.foreground, inside >= found.foreground_from)):
        curves = axis_psnr(a, b, float(np.ptp(a)), mask)
        for expected, psnr in zip(curves, part.slice_psnr, strict=False):
            assert np.array_equal(expected, psnr, equal_nan=True)
        assert len(part.slice_psnr) == min(len(shape), 3)
        assert (part.volume_psnr is None) == (len(shape) < 4)
        assert part.gradient_error == gradient_error(a, b, spacing, mask)
        spectrum = spectrum_error(a, b, spacing, mask)
        assert np.array_equal(part.spectrum.ratios, spectrum.ratios, equal_nan=True)
        assert np.array_equal(part.spectrum.edges, spectrum.edges)


def test_a_mask_is_for_all_volumes() -> None:
    a = values((12, 13, 14, 2))
    mask = a[..., 0] > 400
    found = compare(a, disturbed(a), mask)
    assert found.foreground is not None
    assert found.foreground.voxels == 2 * np.count_nonzero(mask)
    assert found.foreground_from is None


def test_equal_volumes() -> None:
    a = values()
    found = compare(a, a.copy())
    assert found.foreground is not None
    for part in (found.whole, found.foreground):
        assert (part.quality.psnr_range, part.quality.ssim) == (math.inf, 1)
        assert set(part.percentiles.values()) == {0}
        assert part.gradient_error == 0
    assert found.as_dict()["whole"]["psnr"] is None


def test_a_constant_volume_has_no_foreground() -> None:
    a = np.full(SHAPE, 7, np.int16)
    assert compare(a, a).foreground is None


@settings(max_examples=10, deadline=None)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_any_floats_give_json(exponent: int, other: int) -> None:
    a = np.ldexp(values((6, 5, 4)).astype(float), exponent)
    b = np.ldexp(values((6, 5, 4), seed=1).astype(float), other)
    json.dumps(compare(a, b).as_dict(), allow_nan=False)


def test_the_size_of_floats_does_not_matter() -> None:
    a = values((6, 5, 4)).astype(float)
    b = a + 1 + values((6, 5, 4), seed=1)
    near, far = compare(a, b).as_dict(), compare(a * 2.0**900, b * 2.0**900).as_dict()
    for part in ("whole", "foreground"):
        assert near[part]["gradient_error"] == far[part]["gradient_error"]
        assert near[part]["spectrum"] == far[part]["spectrum"]
        for axis, curve in near[part]["slice_psnr"].items():
            assert curve == pytest.approx(far[part]["slice_psnr"][axis])
        assert near[part]["psnr"] == pytest.approx(far[part]["psnr"])
        assert near[part]["percentiles"]["90"] * 2.0**900 == far[part]["percentiles"]["90"]


def test_progress_ends() -> None:
    seen: list[Progress] = []
    compare(values(), values(), on_progress=seen.append)
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 100, 100)


# One grid


def assert_equal_pair(pair: Pair, data: NDArray[Any]) -> None:
    assert np.array_equal(pair.original.data, data)
    assert np.array_equal(pair.decoded, data)


@settings(max_examples=20, deadline=None)
@given(st.permutations("xyz"), st.tuples(*[st.booleans()] * 3), st.booleans())
def test_axes_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[str],
    flips: tuple[bool, ...],
    series: bool,
) -> None:
    directions = {"x": "RL", "y": "AP", "z": "SI"}
    axes = "".join(directions[axis][flip] for axis, flip in zip(order, flips, strict=True))
    data = values((4, 5, 6, 2) if series else (4, 5, 6))
    folder = tmp_path_factory.mktemp("axes")
    original = save(folder / "a.nii", data)
    nib.save(turned(data, OBLIQUE, axes), folder / "b.nii")
    assert_equal_pair(read_pair(original, folder / "b.nii"), data)


@pytest.mark.parametrize("shape", [(7, 5), (6,), (7, 5, 1), (4, 3, 2, 1)])
def test_axes_of_one_voxel_may_be_there_or_not(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = values(shape)
    original = save(tmp_path / "a.nii", data)
    short = data.reshape([n for n in shape if n > 1])
    pair = read_pair(original, save(tmp_path / "b.nii", short))
    assert pair.original.data.ndim == 3
    assert_equal_pair(pair, data.reshape(pair.original.data.shape))


def test_rounded_headers_agree(tmp_path: Path, files: tuple[Path, Path]) -> None:
    affine = OBLIQUE.copy()
    affine[:3, :3] *= 1 + 1e-4
    read_pair(files[0], save(tmp_path / "c.nii", values(), affine))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(np.diag([1.02, 1, 1, 1]), id="spacing"),
        pytest.param(np.diag([-1, 1, 1, 1]), id="mirrored"),
        pytest.param(np.diag([1, 1, 1e30, 1]), id="huge"),
        pytest.param(nib.affines.from_matvec(np.eye(3), [0, 0.2, 0]), id="offset"),
        pytest.param(
            nib.affines.from_matvec(nib.eulerangles.euler2mat(0.8, 0.7, 0.6)), id="rotation"
        ),
    ],
)
def test_other_places_are_refused(tmp_path: Path, change: Any, files: tuple[Path, Path]) -> None:
    path = save(tmp_path / "c.nii", values(), change @ OBLIQUE)
    result = run(files[0], path)
    assert result.exit_code == 3
    (line,) = result.stderr.splitlines()
    assert re.search(r"c\.nii: its voxels lie up to \S+ mm from those of .*a\.nii", line)
    assert "(affines [0" in line or "(affines [-" in line


def test_axes_that_do_not_fit_are_no_reason_to_turn(tmp_path: Path) -> None:
    data = values((4, 4, 6))
    original = save(tmp_path / "a.nii", data, np.diag([2.0, 2, 2, 1]))
    other = save(tmp_path / "b.nii", data, np.diag([2.0, 2, 2, 1])[[2, 0, 1, 3]])
    with pytest.raises(MismatchError, match=r"b\.nii: its voxels lie up to \S+ mm"):
        read_pair(original, other)


def test_another_shape_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    result = run(files[0], save(tmp_path / "c.nii", values((7, 6, 7))))
    assert result.exit_code == 3
    assert "c.nii: has 7 x 6 x 7 voxels, and " in result.stderr
    assert "a.nii has 13 x 12 x 14; compare whole volumes of one grid" in result.stderr


def test_a_volume_in_no_space_needs_the_shape_alone(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    path = save(tmp_path / "c.nii", values(), None)
    with path.open("r+b") as file:  # qform_code, sform_code
        file.seek(252)
        file.write(bytes(4))
    assert read_pair(files[0], path).unit == "mm"
    assert read_pair(path, files[0]).unit == "mm"
    with path.open("r+b") as file:
        file.seek(123)
        file.write(bytes(1))
    pair = read_pair(path, files[0])
    assert (pair.unit, pair.spacing) == ("voxel", (1, 1, 1))


def test_spacing_is_in_mm(tmp_path: Path) -> None:
    micron = np.diag([40.0, 40, 50, 1])
    original = save(tmp_path / "a.nii", values(), micron, unit="micron")
    decoded = save(tmp_path / "b.nii", values(), np.diag([0.04, 0.04, 0.05, 1]))
    pair = read_pair(original, decoded)
    assert pair.spacing == pytest.approx((0.04, 0.04, 0.05))
    assert pair.unit == "mm"


# Values


def test_real_values_count_where_scalings_differ(tmp_path: Path) -> None:
    data = values()
    original = save(tmp_path / "a.nii", data, slope=2, intercept=-1024)
    other = save(tmp_path / "b.nii", (2.0 * data - 1024 + 6).astype(np.float32))
    pair = read_pair(original, other)
    assert pair.rescaled
    assert compare(pair.original.data, pair.decoded).whole.quality.max_error == 3
    same = read_pair(original, save(tmp_path / "c.nii", data, slope=2, intercept=-1024))
    assert not same.rescaled
    assert same.decoded.dtype == np.int16
    assert "compared as real values" in run(original, other).stdout


def test_no_scaling_is_a_slope_of_one(tmp_path: Path, files: tuple[Path, Path]) -> None:
    for slope, intercept in ((0, 5), (math.nan, math.nan)):
        path = save(tmp_path / "c.nii", values())
        with path.open("r+b") as file:
            file.seek(112)
            file.write(np.array([slope, intercept], "<f4").tobytes())
        assert not read_pair(files[0], path).rescaled


def test_values_beyond_floats_are_refused(tmp_path: Path) -> None:
    original = save(tmp_path / "a.nii", values(), slope=1e-38)
    with pytest.raises(InputError, match=r"b\.nii: slope and intercept"):
        read_pair(original, save(tmp_path / "b.nii", values() * 1e280, slope=1e38))


def test_dtypes_may_differ(tmp_path: Path, files: tuple[Path, Path]) -> None:
    other = save(tmp_path / "c.nii", values().astype(np.float64))
    assert compare_files(files[0], other).whole.quality.max_error == 0


def test_nan_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    data = values().astype(np.float32)
    data[1, 2, 3] = np.nan
    path = save(tmp_path / "nan.nii", data)
    for pair in ((files[0], path), (path, files[0])):
        with pytest.raises(NonFiniteError, match=r"nan\.nii: holds NaN"):
            read_pair(*pair)


# Masks


def test_mask(tmp_path: Path, files: tuple[Path, Path]) -> None:
    data = values()
    marked = (data > 500).astype(np.uint8)
    nib.save(turned(marked, OBLIQUE, "PIL"), tmp_path / "mask.nii.gz")
    result = run(*files, "--mask", tmp_path / "mask.nii.gz", "--json")
    found = json.loads(result.stdout)
    quality = measure(data, disturbed(data), marked > 0)
    assert found["foreground"]["voxels"] == marked.sum()
    assert found["foreground"]["psnr"] == pytest.approx(quality.psnr_range)
    assert found["foreground"]["ssim"] == pytest.approx(quality.ssim)
    assert found["foreground_from"] is None
    assert found["mask"].endswith("mask.nii.gz")
    assert "mask.nii.gz" in run(*files, "--mask", tmp_path / "mask.nii.gz").stdout


def test_a_mask_on_another_grid_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    ones = np.ones(SHAPE, np.uint8)
    for mask in (
        save(tmp_path / "m.nii", ones, np.diag([5.0, 5, 5, 1])),
        save(tmp_path / "m.nii", ones[1:]),
        save(tmp_path / "m.nii", np.ones((*SHAPE, 2), np.uint8)),
    ):
        with pytest.raises(MismatchError, match=r"m\.nii: "):
            read_pair(*files, mask)


def test_an_empty_mask_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"m\.nii: every voxel is 0"):
        read_pair(*files, save(tmp_path / "m.nii", np.zeros(SHAPE, np.uint8)))


# .moec and DICOM


@pytest.mark.parametrize("name", ["scan.moec", "no suffix"])
def test_a_moec_file_is_decoded(scan: Path, moec: bytes, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(moec)
    decode_file(tmp_path / name, tmp_path / "out.nii.gz")
    direct = compare_files(scan, tmp_path / name).as_dict()
    assert direct == compare_files(scan, tmp_path / "out.nii.gz").as_dict()
    assert 10 < direct["whole"]["psnr"] < 80


def test_a_damaged_moec_file(scan: Path, moec: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.moec").write_bytes(moec[:-30])
    result = run(scan, tmp_path / "bad.moec")
    assert result.exit_code == 4
    assert "bad.moec: " in result.stderr


@pytest.mark.usefixtures("short_fit")
def test_a_moec_file_without_metadata_is_compared_as_stored(tmp_path: Path) -> None:
    original = save(tmp_path / "a.nii", values(), slope=2, intercept=-1024)
    encode_file(original, tmp_path / "a.moec", target=Target(file_bytes=400), metadata="none")
    decode_file(tmp_path / "a.moec", tmp_path / "b.nii")
    for decoded in ("a.moec", "b.nii"):
        pair = read_pair(original, tmp_path / decoded)
        assert not pair.rescaled
        assert measure(pair.original.data, pair.decoded).psnr_range > 5


def series(folder: Path, change: int = 0, **attributes: Any) -> Path:
    def stored(k: int) -> NDArray[np.int16]:
        return (values((ROWS, COLUMNS), seed=k) + change).astype(np.int16)

    return save_all((image(k, stored(k), **attributes) for k in range(5)), folder)


def as_nifti(tmp_path: Path, axes: str, hu: bool) -> Path:
    """The series as a converter would write it: its axes turned, its values real."""
    data = np.stack([values((ROWS, COLUMNS), seed=k).T for k in range(5)], axis=2)
    affine = np.diag([-0.75, -0.5, 2.5, 1])
    affine[:3, 3] = np.array(position(0)) * [-1, -1, 1]
    picture = turned(data - np.int16(1024) if hu else data, affine, axes)
    path = tmp_path / "converted.nii"
    return save(path, np.asarray(picture.dataobj), picture.affine, 1, 0 if hu else -1024)


@pytest.mark.parametrize("axes", ["LPS", "LAS", "RAS", "SLA"])
@pytest.mark.parametrize("hu", [False, True])
def test_dicom_and_nifti_of_one_scan(tmp_path: Path, axes: str, hu: bool) -> None:
    folder = series(tmp_path / "dicom")
    converted = as_nifti(tmp_path, axes, hu)
    for first, second in ((folder, converted), (converted, folder)):
        pair = read_pair(first, second)
        assert pair.rescaled == hu
        assert np.array_equal(pair.original.data, pair.decoded)


def test_dicom_and_dicom(tmp_path: Path) -> None:
    pair = read_pair(series(tmp_path / "a"), series(tmp_path / "b", change=3))
    assert measure(pair.original.data, pair.decoded).max_error == 3
    pair = read_pair(series(tmp_path / "a"), series(tmp_path / "c", RescaleIntercept=-1000))
    assert np.array_equal(pair.decoded, pair.original.data + 24.0)


PET = {"Modality": "PT", "SOPClassUID": uid.PositronEmissionTomographyImageStorage}


def test_slices_of_different_rescale(tmp_path: Path) -> None:
    """PET: each slice has its own slope; the other volume has one for all."""
    stored = [np.full((ROWS, COLUMNS), 60, np.int16) for _ in range(5)]
    slopes = [1.0, 2.0, 3.0, 4.0, 5.0]
    pet = save_all(
        (image(k, stored[k], RescaleSlope=slopes[k], RescaleIntercept=0, **PET) for k in range(5)),
        tmp_path / "pet",
    )
    even = save_all(
        (image(k, stored[k], RescaleIntercept=0, **PET) for k in range(5)), tmp_path / "even"
    )
    pair = read_pair(pet, even)
    assert pair.decoded[0, 0] == pytest.approx([60, 30, 20, 15, 12])
    assert read_pair(even, pet).decoded[0, 0] == pytest.approx([60, 120, 180, 240, 300])
    assert not read_pair(pet, pet).rescaled


def test_lookup_tables_must_be_the_same(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.ModalityLUTType = "US"
    table["LUTDescriptor"].VR = "US"
    table.LUTData = b"\0\0\1\0\2\0\3\0"
    table["LUTData"].VR = "OW"
    without = {"RescaleSlope": None, "RescaleIntercept": None}
    first = series(tmp_path / "a", ModalityLUTSequence=Sequence([table]), **without)
    assert not read_pair(first, first).rescaled
    with pytest.raises(MismatchError, match="lookup table"):
        read_pair(first, series(tmp_path / "b"))


def test_one_series_of_several(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    series(folder / "a")
    series(folder / "b", change=1, SeriesInstanceUID="1.2.3.5", SeriesNumber=3)
    result = run(folder, tmp_path / "two" / "a")
    assert result.exit_code == 3
    assert "--series" in result.stderr
    assert run(folder, tmp_path / "two" / "a", "--series", "1.2.3.4").exit_code == 0
    # The option is for the original alone.
    for arguments in ((folder / "a", folder), (folder / "a", folder / "a", "--mask", folder)):
        result = run(*arguments)
        assert result.exit_code == 3
        assert f"{folder}: holds several series; name a folder or file of one" in result.stderr
        assert "--series" not in result.stderr and "1.2.3.5" in result.stderr


@pytest.mark.usefixtures("short_fit")
def test_a_series_and_what_is_decoded_of_it(tmp_path: Path) -> None:
    folder = save_all((image(k, values((20, 24), seed=k)) for k in range(6)), tmp_path / "series")
    encode_file(folder, tmp_path / "a.moec", target=Target(file_bytes=600))
    found = []
    for name in ("a.dcm", "b.nii.gz", "slices"):
        decode_file(tmp_path / "a.moec", tmp_path / name)
        found.append(compare_files(folder, tmp_path / name).as_dict())
    assert found == [compare_files(folder, tmp_path / "a.moec").as_dict()] * 3


@pytest.mark.usefixtures("short_fit")
def test_a_nifti_file_and_the_dicom_decoded_of_it(scan: Path, moec: bytes, tmp_path: Path) -> None:
    """Whose axes run the other way, for images to be looked at."""
    (tmp_path / "a.moec").write_bytes(moec)
    decode_file(tmp_path / "a.moec", tmp_path / "slices")
    pair = read_pair(scan, tmp_path / "slices")
    assert np.array_equal(pair.decoded, read_pair(scan, tmp_path / "a.moec").decoded)


# The command


def test_table(files: tuple[Path, Path]) -> None:
    result = run(*files)
    assert result.exit_code == 0
    quality = measure(values(), disturbed(values()))
    assert re.search(
        r"^foreground +\d+\.\d% of the voxels: values from \d+ up", result.stdout, re.M
    )
    assert re.search(r"^ +whole volume +foreground$", result.stdout, re.M)
    row = rf"^PSNR +{quality.psnr_range:.2f} dB +\d+\.\d\d dB +peak \d+, the value range$"
    assert re.search(row, result.stdout, re.M)
    names = "original|decoded|SSIM|mean error|error, 99.9 %|largest error|slices, x|slices, z"
    for name in [*names.split("|"), "gradients", "frequency", "energy", "error"]:
        assert re.search(rf"^{name}  +\S", result.stdout, re.M), name
    assert result.stderr.splitlines() == ["inrcodec: measuring"]
    assert run(*files, "--quiet").output == ""


def test_table_of_a_constant_volume(tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.nii", np.full(SHAPE, 7, np.int16))
    result = run(flat, flat)
    assert result.exit_code == 0
    assert "foreground  none: all voxels have one value" in result.stdout
    assert re.search(r"^PSNR +equal", result.stdout, re.M)


def test_json(files: tuple[Path, Path]) -> None:
    result = run(*files, "--json", "--quiet")
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    expected = compare_files(*files).as_dict()
    assert {key: found[key] for key in expected} == expected
    assert found["shape"] == list(SHAPE)
    for part in (found["whole"], found["foreground"]):
        assert {axis: len(curve) for axis, curve in part["slice_psnr"].items()} == {
            "x": 13, "y": 12, "z": 14,
        }  # fmt: skip
        spectrum = part["spectrum"]
        assert len(spectrum["edges"]) == 17
        assert len(spectrum["energy"]) == len(spectrum["error"]) == 16
        assert spectrum["unit"] == "cycles/mm"
    assert list(found["whole"]["percentiles"]) == ["50", "90", "95", "99", "99.9"]
    documented = (Path(__file__).parents[1] / "docs" / "cli.md").read_text().split("\n## JSON\n")[1]
    for key in [*found, *found["whole"], *spectrum]:
        assert f"`{key}`" in documented, key


def test_a_missing_file(files: tuple[Path, Path]) -> None:
    assert run(files[0], "nowhere.nii").exit_code == 3
    assert run("nowhere.nii.gz", files[0]).exit_code == 3
    assert run(files[0], "nowhere.moec").exit_code == 4
