"""Results as a table of names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from inrcodec.architecture import Architecture

_UNWRAPPED = 10_000


def print_table(rows: Mapping[str, str | Sequence[str]], *, err: bool = False) -> None:
    """Print one row a line, a name and one value or more, on standard output or, if ``err``, on
    standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        values = (value,) if isinstance(value, str) else value
        table.add_row(Text(name, style="bold"), *(Text(cell, overflow="fold") for cell in values))
    console = Console(stderr=err)
    if not console.is_terminal:
        console.width = _UNWRAPPED
    # Through click, so that a closed pipe is an error like any other and not rich's own affair.
    with console.capture() as capture:
        console.print(table)
    text = "\n".join(line.rstrip() for line in capture.get().splitlines())
    click.echo(text, err=err)


def size_row(file_bytes: int, ratio: float, bits_per_voxel: float) -> str:
    return f"{file_bytes:,} bytes, ratio {ratio:,.1f}, {bits_per_voxel:.3g} bits per voxel"


_CHUNKS = {"V": "volume", "G": "geometry", "D": "DICOM", "N": "network", "m": "metadata"}


def chunks_row(chunk_bytes: Mapping[str, int]) -> str:
    parts = (f"{_CHUNKS.get(letter, letter)} {size:,}" for letter, size in chunk_bytes.items())
    return ", ".join(parts) + " bytes"


def network_row(architecture: Architecture | None, bits_per_weight: float | None) -> str:
    a = architecture
    if a is None:
        return "none: all voxels have one value"
    parts = [f"{a.partition}, {a.activation}", *a.description()]
    return f"{', '.join(parts)}; {a.parameters:,} weights of {bits_per_weight:.2f} bits"
