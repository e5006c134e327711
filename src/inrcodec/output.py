"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from inrcodec.errors import OutputError


def check_output(path: Path, overwrite: bool) -> None:
    """Raise `OutputError` now, before any work, where `atomic_output` would later."""
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # no name for a file: too long, or through a file as if a folder
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    if os.path.lexists(path) and not overwrite:  # a link that leads nowhere is there, too
        raise OutputError(f"{path}: exists already; use --force to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable")


@contextmanager
def atomic_output(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a binary file that appears at ``path`` only if the block succeeds.

    The bytes go to a temporary file beside it, ``.inrcodec-*``, and reach the disk before the
    rename, and so does the rename before this returns. Raises `OutputError` where the file cannot
    be written, or is there already and not to be replaced.
    """
    check_output(path, overwrite)
    temporary: Path | None = None
    try:
        try:
            descriptor, name = tempfile.mkstemp(prefix=".inrcodec-", dir=path.parent)
            temporary = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                temporary.chmod(0o666 & ~_umask())
                os.fsync(file.fileno())
            if overwrite:
                temporary.replace(path)
            else:
                _rename_to_new(temporary, path)
        except FileExistsError:
            raise OutputError(f"{path}: exists already; use --force to replace it") from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
    sync_folder(path.parent)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename, but fail where another program made ``path`` meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: exFAT, some network mounts
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Make a rename in it survive a power loss, where the system can."""
    with suppress(OSError):  # Windows opens no folders, and some network mounts sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
