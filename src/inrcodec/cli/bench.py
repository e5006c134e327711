"""``inrcodec bench``."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.streams import standard_output
from inrcodec.planner import Preset

if TYPE_CHECKING:
    from inrcodec.bench.measurement import Measurement, Subject
    from inrcodec.bench.runs import OnEnd, OnStart

_CODECS = "inrcodec,x265,svtav1,jpeg2000,jpegxl,sperr,sz3,zfp,tthresh"
_RATIOS = "64,256,1024,6000"
_QUICK_CODECS = "inrcodec,x265,jpeg2000,sperr"
_QUICK_RATIOS = "1024,6000"


def _ratios(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    if value is None:
        return None
    try:
        ratios = [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not numbers with commas between.") from None
    if not all(1 <= ratio < math.inf for ratio in ratios):
        raise click.BadParameter("a ratio is at least 1.")
    return ratios


def _codecs(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = list(dict.fromkeys(value.split(",")))
    for name in names:
        if name not in _CODECS.split(","):
            raise click.BadParameter(f"{name!r} is not one of {_CODECS}.")
    return names


@click.command()
@click.argument("volumes", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--ratios",
    callback=_ratios,
    metavar="R,...",
    help=f"Files of at most 1/R of the stored voxels' bytes.  [default: {_RATIOS}]",
)
@click.option(
    "--codecs",
    callback=_codecs,
    metavar="NAME,...",
    help=f"What to measure.  [default: {_CODECS}]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="results",
    show_default=True,
    help="Folder for the results; what it has already is not measured again.",
)
@click.option(
    "--preset",
    type=click.Choice([preset.value for preset in Preset]),
    help="How long inrcodec fits; OUT keeps the results of each.  [default: medium]",
)
@click.option(
    "--quick",
    is_flag=True,
    help=f"Defaults of --preset fast, --ratios {_QUICK_RATIOS} and --codecs {_QUICK_CODECS}.",
)
@options.threads
@options.quiet
@options.debug
def bench(
    volumes: tuple[Path, ...],
    ratios: list[float] | None,
    codecs: list[str] | None,
    out: Path,
    preset: str | None,
    quick: bool,
    threads: int | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Compare inrcodec with other codecs at equal bytes.

    VOLUMES are what encode reads. Each codec is searched to each ratio by the real bytes of its
    files. OUT gets measurements.csv, tables.md, and a plot for each volume as SVG and PNG. Needs
    pip install 'inrcodec[bench]', and ffmpeg for x265 and svtav1.
    """
    ratios = ratios or [float(part) for part in (_QUICK_RATIOS if quick else _RATIOS).split(",")]
    codecs = codecs or (_QUICK_CODECS if quick else _CODECS).split(",")
    with cli_errors(debug):
        from inrcodec.bench.codecs import all_codecs
        from inrcodec.bench.folder import open_results, write_summary
        from inrcodec.bench.measurement import without_preset
        from inrcodec.bench.runs import bench as measure_all
        from inrcodec.bench.runs import by_name
        from inrcodec.errors import MissingPackageError

        named = by_name(volumes)
        fit = Preset(preset) if preset else Preset.FAST if quick else Preset.MEDIUM
        known = all_codecs(fit, threads or os.cpu_count() or 1)
        wanted = [known[name] for name in codecs]
        missing = {name: what for name, codec in known.items() if (what := codec.missing())}
        for name in filter(missing.get, codecs):
            click.echo(f"inrcodec: {name} is missing and not measured: {missing[name]}", err=True)
        present = [codec for codec in wanted if codec.name not in missing]
        if not present:
            raise MissingPackageError(
                "none of the codecs asked for is here: install one, or ask for others"
            )
        results = open_results(out)
        try:
            with _display(quiet) as (on_start, on_end):
                measure_all(named, present, ratios, results, on_start, on_end)
        finally:
            measured = {without_preset(row.subject.codec) for row in results}
            absent = {
                name: missing.get(name, "not asked for") for name in known if name not in measured
            }
            written = write_summary(out, results, absent)
        if not quiet:
            with standard_output():
                for path in written:
                    click.echo(path)


@contextmanager
def _display(quiet: bool) -> Iterator[tuple[OnStart, OnEnd]]:
    """What is measured now, on a terminal as a bar; and a line for each measurement."""
    if quiet:
        yield lambda *_: None, lambda _: None
    elif not sys.stderr.isatty():
        yield lambda *_: None, lambda row: click.echo(_line(row), err=True)
    else:
        from rich import progress as rich_progress
        from rich.console import Console

        columns = (
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        with rich_progress.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("Reading", total=None)

            def on_start(subject: Subject, number: int, total: int) -> None:
                what = f"{subject.codec} {subject.volume} {subject.target:g}x"
                bar.update(task, description=what, completed=number - 1, total=total)

            yield on_start, lambda row: console.print(_line(row), markup=False, highlight=False)


def _line(row: Measurement) -> str:
    what = f"{row.subject.volume} {row.subject.codec} {row.subject.target:g}x: "
    if row.psnr is None:
        return what + row.note
    return what + f"{row.bytes} bytes, {row.psnr:.2f} dB, {row.encode_seconds:.1f} s"
