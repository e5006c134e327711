"""Series written as DICOM: what readers make of them, what the files say of themselves."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_samples import (
    OBLIQUE,
    SHARED,
    classic_series,
    enhanced_series,
    made_up,
    pydicom_file,
    read_series,
)
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from inrcodec import __version__
from inrcodec.errors import InputError, OutputError, UnsupportedVolumeError
from inrcodec.volume.dicom import write as module
from inrcodec.volume.dicom.conversion import nifti_geometry, series_from_nifti
from inrcodec.volume.dicom.derivation import Derivation
from inrcodec.volume.dicom.essential import essential
from inrcodec.volume.dicom.read import read_dicom
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.dicom.write import check_dicom_output, write_dicom
from inrcodec.volume.nifti import read_nifti, write_nifti
from inrcodec.volume.volume import Volume

DERIVATION = Derivation(1000.0)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM = 1e-4

MR = {"sop_class": uid.MRImageStorage, "modality": "MR", "RepetitionTime": 2000, "EchoTime": 30}
PET = {
    "sop_class": uid.PositronEmissionTomographyImageStorage,
    "modality": "PT",
    "dtype": "uint16",
    "RescaleSlope": [1.5, 2.25, 3.0, 4.0, 5.125],
    "RescaleIntercept": 0,
    "Units": "BQML",
    "DecayCorrection": "START",
    "DecayFactor": 1.5,
    "FrameReferenceTime": [100, 200, 300, 400, 500],
}
CAPTURE = {"sop_class": uid.SecondaryCaptureImageStorage, "modality": "OT", "dtype": "uint8"}


def in_time(**attributes: Any) -> DicomSeries:
    images = [
        image
        for t in range(3)
        for image in made_up(
            **MR,
            seed=t,
            TemporalPositionIdentifier=t + 1,
            NumberOfTemporalPositions=3,
            **attributes,
        )
    ]
    for image in images:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            image[keyword] = images[0][keyword]
    return classic_series(images, 3)


SERIES: dict[str, Callable[[], DicomSeries]] = {
    "ct": lambda: classic_series(made_up()),
    "ct of pydicom": lambda: classic_series([pydicom_file("CT_small.dcm")]),
    "mr of pydicom": lambda: classic_series([pydicom_file("MR_small.dcm")]),
    "oblique": lambda: classic_series(made_up(orientation=OBLIQUE, **MR)),
    "tilted": lambda: classic_series(made_up((9, 8, 7), step=(0, 1, 2.5), GantryDetectorTilt=21.8)),
    "pet": lambda: classic_series(made_up(**PET)),
    "in time": lambda: in_time(Manufacturer="Philips"),
    "capture": lambda: classic_series(made_up(**CAPTURE)),
}


@pytest.fixture(params=list(SERIES))
def series(request: pytest.FixtureRequest) -> DicomSeries:
    return SERIES[request.param]()


@pytest.fixture(scope="module")
def thigh(tmp_path_factory: pytest.TempPathFactory) -> DicomSeries:
    """A CT series of 97 slices."""
    path = SHARED / "ct_thigh_dicom_series.tar.gz"
    if not path.exists():
        pytest.skip("the shared volumes are not there")
    folder = tmp_path_factory.mktemp("thigh")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return classic_series(pydicom.dcmread(file) for file in folder.rglob("*.dcm"))


@pytest.fixture(scope="module")
def brain() -> DicomSeries:
    """An MR volume of 96 slices in one file."""
    path = SHARED / "mr_t1_enhanced_multiframe.dcm"
    if not path.exists():
        pytest.skip("the shared volumes are not there")
    return enhanced_series(pydicom.dcmread(path))


def written(series: DicomSeries, folder: Path, **options: Any) -> Path:
    path = folder / ("out.dcm" if options.get("enhanced") else "out")
    files = write_dicom(series, path, derivation=DERIVATION, **options)
    assert files == (len(list(path.iterdir())) if path.is_dir() else 1)
    return path


def images(path: Path) -> list[Dataset]:
    return [pydicom.dcmread(file) for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def volumes(series: DicomSeries) -> int:
    return series.data.shape[3] if series.data.ndim == 4 else 1


BOTH_WAYS = pytest.mark.parametrize("enhanced", [False, True], ids=["folder", "one file"])
BOTH_METADATA = pytest.mark.parametrize(
    "reduce", [lambda series: series, essential], ids=["full", "essential"]
)
Reduce = Callable[[DicomSeries], DicomSeries]

# What readers make of it


@BOTH_WAYS
@BOTH_METADATA
def test_pydicom_reads_the_same(
    series: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    path = written(reduce(series), tmp_path, enhanced=enhanced)
    back = read_series(path, volumes(series))
    assert back.data.dtype == series.data.dtype
    np.testing.assert_array_equal(back.data, series.data)
    np.testing.assert_allclose(back.affine, series.affine, rtol=0, atol=1e-12)


@BOTH_WAYS
@BOTH_METADATA
def test_our_own_reader_reads_the_same(
    series: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    back = read_dicom(written(reduce(series), tmp_path, enhanced=enhanced))
    np.testing.assert_array_equal(back.data, series.data)
    np.testing.assert_allclose(back.affine, series.affine, rtol=0, atol=1e-12)
    again = read_dicom(written(reduce(back), tmp_path, enhanced=not enhanced))
    np.testing.assert_array_equal(again.data, series.data)
    np.testing.assert_allclose(again.affine, series.affine, rtol=0, atol=1e-12)


def sitk_read(path: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Affine (RAS) and values, after the rescale, that SimpleITK reads."""
    sitk = pytest.importorskip("SimpleITK")
    if path.is_dir():
        image = sitk.ReadImage([str(file) for file in sorted(path.iterdir())])
    else:
        image = sitk.ReadImage(str(path))
    directions = np.reshape(image.GetDirection(), (3, 3))
    found = np.eye(4)
    found[:3, :3] = directions * image.GetSpacing()
    found[:3, 3] = image.GetOrigin()
    return LPS @ found, sitk.GetArrayFromImage(image).T


@pytest.mark.parametrize("name", ["ct", "oblique", "capture", "pet"])
@BOTH_WAYS
@BOTH_METADATA
def test_simpleitk_reads_the_same(
    name: str, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    series = SERIES[name]()
    found, values = sitk_read(written(reduce(series), tmp_path, enhanced=enhanced))
    np.testing.assert_allclose(found, series.affine, rtol=0, atol=MM)
    if name != "pet":
        np.testing.assert_array_equal(values, series.data)
    elif not enhanced:  # it applies the rescale of the first frame to all frames of one file
        np.testing.assert_allclose(values, series.data * PET["RescaleSlope"])


def dcm2niix(path: Path, folder: Path) -> list[nib.Nifti1Image]:
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    folder.mkdir()
    options = ["-z", "n", "-b", "n", "-f", "out", "-o", folder]
    subprocess.run(["dcm2niix", *options, path], check=True, capture_output=True)
    return [nib.load(file) for file in sorted(folder.glob("*.nii"))]


def along_axes_of(series: DicomSeries, image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The image with its axes in the order and direction of the series'."""
    wanted = nib.orientations.io_orientation(series.affine)
    found = nib.orientations.io_orientation(image.affine)
    turn = nib.orientations.ornt_transform(found, wanted)
    return image.as_reoriented(turn)


@pytest.mark.parametrize("name", ["ct", "oblique", "capture", "in time"])
@BOTH_WAYS
@BOTH_METADATA
def test_dcm2niix_reads_the_same(name: str, tmp_path: Path, reduce: Reduce, enhanced: bool) -> None:
    series = SERIES[name]()
    (image,) = dcm2niix(written(reduce(series), tmp_path, enhanced=enhanced), tmp_path / "nii")
    turned = along_axes_of(series, image)
    np.testing.assert_allclose(turned.affine, series.affine, rtol=0, atol=MM)
    np.testing.assert_array_equal(turned.dataobj, series.data)


@BOTH_METADATA
def test_dcm2niix_sees_the_tilt(tmp_path: Path, reduce: Reduce) -> None:
    series = SERIES["tilted"]()
    path = written(reduce(series), tmp_path)
    found = dcm2niix(path, tmp_path / "nii")
    # It writes the volume as it is, and another one whose slices are moved upright.
    assert len(found) == 2
    turned = along_axes_of(series, min(found, key=lambda image: image.shape))
    np.testing.assert_allclose(turned.affine, series.affine, rtol=0, atol=MM)
    np.testing.assert_array_equal(turned.dataobj, series.data)


@BOTH_METADATA
def test_dcm2niix_applies_the_rescale_of_each_slice(tmp_path: Path, reduce: Reduce) -> None:
    series = SERIES["pet"]()
    (image,) = dcm2niix(written(reduce(series), tmp_path), tmp_path / "nii")
    values = along_axes_of(series, nib.Nifti1Image(image.get_fdata(), image.affine)).get_fdata()
    np.testing.assert_allclose(values, series.data * PET["RescaleSlope"], rtol=1e-6)


@BOTH_WAYS
@BOTH_METADATA
def test_readers_agree_on_a_scan(
    thigh: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    path = written(reduce(thigh), tmp_path, enhanced=enhanced)
    back = read_series(path)
    np.testing.assert_array_equal(back.data, thigh.data)
    np.testing.assert_allclose(back.affine, thigh.affine, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sitk_read(path)[0], thigh.affine, rtol=0, atol=MM)
    (image,) = dcm2niix(path, tmp_path / "nii")
    np.testing.assert_allclose(along_axes_of(thigh, image).affine, thigh.affine, rtol=0, atol=MM)


@BOTH_WAYS
@BOTH_METADATA
def test_readers_agree_on_a_scan_in_one_file(
    brain: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    path = written(reduce(brain), tmp_path, enhanced=enhanced)
    back = read_series(path)
    np.testing.assert_array_equal(back.data, brain.data)
    np.testing.assert_allclose(back.affine, brain.affine, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sitk_read(path)[0], brain.affine, rtol=0, atol=MM)
    (image,) = dcm2niix(path, tmp_path / "nii")
    turned = along_axes_of(brain, image)
    np.testing.assert_allclose(turned.affine[:3, :3], brain.affine[:3, :3], rtol=0, atol=1.5e-4)
    np.testing.assert_array_equal(turned.dataobj, brain.data)


# Whether it is valid


def dciodvfy(path: Path) -> set[str]:
    """The errors that dciodvfy finds in a file, or in the first of a folder."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    file = min(path.iterdir()) if path.is_dir() else path
    result = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True)
    lines = (result.stdout + result.stderr).splitlines()
    return {line for line in lines if line.startswith("Error")}


@BOTH_WAYS
@BOTH_METADATA
def test_valid(series: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool) -> None:
    assert not dciodvfy(written(reduce(series), tmp_path, enhanced=enhanced))


@BOTH_WAYS
def test_essential_scans_are_valid(
    thigh: DicomSeries, brain: DicomSeries, tmp_path: Path, enhanced: bool
) -> None:
    for series in (thigh, brain):
        assert not dciodvfy(written(essential(series), tmp_path, enhanced=enhanced, overwrite=True))


def test_full_scans_are_as_valid_as_they_were(
    thigh: DicomSeries, brain: DicomSeries, tmp_path: Path
) -> None:
    before = dciodvfy(SHARED / "mr_t1_enhanced_multiframe.dcm")
    after = dciodvfy(written(brain, tmp_path, enhanced=True))
    # Attributes of the acquisition stay, though the standard has them in original images alone.
    assert all("may not be present otherwise" in error for error in after - before)
    # The source's StudyID has 17 characters, and BodyPartExamined demands Laterality.
    assert all("StudyID" in e or "Laterality" in e for e in dciodvfy(written(thigh, tmp_path)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_every_type(tmp_path: Path, dtype: str) -> None:
    series = classic_series(made_up((5, 3, 3), **CAPTURE | {"dtype": dtype}))
    back = read_series(written(essential(series), tmp_path))
    assert back.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back.data, series.data)


def test_files_are_explicit_little_endian_and_named_by_position(tmp_path: Path) -> None:
    images_of_series = made_up()
    path = written(classic_series(images_of_series), tmp_path)
    assert [file.name for file in sorted(path.iterdir())] == [f"IM{z:04}.dcm" for z in range(1, 6)]
    for number, (image, source) in enumerate(zip(images(path), images_of_series, strict=True), 1):
        assert image.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.InstanceNumber == number
        assert image.ImagePositionPatient == source.ImagePositionPatient


def test_files_of_a_series_in_time(tmp_path: Path) -> None:
    path = written(in_time(), tmp_path)
    names = [file.name for file in sorted(path.iterdir())]
    assert names == [f"T00{t}_IM000{z}.dcm" for t in range(1, 4) for z in range(1, 6)]
    assert [image.TemporalPositionIdentifier for image in images(path)[::5]] == [1, 2, 3]
    assert [image.InstanceNumber for image in images(path)] == list(range(1, 16))


def test_what_told_volumes_apart_still_does(tmp_path: Path) -> None:
    volumes = [made_up(**MR | {"EchoTime": 10 * t}, seed=t) for t in (1, 2)]
    series = classic_series([image for images in volumes for image in images], 2)
    found = images(written(essential(series), tmp_path))
    assert [image.EchoTime for image in found[::5]] == [10, 20]
    assert not any("TemporalPositionIdentifier" in image for image in found)


def test_volumes_that_nothing_tells_apart_are_numbered(tmp_path: Path) -> None:
    series = classic_series([i for t in range(2) for i in made_up(**MR, seed=t)], 2)
    found = images(written(essential(series), tmp_path))
    assert [image.TemporalPositionIdentifier for image in found[::5]] == [1, 2]
    assert {image.NumberOfTemporalPositions for image in found} == {2}


def test_dimensions_of_one_file_in_time(tmp_path: Path) -> None:
    (image,) = images(written(essential(in_time()), tmp_path, enhanced=True))
    keywords = [
        pydicom.datadict.keyword_for_tag(item.DimensionIndexPointer)
        for item in image.DimensionIndexSequence
    ]
    assert keywords == ["StackID", "TemporalPositionIndex", "InStackPositionNumber"]
    indices = [
        list(frame.FrameContentSequence[0].DimensionIndexValues)
        for frame in image.PerFrameFunctionalGroupsSequence
    ]
    assert indices == [[1, t, z] for t in range(1, 4) for z in range(1, 6)]


# Stored values


@BOTH_WAYS
def test_rescale_of_each_slice(tmp_path: Path, enhanced: bool) -> None:
    back = read_series(written(essential(SERIES["pet"]()), tmp_path, enhanced=enhanced))
    holders = [
        frame.PixelValueTransformationSequence[0] if enhanced else frame for frame in back.frames
    ]
    assert [holder.RescaleSlope for holder in holders] == PET["RescaleSlope"]


def test_monochrome1_stays(tmp_path: Path) -> None:
    series = classic_series(made_up(**CAPTURE, PhotometricInterpretation="MONOCHROME1"))
    (image, *_) = images(written(essential(series), tmp_path))
    assert image.PhotometricInterpretation == "MONOCHROME1"
    with pytest.raises(OutputError, match="no form of many frames; name a folder"):
        written(series, tmp_path, enhanced=True)


@pytest.mark.parametrize(
    ("low", "high", "stored"), [(-2048, 2047, 12), (-2049, 0, 16), (0, 2048, 16)]
)
def test_bits_stored(tmp_path: Path, low: int, high: int, stored: int) -> None:
    series = classic_series(made_up(BitsStored=12, HighBit=11))
    series.data[:] = 0
    series.data[0, 0, 0], series.data[1, 1, 1] = low, high
    (image, *_) = images(written(series, tmp_path))
    assert (image.BitsAllocated, image.BitsStored, image.HighBit) == (16, stored, stored - 1)
    assert image.PixelRepresentation == 1


@BOTH_WAYS
def test_padding_window_and_units_stay(tmp_path: Path, enhanced: bool) -> None:
    series = classic_series(
        made_up(PixelPaddingValue=-2000, WindowCenter=40, WindowWidth=400, RescaleType="HU",
                RescaleSlope=1, RescaleIntercept=-1024)
    )  # fmt: skip
    series.shared["PixelPaddingValue"].VR = "SS"
    (image, *_) = images(written(essential(series), tmp_path, enhanced=enhanced))
    window = rescale = image
    if enhanced:
        (groups,) = image.SharedFunctionalGroupsSequence
        (window,) = groups.FrameVOILUTSequence
        (rescale,) = groups.PixelValueTransformationSequence
    assert image.PixelPaddingValue == -2000
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)
    assert (rescale.RescaleSlope, rescale.RescaleIntercept) == (1, -1024)
    assert rescale.RescaleType == "HU"


def test_extremes_are_those_of_the_new_pixels(tmp_path: Path) -> None:
    series = classic_series(made_up(SmallestImagePixelValue=7, LargestImagePixelValue=9))
    for element in (series.shared["SmallestImagePixelValue"],):
        element.VR = "SS"
    for z, image in enumerate(images(written(series, tmp_path))):
        assert image.SmallestImagePixelValue == series.data[..., z].min()
        assert image.LargestImagePixelValue == series.data[..., z].max()


# What the files say of how they came about


@BOTH_WAYS
@BOTH_METADATA
def test_lossy_compression_is_told(tmp_path: Path, reduce: Reduce, enhanced: bool) -> None:
    for image in images(written(reduce(SERIES["ct"]()), tmp_path, enhanced=enhanced)):
        assert image.LossyImageCompression == "01"
        assert image.LossyImageCompressionRatio == 1000
        assert image.LossyImageCompressionMethod == "INRCODEC_MOEC_1"
        assert image.ImageType[:2] == ["DERIVED", "PRIMARY"]
        (equipment,) = image.ContributingEquipmentSequence
        assert equipment.Manufacturer == "inrcodec"
        assert equipment.SoftwareVersions == __version__
        described = image
        if enhanced and reduce is not essential:
            described = image.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
            frame = image.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0]
            assert frame.FrameType[0] == "DERIVED"
        assert described.DerivationDescription == DERIVATION.description
        (code,) = described.DerivationCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("113040", "DCM")


@BOTH_METADATA
@BOTH_WAYS
def test_lossy_history_is_appended_to(tmp_path: Path, reduce: Reduce, enhanced: bool) -> None:
    series = classic_series(
        made_up(
            LossyImageCompression="01",
            LossyImageCompressionRatio=12.5,
            LossyImageCompressionMethod="ISO_15444_1",
            DerivationDescription="before",
        )
    )
    path = written(reduce(series), tmp_path, enhanced=enhanced)
    again = tmp_path / "again"
    write_dicom(reduce(read_series(path)), again, derivation=Derivation(30.0, "OTHER"))
    for image in images(again):
        assert image.LossyImageCompression == "01"
        assert image.LossyImageCompressionRatio == [12.5, 1000, 30]
        assert image.LossyImageCompressionMethod == ["ISO_15444_1", "INRCODEC_MOEC_1", "OTHER"]
        if reduce is not essential:
            assert image.DerivationDescription.startswith("before; ")
            assert len(image.DerivationCodeSequence) == 2
            assert len(image.SourceImageSequence) == 2


def test_lossy_history_with_gaps_stays_aligned(tmp_path: Path) -> None:
    series = classic_series(made_up(LossyImageCompression="01", LossyImageCompressionRatio=12.5))
    (image, *_) = images(written(series, tmp_path))
    assert image.LossyImageCompressionRatio == [12.5, 1000]
    assert image.LossyImageCompressionMethod == ["", "INRCODEC_MOEC_1"]


def test_a_long_description_is_cut_before_the_new_one(tmp_path: Path) -> None:
    series = classic_series(made_up(DerivationDescription="x" * 1024))
    (image, *_) = images(written(series, tmp_path))
    assert len(image.DerivationDescription) == 1024
    assert image.DerivationDescription.endswith(f"x; {DERIVATION.description}")


@BOTH_WAYS
def test_sources_are_named(tmp_path: Path, enhanced: bool) -> None:
    originals = made_up()
    series = classic_series(originals)
    found = images(written(series, tmp_path, enhanced=enhanced))
    if enhanced:
        (evidence,) = found[0].SourceImageEvidenceSequence
        assert evidence.StudyInstanceUID == originals[0].StudyInstanceUID
        (series_item,) = evidence.ReferencedSeriesSequence
        assert series_item.SeriesInstanceUID == originals[0].SeriesInstanceUID
        assert len(series_item.ReferencedSOPSequence) == 5
        groups = found[0].PerFrameFunctionalGroupsSequence
        holders = [frame.DerivationImageSequence[0] for frame in groups]
    else:
        holders = found
    for holder, original in zip(holders, originals, strict=True):
        (item,) = holder.SourceImageSequence
        assert item.ReferencedSOPClassUID == original.SOPClassUID
        assert item.ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"


def test_a_frame_names_the_file_it_was_in(tmp_path: Path) -> None:
    path = written(SERIES["ct"](), tmp_path, enhanced=True)
    (source,) = images(path)
    for image in images(written(read_series(path), tmp_path)):
        assert image.SOPClassUID == uid.CTImageStorage
        assert image.SourceImageSequence[-1].ReferencedSOPClassUID == source.SOPClassUID
        assert image.SourceImageSequence[-1].ReferencedSOPInstanceUID == source.SOPInstanceUID


@pytest.mark.parametrize(
    "values",
    [
        {"ratio": 0.0},
        {"ratio": float("nan")},
        {"ratio": 2.0, "method": "moec"},
        {"ratio": 2.0, "method": "SEVENTEEN_LETTERS"},
        {"ratio": 2.0, "description": "é"},
        {"ratio": 2.0, "description": "x" * 513},
    ],
)
def test_derivations_that_no_attribute_can_hold(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Derivation(**values)


# UIDs

INSTANCE_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


def uids(path: Path) -> list[tuple[str, ...]]:
    return [tuple(image[keyword].value for keyword in INSTANCE_UIDS) for image in images(path)]


@BOTH_WAYS
@BOTH_METADATA
def test_uids_are_valid_and_new(tmp_path: Path, reduce: Reduce, enhanced: bool) -> None:
    originals = made_up()
    path = written(reduce(classic_series(originals)), tmp_path, enhanced=enhanced)
    instances, series, study, space = zip(*uids(path), strict=True)
    assert len(set(instances)) == len(instances)
    assert len(set(series)) == len(set(study)) == len(set(space)) == 1
    for name in (*instances, series[0]):
        assert uid.UID(name).is_valid
        assert name.startswith("2.25.")
        assert len(name) <= 64
    # The study and the space are the source's where it is known.
    kept = reduce is not essential
    assert (study[0] == originals[0].StudyInstanceUID) is kept
    assert (space[0] == originals[0].FrameOfReferenceUID) is kept
    assert series[0] != originals[0].SeriesInstanceUID
    assert len({instances[0], series[0], study[0], space[0]}) == 4


@BOTH_WAYS
@BOTH_METADATA
def test_random_uids_differ_and_deterministic_files_are_equal(
    series: DicomSeries, tmp_path: Path, reduce: Reduce, enhanced: bool
) -> None:
    def contents(name: str, **options: Any) -> list[bytes]:
        (tmp_path / name).mkdir()
        path = written(reduce(series), tmp_path / name, enhanced=enhanced, **options)
        return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]

    assert contents("a", deterministic=True) == contents("b", deterministic=True)
    contents("c")
    contents("d")
    name = "out.dcm" if enhanced else "out"
    for one, other in zip(uids(tmp_path / "c" / name), uids(tmp_path / "d" / name), strict=True):
        assert one[0] != other[0]
        assert one[1] != other[1]


def test_deterministic_uids_follow_from_all_that_is_written(tmp_path: Path) -> None:
    def series_uid(name: str, series: DicomSeries, derivation: Derivation = DERIVATION) -> str:
        path = tmp_path / name
        write_dicom(series, path, derivation=derivation, deterministic=True)
        return str(images(path)[0].SeriesInstanceUID)

    base = essential(SERIES["ct"]())
    other_voxel = essential(SERIES["ct"]())
    other_voxel.data[0, 0, 0] ^= 1
    other_window = essential(classic_series(made_up(WindowCenter=1, WindowWidth=2)))
    found = {
        series_uid("a", base),
        series_uid("b", other_voxel),
        series_uid("c", other_window),
        series_uid("d", base, Derivation(999.0)),
    }
    assert len(found) == 4


# Full metadata

NOT_KEPT = {
    *module._OF_THE_SOURCE,
    "ContributingEquipmentSequence",
    "DerivationCodeSequence",
    "DerivationDescription",
    "ImageType",
    "InstanceNumber",
    "LargestImagePixelValue",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "LossyImageCompressionRatio",
    "PixelData",
    "SeriesInstanceUID",
    "SmallestImagePixelValue",
    "SOPInstanceUID",
    "SourceImageSequence",
}


def test_full_metadata_comes_back_equal(tmp_path: Path) -> None:
    originals = made_up(Manufacturer="Müller", PatientName="Buc^Jérôme", ImageComments="naïve")
    for z, image in enumerate(originals):
        image.SpecificCharacterSet = "ISO_IR 100"
        nested = Dataset()
        nested.CodeMeaning = "größer"
        block = image.private_block(0x0011, "MAKER A", create=True)
        block.add_new(0x01, "SQ", Sequence([nested]))
        block.add_new(0x02, "FD", z / 3)
        block.add_new(0x03, "UN", b"\1\2\3")
        image.private_block(0x0011, "MAKER B", create=True).add_new(0x01, "LO", "b")
    path = written(classic_series(originals), tmp_path)
    for image, original in zip(images(path), originals, strict=True):
        kept = {e.tag: e for e in original if e.keyword not in NOT_KEPT}
        assert {e.tag: e for e in image if e.tag in kept} == kept
        assert image.PatientName == "Buc^Jérôme"


def test_other_character_sets(tmp_path: Path) -> None:
    for name in ("chrH31.dcm", "chrX1.dcm", "chrKoreanMulti.dcm"):
        path = pydicom.data.get_charset_files(name)[0]
        source = pydicom.dcmread(path)
        originals = made_up((2, 2, 2))
        for image in originals:
            image.SpecificCharacterSet = source.SpecificCharacterSet
            image["PatientName"] = source["PatientName"]
        for image in images(written(classic_series(originals), tmp_path, overwrite=True)):
            assert image.PatientName == source.PatientName


def test_attributes_without_a_functional_group_are_kept(tmp_path: Path) -> None:
    originals = made_up(KVP=120, ContentTime=[f"1011{z:02}" for z in range(5)])
    for z, image in enumerate(originals):
        image.private_block(0x0011, "MAKER", create=True).add_new(0x01, "IS", z)
    (image,) = images(written(classic_series(originals), tmp_path, enhanced=True))
    (shared,) = image.SharedFunctionalGroupsSequence
    assert shared.UnassignedSharedConvertedAttributesSequence[0].KVP == 120
    for z, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        (unassigned,) = frame.UnassignedPerFrameConvertedAttributesSequence
        assert unassigned.ContentTime == f"1011{z:02}"
        assert unassigned.private_block(0x0011, "MAKER")[0x01].value == z
        (source,) = frame.ConversionSourceAttributesSequence
        assert source.ReferencedSOPInstanceUID == originals[z].SOPInstanceUID


def test_there_and_back_again(series: DicomSeries, tmp_path: Path) -> None:
    """From a folder to one file to a folder: what was there before still is."""
    one = read_series(written(series, tmp_path, enhanced=True), volumes(series))
    back = images(written(one, tmp_path))
    for index, image in enumerate(back):
        source = Dataset()
        source.update(series.shared)
        source.update(series.frames[index])
        for element in source:
            # PET says how the patient lay in another way.
            pet = image.Modality == "PT" and element.keyword == "PatientPosition"
            if element.keyword not in NOT_KEPT and not element.tag.is_private and not pet:
                assert image[element.tag].value == element.value, element


def test_blocks_of_two_makers_do_not_mix(tmp_path: Path) -> None:
    (image,) = images(written(SERIES["ct"](), tmp_path, enhanced=True))
    image.private_block(0x0021, "TOP", create=True).add_new(0x01, "LO", "top")
    for z, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        frame.private_block(0x0021, "FRAME", create=True).add_new(0x01, "LO", str(z))
    for z, found in enumerate(images(written(enhanced_series(image), tmp_path))):
        assert found.private_block(0x0021, "TOP")[0x01].value == "top"
        assert found.private_block(0x0021, "FRAME")[0x01].value == str(z)


def test_enhanced_mr_becomes_mr(brain: DicomSeries, tmp_path: Path) -> None:
    (image, *_) = images(written(brain, tmp_path))
    assert image.SOPClassUID == uid.MRImageStorage
    assert image.ImageType[:3] == ["DERIVED", "PRIMARY", "M"]
    assert image.ScanningSequence == ["GR", "IR"]
    assert (image.RepetitionTime, image.FlipAngle) == (1800, 9)
    assert image.PatientName == brain.shared.PatientName
    assert "NumberOfFrames" not in image


def test_signatures_of_the_source_are_gone(tmp_path: Path) -> None:
    item = Dataset()
    item.MACIDNumber = 1
    series = classic_series(
        made_up(DigitalSignaturesSequence=Sequence([item]), InstanceCreationDate="20200101")
    )
    (image, *_) = images(written(series, tmp_path))
    assert "DigitalSignaturesSequence" not in image
    assert "InstanceCreationDate" not in image


# Whole or not at all


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_exists_stays_without_overwrite(tmp_path: Path) -> None:
    series = SERIES["ct"]()
    path = written(series, tmp_path)
    before = uids(path)
    with pytest.raises(OutputError, match="out: is not empty; use --force to replace it"):
        written(series, tmp_path)
    assert uids(path) == before
    file = written(series, tmp_path, enhanced=True)
    with pytest.raises(OutputError, match=r"out\.dcm: exists already; use --force"):
        written(series, file.parent, enhanced=True)
    with pytest.raises(OutputError, match="is a file; name a folder"):
        write_dicom(series, file, derivation=DERIVATION)
    with pytest.raises(OutputError, match="is a folder; name a file"):
        write_dicom(series, path, derivation=DERIVATION, enhanced=True)
    assert names(tmp_path) == ["out", "out.dcm"]


def test_overwrite_replaces_a_folder_of_files_such_as_these(tmp_path: Path) -> None:
    path = written(in_time(), tmp_path)
    written(SERIES["ct"](), tmp_path, overwrite=True)
    assert names(path) == [f"IM{z:04}.dcm" for z in range(1, 6)]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "name", ["thesis.txt", "IM0001.DCM", "IM1.dcm", ".hidden", "T1_IM0001.dcm"]
)
def test_overwrite_spares_all_other_folders(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / name).write_text("precious")
    with pytest.raises(OutputError, match="which no decoded series does; name another folder"):
        written(SERIES["ct"](), tmp_path, overwrite=True)
    assert names(path) == [name]


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    written(SERIES["ct"](), tmp_path)
    assert len(names(tmp_path / "out")) == 5


def test_folder_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="cannot be replaced from within; name a new folder"):
        check_dicom_output(Path("."))


def test_missing_parent(tmp_path: Path) -> None:
    for enhanced in (False, True):
        with pytest.raises(OutputError, match="does not exist; create it first"):
            check_dicom_output(tmp_path / "none" / "out", enhanced=enhanced)


def test_name_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        check_dicom_output(tmp_path / ("a" * 300))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
    ids=["full disk", "Ctrl-C", "memory"],
)
@BOTH_WAYS
def test_failure_leaves_everything_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    overwrite: bool,
    enhanced: bool,
) -> None:
    if overwrite:
        path = written(SERIES["ct"](), tmp_path, enhanced=enhanced)
        before = uids(path)
    fsync = os.fsync
    calls = iter(range(100))

    def failing(descriptor: int) -> None:
        if next(calls) == (0 if enhanced else 3):
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(raised) as caught:
        written(SERIES["ct"](), tmp_path, enhanced=enhanced, overwrite=overwrite)
    if raised is OutputError:
        assert str(caught.value).endswith("cannot be written: No space left on device")
    assert names(tmp_path) == ([path.name] if overwrite else [])
    assert not overwrite or uids(path) == before


def test_old_folder_is_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(SERIES["ct"](), tmp_path)
    before = uids(path)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == path.resolve() and not self.name.endswith("-old"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        written(SERIES["ct"](), tmp_path, overwrite=True)
    assert uids(path) == before
    assert names(tmp_path) == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@BOTH_WAYS
def test_full_disk(small_disk: Path, enhanced: bool) -> None:
    series = classic_series(made_up((100, 100, 20)))
    with pytest.raises(OutputError, match=r"cannot be written: No space left on device$"):
        written(series, small_disk, enhanced=enhanced)
    assert names(small_disk) == []


# What cannot be written


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("Rows", "UI", "no UID at all"),
        ("SpacingBetweenSlices", "FD", "text"),
        ("EchoTrainLength", "US", 70000),
        ("SharedFunctionalGroupsSequence", "LO", "text"),
        ("ContributingEquipmentSequence", "LO", "text"),
        ("LossyImageCompressionRatio", "LO", "text"),
        ("SOPClassUID", "LO", "1.2"),
        ("PixelPaddingValue", "US or SS", "x"),
    ],
)
@BOTH_WAYS
def test_damaged_attributes(
    tmp_path: Path, keyword: str, vr: str, value: Any, enhanced: bool
) -> None:
    series = SERIES["ct"]()
    tag = pydicom.tag.Tag(keyword)
    series.shared[tag] = pydicom.DataElement(tag, vr, value, already_converted=True)
    try:
        written(series, tmp_path, enhanced=enhanced)
    except OutputError as error:
        assert "\n" not in str(error)
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    written(essential(series), tmp_path, overwrite=True)


def test_floats_are_refused(tmp_path: Path) -> None:
    series = SERIES["ct"]()
    floats = DicomSeries(series.data.astype("f4"), series.shared, series.frames, enhanced=False)
    with pytest.raises(OutputError, match="float32 voxels cannot be written as DICOM"):
        written(floats, tmp_path)


def test_too_large_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PIXEL_BYTES", 100)
    with pytest.raises(OutputError, match="over 4 GiB for one file; name a folder"):
        written(SERIES["ct"](), tmp_path, enhanced=True)


# NIfTI


def nifti_of(series: DicomSeries, path: Path) -> nib.Nifti1Image:
    write_nifti(Volume(series.data, nifti_geometry(series), None, "series"), path)
    return nib.load(path)


@pytest.mark.parametrize("name", ["ct", "oblique", "tilted", "in time", "capture"])
@BOTH_METADATA
def test_nifti_of_dicom(name: str, tmp_path: Path, reduce: Reduce) -> None:
    series = SERIES[name]()
    image = nifti_of(reduce(series), tmp_path / "out.nii")
    np.testing.assert_array_equal(image.dataobj, series.data)
    np.testing.assert_allclose(image.affine, series.affine, rtol=0, atol=1e-5)
    assert image.get_sform(coded=True)[1] == 1
    qform, code = image.get_qform(coded=True)
    if name == "tilted":
        assert code == 0
    else:
        assert code == 1
        np.testing.assert_allclose(qform, series.affine, rtol=0, atol=1e-5)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_nifti_has_the_rescale_and_the_step_in_time(tmp_path: Path) -> None:
    series = in_time(RescaleSlope=2.5, RescaleIntercept=-7, TemporalResolution=1500)
    image = nifti_of(series, tmp_path / "out.nii")
    assert (image.dataobj.slope, image.dataobj.inter) == (2.5, -7)
    assert image.header.get_zooms()[3] == 1.5
    triggered = classic_series(
        [i for t in range(3) for i in made_up(**MR, TriggerTime=40 * t, seed=t)], 3
    )
    assert nifti_of(triggered, tmp_path / "out.nii").header.get_zooms()[3] == pytest.approx(0.04)
    assert nifti_of(in_time(), tmp_path / "out.nii").header.get_zooms()[3] == 0


def test_what_nifti_cannot_hold() -> None:
    with pytest.raises(UnsupportedVolumeError, match="rescale differs between slices"):
        nifti_geometry(SERIES["pet"]())
    lut = Dataset()
    lut.LUTDescriptor = [2, 0, 16]
    series = classic_series(made_up(ModalityLUTSequence=Sequence([lut])))
    with pytest.raises(UnsupportedVolumeError, match="lookup table"):
        nifti_geometry(series)
    uneven = made_up()
    uneven[2].ImagePositionPatient[2] += 0.5
    with pytest.raises(UnsupportedVolumeError, match=r"up to 0\.5 mm off equal steps"):
        nifti_geometry(classic_series(uneven))
    # In memory, where the series is at hand, they have what they can.
    assert nifti_geometry(SERIES["pet"](), strict=False).scl_slope == 0
    assert nifti_geometry(series, strict=False).scl_slope == 0
    assert nifti_geometry(classic_series(uneven), strict=False).spacing(3) == (0.75, 0.5, 2.5)


def test_slices_that_the_header_piles_up() -> None:
    piled = classic_series(made_up(step=(0, 0, 0)))
    with pytest.raises(InputError, match="all slices lie at one position"):
        nifti_geometry(piled)


def random_affine(seed: int, spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    found = np.eye(4)
    found[:3, :3] = rotation * spacing
    found[:3, 3] = random.normal(0, 100, 3)
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_dicom_of_nifti_and_back(tmp_path: Path, seed: int, dtype: str) -> None:
    values = np.random.default_rng(seed).integers(0, 255, (6, 5, 4, 2)[: 3 + seed % 2])
    image = nib.Nifti1Image(values.astype(dtype), random_affine(seed, (0.7, 1.1, 3.0)))
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 1250
    image.header.set_slope_inter(0.5, -3)
    image.header["cal_min"], image.header["cal_max"] = 0, 80
    nib.save(image, tmp_path / "in.nii")
    volume = read_nifti(tmp_path / "in.nii")
    path = written(series_from_nifti(volume), tmp_path)
    (first, *_) = images(path)
    assert (first.Modality, first.SOPClassUID) == ("OT", uid.SecondaryCaptureImageStorage)
    assert first.ImageType == ["DERIVED", "SECONDARY"]
    assert (first.RescaleSlope, first.RescaleIntercept) == (0.5, -3)
    assert (first.WindowCenter, first.WindowWidth) == (40, 80)
    back = nifti_of(read_series(path, 2 if seed % 2 else 1), tmp_path / "back.nii")
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(back.affine), nib.io_orientation(image.affine)
    )
    assert (back.dataobj.slope, back.dataobj.inter) == (0.5, -3)
    turned = nib.Nifti1Image(back.dataobj.get_unscaled(), back.affine).as_reoriented(turn)
    np.testing.assert_allclose(turned.affine, image.affine, rtol=0, atol=MM)
    np.testing.assert_array_equal(turned.dataobj, volume.data)
    if seed % 2:
        assert back.header.get_zooms()[3] == pytest.approx(1.25)


def test_images_of_nifti_are_upright(tmp_path: Path) -> None:
    """Rows run to the left, columns to the back: how an axial slice is looked at."""
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "in.nii")
    series = series_from_nifti(read_nifti(tmp_path / "in.nii"))
    assert series.shared.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert [frame.ImagePositionPatient[2] for frame in series.frames] == [0, 3, 6]
    np.testing.assert_array_equal(series.data, values[::-1, ::-1])


def test_fewer_axes(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((5, 4), np.int16), np.eye(4)), tmp_path / "in.nii")
    assert series_from_nifti(read_nifti(tmp_path / "in.nii")).data.shape == (5, 4, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": np.float32}, "float32 voxels"),
        ({"dtype": np.int8}, "int8 voxels"),
        ({"codes": 0}, "does not say where the voxels lie"),
        ({"affine": np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])}, "right angles"),
        ({"affine": np.zeros((3, 4))}, "places no voxels"),
        ({"affine": np.full((3, 4), np.nan)}, "places no voxels"),
        ({"affine": np.full((3, 4), 1e12)}, "places no voxels"),
    ],
)
def test_what_dicom_cannot_hold(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    image = nib.Nifti1Image(np.ones((5, 4, 3), change.get("dtype", np.int16)), np.eye(4))
    header = image.header
    header["vox_offset"] = 352
    header["sform_code"] = change.get("codes", 1)
    header["qform_code"] = 0
    for name, row in zip(
        ("srow_x", "srow_y", "srow_z"), change.get("affine", np.eye(4)), strict=False
    ):
        header[name] = row
    path = tmp_path / "in.nii"
    path.write_bytes(header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes("F"))
    with pytest.raises(UnsupportedVolumeError, match=reason):
        series_from_nifti(read_nifti(path))
