"""Output files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inrcodec.errors import OutputError
from inrcodec.output import atomic_output, check_output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_a_new_file(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "a.moec", overwrite=False) as file:
        file.write(b"new")
        assert not (tmp_path / "a.moec").exists()
    assert (tmp_path / "a.moec").read_bytes() == b"new"
    assert names(tmp_path) == ["a.moec"]


def test_new_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_output(tmp_path / "a.moec", overwrite=False) as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "a.moec").stat().st_mode & 0o777 == 0o640


def test_existing_file_stays_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match=r"a\.moec: exists already; use --force"),
        atomic_output(path, overwrite=False),
    ):
        raise AssertionError("nothing runs before the check")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.moec"]


def test_overwrite_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.write_bytes(b"old")
    with atomic_output(path, overwrite=True) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.moec"]


def test_file_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    with (
        pytest.raises(OutputError, match="exists already"),
        atomic_output(path, overwrite=False) as file,
    ):
        file.write(b"new")
        path.write_bytes(b"someone else's")
    assert path.read_bytes() == b"someone else's"
    assert names(tmp_path) == ["a.moec"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_failure_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException], overwrite: bool
) -> None:
    path = tmp_path / "a.moec"
    if overwrite:
        path.write_bytes(b"old")
    with pytest.raises(error), atomic_output(path, overwrite) as file:
        file.write(b"half")
        file.flush()
        raise error
    assert names(tmp_path) == (["a.moec"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


def test_full_disk_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    with (
        pytest.raises(OutputError, match=r"a\.moec: cannot be written: No space left"),
        atomic_output(path, overwrite=False),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)


def test_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists already"):
        check_output(path, overwrite=False)
    with atomic_output(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.moec"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        check_output(tmp_path / "none" / "a.moec", overwrite=False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="is not writable"):
            check_output(tmp_path / "a.moec", overwrite=False)
    finally:
        tmp_path.chmod(0o700)
