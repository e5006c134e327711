"""``.moec`` bytes in and out: files, and ``-`` for the standard streams."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from inrcodec.bitstream.container import read_file
from inrcodec.errors import BitstreamError, naming
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.output import atomic_output, check_output

STANDARD = Path("-")


def stream_name(source: Path) -> str:
    """What messages call a ``.moec`` input."""
    return "standard input" if source == STANDARD else str(source)


def read_moec(source: Path) -> bytes:
    """All bytes of a file or of standard input, refused beyond the limit of a file's size."""
    with naming(stream_name(source)):
        if source == STANDARD:
            if sys.stdin.isatty():
                raise click.UsageError("standard input is a terminal: pipe a .moec file into it.")
            return read_file(sys.stdin.buffer, DEFAULT_LIMITS)
        try:
            with source.open("rb") as file:
                return read_file(file, DEFAULT_LIMITS)
        except OSError as error:
            raise BitstreamError(f"cannot be read: {error.strerror}") from error


def check_moec_output(path: Path, overwrite: bool) -> None:
    """Raise now, before any work, where `moec_output` would later."""
    if path != STANDARD:
        check_output(path, overwrite)
    elif sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: pipe it, or name a file with -o.")


@contextmanager
def moec_output(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file that appears only if the block succeeds, or standard output."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with atomic_output(path, overwrite) as file:
            yield file
