"""`inrcodec verify`: what it accepts, what it finds, and what it says of several files."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from test_reader import crafted

from inrcodec import decoder
from inrcodec.cli import main
from inrcodec.decoder import decode_bytes, verify_bytes
from inrcodec.errors import ChecksumError
from inrcodec.exact.evaluate import evaluate
from inrcodec.progress import Progress

GOOD = crafted((40, 30, 20))
WRONG_VOXELS = crafted((40, 30, 20), damage=1 << 31)

MISMATCH = "the decoded voxels do not match the file's checksum"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moec: bytes) -> Path:
    """A working folder with two good files and three bad ones."""
    flipped = bytearray(moec)
    flipped[200] ^= 4
    files = {
        "fitted": moec,
        "good": GOOD,
        "flipped": bytes(flipped),
        "wrong": WRONG_VOXELS,
        "cut": GOOD[:-9],
    }
    for name, data in files.items():
        (tmp_path / f"{name}.moec").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments], input=stdin)


def test_good_files() -> None:
    result = run("good.moec", "fitted.moec", "-q")
    assert (result.exit_code, result.output) == (0, "")
    result = run("good.moec", "fitted.moec")
    assert result.exit_code == 0
    assert result.stdout == "good.moec: ok\nfitted.moec: ok\n"
    assert result.stderr == "inrcodec: decoding\n" * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flipped", r"chunk at offset \d+ is damaged: its CRC-32 does not match"),
        ("wrong", MISMATCH),
        ("cut", "data ends 5 bytes short"),
        ("missing", "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_file(name: str, message: str) -> None:
    result = run(f"{name}.moec", "-q")
    assert (result.exit_code, result.stdout) == (4, "")
    (line,) = result.stderr.splitlines()
    assert re.match(rf"inrcodec: error: {name}\.moec: {message}", line)


def test_every_file_is_verified_whatever_is_wrong_with_one() -> None:
    names = ["flipped.moec", "good.moec", "missing.moec", "wrong.moec", "fitted.moec"]
    result = run(*names)
    assert result.exit_code == 4
    assert result.stdout == "good.moec: ok\nfitted.moec: ok\n"
    errors = [line for line in result.stderr.splitlines() if "error" in line]
    assert [line.split(": ")[2] for line in errors] == [
        "flipped.moec",
        "missing.moec",
        "wrong.moec",
    ]
    assert run("wrong.moec", "good.moec", "-q").exit_code == 4


def test_standard_input() -> None:
    result = run("-", "-q", stdin=GOOD)
    assert (result.exit_code, result.output) == (0, "")
    assert "standard input: ok" in run("good.moec", "-", stdin=GOOD).stdout
    result = run("-", stdin=WRONG_VOXELS)
    assert result.exit_code == 4
    assert f"inrcodec: error: standard input: {MISMATCH}" in result.stderr


def test_from_a_shell() -> None:
    command = [sys.executable, "-m", "inrcodec", "verify", "good.moec", "wrong.moec"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (4, "good.moec: ok\n")
    assert f"inrcodec: error: wrong.moec: {MISMATCH}" in result.stderr


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("good.moec", "--limit", "voxels=23999").exit_code == 4
    result = run("good.moec", "--limit", "work=1000", "-q")
    assert "if you trust the file, add --limit work=" in result.stderr
    threads = torch.get_num_threads()
    try:
        assert run("good.moec", "--threads", "2", "--device", "cpu").exit_code == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run("good.moec", "good.moec", "--device", "cuda", "-q")
    assert result.exit_code == 7
    assert len(result.stderr.splitlines()) == 1
    assert run().exit_code == 2


def test_debug_shows_the_traceback() -> None:
    result = run("wrong.moec", "--debug", "-q")
    assert result.stderr.startswith("Traceback")
    assert result.stderr.splitlines()[-1].startswith("inrcodec: error: wrong.moec: ")


def test_nothing_is_written(here: Path) -> None:
    before = sorted(here.iterdir())
    run("good.moec", "wrong.moec")
    assert sorted(here.iterdir()) == before


def test_memory_does_not_grow_with_the_volume() -> None:
    shape = (160, 100, 60)
    data = crafted(shape, "float64")
    tracemalloc.start()
    try:
        verify_bytes(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < math.prod(shape) * 8 / 2


def test_pieces_may_come_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def shuffled(network: object, grid: object, on_levels: object, on_done: object) -> None:
        pieces: list[tuple[int, torch.Tensor]] = []
        evaluate(network, grid, lambda *piece: pieces.append(piece), on_done, 999)  # type: ignore[arg-type]
        random.Random(0).shuffle(pieces)
        for piece in pieces:
            on_levels(*piece)  # type: ignore[operator]

    monkeypatch.setattr(decoder, "evaluate", shuffled)
    verify_bytes(GOOD)
    with pytest.raises(ChecksumError, match=MISMATCH):
        verify_bytes(WRONG_VOXELS)


@pytest.mark.parametrize("value", [0, 7])
def test_a_volume_of_one_value(value: int) -> None:
    data = crafted((4, 5, 6), "float32", value, value)
    seen: list[Progress] = []
    verify_bytes(data, on_progress=seen.append)
    assert seen == [Progress("decode", 120, 120)]
    with pytest.raises(ChecksumError):
        verify_bytes(crafted((4, 5, 6), "float32", value, value, damage=1))


def test_it_accepts_what_decodes() -> None:
    for shape, dtype in [((50,), "uint64"), ((7, 6), "int8"), ((5, 1, 4, 3), "float64")]:
        data = crafted(shape, dtype, 0, 100)
        verify_bytes(data)
        assert np.ptp(decode_bytes(data).data) > 0
