"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

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
