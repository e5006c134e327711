"""DICOM through the whole codec: series to .moec and back, and its two chunks."""

from __future__ import annotations

import json
import os
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from dicom_files import image, item, multi_frame, place, position, save, save_all
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from inrcodec import encoding
from inrcodec.bitstream.container import ChunkType, parse_container
from inrcodec.bitstream.dicom import decode_dicom_header, encode_dicom_header, parse_dicom
from inrcodec.bitstream.dicom_metadata import (
    decode_dicom_metadata,
    encode_dicom_metadata,
    read_attributes,
)
from inrcodec.bitstream.primitives import ByteWriter
from inrcodec.cli import main
from inrcodec.decoder import decode_bytes, parse_content
from inrcodec.encoder import Target, encode_volume
from inrcodec.errors import BitstreamError, BudgetError, LimitExceededError
from inrcodec.info import read_info
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.planner import Effort
from inrcodec.volume.dicom.attributes import find
from inrcodec.volume.dicom.essential import essential
from inrcodec.volume.dicom.read import read_dicom
from inrcodec.volume.dicom.series import DicomHeader, DicomSeries
from inrcodec.volume.dicom.volume import header_of, volume_of
from inrcodec.volume.read import read_volume
from inrcodec.volume.write import VolumeOutput

SHARED = Path(os.environ.get("INRCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
SLICES = 7


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(40, 3, 2048))


def stored(k: int) -> np.ndarray:
    y, x = np.mgrid[:24, :20]
    return (500 * np.sin(x / 5 + k / 3) + 300 * np.cos(y / 7)).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT series whose files have no order, with a note that is no DICOM."""
    slices = [
        image(k, stored(k), WindowCenter=[40, 400], WindowWidth=[80, 1500], RescaleType="HU")
        for k in range(SLICES)
    ]
    path = save_all(slices, tmp_path / "ct")
    (path / "notes.txt").write_text("taken on Monday")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def encode(source: Path, *options: object, size: int = 600) -> Path:
    output = source.parent / "x.moec"
    result = run("encode", source, "--bytes", size, "-o", output, "-f", *options)
    assert result.exit_code == 0, result.stderr
    return output


def slices_of(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_a_series_comes_back_where_it_was(folder: Path) -> None:
    encoded = encode(folder, size=1200)
    assert run("decode", encoded, "-o", folder.parent / "out").exit_code == 0
    back = slices_of(folder.parent / "out")
    assert len(back) == SLICES
    for k, decoded in enumerate(back):
        original = image(k, stored(k))
        assert [float(v) for v in decoded.ImagePositionPatient] == position(k)
        for keyword in (
            "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
            "RescaleIntercept", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
            "PixelRepresentation", "PhotometricInterpretation", "Modality", "SOPClassUID",
        ):  # fmt: skip
            assert decoded[keyword].value == original[keyword].value, keyword
        assert decoded.WindowCenter == [40, 400] and decoded.RescaleType == "HU"
        assert decoded.LossyImageCompression == "01"
        assert decoded.ImageType[0] == "DERIVED"
        assert "SeriesDescription" not in decoded and not decoded.PatientName
        assert decoded.SeriesInstanceUID != original.SeriesInstanceUID
    voxels = decode_bytes(encoded.read_bytes()).data
    for k, decoded in enumerate(back):
        assert np.array_equal(decoded.pixel_array, voxels[:, :, k].T)


def test_nothing_that_identifies_is_in_the_file(folder: Path) -> None:
    data = encode(folder).read_bytes()
    for text in (b"Doe", b"Jane", b"Thorax", b"1.2.3.4", b"1.2.3.9"):
        assert text not in data
    information = json.loads(run("info", folder.parent / "x.moec", "--json").stdout)
    assert information["modality"] == "CT" and not information["full_header"]
    assert "nothing that identifies" in run("info", folder.parent / "x.moec").stdout


def test_full_metadata_brings_every_attribute_back(folder: Path) -> None:
    encoded = encode(folder, "--metadata", "full", size=1500)
    original, back = read_dicom(folder), parse_content(encoded.read_bytes()).dicom
    assert back is not None
    assert back.shared == original.shared and list(back.frames) == list(original.frames)
    assert "they identify the patient" in run("info", encoded).stdout
    run("decode", encoded, "-o", folder.parent / "out")
    assert {str(s.PatientName) for s in slices_of(folder.parent / "out")} == {"Doe^Jane"}


def test_no_metadata_is_shape_and_type_alone(folder: Path) -> None:
    encoded = encode(folder, "--metadata", "none")
    chunks = parse_container(encoded.read_bytes(), DEFAULT_LIMITS)
    assert chunks[ChunkType.GEOMETRY] == b"\0" and ChunkType.DICOM not in chunks
    volume = decode_bytes(encoded.read_bytes())
    assert (volume.data.shape, volume.data.dtype) == ((20, 24, SLICES), np.int16)


def test_metadata_that_breaks_the_budget_says_by_how_much(folder: Path) -> None:
    volume = read_volume(folder)
    with pytest.raises(BudgetError, match=r"metadata takes \d+ bytes, \d+ more than") as error:
        encode_volume(volume, target=Target(file_bytes=300), metadata="full")
    enough = int(str(error.value).split("ask for ")[1].split()[0])
    encode_volume(volume, target=Target(file_bytes=enough), metadata="full")


def test_a_series_as_nifti(folder: Path) -> None:
    encoded = encode(folder)
    assert run("decode", encoded, "-o", folder.parent / "out.nii.gz").exit_code == 0
    out = nib.load(folder.parent / "out.nii.gz")
    assert np.allclose(out.affine, read_dicom(folder).affine, atol=1e-4)
    assert (float(out.dataobj.slope), float(out.dataobj.inter)) == (1.0, -1024.0)
    region = folder.parent / "part.nii.gz"
    assert run("decode", encoded, "-o", region, "--roi", "2:9,:,3").exit_code == 0
    assert np.array_equal(
        np.asanyarray(nib.load(region).dataobj), np.asanyarray(out.dataobj)[2:9, :, 3:4]
    )


def test_a_part_is_not_written_as_dicom(folder: Path) -> None:
    result = run("decode", encode(folder), "-o", folder.parent / "out", "--roi", "2:9")
    assert result.exit_code == 2 and "written as NIfTI" in result.stderr
    assert not (folder.parent / "out").exists()


def test_several_series_are_listed_and_picked(folder: Path) -> None:
    for k in range(3):
        other = image(k, stored(k), SeriesInstanceUID="1.2.3.5", SOPInstanceUID=f"1.2.3.5.{k}")
        save(other, folder / "other" / f"{k}.dcm")
    result = run("encode", folder, "--bytes", 600)
    assert result.exit_code == 3 and "--series" in result.stderr
    encoded = encode(folder, "--series", "1.2.3.5")
    assert parse_content(encoded.read_bytes()).header.shape == (20, 24, 3)


def test_files_that_are_no_images_are_counted(folder: Path) -> None:
    result = run("encode", folder, "--bytes", 600)
    assert "1 files are no DICOM images" in result.stderr or "1 file" in result.stderr
    assert (folder.parent / "ct.moec").exists()


def test_an_archive_and_a_multi_frame_file(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "ct.tar.gz", "w:gz") as archive:
        archive.add(folder, "series")
    assert encode(tmp_path / "ct.tar.gz").exists()
    frames = [place(k) for k in (2, 0, 1, 3)]
    whole = multi_frame(frames, np.stack([stored(k) for k in (2, 0, 1, 3)]))
    encoded = encode(save(whole, tmp_path / "mf.dcm"))
    output = tmp_path / "back.dcm"
    assert run("decode", encoded, "-o", output, "--enhanced").exit_code == 0
    back = read_dicom(output)
    assert back.enhanced and back.data.shape == (20, 24, 4)
    assert np.allclose(back.affine, read_dicom(tmp_path / "mf.dcm").affine, atol=1e-6)


def test_deterministic_uids(folder: Path) -> None:
    encoded = encode(folder)
    names = [folder.parent / name for name in ("a", "b", "c")]
    for name, option in zip(names, (["--deterministic"], ["--deterministic"], []), strict=True):
        assert run("decode", encoded, "-o", name, *option).exit_code == 0
    first, second, other = ((name / "IM0001.dcm").read_bytes() for name in names)
    assert first == second != other


def test_per_slice_rescale_goes_back_to_dicom_alone(tmp_path: Path) -> None:
    slices = [
        image(
            k,
            stored(k),
            Modality="PT",
            SOPClassUID=pydicom.uid.PositronEmissionTomographyImageStorage,
            Units="BQML",
            RescaleSlope=1 + k / 8,
            RescaleIntercept=0,
        )
        for k in range(4)
    ]
    encoded = encode(save_all(slices, tmp_path / "pet"))
    values = next(x for x in run("info", encoded).stdout.splitlines() if x.startswith("values "))
    assert "differs between slices" in values and values.endswith("decode to DICOM")
    found = json.loads(run("info", encoded, "--json").stdout)
    assert found["slope"] is None and found["intercept"] is None
    result = run("decode", encoded, "-o", tmp_path / "x.nii.gz")
    assert result.exit_code == 3 and "decode to DICOM" in result.stderr
    assert f"error: {encoded}: the rescale differs" in result.stderr
    assert run("decode", encoded, "-o", tmp_path / "out").exit_code == 0
    slopes = [float(s.RescaleSlope) for s in slices_of(tmp_path / "out")]
    assert slopes == [1 + k / 8 for k in range(4)]


def test_a_lookup_table_is_no_slope_and_intercept(tmp_path: Path) -> None:
    table = item(LUTDescriptor=[2, 0, 16], LUTData=b"\0\0\1\0", ModalityLUTType="HU")
    slices = [
        image(k, stored(k), ModalityLUTSequence=Sequence([table]), RescaleSlope=None,
              RescaleIntercept=None)
        for k in range(3)
    ]  # fmt: skip
    encoded = encode(save_all(slices, tmp_path / "ct"))
    assert read_info(encoded.read_bytes()).scaling is None
    assert "a lookup table: decode to DICOM" in run("info", encoded).stdout


def test_nifti_as_dicom(tmp_path: Path) -> None:
    data = np.stack([stored(k) for k in range(5)], -1)
    nib.save(nib.Nifti1Image(data, np.diag([-1.5, -1, 2, 1])), tmp_path / "in.nii.gz")
    encoded = encode(tmp_path / "in.nii.gz")
    assert run("decode", encoded, "-o", tmp_path / "out").exit_code == 0
    back = read_dicom(tmp_path / "out")
    assert back.shared.Modality == "OT" and sorted(back.data.shape) == sorted(data.shape)


# Chunk D and kind 2 of chunk m


def essential_header(folder: Path) -> tuple[DicomHeader, tuple[int, int]]:
    series = read_dicom(folder)
    return header_of(essential(series)), (series.data.shape[2], 1)


def test_chunk_d_is_small_and_exact(folder: Path) -> None:
    header, planes = essential_header(folder)
    payload = encode_dicom_header(header, planes)
    assert len(payload) < 120
    back = decode_dicom_header(payload, planes, DEFAULT_LIMITS)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "HighBit"):
        del header.shared[keyword]
    assert back == header


@given(
    st.lists(
        st.tuples(*[st.decimals(-4000, 4000, places=places) for places in (0, 3, 6)]),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_positions_come_back_whatever_they_are(positions: list[tuple[object, ...]]) -> None:
    frames = tuple(item(ImagePositionPatient=[str(v) for v in place]) for place in positions)
    header = DicomHeader(Dataset(), frames, False)
    planes = (len(frames), 1)
    back = decode_dicom_header(encode_dicom_header(header, planes), planes, DEFAULT_LIMITS)
    assert back == header


def test_attributes_of_time_stand_once(folder: Path) -> None:
    def series(values: Callable[[int, int], float]) -> DicomHeader:
        frames = tuple(
            item(ImagePositionPatient=position(z), TriggerTime=values(z, t))
            for t in range(20)
            for z in range(30)
        )
        return DicomHeader(Dataset(), frames, False)

    regular = series(lambda z, t: [0, 80.5, 170, 251][t % 4])
    payload = encode_dicom_header(regular, (30, 20))
    assert len(payload) < 90
    assert decode_dicom_header(payload, (30, 20), DEFAULT_LIMITS) == regular
    uneven = series(lambda z, t: (z * z + 7 * t) % 11)
    payload = encode_dicom_header(uneven, (30, 20))
    assert decode_dicom_header(payload, (30, 20), DEFAULT_LIMITS) == uneven


def test_what_has_no_number_is_refused() -> None:
    for shared in (item(PatientName="Doe"), item(ImageType=["ORIGINAL", "DOE"])):
        with pytest.raises(ValueError, match="no number in the format"):
            encode_dicom_header(DicomHeader(shared, (Dataset(),), False), (1, 1))


def test_damaged_attributes_are_typed_errors(folder: Path) -> None:
    header, planes = essential_header(folder)
    payload = encode_dicom_header(header, planes)
    assert_only_typed_errors(payload, lambda p: decode_dicom_header(p, planes, DEFAULT_LIMITS))
    full = header_of(read_dicom(folder))
    count = planes[0] * planes[1]
    payload = encode_dicom_metadata(full)
    assert_only_typed_errors(payload, lambda p: decode_dicom_metadata(p, count, DEFAULT_LIMITS))


def assert_only_typed_errors(payload: bytes, read: Callable[[bytes], object]) -> None:
    for cut in range(len(payload)):
        with pytest.raises(BitstreamError):
            read(payload[:cut])
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(payload)
        damaged[rng.integers(len(payload))] = rng.integers(256)
        try:
            read(bytes(damaged))
        except BitstreamError as error:
            assert "\n" not in str(error)


def test_more_planes_than_the_limit_are_refused(folder: Path) -> None:
    header, planes = essential_header(folder)
    payload = encode_dicom_header(header, planes)
    for read in (
        lambda: decode_dicom_header(payload, (1 << 20, 1), DEFAULT_LIMITS),
        lambda: read_attributes(b"", 5, Limits(planes=4)),
    ):
        with pytest.raises(LimitExceededError) as error:
            read()
        assert error.value.limit == "planes"


LUT_SEQUENCE, LUT_DESCRIPTOR, MODALITY = 35, 36, 1
CT = bytes([1, MODALITY, 1, 15])
"""A dataset of chunk D: one attribute of one term."""


def chunk_d(*columns: bytes) -> bytes:
    """No shared attributes, and these columns."""
    return bytes([0, 0, len(columns)]) + b"".join(columns)


def lut_of_all_planes(*items: bytes) -> bytes:
    """A column of one value: a sequence."""
    return bytes([1, LUT_SEQUENCE, 7, 1, len(items)]) + b"".join(items)


def inside_of_it(keyword: int, last: int) -> bytes:
    """A column of the numbers from 0 to ``last`` in the item of that sequence."""
    return bytes([2, LUT_SEQUENCE, keyword, 0, 1, 0, 0, 2 * last])


def test_what_a_column_leads_into_is_each_planes_own() -> None:
    payload = chunk_d(lut_of_all_planes(CT), inside_of_it(LUT_DESCRIPTOR, 4))
    header = decode_dicom_header(payload, (5, 1), DEFAULT_LIMITS)
    for k, frame in enumerate(header.frames):
        (inner,) = frame.ModalityLUTSequence
        assert (inner.Modality, inner.LUTDescriptor) == ("CT", k)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([lut_of_all_planes(CT, CT), inside_of_it(LUT_DESCRIPTOR, 4)], "through 2 items"),
        ([lut_of_all_planes(), inside_of_it(LUT_DESCRIPTOR, 4)], "through 0 items"),
        ([inside_of_it(LUT_DESCRIPTOR, 4)] * 2, "LUTDescriptor occurs twice"),
        ([inside_of_it(LUT_DESCRIPTOR, 4), lut_of_all_planes(CT)], "Sequence occurs twice"),
    ],
)
def test_columns_that_contradict_each_other(columns: list[bytes], words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        decode_dicom_header(chunk_d(*columns), (5, 1), DEFAULT_LIMITS)


def test_a_value_of_many_planes_is_made_once() -> None:
    payload = chunk_d(lut_of_all_planes(*[CT] * 120))
    tracemalloc.start()
    try:
        header = decode_dicom_header(payload, (2000, 1), DEFAULT_LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(len(frame.ModalityLUTSequence) == 120 for frame in header.frames)
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("columns", "attributes"),
    [
        # Of all planes two items, their element and its value; of each the sequence, and its items.
        ([lut_of_all_planes(CT, CT)], 2 * 3 + 5 * (1 + 2)),
        # Of each plane the sequence, the descriptor and its number.
        ([inside_of_it(LUT_DESCRIPTOR, 4)], 5 * 3),
    ],
)
def test_attributes_of_chunk_d_are_counted(columns: list[bytes], attributes: int) -> None:
    payload = chunk_d(*columns)
    decode_dicom_header(payload, (5, 1), Limits(attributes=attributes))
    with pytest.raises(LimitExceededError, match="DICOM attributes") as error:
        decode_dicom_header(payload, (5, 1), Limits(attributes=attributes - 1))
    assert (error.value.limit, error.value.claimed) == ("attributes", attributes)


def test_attributes_of_chunk_m_are_counted() -> None:
    inner = item(EchoTime=1, DiffusionGradientOrientation=[1.0, 0.0, 0.0])
    frame = item(ImagePositionPatient=[1, 2, 3], MREchoSequence=Sequence([inner] * 7))
    payload = encode_dicom_metadata(DicomHeader(item(Modality="MR"), (frame,) * 10, False))
    # The modality; of each plane the position's three values, and the sequence of seven items.
    attributes = 1 + 10 * (3 + 1 + 7 * 3)
    decode_dicom_metadata(payload, 10, Limits(attributes=attributes))
    with pytest.raises(LimitExceededError) as error:
        decode_dicom_metadata(payload, 10, Limits(attributes=attributes - 1))
    assert (error.value.limit, error.value.claimed) == ("attributes", attributes)


def test_full_attributes_with_private_ones_and_other_characters() -> None:
    shared = item(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg",
        OtherPatientIDsSequence=Sequence([item(PatientID="7")]),
    )
    shared.private_block(0x0029, "ACME", create=True).add_new(1, "OB", bytes(range(256)))
    frames = tuple(item(ImageComments=f"Schicht {k} ä", InstanceNumber=k) for k in range(3))
    header = DicomHeader(shared, frames, True)
    assert decode_dicom_metadata(encode_dicom_metadata(header), 3, DEFAULT_LIMITS) == header


# Real series


@pytest.mark.parametrize(
    ("name", "most"),
    [("ct_thigh_dicom_series.tar.gz", 12_000), ("mr_t1_enhanced_multiframe.dcm", 20_000)],
)
def test_all_attributes_of_a_real_series(name: str, most: int) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent; INRCODEC_DATA names the folder")
    series = read_dicom(path)
    volume = volume_of(series, source=name)
    assert volume.dicom is not None
    payload = encode_dicom_metadata(volume.dicom)
    assert len(payload) < most
    back = decode_dicom_metadata(payload, len(series.frames), DEFAULT_LIMITS)
    assert back == volume.dicom
    planes = (series.data.shape[2], 1)
    kept = header_of(essential(series))
    payload = encode_dicom_header(kept, planes)
    assert len(payload) < 700
    decoded = decode_dicom_header(payload, planes, DEFAULT_LIMITS)
    assert np.array_equal(
        volume_of(
            type(series)(series.data, decoded.shared, decoded.frames, decoded.enhanced), name
        ).geometry.srow,
        volume.geometry.srow,
    )


CHECKED = (
    "SOPClassUID", "Modality", "PatientPosition", "ImageOrientationPatient",
    "ImagePositionPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth",
    "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "GantryDetectorTilt",
    "AcquisitionNumber", "FrameAcquisitionNumber", "EffectiveEchoTime", "RepetitionTime",
    "FlipAngle", "EchoTrainLength", "PixelPresentation", "VolumetricProperties",
    "VolumeBasedCalculationTechnique", "BurnedInAnnotation", "PresentationLUTShape",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "output"),
    [("ct_thigh_dicom_series.tar.gz", "out"), ("mr_t1_enhanced_multiframe.dcm", "out.dcm")],
)
def test_attributes_of_a_real_series_come_back_in_its_files(
    name: str, output: str, tmp_path: Path
) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent; INRCODEC_DATA names the folder")
    series = read_dicom(path)
    planes = (series.data.shape[2], 1)
    payload = encode_dicom_header(header_of(essential(series)), planes)
    kept = decode_dicom_header(payload, planes, DEFAULT_LIMITS)
    volume = volume_of(DicomSeries(series.data, kept.shared, kept.frames, kept.enhanced), name)
    VolumeOutput(tmp_path / output).write(volume, ratio=1000.0)
    back = read_dicom(tmp_path / output)
    assert np.array_equal(back.data, series.data)
    assert np.array_equal(back.affine, series.affine)
    kinds = [find("ImageType", s.frames[0], s.shared) for s in (series, back)]
    assert kinds[1][0] == "DERIVED" and kinds[1][1:] == kinds[0][1:]
    checked = 1
    for keyword in CHECKED:
        before = [find(keyword, frame, series.shared) for frame in series.frames]
        if before[0] is not None:
            checked += 1
            assert [find(keyword, frame, back.shared) for frame in back.frames] == before, keyword
    assert checked >= 20


@pytest.mark.parametrize("items", [[0, 0, 1], [1, 1, 1], [0, 0, 0], [2, 1, 0]])
def test_items_without_attributes_are_kept(items: list[int]) -> None:
    frames = tuple(item(ModalityLUTSequence=Sequence([Dataset()] * count)) for count in items)
    header = DicomHeader(item(Modality="CT"), frames, enhanced=False)
    payload = encode_dicom_header(header, (3, 1))
    assert list(decode_dicom_header(payload, (3, 1), DEFAULT_LIMITS).frames) == list(frames)


ROWS = bytes.fromhex("2800 1000 5553 0200 0400")
COLUMNS = bytes.fromhex("2800 1100 5553 0200 0600")
SEQUENCE = bytes.fromhex("2800 0030 5351 0000 00000000")


def sequence(content: bytes) -> bytes:
    return SEQUENCE[:-4] + struct.pack("<I", len(content)) + content


def item_of(content: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        (ROWS + COLUMNS + SEQUENCE, None),
        (COLUMNS + ROWS, "out of order"),
        (ROWS + ROWS, "out of order"),
        (ROWS + COLUMNS[:-1], "cut"),
        (ROWS + COLUMNS[:5], "cut"),
        (SEQUENCE[:6] + b"\1" + SEQUENCE[7:], "reserved bytes"),
        (ROWS + COLUMNS + sequence(item_of(ROWS + COLUMNS) + item_of(sequence(b""))), None),
        (sequence(item_of(COLUMNS + ROWS)), "out of order"),
        (sequence(item_of(ROWS + COLUMNS[:-1])), "cut"),
        (sequence(item_of(ROWS)[:-1]), "cut"),
        (sequence(item_of(ROWS)[:7]), "cut"),
        (sequence(ROWS), "between its items"),
        (sequence(b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + ROWS), "cut"),
        (bytes.fromhex("2800 1000 0200 0000 0400"), "no value representation"),
        (reduce(lambda inner, _: sequence(item_of(inner)), range(2000), b""), "nested too deep"),
    ],
)
def test_elements_of_chunk_m(elements: bytes, error: str | None) -> None:
    length = ByteWriter()
    length.varint(len(elements))
    data = b"\0" + length.getvalue() + elements + bytes([3, 0])
    if error is None:
        assert len(read_attributes(data, 3, DEFAULT_LIMITS).shared) == 3
    else:
        with pytest.raises(BitstreamError, match=error):
            read_attributes(data, 3, DEFAULT_LIMITS)


def test_an_element_of_no_known_representation_holds_no_items() -> None:
    """pydicom knows the attribute for a sequence, which nothing would have counted."""
    elements = sequence(item_of(ROWS)).replace(b"SQ", b"UN")
    data = bytes([0, len(elements)]) + elements + bytes([1, 0])
    (element,) = read_attributes(data, 1, Limits(attributes=1)).shared
    assert (element.VR, element.value) == ("UN", item_of(ROWS))


def test_chunks_that_contradict_each_other(folder: Path) -> None:
    chunks = parse_container(
        encode(folder, "--metadata", "full", size=1500).read_bytes(), DEFAULT_LIMITS
    )
    header = decode_dicom_header(chunks[ChunkType.DICOM], (SLICES, 1), DEFAULT_LIMITS)
    other = DicomHeader(header.shared, header.frames, enhanced=True)
    chunks = {**chunks, ChunkType.DICOM: encode_dicom_header(other, (SLICES, 1))}
    with pytest.raises(BitstreamError, match="chunks D and m"):
        parse_dicom(chunks, (20, 24, SLICES), DEFAULT_LIMITS)
