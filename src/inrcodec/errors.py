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


class InputError(InrcodecError):
    """The volume given cannot be encoded as it is: unreadable, unsupported, non-finite."""

    exit_code = 3


class UnsupportedVolumeError(InputError):
    """A kind of volume this codec does not code (colour, complex, more than four axes)."""


class NonFiniteError(InputError):
    """The volume holds NaN or infinite voxels."""


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
    """The file claims more than the reader's limits allow; nothing was allocated."""


class BudgetError(InrcodecError):
    """No file of the size asked for exists; the message gives the smallest reachable one."""

    exit_code = 5


class OutputError(InrcodecError):
    """The output cannot be written: it exists, its folder is missing, the disk is full."""

    exit_code = 6


class DeviceError(InrcodecError):
    """The device asked for is not available on this machine."""

    exit_code = 7


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put a file's name in front of what is wrong with its bytes."""
    try:
        yield
    except BitstreamError as error:
        raise type(error)(f"{name}: {error}") from error
