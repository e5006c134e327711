"""Damaged and hostile DICOM: one line that says what is wrong, and nothing else."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    COLUMNS,
    ROWS,
    image,
    item,
    multi_frame,
    pixels,
    place,
    save,
    save_all,
)
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from inrcodec.errors import InputError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.volume.dicom.read import read_dicom

TEST_FILES = Path(pydicom.__file__).parent / "data"


def refusal(path: Path, **options: Any) -> str:
    """Return the one-line message of the error that reading gives, and it names the file."""
    with pytest.raises(InputError) as caught:
        read_dicom(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 400 + len(str(path))
    return message


def ct_bytes(tmp_path: Path, syntax: str = uid.ExplicitVRLittleEndian, **changes: Any) -> bytes:
    return save(image(**changes), tmp_path / "whole.dcm", syntax).read_bytes()


def written(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    return path


# Truncation


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_truncated_anywhere(syntax: str, tmp_path: Path) -> None:
    dataset = image()
    dataset.RequestAttributesSequence = Sequence([item(StudyID="1")])
    dataset["RequestAttributesSequence"].is_undefined_length = True
    content = save(dataset, tmp_path / "whole.dcm", syntax).read_bytes()
    for length in range(0, len(content), 3):
        refusal(written(content[:length], tmp_path))


def test_truncated_in_the_fragments(tmp_path: Path) -> None:
    dataset = image()
    save(dataset, tmp_path / "x.dcm")
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    content = save(dataset, tmp_path / "x.dcm", uid.RLELossless).read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00")
    for length in range(start, len(content)):
        refusal(written(content[:length], tmp_path))


@pytest.mark.parametrize("length", range(140, 800, 40))
def test_truncated_in_deflated_data(length: int, tmp_path: Path) -> None:
    content = ct_bytes(tmp_path, uid.DeflatedExplicitVRLittleEndian)
    refusal(written(content[: min(length, len(content) - 1)], tmp_path))


def test_a_truncated_slice_is_never_passed_over(tmp_path: Path) -> None:
    folder = save_all([image(k) for k in range(5)], tmp_path / "series")
    last = max(folder.iterdir())
    content = last.read_bytes()
    for length in (200, 300, 500, 700):
        last.write_bytes(content[:length])
        with pytest.raises(InputError, match="truncated"):
            read_dicom(folder)


# Attributes


@pytest.mark.parametrize(
    "keyword",
    [
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
    ],
)
def test_a_required_attribute_is_missing(keyword: str, tmp_path: Path) -> None:
    path = save(image(**{keyword: None}), tmp_path / "x.dcm")
    assert f"no {keyword}" in refusal(path)


def test_no_pixel_data(tmp_path: Path) -> None:
    dataset = image()
    del dataset.PixelData
    assert "no pixel data" in refusal(save(dataset, tmp_path / "x.dcm"))


@pytest.mark.parametrize(
    "keyword",
    [
        "SOPClassUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "Modality",
        "FrameOfReferenceUID",
        "ImageType",
        "HighBit",
        "RescaleSlope",
        "SeriesDescription",
    ],
)
def test_what_is_not_required_may_be_missing(keyword: str, tmp_path: Path) -> None:
    whole = save(image(), tmp_path / "x.dcm")
    dataset = pydicom.dcmread(whole)
    del dataset[keyword]
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    assert read_dicom(written(buffer.getvalue(), tmp_path)).data.shape == (COLUMNS, ROWS, 1)


BAD_VALUES: list[tuple[str, Any]] = [
    ("Rows", 0),
    ("Rows", 65535),
    ("Rows", [4, 4]),
    ("Columns", 0),
    ("Columns", 65535),
    ("BitsAllocated", 0),
    ("BitsAllocated", 12),
    ("BitsAllocated", 32),
    ("BitsAllocated", 65535),
    ("BitsStored", 0),
    ("BitsStored", 17),
    ("HighBit", 16),
    ("HighBit", 3),
    ("PixelRepresentation", 2),
    ("SamplesPerPixel", 0),
    ("SamplesPerPixel", 9),
    ("PhotometricInterpretation", "MONO"),
    ("NumberOfFrames", 0),
    ("NumberOfFrames", -1),
    ("NumberOfFrames", 2),
    ("NumberOfFrames", 2**31 - 1),
    ("ImagePositionPatient", [0, 0]),
    ("ImagePositionPatient", [0, 0, 0, 0]),
    ("ImagePositionPatient", [0, 0, 1e300]),
    ("ImageOrientationPatient", [0] * 6),
    ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
    ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0]),
    ("PixelSpacing", [0, 1]),
    ("PixelSpacing", [1, -1]),
    ("PixelSpacing", [1]),
    ("SliceThickness", 0),
    ("SliceThickness", -2),
    ("SliceThickness", [1, 2]),
]


@pytest.mark.parametrize(("keyword", "value"), BAD_VALUES, ids=str)
def test_a_value_that_makes_no_sense(keyword: str, value: Any, tmp_path: Path) -> None:
    refusal(save(image(**{keyword: value}), tmp_path / "x.dcm"))


@pytest.mark.parametrize(
    "text", [b"abc ", b"nan ", b"inf ", b"1e999 ", b"    ", b"1\\2\\3\\4 ", b"\xff\xfe\\ "]
)
@pytest.mark.parametrize(
    "tag", [b"\x18\x00\x50\x00DS", b"\x20\x00\x32\x00DS", b"\x28\x00\x30\x00DS"]
)
def test_numbers_that_are_none(text: bytes, tag: bytes, tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    at = content.index(tag) + len(tag)
    length = int.from_bytes(content[at : at + 2], "little")
    text = text[: len(text) & ~1]
    content = content[:at] + struct.pack("<H", len(text)) + text + content[at + 2 + length :]
    refusal(written(content, tmp_path))


@pytest.mark.parametrize("length", [0, 1, 3, 0x7FFF, 0xFFFF])
@pytest.mark.parametrize(
    "tag", [b"\x28\x00\x10\x00US", b"\x08\x00\x60\x00CS", b"\x20\x00\x32\x00DS"]
)
def test_wrong_lengths(length: int, tag: bytes, tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    at = content.index(tag) + len(tag)
    refusal(written(content[:at] + struct.pack("<H", length) + content[at + 2 :], tmp_path))


def deep_sequences(depth: int) -> bytes:
    """Sequences of undefined length in each other, in explicit VR little endian."""
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return start * depth + end * depth


def test_sequences_without_bottom(tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    at = content.index(b"\x10\x00\x10\x00PN")
    bottomless = content[:at] + deep_sequences(100_000) + content[at:]
    refusal(written(bottomless, tmp_path))
    nested = content[:at] + deep_sequences(50) + content[at:]
    assert "ReferencedSeriesSequence" in read_dicom(written(nested, tmp_path)).shared


def test_sequences_of_defined_length_without_bottom(tmp_path: Path) -> None:
    inner = b""
    for _ in range(2000):
        inner = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(inner)) + inner
        inner = b"\x08\x00\x15\x11SQ\0\0" + struct.pack("<L", len(inner)) + inner
    content = ct_bytes(tmp_path)
    at = content.index(b"\x10\x00\x10\x00PN")
    refusal(written(content[:at] + inner + content[at:], tmp_path))


def test_attributes_without_end(tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    at = content.index(b"\x10\x00\x10\x00PN")
    comment = b"\x08\x00\x01\x40UT\0\0" + struct.pack("<L", 5000) + bytes(5000)
    path = written(content[:at] + comment + content[at:], tmp_path)
    limits = replace(DEFAULT_LIMITS, metadata_bytes=4000)
    assert "attributes of more than 4000 bytes" in refusal(path, limits=limits)


# Pixel data


@pytest.mark.parametrize("change", [-48, -2, 48, 100])
def test_pixel_data_of_another_length(change: int, tmp_path: Path) -> None:
    dataset = image()
    dataset.PixelData = (dataset.PixelData + bytes(100))[: ROWS * COLUMNS * 2 + change]
    path = save(dataset, tmp_path / "x.dcm")
    assert f"{ROWS * COLUMNS * 2 + change} bytes of pixel data" in refusal(path)


def test_pixel_data_of_undefined_length_in_a_native_syntax(tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8
    refusal(written(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :], tmp_path))


def test_a_wrong_transfer_syntax(tmp_path: Path) -> None:
    content = ct_bytes(tmp_path)
    old = b"\x02\x00\x10\x00UI\x14\x00" + uid.ExplicitVRLittleEndian.encode() + b"\0"
    for syntax in (uid.RLELossless, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian):
        value = syntax.encode() + b"\0" * (len(syntax) % 2)
        new = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value
        refusal(written(content.replace(old, new), tmp_path))


def encapsulated(code: bytes, syntax: str, tmp_path: Path, frames: int = 1) -> Path:
    stored = np.zeros((frames, 64, 64), np.int16)
    dataset = multi_frame([place(k) for k in range(frames)], stored)
    dataset.PixelData = encapsulate([code] * frames)
    dataset["PixelData"].VR = "OB"
    return save(dataset, tmp_path / "x.dcm", syntax)


def encoded(syntax: str, tmp_path: Path) -> bytes:
    """The first frame of 64 x 64, int16."""
    rng = np.random.default_rng(0)
    dataset = image(stored=rng.integers(0, 999, (64, 64)).astype(np.int16))
    save(dataset, tmp_path / "x.dcm")
    dataset.compress(syntax, generate_instance_uid=False)
    return next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))


CODECS = [
    (uid.RLELossless, "pydicom"),
    (uid.JPEGLSLossless, "jpeg_ls"),
    (uid.JPEG2000Lossless, "openjpeg"),
]


@pytest.mark.parametrize(("syntax", "module"), CODECS)
def test_truncated_frames(syntax: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    code = encoded(syntax, tmp_path)
    assert read_dicom(encapsulated(code, syntax, tmp_path)).data.max() > 0
    for length in (2, 10, 63, 64, 100, len(code) // 2, len(code) - 30):
        refusal(encapsulated(code[:length], syntax, tmp_path))


@pytest.mark.parametrize(("syntax", "module"), CODECS)
def test_frames_of_random_damage(syntax: str, module: str, tmp_path: Path) -> None:
    """Damage to a codestream may leave an image; it never leaves another exception."""
    pytest.importorskip(module)
    code = encoded(syntax, tmp_path)
    rng = random.Random(1)
    for _ in range(60):
        damaged = bytearray(code)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(min(len(code), 150))] = rng.randrange(256)
        path = encapsulated(bytes(damaged), syntax, tmp_path)
        try:
            assert read_dicom(path).data.shape == (64, 64, 1)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg")
    code = bytearray(encoded(uid.JPEG2000Lossless, tmp_path))
    code[8:16] = struct.pack(">LL", 1 << 30, 1 << 30)
    path = encapsulated(bytes(code), uid.JPEG2000Lossless, tmp_path)
    assert "encoded as 1073741824 x 1073741824" in refusal(path)


def test_a_jp2_file_around_the_codestream(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg")
    code = encoded(uid.JPEG2000Lossless, tmp_path)
    # A box of length 0 sends pydicom's own search for the codestream around in circles.
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0free"
    path = encapsulated(boxes + code, uid.JPEG2000Lossless, tmp_path)
    assert read_dicom(path).data.max() > 0
    refusal(encapsulated(boxes, uid.JPEG2000Lossless, tmp_path))


def test_a_large_image_in_a_few_run_lengths_is_refused(tmp_path: Path) -> None:
    dataset = image(Rows=65535, Columns=65535)
    dataset.PixelData = encapsulate([struct.pack("<16L", 2, 64, 66, *[0] * 13) + bytes(4)])
    path = save(dataset, tmp_path / "x.dcm", uid.RLELossless)
    assert "too short" in refusal(path)


@pytest.mark.parametrize("frames", [2, 4])
def test_a_wrong_number_of_encapsulated_frames(frames: int, tmp_path: Path) -> None:
    code = encoded(uid.RLELossless, tmp_path)
    dataset = multi_frame([place(k) for k in range(frames)], np.zeros((frames, 64, 64), np.int16))
    dataset.PixelData = encapsulate([code] * 3)
    refusal(save(dataset, tmp_path / "x.dcm", uid.RLELossless))


def damage_fragments(content: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    damaged = bytearray(content)
    change(damaged, content.index(b"\xe0\x7f\x10\x00OB") + 12)
    return bytes(damaged)


def set_bytes(offset: int, value: bytes) -> Callable[[bytearray, int], None]:
    def change(content: bytearray, start: int) -> None:
        content[start + offset : start + offset + len(value)] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_bytes(0, b"\xfe\xff\x0d\xe0"),
        set_bytes(4, b"\xff\xff\xff\xff"),
        set_bytes(4, b"\xf0\xff\xff\x7f"),
        set_bytes(4, b"\x02\0\0\0"),
        set_bytes(12, b"\xff\xff\xff\xff"),
        set_bytes(-4, b"\x10\0\0\0"),
    ],
    ids=["no item", "undefined item", "long item", "odd table", "undefined fragment", "defined"],
)
def test_damaged_fragments(change: Callable[[bytearray, int], None], tmp_path: Path) -> None:
    code = encoded(uid.RLELossless, tmp_path)
    content = encapsulated(code, uid.RLELossless, tmp_path).read_bytes()
    refusal(written(damage_fragments(content, change), tmp_path))


# Multi-frame files


def test_a_wrong_number_of_functional_groups(tmp_path: Path) -> None:
    stored = np.stack([pixels(k) for k in range(3)])
    path = save(multi_frame([place(k) for k in range(2)], stored, NumberOfFrames=3), tmp_path / "x")
    assert "NumberOfFrames is 3, but PerFrameFunctionalGroupsSequence has 2" in refusal(path)


def test_hostile_numbers_of_frames(tmp_path: Path) -> None:
    for frames in (2**31 - 1, 0, -5, "1.5", "x"):
        dataset = multi_frame([place(0)], pixels(0)[None])
        path = save(dataset, tmp_path / "x.dcm")
        content = path.read_bytes()
        old = b"\x28\x00\x08\x00IS\x02\x001 "
        text = str(frames).encode()
        text += b" " * (len(text) % 2)
        new = b"\x28\x00\x08\x00IS" + struct.pack("<H", len(text)) + text
        refusal(written(content.replace(old, new), tmp_path))


@pytest.mark.parametrize("name", ["PlanePositionSequence", "FrameContentSequence"])
def test_empty_functional_groups(name: str, tmp_path: Path) -> None:
    frames = [place(k) for k in range(3)]
    setattr(frames[1], name, Sequence())
    stored = np.stack([pixels(k) for k in range(3)])
    path = save(multi_frame(frames, stored), tmp_path / "x.dcm")
    expected = "frame 2: no ImagePosition" if name.startswith("Plane") else "mixed stacks"
    assert expected in refusal(path)


@pytest.mark.parametrize("name", ["Shared", "PerFrame"])
def test_functional_groups_that_are_no_sequence(name: str, tmp_path: Path) -> None:
    stored = np.stack([pixels(k) for k in range(3)])
    path = save(multi_frame([place(k) for k in range(3)], stored), tmp_path / "x.dcm")
    tag = {"Shared": b"\x00\x52\x29\x92", "PerFrame": b"\x00\x52\x30\x92"}[name]
    refusal(written(path.read_bytes().replace(tag + b"SQ", tag + b"OB"), tmp_path))


# Files and archives


@pytest.mark.parametrize("content", [b"", b"x", b"DICM", bytes(128) + b"DICM", bytes(2000)])
def test_no_dicom(content: bytes, tmp_path: Path) -> None:
    refusal(written(content, tmp_path))


def test_missing_and_empty_places(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    assert "no DICOM image among 0 files" in refusal(tmp_path / "folder")


def zipped(tmp_path: Path, **files: bytes) -> Path:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_damaged_archives(tmp_path: Path) -> None:
    path = zipped(tmp_path, a=ct_bytes(tmp_path))
    content = path.read_bytes()
    for length in (4, 30, 100, len(content) - 1):
        path.write_bytes(content[:length])
        refusal(path)
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            read_dicom(path)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_truncated_tar_archives(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    content = ct_bytes(tmp_path)
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name in "ab":
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = path.read_bytes()
    ends = range(3, len(whole) - 1, 37) if kind else range(0, 4096, 128)
    for length in ends:
        path.write_bytes(whole[:length])
        refusal(path)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path, a=ct_bytes(tmp_path))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted; extract it" in refusal(path)


def test_archives_beyond_the_limits(tmp_path: Path) -> None:
    path = zipped(tmp_path, a=ct_bytes(tmp_path))
    assert "at most 500 are read" in refusal(path, limits=replace(DEFAULT_LIMITS, file_bytes=500))
    assert "expands to more" in refusal(path, limits=replace(DEFAULT_LIMITS, voxels=50))
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 1 << 24
        archive.addfile(member, io.BytesIO(bytes(1 << 24)))
    assert "expands to more" in refusal(path, limits=replace(DEFAULT_LIMITS, voxels=1 << 20))


def test_a_tar_header_that_claims_gigabytes(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.size = 1 << 40
    member.type = tarfile.GNUTYPE_LONGNAME
    path = tmp_path / "x.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert "claims" in refusal(path)


# Whatever else


@pytest.mark.parametrize("seed", range(6))
def test_random_damage(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    frames = [place(k) for k in range(3)]
    stored = np.stack([pixels(k) for k in range(3)])
    dataset = image() if seed % 2 else multi_frame(frames, stored)
    syntax = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
    if syntax[seed % 3] == uid.ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "u2").byteswap().tobytes()
    content = save(dataset, tmp_path / "whole.dcm", syntax[seed % 3]).read_bytes()
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(128, len(damaged))
            match rng.randrange(3):
                case 0:
                    damaged[at] = rng.randrange(256)
                case 1:
                    del damaged[at : at + rng.randrange(1, 9)]
                case 2:
                    damaged[at:at] = rng.randbytes(rng.randrange(1, 9))
        try:
            read_dicom(written(bytes(damaged), tmp_path))
        except InputError as error:
            assert "\n" not in str(error)


def test_every_file_of_pydicom_reads_or_gives_a_reason() -> None:
    paths = [path for path in TEST_FILES.rglob("*") if path.is_file()]
    paths = [path for path in paths if "py" not in path.suffix]
    read = 0
    for path in paths:
        try:
            series = read_dicom(path)
        except InputError as error:
            assert str(error).startswith(str(path))
            assert str(error).isprintable()
        else:
            assert isinstance(series.shared, Dataset)
            read += 1
    assert len(paths) > 100
    assert read >= 9
