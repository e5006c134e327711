"""``.moec`` bytes in and out: files, and ``-`` for the standard streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from inrcodec.bitstream.container import read_file
from inrcodec.errors import BitstreamError, OutputError, naming
from inrcodec.limits import Limits
from inrcodec.output import atomic_output, check_output

STANDARD = Path("-")


def stream_name(source: Path) -> str:
    """What messages call a ``.moec`` input."""
    return "standard input" if source == STANDARD else str(source)


def read_moec(source: Path, limits: Limits) -> bytes:
    """All bytes of a file or of standard input, refused beyond ``limits.file_bytes``."""
    with naming(stream_name(source)):
        if source == STANDARD:
            if sys.stdin is None:
                raise BitstreamError("cannot be read: it is closed")
            if sys.stdin.isatty():
                raise click.UsageError("standard input is a terminal: pipe a .moec file into it.")
            return read_file(sys.stdin.buffer, limits)
        try:
            with source.open("rb") as file:
                return read_file(file, limits)
        except OSError as error:
            raise BitstreamError(f"cannot be read: {error.strerror}") from error


def check_moec_output(path: Path, overwrite: bool) -> None:
    """Raise now, before any work, where `moec_output` would later."""
    if path != STANDARD:
        check_output(path, overwrite)
        return
    _check_standard_output()
    if sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: pipe it, or name a file with -o.")


@contextmanager
def moec_output(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file that appears only if the block succeeds, or standard output."""
    if path == STANDARD:
        with standard_output():
            yield sys.stdout.buffer
    else:
        with atomic_output(path, overwrite) as file:
            yield file


@contextmanager
def standard_output() -> Iterator[None]:
    """Raise `OutputError` where what the block prints does not reach its end (a full disk)."""
    _check_standard_output()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more, which is no error: `cli_errors` ends quietly
        raise
    except OSError as error:
        # Python must not find that out again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None


def _check_standard_output() -> None:
    if sys.stdout is None:  # `>&-`
        raise OutputError("standard output: cannot be written: it is closed")
