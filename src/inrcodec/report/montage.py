"""A picture of three planes of a volume: original, decoded, and how far they are apart.

Needs Pillow, which the extra ``png`` installs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import MissingPackageError
from inrcodec.report.orientation import (
    PLANES,
    UNKNOWN,
    Orientation,
    lengths,
    orientation,
    three_axes,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from inrcodec.report.content import Content

_Pixels = NDArray[np.uint8]

WINDOW_PERCENTILES = (0.5, 99.5)
"""Of the original's values, shown as black and white."""

ERROR_PERCENTILE = 99.5
"""Of the absolute errors, shown as the brightest colour."""

ERROR_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Black, purple, red, orange, pale yellow: brightness rises all the way."""

PLANE_NAMES = ("axial", "coronal", "sagittal")

_COLUMNS = ("original", "decoded", "absolute error")
_WIDTH, _HEIGHT = 460, 460  # pixels, of the largest plane at most
_MARGIN, _GAP = 28, 14
_TITLE_SIZE, _TEXT_SIZE = 22, 17
_BACKGROUND, _TEXT, _DIM = (18, 18, 20), (236, 236, 238), (158, 158, 164)
_BAR_HEIGHT = 12


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane through the middle, as it is shown: rows from top to bottom."""

    label: str
    original: NDArray[np.float64]
    decoded: NDArray[np.float64]
    size: tuple[float, float]
    """Width and height in the unit of the spacing."""
    marks: tuple[str, str, str, str] | None
    """What lies at the left, right, top and bottom."""


def require_pillow() -> None:
    """Raise `MissingPackageError` where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingPackageError(
            "drawing needs Pillow: install it with pip install 'inrcodec[png]'"
        ) from None


def draw_planes(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: tuple[float, ...],
    title: str,
    caption: str,
    orientation: Orientation = UNKNOWN,
) -> Image:
    """Draw the middle planes of two volumes, (X, Y), (X, Y, Z) or (X, Y, Z, T), side by side.

    The first index of a fourth axis is shown. ``spacing`` holds a length for each of the first
    axes, all in one unit, and sets the aspect ratio. Grey values have one window for both volumes.
    A known orientation is marked at the borders.

    Raises `MissingPackageError` where Pillow is not installed.
    """
    require_pillow()
    from PIL import Image, ImageDraw, ImageFont

    planes = _planes(original, decoded, spacing, orientation)
    black, white = np.percentile(original, WINDOW_PERCENTILES)
    errors = np.concatenate([abs(p.original - p.decoded).ravel() for p in planes])
    brightest = float(np.percentile(errors, ERROR_PERCENTILE)) or 1.0
    scale = min(
        _WIDTH / max(plane.size[0] for plane in planes),
        _HEIGHT / max(plane.size[1] for plane in planes),
    )
    column = max(round(plane.size[0] * scale) for plane in planes)
    heights = [max(1, round(plane.size[1] * scale)) for plane in planes]

    title_font = ImageFont.load_default(_TITLE_SIZE)
    font = ImageFont.load_default(_TEXT_SIZE)
    line = round(_TEXT_SIZE * 1.5)
    top = _MARGIN + round(_TITLE_SIZE * 1.6) + round(line * 1.6)
    bottom = _GAP + _BAR_HEIGHT + line + _MARGIN
    rows = sum(heights) + len(heights) * (line + _GAP)
    canvas = Image.new(
        "RGB", (2 * _MARGIN + 3 * column + 2 * _GAP, top + line + _GAP + rows + bottom), _BACKGROUND
    )
    draw = ImageDraw.Draw(canvas)
    lefts = [_MARGIN + index * (column + _GAP) for index in range(3)]

    draw.text((_MARGIN, _MARGIN), title, _TEXT, title_font)
    caption += f"; window {black:.4g} to {white:.4g}"
    draw.text((_MARGIN, _MARGIN + round(_TITLE_SIZE * 1.6)), caption, _DIM, font)
    for left, name in zip(lefts, _COLUMNS, strict=True):
        draw.text((left, top), name, _TEXT, font)
    y = top + line + _GAP
    for plane, height in zip(planes, heights, strict=True):
        draw.text((_MARGIN, y), plane.label, _DIM, font)
        y += line
        error = abs(plane.original - plane.decoded)
        tiles = (
            _grey(plane.original, black, white),
            _grey(plane.decoded, black, white),
            _error_colours(error / brightest),
        )
        width = max(1, round(plane.size[0] * scale))
        for left, tile in zip(lefts, tiles, strict=True):
            image = Image.fromarray(tile).resize((width, height), Image.Resampling.BICUBIC)
            place = (left + (column - width) // 2, y)
            canvas.paste(image, place)
            if plane.marks is not None:
                _draw_marks(draw, plane.marks, place, (width, height), font)
        y += height + _GAP

    y += _GAP
    bars = (
        (lefts[0], 2 * column + _GAP, lambda ramp: _grey(ramp, 0, 1), black, white),
        (lefts[2], column, _error_colours, 0.0, brightest),
    )
    for left, width, coloured, low, high in bars:
        ramp = np.linspace(0, 1, width)[None, :].repeat(_BAR_HEIGHT, axis=0)
        canvas.paste(Image.fromarray(coloured(ramp)), (left, y))
        below = y + _BAR_HEIGHT + _GAP // 2
        draw.text((left, below), f"{low:.4g}", _DIM, font)
        draw.text((left + width, below), f"{high:.4g} and above", _DIM, font, anchor="ra")
    return canvas


def draw_content(content: Content) -> Image:
    """`draw_planes` of a report's volumes, with its figures in the caption.

    Raises `MissingPackageError` where Pillow is not installed.
    """
    volume, quality = content.original, content.comparison.whole.quality
    caption = f"PSNR {quality.psnr_range:.2f} dB (peak: the value range), SSIM {quality.ssim:.4f}"
    if content.encoded is not None:
        info = content.encoded.info
        caption = f"{info.file_bytes:,} bytes, ratio {info.ratio:,.4g}, {caption}"
    return draw_planes(
        volume.data,
        content.decoded,
        volume.geometry.spacing(volume.data.ndim),
        title=f"{content.original_name} compared with {content.decoded_name}. "
        "Not for diagnostic use",
        caption=caption,
        orientation=orientation(volume.geometry, volume.data.shape),
    )


def _planes(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: tuple[float, ...],
    orientation: Orientation,
) -> list[_Plane]:
    """The planes through the middle that are more than a line, or else the first one."""
    volumes = [orientation.upright(_one_volume(volume)) for volume in (original, decoded)]
    shape = volumes[0].shape
    unit = orientation.along(lengths(spacing))
    planes = []
    for name, (across, right, down) in zip(PLANE_NAMES, PLANES, strict=True):
        middle = shape[across] // 2
        first, second = (v.take(middle, axis=across).T.astype(np.float64) for v in volumes)
        if down == 2:  # z runs up
            first, second = first[::-1], second[::-1]
        index = shape[across] - 1 - middle if orientation.flipped[across] else middle
        label = f"{'xyz'[orientation.axes[across]]} = {index} of {shape[across]}"
        marks = None
        if orientation.marks is not None:
            label = f"{name}, {label}"
            rows = orientation.marks[down]
            marks = (*orientation.marks[right], *(rows[::-1] if down == 2 else rows))
        size = (shape[right] * unit[right], shape[down] * unit[down])
        planes.append(_Plane(label, first, second, size, marks))
    return [plane for plane in planes if min(plane.original.shape) > 1] or planes[:1]


def _one_volume(volume: NDArray[Any]) -> NDArray[Any]:
    return volume[..., 0] if volume.ndim == 4 else three_axes(volume)


def _draw_marks(
    draw: ImageDraw,
    marks: tuple[str, str, str, str],
    place: tuple[int, int],
    size: tuple[int, int],
    font: FreeTypeFont | ImageFont,
) -> None:
    left, top = place
    width, height = size
    middle, centre = left + width // 2, top + height // 2
    anchors = (
        ((left + _GAP // 2, centre), "lm"),
        ((left + width - _GAP // 2, centre), "rm"),
        ((middle, top + _GAP // 2), "ma"),
        ((middle, top + height - _GAP // 2), "md"),
    )
    for mark, (point, anchor) in zip(marks, anchors, strict=True):
        draw.text(point, mark, _TEXT, font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _grey(values: NDArray[np.float64], black: float, white: float) -> _Pixels:
    """(H, W) values -> (H, W, 3) pixels."""
    level = np.clip((values - black) / ((white - black) or 1.0), 0, 1)
    return np.repeat(np.rint(255 * level).astype(np.uint8)[..., None], 3, axis=2)


def _error_colours(level: NDArray[np.float64]) -> _Pixels:
    """(H, W) levels, 0 and up -> (H, W, 3) pixels."""
    stops = np.linspace(0, 1, len(ERROR_COLOURS))
    channels = [np.interp(level, stops, channel) for channel in zip(*ERROR_COLOURS, strict=True)]
    return np.rint(np.stack(channels, axis=2)).astype(np.uint8)
