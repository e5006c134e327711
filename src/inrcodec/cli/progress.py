"""The library's progress on standard error: a bar on a terminal, else a line a stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from inrcodec.progress import OnProgress, Progress, ignore_progress

_STAGES = {
    "fit": "Fitting the network",
    "quantize": "Quantizing",
    "decode": "Decoding",
    "measure": "Measuring",
    "draw": "Drawing",
}


@contextmanager
def progress_display(quiet: bool) -> Iterator[OnProgress]:
    """Show what goes on, how good it is by now, and the time left in this stage."""
    if quiet or sys.stderr is None:
        yield ignore_progress
    elif not sys.stderr.isatty():
        yield _stage_lines()
    else:
        with _bar() as on_progress:
            yield on_progress


def _stage_lines() -> OnProgress:
    stage = ""

    def on_progress(progress: Progress) -> None:
        nonlocal stage
        if progress.stage != stage:
            stage = progress.stage
            click.echo(f"inrcodec: {_STAGES[stage].lower()}", err=True)

    return on_progress


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.text import Text

    class TimeLeft(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> Text:
            left = task.time_remaining
            return Text("" if left is None else f"{timedelta(seconds=int(left))} left")

    columns = (
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description:<19}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("[green]{task.fields[psnr]}"),
        TimeLeft(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # Reading the volume and loading torch take seconds, and report nothing.
        task = bar.add_task("Reading", total=None, psnr="")
        stage = ""

        def on_progress(progress: Progress) -> None:
            nonlocal stage, task
            if progress.stage != stage:
                stage = progress.stage
                bar.remove_task(task)
                # A stage of one step has no fraction to show: it pulses.
                total = progress.total if progress.total > 1 else None
                task = bar.add_task(_STAGES[stage], total=total, psnr="")
            psnr = "" if progress.psnr is None else f"{progress.psnr:.2f} dB"
            bar.update(task, completed=progress.done, psnr=psnr)

        yield on_progress
