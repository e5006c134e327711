"""A report in Chromium: what it shows, and that mouse and keyboard change it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from report_pages import content
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from inrcodec.architecture import Activation, Gate, Mixture, Stack
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.info import Info
from inrcodec.report.content import Encoded
from inrcodec.report.html import render
from inrcodec.volume.sampling_grid import SamplingGrid

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"
)

SHAPE = (40, 30, 20)
SPACING = (1.0, 1.0, 3.0)
NAME = "<script>alert(1)</script>.nii.gz"
AXIAL, CORONAL, SAGITTAL = range(3)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hounsfield units with a bright block at the patient's left, front and top, and two experts:
    one for each half of the grid's first axis."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    original = rng.normal(40, 60, SHAPE).astype(np.int16)
    original[0, 0, 0] = -1000
    original[2:8, 22:28, 14:18] = 1200  # x grows to the right in RAS+
    decoded = (original + rng.integers(-9, 10, SHAPE)).astype(np.int16)
    affine = np.diag([*SPACING, 1.0])

    def halves(grid: SamplingGrid) -> NDArray[np.uint16]:
        return np.broadcast_to(np.arange(SHAPE[0])[:, None, None] >= SHAPE[0] // 2, SHAPE).astype(
            np.uint16
        )

    about = content(folder, original, decoded, affine, name=NAME)
    info = Info(
        format_version=0,
        file_bytes=1000,
        header=VolumeHeader.of(original),
        geometry=about.original.geometry,
        architecture=Mixture(
            3, Activation.SINE, Stack(1, 8), 2, Stack(1, 8), Gate(Stack(0, 0), Stack(0, 0), 1)
        ),
        chunk_bytes={"V": 20, "G": 17, "N": 957},
    )
    path = folder / "report.html"
    path.write_bytes(render(replace(about, encoded=Encoded(info, halves))))
    return path


class Report:
    """The page in the browser, as it was when it was opened."""

    def __init__(self, driver: webdriver.Chrome, page: Path) -> None:
        self.driver = driver
        driver.get(page.as_uri())
        WebDriverWait(driver, 30, 0.05).until(
            lambda _: self("return document.querySelector('#viewer').ariaBusy") == "false"
        )

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str, number: int = 0) -> WebElement:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)[number]

    def frame(self, plane: int, kind: str = "original") -> WebElement:
        return self.find(f"canvas[data-plane='{plane}'][data-kind={kind}]")

    def slider(self, plane: int) -> WebElement:
        return self.find(".plane-head input", plane)

    def label(self, plane: int) -> str:
        self._settle()
        return str(self("return arguments[0].value", self.find(".plane-head output", plane)))

    def marker(self, plane: int) -> int:
        """The slice that the PSNR curve marks."""
        self._settle()
        return int(self.find(".marker", plane).get_attribute("data-index") or -1)

    def pixels(self, plane: int, kind: str = "original") -> NDArray[np.uint8]:
        """(H, W, 3), as drawn."""
        self._settle()
        width, height, data = self(
            "const { width, height } = arguments[0];"
            "const copy = new OffscreenCanvas(width, height);"
            "const context = copy.getContext('2d', { willReadFrequently: true });"
            "context.drawImage(arguments[0], 0, 0);"
            "return [width, height, Array.from(context.getImageData(0, 0, width, height).data)]",
            self.frame(plane, kind),
        )
        return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]

    def actions(self) -> ActionChains:
        return ActionChains(self.driver, duration=20)

    def click_at(self, element: WebElement, right: float, down: float) -> None:
        """Click at a part of an element's width and height."""
        size = element.rect
        x, y = (
            round((part - 0.5) * length)
            for part, length in ((right, size["width"]), (down, size["height"]))
        )
        self.actions().move_to_element_with_offset(element, x, y).click().perform()

    def _settle(self) -> None:
        """Wait for the next frame, with which the page shows a change."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))"
        )


@pytest.fixture
def report(chromium: webdriver.Chrome, page: Path) -> Iterator[Report]:
    yield Report(chromium, page)
    assert chromium.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_it_opens_without_network_and_without_errors(report: Report) -> None:
    assert report("return performance.getEntriesByType('resource').length") == 0
    assert report.find("h1").text == NAME
    assert report("return document.scripts.length") == 2  # what was unpacked is gone
    assert report.label(AXIAL) == "z = 10 of 20"
    assert report("return document.documentElement.scrollWidth <= innerWidth")


def test_keys_move_the_slice(report: Report) -> None:
    before = report.pixels(AXIAL)
    report.slider(AXIAL).send_keys(Keys.ARROW_RIGHT)
    assert report.label(AXIAL) == "z = 11 of 20"
    assert report.marker(AXIAL) == 11
    assert not np.array_equal(report.pixels(AXIAL), before)
    for key, place in ((Keys.HOME, 0), (Keys.END, 19), (Keys.ARROW_DOWN, 18)):
        report.slider(AXIAL).send_keys(key)
        assert report.label(AXIAL) == f"z = {place} of 20"
    report.slider(AXIAL).send_keys(Keys.PAGE_DOWN)
    assert report.marker(AXIAL) < 18
    spoken = report.slider(AXIAL).get_attribute("aria-valuetext")
    assert spoken == report.label(AXIAL)


def test_the_mouse_moves_the_slice(report: Report) -> None:
    before = report.pixels(CORONAL)
    slider = report.slider(CORONAL)
    actions = report.actions().click_and_hold(slider)
    actions.move_by_offset(slider.rect["width"] / 4, 0).release().perform()
    moved = report.marker(CORONAL)
    # The slider runs to the back, and so against the file's y.
    assert moved == pytest.approx(SHAPE[1] / 4, abs=2)
    assert report.label(CORONAL) == f"y = {moved} of 30"
    assert not np.array_equal(report.pixels(CORONAL), before)


def test_the_wheel_moves_the_slice(report: Report) -> None:
    report.actions().scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(report.frame(AXIAL)), 0, 100
    ).perform()
    assert report.label(AXIAL) == "z = 9 of 20"
    assert report("return scrollY") == 0


def test_a_click_moves_the_other_planes(report: Report) -> None:
    report.click_at(report.frame(AXIAL), 0.91, 0.22)
    assert report.label(AXIAL) == "z = 10 of 20"
    assert report.label(SAGITTAL) == "x = 3 of 40"  # the patient's left
    assert report.label(CORONAL) == "y = 23 of 30"  # the front
    assert report("return document.activeElement") == report.slider(AXIAL)
    report.click_at(report.find(".chart.picks", AXIAL), 0.5, 0.5)
    assert report.marker(AXIAL) == pytest.approx(8, abs=2)
    assert report.label(AXIAL) == f"z = {report.marker(AXIAL)} of 20"


def test_the_left_is_where_it_is_marked(report: Report) -> None:
    for _ in range(5):
        report.slider(AXIAL).send_keys(Keys.ARROW_UP)
    rows, columns = np.nonzero(report.pixels(AXIAL)[..., 0] == 255)
    block = [(rows > 0) & (rows < 10), (columns > 30) & (columns < 39)]
    assert (block[0] & block[1]).sum() >= 36
    cell = report.find(".cell")
    marks = {m.text: m.rect for m in cell.find_elements(By.CSS_SELECTOR, ".mark")}
    assert set(marks) == {"R", "L", "A", "P"}
    assert marks["R"]["x"] < marks["A"]["x"] < marks["L"]["x"]
    assert marks["A"]["y"] < marks["L"]["y"] < marks["P"]["y"]
    sagittal = report.find(".cell", 3 * SAGITTAL)
    marks = {m.text: m.rect for m in sagittal.find_elements(By.CSS_SELECTOR, ".mark")}
    assert marks["A"]["x"] < marks["S"]["x"] < marks["P"]["x"]
    assert marks["S"]["y"] < marks["A"]["y"] < marks["I"]["y"]


def test_the_aspect_is_that_of_the_voxels(report: Report) -> None:
    x, y, z = (length * count for length, count in zip(SPACING, SHAPE, strict=True))
    for width in (1400, 900, 420):
        report.driver.set_window_size(width, 1000)
        for plane, aspect in ((AXIAL, x / y), (CORONAL, x / z), (SAGITTAL, y / z)):
            for kind in ("original", "decoded", "error"):
                size = report.frame(plane, kind).rect
                assert size["width"] / size["height"] == pytest.approx(aspect, rel=0.02)
        assert report("return document.documentElement.scrollWidth <= innerWidth")
    report.driver.set_window_size(1400, 1000)


def test_windows(report: Report) -> None:
    soft, decoded = report.pixels(AXIAL), report.pixels(AXIAL, "decoded")
    buttons = {b.text: b for b in report.driver.find_elements(By.CSS_SELECTOR, "#presets button")}
    assert set(buttons) == {"Auto", "Brain", "Soft tissue", "Lung", "Bone"}
    buttons["Brain"].click()
    brain = report.pixels(AXIAL)
    assert brain.std() > 1.5 * soft.std()
    assert not np.array_equal(report.pixels(AXIAL, "decoded"), decoded)
    assert buttons["Brain"].get_attribute("aria-pressed") == "true"
    assert report("return document.querySelector('#width').value") == "80"
    report.find("#centre-slider").send_keys(Keys.END)
    assert report.pixels(AXIAL).mean() < 40
    error = report.pixels(AXIAL, "error")
    report.find("#error-slider").send_keys(Keys.HOME)
    assert report.pixels(AXIAL, "error").mean() > error.mean()


def test_the_right_button_drags_the_window(report: Report) -> None:
    before = report.pixels(AXIAL)
    actions = report.actions()
    actions.move_to_element(report.frame(AXIAL))
    pointer = actions.w3c_actions.pointer_action
    pointer.pointer_down(button=2)
    pointer.move_by(60, 0)
    pointer.pointer_up(button=2)
    actions.perform()
    assert float(report("return document.querySelector('#width').value")) > 420
    assert not np.array_equal(report.pixels(AXIAL), before)
    assert report.label(AXIAL) == "z = 10 of 20"


def test_the_experts_are_laid_over_the_decoded_planes(report: Report) -> None:
    def is_grey(pixels: NDArray[np.uint8]) -> bool:
        return bool((pixels[..., 0] == pixels[..., 2]).all())

    assert is_grey(report.pixels(AXIAL, "decoded"))
    report.find("#overlay").click()
    coloured = report.pixels(AXIAL, "decoded").astype(int)
    assert is_grey(report.pixels(AXIAL))
    redder = coloured[..., 0] > coloured[..., 2]
    assert not redder[:, :20].any()  # the second expert, at the patient's right, is blue
    assert redder[:, 20:].all()
    assert re.findall(r"\d: [\d.]+ %", report.find("#legend").text) == ["1: 50.0 %", "2: 50.0 %"]
    report.find("#overlay").click()
    assert is_grey(report.pixels(AXIAL, "decoded"))


def test_one_plane_fills_the_window(report: Report) -> None:
    before = report.frame(SAGITTAL).rect["height"]
    report.find("#layouts button", 1 + SAGITTAL).click()
    assert report.frame(SAGITTAL).rect["height"] > before
    assert not report.frame(AXIAL).is_displayed()


def test_an_image_has_one_plane(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    data = np.arange(20 * 16, dtype=np.float32).reshape(20, 16)
    path = tmp_path / "image.html"
    path.write_bytes(render(content(tmp_path, data, data + 1)))
    report = Report(chromium, path)
    assert report.pixels(0).shape == (16, 20, 3)
    assert len(report.driver.find_elements(By.CSS_SELECTOR, "canvas[data-plane]")) == 3
    assert not report.find("#slice-charts").is_displayed()
    assert report.find("#histogram svg").is_displayed()


@pytest.mark.parametrize(
    "data",
    [
        np.full((6, 5, 4), 7, np.uint8),
        np.arange(20, dtype=np.int16),
        np.zeros((1, 1, 1), np.float32),
        1.7e308 * np.linspace(-1, 1, 60).reshape(5, 4, 3),
    ],
    ids=["one value", "a line", "a voxel", "absurd values"],
)
def test_odd_volumes_open(chromium: webdriver.Chrome, tmp_path: Path, data: NDArray[Any]) -> None:
    path = tmp_path / "odd.html"
    path.write_bytes(render(content(tmp_path, data, data)))
    report = Report(chromium, path)
    assert report.pixels(0).size
    assert not report.find("#failure").is_displayed()
    assert chromium.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_equal_volumes_say_so(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (5, 6, 7), np.int16)
    path = tmp_path / "report.html"
    path.write_bytes(render(content(tmp_path, data, data.copy(), np.eye(4))))
    report = Report(chromium, path)
    texts = report(
        "return [...document.querySelectorAll('#slice-charts svg')].map(s => s.textContent)"
    )
    assert len(texts) == 3
    assert all("no error in any of them" in text for text in texts)


def test_volumes_of_a_time_series(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    original = np.arange(9 * 8 * 7 * 3, dtype=np.int16).reshape(9, 8, 7, 3)
    path = tmp_path / "series.html"
    path.write_bytes(render(content(tmp_path, original, original // 2 * 2)))
    report = Report(chromium, path)
    before = report.pixels(AXIAL)
    report.find("#volume").send_keys(Keys.ARROW_RIGHT)
    assert not np.array_equal(report.pixels(AXIAL), before)
    assert report.marker(3) == 1
    assert report("return document.querySelector('#volume-label').value") == "1 of 3"
    assert not report.driver.find_elements(By.CSS_SELECTOR, ".mark")  # the file has no orientation


@pytest.mark.parametrize("before", ["", "delete Uint8Array.fromBase64"])
def test_what_was_packed_is_shown(chromium: webdriver.Chrome, tmp_path: Path, before: str) -> None:
    """In browsers of 2023 too, which lack a function that newer ones have."""
    data = np.random.default_rng(1).integers(0, 256, (16, 12, 5)).astype(np.uint8)
    path = tmp_path / "bytes.html"
    path.write_bytes(render(content(tmp_path, data, data)))
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
    report = Report(chromium, path)
    chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    report.find("#centre").clear()
    report.find("#centre").send_keys("127.5")
    report.find("#width").clear()
    report.find("#width").send_keys("255")
    # Keys typed on a busy machine may take a while to be seen.
    WebDriverWait(chromium, 10, 0.1).until(
        lambda _: np.array_equal(report.pixels(AXIAL)[..., 0], data[:, ::-1, 2].T)
    )
