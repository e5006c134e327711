"""``inrcodec decode``."""

from __future__ import annotations

from pathlib import Path

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.progress import progress_display
from inrcodec.cli.streams import STANDARD, read_moec, stream_name
from inrcodec.errors import naming
from inrcodec.limits import Limits
from inrcodec.output import atomic_output, check_output


def _numbers(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        first, *others = map(float, text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number, nor one for each axis.") from None
    return (first, *others) if others else first


@click.command()
@click.argument("source", type=options.FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write, .nii or .nii.gz.  [default: SOURCE with .decoded.nii.gz for .moec]",
)
@click.option(
    "--roi",
    metavar="REGION",
    help="Decode these voxels only, x first, as numpy slices them: 10:50,:,20",
)
@click.option(
    "--volume",
    type=int,
    metavar="T",
    help="Decode this volume of a time series only, to a 3D file; -1 is the last.",
)
@click.option(
    "--scale",
    callback=_numbers,
    metavar="S",
    help="Decode S samples for each voxel, along all spatial axes or along each: 0.5 or 1,1,2",
)
@click.option(
    "--spacing",
    callback=_numbers,
    metavar="MM",
    help="Decode samples of about this spacing, along all spatial axes or along each.",
)
@options.device
@options.threads
@options.limits
@options.force
@options.quiet
@options.debug
def decode(
    source: Path,
    output: Path | None,
    roi: str | None,
    volume: int | None,
    scale: float | tuple[float, ...] | None,
    spacing: float | tuple[float, ...] | None,
    device: str,
    threads: int | None,
    limits: Limits,
    force: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Decode a .moec file, or a part of it, to NIfTI.

    SOURCE is a .moec file, or - for standard input.
    """
    if output is None:
        if source == STANDARD:
            raise click.UsageError("standard input has no name: name the output with -o.")
        output = _default_output(source)
    if not output.name.lower().endswith((".nii", ".nii.gz")):
        raise click.UsageError(f"the output {output} must end in .nii or .nii.gz.")
    if scale is not None and spacing is not None:
        raise click.UsageError("--scale and --spacing exclude each other.")
    with cli_errors(debug):
        check_output(output, force)
        data = read_moec(source, limits)
        with progress_display(quiet) as on_progress:
            from inrcodec.decoder import decode_bytes
            from inrcodec.volume.nifti import write_nifti
            from inrcodec.volume.selection import Selection

            with naming(stream_name(source)):
                decoded = decode_bytes(
                    data,
                    selection=Selection(roi, volume, scale, spacing),
                    device=device,
                    threads=threads,
                    limits=limits,
                    on_progress=on_progress,
                )
            with atomic_output(output, force) as file:
                write_nifti(decoded, file, compress=output.name.lower().endswith(".gz"))


def _default_output(source: Path) -> Path:
    name = source.name
    if name.lower().endswith(".moec"):
        name = name[: -len(".moec")]
    return source.parent / f"{name}.decoded.nii.gz"
