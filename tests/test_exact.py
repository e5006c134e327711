"""The integer network: its tables, its arithmetic, and that no piece or thread changes a level."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inrcodec.architecture import Architecture
from inrcodec.bitstream.container import Chunk, ChunkType, parse_container, write_container
from inrcodec.decoder import decode_bytes, parse_content
from inrcodec.errors import BitstreamError, ChecksumError
from inrcodec.exact.evaluate import evaluate, expert_map
from inrcodec.exact.network import ExactNetwork
from inrcodec.exact.tables import blend_table, sine_table
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.model.grid import Grid
from inrcodec.model.moe import MoEINR
from inrcodec.quantization import QuantizedModel, QuantizedTensor
from inrcodec.volume.checksum import checksum
from inrcodec.volume.intensity import denormalize
from inrcodec.volume.sampling_grid import SamplingGrid

SHAPE = (13, 1, 11, 9)
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.moec"))
CPU = torch.device("cpu")

ARCHITECTURES = {
    "one expert": Architecture(3, 1, 2, 2, 12, 12),
    "linear gate": Architecture(3, 4, 1, 2, 12, 9),
    "deep gate": Architecture(3, 3, 2, 1, 9, 12, gate_width=5),
    "two active": Architecture(3, 4, 1, 2, 12, 9, active_experts=2),
    "two active, deep gate": Architecture(3, 5, 1, 1, 12, 9, gate_width=7, active_experts=2),
}

WORKED_EXAMPLE = """
4d 4f 45 43 00 03
56 0a 03 08 c7 01 90 03 8d 4f 16 0b 51 99 be 79
47 01 00 16 73 8f 93
4e 17 01 01 01 02 01 16 09 15 09 15 07 14 04 17 04 16 04 0b e1 f8 7b de 34 df d4 23 52
"""


def network(architecture: Architecture, seed: int = 0) -> QuantizedModel:
    """Weights as a fit leaves them: about 2 turns in the first layer, less in the others."""
    rng = np.random.default_rng(seed)
    tensors = []
    for spec in architecture.tensors:
        first = spec.name == "encoder.0.weight"
        scale, exponent = (300, -8) if first else (14, -7)
        integers = np.rint(rng.normal(0, scale, spec.shape)).astype(np.int32)
        tensors.append(QuantizedTensor(integers, exponent))
    return QuantizedModel(architecture, tuple(tensors))


def only(model: QuantizedModel, expert: int) -> QuantizedModel:
    """The network of one expert."""
    architecture = replace(model.architecture, experts=1, gate_width=0)
    tensors = dict(zip((t.name for t in model.architecture.tensors), model.tensors, strict=True))
    kept = []
    for spec in architecture.tensors:
        tensor = tensors[spec.name]
        if spec.name.startswith("experts."):
            tensor = QuantizedTensor(tensor.integers[expert : expert + 1], tensor.step_exponent)
        kept.append(tensor)
    return QuantizedModel(architecture, tuple(kept))


def levels(
    model: QuantizedModel, grid: SamplingGrid | None = None, piece: int | None = None
) -> NDArray[np.int64]:
    grid = grid or SamplingGrid.whole(SHAPE)
    result = np.full(grid.samples, -1, np.int64)

    def store(first: int, part: torch.Tensor) -> None:
        result[first : first + len(part)] = part.numpy()

    evaluate(ExactNetwork(model, CPU), grid, store, lambda count: None, piece)
    return result


def test_tables_are_the_functions_rounded() -> None:
    phase = (np.arange(1 << 14) + 0.5) / (1 << 14)
    assert np.array_equal(sine_table(), np.rint(4096 * np.sin(2 * np.pi * phase)))
    distance = (np.arange(3072) + 0.5) / 256
    assert np.array_equal(blend_table(), np.rint(65536 / (1 + np.exp(distance))))


def test_the_documents_worked_example_decodes() -> None:
    decoded = decode_bytes(bytes.fromhex(WORKED_EXAMPLE))
    assert decoded.data.tolist() == [249, 131, 93, 189, 243, 201, 80, 75]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_levels_are_close_to_the_float_network(name: str) -> None:
    model = network(ARCHITECTURES[name])
    coordinates = Grid(SHAPE, CPU).at(torch.arange(math.prod(SHAPE)))
    with torch.no_grad():
        expected = MoEINR.from_quantized(model)(coordinates).clamp(-1, 1).numpy()
    difference = np.abs(levels(model) / 2**24 - 1 - expected)
    # Where two gate outputs are equal to within rounding, the experts may differ.
    assert np.quantile(difference, 0.98) < 0.02


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_expert_map_names_the_expert_that_makes_a_sample(name: str) -> None:
    model = network(ARCHITECTURES[name])
    grid = SamplingGrid.whole(SHAPE)
    experts = expert_map(ExactNetwork(model, CPU), grid, lambda count: None)
    assert experts.shape == SHAPE
    if model.architecture.active_experts > 1:
        return  # a blend is no expert's
    mixture, found = levels(model), experts.ravel(order="F")
    for expert in range(model.architecture.experts):
        alone = levels(only(model, expert))
        assert np.array_equal(mixture[found == expert], alone[found == expert])


@pytest.mark.parametrize("name", ["one expert", "linear gate", "deep gate"])
def test_fixed_point_fitting_sees_what_the_decoder_computes(name: str) -> None:
    model = network(ARCHITECTURES[name])
    coordinates = Grid(SHAPE, CPU).at(torch.arange(math.prod(SHAPE)))
    exact = levels(model) / 2**24 - 1
    rounded = MoEINR.from_quantized(model)
    errors = []
    for _ in range(2):
        with torch.no_grad():
            output = rounded(coordinates).clamp(-1, 1).numpy()
        errors.append(np.median(np.abs(output - exact)))
        rounded.use_fixed_point()
    assert errors[1] < errors[0] / 20


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pieces_and_threads_change_nothing(name: str) -> None:
    model = network(ARCHITECTURES[name])
    expected = levels(model)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for piece in (1000, 333, 64, 17, 2000):
                assert np.array_equal(levels(model, piece=piece), expected)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_pieces_and_threads_change_no_golden_file(path: Path) -> None:
    content = parse_content(path.read_bytes())
    if content.network is None:
        return
    grid = SamplingGrid.whole(content.header.shape)
    before = torch.get_num_threads()
    try:
        for threads, pieces in ((1, 1), (1, 2), (2, 3), (2, 7), (2, 30)):
            torch.set_num_threads(threads)
            found = levels(content.network, grid, piece=math.ceil(grid.samples / pieces))
            voxels = denormalize(found, content.header).reshape(grid.shape, order="F")
            assert checksum(voxels) == content.header.checksum
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_part_has_the_levels_of_the_whole(name: str) -> None:
    model = network(ARCHITECTURES[name])
    whole = levels(model).reshape(SHAPE, order="F")
    region = (slice(3, 9), slice(None), slice(8, 2, -2), slice(5, 6))
    grid = SamplingGrid.whole(SHAPE).crop(region)
    assert np.array_equal(levels(model, grid).reshape(grid.shape, order="F"), whole[region])


def test_reduced_precision_products_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(ARCHITECTURES["one expert"])
    expected = levels(model)
    torch.set_float32_matmul_precision("medium")
    try:
        assert np.array_equal(levels(model), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    "shortage",
    [MemoryError(), RuntimeError("CUDA out of memory"), torch.OutOfMemoryError("x: out of memory")],
)
def test_pieces_are_halved_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, shortage: Exception
) -> None:
    model = network(ARCHITECTURES["linear gate"])
    expected = levels(model)
    call: Callable[..., torch.Tensor] = ExactNetwork.__call__
    most = 0

    def small_only(self: ExactNetwork, coordinates: torch.Tensor) -> torch.Tensor:
        nonlocal most
        if coordinates.shape[1] > 100:
            raise shortage
        most = max(most, coordinates.shape[1])
        return call(self, coordinates)

    monkeypatch.setattr(ExactNetwork, "__call__", small_only)
    assert np.array_equal(levels(model), expected)
    assert 50 <= most <= 100


def test_other_errors_and_hopeless_shortage_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(ARCHITECTURES["one expert"])
    for error in (MemoryError("none left"), ValueError("wrong")):

        def fail(self: object, coordinates: torch.Tensor, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(ExactNetwork, "__call__", fail)
        with pytest.raises(type(error)):
            levels(model)


def test_an_error_of_the_callback_stops_the_work() -> None:
    model = network(ARCHITECTURES["one expert"])
    exact = ExactNetwork(model, CPU)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(exact, SamplingGrid.whole(SHAPE), lambda *_: None, interrupt, 64)


@pytest.mark.parametrize(
    ("weight", "weight_exponent", "bias", "bias_exponent", "allowed"),
    [
        (32767, 7, 0, -24, False),
        (0, -24, 32767, 7, False),
        (5000, 7, 0, -24, True),
        (32767, 7, 32767, 7, True),
    ],
)
def test_sums_beyond_52_bits_are_refused(
    weight: int, weight_exponent: int, bias: int, bias_exponent: int, allowed: bool
) -> None:
    model = network(Architecture(3, 1, 2, 1, 80, 12))
    tensors = list(model.tensors)
    tensors[2] = QuantizedTensor(np.full((80, 80), weight, np.int32), weight_exponent)
    tensors[3] = QuantizedTensor(np.full(80, bias, np.int32), bias_exponent)
    hostile = QuantizedModel(model.architecture, tuple(tensors))
    if allowed:
        levels(hostile)
    else:
        with pytest.raises(BitstreamError, match="52 bits"):
            ExactNetwork(hostile, CPU)


def test_voxels_that_do_not_match_the_checksum_are_refused() -> None:
    chunks = parse_container(bytes.fromhex(WORKED_EXAMPLE), DEFAULT_LIMITS)
    payload = bytearray(chunks[ChunkType.VOLUME])
    payload[-1] ^= 1
    chunks[ChunkType.VOLUME] = bytes(payload)
    data = write_container([Chunk(t, p) for t, p in chunks.items()])
    with pytest.raises(ChecksumError, match="checksum"):
        decode_bytes(data)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_cuda_decodes_the_golden_files(path: Path) -> None:
    decode_bytes(path.read_bytes(), device="cuda")  # which compares the checksum of the voxels


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cuda_computes_the_same_levels(name: str) -> None:
    model = network(ARCHITECTURES[name])
    grid = SamplingGrid.whole(SHAPE)
    result = np.empty(grid.samples, np.int64)

    def store(first: int, part: torch.Tensor) -> None:
        result[first : first + len(part)] = part.cpu().numpy()

    evaluate(ExactNetwork(model, torch.device("cuda")), grid, store, lambda count: None)
    assert np.array_equal(result, levels(model))
