"""The old file or the new one, never a torn one: kill -9, full disks, loss of power."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from inrcodec.bitstream.container import Chunk, ChunkType, write_container
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.cli import main
from inrcodec.errors import OutputError
from inrcodec.output import atomic_output, check_output
from inrcodec.volume.checksum import checksum

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")

INRCODEC = [sys.executable, "-m", "inrcodec"]

KILLS = 40
VERSION_BYTES = 3_000_000

WRITER = f"""
import sys, zlib
from pathlib import Path
from inrcodec.output import atomic_output

path, version = Path(sys.argv[1]), int(sys.argv[2])
while True:
    version += 1
    body = version.to_bytes(4, "little") * {VERSION_BYTES // 4}
    with atomic_output(path, overwrite=True) as file:
        print(flush=True)
        file.write(body)
        file.write(zlib.crc32(body).to_bytes(4, "little"))
"""
"""Replaces a file for ever, each time with the next version, and prints a line as it begins."""

SHAPE = (200, 200, 200)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def litter(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".inrcodec-")]


def version_of(data: bytes) -> int:
    """The version in a whole file of `WRITER`; fails for any other bytes."""
    body, crc = data[:-4], data[-4:]
    assert len(body) == VERSION_BYTES
    assert zlib.crc32(body).to_bytes(4, "little") == crc
    return int.from_bytes(body[:4], "little")


@pytest.fixture
def constant(tmp_path: Path) -> Path:
    """A .moec file that decodes, without a fit, to a NIfTI file of 16 MB."""
    voxels = np.full(SHAPE, 7, np.int16, order="F")
    header = VolumeHeader(voxels.dtype, SHAPE, 7, 7, checksum(voxels))
    payloads = (encode_volume_header(header), b"\0", b"")
    chunks = [Chunk(ChunkType(ord(t)), data) for t, data in zip("VGN", payloads, strict=True)]
    path = tmp_path / "constant.moec"
    path.write_bytes(write_container(chunks))
    return path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A NIfTI file of one value, which encodes without a fit."""
    path = tmp_path / "flat.nii"
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 7, np.int16), np.eye(4)), path)
    return path


# Kill -9


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "out.nii"
    body = bytes(VERSION_BYTES)
    start = time.perf_counter()
    with atomic_output(path, overwrite=False) as file:
        file.write(body)
        file.write(zlib.crc32(body).to_bytes(4, "little"))
    one_write = time.perf_counter() - start
    moments = random.Random(0)
    version = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(path), str(version)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, 3 * one_write))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        found = version_of(path.read_bytes())
        assert found >= version
        version = found
    assert version > 0
    # What was killed in the middle of a write has left its hidden file, which disturbs no other.
    left = litter(tmp_path)
    assert left
    assert names(tmp_path) == sorted([*left, "out.nii"])
    with atomic_output(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert litter(tmp_path) == left


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_decode_killed_while_it_writes(tmp_path: Path, constant: Path, name: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    path = folder / name
    path.write_bytes(b"old")
    arguments = ["decode", str(constant), "-o", str(path), "--force", "--quiet"]
    with subprocess.Popen([*INRCODEC, *arguments]) as process:
        while not litter(folder) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.005)
        process.kill()
    if path.read_bytes() != b"old":  # a machine so fast that it was done before the signal came
        assert np.all(np.asarray(nib.load(path).dataobj) == 7)
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert np.all(np.asarray(nib.load(path).dataobj) == 7)
    assert names(folder) == sorted([*litter(folder), name])


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no room on the disk of the folder."""
    with (folder / "filling").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "out.nii"
    old = bytes(600_000)
    path.write_bytes(old)
    with (
        pytest.raises(OutputError, match=r"out\.nii: cannot be written: No space left on device$"),
        atomic_output(path, overwrite=True) as file,
    ):
        file.write(b"n" * 600_000)
    assert path.read_bytes() == old
    assert names(small_disk) == ["out.nii"]


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_decode_onto_a_full_disk(
    small_disk: Path, constant: Path, name: str, old: bytes | None
) -> None:
    path = small_disk / name
    if old is not None:
        path.write_bytes(old)
    fill(small_disk)
    before = names(small_disk)
    result = CliRunner().invoke(
        main, ["decode", str(constant), "-o", str(path), "--force", "--quiet"]
    )
    assert result.exit_code == 6
    assert result.stderr == (
        f"inrcodec: error: {path}: cannot be written: No space left on device\n"
    )
    assert names(small_disk) == before
    assert old is None or path.read_bytes() == old


@pytest.mark.usefixtures("short_fit")
def test_encode_onto_a_full_disk(small_disk: Path, scan: Path) -> None:
    path = small_disk / "out.moec"
    path.write_bytes(b"old")
    fill(small_disk)
    result = CliRunner().invoke(
        main, ["encode", str(scan), "--bytes", "400", "-o", str(path), "--force", "--quiet"]
    )
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr == (
        f"inrcodec: error: {path}: cannot be written: No space left on device\n"
    )
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["filling", "out.moec"]


LIMITED = """
import resource, signal, sys
import nibabel, numpy, torch
from inrcodec.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""
"""The command line, where no file may grow beyond a size."""


@pytest.mark.parametrize(
    ("name", "most"), [("out.nii", 1 << 20), ("out.nii.gz", 1 << 10), ("out.moec", 1 << 4)]
)
def test_a_file_size_limit_of_the_system(
    tmp_path: Path, constant: Path, flat: Path, name: str, most: int
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    before = names(tmp_path)
    arguments = ["encode", flat, "-r", "1"] if name == "out.moec" else ["decode", constant]
    # -B: a module cached under the limit would be torn.
    command = [sys.executable, "-B", "-c", LIMITED, str(most), *arguments]
    command += ["-o", path, "--force", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 6
    assert result.stderr == f"inrcodec: error: {path}: cannot be written: File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["encode", "info"])
def test_standard_output_on_a_full_disk(
    constant: Path, flat: Path, command: str, unbuffered: str
) -> None:
    encode = ["encode", flat, "-r", "1", "-o", "-", "--quiet"]
    arguments = encode if command == "encode" else ["info", constant]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*INRCODEC, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert result.returncode == 6
    assert result.stderr == (
        "inrcodec: error: standard output: cannot be written: No space left on device\n"
    )


# Loss of power


def test_the_file_reaches_the_disk_before_its_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.moec"
    path.write_bytes(b"old")
    synced: list[tuple[str, bytes]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with atomic_output(path, overwrite=True) as file:
        file.write(b"new")
    assert synced == [("file", b"old"), ("folder", b"new")]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("not here")

    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "out.moec"
    with atomic_output(path, overwrite) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out.moec"]


# Names


def test_the_longest_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".moec")
    with atomic_output(path, overwrite=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_name_that_cannot_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, reason in (("a" * 300, "File name too long"), ("file/a", "Not a directory")):
        with pytest.raises(OutputError, match=f"a: cannot be written: {reason}$"):
            check_output(tmp_path / name, overwrite=False)
