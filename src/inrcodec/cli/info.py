"""``inrcodec info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.streams import read_moec, standard_output, stream_name
from inrcodec.cli.tables import chunks_row, network_row, print_table, size_row
from inrcodec.errors import naming
from inrcodec.limits import Limits

if TYPE_CHECKING:
    from inrcodec.info import Info


@click.command()
@click.argument("source", type=options.FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--preview", is_flag=True, help="Draw the middle planes, decoded coarsely.")
@options.limits
@options.debug
def info(source: Path, as_json: bool, preview: bool, limits: Limits, debug: bool) -> None:
    """Describe a .moec file without decoding it; the checksums of its chunks are verified.

    SOURCE is a .moec file, or - for standard input.
    """
    if as_json and preview:
        raise click.UsageError("--json and --preview exclude each other.")
    with cli_errors(debug):
        from inrcodec.info import read_info

        data = read_moec(source, limits)
        with naming(stream_name(source)):
            found = read_info(data, limits)
            picture = _preview(data, limits) if preview else ""
        with standard_output():
            if as_json:
                click.echo(json.dumps({"file": str(source), **found.as_dict()}, indent=2))
            else:
                print_table(_rows(stream_name(source), found))
                if preview:
                    click.echo(f"\n{picture}")


def _preview(data: bytes, limits: Limits) -> str:
    """The planes in colours that the terminal has, or in plain characters."""
    from rich.console import Console

    from inrcodec.reader import Reader
    from inrcodec.report.terminal import draw_preview

    console = Console()
    columns, rows = console.size
    has_colours = console.is_terminal and console.color_system is not None and not console.no_color
    reader = Reader(data, limits=limits)
    text = draw_preview(reader, columns - 1, max(rows - 2, 8), colour=has_colours)
    with console.capture() as capture:
        console.print(text, no_wrap=True, crop=False)
    return capture.get()


def _rows(name: str, info: Info) -> dict[str, str]:
    from inrcodec.bitstream.geometry import no_geometry
    from inrcodec.info import NOTICE

    header, geometry = info.header, info.geometry
    shape = " x ".join(map(str, header.shape))
    values = " to ".join(
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in (header.low, header.high)
    )
    if info.scaling is None:
        values += (
            " as stored; real values by a rescale that differs between slices, or a lookup table: "
            "decode to DICOM"
        )
    elif info.scaling != (1.0, 0.0):
        slope, intercept = info.scaling
        values += f" as stored; real value = {slope:g} x stored {intercept:+g}"
    spacing = ", ".join(
        f"{axis} {length:g} {unit or '(no unit)'}"
        for axis, length, unit in zip(info.axes, info.spacing, info.units, strict=True)
    )
    if info.modality is not None:
        kept = "all attributes (they identify the patient)"
        if not info.has_full_header:
            kept = "what shows the image, nothing that identifies the patient"
        metadata = f"DICOM {info.modality}, {kept}"
    elif info.has_full_header:
        metadata = f"NIfTI-{geometry.version}, full header (may identify a patient)"
    elif geometry == no_geometry(header.shape):
        metadata = "none"
    else:
        metadata = f"NIfTI-{geometry.version}, geometry only"
    return {
        "file": name,
        "size": size_row(info.file_bytes, info.ratio, info.bits_per_voxel),
        "format": f"version {info.format_version}",
        "volume": f"{shape} {header.dtype.name}",
        "values": values,
        "spacing": spacing,
        "metadata": metadata,
        "network": network_row(info.architecture, info.bits_per_weight),
        "chunks": chunks_row(info.chunk_bytes),
        "note": NOTICE,
    }
