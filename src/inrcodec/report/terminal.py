"""A small picture of a ``.moec`` file's middle planes, in characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.report.montage import WINDOW_PERCENTILES
from inrcodec.report.orientation import PLANES, Orientation, lengths, orientation

if TYPE_CHECKING:
    from rich.text import Text

    from inrcodec.reader import Reader

_GAP = 2  # columns between planes
_SHADES = " .:-=+*#%@"
_HALF_BLOCK = "▀"  # its upper half has the colour, its lower half the background
_PIXELS = 2
"""In a character, one above the other: it is about twice as high as wide."""


@dataclass(frozen=True, slots=True)
class _Plane:
    across: int
    right: int
    down: int
    size: tuple[float, float]
    """Width and height in the unit of the spacing."""


def draw_preview(reader: Reader, columns: int, rows: int, *, colour: bool) -> Text:
    """The middle planes side by side, of at most ``columns`` x ``rows`` characters.

    Each takes as many samples of the network as it has pixels. Of a time series the first volume is
    shown. With ``colour`` a character shows two pixels in grey, one above the other; without, one
    pixel by its density. Raises what `Reader.read` does.
    """
    turn = orientation(reader.info.geometry, reader.shape)
    planes = _planes(reader, turn)
    marked = turn.marks is not None
    width = sum(plane.size[0] for plane in planes)
    height = max(plane.size[1] for plane in planes)
    free = max(columns - _GAP * (len(planes) - 1), len(planes))
    scale = min(free / width, _PIXELS * max(rows - marked, 1) / height)
    values = [_sample(reader, turn, plane, scale) for plane in planes]
    black, white = np.percentile(np.concatenate([v.ravel() for v in values]), WINDOW_PERCENTILES)
    pictures = [
        np.clip((v.astype(np.float64) - black) / ((white - black) or 1.0), 0, 1) for v in values
    ]
    text = _draw(pictures, colour)
    if turn.marks is not None:
        for plane, picture in zip(planes, pictures, strict=True):
            left, right = turn.marks[plane.right]
            text.append(f"{left}{right:>{max(picture.shape[1] - len(left), 0)}}{' ' * _GAP}")
        text.append("\n")
    text.rstrip()
    return text


def _planes(reader: Reader, turn: Orientation) -> list[_Plane]:
    shape = (*reader.shape, 1, 1)[:3]
    unit = lengths(reader.info.spacing[:3])
    size = turn.along([count * step for count, step in zip(shape, unit, strict=True)])
    counts = turn.along(shape)
    planes = [_Plane(a, r, d, (size[r], size[d])) for a, r, d in PLANES]
    return [p for p in planes if min(counts[p.right], counts[p.down]) > 1] or planes[:1]


def _sample(reader: Reader, turn: Orientation, plane: _Plane, scale: float) -> NDArray[Any]:
    """Stored values of a plane, (rows, columns), from the top and the left."""
    axes = min(len(reader.shape), 3)
    counts = [1] * 3
    counts[turn.axes[plane.right]] = max(1, round(plane.size[0] * scale))
    counts[turn.axes[plane.down]] = max(1, round(plane.size[1] * scale))
    region: list[int | slice] = [slice(None)] * axes + [0] * (len(reader.shape) - axes)
    across = turn.axes[plane.across]
    if across < axes:
        region[across] = reader.shape[across] // 2
    grid = reader.grid.crop(region)
    # An axis of one voxel has one sample.
    grid = grid.resample(
        [min(n, m) if m == 1 else n for n, m in zip(counts, grid.shape[:axes], strict=False)]
    )
    data = reader.read(grid).data
    spatial = data.reshape((*data.shape, 1, 1)[:3])
    picture: NDArray[Any] = turn.upright(spatial).take(0, axis=plane.across).T
    return picture[::-1] if plane.down == 2 else picture  # z runs up


def _draw(pictures: list[NDArray[np.float64]], colour: bool) -> Text:
    """(rows, columns) of brightness from 0 to 1 each, side by side."""
    from rich.text import Text

    text = Text()
    for row in range(0, max(len(picture) for picture in pictures), _PIXELS):
        for number, picture in enumerate(pictures):
            text.append(" " * _GAP * (number > 0))
            pair = picture[row : row + _PIXELS]
            if not len(pair):
                text.append(" " * picture.shape[1])
            elif colour:
                for column in pair.T:
                    grey = [round(255 * value) for value in column]
                    style = " on ".join(f"#{3 * f'{value:02x}'}" for value in grey)
                    text.append(_HALF_BLOCK, style)
            else:
                shade = np.rint(pair.mean(axis=0) * (len(_SHADES) - 1)).astype(int)
                text.append("".join(_SHADES[level] for level in shade))
        text.append("\n")
    return text
