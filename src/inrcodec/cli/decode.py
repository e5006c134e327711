"""``inrcodec decode``."""

from __future__ import annotations

from pathlib import Path

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.progress import progress_display
from inrcodec.cli.streams import STANDARD, read_moec, stream_name
from inrcodec.errors import naming
from inrcodec.output import atomic_output, check_output


@click.command()
@click.argument("source", type=options.FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write, .nii or .nii.gz.  [default: SOURCE with .decoded.nii.gz for .moec]",
)
@options.device
@options.threads
@options.force
@options.quiet
@options.debug
def decode(
    source: Path,
    output: Path | None,
    device: str,
    threads: int | None,
    force: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Decode a .moec file to NIfTI.

    SOURCE is a .moec file, or - for standard input.
    """
    if output is None:
        if source == STANDARD:
            raise click.UsageError("standard input has no name: name the output with -o.")
        output = _default_output(source)
    if not output.name.lower().endswith((".nii", ".nii.gz")):
        raise click.UsageError(f"the output {output} must end in .nii or .nii.gz.")
    with cli_errors(debug):
        check_output(output, force)
        data = read_moec(source)
        with progress_display(quiet) as on_progress:
            from inrcodec.decoder import decode_bytes
            from inrcodec.volume.nifti import write_nifti

            with naming(stream_name(source)):
                volume = decode_bytes(data, device=device, threads=threads, on_progress=on_progress)
            with atomic_output(output, force) as file:
                write_nifti(volume, file, compress=output.name.lower().endswith(".gz"))


def _default_output(source: Path) -> Path:
    name = source.name
    if name.lower().endswith(".moec"):
        name = name[: -len(".moec")]
    return source.parent / f"{name}.decoded.nii.gz"
