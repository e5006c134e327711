"""Every error a user can meet, one class a kind, each with its exit code.

A message is one line that names the file where there is one, says what is wrong, and what to do.
The command line prints that line and exits with the class's ``exit_code``; docs/cli.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InrcodecError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1

    table = ""
    """What there is to choose from, line by line, where the message asks for a choice."""


class InputError(InrcodecError):
    """The volume given cannot be encoded or compared as it is: unreadable, unsupported,
    non-finite."""

    exit_code = 3


class UnsupportedVolumeError(InputError):
    """A kind of volume this codec does not code (colour, complex, more than four axes)."""


class NonFiniteError(InputError):
    """The volume holds NaN or infinite voxels."""


class MismatchError(InputError):
    """Two volumes to be compared have not the same grid: other shapes, or other places in space."""


class RegionError(InrcodecError):
    """The part or the sampling asked for does not fit the volume; the message names the axis."""

    exit_code = 2


class BitstreamError(InrcodecError):
    """The ``.moec`` data is damaged, truncated, or breaks a rule of docs/format.md."""

    exit_code = 4


class TruncatedError(BitstreamError):
    """The data ends before a field that the format requires."""


class ChecksumError(BitstreamError):
    """A CRC-32 does not match the bytes it covers."""


class UnsupportedVersionError(BitstreamError):
    """The file's format version, or a critical chunk in it, is unknown to this reader."""


class LimitExceededError(BitstreamError):
    """The file claims more than the reader's limits allow; nothing was allocated.

    ``limit`` is the field of `inrcodec.limits.Limits` that would have to be ``claimed`` or more.
    """

    def __init__(self, message: str, limit: str = "", claimed: int = 0) -> None:
        super().__init__(message)
        self.limit = limit
        self.claimed = claimed


class BudgetError(InrcodecError):
    """No file of the size asked for exists; the message gives the smallest reachable one."""

    exit_code = 5


class OutputError(InrcodecError):
    """The output cannot be written: it exists, its folder is missing, the disk is full."""

    exit_code = 6


class DeviceError(InrcodecError):
    """The device asked for is not available on this machine."""

    exit_code = 7


class OutOfMemoryError(InrcodecError, MemoryError):
    """What was asked for does not fit into this machine's memory; nothing was allocated."""

    exit_code = 8


class MissingPackageError(InrcodecError):
    """What was asked for needs an optional package that is not installed; the message names it."""

    exit_code = 9


class PeerError(InrcodecError):
    """Another codec, which `inrcodec.bench` runs, failed; the benchmark goes on without it."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put a file's name, unless it is empty, in front of what is wrong with its bytes, or with what
    is asked of it."""
    try:
        yield
    except (InputError, BitstreamError, RegionError, OutOfMemoryError) as error:
        if name:
            error.args = (f"{name}: {error}",)
        raise


_MEMORY_PHRASES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that memory is short, in Python's, numpy's or torch's words."""
    # torch raises a RuntimeError of its own; naming its type would import it.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(phrase in str(error).lower() for phrase in _MEMORY_PHRASES)
    )
