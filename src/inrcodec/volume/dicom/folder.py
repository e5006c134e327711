"""Writing a folder of files whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inrcodec.errors import OutputError
from inrcodec.output import sync_folder


def check_output_folder(path: Path, overwrite: bool, ours: re.Pattern[str]) -> None:
    """Raise `OutputError` now, before any work, where `atomic_folder` would later."""
    try:
        if not path.exists():
            names = []
        elif not path.is_dir():
            raise OutputError(f"{path}: is a file; name a folder")
        elif path.samefile(os.curdir) or os.path.ismount(path):
            raise OutputError(f"{path}: cannot be replaced from within; name a new folder")
        else:
            names = [entry.name for entry in path.iterdir()]
        parent = path.resolve().parent
        parent_exists = parent.is_dir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    if names and not overwrite:
        raise OutputError(f"{path}: is not empty; use --force to replace it")
    for name in names:
        if not ours.fullmatch(name):
            raise OutputError(
                f"{path}: holds {name!r}, which no decoded series does; name another folder"
            )
    if not parent_exists:
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable")


@contextmanager
def atomic_folder(path: Path, overwrite: bool, ours: re.Pattern[str]) -> Iterator[Path]:
    """Yield a new folder, which appears at ``path`` with its files only if the block succeeds.

    The files are written to a folder beside it, ``.inrcodec-*``, and reach the disk before it is
    renamed. An empty folder at ``path`` is taken; one with files only with ``overwrite``, and only
    if the names of all of them match ``ours``, so that nothing else can be lost. Raises
    `OutputError` where the folder cannot be written.
    """
    check_output_folder(path, overwrite, ours)
    target = path.resolve()
    temporary = target.parent / f".inrcodec-{secrets.token_hex(4)}"
    try:
        try:
            temporary.mkdir()
            yield temporary
            for file in temporary.iterdir():
                _sync_file(file)
            sync_folder(temporary)
            check_output_folder(path, overwrite, ours)
            _replace(temporary, target)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(target.parent)


def _replace(temporary: Path, path: Path) -> None:
    """Rename; what was there before is there again if that fails."""
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        with suppress(FileNotFoundError):
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
