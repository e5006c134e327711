"""A picture of three planes of a volume: original, decoded, and how far they are apart.

Needs Pillow, which the extra ``png`` installs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InrcodecError

if TYPE_CHECKING:
    from PIL.Image import Image

_Pixels = NDArray[np.uint8]

WINDOW_PERCENTILES = (0.5, 99.5)
"""Of the original's values, shown as black and white."""

ERROR_PERCENTILE = 99.5
"""Of the absolute errors, shown as the brightest colour."""

_COLUMNS = ("original", "decoded", "absolute error")
_WIDTH, _HEIGHT = 460, 460  # pixels, of the largest plane at most
_MARGIN, _GAP = 28, 14
_TITLE_SIZE, _TEXT_SIZE = 22, 17
_BACKGROUND, _TEXT, _DIM = (18, 18, 20), (236, 236, 238), (158, 158, 164)
_BAR_HEIGHT = 12

# Black, purple, red, orange, pale yellow: brightness rises all the way.
_ERROR_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane through the middle, as it is shown: rows from top to bottom."""

    label: str
    original: NDArray[np.float64]
    decoded: NDArray[np.float64]
    size: tuple[float, float]
    """Width and height in the unit of the spacing."""


def draw_planes(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: tuple[float, ...],
    title: str,
    caption: str,
) -> Image:
    """Draw the middle planes of two volumes, (X, Y), (X, Y, Z) or (X, Y, Z, T), side by side.

    The first index of a fourth axis is shown. x runs to the right, and y and z run upwards: give
    volumes in RAS order to have them upright. ``spacing`` holds a length for each of the first
    axes, all in one unit, and sets the aspect ratio. Grey values have one window for both volumes.

    Raises `InrcodecError` where Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise InrcodecError(
            "drawing needs Pillow: install it with pip install 'inrcodec[png]'"
        ) from None

    planes = _planes(original, decoded, spacing)
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
            canvas.paste(image, (left + (column - width) // 2, y))
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


def _planes(
    original: NDArray[Any], decoded: NDArray[Any], spacing: tuple[float, ...]
) -> list[_Plane]:
    """The planes through the middle that are more than a line, or else the first one."""
    volumes = [_three_axes(volume) for volume in (original, decoded)]
    shape = volumes[0].shape
    lengths = [abs(length) if math.isfinite(length) and length else 1.0 for length in spacing[:3]]
    lengths += [1.0] * (3 - len(lengths))
    planes = []
    for across in (2, 1, 0):
        middle = shape[across] // 2
        right, up = (axis for axis in range(3) if axis != across)
        first, second = (v.take(middle, axis=across).T[::-1].astype(np.float64) for v in volumes)
        label = f"{'xyz'[across]} = {middle} of {shape[across]}"
        size = (shape[right] * lengths[right], shape[up] * lengths[up])
        planes.append(_Plane(label, first, second, size))
    return [plane for plane in planes if min(plane.original.shape) > 1] or planes[:1]


def _three_axes(volume: NDArray[Any]) -> NDArray[Any]:
    return (
        volume[..., 0]
        if volume.ndim == 4
        else volume.reshape(volume.shape + (1,) * (3 - volume.ndim))
    )


def _grey(values: NDArray[np.float64], black: float, white: float) -> _Pixels:
    """(H, W) values -> (H, W, 3) pixels."""
    level = np.clip((values - black) / ((white - black) or 1.0), 0, 1)
    return np.repeat(np.rint(255 * level).astype(np.uint8)[..., None], 3, axis=2)


def _error_colours(level: NDArray[np.float64]) -> _Pixels:
    """(H, W) levels, 0 and up -> (H, W, 3) pixels."""
    stops = np.linspace(0, 1, len(_ERROR_COLOURS))
    channels = [np.interp(level, stops, channel) for channel in zip(*_ERROR_COLOURS, strict=True)]
    return np.rint(np.stack(channels, axis=2)).astype(np.uint8)
