"""Rate-distortion plots, with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inrcodec.bench.measurement import Measurement
from inrcodec.bench.table import OWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
_LEAST_GAP = 0.045  # between labels, as a share of the axis


def write_plots(rows: Sequence[Measurement], folder: Path) -> list[Path]:
    """Write one plot a volume, and ``all`` with a panel for each, as SVG and PNG.

    Returns the files. Volumes of which nothing was coded have none.
    """
    from matplotlib.figure import Figure

    volumes: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.psnr is not None and math.isfinite(row.psnr):
            volumes.setdefault(row.subject.volume, []).append(row)
    written: list[Path] = []
    for name, measured in volumes.items():
        figure = Figure(figsize=_PANEL, layout="constrained")
        _draw(figure.subplots(), name, measured)
        written += save_figure(figure, folder, name)
    if len(volumes) > 1:
        columns = min(_COLUMNS, len(volumes))
        lines = -(-len(volumes) // columns)
        size = (_PANEL[0] * columns, _PANEL[1] * lines)
        figure = Figure(figsize=size, layout="constrained")
        for number, (name, measured) in enumerate(volumes.items(), 1):
            _draw(figure.add_subplot(lines, columns, number), name, measured)
        written += save_figure(figure, folder, "all")
    return written


def _draw(axes: Axes, name: str, rows: Sequence[Measurement]) -> None:
    """PSNR against ratio, each curve with its codec's name at its right end."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.ratio is not None and row.psnr is not None:
            curves.setdefault(row.subject.codec, []).append((row.ratio, row.psnr))
    for codec, points in curves.items():
        colour, marker = _STYLES.get(codec, _OTHER)
        own = codec == OWN
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=colour,
            marker=marker,
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
    axes.set_xlim(targets[0] / 1.15, targets[-1] * (targets[-1] / targets[0]) ** 0.25 * 1.15)
    axes.set_xlabel("compression ratio (bytes of the voxels / bytes of the file)")
    axes.set_ylabel("PSNR in dB (peak: range of the values)")
    axes.set_title(name, loc="left")
    axes.grid(color="#E0E0E0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _label(axes, {codec: max(points) for codec, points in curves.items()})


def _label(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Name each curve: beside its end where that is the last ratio, and else below it; further up
    or down where another name is in the way."""
    low, high = axes.get_ylim()
    gap = _LEAST_GAP * (high - low)
    last = max(x for x, _ in ends.values())
    places: dict[str, tuple[float, float]] = {}
    height = low
    for codec, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        if x > last / 2:
            height = max(y, height + gap)
            places[codec] = (x * 1.12, height)
    for codec, (x, y) in sorted(ends.items(), key=lambda end: -end[1][1]):
        if codec in places:
            continue
        place = y - gap / 2
        for taken_x, taken in sorted(places.values(), key=lambda at: -at[1]):
            if max(x / taken_x, taken_x / x) < 2 and abs(place - taken) < gap:
                place = taken - gap
        places[codec] = (x, place)
    for codec, at in places.items():
        x, y = ends[codec]
        beside = x > last / 2
        axes.annotate(
            codec,
            (x, y),
            at,
            color=_STYLES.get(codec, _OTHER)[0],
            fontsize=9,
            fontweight="bold" if codec == OWN else "normal",
            horizontalalignment="left" if beside else "center",
            verticalalignment="center" if beside else "top",
            zorder=4,
            # Names may lie on curves.
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name`` as SVG and PNG; returns both paths."""
    from matplotlib import rc_context

    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    # The same results give the same bytes.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(paths[0], metadata={"Date": None})
        figure.savefig(paths[1], dpi=150, metadata={"Software": None})
    return paths
