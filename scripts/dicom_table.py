"""Print what reading each DICOM file of pydicom's own test set gives, as a Markdown table.

Run by hand: ``python scripts/dicom_table.py``; the table is part of docs/dicom.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pydicom

from inrcodec.errors import InputError
from inrcodec.volume.dicom.files import looks_like_dicom
from inrcodec.volume.dicom.read import read_dicom

TEST_SET = Path(pydicom.__file__).parent / "data"


def outcome(path: Path) -> str:
    """Return what reading the file gives: shape and dtype, or the reason against it."""
    try:
        series = read_dicom(path)
    except InputError as error:
        return f"{type(error).__name__}: " + str(error).removeprefix(f"{path}: ")
    return f"read: {' x '.join(map(str, series.data.shape))}, {series.data.dtype}"


def main() -> None:
    files = defaultdict(list)
    for path in sorted(TEST_SET.rglob("*")):
        if path.is_file() and looks_like_dicom(path):
            folder, name = path.parent.relative_to(TEST_SET).parts, path.name
            files[outcome(path)].append(name if "dicomdirtests" not in folder else "dicomdirtests")
    print(f"| result with pydicom {pydicom.__version__} | number | files |\n|---|---|---|")
    for result, names in sorted(files.items(), key=lambda entry: ("read" not in entry[0], entry)):
        counts = Counter(names).items()
        listed = [f"{count} in {name}" if count > 1 else name for name, count in counts]
        print(f"| {result} | {len(names)} | {', '.join(listed)} |")


if __name__ == "__main__":
    main()
