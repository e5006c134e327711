"""Essential metadata holds nothing of a patient, wherever in a file it was."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_samples import classic_series, enhanced_series, made_up
from pydicom.datadict import DicomDictionary, dictionary_keyword, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from inrcodec.volume.dicom import essential as module
from inrcodec.volume.dicom.derivation import Derivation
from inrcodec.volume.dicom.essential import essential
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.dicom.write import write_dicom

PROFILE = Path(__file__).with_name("basic_profile_2026c.txt")
ROWS = [line.split(maxsplit=3) for line in PROFILE.read_text().splitlines() if line[0] != "#"]

TEXT = "MRS_MARKER"
DIGITS = "74117411"
DATE, TIME = "19740117", "074117.4117"
MARKERS = [text.encode() for text in (TEXT, DIGITS, DATE, TIME)]
"""What would be found in the bytes of a file that kept a marked attribute."""

# The VRs of attributes that are newer than pydicom's dictionary.
NEW_VRS = {
    "00081301": "SQ",
    "00081302": "SQ",
    "00081303": "SQ",
    "00081304": "SQ",
    "00100011": "SQ",
    "00100014": "SQ",
    "00100015": "SQ",
    "00100041": "SQ",
    "00100043": "SQ",
    "00100044": "SQ",
    "00100046": "SQ",
    "0040A034": "DT",
    "0040A035": "DT",
    "0040B034": "DT",
    "0040B036": "DT",
    "0040E012": "UR",
}


def profile_tags() -> Iterator[tuple[BaseTag, str]]:
    """Tag and VR of every attribute of the profile that a dataset can hold."""
    for group, element, _, _ in ROWS:
        for digits in ("00", "02", "1E") if "x" in group else ("",):
            number = group.replace("xx", digits) + element.replace("xxxx", "0040")
            tag = Tag(int(number, 16))
            if tag.group > 2:  # not of commands and file headers
                vr = NEW_VRS.get(number) or (dictionary_VR(tag) if known(tag) else "LO")
                yield tag, vr


def known(tag: BaseTag) -> bool:
    try:
        dictionary_VR(tag)
    except KeyError:
        return False
    return True


def marked(tag: BaseTag, vr: str) -> DataElement:
    """An element whose value is recognized where it turns up."""
    values: dict[str, Any] = {
        "SQ": [],
        "UI": f"1.2.{DIGITS}",
        "DA": DATE,
        "TM": TIME,
        "DT": DATE + TIME,
        "AS": "074Y",
        "UR": f"http://{TEXT}",
        "DS": DIGITS,
        "IS": DIGITS,
        "AT": 0x00100010,
        **dict.fromkeys(["OB", "OW", "OF", "OD", "OL", "OV", "UN"], TEXT.encode()),
        **dict.fromkeys(["US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"], 7411),
    }
    vr = vr.split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName = TEXT
        return DataElement(tag, "SQ", Sequence([item]))
    return DataElement(tag, vr, values.get(vr, TEXT), already_converted=vr == "UN")


MARKED = {tag: marked(tag, vr) for tag, vr in profile_tags()}


def mark(dataset: Dataset) -> None:
    """Add every attribute of the profile, and private ones, to a dataset and what it nests."""
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                mark(item)
    dataset.update(MARKED)
    block = dataset.private_block(0x0019, TEXT, create=True)
    block.add_new(0x01, "PN", TEXT)
    nested = Dataset()
    nested.PatientID = TEXT
    block.add_new(0x02, "SQ", Sequence([nested]))
    block.add_new(0x03, "UN", TEXT.encode())


def classic() -> DicomSeries:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData, lut.ModalityLUTType = [2, 0, 16], [0, 1], "US"
    lut["LUTData"].VR = lut["LUTDescriptor"].VR = "US"
    attributes = {
        "RescaleSlope": [1, 2, 3, 4, 5],
        "RescaleIntercept": 0,
        "WindowCenter": 40,
        "WindowWidth": 400,
        "ModalityLUTSequence": Sequence([lut]),
    }
    return classic_series(
        made_up(sop_class=MRImageStorage, modality="MR", dtype="uint16", **attributes)
    )


def enhanced(tmp_path: Path) -> DicomSeries:
    path = tmp_path / "sample.dcm"
    write_dicom(classic(), path, derivation=Derivation(1.0), enhanced=True)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = EnhancedMRImageStorage
    return enhanced_series(dataset)


@pytest.fixture(params=["classic", "enhanced"])
def marked_series(request: pytest.FixtureRequest, tmp_path: Path) -> DicomSeries:
    series = classic() if request.param == "classic" else enhanced(tmp_path)
    mark(series.shared)
    for frame in series.frames:
        mark(frame)
    return series


def elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


IN_PROFILE = re.compile(
    "|".join(group + element for group, element, _, _ in ROWS).replace("x", ".")
)


@cache
def is_in_profile(tag: BaseTag) -> bool:
    return tag.is_private or IN_PROFILE.fullmatch(f"{tag.group:04X}{tag.element:04X}") is not None


def encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def test_table_is_whole() -> None:
    assert len(ROWS) == 655
    assert {"00100010", "00100020", "00080080", "0020000D", "0020000E", "00080018"} <= {
        group + element for group, element, _, _ in ROWS
    }


def test_marks_are_found(marked_series: DicomSeries) -> None:
    for dataset in (marked_series.shared, *marked_series.frames):
        found = encoded(dataset)
        assert all(marker in found for marker in MARKERS)
        assert sum(is_in_profile(element.tag) for element in elements(dataset)) > 650


def test_nothing_of_the_profile_is_kept(marked_series: DicomSeries) -> None:
    kept = essential(marked_series)
    for dataset in (kept.shared, *kept.frames):
        assert len(dataset)
        assert not [e for e in elements(dataset) if is_in_profile(e.tag)]
        found = encoded(dataset)
        assert not [marker for marker in MARKERS if marker in found]


@pytest.mark.parametrize("many_frames", [False, True])
def test_nothing_of_the_profile_is_written(
    marked_series: DicomSeries, tmp_path: Path, many_frames: bool
) -> None:
    output = tmp_path / "out"
    write_dicom(essential(marked_series), output, derivation=Derivation(9.0), enhanced=many_frames)
    for path in [output] if many_frames else output.iterdir():
        found = path.read_bytes()
        assert not [marker for marker in MARKERS if marker in found]
        left = [e for e in elements(pydicom.dcmread(path)) if is_in_profile(e.tag) and e.value]
        # What is there is the new file's own.
        assert {e.keyword for e in left} <= {
            "ContributionDescription",
            "ContentDate",
            "ContentTime",
            "DerivationDescription",
            "DeviceSerialNumber",
            "DimensionOrganizationUID",
            "FrameOfReferenceUID",
            "SeriesInstanceUID",
            "SOPInstanceUID",
            "StudyInstanceUID",
        }


def kept_keywords(attributes: Mapping[str, Any]) -> Iterator[str]:
    for keyword, rule in attributes.items():
        yield keyword
        if isinstance(rule, Mapping):
            yield from kept_keywords(rule)


def test_no_attribute_on_the_list_is_in_the_profile() -> None:
    keywords = set(kept_keywords(module._SHARED))
    assert len(keywords) > 100
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert not is_in_profile(Tag(tag)), keyword


# Attributes that are kept, with what they are not for


@pytest.mark.parametrize("vr", ["LO", "PN", "CS", "DS", "UN", "OB", "UT", "DA"])
def test_text_in_a_kept_attribute_is_not_kept(vr: str) -> None:
    series = classic()
    for dataset in (series.shared, *series.frames):
        for keyword in set(kept_keywords(module._SHARED)) - {"LUTData"}:
            tag = Tag(keyword)
            if dictionary_VR(tag) == "SQ":
                continue
            # For DS: a number in characters, and then more.
            dataset[tag] = DataElement(tag, "LO", f"1 {TEXT}") if vr == "DS" else marked(tag, vr)
    kept = essential(series)
    for dataset in (kept.shared, *kept.frames):
        found = encoded(dataset)
        assert not [marker for marker in MARKERS if marker in found]


def test_every_attribute_of_the_dictionary_with_text() -> None:
    series = classic()
    for number in DicomDictionary:
        tag = Tag(number)
        if tag.group > 2 and tag.group not in (0x7FE0, 0xFFFE) and dictionary_keyword(tag):
            series.shared[tag] = marked(tag, "LO")
    found = encoded(essential(series).shared)
    assert not [marker for marker in MARKERS if marker in found]


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("ImageType", ["ORIGINAL", "PRIMARY", TEXT, "AXIAL"], ["ORIGINAL", "PRIMARY"]),
        ("ImageType", ["DERIVED", "SECONDARY", "M", "ND"], ["DERIVED", "SECONDARY", "M", "ND"]),
        ("RescaleType", TEXT, "US"),
        ("RescaleType", "HU", "HU"),
        ("Units", TEXT, None),
        ("Units", "BQML", "BQML"),
        ("Manufacturer", TEXT, None),
        ("Manufacturer", "SIEMENS", "SIEMENS"),
        ("LossyImageCompressionMethod", ["ISO_10918_1", TEXT], "ISO_10918_1"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"),
        ("SOPClassUID", f"1.2.{DIGITS}", "1.2.840.10008.5.1.4.1.1.7"),
        (
            "SOPClassUID",
            "1.2.840.10008.5.1.4.1.1.130",
            "1.2.840.10008.5.1.4.1.1.128.1",
        ),
        ("WindowCenter", ["40", "5e1"], ["40", "5e1"]),
        ("WindowCenter", list(range(100)), None),
        ("PixelSpacing", [1, 2, 3], None),
        ("PixelSpacing", ["0.97656200000000", "1e-1"], ["0.97656200000000", "1e-1"]),
        ("SliceThickness", "", None),
        ("PatientPosition", "HFS", "HFS"),
        ("PhotometricInterpretation", "RGB", None),
    ],
)
def test_values_that_are_kept(keyword: str, value: Any, kept: Any) -> None:
    series = classic()
    series.shared.add_new(keyword, dictionary_VR(keyword), value)
    found = essential(series).shared.get(keyword)
    if isinstance(kept, list):
        assert [str(x) for x in found] == [str(x) for x in kept]
    else:
        assert found == kept


def test_numbers_are_kept_as_they_were_written() -> None:
    series = classic_series(made_up(first=(0.1, 1 / 3, -1e-5)))
    kept = essential(series)
    for before, after in zip(series.frames, kept.frames, strict=True):
        assert list(map(str, before.ImagePositionPatient)) == list(
            map(str, after.ImagePositionPatient)
        )


def test_lookup_tables_are_kept() -> None:
    kept = essential(classic()).shared.ModalityLUTSequence[0]
    assert (list(kept.LUTDescriptor), list(kept.LUTData)) == ([2, 0, 16], [0, 1])
    assert kept.ModalityLUTType == "US"


def test_the_data_is_the_same_and_the_series_left_alone() -> None:
    series = classic()
    before = [dataset.to_json() for dataset in (series.shared, *series.frames)]
    kept = essential(series)
    assert kept.data is series.data
    assert len(kept.frames) == len(series.frames)
    assert before == [dataset.to_json() for dataset in (series.shared, *series.frames)]
