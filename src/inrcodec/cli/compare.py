"""``inrcodec compare``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.progress import progress_display
from inrcodec.cli.report import (
    check_pictures,
    png_option,
    report_option,
    shown_name,
    write_pictures,
)
from inrcodec.cli.streams import standard_output
from inrcodec.cli.tables import print_table
from inrcodec.limits import Limits

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from inrcodec.compare import Agreement, Comparison
    from inrcodec.pair import Pair

_VOLUME = click.Path(path_type=Path)


@click.command()
@click.argument("original", type=_VOLUME)
@click.argument("decoded", type=_VOLUME)
@click.option(
    "--mask",
    type=_VOLUME,
    metavar="M",
    help="A volume on the same grid, not 0 in the foreground.  [default: brighter than Li's "
    "threshold]",
)
@click.option(
    "--series",
    metavar="UID|N",
    help="DICOM: which series of ORIGINAL; without it, several are listed.",
)
@report_option
@png_option
@options.device
@options.threads
@options.limits
@options.force
@click.option("--json", "as_json", is_flag=True, help="Print all figures and curves as JSON.")
@options.quiet
@options.debug
def compare(
    original: Path,
    decoded: Path,
    mask: Path | None,
    series: str | None,
    report: Path | None,
    png: Path | None,
    device: str,
    threads: int | None,
    limits: Limits,
    force: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Measure how far a decoded volume is from its original.

    ORIGINAL and DECODED are NIfTI files, DICOM series (a folder, an archive, a file), or .moec
    files, which are decoded in memory. Both must have the same grid of voxels. Figures are for all
    voxels and for the foreground.
    """
    with cli_errors(debug):
        check_pictures(report, png, force)
        with progress_display(quiet) as on_progress:
            from inrcodec.compare import compare as compare_volumes
            from inrcodec.pair import read_pair

            pair = read_pair(
                original,
                decoded,
                mask,
                series=series,
                device=device,
                threads=threads,
                limits=limits,
                on_progress=on_progress,
            )
            found = compare_volumes(
                pair.original.data,
                pair.decoded,
                pair.mask,
                spacing=pair.spacing,
                unit=pair.unit,
                on_progress=on_progress,
            )
            if report is not None or png is not None:
                from inrcodec.decoder import read_bytes
                from inrcodec.pair import is_moec
                from inrcodec.report.content import Content, Encoded

                encoded = None
                if is_moec(decoded):
                    data = read_bytes(decoded, limits)
                    encoded = Encoded.of(data, device=device, threads=threads, limits=limits)
                names = shown_name(original), shown_name(decoded)
                content = Content(pair.original, pair.decoded, *names, found, encoded)
                write_pictures(content, report, png, force, on_progress)
        with standard_output():
            if as_json:
                about = {
                    "original": str(original),
                    "decoded": str(decoded),
                    "mask": None if mask is None else str(mask),
                    "rescaled": pair.rescaled,
                }
                click.echo(json.dumps({**about, **found.as_dict()}, indent=2))
            elif not quiet:
                print_table(_head_rows(original, decoded, mask, pair, found))
                click.echo()
                print_table(_figure_rows(found))
                click.echo()
                print_table(_curve_rows(found))
                click.echo()
                print_table(_spectrum_rows(found))


def _head_rows(
    original: Path, decoded: Path, mask: Path | None, pair: Pair, found: Comparison
) -> dict[str, str]:
    rows = {
        "original": f"{original}: {' x '.join(map(str, found.shape))} {found.dtype.name}",
        "decoded": str(decoded),
        "foreground": "none: all voxels have one value",
    }
    if found.foreground is not None:
        share = found.foreground.voxels / found.whole.voxels
        rule = str(mask) if mask else f"values from {found.foreground_from:.6g} up (Li's threshold)"
        rows["foreground"] = f"{share:.1%} of the voxels: {rule}"
    if pair.rescaled:
        rows["values"] = (
            "slopes or intercepts differ: compared as real values, told in stored values of the "
            "original"
        )
    return rows


def _figure_rows(found: Comparison) -> dict[str, Sequence[str]]:
    """A column for the whole, one for the foreground, and notes."""
    parts = [found.whole] if found.foreground is None else [found.whole, found.foreground]
    quality = found.whole.quality

    def row(figure: Callable[[Agreement], str], note: str = "") -> list[str]:
        return [*map(figure, parts), note]

    def psnr(part: Agreement) -> str:
        values = (part.quality.psnr_range, part.quality.psnr_dtype)
        return "\n".join(_decibels(value) for value in values if value is not None)

    peaks = f"peak {quality.value_range:g}, the value range"
    if quality.psnr_dtype is not None:
        peaks += f"\npeak {(1 << 8 * found.dtype.itemsize) - 1}, the dtype's"
    rows: dict[str, Sequence[str]] = {
        "": ["whole volume", "foreground"][: len(parts)],
        "PSNR": row(psnr, peaks),
        "SSIM": row(lambda part: f"{part.quality.ssim:.4f}"),
        "mean error": row(lambda part: f"{part.quality.mae:.4g}", "in stored values"),
    }
    note = "which so many voxels do not exceed"
    for percent in found.whole.percentiles:
        errors = [f"{part.percentiles[percent]:.6g}" for part in parts]
        rows[f"error, {percent:g} %"] = [*errors, note]
        note = ""
    rows["largest error"] = row(lambda part: f"{part.quality.max_error:.6g}")
    return rows


def _curve_rows(found: Comparison) -> dict[str, Sequence[str]]:
    """As `_figure_rows`: the lowest PSNR of the slices along each axis, and where it is."""
    parts = [found.whole] if found.foreground is None else [found.whole, found.foreground]
    axes = range(len(found.shape[:3]))
    curves = {f"slices, {'xyz'[axis]}": [p.slice_psnr[axis] for p in parts] for axis in axes}
    if found.whole.volume_psnr is not None:
        curves["volumes"] = [p.volume_psnr for p in parts if p.volume_psnr is not None]
    rows: dict[str, Sequence[str]] = {"": ["whole volume", "foreground"][: len(parts)]}
    note = "PSNR at least (at), median"
    for name, of_parts in curves.items():
        if len(of_parts[0]) > 1:
            rows[name] = [*map(_lowest, of_parts), note]
            note = ""
    rows["gradients"] = [*(f"{part.gradient_error:.3f}" for part in parts), "relative error"]
    return rows


def _spectrum_rows(found: Comparison) -> dict[str, Sequence[str]]:
    """Every second band, to fit a narrow terminal."""
    edges = found.whole.spectrum.edges
    middles = (edges[:-1] + edges[1:]) / 2

    def percent(ratios: NDArray[float64]) -> list[str]:
        return ["-" if math.isnan(ratio) else f"{100 * ratio:.3g}" for ratio in ratios[::2]]

    rows: dict[str, Sequence[str]] = {}
    rows["frequency"] = [*(f"{middle:.2g}" for middle in middles[::2]), f"cycles/{found.unit}"]
    for part, where in ((found.whole, ""), (found.foreground, ", foreground")):
        if part is not None:
            for name, ratios in zip(("energy", "error"), part.spectrum.ratios.T, strict=True):
                rows[name + where] = [*percent(ratios), "% of the original's"]
    return rows


def _decibels(psnr: float) -> str:
    return "equal" if psnr == math.inf else f"{psnr:.2f} dB"


def _lowest(psnr: NDArray[float64]) -> str:
    known = sorted((value, at) for at, value in enumerate(psnr.tolist()) if not math.isnan(value))
    (lowest, at), (middle, _) = known[0], known[len(known) // 2]
    return f"{_decibels(lowest)} ({at}), {_decibels(middle)}"
