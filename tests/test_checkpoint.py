"""A fit that was stopped goes on to the same file; no other file passes for its checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from families import MOEC, NEURAL_TOP2, SINGLE, TREE
from torch import Tensor

from inrcodec.architecture import Architecture
from inrcodec.cli import main
from inrcodec.encoder import Target, encode_file
from inrcodec.errors import InputError, OutputError
from inrcodec.fitting import checkpoint as module
from inrcodec.fitting.checkpoint import Checkpoint
from inrcodec.fitting.fit import fit
from inrcodec.fitting.sampling import VoxelSampler
from inrcodec.model.network import initialized
from inrcodec.progress import OnProgress, Progress

SHAPE = (12, 10, 8)
STEPS, BATCH = 100, 960
CPU = torch.device("cpu")
TARGET = Target(file_bytes=400)


class StoppedError(Exception):
    """What ends a fit in these tests."""


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save at every report, however short the fit."""
    monkeypatch.setattr(module, "INTERVAL", 0.0)


def voxels() -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    blob = np.cos(3 * axes[0] + 1) * np.exp(-sum(a * a for a in axes))
    return np.asfortranarray(blob.astype(np.float32))


def sampler() -> VoxelSampler:
    return VoxelSampler(voxels().reshape(-1, order="F"), SHAPE, CPU, seed=0)


# The fit


@pytest.mark.parametrize("draws", [1, 14, 15, 16, 45, 50])
@pytest.mark.parametrize("count", [1000, 1 << 20])
def test_sampler_skips_as_if_it_had_drawn(draws: int, count: int) -> None:
    """A pool of the small volume has 15 batches of 1,000, and room for 300 voxels after them."""
    drawn, skipped = sampler(), sampler()
    for _ in range(draws):
        drawn.draw(count)
    skipped.skip(draws, count)
    for following in (300, 1000, count):
        for one, other in zip(drawn.draw(following), skipped.draw(following), strict=True):
            assert torch.equal(one, other)


def fitted(
    architecture: Architecture, path: Path | None, stop_at: int | None = None
) -> tuple[list[Tensor], list[tuple[int, float]], Tensor]:
    """Weights, reports, and the voxels drawn next; the report of ``stop_at`` steps stops it."""
    s = sampler()
    generator = torch.Generator().manual_seed(0)
    model = initialized(architecture, s.statistics, generator)
    checkpoint = None if path is None else belonging(path, architecture=architecture)
    reports = []

    def report(done: int, total: int, mse: float) -> None:
        reports.append((done, mse))
        if done == stop_at:
            raise StoppedError

    fit(model, s, STEPS, BATCH, report, checkpoint)
    return [p.detach() for p in model.parameters()], reports, s.draw(100).target


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("architecture", [SINGLE, TREE, MOEC, NEURAL_TOP2])
@pytest.mark.parametrize("stop_at", [32, 64, 96, STEPS])
def test_a_stopped_fit_ends_in_the_same_weights(
    tmp_path: Path, architecture: Architecture, stop_at: int
) -> None:
    weights, reports, following = fitted(architecture, None)
    with pytest.raises(StoppedError):
        fitted(architecture, tmp_path / "fit", stop_at)
    again, reports_again, following_again = fitted(architecture, tmp_path / "fit")
    assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
    assert reports_again == [r for r in reports if r[0] >= stop_at]
    assert torch.equal(following, following_again)


@pytest.mark.parametrize(("interval", "saves"), [(1e9, 1), (0.0, 7)])
def test_saving_goes_by_time_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float, saves: int
) -> None:
    saved = []
    write = module.atomic_output

    def spy(path: Path, overwrite: bool) -> Any:
        saved.append(path)
        return write(path, overwrite)

    monkeypatch.setattr(module, "INTERVAL", interval)
    monkeypatch.setattr(module, "atomic_output", spy)
    fitted(SINGLE, tmp_path / "fit")
    assert saved == [tmp_path / "fit"] * saves
    assert len(list(tmp_path.iterdir())) == 1


# The encode


def stop_in(stage: str, done: int) -> OnProgress:
    def on_progress(progress: Progress) -> None:
        if progress.stage == stage and progress.done >= done:
            raise StoppedError

    return on_progress


def resumed(scan: Path, folder: Path) -> tuple[bytes, list[int]]:
    """The file, and the steps of the fit that were reported."""
    seen: list[Progress] = []
    encode_file(
        scan,
        folder / "out.moec",
        target=TARGET,
        checkpoint=folder / "fit",
        on_progress=seen.append,
    )
    assert [path.name for path in folder.iterdir()] == ["out.moec"]
    return (folder / "out.moec").read_bytes(), [p.done for p in seen if p.stage == "fit"]


@pytest.mark.usefixtures("always", "short_fit")
@pytest.mark.parametrize(("stage", "left"), [("fit", [32, 60]), ("quantize", [60])])
def test_a_stopped_encode_makes_the_same_file(
    tmp_path: Path, scan: Path, moec: bytes, stage: str, left: list[int]
) -> None:
    with pytest.raises(StoppedError):
        encode_file(
            scan,
            tmp_path / "out.moec",
            target=TARGET,
            checkpoint=tmp_path / "fit",
            on_progress=stop_in(stage, 5),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]
    assert resumed(scan, tmp_path) == (moec, left)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from inrcodec import encoder, encoding
from inrcodec.fitting import checkpoint
from inrcodec.planner import Effort

def kill(progress):
    if progress.done >= 32:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
encoding.plan_effort = lambda *_: Effort(60, 4, 2048)
checkpoint.INTERVAL = 0.0
scan, folder = map(Path, sys.argv[1:])
encoder.encode_file(
    scan, folder / "out.moec", target=encoder.Target(file_bytes=400),
    checkpoint=folder / "fit", on_progress=kill,
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.usefixtures("short_fit")
def test_a_killed_encode_makes_the_same_file(tmp_path: Path, scan: Path, moec: bytes) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(scan), str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert resumed(scan, tmp_path) == (moec, [32, 60])


@pytest.mark.usefixtures("short_fit")
def test_an_encode_that_was_not_stopped_leaves_no_checkpoint(
    tmp_path: Path, scan: Path, moec: bytes
) -> None:
    assert resumed(scan, tmp_path) == (moec, [32, 60])


@pytest.mark.usefixtures("always", "short_fit")
def test_the_command_goes_on(
    tmp_path: Path, scan: Path, moec: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["encode", str(scan), "--bytes", "400", "--checkpoint", "fit", "-o", "out.moec"]
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("inrcodec.fitting.quantize._Quantizer", _interrupt)
        assert CliRunner().invoke(main, command).exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]
    other = CliRunner().invoke(main, [*command, "--seed", "1"])
    assert other.exit_code == 3
    assert other.stderr.splitlines()[-1] == (
        "inrcodec: error: fit: belongs to an encode with another seed; "
        "name another file for the checkpoint, or delete this one"
    )
    assert CliRunner().invoke(main, command).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.moec"]
    assert (tmp_path / "out.moec").read_bytes() == moec


def test_a_time_limit_has_no_checkpoint(scan: Path) -> None:
    command = ["encode", str(scan), "--bytes", "400", "--checkpoint", "fit", "--time-limit", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--checkpoint and --time-limit do not go together" in result.stderr


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/fit", "folder .*none does not exist"),
        (".", "is a folder"),
        ("pipe", "is not a regular file"),
        ("link.moec", "is the output too"),
        ("out.moec", "is the output too"),
    ],
)
def test_the_path_is_checked_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.moec").symlink_to("out.moec")
    with pytest.raises(OutputError, match=message):
        encode_file(
            tmp_path / "missing.nii",
            tmp_path / "out.moec",
            target=TARGET,
            checkpoint=tmp_path / name,
        )


def test_a_volume_of_one_value_takes_no_checkpoint(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 7, np.int16), np.eye(4)), tmp_path / "in.nii")
    (tmp_path / "fit").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"fit: .* one value"):
        encode_file(
            tmp_path / "in.nii", tmp_path / "x.moec", target=TARGET, checkpoint=tmp_path / "fit"
        )
    assert (tmp_path / "fit").read_bytes() == b"mine"


# The file


def state() -> dict[str, Tensor]:
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(5.0)}


def belonging(path: Path, **options: Any) -> Checkpoint:
    options = {"voxels": voxels(), "architecture": SINGLE, "seed": 0, "device": CPU} | options
    return Checkpoint(path, **{"steps": STEPS, "batch": BATCH} | options)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "fit"
    belonging(path).update(STEPS, 0.25, state())
    return path


def test_a_checkpoint_brings_the_state_back(saved: Path) -> None:
    found = {name: torch.zeros_like(tensor) for name, tensor in state().items()}
    assert belonging(saved).restore(found) == (STEPS, 0.25)
    assert all(torch.equal(found[name], tensor) for name, tensor in state().items())


def test_without_a_file_the_fit_starts_anew(tmp_path: Path) -> None:
    step, loss = belonging(tmp_path / "fit").restore(state())
    assert step == 0
    assert math.isnan(loss)


def refused(path: Path, message: str, **options: Any) -> None:
    before, tensors = path.stat().st_size, state()
    with pytest.raises(InputError, match=message) as error:
        belonging(path, **options).restore(tensors)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1
    assert path.stat().st_size == before
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state().items())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"voxels": voxels() + np.float32(1)}, "volume"),
        ({"voxels": voxels().astype(np.float64)}, "volume"),
        ({"voxels": voxels().reshape(10, 12, 8, order="F")}, "volume"),
        ({"device": torch.device("cuda")}, "device"),
        ({"seed": 1}, "seed"),
        ({"architecture": MOEC}, "size or kind of network"),
        ({"steps": STEPS + 1}, "preset"),
        ({"batch": BATCH + 1}, "preset"),
        ({"voxels": voxels() * 2, "seed": 1, "steps": 7}, "volume"),
    ],
)
def test_a_checkpoint_serves_its_own_fit_only(
    saved: Path, options: dict[str, Any], what: str
) -> None:
    refused(saved, f"belongs to an encode with another {what};", **options)


def test_a_checkpoint_of_another_version(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__version__", "99.0")
    refused(saved, "another version of inrcodec;")


def parse(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def build(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_the_layout_is_that_of_safetensors(saved: Path) -> None:
    header, data = parse(saved.read_bytes())
    metadata = header.pop("__metadata__")
    assert all(isinstance(value, str) for value in metadata.values())
    assert list(header) == ["step", "loss", "a", "b"]
    assert header["a"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]}
    assert np.array_equal(np.frombuffer(data[16:40], "<f4"), np.arange(6))
    ends = [entry["data_offsets"][1] for entry in header.values()]
    assert ends[-1] == len(data)


def test_any_damage_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for cut in range(len(whole)):
        saved.write_bytes(whole[:cut])
        refused(saved, "name another file|damaged checkpoint")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        refused(saved, "name another file|damaged checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MOEC\x01\x03",
        (1 << 40).to_bytes(8, "little"),
        b"\xff" * 100,
        build(b"[" * 100_000, b""),
        build(b"9" * 10_000, b""),
        build(b"\xff\xfe", b""),
        build([1, 2], b""),
        build({}, b""),
        build({"__metadata__": ["format"]}, b""),
        build({"__metadata__": {"format": "pt"}}, b""),
    ],
)
def test_what_is_no_checkpoint_is_left_alone(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    refused(saved, "is not a checkpoint of inrcodec; name another file")
    assert saved.read_bytes() == content


def replaced(data: bytes, start: int, new: np.generic) -> bytes:
    return data[:start] + new.tobytes() + data[start + new.nbytes :]


Change = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]


@pytest.mark.parametrize(
    "change",
    [
        lambda h, d: (h | {"a": h["a"] | {"shape": [1 << 40]}}, d),
        lambda h, d: (h | {"a": h["a"] | {"dtype": "F64"}}, d),
        lambda h, d: (h | {"a": h["a"] | {"data_offsets": [0, 1 << 60]}}, d),
        lambda h, d: (h | {"c": h["b"]}, d),
        lambda h, d: ({k: v for k, v in h.items() if k != "b"}, d),
        lambda h, d: (h, d + b"\0"),
        lambda h, d: (h, replaced(d, 0, np.int64(0))),
        lambda h, d: (h, replaced(d, 0, np.int64(-1))),
        lambda h, d: (h, replaced(d, 0, np.int64(STEPS + 1))),
        lambda h, d: (h, replaced(d, 8, np.float64("nan"))),
        lambda h, d: (h, replaced(d, 16, np.float32("inf"))),
    ],
)
def test_a_forged_checkpoint_is_refused(saved: Path, change: Change) -> None:
    """Its checksum is right, and what it claims is not."""
    header, data = change(*parse(saved.read_bytes()))
    metadata = header["__metadata__"] | {"sha256": hashlib.sha256(data).hexdigest()}
    saved.write_bytes(build(header | {"__metadata__": metadata}, data))
    refused(saved, "is a damaged checkpoint; delete it")


def test_a_huge_file_is_refused_before_it_is_read(saved: Path) -> None:
    os.truncate(saved, 1 << 36)
    refused(saved, "is a damaged checkpoint; delete it")


def test_an_unreadable_checkpoint(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be read: Is a directory")
