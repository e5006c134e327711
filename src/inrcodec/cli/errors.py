"""Errors and signals as one line on standard error and an exit code (docs/cli.md)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from inrcodec.errors import InrcodecError, OutOfMemoryError, is_out_of_memory

UNEXPECTED = 1
OUT_OF_MEMORY = OutOfMemoryError.exit_code
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not have


class _Terminated(BaseException):
    """SIGTERM, as an exception that unwinds and so removes temporary files."""


@contextmanager
def cli_errors(debug: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line and an exit code; ``debug`` adds tracebacks."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except BrokenPipeError:
        # Nobody reads any more; Python must not find that out again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except InrcodecError as error:
        show_error(f"error: {error}", debug)
        if error.table:
            click.echo(error.table, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED, debug)
    except _Terminated:
        _fail("terminated", TERMINATED, debug)
    except Exception as error:
        if is_out_of_memory(error):
            _fail(
                "error: out of memory; close other programs, or use a machine that has more",
                OUT_OF_MEMORY,
                debug,
            )
        _fail(
            f"error: {type(error).__name__}: {error}; this is a bug in inrcodec: "
            "please report what --debug prints",
            UNEXPECTED,
            debug,
        )
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> NoReturn:
    raise _Terminated


def show_error(message: str, debug: bool) -> None:
    """Print one line on standard error, and the traceback of the exception at hand if ``debug``."""
    if debug:
        traceback.print_exc()
    click.echo("inrcodec: " + " ".join(message.split("\n")), err=True)


def _fail(message: str, code: int, debug: bool) -> NoReturn:
    show_error(message, debug)
    sys.exit(code)
