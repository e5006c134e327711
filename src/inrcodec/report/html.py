"""A report as one HTML page that needs nothing else: no network, no other file.

The page is `page/report.html` with `report.css` and `report.js`; this module fills in the figures,
as text, and the voxels, as data that the script unpacks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.compare import Agreement
from inrcodec.report import tables
from inrcodec.report.content import Content
from inrcodec.report.levels import Levels, pack
from inrcodec.report.montage import (
    ERROR_COLOURS,
    ERROR_PERCENTILE,
    PLANE_NAMES,
    WINDOW_PERCENTILES,
)
from inrcodec.report.orientation import PLANES, Orientation, lengths, orientation, three_axes
from inrcodec.report.reduction import strides
from inrcodec.volume.nifti import read_affine
from inrcodec.volume.sampling_grid import SamplingGrid

PAGE_BYTES = 32 << 20
"""Size of a page at most."""

_VOXELS = 1 << 25
"""Voxels in a page at most: what a browser holds and shows at once."""

_CT_WINDOWS = {
    "Brain": (40, 80),
    "Soft tissue": (40, 400),
    "Lung": (-600, 1500),
    "Bone": (400, 1800),
}
"""Centre and width, in Hounsfield units."""

_FIRST_CT_WINDOW = "Soft tissue"
_CONVENTION = (
    "Radiological convention: the patient's right is at the left of axial and coronal planes; "
    "sagittal planes look to the left."
)
_NO_ORIENTATION = "The file does not say how the volume lies in space: no sides are marked."
_STORED = (1.0, 0.0)
"""Slope and intercept of values that are shown as they are stored."""

_LARGEST = 1e300
_MOST_EXPERTS = 1 << 8
_MOST_BARS = 101


def render(content: Content, page_bytes: int = PAGE_BYTES) -> bytes:
    """The page, UTF-8, of at most ``page_bytes``.

    A volume that is too large for that is shown by every second voxel along its longest axes, or
    fewer; the page says so. All figures are of the whole volume.
    """
    shape = three_axes(content.original.data).shape
    most = _VOXELS
    while True:
        steps = strides(shape, most)
        page = _render(content, steps)
        samples = math.prod(-(-length // step) for length, step in zip(shape, steps, strict=True))
        if len(page) <= page_bytes or samples == 1:
            return page
        most = min(samples - 1, samples * page_bytes // len(page))


def _render(content: Content, steps: tuple[int, ...]) -> bytes:
    turn = orientation(content.original.geometry, content.original.data.shape)
    kept = tuple(slice(None, None, step) for step in steps)
    original, decoded = (
        _four_axes(turn.upright(three_axes(volume)[kept]))
        for volume in (content.original.data, content.decoded)
    )
    levels = Levels.spanning(original, decoded)
    packed = {"original": levels.of(original), "decoded": levels.of(decoded)}
    view = _view(content, turn, steps, levels, packed)
    experts = _experts(content, turn, steps)
    if experts is not None:
        packed["experts"] = experts
        view["experts"] = np.bincount(experts.ravel(order="K")).tolist()
    streams = {name: pack(volume) for name, volume in packed.items()}
    view["streams"] = {name: len(parts) for name, parts in streams.items()}
    return _fill(content, view, steps, levels, streams)


def _four_axes(volume: NDArray[Any]) -> NDArray[Any]:
    return volume if volume.ndim == 4 else volume[..., None]


def _experts(
    content: Content, turn: Orientation, steps: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    """The first expert of each sample, (X, Y, Z, T) in the pictures' axes, where several are."""
    encoded = content.encoded
    if encoded is None or encoded.info.architecture is None:
        return None
    if not 1 < encoded.info.architecture.paths <= _MOST_EXPERTS:
        return None
    shape, geometry = encoded.info.header.shape, encoded.info.geometry
    own = orientation(geometry, shape)
    if own.marks is None:  # a file without geometry has the original's axes
        own = turn
    if (own.axes, own.flipped) != (turn.axes, turn.flipped) and max(steps) > 1:
        return None  # counted from the other end, every n-th voxel is another one
    grid = SamplingGrid.whole(shape).crop([slice(None, None, s) for s in steps[: len(shape)]])
    found = encoded.expert_map(grid).astype(np.uint8)
    return _four_axes(own.upright(three_axes(found)))


def _view(
    content: Content,
    turn: Orientation,
    steps: tuple[int, ...],
    levels: Levels,
    packed: dict[str, NDArray[Any]],
) -> dict[str, Any]:
    """What the script has to know, as JSON types."""
    shape = three_axes(content.original.data).shape
    geometry = content.original.geometry
    slope, intercept = content.original.scaling or _STORED
    samples = packed["original"].shape
    spacing = turn.along(lengths(geometry.spacing(3)))
    comparison = content.comparison
    first = _drawable(slope * levels.low + intercept)
    step = _drawable(slope * levels.step)
    low, high = (
        first + step * float(level)
        for level in np.percentile(packed["original"], WINDOW_PERCENTILES)
    )
    affine = None if turn.marks is None else read_affine(geometry, shape)[:3]
    return {
        "axes": [
            {
                "name": "xyz"[axis],
                "file": axis,
                "voxels": shape[axis],
                "samples": samples[number],
                "stride": steps[axis],
                "flipped": flipped,
                "spacing": spacing[number],
            }
            for number, (axis, flipped) in enumerate(zip(turn.axes, turn.flipped, strict=True))
        ],
        "volumes": {
            "voxels": shape[3] if len(shape) > 3 else 1,
            "samples": samples[3],
            "stride": steps[3] if len(shape) > 3 else 1,
        },
        "planes": [
            {"name": name, "across": across, "right": right, "down": down}
            for name, (across, right, down) in zip(_plane_names(turn), PLANES, strict=True)
        ],
        "marks": turn.marks,
        "levels": {
            "first": first,
            "step": step,
            "highest": levels.highest,
            "bytes": levels.dtype.itemsize,
        },
        "unit": "HU" if content.modality == "CT" and content.original.scaling else "",
        "window": {
            "auto": [(low + high) / 2, abs(high - low) or abs(step)],
            "presets": _presets(content),
        },
        "errorMaximum": abs(step) * _error_maximum(packed["original"], packed["decoded"]),
        "errorLargest": _drawable(comparison.whole.quality.max_error * abs(slope)),
        "errorColours": ERROR_COLOURS,
        "affine": None if affine is None or not np.isfinite(affine).all() else affine.tolist(),
        "lengthUnit": geometry.units(1)[0] or "mm",
        "experts": None,
        "histogram": _histogram(content),
        "whole": _curves(comparison.whole),
        "foreground": comparison.foreground and _curves(comparison.foreground),
        "psnr": _finite([comparison.whole.quality.psnr_range])[0],
        "spectrumUnit": comparison.unit,
    }


def _curves(part: Agreement) -> dict[str, Any]:
    return {
        "slicePsnr": [_finite(curve) for curve in part.slice_psnr],
        "volumePsnr": None if part.volume_psnr is None else _finite(part.volume_psnr),
        "spectrum": {
            "edges": _finite(part.spectrum.edges),
            "kept": _finite(part.spectrum.ratios[:, 0]),
            "error": _finite(part.spectrum.ratios[:, 1]),
        },
    }


def _plane_names(turn: Orientation) -> Sequence[str]:
    if turn.marks is None:
        return ["x-y plane", "x-z plane", "y-z plane"]
    return [name.capitalize() for name in PLANE_NAMES]


def _presets(content: Content) -> dict[str, Any] | None:
    """Windows of CT, where the volume is one or its values look like Hounsfield units."""
    data = content.original.data
    if content.original.scaling is None:
        return None
    slope, intercept = content.original.scaling
    ends = sorted(slope * float(end) + intercept for end in (data.min(), data.max()))
    looks_like_ct = -4096 <= ends[0] <= -900 and 300 <= ends[1] <= 1 << 15
    if content.modality != "CT" and (content.modality is not None or not looks_like_ct):
        return None
    return {"windows": _CT_WINDOWS, "first": _FIRST_CT_WINDOW, "guessed": content.modality is None}


def _error_maximum(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """The error, in levels, that has the brightest colour at first."""
    counts = np.zeros(1 << 16, np.int64)
    for index in range(original.shape[2]):
        first, second = original[:, :, index], decoded[:, :, index]
        error = np.maximum(first, second) - np.minimum(first, second)
        counts += np.bincount(error.reshape(-1), minlength=len(counts))
    below = np.cumsum(counts)
    return float(max(np.searchsorted(below, below[-1] * ERROR_PERCENTILE / 100), 1))


def _histogram(content: Content) -> dict[str, Any] | None:
    """Counts of the signed error of all voxels, in stored values; None where all are equal, or so
    far apart that floats do not hold it."""
    largest = content.comparison.whole.quality.max_error
    if not 0 < largest < _LARGEST:
        return None
    original, decoded = content.original.data, content.decoded
    bars = _MOST_BARS
    integers = original.dtype.kind in "iu" and decoded.dtype.kind in "iu"
    if integers and 2 * largest + 1 <= _MOST_BARS:
        bars = 2 * int(largest) + 1
        width = 1.0
    else:
        width = 2 * largest / (bars - 1)
    counts = np.zeros(bars, np.int64)
    for index in range(original.shape[-1]):
        error = np.subtract(decoded[..., index], original[..., index], dtype=np.float64)
        place = np.rint(error / width).astype(np.int64) + bars // 2
        counts += np.bincount(np.clip(place, 0, bars - 1).reshape(-1), minlength=bars)
    return {"first": -(bars // 2) * width, "width": width, "counts": counts.tolist()}


def _finite(curve: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    # JSON has no infinity: the PSNR of equal slices.
    return [float(value) if math.isfinite(value) else None for value in curve]


def _drawable(value: float) -> float:
    """A number that the script can calculate with: absurd ones leave the range of floats."""
    return min(max(value, -_LARGEST), _LARGEST)


def _fill(
    content: Content,
    view: dict[str, Any],
    steps: tuple[int, ...],
    levels: Levels,
    streams: dict[str, list[bytes]],
) -> bytes:
    page = resources.files(__package__) / "page"
    script, style = ((page / name).read_text("utf-8") for name in ("report.js", "report.css"))
    encoded = content.encoded
    filled = Template((page / "report.html").read_text("utf-8")).substitute(
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        original_name=escape(content.original_name),
        decoded_name=escape(content.decoded_name),
        key_figures="\n".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
            for name, text in tables.key_figures(content)
        ),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in _notes(content, steps, levels)),
        agreement=_table(tables.agreement(content)),
        rate="<p>Not compared with a .moec file, so there is no file size.</p>"
        if encoded is None
        else _table(tables.rate(encoded.info)),
        settings=_table(tables.settings(content)),
        convention=_CONVENTION if view["marks"] else _NO_ORIENTATION,
        view=_json(view),
        streams="\n".join(
            f'<script type="application/octet-stream" id="{name}-{number}">'
            f"{base64.b64encode(part).decode()}</script>"
            for name, parts in streams.items()
            for number, part in enumerate(parts)
        ),
    )
    return filled.encode()


def _hash(text: str) -> str:
    """A text's hash as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that ends no element of the page, whatever text is in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _notes(content: Content, steps: tuple[int, ...], levels: Levels) -> list[str]:
    """What the pictures do not show as it is."""
    notes = []
    if max(steps) > 1:
        axes = ", ".join(
            f"every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} along {axis}"
            for axis, step in zip("xyzt", steps, strict=False)
            if step > 1
        )
        notes.append(
            f"The volume is too large for this page: the pictures show voxels of the file, {axes}. "
            "All figures are of the whole volume."
        )
    if not levels.exact:
        notes.append(
            "The pictures show values in 65,536 equal steps. All figures are of the values as they "
            "are."
        )
    scaling = content.original.scaling
    if scaling is None:
        notes.append(
            "Everything is told in stored values: their rescale differs between slices, or is a "
            "lookup table."
        )
    elif scaling != _STORED:
        slope, intercept = scaling
        notes.append(
            f"The pictures show real values = {slope:g} x stored {intercept:+g}; the figures, the "
            "histogram and the curves are of stored values."
        )
    return notes


def _table(table: tables.Table) -> str:
    head = ""
    if any(table.columns):
        cells = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
        head = f"<thead><tr>{cells}</tr></thead>"
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in texts)
        + "</tr>"
        for name, *texts in table.rows
    )
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
