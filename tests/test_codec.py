"""Encode, decode, compare: whole volumes through the whole path, without the command line."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inrcodec import encoding
from inrcodec.architecture import Activation, Mixture, Partition, Tree
from inrcodec.bitstream.container import Chunk, ChunkType, parse_container, write_container
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.decoder import decode_bytes, decode_file, parse_content
from inrcodec.encoder import EncodeReport, Target, encode_file, encode_volume
from inrcodec.errors import BitstreamError, BudgetError, DeviceError, InrcodecError, OutputError
from inrcodec.fitting import deadline
from inrcodec.fitting.importance import cell_variation
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.planner import Allocation, Effort, NetworkChoice, Plan, Preset, plan_architecture
from inrcodec.progress import Progress
from inrcodec.volume.intensity import denormalize, normalize
from inrcodec.volume.nifti import read_nifti
from inrcodec.volume.volume import Volume

SINGLE = NetworkChoice(Partition.SINGLE)
MIXTURE = NetworkChoice(experts=3)
FAMILY = {
    "finer": NetworkChoice(activation=Activation.FINER),
    "octree": NetworkChoice(Partition.OCTREE),
    "uneven octree": NetworkChoice(
        Partition.OCTREE, activation=Activation.FINER, allocation=Allocation.IMPORTANCE
    ),
    "moec": NetworkChoice(Partition.MOEC, experts=2),
    "moec top-2": NetworkChoice(active_experts=2),
    "neural experts": NetworkChoice(Partition.NEURAL_EXPERTS),
    "neural experts top-2": NetworkChoice(Partition.NEURAL_EXPERTS, 5, 2, Activation.FINER),
}


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(60, 4, 2048))
    torch.set_num_threads(1)


def pattern(shape: tuple[int, ...], dtype: str = "int16", low: float = -300) -> NDArray:
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    wave = sum(np.sin(2 * a + i) for i, a in enumerate(axes))
    return np.asfortranarray((low + 200 * (wave - wave.min())).astype(dtype))


def save(path: Path, data: NDArray) -> Path:
    image = nibabel.Nifti1Image(data, np.diag([1.5, 1, 2, 1]), dtype=data.dtype)
    nibabel.save(image, path)
    return path


def as_volume(tmp_path: Path, data: NDArray) -> Volume:
    return read_nifti(save(tmp_path / "in.nii", data))


def round_trip(
    tmp_path: Path, data: NDArray, **options: object
) -> tuple[bytes, EncodeReport, Volume]:
    options.setdefault("target", Target(file_bytes=400))
    encoded, report = encode_volume(as_volume(tmp_path, data), **options)  # type: ignore[arg-type]
    return encoded, report, decode_bytes(encoded)


@pytest.mark.parametrize(
    ("dtype", "low"),
    [
        ("uint8", 0), ("int8", -20), ("uint16", 40000), ("int16", -300), ("uint32", 3e9),
        ("int32", -2e9), ("uint64", 1.8e19), ("int64", -9e18), ("float32", -1e-3),
        ("float64", 1e300),
    ],
)  # fmt: skip
def test_every_dtype_comes_back_within_its_range(tmp_path: Path, dtype: str, low: float) -> None:
    data = pattern((12, 10, 9), "float64", 0) / 1200 * 90
    span = 1e300 if dtype == "float64" else 2.0**40 if dtype.endswith("64") else 1
    data = (np.array(low).astype(dtype) + (data * span).astype(dtype)).astype(dtype)
    _, report, decoded = round_trip(tmp_path, data)
    assert decoded.data.dtype == data.dtype
    assert decoded.data.shape == data.shape
    assert data.min() <= decoded.data.min() and decoded.data.max() <= data.max()
    assert report.quality.psnr_range > 12


@pytest.mark.parametrize(
    "shape", [(300,), (30, 20), (14, 12, 10), (10, 8, 6, 5), (1, 40, 1), (9, 8, 1, 3), (2, 2, 200)]
)
@pytest.mark.parametrize("network", [SINGLE, MIXTURE])
def test_every_shape(tmp_path: Path, shape: tuple[int, ...], network: NetworkChoice) -> None:
    encoded, report, decoded = round_trip(
        tmp_path, pattern(shape), network=network, target=Target(file_bytes=300)
    )
    assert decoded.data.shape == shape
    assert report.architecture is not None
    assert report.architecture.coordinates == sum(n > 1 for n in shape)
    assert isinstance(report.architecture, Mixture) == (network is MIXTURE)
    assert len(encoded) <= 300
    assert report.quality.psnr_range > 10


def test_bytes_beyond_the_presets_time_are_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Plan(plan_architecture(400, 3, SINGLE), 600)
    monkeypatch.setattr(encoding, "plan_network", lambda *_: small)
    data, target = pattern((20, 18, 16)), Target(file_bytes=2000)
    encoded, report, _ = round_trip(tmp_path, data, target=target)
    assert report.short_of_time
    assert 500 < len(encoded) < 700
    monkeypatch.undo()
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(60, 4, 2048))
    encoded, report, _ = round_trip(tmp_path, data, target=target)
    assert not report.short_of_time
    assert 1800 < len(encoded) <= 2000


@pytest.mark.parametrize("name", FAMILY)
def test_every_kind_of_network(tmp_path: Path, name: str) -> None:
    choice, data = FAMILY[name], pattern((24, 20, 16))
    encoded, report, decoded = round_trip(tmp_path, data, network=choice)
    a = report.architecture
    assert a is not None and a.activation is choice.activation
    assert a.partition is (choice.settled or Partition.SINGLE)
    assert parse_content(encoded).network.architecture == a
    assert report.quality.psnr_range > 12
    assert np.array_equal(decoded.data.shape, data.shape)


def test_cells_where_little_happens_get_narrow_nodes(tmp_path: Path) -> None:
    data = pattern((24, 20, 16))
    data[:12] = data.min()
    _, report, _ = round_trip(tmp_path, data, network=FAMILY["uneven octree"])
    a = report.architecture
    assert isinstance(a, Tree)
    assert max(a.levels[1].widths[0::2]) < min(a.levels[1].widths[1::2])


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 3), (1,)])
def test_volumes_of_one_value_are_exact(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.full(shape, 7, np.int16)
    encoded, report, decoded = round_trip(tmp_path, data, target=Target(file_bytes=80))
    assert np.array_equal(decoded.data, data)
    assert report.architecture is None and report.bits_per_weight is None
    assert len(encoded) < 60


@pytest.mark.parametrize("budget", [200, 450, 1500])
@pytest.mark.parametrize("name", ["finer", "octree", "neural experts"])
def test_the_file_fills_its_budget(tmp_path: Path, budget: int, name: str) -> None:
    rng = np.random.default_rng(0)
    data = (pattern((24, 20, 16)) + rng.normal(0, 40, (24, 20, 16))).astype(np.int16)
    encoded, report, _ = round_trip(
        tmp_path, data, target=Target(file_bytes=budget), network=FAMILY[name]
    )
    assert 0.97 * budget <= len(encoded) <= budget
    assert report.file_bytes == len(encoded) == 6 + sum(report.chunk_bytes.values())


def test_the_smallest_files_of_mixtures_keep_to_their_budget(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((12, 12, 12)))
    for name, experts in (("moec", 2), ("neural experts", 2), ("moec", 64)):
        choice = replace(FAMILY[name], experts=experts)
        with pytest.raises(BudgetError, match="smallest file is") as error:
            encode_volume(volume, target=Target(file_bytes=50), network=choice)
        least = int(str(error.value).split("smallest file is ")[1].split()[0])
        for budget in (least, least + 1, least + 4):
            data, _ = encode_volume(volume, target=Target(file_bytes=budget), network=choice)
            assert len(data) <= budget


def test_networks_beyond_what_readers_accept_are_not_fitted(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((24, 20, 16)))
    choice = NetworkChoice(experts=257)
    with pytest.raises(BudgetError, match=r"in\.nii: .* \(experts: 257, at most 256\)"):
        encode_volume(volume, target=Target(file_bytes=4000), network=choice)


def test_masks_keep_their_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mask that is fitted well, hardly any output lies within the range."""
    axes = np.meshgrid(*(np.linspace(-1, 1, 16),) * 3, indexing="ij")
    mask = (sum(axis**2 for axis in axes) < 0.5).astype(np.uint8)
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(600, 20, 2048))
    _, report, _ = round_trip(tmp_path, mask, target=Target(file_bytes=600))
    assert report.quality.psnr_range > 25


def test_importance_takes_one_pass_a_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []

    def counted(values: NDArray, shape: tuple[int, ...], level: int) -> list[float]:
        levels.append(level)
        return cell_variation(values, shape, level)

    monkeypatch.setattr(encoding, "cell_variation", counted)
    round_trip(tmp_path, pattern((24, 20, 16)), network=FAMILY["uneven octree"])
    assert sorted(levels) == sorted(set(levels)) != []


def test_targets_name_the_same_size() -> None:
    header = VolumeHeader(np.dtype("int16"), (100, 100, 10), 0, 1)
    for target in (Target(ratio=100), Target(file_bytes=2000), Target(bits_per_voxel=0.16)):
        assert target.bytes_for(header) == 2000


def test_too_small_a_target_names_the_smallest_file(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((12, 10, 9)))
    with pytest.raises(BudgetError, match="smallest file is") as error:
        encode_volume(volume, target=Target(file_bytes=50))
    assert "in.nii" in str(error.value)
    smallest = int(str(error.value).split("smallest file is ")[1].split()[0])
    encoded, _ = encode_volume(volume, target=Target(file_bytes=smallest))
    assert len(encoded) <= smallest


def test_more_bytes_than_the_voxels_take_are_refused(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((24, 20, 16)))
    with pytest.raises(BudgetError, match="more than its voxels take"):
        encode_volume(volume, target=Target(file_bytes=24 * 20 * 16 * 2 + 1))


def test_reported_quality_is_that_of_the_decoded_file(tmp_path: Path) -> None:
    data = pattern((14, 12, 10))
    _, report, decoded = round_trip(tmp_path, data)
    error = decoded.data.astype(float) - data
    peak = float(data.max()) - float(data.min())
    expected = 10 * np.log10(peak**2 / (error**2).mean())
    assert report.quality.psnr_range == pytest.approx(expected)
    assert report.quality.max_error == np.abs(error).max()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    data = pattern((14, 12, 10))
    first, again, other = (round_trip(tmp_path, data, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again != other


def test_files_decode_as_their_bytes_do(tmp_path: Path) -> None:
    source = save(tmp_path / "in.nii.gz", pattern((14, 12, 10)))
    encode_file(source, tmp_path / "x.moec", target=Target(file_bytes=400))
    decode_file(tmp_path / "x.moec", tmp_path / "out.nii.gz")
    out, original = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(source)
    assert np.array_equal(out.affine, original.affine)
    assert out.header.get_zooms() == original.header.get_zooms()
    expected = decode_bytes((tmp_path / "x.moec").read_bytes()).data
    assert np.array_equal(np.asanyarray(out.dataobj), expected)


def test_full_metadata_brings_the_header_back(tmp_path: Path) -> None:
    data = pattern((14, 12, 10))
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.header["descrip"] = b"a note"
    nibabel.save(image, tmp_path / "in.nii")
    volume = read_nifti(tmp_path / "in.nii")
    for metadata, expected in (("full", volume.header_block), ("geometry", None)):
        encoded, _ = encode_volume(volume, target=Target(file_bytes=600), metadata=metadata)
        assert decode_bytes(encoded).header_block == expected
        assert (b"a note" in encoded) is False  # compressed, or absent


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    source = save(tmp_path / "in.nii", pattern((14, 12, 10)))
    (tmp_path / "there.moec").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        encode_file(source, tmp_path / "there.moec", target=Target(file_bytes=400))
    assert (tmp_path / "there.moec").read_bytes() == b"mine"
    with pytest.raises(OutputError, match="folder"):
        encode_file(source, tmp_path / "no" / "x.moec", target=Target(file_bytes=400))


def test_an_interrupted_encode_leaves_nothing(tmp_path: Path) -> None:
    source = save(tmp_path / "in.nii", pattern((14, 12, 10)))

    def interrupt(progress: Progress) -> None:
        if progress.stage == "quantize":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_file(
            source, tmp_path / "x.moec", target=Target(file_bytes=400), on_progress=interrupt
        )
    assert [p.name for p in tmp_path.iterdir()] == ["in.nii"]


def test_progress_runs_through_all_stages(tmp_path: Path) -> None:
    seen: list[Progress] = []
    round_trip(tmp_path, pattern((14, 12, 10)), on_progress=seen.append)
    stages = list(dict.fromkeys(p.stage for p in seen))
    assert stages == ["fit", "quantize", "decode", "measure"]
    for stage in stages:
        steps = [p for p in seen if p.stage == stage]
        if stage != "quantize":  # which starts over where the file came out too large
            assert [p.done for p in steps] == sorted(p.done for p in steps)
        assert steps[-1].done == steps[-1].total


def test_cuda_is_refused_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError):
        round_trip(tmp_path, pattern((14, 12, 10)), device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_decodes_as_the_cpu_does(tmp_path: Path) -> None:
    encoded, _, on_cpu = round_trip(tmp_path, pattern((14, 12, 10)), device="cuda")
    on_gpu = decode_bytes(encoded, device="cuda")
    assert np.array_equal(on_gpu.data, on_cpu.data)


def test_a_network_for_a_volume_of_one_value_is_refused(tmp_path: Path) -> None:
    constant, _, _ = round_trip(tmp_path, np.full((4, 4, 4), 3, np.int16))
    other, _, _ = round_trip(tmp_path, pattern((4, 4, 4)))
    chunks = parse_container(constant, DEFAULT_LIMITS)
    chunks[ChunkType.NETWORK] = parse_container(other, DEFAULT_LIMITS)[ChunkType.NETWORK]
    with pytest.raises(BitstreamError, match="one value"):
        decode_bytes(write_container([Chunk(t, p) for t, p in chunks.items()]))


def test_any_damage_is_a_typed_error(tmp_path: Path) -> None:
    encoded, _, _ = round_trip(tmp_path, pattern((6, 5, 4)), target=Target(file_bytes=130))
    for cut in range(len(encoded)):
        with pytest.raises(BitstreamError):
            decode_bytes(encoded[:cut])
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            decode_bytes(bytes(damaged))


def test_limits_come_before_memory(tmp_path: Path) -> None:
    encoded, _, _ = round_trip(tmp_path, pattern((6, 5, 4)), target=Target(file_bytes=130))
    for limits in (Limits(voxels=119), Limits(parameters=5), Limits(file_bytes=100)):
        with pytest.raises(InrcodecError):
            decode_bytes(encoded, limits=limits)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int64", "float32", "float64"])
def test_intensity_map_meets_both_ends_exactly(dtype: str) -> None:
    info = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    data = np.array([info.min, info.max], dtype)
    header = VolumeHeader.of(data)
    values = normalize(data, header)
    assert values.tolist() == [-1.0, 1.0]
    assert np.array_equal(denormalize(np.array([0, 1 << 25]), header), data)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint8", 0, 255), ("int16", -1024, 3071), ("int32", -(2**31), 2**31 - 1),
        ("uint64", 5, 2**64 - 1), ("int64", -(2**63), 2**63 - 1), ("uint64", 2**63, 2**63 + 1),
    ],
)  # fmt: skip
def test_intensity_map_of_integers_is_exact(dtype: str, low: int, high: int) -> None:
    levels = np.random.default_rng(0).integers(0, (1 << 25) + 1, 500)
    header = VolumeHeader(np.dtype(dtype), (500,), low, high)
    expected = [low + ((level * (high - low) + (1 << 24)) >> 25) for level in levels.tolist()]
    assert denormalize(levels, header).tolist() == expected


@pytest.fixture
def clock_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that goes by calls, whatever the machine is doing, and fits that have no end."""
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(10**9, 10**6, 2048))
    calls = itertools.count()
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: next(calls)))


@pytest.mark.usefixtures("clock_of_calls")
def test_a_time_limit_ends_the_longest_fit(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((12, 10, 8)))
    data, report = encode_volume(volume, target=Target(file_bytes=500), time_limit=1000)
    assert 400 < len(data) <= 500
    assert report.quality.psnr_range > 20


# Quality


def test_the_smallest_file_of_a_quality(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, pattern((24, 20, 16)))
    (small, few), (large, many) = (
        encode_volume(volume, target=Target(file_bytes=n)) for n in (200, 1000)
    )
    goal = (few.quality.psnr_range + many.quality.psnr_range) / 2
    data, report = encode_volume(volume, target=Target(psnr=goal))
    assert goal <= report.quality.psnr_range
    assert len(small) < len(data) < len(large)
    assert report.file_bytes == len(data)
    with pytest.raises(BudgetError, match=r"60 dB are out of reach: files of up to 300 bytes have"):
        encode_volume(volume, target=Target(psnr=60, file_bytes=300))


def test_a_volume_of_one_value_has_any_quality(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, np.full((4, 5, 6), 7, dtype=np.int16))
    data, report = encode_volume(volume, target=Target(psnr=99))
    assert report.quality.psnr_range == np.inf
    assert len(data) < 100


def test_a_file_without_error_has_any_quality(tmp_path: Path) -> None:
    volume = as_volume(tmp_path, np.array([[[0]], [[1]]], dtype=np.uint8))
    _, report = encode_volume(volume, target=Target(psnr=200))
    assert report.quality.psnr_range == np.inf


@pytest.mark.usefixtures("clock_of_calls")
@pytest.mark.parametrize("preset", [Preset.FAST, Preset.SLOW])
def test_a_time_limit_ends_a_search_with_the_best_it_has(tmp_path: Path, preset: Preset) -> None:
    volume = as_volume(tmp_path, pattern((24, 20, 16)))
    limited = {"preset": preset, "time_limit": 3000}
    data, report = encode_volume(volume, target=Target(psnr=25), **limited)
    assert report.quality.psnr_range >= 25
    assert len(data) == report.file_bytes < 2000
    data, report = encode_volume(volume, target=Target(psnr=60, file_bytes=300), **limited)
    assert 15 < report.quality.psnr_range < 60
    assert 250 < len(data) <= 300


def test_a_search_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no checkpoint"):
        encode_volume(
            as_volume(tmp_path, pattern((5, 4, 3))), target=Target(psnr=30), checkpoint=Path("fit")
        )
