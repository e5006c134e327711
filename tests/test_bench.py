"""The benchmark: measuring, going on after an interruption, tables and plots."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrcodec.bench import codecs as bench_codecs
from inrcodec.bench.codecs import all_codecs
from inrcodec.bench.codecs.peer import SIDE_BYTES, Peer
from inrcodec.bench.codecs.tthresh import Tthresh
from inrcodec.bench.folder import write_summary
from inrcodec.bench.measurement import ENDS, Measurement, Results, Subject
from inrcodec.bench.plot import _figure, apart
from inrcodec.bench.runs import bench, by_name, volume_name
from inrcodec.cli import main
from inrcodec.errors import InputError, OutputError
from inrcodec.planner import Preset
from inrcodec.volume.read import read_volume

PEERS = ("x265", "svtav1", "jpeg2000", "jpegxl", "sperr", "sz3", "zfp", "tthresh")


class Rounding(Peer):
    """A peer in Python: keeps a number of bits of each value, with one value in a cube of them."""

    name = "rounding"
    settings = "edge searched"
    coarsest, finest = 12.0, 1.0

    def __init__(self, needs: str | None = None) -> None:
        self.needs = needs
        self.encodes = 0

    def missing(self) -> str | None:
        return self.needs

    def version(self) -> str:
        return "rounding 1"

    def encode(self, stack: NDArray[np.float32], parameter: float) -> bytes:
        self.encodes += 1
        edge = round(parameter)
        return bytes([edge]) + np.rint(stack[::edge, ::edge, ::edge] * 255).astype("u1").tobytes()

    def decode(self, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        edge = data[0]
        low = np.frombuffer(data[1:], "u1").reshape([-(-n // edge) for n in shape])
        for axis in range(3):
            low = low.repeat(edge, axis)
        return low[tuple(map(slice, shape))].astype(np.float32) / np.float32(255)


@pytest.fixture
def rounding(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounding]:
    """That peer, in the place of the command line's sperr."""
    peer = Rounding()
    peer.name = "sperr"
    known = bench_codecs.all_codecs

    def with_rounding(preset: Preset, threads: int) -> dict[str, object]:
        return {**known(preset, threads), "sperr": peer}

    monkeypatch.setattr(bench_codecs, "all_codecs", with_rounding)
    yield peer


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def ignore(*_: object) -> None:
    pass


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row(codec: str, target: float, psnr: float | None, **figures: object) -> Measurement:
    subject = Subject("brain", "8x8x8", "int16", 1024, "00000000", codec, "1", "as is", target)
    measured = {"bytes": int(1024 / target), "ratio": target, "psnr": psnr, "ssim": 0.5}
    measured |= {"max_error": 3.0, "factor": 1, "encode_seconds": 1.0, "decode_seconds": 1.0}
    return Measurement(subject, "2026-01-01", **{**measured, **figures})  # type: ignore[arg-type]


def test_measures_what_a_peer_makes(scan: Path, tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    done: list[Measurement] = []
    bench({"scan": scan}, [Rounding()], [8, 64], results, ignore, done.append)
    assert list(results) == done == list(Results(tmp_path / "measurements.csv"))
    assert [m.subject.target for m in done] == [8, 64]
    volume = read_volume(scan).data
    for m in done:
        assert m.subject.volume == "scan"
        assert m.bytes is not None and m.psnr is not None and m.max_error is not None
        assert m.bytes <= volume.nbytes / m.subject.target
        assert m.ratio == round(volume.nbytes / m.bytes, 2)
    assert done[0].psnr > done[1].psnr  # type: ignore[operator]


def test_a_peer_gives_back_shape_dtype_and_range(scan: Path) -> None:
    volume = read_volume(scan)
    coded = Rounding().open(volume).within(volume.data.nbytes)
    assert coded.decoded.shape == volume.data.shape
    assert coded.decoded.dtype == volume.data.dtype
    span = int(volume.data.max()) - int(volume.data.min())
    assert np.abs(coded.decoded.astype(int) - volume.data).max() <= span / 255
    assert coded.size == 1 + volume.data.size + SIDE_BYTES


def test_a_time_series_is_coded_volume_after_volume(tmp_path: Path) -> None:
    data = np.arange(6 * 5 * 4 * 3, dtype=np.int16).reshape(6, 5, 4, 3)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "series.nii")
    volume = read_volume(tmp_path / "series.nii")
    seen: list[NDArray[np.float32]] = []

    class Watching(Rounding):
        def encode(self, stack: NDArray[np.float32], parameter: float) -> bytes:
            seen.append(stack)
            return super().encode(stack, parameter)

    coded = Watching().open(volume).within(1000)
    assert seen[0].shape == (12, 5, 6)
    np.testing.assert_allclose(seen[0][7] * data.max(), data[:, :, 3, 1].T, atol=1e-3)
    assert np.abs(coded.decoded - data).max() <= 1


def test_down_sampling_counts_where_it_is_better(scan: Path) -> None:
    class Resampled(Rounding):
        factors = (1, 2, 4)

    volume = read_volume(scan)
    plain = Rounding().open(volume).within(volume.data.nbytes // 64)
    best = Resampled().open(volume).within(volume.data.nbytes // 64)
    error = [np.square(c.decoded.astype(float) - volume.data).mean() for c in (plain, best)]
    assert best.factor > 1
    assert error[1] < error[0]


def test_goes_on_after_an_interruption(scan: Path, tmp_path: Path) -> None:
    class Interrupted(Rounding):
        def encode(self, stack: NDArray[np.float32], parameter: float) -> bytes:
            if path.exists():
                raise KeyboardInterrupt
            return super().encode(stack, parameter)

    path = tmp_path / "measurements.csv"
    with pytest.raises(KeyboardInterrupt):
        bench({"scan": scan}, [Interrupted()], [2, 256], Results(path), ignore, ignore)
    (before,) = lines_of(path)
    again: list[Measurement] = []
    bench({"scan": scan}, [Rounding()], [2, 256], Results(path), ignore, again.append)
    assert [m.subject.target for m in again] == [256]
    assert lines_of(path)[0] == before
    assert len(lines_of(path)) == 2


def test_measures_anew_what_changed(scan: Path, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    peer = Rounding()
    bench({"scan": scan}, [peer], [64], Results(path), ignore, ignore)
    encodes = peer.encodes
    bench({"scan": scan}, [peer], [64], Results(path), ignore, ignore)
    assert peer.encodes == encodes
    peer.settings = "others"
    bench({"scan": scan}, [peer], [64], Results(path), ignore, ignore)
    assert peer.encodes > encodes
    assert [line["settings"] for line in lines_of(path)] == ["others"]


def test_what_no_file_is_small_enough_for_says_so(scan: Path, tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    bench({"scan": scan}, [Rounding()], [6000], results, ignore, ignore)
    (measured,) = results
    assert measured.psnr is None
    assert measured.note == "no file is that small: 25 bytes at least, a ratio of 614"


def test_a_peer_that_fails_is_noted(scan: Path, tmp_path: Path) -> None:
    class Failing(Rounding):
        name = "failing"

        def encode(self, stack: NDArray[np.float32], parameter: float) -> bytes:
            raise RuntimeError("no licence")

    results = Results(tmp_path / "measurements.csv")
    bench({"scan": scan}, [Failing(), Rounding()], [64], results, ignore, ignore)
    assert [m.note for m in results] == ["failed: failing: no licence", ""]


def test_volumes_of_one_name_are_refused(scan: Path) -> None:
    with pytest.raises(InputError, match="scan: two volumes have this name"):
        by_name([scan, scan])


def test_a_volume_named_as_the_plot_of_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "All.nii").touch()
    with pytest.raises(InputError, match=r"All\.nii: the plot of all volumes has this name"):
        by_name([tmp_path / "All.nii"])


def test_a_volume_of_one_value_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii: all voxels have one value"):
        Rounding().open(read_volume(tmp_path / "flat.nii"))


def test_tthresh_is_searched_from_its_smallest_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(_: Tthresh, __: NDArray[np.float32], parameter: float) -> bytes:
        return bytes(9000 if parameter > -1 else round(100 * 2**-parameter))

    monkeypatch.setattr(Tthresh, "encode", encode)
    assert Tthresh().coarsest_for(np.zeros((4, 4, 4), np.float32)) == -1


@pytest.mark.parametrize("text", ["volume,codec\na,b\n", "\x00", "volume\n"])
def test_a_file_that_holds_no_measurements_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    path.write_text(text + "x\n")
    with pytest.raises(InputError, match="holds no measurements"):
        Results(path)


@pytest.mark.parametrize(("cut", "added"), [(1, ""), (9, ""), (0, ",")])
def test_a_line_of_another_length_is_refused(cut: int, added: str, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    Results(path).add(row("sperr", 64, 40.0))
    line = path.read_text().rstrip("\n")
    path.write_text(line[: len(line) - cut] + added)
    with pytest.raises(InputError, match="line 2 has too many fields, or too few"):
        Results(path)


def test_runs_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    codecs = ("sperr", "x265", "zfp")

    def add_all(codec: str) -> None:
        results = Results(path)
        for target in range(1, 9):
            results.add(row(codec, target, 40.0))

    with ThreadPoolExecutor() as pool:
        list(pool.map(add_all, codecs))
    assert {(m.subject.codec, m.subject.target) for m in Results(path)} == {
        (codec, target) for codec in codecs for target in range(1, 9)
    }


def test_what_another_run_measured_is_there(tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    results, others = Results(path), Results(path)
    measured = row("sperr", 64, 40.0)
    others.add(measured)
    assert results.has(measured.subject)
    assert list(results) == [measured]


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/brain.nii.gz", "brain"), ("ct.1.tar.gz", "ct.1"), ("b.DCM", "b"), ("series", "series")],
)
def test_names_of_volumes(file: str, name: str) -> None:
    assert volume_name(Path(file)) == name


def test_tables_and_plots(tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    for target, own, peer in ((64, 40.0, 41.0), (256, 36.0, 35.5), (1024, 33.0, None)):
        results.add(row("inrcodec", target, own))
        results.add(row("x265", target, peer, factor=2))
    note = "no file is that small: 2 bytes at least, a ratio of 512"
    unreachable = replace(row("x265", 1024, None), bytes=None, ratio=None, note=note)
    results.add(unreachable)
    written = write_summary(tmp_path, results, {"tthresh": "build it"})
    assert [path.name for path in written] == ["tables.md", "brain.svg", "brain.png"]
    assert written[1].read_text().count("x265") == 1
    assert written[2].read_bytes().startswith(b"\x89PNG")
    tables = written[0].read_text().splitlines()
    assert "| brain | 64 | 40.00 | **41.00** ↓2 |" in tables
    assert "| brain | 1024 | **33.00** | - |" in tables
    assert any(
        line.startswith("| brain | x265 | 1024 | no file is that small: 2") for line in tables
    )
    assert "- tthresh: build it" in tables
    assert any(line.startswith("| brain | inrcodec | x265 | +") for line in tables)


def test_presets_stand_side_by_side(tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    for codec, psnr in (("inrcodec", 40.0), ("sperr", 39.0), ("inrcodec slow", 42.0)):
        for target, less in ((64, 0), (256, 5)):
            results.add(row(codec, target, psnr - less))
    tables, svg, _ = (path.read_text("latin-1") for path in write_summary(tmp_path, results, {}))
    assert "| volume | ratio | inrcodec | inrcodec slow | sperr |" in tables
    assert "| brain | 64 | 40.00 | **42.00** | 39.00 |" in tables
    assert "| brain | inrcodec | sperr |" in tables
    assert "| brain | inrcodec slow | sperr | -" in tables
    assert svg.count("inrcodec slow") == 1


def test_a_file_of_the_finest_setting_is_marked(scan: Path, tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    size = read_volume(scan).data.size
    ratios = [1.5, 2 * size / (size + 1 + SIDE_BYTES), 64]  # the second has no byte left
    bench({"scan": scan}, [Rounding()], ratios, results, ignore, ignore)
    assert [m.note for m in results] == [ENDS, "", ""]
    tables = write_summary(tmp_path, results, {})[0].read_text()
    assert tables.count("** †") == 1


def test_a_far_smaller_file_is_in_the_plot(tmp_path: Path) -> None:
    (panel,) = _figure({"brain": [row("sz3", 6000, 20.0, ratio=9500.0)]}).axes
    assert panel.get_xlim()[0] < 6000 and panel.get_xlim()[1] > 9500


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    measured = row("sperr", 64, 40.0)
    name = r"a$\foo$"
    results.add(replace(measured, subject=replace(measured.subject, volume=name)))
    svg = write_summary(tmp_path, results, {})[1]
    assert name in svg.read_text()


def test_a_folder_in_place_of_a_plot_is_named(tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    results.add(row("sperr", 64, 40.0))
    (tmp_path / "brain.svg").mkdir()
    with pytest.raises(OutputError, match=r"brain\.svg: is a folder"):
        write_summary(tmp_path, results, {})


def test_the_same_results_give_the_same_plots(tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    results.add(row("sperr", 64, 40.0))
    first = [path.read_bytes() for path in write_summary(tmp_path, results, {})]
    assert first == [path.read_bytes() for path in write_summary(tmp_path, results, {})]


def test_names_in_the_way_of_each_other_move_both_ways() -> None:
    assert apart([1.0, 1.0, 5.0], 2.0) == [0.0, 2.0, 5.0]
    assert apart([0.0, 1.0, 1.5], 1.0) == pytest.approx([-1 / 6, 5 / 6, 11 / 6])


@given(st.lists(st.floats(-100, 100)), st.floats(0.01, 10))
def test_names_stay_in_order_with_a_gap(heights: list[float], gap: float) -> None:
    heights.sort()
    moved = apart(heights, gap)
    assert all(low + gap <= high + 1e-9 for low, high in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(heights), abs=1e-6)


def test_the_command(rounding: Rounding, scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = run(scan, "--codecs", "sperr", "--ratios", "8,64", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {
        "measurements.csv", "tables.md", "scan.svg", "scan.png",
    }  # fmt: skip
    assert len(lines_of(out / "measurements.csv")) == 2
    encodes = rounding.encodes
    assert run(scan, "--codecs", "sperr", "--ratios", "8,64", "--out", out).exit_code == 0
    assert rounding.encodes == encodes


def test_all_volumes_are_looked_for_first(rounding: Rounding, scan: Path, tmp_path: Path) -> None:
    done = run(scan, tmp_path / "absent.nii", "--codecs", "sperr", "--out", tmp_path / "results")
    assert done.exit_code == 3
    assert f"{tmp_path / 'absent.nii'}: cannot be read: No such file" in done.stderr
    assert rounding.encodes == 0
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output(scan: Path, tmp_path: Path) -> None:
    Results(tmp_path / "measurements.csv").add(row("sperr", 64, 40.0))
    command = [sys.executable, "-m", "inrcodec", "bench", str(scan), "--out", str(tmp_path)]
    command += ["--codecs", "zfp", "--ratios", "8"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("inrcodec: error: standard output: cannot be")


def test_inrcodec_by_any_preset_is_measured(rounding: Rounding, scan: Path, tmp_path: Path) -> None:
    Results(tmp_path / "measurements.csv").add(row("inrcodec slow", 64, 40.0))
    assert run(scan, "--codecs", "sperr", "--ratios", "8", "--out", tmp_path).exit_code == 0
    tables = (tmp_path / "tables.md").read_text()
    assert "- x265: " in tables and "- inrcodec: " not in tables


def test_missing_codecs_are_told(rounding: Rounding, scan: Path, tmp_path: Path) -> None:
    rounding.needs = "get it somewhere"
    done = run(scan, "--codecs", "sperr,zfp", "--ratios", "8", "--out", tmp_path)
    assert done.exit_code == 0
    assert "sperr is missing and not measured: get it somewhere" in done.stderr
    # A run that does not ask for it tells the same.
    for codecs in ("sperr,zfp", "zfp"):
        assert run(scan, "--codecs", codecs, "--ratios", "8", "--out", tmp_path).exit_code == 0
        tables = (tmp_path / "tables.md").read_text()
        assert "- sperr: get it somewhere" in tables
        assert "- jpeg2000: not asked for" in tables
        assert "- zfp" not in tables


def test_without_any_codec(rounding: Rounding, scan: Path, tmp_path: Path) -> None:
    rounding.needs = "get it somewhere"
    done = run(scan, "--codecs", "sperr", "--ratios", "8", "--out", tmp_path / "results")
    assert done.exit_code == 9
    assert "none of the codecs asked for is here" in done.stderr
    assert not (tmp_path / "results").exists()


def test_without_the_extra(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrcodec.bench.folder.find_spec", lambda _: None)
    done = run(scan, "--out", tmp_path / "results")
    assert done.exit_code == 9
    assert done.stderr.splitlines()[-1].endswith("pip install 'inrcodec[bench]'")


@pytest.mark.parametrize(
    "arguments",
    [("--ratios", "64,x"), ("--ratios", "0.5"), ("--codecs", "sperr,mp3"), ("--ratios", "nan")],
)
def test_bad_options(arguments: tuple[str, str], scan: Path) -> None:
    assert run(scan, *arguments).exit_code == 2


def test_inrcodec_itself(short_fit: None, scan: Path, tmp_path: Path) -> None:
    results = Results(tmp_path / "measurements.csv")
    own = all_codecs(Preset.FAST, 1)["inrcodec"]
    assert own.name == "inrcodec fast"
    bench({"scan": scan}, [own], [38, 10_000], results, ignore, ignore)
    fitting, smaller = results
    assert fitting.bytes is not None and fitting.bytes <= 15360 / 38
    assert fitting.psnr is not None and fitting.encode_seconds is not None
    assert smaller.note == "no file is that small"


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_through_its_real_implementation(name: str, tmp_path: Path) -> None:
    peer = all_codecs(Preset.FAST, 1)[name]
    if needed := peer.missing():
        pytest.skip(f"{name} is not installed: {needed}")
    z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (37, 50, 18)), indexing="ij")
    data = (1000 * np.exp(-3 * (z[0] ** 2 + z[1] ** 2 + (z[2] - 0.3) ** 2))).astype(np.int16)
    data[5:9, 7:20, 3:6] += 400
    data += np.random.default_rng(0).normal(0, 20, data.shape).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "blob.nii")
    results = Results(tmp_path / "measurements.csv")
    bench({"blob": tmp_path / "blob.nii"}, [peer], [20], results, ignore, ignore)
    (measured,) = results
    assert measured.note == ""
    assert measured.bytes is not None and 0.5 * 3330 < measured.bytes <= 3330
    # An axis mixed up, a slice shifted or a wrong range would not come near.
    assert measured.psnr is not None and measured.psnr > 26
    assert peer.version()[0].isalnum()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_on_one_slice(name: str, tmp_path: Path) -> None:
    peer = all_codecs(Preset.FAST, 1)[name]
    if needed := peer.missing():
        pytest.skip(f"{name} is not installed: {needed}")
    x, y = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 70), indexing="ij")
    data = (1000 * np.exp(-3 * (x * x + (y - 0.3) ** 2))).astype(np.int16)
    nib.save(nib.Nifti1Image(data[:, :, None], np.eye(4)), tmp_path / "slice.nii")
    coded = peer.open(read_volume(tmp_path / "slice.nii")).within(data.nbytes // 10)
    assert np.abs(coded.decoded[:, :, 0] - data).mean() < 10
