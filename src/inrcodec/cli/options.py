"""Options and arguments that several commands share."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click

from inrcodec.limits import Limits

FILE = click.Path(path_type=Path, allow_dash=True)
"""A path, or ``-`` for a standard stream; whether it exists is for the library to say."""

device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto is CUDA where there is a GPU.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads.  [default: one for each core]",
)
force = click.option("-f", "--force", is_flag=True, help="Replace the output if it exists.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")

_LIMIT_FIELDS = {field.name.replace("_", "-"): field.name for field in fields(Limits)}


def _limits(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Limits:
    given: dict[str, int] = {}
    for text in values:
        name, _, value = text.partition("=")
        if name not in _LIMIT_FIELDS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(_LIMIT_FIELDS)}.")
        given[_LIMIT_FIELDS[name]] = click.IntRange(min=1)(value, param, ctx)
    return Limits(**given)


limits = click.option(
    "--limit",
    "limits",
    multiple=True,
    callback=_limits,
    metavar="NAME=N",
    help="Read a file up to this limit; may be repeated. "
    f"NAME is one of {', '.join(_LIMIT_FIELDS)}.",
)
