"""``inrcodec verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors, show_error
from inrcodec.cli.progress import progress_display
from inrcodec.cli.streams import read_moec, standard_output, stream_name
from inrcodec.errors import BitstreamError, naming
from inrcodec.limits import Limits


@click.command()
@click.argument("sources", metavar="FILE...", nargs=-1, required=True, type=options.FILE)
@options.device
@options.threads
@options.limits
@options.quiet
@options.debug
def verify(
    sources: tuple[Path, ...],
    device: str,
    threads: int | None,
    limits: Limits,
    quiet: bool,
    debug: bool,
) -> None:
    """Decode .moec files in memory, and compare all voxels with their checksum.

    FILE is a .moec file, or - for standard input. All files are checked, whatever is wrong with
    one of them.
    """
    with cli_errors(debug):
        exit_code = 0
        for source in sources:
            try:
                data = read_moec(source, limits)
                with progress_display(quiet) as on_progress, naming(stream_name(source)):
                    from inrcodec.decoder import verify_bytes

                    verify_bytes(
                        data, device=device, threads=threads, limits=limits, on_progress=on_progress
                    )
            except BitstreamError as error:
                show_error(f"error: {error}", debug)
                exit_code = exit_code or error.exit_code
            else:
                if not quiet:
                    with standard_output():
                        click.echo(f"{stream_name(source)}: ok")
        sys.exit(exit_code)
