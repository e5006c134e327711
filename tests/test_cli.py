"""The command line: what it writes, says and returns."""

from __future__ import annotations

import errno
import gzip
import importlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

import inrcodec
from inrcodec import encoding, errors
from inrcodec.cli import main
from inrcodec.cli.errors import cli_errors
from inrcodec.info import read_info
from inrcodec.planner import NetworkChoice, Plan, plan_architecture

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"

INRCODEC = [sys.executable, "-m", "inrcodec"]


def run(*arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def spawn(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command as a user does."""
    return subprocess.run(
        [*INRCODEC, *map(str, arguments)], input=stdin, capture_output=True, timeout=60
    )


def last_line(result: Result) -> str:
    return result.stderr.splitlines()[-1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def here(tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with scan.nii.gz and nothing else."""
    (tmp_path / "scan.nii.gz").write_bytes(scan.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(here: Path, moec: bytes) -> Path:
    """A working folder's scan.moec, and nothing else there."""
    (here / "scan.nii.gz").unlink()
    path = here / "scan.moec"
    path.write_bytes(moec)
    return path


@pytest.fixture
def one_value(here: Path) -> str:
    """The name of a volume of one value, which takes no fit."""
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 7, np.int16), np.eye(4)), here / "flat.nii.gz")
    return "flat.nii.gz"


# Encode


@pytest.mark.usefixtures("short_fit")
def test_encode_reports_what_it_wrote(here: Path) -> None:
    result = run("encode", "scan.nii.gz", "--bytes", "400")
    assert result.exit_code == 0
    assert names(here) == ["scan.moec", "scan.nii.gz"]
    size = (here / "scan.moec").stat().st_size
    assert 388 <= size <= 400
    assert re.search(rf"^size +{size} bytes, ratio ", result.stdout, re.M)
    assert re.search(r"^PSNR +\d+\.\d\d dB \(peak \d+, the value range\)$", result.stdout, re.M)
    assert re.search(r"^ +\d+\.\d\d dB \(peak 65535, the dtype's\)$", result.stdout, re.M)
    for row in ("file", "SSIM", "error", "network", "time"):
        assert re.search(rf"^{row} +\S", result.stdout, re.M)
    assert result.stderr.splitlines() == [
        "inrcodec: fitting the network",
        "inrcodec: quantizing",
        "inrcodec: decoding",
        "inrcodec: measuring",
    ]


@pytest.mark.usefixtures("short_fit")
def test_max_bytes_is_bytes(here: Path) -> None:
    run("encode", "scan.nii.gz", "--max-bytes", "400", "-o", "small.moec")
    assert 0 < (here / "small.moec").stat().st_size <= 400


@pytest.mark.usefixtures("short_fit")
def test_encode_json(here: Path) -> None:
    result = run("encode", "scan.nii.gz", "--bytes", "400", "--json", "--quiet")
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["file"] == "scan.moec"
    assert report["bytes"] == (here / "scan.moec").stat().st_size
    assert report["ratio"] == 24 * 20 * 16 * 2 / report["bytes"]
    assert report["shape"] == [24, 20, 16]
    assert report["dtype"] == "int16"
    assert report["psnr_dtype_peak"] == 65535
    assert report["psnr_dtype"] > report["psnr"] > 10
    assert report["ssim"] <= 1
    assert 0 < report["mae"] < report["max_error"] <= report["psnr_peak"]
    assert set(report["seconds"]) == {"fit", "quantize", "decode", "measure"}
    assert report["network"]["partition"] == "single"
    assert report["network"] == json.loads(run("info", "scan.moec", "--json").stdout)["network"]
    assert sum(report["chunks"].values()) + 6 == report["bytes"]


@pytest.mark.usefixtures("short_fit")
@pytest.mark.parametrize(("option", "value"), [("-r", "30"), ("--ratio", "30"), ("--bpv", "0.53")])
def test_encode_sizes(here: Path, option: str, value: str) -> None:
    raw = 24 * 20 * 16 * 2
    most = raw / 30 if "r" in option else raw / 2 * 0.53 / 8
    assert run("encode", "scan.nii.gz", option, value, "-o", "a.moec").exit_code == 0
    assert 0.97 * most <= (here / "a.moec").stat().st_size <= most


@pytest.mark.usefixtures("short_fit")
def test_encode_options_reach_the_encoder(here: Path) -> None:
    result = run(
        "encode", "scan.nii.gz", "--bytes", "700", "--experts", "2", "--metadata", "full",
        "--partition", "neural-experts", "--active-experts", "2", "--activation", "finer",
        "--preset", "slow", "--device", "cpu", "--threads", "1", "--seed", "3", "--json",
    )  # fmt: skip
    report = json.loads(result.stdout)
    network = report["network"]
    assert (network["partition"], network["activation"]) == ("neural-experts", "finer")
    assert (network["experts"], network["gate"]["active"]) == (2, 2)
    assert "m" in report["chunks"]


@pytest.mark.usefixtures("short_fit")
def test_encode_takes_an_octree_of_uneven_widths(here: Path) -> None:
    options = ("--partition", "octree", "--octree-allocation", "importance")
    report = json.loads(run("encode", "scan.nii.gz", "--bytes", "900", *options, "--json").stdout)
    _, leaves = report["network"]["levels"]
    assert len(leaves["widths"]) == 8 and len(set(leaves["widths"])) > 1


@pytest.mark.usefixtures("short_fit")
def test_encode_tells_what_a_limited_search_missed(here: Path) -> None:
    options = ("--psnr", "120", "--bytes", "400", "--time-limit", "0.01")
    result = run("encode", "scan.nii.gz", *options)
    assert result.exit_code == 0
    assert "inrcodec: 120 dB were not reached in 0.01 minutes" in result.stderr
    assert (here / "scan.moec").stat().st_size <= 400


@pytest.mark.usefixtures("short_fit")
def test_encode_tells_that_the_preset_has_no_time_for_more(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Plan(plan_architecture(300, 3, NetworkChoice()), 400)
    monkeypatch.setattr(encoding, "plan_network", lambda *_: small)
    options = ("encode", "scan.nii.gz", "--bytes", "2000", "--preset", "fast", "--force")
    result = run(*options)
    assert result.exit_code == 0
    assert "inrcodec: smaller than asked for: --preset fast has no time" in result.stderr
    assert (here / "scan.moec").stat().st_size < 600
    result = run(*options, "--json", "--quiet")
    assert result.stderr == ""
    assert json.loads(result.stdout)["short_of_time"] is True


def test_a_size_that_only_a_file_without_geometry_has(here: Path) -> None:
    result = run("encode", "scan.nii.gz", "--bytes", "1")
    assert "--metadata none" not in result.stderr
    least = re.search(r"smallest file is (\d+) bytes", result.stderr)
    assert least is not None
    size = str(int(least[1]) - 1)
    result = run("encode", "scan.nii.gz", "--bytes", size)
    assert result.exit_code == 5
    assert "; with --metadata none, " in result.stderr
    assert run("encode", "scan.nii.gz", "--bytes", size, "--metadata", "none").exit_code == 0


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a.nii", "a.moec"),
        ("a.nii.gz", "a.moec"),
        ("A.NII.GZ", "A.moec"),
        ("a.b.nii.gz", "a.b.moec"),
        ("folder/a.nii", "folder/a.moec"),
        ("a", "a.moec"),
    ],
)
def test_encode_default_output(here: Path, one_value: str, source: str, output: str) -> None:
    (here / "folder").mkdir()
    data = (here / one_value).read_bytes()
    Path(source).write_bytes(data if source.lower().endswith(".gz") else gzip.decompress(data))
    assert run("encode", source, "-r", "1").exit_code == 0
    assert (here / output).read_bytes().startswith(b"MOEC")


@pytest.mark.usefixtures("one_value")
def test_encode_names_the_output_after_a_link(here: Path) -> None:
    (here / "link.nii.gz").symlink_to("flat.nii.gz")
    assert run("encode", "link.nii.gz", "-r", "1").exit_code == 0
    assert (here / "link.moec").exists()


def test_encode_of_a_link_to_itself(here: Path) -> None:
    (here / "loop.nii.gz").symlink_to("loop.nii.gz")
    result = run("encode", "loop.nii.gz", "-r", "10")
    assert result.exit_code == 3
    assert last_line(result).startswith("inrcodec: error: loop.nii.gz: cannot be read: Too many")


@pytest.mark.usefixtures("short_fit")
def test_encode_json_has_no_infinity(here: Path) -> None:
    data = 1.7e308 * np.sign(np.random.default_rng(0).normal(size=(16, 16, 16)))
    nib.save(nib.Nifti1Image(data, np.eye(4)), here / "huge.nii")
    result = run("encode", "huge.nii", "-r", "50", "--json", "--quiet")
    assert result.exit_code == 0
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["psnr_peak"] is None


def test_encode_keeps_the_name_of_the_intent_with_all_metadata_alone(here: Path) -> None:
    picture = nib.Nifti1Image(np.full((4, 5, 6), 7, np.int16), np.eye(4))
    picture.header.set_intent("estimate", (), "Jane Doe")
    nib.save(picture, here / "flat.nii")
    for metadata, name in (("geometry", ""), ("full", "Jane Doe")):
        run("encode", "flat.nii", "--bytes", "1000", "--metadata", metadata, "-f")
        assert (b"Jane" in (here / "flat.moec").read_bytes()) == bool(name)
        assert run("decode", "flat.moec", "-o", "back.nii", "-f").exit_code == 0
        assert nib.load(here / "back.nii").header.get_intent() == ("estimate", (), name)


def test_encode_of_one_value_is_exact(here: Path, one_value: str) -> None:
    report = json.loads(run("encode", one_value, "-r", "1", "--json").stdout)
    assert report["psnr"] is None
    assert report["max_error"] == 0
    assert report["network"] is None
    assert "none: all voxels have one value" in run("info", "flat.moec").stdout


def test_encode_quiet(one_value: str) -> None:
    result = run("encode", one_value, "-r", "1", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_encode_leaves_an_existing_file(here: Path, one_value: str) -> None:
    (here / "flat.moec").write_bytes(b"old")
    result = run("encode", one_value, "-r", "1")
    assert result.exit_code == 6
    assert last_line(result) == (
        "inrcodec: error: flat.moec: exists already; use --force to replace it"
    )
    assert (here / "flat.moec").read_bytes() == b"old"
    assert run("encode", one_value, "-r", "1", "--force").exit_code == 0
    assert (here / "flat.moec").read_bytes().startswith(b"MOEC")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "exactly one of -r/--ratio, --bytes and --bpv"),
        (["-r", "10", "--bytes", "100"], "exactly one of"),
        (["-r", "10", "--bytes", "100", "--psnr", "30"], "exactly one of"),
        (["--psnr", "30", "--checkpoint", "fit"], "--psnr takes several fits"),
        (["--psnr", "nan"], "not a finite number"),
        (["-r", "0.5"], "x>=1"),
        (["-r", "nan"], "not a finite number"),
        (["--bpv", "inf"], "not a finite number"),
        (["--bpv", "0"], "x>0"),
        (["--bytes", "0"], "x>=1"),
        (["-r", "10", "--experts", "1"], "2<=x<=256"),
        (["-r", "10", "--active-experts", "3"], "1<=x<=2"),
        (["-r", "10", "--partition", "grid"], "not one of"),
        (["-r", "10", "--partition", "octree", "--experts", "8"], "octree has no experts"),
        (["-r", "10", "--partition", "single", "--active-experts", "2"], "single has no experts"),
        (["-r", "10", "--octree-allocation", "even"], "take the partition octree too"),
        (["-r", "10", "--threads", "0"], "x>=1"),
        (["-r", "10", "--preset", "best"], "not one of"),
        (["-r", "10", "-o", "scan.nii.gz", "--force"], "must end in .moec"),
        (["-r", "10", "-o", "-", "--json"], "both write to standard output"),
    ],
)
def test_encode_usage(here: Path, arguments: list[str], message: str) -> None:
    before = (here / "scan.nii.gz").read_bytes()
    result = run("encode", "scan.nii.gz", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert names(here) == ["scan.nii.gz"]
    assert (here / "scan.nii.gz").read_bytes() == before


# Decode


def test_decode(file: Path, scan: Path) -> None:
    result = run("decode", "scan.moec", "-o", "out.nii")
    assert (result.exit_code, result.stdout) == (0, "")
    original, decoded = nib.load(scan), nib.load(file.parent / "out.nii")
    assert decoded.shape == original.shape
    assert decoded.get_data_dtype() == original.get_data_dtype()
    assert np.array_equal(decoded.affine, original.affine)
    assert b"Jane" not in (file.parent / "out.nii").read_bytes()


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("scan.moec", "scan.decoded.nii.gz"),
        ("SCAN.MOEC", "SCAN.decoded.nii.gz"),
        ("a.b.moec", "a.b.decoded.nii.gz"),
        ("folder/scan.moec", "folder/scan.decoded.nii.gz"),
        ("scan", "scan.decoded.nii.gz"),
    ],
)
def test_decode_default_output(here: Path, moec: bytes, source: str, output: str) -> None:
    (here / "folder").mkdir()
    Path(source).write_bytes(moec)
    assert run("decode", source, "--quiet").exit_code == 0
    assert nib.load(here / output).shape == (24, 20, 16)


def test_decode_leaves_an_existing_file(file: Path) -> None:
    output = file.parent / "scan.decoded.nii.gz"
    output.write_bytes(b"old")
    assert run("decode", file).exit_code == 6
    assert output.read_bytes() == b"old"
    assert run("decode", file, "-f").exit_code == 0
    assert output.read_bytes().startswith(b"\x1f\x8b")


@pytest.mark.parametrize(
    ("output", "message"),
    [("out.moec", ".nii or .nii.gz"), ("out.nii.bz2", ".nii or .nii.gz"), ("-", "standard output")],
)
def test_decode_output_is_nifti_or_dicom(file: Path, output: str, message: str) -> None:
    result = run("decode", file, "-o", output)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert names(file.parent) == ["scan.moec"]


def test_decode_to_a_name_that_no_file_can_have(file: Path) -> None:
    result = run("decode", file, "-o", 300 * "x" + ".v2")
    assert result.exit_code == 6
    assert last_line(result).endswith("cannot be written: File name too long")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may search")
def test_decode_to_a_folder_that_may_not_be_searched(file: Path) -> None:
    (file.parent / "closed").mkdir(0o600)
    result = run("decode", file, "-o", "closed/out.v2")
    assert result.exit_code == 6
    assert last_line(result).endswith("cannot be written: Permission denied")


def test_decode_tells_which_file_dicom_cannot_hold(here: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 7, np.float32), np.eye(4)), here / "float.nii")
    assert run("encode", "float.nii", "-r", "1").exit_code == 0
    for output in ("out", "out.dcm"):
        result = run("decode", "float.moec", "-o", output)
        assert result.exit_code == 3
        assert last_line(result).startswith("inrcodec: error: float.moec: float32 voxels; DICOM")


def test_decode_standard_input_needs_an_output_name() -> None:
    result = run("decode", "-")
    assert result.exit_code == 2
    assert "name the output with -o" in result.stderr


@pytest.mark.parametrize("command", ["decode", "info", "verify"])
@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_truncated_file(file: Path, moec: bytes, command: str, keep: int) -> None:
    file.write_bytes(moec[:keep])
    result = run(command, "scan.moec")
    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("inrcodec: error: scan.moec: ")
    assert names(file.parent) == ["scan.moec"]


# Info


def test_info(file: Path, moec: bytes) -> None:
    result = run("info", "scan.moec")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines())
    assert rows["file"] == "scan.moec"
    assert rows["size"].startswith(f"{len(moec)} bytes, ratio ")
    assert rows["volume"] == "24 x 20 x 16 int16"
    assert rows["spacing"] == "x 1 mm, y 1.5 mm, z 2 mm"
    assert rows["metadata"] == "NIfTI-1, geometry only"
    assert rows["note"] == "Lossy: not for primary diagnosis."


def test_info_of_a_file_without_metadata(one_value: str) -> None:
    assert run("encode", one_value, "-r", "1", "--metadata", "none").exit_code == 0
    assert re.search("^metadata +none$", run("info", "flat.moec").stdout, re.M)


def test_info_json(file: Path, moec: bytes) -> None:
    found = json.loads(run("info", "scan.moec", "--json").stdout)
    assert found == {"file": "scan.moec", **read_info(moec).as_dict()}


def test_info_of_an_odd_name(here: Path, moec: bytes) -> None:
    name = "[red]scan " + 30 * "long " + ".moec"
    (here / name).write_bytes(moec)
    assert run("info", name).stdout.splitlines()[0] == f"file      {name}"


def test_info_starts_fast(file: Path) -> None:
    """CPU time, the best of three: the wall clock is other programs' too."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert spawn("info", file).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


# Streams


def test_streams(here: Path, one_value: str) -> None:
    encoded = spawn("encode", one_value, "-r", "1", "-o", "-")
    assert encoded.returncode == 0
    assert encoded.stdout.startswith(b"MOEC")
    assert b"size " in encoded.stderr
    found = spawn("info", "-", stdin=encoded.stdout)
    assert b"standard input" in found.stdout
    decoded = spawn("decode", "-", "-o", "out.nii.gz", "--quiet", stdin=encoded.stdout)
    assert (decoded.returncode, decoded.stdout, decoded.stderr) == (0, b"", b"")
    assert np.all(np.asarray(nib.load(here / "out.nii.gz").dataobj) == 7)


def test_damaged_standard_input() -> None:
    result = spawn("info", "-", stdin=b"MOEC\x00")
    assert result.returncode == 4
    assert result.stderr.startswith(b"inrcodec: error: standard input: ")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("arguments", [("info", "-"), ("decode", "-", "-o", "out.nii")])
def test_no_bytes_from_a_terminal(here: Path, arguments: tuple[str, ...]) -> None:
    ours, theirs = os.openpty()
    try:
        result = subprocess.run([*INRCODEC, *arguments], stdin=theirs, capture_output=True)
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == 2
    assert b"standard input is a terminal" in result.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_no_bytes_to_a_terminal(here: Path) -> None:
    ours, theirs = os.openpty()
    try:
        result = subprocess.run(
            [*INRCODEC, "encode", "scan.nii.gz", "-r", "20", "-o", "-"],
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == 2
    assert b"standard output is a terminal" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("info - <&-", 4, "standard input: cannot be read: it is closed"),
        ("verify - <&-", 4, "standard input: cannot be read: it is closed"),
        ("decode - -o out.nii <&-", 4, "standard input: cannot be read: it is closed"),
        ("info flat.moec >&-", 6, "standard output: cannot be written: it is closed"),
        ("verify flat.moec >&-", 6, "standard output: cannot be written: it is closed"),
        ("encode flat.nii.gz -r 1 -o - >&-", 6, "standard output: cannot be written: it is closed"),
        ("decode flat.moec 2>&-", 0, ""),
        ("verify -q flat.moec >&-", 0, ""),
    ],
)
def test_closed_streams(here: Path, one_value: str, command: str, code: int, words: str) -> None:
    assert run("encode", one_value, "-r", "1").exit_code == 0
    line = f"exec {shlex.quote(sys.executable)} -m inrcodec {command}"
    result = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == code
    assert (result.stderr.splitlines() or [""])[-1].endswith(words)
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_nobody_reads(file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run([*INRCODEC, "info", file], stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_progress_on_a_terminal(file: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*INRCODEC, "decode", file], stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b"".join(terminal_output(ours))
    assert process.returncode == 0
    assert b"Reading" in shown
    assert b"Decoding" in shown


def terminal_output(descriptor: int) -> Iterator[bytes]:
    with open(descriptor, "rb", buffering=0) as terminal:
        try:
            while block := terminal.read(1024):
                yield block
        except OSError as error:  # Linux: the other side has closed
            assert error.errno == errno.EIO


# Errors


def subclasses(cls: type[errors.InrcodecError]) -> Iterator[type[errors.InrcodecError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from subclasses(subclass)


@pytest.mark.parametrize("error", list(subclasses(errors.InrcodecError)))
def test_an_error_is_one_line_and_its_exit_code(
    error: type[errors.InrcodecError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info, cli_errors(debug=False):
        raise error("scan: is bad; make a better one")
    assert exit_info.value.code == error.exit_code
    assert capsys.readouterr() == ("", "inrcodec: error: scan: is bad; make a better one\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "inrcodec: interrupted"),
        (MemoryError(), 8, "inrcodec: error: out of memory; "),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 8, "inrcodec: error: out of mem"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 8, "inrcodec: error: ou"),
        (RuntimeError("two\nlines"), 1, "inrcodec: error: RuntimeError: two lines; this is a bug"),
        (IndexError("no"), 1, "inrcodec: error: IndexError: no; this is a bug in inrcodec"),
    ],
)
def test_anything_else_is_one_line_too(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info, cli_errors(debug=False):
        raise error
    assert exit_info.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("error", [errors.InputError("a"), IndexError("a"), KeyboardInterrupt()])
def test_debug_shows_the_traceback(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), cli_errors(debug=True):
        raise error
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.splitlines()[-1].startswith("inrcodec: ")


def test_unreadable_volumes(here: Path) -> None:
    (here / "text.nii").write_text("not a scan")
    for source in ("missing.nii.gz", "text.nii", "."):
        result = run("encode", source, "-r", "10", "-o", "out.moec")
        assert result.exit_code == 3
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith(f"inrcodec: error: {source}: ")
    assert names(here) == ["scan.nii.gz", "text.nii"]


def test_nonfinite_voxels(here: Path) -> None:
    data = np.zeros((4, 4, 4), np.float32)
    data[0, 0, :2] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), here / "nan.nii")
    result = run("encode", "nan.nii", "-r", "1")
    assert result.exit_code == 3
    assert "2 voxels" in result.stderr
    assert run("encode", "nan.nii", "-r", "1", "--nonfinite", "zero").exit_code == 0


@pytest.mark.parametrize("command", ["decode", "info", "verify"])
def test_missing_moec(here: Path, command: str) -> None:
    result = run(command, "missing.moec")
    assert result.exit_code == 4
    assert last_line(result) == (
        "inrcodec: error: missing.moec: cannot be read: No such file or directory"
    )


def test_size_too_small(here: Path) -> None:
    result = run("encode", "scan.nii.gz", "--bytes", "20")
    assert result.exit_code == 5
    assert re.search(r"scan\.nii\.gz: .*smallest file is \d+ bytes", result.stderr)
    assert names(here) == ["scan.nii.gz"]


def test_output_folder_is_missing(one_value: str) -> None:
    result = run("encode", one_value, "-r", "1", "-o", "none/a.moec")
    assert result.exit_code == 6
    assert "the folder none does not exist" in result.stderr


def test_device_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run("decode", file, "--device", "cuda")
    assert result.exit_code == 7
    assert "use --device cpu or auto" in result.stderr


# Signals


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "inrcodec: interrupted\n"),
        (signal.SIGTERM, 143, "inrcodec: terminated\n"),
    ],
)
def test_a_signal_leaves_nothing_behind(
    here: Path, number: signal.Signals, code: int, line: str
) -> None:
    command = [*INRCODEC, "encode", "scan.nii.gz", "-r", "20", "--preset", "slow", "--threads", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stderr.readline() == "inrcodec: fitting the network\n"
        time.sleep(0.2)
        process.send_signal(number)
        assert (process.stdout.read(), process.stderr.read()) == ("", line)
    assert process.returncode == code
    assert names(here) == ["scan.nii.gz"]


# Help and documentation


def test_version() -> None:
    assert run("--version").stdout == f"inrcodec {inrcodec.__version__}\n"


@pytest.mark.parametrize("name", [None, "encode", "decode", "info", "verify"])
def test_help(name: str | None) -> None:
    result = run(*filter(None, [name]), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_no_arguments_show_the_help() -> None:
    assert "Commands:" in run().output


def test_unknown_command() -> None:
    assert run("squeeze").exit_code == 2


def test_main_help_says_what_it_is_not_for() -> None:
    assert "not for primary diagnosis" in run("--help").stdout


@pytest.mark.parametrize("name", ["encode", "decode", "info", "verify", "compare"])
def test_every_option_is_documented(name: str) -> None:
    section = DOCS.read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    for option in options:
        assert any(f"`{flag}" in section for flag in option.opts), option.opts
        assert name == "info" or option.help


def test_every_exit_code_is_documented() -> None:
    codes = {error.exit_code for error in subclasses(errors.InrcodecError)}
    cli = importlib.import_module("inrcodec.cli.errors")
    codes |= {cli.OUT_OF_MEMORY, cli.INTERRUPTED, cli.TERMINATED, cli.BROKEN_PIPE, 0, 2}
    documented = re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.M)
    assert {int(code) for code in documented} == codes


def test_every_json_key_is_documented(one_value: str) -> None:
    encoded = json.loads(run("encode", one_value, "-r", "1", "--json").stdout)
    found = json.loads(run("info", "flat.moec", "--json").stdout)
    section = DOCS.read_text().split("\n## JSON\n")[1]
    for key in encoded | found:
        assert f"`{key}`" in section


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_INRCODEC_COMPLETE", f"{shell}_source")
    result = CliRunner().invoke(main, prog_name="inrcodec")
    assert "_inrcodec_completion" in result.output
