"""``--report`` and ``--png``, of commands that have an original and a decoded volume."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrcodec.output import atomic_output, check_output
from inrcodec.progress import OnProgress, Progress

if TYPE_CHECKING:
    from inrcodec.report.content import Content

_PATH = click.Path(path_type=Path)

report_option = click.option(
    "--report",
    type=_PATH,
    metavar="HTML",
    help="Write a page that shows original, decoded and error, to be opened in a browser.",
)
png_option = click.option(
    "--png", type=_PATH, metavar="PNG", help="Write a picture of the three middle planes."
)


def check_pictures(report: Path | None, png: Path | None, overwrite: bool) -> None:
    """Raise now, before any work, where `write_pictures` would later."""
    for path, suffix in ((report, ".html"), (png, ".png")):
        if path is not None:
            if path.suffix.lower() != suffix:
                raise click.UsageError(f"the picture {path} must end in {suffix}.")
            check_output(path, overwrite)
    if png is not None:
        from inrcodec.report.montage import require_pillow

        require_pillow()


def write_pictures(
    content: Content,
    report: Path | None,
    png: Path | None,
    overwrite: bool,
    on_progress: OnProgress,
) -> None:
    """Write the page and the picture of ``content`` that are asked for."""
    on_progress(Progress("draw", 0, 1))
    if report is not None:
        from inrcodec.report.html import render

        page = render(content)
        with atomic_output(report, overwrite) as file:
            file.write(page)
    if png is not None:
        from inrcodec.report.montage import draw_content

        picture = io.BytesIO()
        draw_content(content).save(picture, "PNG", optimize=True)
        with atomic_output(png, overwrite) as file:
            file.write(picture.getvalue())


def shown_name(path: Path) -> str:
    """The last part of a path, which tells nothing of the machine; bytes that are no text go."""
    return os.fsencode(path.name or path.resolve().name).decode(errors="replace")
