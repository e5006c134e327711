"""One measurement, and the file that keeps them."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from inrcodec.errors import InputError
from inrcodec.output import atomic_output

Key = tuple[str, str, float]

ENDS = "its finest setting leaves bytes unused"
"""Note of a file that is as large as its codec makes it, and leaves more than 1 % of the target."""

OWN = "inrcodec"
"""The codec that the others are compared with, by the default preset; by another one the name of
that follows."""


def without_preset(codec: str) -> str:
    """What a measured codec is asked for by."""
    return codec.partition(" ")[0]


def is_own(codec: str) -> bool:
    """Whether that is inrcodec, by whatever preset."""
    return without_preset(codec) == OWN


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: two measurements of one subject would be the same, their seconds apart."""

    volume: str
    """Name of the file, without its suffix."""
    shape: str
    dtype: str
    raw_bytes: int
    checksum: str
    """CRC-32 of the stored voxels, in hexadecimal."""
    codec: str
    version: str
    settings: str
    target: float
    """The ratio asked for."""

    @property
    def key(self) -> Key:
        return self.volume, self.codec, self.target


@dataclass(frozen=True, slots=True)
class Measurement:
    """A codec's file, or why there is none: then ``note`` says so, and figures are None. The note
    of a file is empty, or `ENDS`.

    PSNR is in dB, with the range of the original's values (``psnr``) or its dtype's maximum
    (``psnr_dtype``) as peak. ``factor`` is the down-sampling of each axis before the codec.
    """

    subject: Subject
    date: str
    bytes: int | None = None
    ratio: float | None = None
    psnr: float | None = None
    psnr_dtype: float | None = None
    ssim: float | None = None
    max_error: float | None = None
    factor: int | None = None
    parameter: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    note: str = ""


_SUBJECT = [field.name for field in fields(Subject)]
_FIGURES = [field.name for field in fields(Measurement) if field.name != "subject"]
_INTEGERS = {"raw_bytes", "bytes", "factor"}
_TEXTS = {"volume", "shape", "dtype", "checksum", "codec", "version", "settings", "date", "note"}


class Results:
    """Measurements in a CSV file, one for each volume, codec and ratio.

    The file is complete after each measurement, whatever happens next; a line that is deleted is
    measured anew. It is read anew each time, and added to under a lock: several runs may share it.
    Whatever reads it raises `InputError` where it is no such file.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there, to find now what is wrong with it."""
        self._path = path
        self._rows()

    def __iter__(self) -> Iterator[Measurement]:
        """In the order in which volumes and codecs were first measured, ratios ascending."""
        return iter(_in_order(self._rows()))

    def has(self, subject: Subject) -> bool:
        """Whether it was measured already: these voxels, by this version with these settings."""
        row = self._rows().get(subject.key)
        return row is not None and row.subject == subject

    def add(self, row: Measurement) -> None:
        """Keep it, in place of one of other voxels, another version or other settings."""
        with _locked(self._path.parent):
            rows = self._rows()
            rows[row.subject.key] = row
            with atomic_output(self._path, overwrite=True) as file:
                file.write(_write(_in_order(rows)).encode())

    def _rows(self) -> dict[Key, Measurement]:
        rows = _read(self._path) if self._path.exists() else ()
        return {row.subject.key: row for row in rows}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of the block meanwhile, where the file system can lock a folder."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _in_order(found: Mapping[Key, Measurement]) -> list[Measurement]:
    rows = list(found.values())
    volumes = list(dict.fromkeys(row.subject.volume for row in rows))
    codecs = list(dict.fromkeys(row.subject.codec for row in rows))
    return sorted(
        rows,
        key=lambda row: (
            volumes.index(row.subject.volume),
            codecs.index(row.subject.codec),
            row.subject.target,
        ),
    )


def _write(rows: Iterable[Measurement]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _SUBJECT + _FIGURES, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        figures = asdict(row)
        writer.writerow({**figures.pop("subject"), **figures})
    return text.getvalue()


def _read(path: Path) -> Iterator[Measurement]:
    try:
        with path.open(newline="") as file:
            lines = csv.DictReader(file, strict=True)
            if lines.fieldnames != _SUBJECT + _FIGURES:
                raise ValueError("other columns")
            for line in lines:
                if None in line or None in line.values():  # for fields too many, and too few
                    raise ValueError(f"line {lines.line_num} has too many fields, or too few")
                subject = Subject(**{name: _value(name, line[name]) for name in _SUBJECT})
                yield Measurement(subject, **{name: _value(name, line[name]) for name in _FIGURES})
    except (OSError, UnicodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no measurements ({error}): move it away, or name another folder"
        ) from None


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    if text == "":
        return None
    return int(text) if name in _INTEGERS else float(text)
