"""Reports made for the tests, and what a browser would find in them."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inrcodec.compare import compare
from inrcodec.report.content import Content, Encoded
from inrcodec.volume.nifti import read_nifti

VOID = {"meta", "input", "br", "hr", "img", "link"}


def content(
    folder: Path,
    original: NDArray[Any],
    decoded: NDArray[Any],
    affine: NDArray[np.float64] | None = None,
    *,
    name: str = "scan.nii.gz",
    encoded: Encoded | None = None,
    **header: float,
) -> Content:
    """Two volumes as a report shows them, the original read from a NIfTI file with ``affine``, or
    without any orientation."""
    picture = nib.Nifti1Image(
        original, np.eye(4) if affine is None else affine, dtype=original.dtype
    )
    if affine is None:
        picture.set_sform(None, 0)
        picture.set_qform(None, 0)
    picture.header.set_xyzt_units("mm")
    path = folder / "volume.nii"
    nib.save(picture, path)
    with path.open("r+b") as file:  # nibabel has its own mind about slope and intercept
        file.seek(112)
        file.write(np.array([header.get("slope", 1), header.get("intercept", 0)], "<f4").tobytes())
    volume = read_nifti(path)
    comparison = compare(volume.data, decoded)
    return Content(volume, decoded, name, "scan.moec", comparison, encoded)


class Page(HTMLParser):
    """A page's elements: whether all are closed, their attributes, and the text of some."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self._shown: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)
            if self._open[-1] not in ("script", "style"):
                self._shown.append(data)

    @property
    def text(self) -> str:
        """What is shown."""
        return " ".join(" ".join(self._shown).split())


def script(page: bytes, name: str) -> str:
    """The text of a script element."""
    found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', page.decode(), re.DOTALL)
    assert found is not None
    return found[1]


def view(page: bytes) -> dict[str, Any]:
    """What the page's script is told."""
    result: dict[str, Any] = json.loads(script(page, "view"))
    return result


def levels(page: bytes, name: str) -> NDArray[Any]:
    """The levels of a volume in a page, (X, Y, Z, T) in the pictures' axes, as its script has
    them."""
    known = view(page)
    streams = [script(page, f"{name}-{i}") for i in range(known["streams"][name])]
    shape = (*(axis["samples"] for axis in known["axes"]), known["volumes"]["samples"])
    return unpack([base64.b64decode(stream) for stream in streams], shape)


def unpack(streams: list[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    """What `pack` packed."""
    parts = [np.frombuffer(zlib.decompress(stream, -15), np.uint8) for stream in streams]
    dtype = np.dtype(f"<u{len(parts)}")
    zigzag = np.stack(parts, axis=1).view(dtype).reshape(shape, order="F")
    residual = np.where(zigzag % 2, ~(zigzag // 2), zigzag // 2)
    return residual.cumsum(axis=1, dtype=dtype).cumsum(axis=0, dtype=dtype)
