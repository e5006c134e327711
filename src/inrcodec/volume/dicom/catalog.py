"""The series among the files of a source, and the choice of one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inrcodec.errors import InputError
from inrcodec.volume.dicom.damage import damage_reported, one_line
from inrcodec.volume.dicom.files import Source
from inrcodec.volume.dicom.header import Header, read_header
from inrcodec.volume.dicom.slices import frame_count

_COLUMNS = ("number", "modality", "size", "slices", "description", "UID")


class SeveralSeriesError(InputError):
    """There is more than one series to choose from, or none as asked for.

    ``table`` shows them; its rows are ``rows``.
    """

    def __init__(self, message: str, rows: Sequence[SeriesSummary]) -> None:
        cells = [_COLUMNS, *(row.cells() for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        )
        super().__init__(message)
        self.table = "\n".join(lines)
        self.rows = tuple(rows)


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What identifies a series to a person who has to choose."""

    number: int
    """From 1; what ``series`` of `read_dicom` takes, like ``uid``."""
    modality: str
    columns: int
    rows: int
    slices: int
    description: str
    """SeriesDescription."""
    uid: str
    """SeriesInstanceUID."""

    def cells(self) -> tuple[str, ...]:
        """Return the row of a table: number, modality, size, slices, description, UID."""
        size = f"{self.columns} x {self.rows}"
        texts = (self.number, self.modality, size, self.slices, self.description, self.uid)
        return tuple(map(one_line, texts))


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The images of a source, series by series. Each multi-frame file is one for itself."""

    source: Source
    series: tuple[tuple[Header, ...], ...]
    skipped: int
    """Files passed over: not DICOM, or DICOM without an image."""

    def choose(self, wanted: str | None) -> tuple[Header, ...]:
        """Return the files of the series with that UID or number; the only one for None.

        Raises `SeveralSeriesError` where that is not one series.
        """
        path = self.source.path
        if wanted is None:
            if len(self.series) == 1:
                return self.series[0]
            raise SeveralSeriesError(
                f"{path}: {len(self.series)} series; choose one by its number or UID: --series 1",
                self.summaries(),
            )
        rows = self.summaries()
        found = [
            headers
            for row, headers in zip(rows, self.series, strict=True)
            if wanted in (str(row.number), row.uid)
        ]
        if len(found) == 1:
            return found[0]
        raise SeveralSeriesError(
            f"{path}: {'several files are' if found else 'there is no'} series "
            f"{one_line(wanted)}; choose one by its number: --series 1",
            rows,
        )

    def summaries(self) -> tuple[SeriesSummary, ...]:
        """Return a row for each series, in the order of their numbers."""
        return tuple(
            _summary(number, headers) for number, headers in enumerate(self.series, start=1)
        )


def read_catalog(source: Source) -> Catalog:
    """Read the headers of all files of ``source`` and sort them by series.

    Raises ``InputError`` for a DICOM file that is damaged, and where there is no image.
    """
    series: dict[tuple[str, str], list[Header]] = {}
    files = skipped = foreign = 0
    for number, name, stream in source.files():
        files += 1
        header = None if stream is None else read_header(number, name, stream, source.limits)
        if header is None:
            skipped += 1
            foreign += stream is None
            continue
        with damage_reported(name):
            uid = str(header.dataset.get("SeriesInstanceUID") or "")
            multi_frame = "PerFrameFunctionalGroupsSequence" in header.dataset
        series.setdefault((uid, name if multi_frame else ""), []).append(header)
    if not series:
        if files == 1:
            raise InputError(
                f"{source.path}: {'not a DICOM file' if foreign else 'DICOM, but no image'}"
            )
        raise InputError(f"{source.path}: no DICOM image among {files} files")
    ordered = sorted(series.items(), key=lambda entry: (_series_number(entry[1][0]), entry[0]))
    return Catalog(source, tuple(tuple(headers) for _, headers in ordered), skipped)


def _series_number(header: Header) -> int:
    value = _plain(header, "SeriesNumber")
    return value if isinstance(value, int) else sys.maxsize


def _summary(number: int, headers: Sequence[Header]) -> SeriesSummary:
    first = headers[0]
    return SeriesSummary(
        number,
        modality=str(_plain(first, "Modality")),
        columns=_plain(first, "Columns") or 0,
        rows=_plain(first, "Rows") or 0,
        slices=sum(frame_count(header) for header in headers),
        description=str(_plain(first, "SeriesDescription")),
        uid=str(_plain(first, "SeriesInstanceUID")),
    )


def _plain(header: Header, keyword: str) -> Any:
    with damage_reported(header.name):
        value = header.dataset.get(keyword)
        return "" if value is None else value
