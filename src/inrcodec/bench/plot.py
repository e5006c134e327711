"""Rate-distortion plots, with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec.bench.measurement import OWN, Measurement, is_own, without_preset
from inrcodec.output import atomic_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

OVERVIEW = "all"
"""Name of the plot with a panel for each volume."""

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers tell the rest.
_STYLES: Mapping[str, tuple[str, str]] = {
    OWN: ("#000000", "o"),
    "x265": ("#D55E00", "s"),
    "svtav1": ("#CC79A7", "D"),
    "jpeg2000": ("#E69F00", "^"),
    "jpegxl": ("#7A4B00", "v"),
    "sperr": ("#0072B2", "P"),
    "sz3": ("#009E73", "X"),
    "zfp": ("#56B4E9", "<"),
    "tthresh": ("#7F7F7F", ">"),
}
_OTHER = ("#7F7F7F", "o")
_PANEL = (5.6, 4.2)  # inches
_COLUMNS = 3
_LEAST_GAP = 0.045  # between names in the margin, as a share of the axis

_PLACES = ((1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (1, -1), (-1, 1))
"""Sides of a curve's end for its name, the best first."""
_DISTANCE = 6  # points
_MARGIN = 3  # pixels about a name, for curves have a width
_PER_CURVE = 300  # points that stand for it
_UNREADABLE = 1000  # what a name on another counts as, in such points

_Curves = dict[str, list[tuple[float, float]]]
"""Ratio and PSNR of each codec's files, the largest first."""


def write_plots(rows: Sequence[Measurement], folder: Path) -> list[Path]:
    """Write one plot a volume, and `OVERVIEW` with a panel for each, as SVG and PNG.

    Returns the files, which replace those of before. Volumes of which nothing was coded have none.
    Raises `OutputError` where one cannot be written.
    """
    volumes: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.psnr is not None and math.isfinite(row.psnr):
            volumes.setdefault(row.subject.volume, []).append(row)
    written: list[Path] = []
    for name, measured in volumes.items():
        written += save_figure(_figure({name: measured}), folder, name)
    if len(volumes) > 1:
        written += save_figure(_figure(volumes), folder, OVERVIEW)
    return written


def _figure(volumes: Mapping[str, list[Measurement]]) -> Figure:
    """A panel for each volume."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(volumes))
    lines = -(-len(volumes) // columns)
    size = (_PANEL[0] * columns, _PANEL[1] * lines)
    figure = Figure(figsize=size, layout="constrained")
    panels = []
    for number, (name, measured) in enumerate(volumes.items(), 1):
        axes = figure.add_subplot(lines, columns, number)
        panels.append((axes, _draw(axes, name, measured)))
    figure.draw_without_rendering()  # which finds the layout, and so what a name would cover
    for axes, curves in panels:
        _label(axes, curves)
    return figure


def _draw(axes: Axes, name: str, rows: Sequence[Measurement]) -> _Curves:
    """Draw PSNR against ratio, and return the curves."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    curves: _Curves = {}
    for row in sorted(rows, key=lambda row: row.subject.target):
        if row.ratio is not None and row.psnr is not None:
            curves.setdefault(row.subject.codec, []).append((row.ratio, row.psnr))
    for codec, points in curves.items():
        colour, marker = _style(codec)
        own = is_own(codec)
        by_default = not own or codec == OWN
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            marker=marker,
            markerfacecolor=colour if by_default else "white",
            linestyle="-" if by_default else ":",
            markersize=6 if own else 4.5,
            linewidth=2.6 if own else 1.3,
            zorder=3 if own else 2,
        )
    axes.margins(y=0.1)
    axes.set_xscale("log")
    targets = sorted({row.subject.target for row in rows})
    axes.xaxis.set_major_locator(FixedLocator(targets))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    last = max(ratio for points in curves.values() for ratio, _ in points)
    axes.set_xlim(targets[0] / 1.15, last * (last / targets[0]) ** 0.25 * 1.15)
    axes.set_xlabel("compression ratio (bytes of the voxels / bytes of the file)")
    axes.set_ylabel("PSNR in dB (peak: range of the values)")
    axes.set_title(name, loc="left", parse_math=False)  # a name may have dollar signs
    axes.grid(color="#E0E0E0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return curves


def _style(codec: str) -> tuple[str, str]:
    """Colour and marker."""
    return _STYLES.get(without_preset(codec), _OTHER)


def _label(axes: Axes, curves: _Curves) -> None:
    """Name each curve: in the margin where it ends at the last ratio, further up or down where
    another name is in the way; and else beside its end, where that covers least.
    """
    ends = {codec: points[-1] for codec, points in curves.items()}
    near = max(x for x, _ in ends.values()) / 2  # what ends further right, ends in the margin
    low, high = axes.get_ylim()
    in_margin = sorted((y, codec) for codec, (x, y) in ends.items() if x > near)
    heights = apart([y for y, _ in in_margin], _LEAST_GAP * (high - low))
    names = [
        _name(axes, codec, (ends[codec][0], height), _PLACES[0])
        for (_, codec), height in zip(in_margin, heights, strict=True)
    ]
    drawn = np.concatenate([_pixels(axes, points) for points in curves.values()])
    for codec, (x, y) in sorted(ends.items(), key=lambda end: -end[1][1]):
        if x > near:
            continue
        taken = [name.get_window_extent() for name in names]
        tried = [_name(axes, codec, (x, y), place) for place in _PLACES]
        covers = [
            box.count_contains(drawn) + _UNREADABLE * box.count_overlaps(taken)
            for box in (name.get_window_extent().padded(_MARGIN) for name in tried)
        ]
        best = tried.pop(covers.index(min(covers)))
        for name in tried:
            name.remove()
        names.append(best)


def apart(heights: list[float], gap: float) -> list[float]:
    """Heights, ascending, moved to be that far apart, by the least squares (isotonic regression by
    pooling)."""
    pools: list[tuple[float, int]] = []
    for number, height in enumerate(heights):
        mean, count = height - number * gap, 1
        while pools and pools[-1][0] > mean:
            below, more = pools.pop()
            mean, count = (below * more + mean * count) / (more + count), more + count
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + number * gap for number, mean in enumerate(means)]


def _name(axes: Axes, codec: str, at: tuple[float, float], place: tuple[int, int]) -> Annotation:
    """The codec's name on that side of a place."""
    right, up = place
    return axes.annotate(
        codec,
        at,
        (right * _DISTANCE, up * _DISTANCE),
        textcoords="offset points",
        color=_style(codec)[0],
        fontsize=9,
        fontweight="bold" if is_own(codec) else "normal",
        horizontalalignment="left" if right > 0 else "right" if right < 0 else "center",
        verticalalignment="bottom" if up > 0 else "top" if up < 0 else "center",
        zorder=4,
        # Names may lie on curves.
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
    )


def _pixels(axes: Axes, points: list[tuple[float, float]]) -> NDArray[np.float64]:
    """(N, 2) of a curve through the points, where it is drawn."""
    x, y = axes.transData.transform(points).T
    along = np.arange(len(points))
    dense = np.linspace(0, len(points) - 1, _PER_CURVE)
    return np.stack([np.interp(dense, along, x), np.interp(dense, along, y)], axis=1)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name`` as SVG and PNG, or raise `OutputError`; returns both paths."""
    from matplotlib import rc_context

    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    # The same results give the same bytes.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        with atomic_output(svg, overwrite=True) as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
        with atomic_output(png, overwrite=True) as file:
            figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return [svg, png]
