"""The files of a folder, of a zip or tar archive, or one file alone, in an order that stays.

Members of archives are read in memory, one at a time; nothing is written, and their names are for
messages only.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from inrcodec.errors import InputError
from inrcodec.limits import Limits
from inrcodec.volume.dicom.damage import damage_reported, printable

_PREFIX_OFFSET = 128
_HEAD_BYTES = 512
"""Enough to tell DICOM, with or without a preamble, and tar."""

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC = slice(257, 262)
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}

_MAX_MEMBERS = 1 << 17
_MAX_VOXEL_BYTES = 8
_ENCRYPTED = 1

_EXPLICIT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)


class SourceFile(NamedTuple):
    """A file of a source. ``stream`` is None where it is not DICOM; it lasts until the next."""

    number: int
    name: str
    stream: BinaryIO | None


@dataclass(frozen=True, slots=True)
class Source:
    """A folder, an archive or a file, whose files can be gone through more than once."""

    path: Path
    limits: Limits

    def files(self, wanted: Container[int] | None = None) -> Iterator[SourceFile]:
        """Yield all files, or those with a number that is ``wanted``.

        Raises ``InputError`` for what cannot be read, an archive that is damaged, encrypted, or
        larger than the limits.
        """
        with damage_reported(str(self.path)):
            if self.path.is_dir():
                yield from self._folder(wanted)
                return
            with open(self.path, "rb") as file:
                head = file.read(_HEAD_BYTES)
                file.seek(0)
                if looks_like_dataset(head):
                    yield SourceFile(0, str(self.path), file)
                elif head.startswith(_ZIP_MAGICS):
                    yield from self._zip(file, wanted)
                elif archive := _tar_stream(file, head):
                    yield from self._tar(archive, wanted)
                else:
                    yield SourceFile(0, str(self.path), None)

    def _folder(self, wanted: Container[int] | None) -> Iterator[SourceFile]:
        paths = sorted(
            Path(folder, name) for folder, _, names in os.walk(self.path) for name in names
        )
        for number, path in enumerate(paths):
            if wanted is not None and number not in wanted:
                continue
            name = printable(str(path))
            if not path.is_file():  # a pipe, a broken link
                yield SourceFile(number, name, None)
                continue
            with damage_reported(name), open(path, "rb") as file:
                dicom = looks_like_dataset(file.read(_HEAD_BYTES))
                file.seek(0)
                yield SourceFile(number, name, file if dicom else None)

    def _zip(self, file: BinaryIO, wanted: Container[int] | None) -> Iterator[SourceFile]:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            self._check_count(len(members))
            self._check_total(sum(member.file_size for member in members))
            for number, member in enumerate(members):
                if wanted is not None and number not in wanted:
                    continue
                name = f"{self.path}/{printable(member.filename)}"
                if member.flag_bits & _ENCRYPTED:
                    raise InputError(f"{self.path}: encrypted; extract it and give the folder")
                with archive.open(member) as stream:
                    yield self._member(number, name, stream, member.file_size)

    def _tar(self, stream: Any, wanted: Container[int] | None) -> Iterator[SourceFile]:
        capped = _Capped(self, stream)
        with stream, tarfile.TarFile(fileobj=cast(BinaryIO, capped)) as archive:
            for number, member in enumerate(archive):
                self._check_count(number + 1)
                if not member.isreg() or (wanted is not None and number not in wanted):
                    continue
                content = archive.extractfile(member)
                name = f"{self.path}/{printable(member.name)}"
                yield self._member(number, name, content, member.size)
            # tarfile takes the end of the bytes for the end of the archive, which is a mark.
            if capped.at_end:
                raise InputError(f"{self.path}: truncated archive; copy it again")

    def _member(self, number: int, name: str, stream: Any, size: int) -> SourceFile:
        head = stream.read(_HEAD_BYTES)
        if not looks_like_dataset(head):
            return SourceFile(number, name, None)
        if size > self.limits.file_bytes:
            raise InputError(
                f"{name}: {size} bytes; at most {self.limits.file_bytes} are read from an "
                "archive: extract it and give the folder"
            )
        return SourceFile(number, name, io.BytesIO(head + stream.read()))

    def _check_count(self, members: int) -> None:
        if members > _MAX_MEMBERS:
            raise InputError(f"{self.path}: more than {_MAX_MEMBERS} files in the archive")

    def _check_total(self, size: int) -> None:
        most = self.limits.voxels * _MAX_VOXEL_BYTES
        if size > most:
            raise InputError(f"{self.path}: expands to more than {most} bytes")


class _Capped:
    """The bytes of a tar archive, uncompressed: not read beyond the limits."""

    def __init__(self, source: Source, stream: Any) -> None:
        self._source = source
        self._stream = stream
        self.at_end = False
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int) -> bytes:
        # tarfile reads as many bytes at once as a header claims.
        if size > self._source.limits.file_bytes:
            raise InputError(f"{self._source.path}: damaged: a member claims {size} bytes")
        self._source._check_total(self._stream.tell() + size)
        data: bytes = self._stream.read(size)
        self.at_end |= len(data) < size
        return data


def looks_like_dicom(path: str | Path) -> bool:
    """Whether ``path`` is for `read_dicom` to read: a folder, a DICOM file, a zip or tar archive.

    False for anything else, and for what is missing or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return True
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            return (
                looks_like_dataset(head)
                or head.startswith(_ZIP_MAGICS)
                or _tar_stream(file, head) is not None
            )
    except OSError:
        return False


def looks_like_dataset(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is DICOM, the preamble included or not."""
    if head[_PREFIX_OFFSET : _PREFIX_OFFSET + 4] == b"DICM":
        return True
    # Without a preamble: a first element of group 2 or 8 that is not absurdly long, and after it
    # an element of the same group, of a higher number.
    for byte_order in ("little", "big"):
        first = _element(head, byte_order)
        if first is None:
            continue
        (group, number), end = first
        second = _element(head[end:], byte_order)
        if group in (0x0002, 0x0008) and second and second[0][0] == group and second[0][1] > number:
            return True
    return False


def _element(data: bytes, byte_order: Any) -> tuple[tuple[int, int], int] | None:
    """Return the tag of the element at the start of ``data`` and where it ends."""
    if len(data) < 12:
        return None
    group, number = (int.from_bytes(data[at : at + 2], byte_order) for at in (0, 2))
    if data[4:6] not in _EXPLICIT_VRS:
        length, start = int.from_bytes(data[4:8], byte_order), 8
    elif data[6:8] == b"\0\0" and data[4:6] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        length, start = int.from_bytes(data[8:12], byte_order), 12
    else:
        length, start = int.from_bytes(data[6:8], byte_order), 8
    return ((group, number), start + length) if start + length <= len(data) else None


def _tar_stream(file: BinaryIO, head: bytes) -> Any | None:
    """Return the uncompressed stream of a tar archive; None if it is not one."""
    for magic, decompressor in _DECOMPRESSORS.items():
        if head.startswith(magic):
            stream = decompressor(file)
            try:
                head = stream.read(_HEAD_BYTES)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                return None
            stream.seek(0)
            break
    else:
        stream = file
    return stream if head[_TAR_MAGIC] == b"ustar" else None
