"""Reading DICOM: files, series, order, geometry, the fourth axis, stored values, attributes."""

from __future__ import annotations

import base64
import io
import itertools
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    COLUMNS,
    ORIENTATION,
    ROWS,
    SERIES,
    SPACING,
    dimensions,
    functional_groups,
    image,
    item,
    multi_frame,
    pixels,
    place,
    position,
    save,
    save_all,
)
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from inrcodec.errors import InputError, NonFiniteError, UnsupportedVolumeError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.volume.dicom.catalog import SeveralSeriesError
from inrcodec.volume.dicom.files import looks_like_dicom
from inrcodec.volume.dicom.read import read_dicom
from inrcodec.volume.dicom.series import DicomSeries

SHARED = Path(os.environ.get("INRCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
CT_ARCHIVE = SHARED / "ct_thigh_dicom_series.tar.gz"
ENHANCED_MR = SHARED / "mr_t1_enhanced_multiframe.dcm"

AFFINE = np.array(
    [[-0.75, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 2.5, -30], [0, 0, 0, 1]], dtype=np.float64
)
"""Of `dicom_files.image`: columns 0.75 mm apart, rows 0.5, slices 2.5; x and y reversed."""

STACK = np.stack([pixels(k).T for k in range(5)], axis=2)


def images(count: int = 5, **attributes: Any) -> list[Dataset]:
    return [image(k, **attributes) for k in range(count)]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_dicom(path, **options)
    return str(caught.value)


# Files


def test_a_folder_is_searched_and_other_files_are_counted(tmp_path: Path) -> None:
    first, second, *rest = images()
    save_all(rest, tmp_path / "b" / "c")
    save_all([first], tmp_path / "a")
    save_all([second], tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    report = image()
    del report.PixelData, report.Rows
    report.SOPClassUID = uid.BasicTextSRStorage
    save(report, tmp_path / "report.dcm")
    report.SOPClassUID = uid.MRSpectroscopyStorage
    report.Rows, report.SpectroscopyData = 1, bytes(8)
    save(report, tmp_path / "spectra.dcm")
    series = read_dicom(tmp_path)
    np.testing.assert_array_equal(series.data, STACK)
    assert series.skipped == 5
    assert not series.enhanced


def test_a_single_file_is_one_slice_even_beside_others(tmp_path: Path) -> None:
    save_all(images(), tmp_path)
    series = read_dicom(tmp_path / "00.dcm")
    np.testing.assert_array_equal(series.data, STACK[:, :, :1])
    assert series.frames == (Dataset(),)
    np.testing.assert_allclose(series.affine, AFFINE)


def archive(kind: str, files: dict[str, bytes], path: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{kind}") as packed:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_an_archive_is_read_without_unpacking_it(kind: str, tmp_path: Path) -> None:
    folder = save_all(images(), tmp_path / "series")
    files = {f"../../x/{path.name}": path.read_bytes() for path in folder.iterdir()}
    path = archive(kind, {**files, "DICOMDIR": b"no", "x/": b""}, tmp_path / "archive")
    before = sorted(tmp_path.rglob("*"))
    assert looks_like_dicom(path)
    np.testing.assert_array_equal(read_dicom(path).data, STACK)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_dicom(tmp_path: Path) -> None:
    plain = save(image(), tmp_path / "x.dcm")
    headless = tmp_path / "headless"
    headless.write_bytes(implicit_bytes(image()))
    nifti = tmp_path / "x.nii.gz"
    nifti.write_bytes(zlib.compress(b"\x5c\x01\0\0" + bytes(600), wbits=31))
    other = tmp_path / "x.nii"
    other.write_bytes(b"\x5c\x01\0\0" + bytes(600))
    assert all(map(looks_like_dicom, [tmp_path, plain, str(headless)]))
    assert not any(map(looks_like_dicom, [nifti, other, tmp_path / "none"]))


def implicit_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    return buffer.getvalue()


def test_a_file_without_preamble_and_meta_information(tmp_path: Path) -> None:
    for k in range(5):
        (tmp_path / str(k)).write_bytes(implicit_bytes(image(k)))
    np.testing.assert_array_equal(read_dicom(tmp_path).data, STACK)


def test_a_dicomdir_is_passed_over(tmp_path: Path) -> None:
    save_all(images(), tmp_path)
    directory = Dataset()
    directory.DirectoryRecordSequence = Sequence()
    directory.SOPClassUID = uid.MediaStorageDirectoryStorage
    directory.SOPInstanceUID = "1.2"
    save(directory, tmp_path / "DICOMDIR")
    assert read_dicom(tmp_path).skipped == 1


# Series


def two_series(folder: Path) -> Path:
    save_all(images(), folder / "a")
    save_all(
        images(3, SeriesInstanceUID="1.9", SeriesNumber=1, SeriesDescription="Scout\nx\x1b"),
        folder / "b",
    )
    return folder


def test_several_series_are_listed(tmp_path: Path) -> None:
    with pytest.raises(SeveralSeriesError) as caught:
        read_dicom(two_series(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: 2 series; choose one by its number or UID")
    assert caught.value.table.splitlines() == [
        "number  modality  size   slices  description  UID",
        "1       CT        6 x 4  3       Scout x?     1.9",
        "2       CT        6 x 4  5       Thorax       1.2.3.4",
    ]
    assert [row.slices for row in caught.value.rows] == [3, 5]


@pytest.mark.parametrize(("wanted", "depth"), [("1", 3), ("1.9", 3), ("2", 5), (SERIES, 5)])
def test_a_series_is_chosen_by_number_or_uid(wanted: str, depth: int, tmp_path: Path) -> None:
    assert read_dicom(two_series(tmp_path), series=wanted).data.shape == (COLUMNS, ROWS, depth)


def test_a_series_that_is_not_there(tmp_path: Path) -> None:
    message = refusal(two_series(tmp_path), series="3")
    assert message.startswith(f"{tmp_path}: there is no series 3; choose one by its number")
    message = refusal(save_all(images(), tmp_path / "one"), series="1.7")
    assert "there is no series 1.7" in message


def test_each_multi_frame_file_is_a_series(tmp_path: Path) -> None:
    for name in "ab":
        stored = np.stack([pixels(k) for k in range(3)])
        save(multi_frame([place(k) for k in range(3)], stored), tmp_path / name)
    assert "several files are series" in refusal(tmp_path, series=SERIES)
    assert read_dicom(tmp_path, series="2").enhanced


# Geometry


def test_slices_are_sorted_along_the_normal_never_by_their_numbers(tmp_path: Path) -> None:
    files = [image(k, InstanceNumber=9 - k, SliceLocation=-2.5 * k) for k in range(5)]
    series = read_dicom(save_all(files, tmp_path))
    np.testing.assert_array_equal(series.data, STACK)
    assert series.data.flags.f_contiguous
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-12)
    np.testing.assert_allclose(series.spacing, (0.75, 0.5, 2.5))
    assert [frame.InstanceNumber for frame in series.frames] == [9, 8, 7, 6, 5]
    assert series.irregularity < 1e-9


@pytest.mark.parametrize("orientation", [(0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, 0, 0, -1), None])
def test_every_voxel_lies_where_its_file_says(orientation: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    if orientation is None:  # oblique
        basis, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        orientation = tuple(basis[:, :2].T.ravel())
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    normal = np.cross(row, column)
    files = [
        image(
            k,
            ImageOrientationPatient=[round(float(x), 12) for x in orientation],
            ImagePositionPatient=[round(float(x), 9) for x in (5, 6, 7) + 3 * k * normal],
        )
        for k in range(4)
    ]
    series = read_dicom(save_all(files, tmp_path))
    x, y, z = 4, 3, 2
    lps = (5, 6, 7) + x * SPACING[1] * row + y * SPACING[0] * column + 3 * z * normal
    ras = series.affine @ (x, y, z, 1)
    np.testing.assert_allclose(ras[:3], lps * (-1, -1, 1), atol=1e-6)
    assert series.data[x, y, z] == pixels(z)[y, x]


def test_gantry_tilt_is_a_sheared_affine(tmp_path: Path) -> None:
    step = (0.0, 0.6, 2.4)
    files = [image(k, ImagePositionPatient=position(k, step)) for k in range(5)]
    series = read_dicom(save_all(files, tmp_path))
    np.testing.assert_array_equal(series.data, STACK)
    np.testing.assert_allclose(series.affine[:3, 2], (0, -0.6, 2.4), atol=1e-12)
    assert series.spacing[2] == pytest.approx(np.hypot(0.6, 2.4))


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ({}, 2.5),
        ({"SpacingBetweenSlices": 3.0}, 3.0),
        ({"SpacingBetweenSlices": 0.0}, 2.5),
    ],
)
def test_the_third_spacing_of_a_single_slice(
    attributes: dict[str, Any], spacing: float, tmp_path: Path
) -> None:
    series = read_dicom(save(image(**attributes), tmp_path / "x.dcm"))
    assert series.spacing[2] == spacing


def test_a_single_slice_without_thickness_is_refused(tmp_path: Path) -> None:
    path = save(image(SliceThickness=None), tmp_path / "x.dcm")
    assert "neither SliceThickness nor SpacingBetweenSlices" in refusal(path)


def stack_at(places: Iterable[float], folder: Path) -> Path:
    return save_all(
        [image(k, ImagePositionPatient=position(at)) for k, at in enumerate(places)], folder
    )


@pytest.mark.parametrize("off", [0.0, 0.009, -0.009])
def test_slices_may_be_off_by_a_hundredth_of_their_spacing(off: float, tmp_path: Path) -> None:
    series = read_dicom(stack_at([0, 1, 2 + off, 3], tmp_path))
    assert series.irregularity == pytest.approx(2.5 * abs(off), abs=1e-9)


def test_positions_of_two_decimals_are_regular(tmp_path: Path) -> None:
    files = [image(k, ImagePositionPatient=[0, 0, round(0.625 * k, 2)]) for k in range(9)]
    assert read_dicom(save_all(files, tmp_path)).spacing[2] == pytest.approx(0.625)


def test_a_gap_is_refused_with_its_place(tmp_path: Path) -> None:
    message = refusal(stack_at([0, 1, 2, 4, 5], tmp_path))
    assert "gaps between slices that are 2.5 mm apart: 5 mm between (10, 20, -25) (" in message
    assert "14.dcm) and (10, 20, -20) (" in message.replace("42.dcm", "14.dcm")
    assert "irregular" in message


def test_uneven_steps_are_refused(tmp_path: Path) -> None:
    message = refusal(stack_at([0, 1, 2.1, 3, 4], tmp_path))
    assert "irregular positions: (10, 20, -24.75)" in message
    files = [image(k, ImagePositionPatient=[0.5 * (k == 2), 0, 2.5 * k]) for k in range(5)]
    message = refusal(save_all(files, tmp_path / "shifted"))
    assert "is 0.5 mm off equal steps of 2.5 mm" in message


def test_irregular_slices_keep_their_positions(tmp_path: Path) -> None:
    path = stack_at([0, 1, 2, 4, 5], tmp_path)
    series = read_dicom(path, allow_irregular=True)
    np.testing.assert_array_equal(series.data, STACK)
    assert [frame.ImagePositionPatient[2] for frame in series.frames] == [
        -30,
        -27.5,
        -25,
        -20,
        -17.5,
    ]
    assert series.affine[2, 2] == pytest.approx(12.5 / 4)
    assert series.irregularity == pytest.approx(1.25)


@pytest.mark.parametrize("allow_irregular", [False, True])
def test_duplicates_are_refused_with_their_place(allow_irregular: bool, tmp_path: Path) -> None:
    message = refusal(stack_at([0, 1, 2, 2, 3], tmp_path), allow_irregular=allow_irregular)
    assert "duplicate slices: 2 at (10, 20, -25) (" in message


def test_copies_of_all_files_are_refused(tmp_path: Path) -> None:
    save_all(images(), tmp_path / "a")
    save_all(images(), tmp_path / "b")
    assert "the same image twice" in refusal(tmp_path)


def test_two_slices_in_one_plane_are_refused(tmp_path: Path) -> None:
    path = save_all([*images(), image(9, ImagePositionPatient=[90, 20, -25])], tmp_path)
    assert "two slices in one plane, shifted" in refusal(path)


MIXTURES = {
    "sizes": {"stored": np.zeros((5, 6), np.int16)},
    "localizers": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "SOP classes": {"SOPClassUID": uid.MRImageStorage},
    "orientations": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
    "PixelSpacing": {"PixelSpacing": [0.5, 0.8]},
    "FrameOfReferenceUID": {"FrameOfReferenceUID": "1.2.3.8"},
    "rescale": {"RescaleSlope": 2},
    "pixel formats": {"BitsStored": 12, "HighBit": 11},
    "modality lookup tables": {"ModalityLUTSequence": Sequence([item(LUTExplanation="x")])},
}


@pytest.mark.parametrize("what", MIXTURES)
def test_mixtures_are_refused_naming_the_odd_file(what: str, tmp_path: Path) -> None:
    save_all(images(4), tmp_path)
    save(image(4, **MIXTURES[what]), tmp_path / "odd.dcm")
    message = refusal(tmp_path)
    assert "mixed " in message
    assert what in message
    assert " in 4 of 5 slices, " in message
    assert f"in {tmp_path}/odd.dcm; leave out" in message


def test_rounding_is_no_mixture(tmp_path: Path) -> None:
    files = images()
    files[2].ImageOrientationPatient = [1.0, 0.00001, 0.0, 0.0, 1.0, 0.0]
    files[2].RescaleSlope = "1.000"
    files[2].PixelSpacing = ["0.50", "0.75001"]
    np.testing.assert_allclose(read_dicom(save_all(files, tmp_path)).affine, AFFINE, atol=1e-12)


def test_pet_may_have_another_rescale_in_each_slice(tmp_path: Path) -> None:
    changes = {"Modality": "PT", "SOPClassUID": uid.PositronEmissionTomographyImageStorage}
    files = [image(k, RescaleSlope=1 + k, RescaleIntercept=0, **changes) for k in range(5)]
    series = read_dicom(save_all(files, tmp_path))
    assert [frame.RescaleSlope for frame in series.frames] == [1, 2, 3, 4, 5]
    assert series.shared.RescaleIntercept == 0


# The fourth axis


def by_time(**values: list[Any]) -> list[Dataset]:
    """Three slices at two times each, told apart by these attributes (one value for each time)."""
    return [
        image(
            10 * t + k,
            ImagePositionPatient=position(k),
            **{keyword: value[t] for keyword, value in values.items()},
        )
        for k in range(3)
        for t in range(2)
    ]


FOUR_AXES = np.stack([STACK[:, :, :3], STACK[:, :, :3] + 1000], axis=3)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", [1, 2]),
        ("EchoTime", [9.5, 30]),
        ("EchoNumbers", [1, 2]),
        ("DiffusionBValue", [0.0, 1000.0]),
        ("TriggerTime", [90, 110]),
        ("FrameReferenceTime", [0, 2000]),
        ("AcquisitionNumber", [2, 10]),
        ("AcquisitionDateTime", ["20200101235959.5", "20200102"]),
        ("AcquisitionTime", ["115959.99", "120000"]),
        ("ContentTime", ["115959", "120000.5"]),
    ],
)
def test_a_classic_series_in_four_dimensions(
    keyword: str, values: list[Any], tmp_path: Path
) -> None:
    series = read_dicom(save_all(by_time(**{keyword: values}), tmp_path))
    np.testing.assert_array_equal(series.data, FOUR_AXES)
    assert [float(str(frame[keyword].value)) for frame in series.frames] == [
        float(value) for value in values for _ in range(3)
    ]
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-12)


def test_the_first_attribute_in_order_counts(tmp_path: Path) -> None:
    files = by_time(AcquisitionNumber=[2, 1], EchoTime=[1, 2], ContentTime=["12", "11"])
    np.testing.assert_array_equal(read_dicom(save_all(files, tmp_path)).data, FOUR_AXES)


def test_an_attribute_that_does_not_split_all_positions_alike_is_left(tmp_path: Path) -> None:
    files = by_time(EchoNumbers=[1, 2], AcquisitionTime=["11", "12"])
    files[0].EchoNumbers = 3
    np.testing.assert_array_equal(read_dicom(save_all(files, tmp_path)).data, FOUR_AXES)


def test_times_count_by_their_rank(tmp_path: Path) -> None:
    files = by_time()
    for number, file in enumerate(files):
        file.TriggerTime = 10 * number
    np.testing.assert_array_equal(read_dicom(save_all(files, tmp_path)).data, FOUR_AXES)


def test_times_do_not_pair_different_images(tmp_path: Path) -> None:
    files = by_time(ContentTime=["11", "12"])
    for number, file in enumerate(files):
        file.ImageType = ["DERIVED", "PRIMARY", "WATER" if number % 2 else "FAT"]
    assert read_dicom(save_all(files, tmp_path)).data.shape == (COLUMNS, ROWS, 3, 2)
    files[0].ContentTime, files[1].ContentTime = files[1].ContentTime, files[0].ContentTime
    assert "none of ContentTime tells them apart" in refusal(save_all(files, tmp_path))


def test_mosaics_are_refused(tmp_path: Path) -> None:
    path = save(image(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), tmp_path / "x.dcm")
    with pytest.raises(UnsupportedVolumeError, match="mosaics"):
        read_dicom(path)


def test_diffusion_directions(tmp_path: Path) -> None:
    directions = [None, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    files = [
        image(
            10 * t + k,
            ImagePositionPatient=position(k),
            DiffusionBValue=0.0 if direction is None else 800.0,
            DiffusionGradientOrientation=direction,
        )
        for k in range(2)
        for t, direction in enumerate(directions)
    ]
    series = read_dicom(save_all(files, tmp_path))
    assert series.data.shape == (COLUMNS, ROWS, 2, 3)
    assert series.data[0, 0, 0].tolist() == [0, 2000, 1000]


def test_what_no_attribute_tells_apart_is_refused(tmp_path: Path) -> None:
    path = save_all(by_time(EchoTime=[1, 1], ContentTime=["11", "11"]), tmp_path)
    with pytest.raises(UnsupportedVolumeError, match="none of EchoTime, ContentTime tells them"):
        read_dicom(path)
    path = save_all(by_time(), tmp_path / "nothing")
    with pytest.raises(UnsupportedVolumeError, match="no attribute is there to tell them"):
        read_dicom(path)


def test_an_incomplete_time_is_refused(tmp_path: Path) -> None:
    message = refusal(save_all(by_time(EchoTime=[1, 2])[:-1], tmp_path))
    assert "missing slices: 1 at (10, 20, -25) (" in message


# Multi-frame files


def test_a_multi_frame_file_in_random_order(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]
    stored = np.stack([pixels(k) for k in order])
    path = save(multi_frame([place(k) for k in order], stored), tmp_path / "x.dcm")
    series = read_dicom(path)
    np.testing.assert_array_equal(series.data, STACK)
    np.testing.assert_allclose(series.affine, AFFINE, atol=1e-12)
    assert series.enhanced
    assert len(series.frames) == 5
    assert series.frames[1].PlanePositionSequence[0].ImagePositionPatient == position(1)
    assert "PerFrameFunctionalGroupsSequence" not in series.shared
    assert "SharedFunctionalGroupsSequence" in series.shared


def test_functional_groups_of_each_frame_count_before_the_shared(tmp_path: Path) -> None:
    frames = [place(k) for k in range(3)]
    for frame in frames:
        frame.PixelMeasuresSequence = Sequence([item(PixelSpacing=[1, 2])])
    shared = functional_groups(
        PlaneOrientationSequence={"ImageOrientationPatient": list(ORIENTATION)},
        PixelMeasuresSequence={"PixelSpacing": [7, 7], "SliceThickness": 3},
    )
    stored = np.stack([pixels(k) for k in range(3)])
    series = read_dicom(save(multi_frame(frames, stored, shared), tmp_path / "x.dcm"))
    assert series.spacing == (2.0, 1.0, 2.5)


def test_one_frame_of_a_multi_frame_file(tmp_path: Path) -> None:
    series = read_dicom(save(multi_frame([place(0)], pixels(0)[None]), tmp_path / "x.dcm"))
    np.testing.assert_array_equal(series.data, STACK[:, :, :1])
    assert series.spacing == (0.75, 0.5, 2.5)


@pytest.mark.parametrize(
    "pointer", ["TemporalPositionIndex", "DiffusionBValue", "EffectiveEchoTime"]
)
def test_the_dimension_index_gives_the_fourth_axis(pointer: str, tmp_path: Path) -> None:
    pairs = list(itertools.product(range(2), range(3)))
    np.random.default_rng(1).shuffle(pairs)
    frames = [place(k, DimensionIndexValues=[1, t + 1, k + 1]) for t, k in pairs]
    stored = np.stack([pixels(10 * t + k) for t, k in pairs])
    dataset = multi_frame(
        frames,
        stored,
        DimensionIndexSequence=dimensions("StackID", pointer, "InStackPositionNumber"),
    )
    np.testing.assert_array_equal(read_dicom(save(dataset, tmp_path / "x.dcm")).data, FOUR_AXES)


@pytest.mark.parametrize(
    "group",
    [
        lambda t: {"FrameContentSequence": {"TemporalPositionIndex": t + 1}},
        lambda t: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + t}},
        lambda t: {"MRDiffusionSequence": {"DiffusionBValue": 500.0 * t}},
        lambda t: {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 9.0 * t}},
        lambda t: {"FrameContentSequence": {"FrameAcquisitionDateTime": f"2020010112000{t}"}},
    ],
)
def test_a_fourth_axis_without_dimension_index(group: Any, tmp_path: Path) -> None:
    pairs = [(t, k) for k in range(3) for t in (1, 0)]
    frames = [
        functional_groups(
            PlanePositionSequence={"ImagePositionPatient": position(k)},
            **group(t),
        )
        for t, k in pairs
    ]
    dataset = multi_frame(frames, np.stack([pixels(10 * t + k) for t, k in pairs]))
    np.testing.assert_array_equal(read_dicom(save(dataset, tmp_path / "x.dcm")).data, FOUR_AXES)


def test_several_stacks_are_refused(tmp_path: Path) -> None:
    frames = [place(k, StackID=str(1 + k // 3)) for k in range(5)]
    path = save(multi_frame(frames, np.zeros((5, 4, 6), np.int16)), tmp_path / "x.dcm")
    message = refusal(path)
    assert "mixed stacks (StackID): 1 in 3 of 5 slices, 2 in" in message
    assert "frame 4" in message


def test_frames_without_places_are_refused(tmp_path: Path) -> None:
    dataset = multi_frame([place(0)] * 2, np.zeros((2, 4, 6), np.int16))
    del dataset.PerFrameFunctionalGroupsSequence
    with pytest.raises(UnsupportedVolumeError, match="2 frames without functional groups"):
        read_dicom(save(dataset, tmp_path / "x.dcm"))


# Stored values


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_integers(dtype: str, syntax: str, tmp_path: Path) -> None:
    info = np.iinfo(dtype)
    stored = np.resize(np.array([info.min, info.max, 1], dtype), (ROWS, COLUMNS))
    series = read_dicom(save(image(stored=stored), tmp_path / "x.dcm", syntax))
    assert series.data.dtype == dtype
    np.testing.assert_array_equal(series.data[:, :, 0], stored.T)


@pytest.mark.parametrize(
    ("dtype", "vr"), [("uint8", "OB"), ("uint8", "OW"), ("int16", "OW"), ("uint32", "OW")]
)
def test_big_endian(dtype: str, vr: str, tmp_path: Path) -> None:
    stored = pixels(0, dtype)
    dataset = image(stored=stored, PixelPaddingValue=7, WaveformPaddingValue=None)
    data = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    if vr == "OW" and dtype == "uint8":
        data = np.frombuffer(data, "u2").byteswap().tobytes()
    dataset.PixelData = data
    dataset["PixelData"].VR = vr
    dataset.add_new(0x00091001, "OW", b"\x01\x02")  # the bytes of the file
    dataset.add_new(0x00090010, "LO", "test")
    series = read_dicom(save(dataset, tmp_path / "x.dcm", uid.ExplicitVRBigEndian))
    np.testing.assert_array_equal(series.data[:, :, 0], stored.T)
    assert series.shared.PixelPaddingValue == 7
    assert series.shared[0x00091001].value == b"\x02\x01"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("junk", [0x0000, 0xFFFF, 0xA5A5])
def test_unused_bits_are_removed(signed: bool, high_bit: int, junk: int, tmp_path: Path) -> None:
    values = np.resize(np.array([-2048, 2047, -1, 5] if signed else [0, 4095, 5]), (ROWS, COLUMNS))
    shift = high_bit - 11
    mask = 0xFFF << shift
    stored = ((values << shift) & mask) | (junk & ~mask & 0xFFFF)
    dataset = image(
        stored=stored.astype("uint16"),
        PixelRepresentation=int(signed),
        BitsStored=12,
        HighBit=high_bit,
    )
    for number, syntax in enumerate((uid.ExplicitVRLittleEndian, uid.RLELossless)):
        path = tmp_path / f"{number}.dcm"
        if syntax == uid.RLELossless:
            dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        series = read_dicom(save(dataset, path, syntax))
        assert series.data.dtype == ("int16" if signed else "uint16")
        np.testing.assert_array_equal(series.data[:, :, 0], values.T)


def test_overlays_in_unused_bits_are_left_out_with_them(tmp_path: Path) -> None:
    stored = pixels(0, "uint16") | 0x8000
    dataset = image(stored=stored, BitsStored=12, HighBit=11)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    dataset.add_new(0x60020102, "US", 0)
    dataset.add_new(0x60023000, "OW", b"\x01\x00")
    series = read_dicom(save(dataset, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(series.data[:, :, 0], pixels(0).T)
    assert not series.shared.group_dataset(0x6000)
    assert len(series.shared.group_dataset(0x6002)) == 2


@pytest.mark.parametrize(("keyword", "dtype"), [("Float", "float32"), ("DoubleFloat", "float64")])
def test_floats(keyword: str, dtype: str, tmp_path: Path) -> None:
    stored = np.stack([pixels(k, dtype) / 3 for k in range(3)])
    dataset = multi_frame(
        [place(k) for k in range(3)],
        stored[:, :, :].astype("int16"),
        SOPClassUID=uid.ParametricMapStorage,
        BitsAllocated=stored.itemsize * 8,
        **dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation")),
    )
    del dataset.PixelData
    setattr(dataset, f"{keyword}PixelData", stored.tobytes())
    series = read_dicom(save(dataset, tmp_path / "x.dcm"))
    assert series.data.dtype == dtype
    np.testing.assert_array_equal(series.data, stored.transpose(2, 1, 0))
    stored[1, 2, 3] = np.nan
    setattr(dataset, f"{keyword}PixelData", stored.tobytes())
    with pytest.raises(NonFiniteError):
        read_dicom(save(dataset, tmp_path / "x.dcm"))


def test_monochrome1_and_padding_leave_the_stored_values(tmp_path: Path) -> None:
    dataset = image(PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=-2000)
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        series = read_dicom(save(dataset, tmp_path / "x.dcm", syntax))
        np.testing.assert_array_equal(series.data, STACK[:, :, :1])
        assert series.shared.PixelPaddingValue == -2000
        assert series.shared["PixelPaddingValue"].VR == "SS"


def test_a_pad_behind_the_pixel_data_is_no_matter(tmp_path: Path) -> None:
    dataset = image()
    dataset.PixelData += bytes(ROWS * COLUMNS)
    np.testing.assert_array_equal(
        read_dicom(save(dataset, tmp_path / "x.dcm")).data, STACK[:, :, :1]
    )


def test_deflated(tmp_path: Path) -> None:
    path = save(image(3), tmp_path / "x.dcm", uid.DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read_dicom(path).data, STACK[:, :, 3:4])
    limits = replace(DEFAULT_LIMITS, file_bytes=200)
    assert "inflates to more than 200 bytes" in refusal(path, limits=limits)


@pytest.mark.parametrize(
    ("syntax", "module"),
    [
        (uid.RLELossless, "pydicom"),
        (uid.JPEGLSLossless, "jpeg_ls"),
        (uid.JPEG2000Lossless, "openjpeg"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("frames", [1, 3])
def test_compressed(syntax: str, module: str, dtype: str, frames: int, tmp_path: Path) -> None:
    pytest.importorskip(module)
    low = 50 if dtype == "int16" else 0
    # The encoder of JPEG 2000 needs 32 rows and columns.
    stored = np.stack([np.tile(pixels(k % 2, dtype) - low, (8, 6)) for k in range(frames)])
    stored = stored.astype(dtype)
    dataset = multi_frame([place(k) for k in range(frames)], stored)
    save(dataset, tmp_path / "x.dcm")
    dataset.compress(syntax, generate_instance_uid=False)
    series = read_dicom(save(dataset, tmp_path / "x.dcm", syntax))
    assert series.data.dtype == dtype
    np.testing.assert_array_equal(series.data, stored.transpose(2, 1, 0))


HTJ2K = (
    "/0//UQApQAAAAAAGAAAABAAAAAAAAAAAAAAABgAAAAQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wA"
    "EyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAEgAAf+TwAAmcf0FB3QAAADAABKA"
    "OAGHdADAABHAABMAJ3MA5psAgjQAwAAmgABUgEjkgIt0ALp1dQAIQHdWAP/Z"
)
"""37 times 0 to 23, uint16, by OpenJPH."""


def test_high_throughput_jpeg_2000(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg")
    dataset = image(stored=pixels(0, "uint16"))
    dataset.PixelData = encapsulate([base64.b64decode(HTJ2K)])
    series = read_dicom(save(dataset, tmp_path / "x.dcm", uid.HTJ2KLossless))
    np.testing.assert_array_equal(series.data[:, :, 0], 37 * pixels(0).T)


def test_jpeg(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    stored = np.full((ROWS, COLUMNS), 77, np.uint8)
    code = io.BytesIO()
    pillow.fromarray(stored).save(code, "JPEG")
    dataset = image(stored=stored)
    dataset.PixelData = encapsulate([code.getvalue()])
    series = read_dicom(save(dataset, tmp_path / "x.dcm", uid.JPEGBaseline8Bit))
    np.testing.assert_array_equal(series.data, 77)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (uid.JPEGLosslessSV1, "python-gdcm"),
        (uid.JPEGExtended12Bit, "python-gdcm"),
        (uid.MPEG2MPML, "not supported"),
    ],
)
def test_what_cannot_be_decoded_names_the_package(
    syntax: str, package: str, tmp_path: Path
) -> None:
    dataset = image(BitsStored=12, HighBit=11)
    dataset.PixelData = encapsulate([b"12"])
    dataset["PixelData"].is_undefined_length = True
    path = save(dataset, tmp_path / "x.dcm", syntax)
    with pytest.raises(UnsupportedVolumeError, match=package):
        read_dicom(path)


def test_an_unknown_transfer_syntax(tmp_path: Path) -> None:
    path = save(image(), tmp_path / "x.dcm")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.1\0"))
    with pytest.raises(UnsupportedVolumeError, match=r"1\.2\.3\.4\.5\.6\.7\.8\.9\.1 is unknown"):
        read_dicom(path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0},
        {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0},
        {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63},
    ],
)
def test_unsupported_pixels(attributes: dict[str, Any], tmp_path: Path) -> None:
    path = save(image(**attributes), tmp_path / "x.dcm")
    with pytest.raises(UnsupportedVolumeError, match="not supported"):
        read_dicom(path)


def test_the_limits_of_voxels_and_slices(tmp_path: Path) -> None:
    save_all(images(), tmp_path)
    limits = replace(DEFAULT_LIMITS, voxels=ROWS * COLUMNS * 5)
    assert read_dicom(tmp_path, limits=limits).data.size == limits.voxels
    message = refusal(tmp_path, limits=replace(limits, voxels=limits.voxels - 1))
    assert "120 voxels; at most 119 are supported" in message
    message = refusal(tmp_path, limits=replace(limits, planes=4))
    assert "5 slices; at most 4 are supported" in message


# Attributes


def test_attributes_are_shared_or_of_a_frame(tmp_path: Path) -> None:
    files = images()
    for k, file in enumerate(files):
        file.AcquisitionTime = f"12000{k}"
        file.PatientName = "Müller^Jörg"
        file.SpecificCharacterSet = "ISO_IR 100"
        block = file.private_block(0x0029, "TEST", create=True)
        block.add_new(1, "LO", "equal")
        block.add_new(2, "SQ", Sequence([item(CodeValue="1", PatientComments=str(k))]))
        file.DataSetTrailingPadding = b"\0\0"
        file.add_new(0x7FE10010, "LO", "TRAILING")
        file.add_new(0x7FE11001, "LO", "behind the pixels")
    files[3].ContrastBolusAgent = "once"
    series = read_dicom(save_all(files, tmp_path))
    shared, frames = series.shared, series.frames
    assert str(shared.PatientName) == "Müller^Jörg"
    assert shared[0x00291001].value == "equal"
    assert shared[0x7FE11001].value == "behind the pixels"
    assert [frame[0x00291002].value[0].PatientComments for frame in frames] == list("01234")
    assert [frame.get("ContrastBolusAgent") for frame in frames] == [None, None, None, "once", None]
    assert sorted(element.keyword for element in frames[0] if element.keyword) == [
        "AcquisitionTime",
        "ImagePositionPatient",
        "SOPInstanceUID",
    ]
    assert "PixelData" not in shared
    assert "DataSetTrailingPadding" not in shared
    assert not hasattr(shared, "file_meta")


def test_equal_values_in_files_of_different_encodings_are_shared(tmp_path: Path) -> None:
    for k, file in enumerate(images(4)):
        syntax = uid.ImplicitVRLittleEndian if k % 2 else uid.ExplicitVRLittleEndian
        save(file, tmp_path / str(k), syntax)
    series = read_dicom(tmp_path)
    assert [len(frame) for frame in series.frames] == [2] * 4


def test_an_attribute_that_cannot_be_understood_is_kept_as_bytes(tmp_path: Path) -> None:
    dataset = image()
    dataset.add_new(0x00090010, "LO", "TEST")
    dataset.add_new(0x00091001, "LT", "12345678901234")
    path = save(dataset, tmp_path / "x.dcm")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x09\x00\x01\x10LT\x0e\x00", b"\x09\x00\x01\x10FD\x0e\x00"))
    element = read_dicom(path).shared[0x00091001]
    assert (element.VR, element.value) == ("UN", b"12345678901234")


def test_group_lengths_are_left_out(tmp_path: Path) -> None:
    dataset = image()
    dataset.add_new(0x00080000, "UL", 100)
    assert 0x00080000 not in read_dicom(save(dataset, tmp_path / "x.dcm")).shared


# Real files


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_padded.dcm",
        "examples_overlay.dcm",
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore:The pixel data is 8320 bytes long")
def test_stored_values_are_those_of_pydicom(name: str) -> None:
    if "jp" in name.lower() or "J2K" in name:
        pytest.importorskip("jpeg_ls" if "ls" in name else "openjpeg")
    path = get_testdata_file(name, download=False)
    series = read_dicom(path)
    np.testing.assert_array_equal(series.data[:, :, 0], pydicom.dcmread(path).pixel_array.T)


@pytest.fixture(scope="module")
def ct() -> DicomSeries:
    if not CT_ARCHIVE.exists():
        pytest.skip(f"{CT_ARCHIVE} is not there")
    return read_dicom(CT_ARCHIVE)


@pytest.fixture(scope="module")
def enhanced_mr() -> DicomSeries:
    if not ENHANCED_MR.exists():
        pytest.skip(f"{ENHANCED_MR} is not there")
    return read_dicom(ENHANCED_MR)


def test_a_ct_series(ct: DicomSeries) -> None:
    assert ct.data.shape == (241, 304, 97)
    assert ct.data.dtype == np.int16
    np.testing.assert_allclose(ct.spacing, (0.976562, 0.976562, 3.27), atol=1e-9)
    assert {element.keyword for element in ct.frames[0]} == {
        "ImagePositionPatient",
        "InstanceCreationTime",
        "InstanceNumber",
        "LargestImagePixelValue",
        "SOPInstanceUID",
        "SliceLocation",
    }
    positions = np.array([frame.ImagePositionPatient for frame in ct.frames], float)
    places = ct.affine @ [[0] * 97, [0] * 97, range(97), [1] * 97]
    np.testing.assert_allclose(places[:3].T, positions * (-1, -1, 1), atol=1e-6)


def test_an_enhanced_mr(enhanced_mr: DicomSeries) -> None:
    assert enhanced_mr.data.shape == (128, 128, 96)
    assert enhanced_mr.data.max() == enhanced_mr.shared.LargestImagePixelValue
    np.testing.assert_allclose(enhanced_mr.spacing, (2, 2, 2), atol=1e-4)
    x, y, z = enhanced_mr.frames[0].PlanePositionSequence[0].ImagePositionPatient
    np.testing.assert_allclose(enhanced_mr.affine[:3, 3], (-x, -y, z))


@pytest.mark.parametrize("fixture", ["ct", "enhanced_mr"])
def test_simpleitk_reads_the_same(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    series = request.getfixturevalue(fixture)
    if fixture == "ct":
        with tarfile.open(CT_ARCHIVE) as packed:
            packed.extractall(tmp_path, filter="data")
        folder = next(path.parent for path in tmp_path.rglob("*.dcm"))
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        other = sitk.ReadImage(names)
    else:
        other = sitk.ReadImage(str(ENHANCED_MR))
    voxels = sitk.GetArrayFromImage(other).T
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(other.GetDirection(), (3, 3)) * other.GetSpacing()
    matrix[:3, 3] = other.GetOrigin()
    matrix = np.diag([-1, -1, 1, 1]) @ matrix
    # GDCM's order along the normal may be the other.
    if np.dot(matrix[:3, 2], series.affine[:3, 2]) < 0:
        voxels = voxels[:, :, ::-1]
        matrix[:3, 3] += (voxels.shape[2] - 1) * matrix[:3, 2]
        matrix[:3, 2] *= -1
    corners = np.array([*itertools.product(*((0, n - 1) for n in voxels.shape))])
    corners = np.column_stack([corners, np.ones(8)]).T
    np.testing.assert_allclose(matrix @ corners, series.affine @ corners, atol=1e-6)
    np.testing.assert_array_equal(voxels, series.data)
