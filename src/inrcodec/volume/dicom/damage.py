"""What pydicom, its plug-ins and the archive modules raise for damaged bytes, as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inrcodec.errors import InputError, InrcodecError, OutOfMemoryError

_MAX_REASON = 160


@contextmanager
def damage_reported(name: str) -> Iterator[None]:
    """Turn every exception but the project's own into an ``InputError`` that names the file, or an
    ``OutOfMemoryError``.

    Parsers of hostile bytes raise whatever the bytes lead them to (AttributeError, struct.error,
    RecursionError, MemoryError, ...), and document little of it.
    """
    try:
        yield
    except InrcodecError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(f"{name}: does not fit in memory") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or one_line(error)}") from error
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise InputError(f"{name}: damaged: {reason}") from error


def one_line(text: object) -> str:
    """Return the text of a stranger on one line, of bounded length, printable throughout."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= _MAX_REASON else line[:_MAX_REASON] + "..."


def printable(text: str) -> str:
    """Return the text with what a terminal would not print replaced by question marks."""
    return "".join(char if char.isprintable() else "?" for char in text)
