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

from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Partition,
    Stack,
    Tree,
    TreeLevel,
    single,
)
from inrcodec.bitstream.container import Chunk, ChunkType, parse_container, write_container
from inrcodec.decoder import decode_bytes, parse_content
from inrcodec.errors import BitstreamError, ChecksumError
from inrcodec.exact.evaluate import evaluate, expert_map
from inrcodec.exact.layers import LayerFactory
from inrcodec.exact.network import ExactNetwork
from inrcodec.exact.tables import blend_table, sine_table
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.model.grid import Grid
from inrcodec.model.network import from_quantized
from inrcodec.quantization import QuantizedModel, QuantizedTensor
from inrcodec.volume.checksum import checksum
from inrcodec.volume.intensity import denormalize
from inrcodec.volume.sampling_grid import COORDINATE_BITS, SamplingGrid

SHAPE = (13, 1, 11, 9)
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.moec"))
CPU = torch.device("cpu")
SINE, FINER = Activation.SINE, Activation.FINER
NONE = Stack(0, 0)

ARCHITECTURES: dict[str, Architecture] = {
    "single": single(3, SINE, Stack(4, 12)),
    "single, finer": single(3, FINER, Stack(3, 12)),
    "octree": Tree(3, SINE, (TreeLevel(2, (12,)), TreeLevel(2, (9,) * 8))),
    "octree, uneven": Tree(
        3,
        SINE,
        (TreeLevel(1, (12,)), TreeLevel(1, (5, 12, 9, 7, 8, 9, 6, 3)), TreeLevel(1, (9, 7) * 32)),
    ),
    "octree, finer": Tree(3, FINER, (TreeLevel(1, (12,)), TreeLevel(2, (9,) * 8))),
    "linear gate": Mixture(3, SINE, Stack(1, 12), 4, Stack(2, 9), Gate(NONE, NONE, 1)),
    "deep gate": Mixture(3, SINE, Stack(2, 9), 3, Stack(1, 12), Gate(NONE, Stack(2, 5), 1)),
    "two active": Mixture(3, SINE, Stack(1, 12), 4, Stack(2, 9), Gate(NONE, NONE, 2)),
    "two active, deep gate": Mixture(
        3, SINE, Stack(1, 12), 5, Stack(1, 9), Gate(NONE, Stack(2, 7), 2)
    ),
    "neural experts": Mixture(
        3, SINE, Stack(1, 12), 4, Stack(2, 9), Gate(Stack(2, 8), Stack(1, 7), 1)
    ),
    "neural experts, two active, finer": Mixture(
        3, FINER, Stack(1, 12), 4, Stack(1, 9), Gate(Stack(1, 8), NONE, 2)
    ),
}
ONE_ACTIVE = [
    name for name, a in ARCHITECTURES.items() if isinstance(a, Tree) or a.gate.active == 1
]

WORKED_EXAMPLE = """
4d 4f 45 43 01 03
56 0a 03 08 c7 01 90 03 78 13 ca 1a f1 02 9d ea
47 01 00 16 73 8f 93
4e 19 00 02 01 04 01 02 16 09 15 09 15 09 14 07 17 07 16 04 fd f2 89 f9 a2 06 73 16 d3 55 65
"""


def network(architecture: Architecture, seed: int = 0) -> QuantizedModel:
    """Weights as a fit leaves them: about 2 turns in the first layer, less in the others."""
    rng = np.random.default_rng(seed)
    tensors = []
    for spec in architecture.tensors:
        first = spec.name in ("encoder.0.weight", "gate.encoder.0.weight", "levels.0.0.weight")
        scale, exponent = (300, -8) if first else (14, -7)
        if architecture.activation is FINER:
            scale /= 4
        if spec.name.startswith(("gate.hidden", "gate.output")):
            scale = 60 if spec.name.endswith("weight") else 4
        integers = np.rint(rng.normal(0, scale, spec.shape)).astype(np.int32)
        tensors.append(QuantizedTensor(integers, exponent))
    return QuantizedModel(architecture, tuple(tensors))


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
    assert decoded.data.tolist() == [249, 131, 93, 189, 216, 243, -13, -77]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_levels_are_close_to_the_float_network(name: str) -> None:
    model = network(ARCHITECTURES[name])
    coordinates = Grid(SHAPE, CPU).at(torch.arange(math.prod(SHAPE)))
    with torch.no_grad():
        expected = from_quantized(model)(coordinates).clamp(-1, 1).numpy()
    difference = np.abs(levels(model) / 2**24 - 1 - expected)
    # Where two gate outputs are equal to within rounding, the experts may differ.
    assert np.quantile(difference, 0.98) < 0.02


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_expert_map_is_the_route_of_each_sample(name: str) -> None:
    exact = ExactNetwork(network(ARCHITECTURES[name]), CPU)
    grid = SamplingGrid.whole(SHAPE)
    experts = expert_map(exact, grid, lambda count: None)
    assert experts.shape == SHAPE
    lines = [axis.coordinates() for axis in grid.axes if axis.length > 1]
    given = np.stack([c.ravel(order="F") for c in np.meshgrid(*lines, indexing="ij")])
    expected = exact.route(torch.from_numpy(given).double())
    assert np.array_equal(experts.ravel(order="F"), expected.numpy())


@pytest.mark.parametrize("name", ONE_ACTIVE)
def test_fixed_point_fitting_sees_what_the_decoder_computes(name: str) -> None:
    model = network(ARCHITECTURES[name])
    coordinates = Grid(SHAPE, CPU).at(torch.arange(math.prod(SHAPE)))
    exact = levels(model) / 2**24 - 1
    rounded = from_quantized(model)
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


def test_finer_phases_square_without_error() -> None:
    """Against Python's integers, beyond the limit on both sides."""
    model = network(single(1, FINER, Stack(1, 1)))
    turns, offset = QuantizedTensor(np.array([1500], np.int32), 0), model.tensors[1]
    model = QuantizedModel(model.architecture, (turns, offset, *model.tensors[2:]))
    inputs = np.concatenate([np.arange(-(1 << 20), 1 << 20, 997), [-1, 0, 1, 1 << 20]])
    hidden = LayerFactory(model, CPU).hidden("levels.0.0", [(1, 1)], input_bits=COORDINATE_BITS)
    found = hidden(torch.from_numpy(inputs)[None].double())[0].tolist()
    bias, step = int(offset.integers[0]), offset.step_exponent
    for x, output in zip(inputs.tolist(), found, strict=True):
        phase = (1500 * x + (bias << 20 + step)) >> 6
        phase = max(-(1 << 24), min(1 << 24, phase))
        assert output == sine_table()[(phase + (phase * abs(phase) >> 16)) % (1 << 14)]


# Which network makes a sample


@pytest.mark.parametrize(
    ("point", "cells"),
    [
        ((-(1 << 20), -(1 << 20), -(1 << 20)), (0, 0, 0)),
        (((1 << 20), (1 << 20), (1 << 20)), (3, 3, 3)),
        ((-1, 0, (1 << 19) - 1), (1, 2, 2)),
        (((1 << 19), -(1 << 19), -(1 << 19) - 1), (3, 1, 0)),
    ],
)
def test_route_of_a_tree_is_the_cell_in_morton_order(
    point: tuple[int, ...], cells: tuple[int, ...]
) -> None:
    tree = ARCHITECTURES["octree, uneven"]
    expected = sum(
        (cell >> bit & 1) << (3 * bit + axis) for axis, cell in enumerate(cells) for bit in range(2)
    )
    points = torch.tensor(point, dtype=torch.float64)[:, None]
    assert ExactNetwork(network(tree), CPU).route(points).tolist() == [expected]


@pytest.mark.parametrize("name", ["octree", "octree, uneven", "octree, finer"])
def test_a_leaf_is_all_that_its_cell_needs(name: str) -> None:
    """Other weights in one leaf change its samples and no others."""
    model = network(ARCHITECTURES[name])
    points = torch.from_numpy(np.random.default_rng(3).integers(-(1 << 20), 1 << 20, (3, 4000)))
    routes = ExactNetwork(model, CPU).route(points.double())
    before = ExactNetwork(model, CPU)(points.double())
    for leaf in (0, 3, len(model.tensors[-1].integers) - 1):
        biases = model.tensors[-1].integers.copy()
        biases[leaf] += 20
        tensors = (*model.tensors[:-1], replace(model.tensors[-1], integers=biases))
        after = ExactNetwork(QuantizedModel(model.architecture, tensors), CPU)(points.double())
        assert torch.equal(after != before, routes == leaf)


@pytest.mark.parametrize("name", ["linear gate", "deep gate", "neural experts"])
def test_route_of_a_mixture_is_the_expert_that_acts(name: str) -> None:
    model = network(ARCHITECTURES[name])
    points = torch.from_numpy(np.random.default_rng(3).integers(-(1 << 20), 1 << 20, (3, 4000)))
    routes = ExactNetwork(model, CPU).route(points.double())
    before = ExactNetwork(model, CPU)(points.double())
    names = [spec.name for spec in model.architecture.tensors]
    last = max(i for i, n in enumerate(names) if n.startswith("experts.") and n.endswith("bias"))
    assert len(routes.unique()) > 1
    for expert in routes.unique().tolist():
        biases = model.tensors[last].integers.copy()
        biases[expert] += 20
        tensors = list(model.tensors)
        tensors[last] = replace(tensors[last], integers=biases)
        after = ExactNetwork(QuantizedModel(model.architecture, tuple(tensors)), CPU)(
            points.double()
        )
        changed = after != before
        assert not changed[routes != expert].any()
        assert changed[routes == expert].float().mean() > 0.9


def test_every_partition_is_here() -> None:
    assert {a.partition for a in ARCHITECTURES.values()} == set(Partition)


def test_reduced_precision_products_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(ARCHITECTURES["single"])
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
    model = network(ARCHITECTURES["single"])
    for error in (MemoryError("none left"), ValueError("wrong")):

        def fail(self: object, coordinates: torch.Tensor, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(ExactNetwork, "__call__", fail)
        with pytest.raises(type(error)):
            levels(model)


def test_an_error_of_the_callback_stops_the_work() -> None:
    model = network(ARCHITECTURES["single"])
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
    model = network(single(3, SINE, Stack(3, 80)))
    tensors = list(model.tensors)
    tensors[2] = QuantizedTensor(np.full(80 * 80, weight, np.int32), weight_exponent)
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
