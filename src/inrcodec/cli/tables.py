"""Results as a table of names and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from inrcodec.architecture import Architecture, Mixture, Tree

_UNWRAPPED = 10_000


def print_table(rows: Mapping[str, str], *, err: bool = False) -> None:
    """Print one row a line, on standard output or, if ``err``, on standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
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
    parts = [f"{a.partition}, {a.activation}", *(_levels(a) if isinstance(a, Tree) else _stacks(a))]
    return f"{', '.join(parts)}; {a.parameters:,} weights of {bits_per_weight:.2f} bits"


def _levels(tree: Tree) -> Iterator[str]:
    """Nodes of each level, from the root to the leaves."""
    for level in tree.levels:
        narrow, wide = min(level.widths), max(level.widths)
        width = str(wide) if narrow == wide else f"{narrow} to {wide}"
        nodes = "" if len(level.widths) == 1 else f"{len(level.widths)} nodes of "
        yield f"{nodes}{_layers(level.layers, width)}"


def _stacks(mixture: Mixture) -> Iterator[str]:
    """Encoder, experts and gate."""
    encoder, expert, gate = mixture.encoder, mixture.expert, mixture.gate
    yield _layers(encoder.layers, encoder.width, "shared ")
    active = ", two active" if gate.active == 2 else ""
    yield f"{mixture.experts} experts of {_layers(expert.layers, expert.width)}{active}"
    if gate.encoder.layers:
        yield _layers(gate.encoder.layers, gate.encoder.width, "gate encoder ")
    if gate.hidden.layers:
        yield _layers(gate.hidden.layers, gate.hidden.width, "gate ")


def _layers(layers: int, width: int | str, kind: str = "") -> str:
    return f"{layers} {kind}layer{'s' * (layers > 1)} of width {width}"
