"""``inrcodec decode``."""

from __future__ import annotations

from pathlib import Path

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.progress import progress_display
from inrcodec.cli.streams import STANDARD, read_moec, stream_name
from inrcodec.errors import OutputError, naming
from inrcodec.limits import Limits
from inrcodec.volume.write import VolumeOutput


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
    help="What to write: a .nii or .nii.gz file, a folder for DICOM files, or a .dcm file for "
    "multi-frame DICOM.  [default: SOURCE with .decoded.nii.gz for .moec]",
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
@click.option(
    "--enhanced",
    is_flag=True,
    help="Write one multi-frame DICOM file.  [default name: SOURCE with .decoded.dcm for .moec]",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="DICOM: the same UIDs each time, made of the content; else they are random.",
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
    enhanced: bool,
    deterministic: bool,
    device: str,
    threads: int | None,
    limits: Limits,
    force: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Decode a .moec file to NIfTI or DICOM, or a part of it to NIfTI.

    SOURCE is a .moec file, or - for standard input.
    """
    if output is None:
        if source == STANDARD:
            raise click.UsageError("standard input has no name: name the output with -o.")
        output = _default_output(source, ".dcm" if enhanced else ".nii.gz")
    if enhanced and output.suffix.lower() != ".dcm":
        raise click.UsageError(f"--enhanced writes one file: the output {output} must end in .dcm.")
    if output == STANDARD:
        raise click.UsageError("volumes do not go through standard output: name a file or folder.")
    try:
        target = VolumeOutput(output, force, deterministic)
    except OutputError as error:
        raise click.UsageError(f"{error}.") from None
    if scale is not None and spacing is not None:
        raise click.UsageError("--scale and --spacing exclude each other.")
    with cli_errors(debug):
        target.check()
        data = read_moec(source, limits)
        with progress_display(quiet) as on_progress:
            from inrcodec.decoder import decode_bytes
            from inrcodec.info import read_info
            from inrcodec.volume.selection import Selection

            with naming(stream_name(source)):
                decoded = decode_bytes(
                    data,
                    selection=Selection(roi, volume, scale, spacing),
                    output=target,
                    device=device,
                    threads=threads,
                    limits=limits,
                    on_progress=on_progress,
                )
            target.write(decoded, read_info(data, limits).ratio)


def _default_output(source: Path, suffix: str) -> Path:
    name = source.name
    if name.lower().endswith(".moec"):
        name = name[: -len(".moec")]
    return source.parent / f"{name}.decoded{suffix}"
