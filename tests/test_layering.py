"""Imports only go down, and what must start fast or stay small imports nothing large."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import run_python

import inrcodec

PACKAGE = Path(inrcodec.__file__).parent

LAYERS = (
    {"errors", "progress"},
    {"limits"},
    {"architecture", "device", "metrics", "output"},
    {"planner", "quantization"},
    {"bitstream", "volume"},
    {"entropy", "exact", "file_size", "model"},
    {"fitting"},
    {"decoder", "info", "quality_search"},
    {"encoding", "pair", "reader"},
    {"encoder"},
    {"compare"},
    {"bench", "report"},
    {"cli"},
    {"__main__"},
)
"""A module imports from layers before its own, and within its own package."""

BESIDE = {("volume", "bitstream"), ("bitstream", "volume")}
"""Packages of one layer whose modules build on each other."""


def imports(path: Path, *, deferred: bool) -> Iterator[str]:
    """Names of all modules imported in a file; ``deferred``: inside functions too."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if deferred else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_module_has_a_layer() -> None:
    units = {unit(path) for path in FILES}
    assert units == set().union(*LAYERS)
    assert sum(map(len, LAYERS)) == len(units)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    own = unit(path)
    for name in imports(path, deferred=True):
        parts = name.split(".")
        if parts[0] != "inrcodec" or parts[1] == "__version__":
            continue
        other = parts[1]
        assert other == own or (own, other) in BESIDE or layer[other] < layer[own], name


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_import_nothing_heavy_at_their_top(path: Path) -> None:
    for name in imports(path, deferred=False):
        assert name.split(".")[0] not in {"torch", "numpy", "nibabel", "rich"}
        assert not name.startswith(("inrcodec.encoder", "inrcodec.decoder", "inrcodec.info"))


LOADED = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("inrcodec", {"torch", "numpy", "nibabel", "click", "inrcodec.reader"}),
        ("inrcodec.cli", {"torch", "numpy", "nibabel", "rich", "zstandard"}),
        ("inrcodec.info", {"torch", "nibabel", "inrcodec.fitting", "inrcodec.model"}),
        ("inrcodec.decoder", {"inrcodec.fitting", "inrcodec.encoder"}),
        ("inrcodec.entropy.network", {"torch"}),
        ("inrcodec.bitstream.container,inrcodec.volume.nifti,inrcodec.metrics", {"torch"}),
    ],
)
def test_what_a_module_loads(modules: str, absent: set[str]) -> None:
    assert not absent & set(run_python(LOADED, modules).split())
