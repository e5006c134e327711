"""The picture shows the right planes, in the right shape and colours."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inrcodec.errors import MissingPackageError
from inrcodec.report.montage import draw_planes
from inrcodec.report.orientation import orientation_of_affine


def volume(*shape: int) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def draw(
    original: NDArray[np.int16], decoded: NDArray[np.int16], spacing: tuple[float, ...] = (1, 1, 1)
) -> NDArray[np.uint8]:
    return np.asarray(draw_planes(original, decoded, spacing, "a title", "a caption"))


def tiles(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """(width, height) of each row of planes in which every pixel of a plane has ``colour``."""
    hit = (picture == colour).all(axis=2)
    rows = np.flatnonzero(hit.sum(axis=1) > 20)
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [(int(hit[group[0]].sum()), len(group)) for group in groups]


def test_an_exact_copy_has_no_error() -> None:
    data = volume(20, 16, 12)
    picture = draw(data, data)
    first_error_colour = (0, 0, 4)
    assert len(tiles(picture, first_error_colour)) >= 3


def test_planes_have_the_aspect_of_the_voxels() -> None:
    data = volume(40, 30, 10)
    picture = draw(data, data, (1.0, 2.0, 3.0))  # 40 x 60 x 30
    axial, coronal, sagittal = tiles(picture, (0, 0, 4))[:3]
    assert axial[0] / axial[1] == pytest.approx(40 / 60, abs=0.02)
    assert coronal[0] / coronal[1] == pytest.approx(40 / 30, abs=0.02)
    assert sagittal[0] / sagittal[1] == pytest.approx(60 / 30, abs=0.02)


def test_x_runs_right_and_y_runs_up() -> None:
    data = np.zeros((32, 32, 32), np.int16)
    data[24:, 24:, 16] = 1000  # right and up in the plane z = 16
    picture = draw(data, np.zeros_like(data))
    white = (picture > 250).all(axis=2)
    ys, xs = np.nonzero(white[150:500, : picture.shape[1] // 3])
    assert xs.size > 1000
    assert np.median(xs) > picture.shape[1] / 3 / 2
    assert np.median(ys) < 175


def test_the_patients_left_is_at_the_right() -> None:
    data = np.zeros((32, 32, 32), np.int16)
    data[:8, 24:, 16] = 1000  # left and to the front, by the affine
    turn = orientation_of_affine(np.eye(4))
    drawn = draw_planes(data, np.zeros_like(data), (1, 1, 1), "title", "caption", turn)
    picture = np.asarray(drawn)
    white = (picture > 250).all(axis=2)[:, : picture.shape[1] // 3]
    ys, xs = np.nonzero(white[150:500])
    assert np.median(xs) > picture.shape[1] / 3 / 2
    assert np.median(ys) < 175
    unmarked = np.asarray(draw_planes(data, np.zeros_like(data), (1, 1, 1), "title", "caption"))
    letters = (picture[..., 2] > 220) & (unmarked.shape == picture.shape)
    assert letters[150:, picture.shape[1] // 2].any()  # A and P, on the black decoded plane


def test_original_and_decoded_share_one_window() -> None:
    data = volume(32, 32, 32)
    half = np.full_like(data, data.min() // 2 + data.max() // 2)
    picture = draw(data, half).astype(int)
    middle = picture[300, picture.shape[1] // 2]
    assert middle == pytest.approx([127, 127, 127], abs=6)


@pytest.mark.parametrize(
    "shape", [(20,), (20, 16), (20, 16, 1), (1, 20, 16), (20, 16, 12, 3), (1, 1, 1), (2, 2, 2)]
)
def test_every_shape_is_drawn(shape: tuple[int, ...]) -> None:
    data = volume(*shape)
    picture = draw_planes(data, data // 2, (1.0,) * len(shape), "title", "caption")
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"


@pytest.mark.parametrize("length", [0.0, float("nan"), float("inf"), -2.0])
def test_odd_spacing(length: float) -> None:
    data = volume(8, 8, 8)
    assert draw(data, data, (length, 1.0, 1.0)).size


def test_a_constant_volume() -> None:
    data = np.full((8, 8, 8), 7, np.int16)
    assert draw(data, data).size


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'inrcodec\[png\]'"):
        draw(volume(8, 8, 8), volume(8, 8, 8))
