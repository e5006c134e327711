"""Chunk N: round trips, and what a reader refuses."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Stack,
    Tree,
    TreeLevel,
)
from inrcodec.bitstream.architecture import read_architecture
from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.entropy.network import decode_network, encode_network
from inrcodec.errors import BitstreamError, LimitExceededError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.quantization import QuantizedModel, QuantizedTensor


def random_model(architecture: Architecture, seed: int, spread: float = 9.0) -> QuantizedModel:
    rng = np.random.default_rng(seed)
    tensors = tuple(
        QuantizedTensor(
            np.rint(rng.normal(0, spread, spec.shape)).astype(np.int32), int(rng.integers(-24, 8))
        )
        for spec in architecture.tensors
    )
    return QuantizedModel(architecture, tensors)


def assert_equal(a: QuantizedModel, b: QuantizedModel) -> None:
    assert a.architecture == b.architecture
    for x, y in zip(a.tensors, b.tensors, strict=True):
        assert x.step_exponent == y.step_exponent
        assert np.array_equal(x.integers, y.integers)


@st.composite
def stacks(draw: st.DrawFn, optional: bool = False) -> Stack:
    layers = draw(st.integers(0 if optional else 1, 3))
    return Stack(layers, draw(st.integers(1, 9))) if layers else Stack(0, 0)


@st.composite
def mixtures(draw: st.DrawFn, coordinates: int) -> Mixture:
    gate = Gate(draw(stacks(True)), draw(stacks(True)), draw(st.integers(1, 2)))
    activation = draw(st.sampled_from(Activation))
    experts = draw(st.integers(2, 5))
    return Mixture(coordinates, activation, draw(stacks()), experts, draw(stacks()), gate)


@st.composite
def trees(draw: st.DrawFn, coordinates: int) -> Tree:
    levels = []
    for level in range(draw(st.integers(1, 8 // coordinates))):
        nodes = 1 << coordinates * level
        period = draw(st.lists(st.integers(1, 9), min_size=1, max_size=min(nodes, 5)))
        widths = tuple(period[node % len(period)] for node in range(nodes))
        levels.append(TreeLevel(draw(st.integers(1, 2)), widths))
    return Tree(coordinates, draw(st.sampled_from(Activation)), tuple(levels))


ARCHITECTURES = st.integers(1, 4).flatmap(lambda d: st.one_of(trees(d), mixtures(d)))


@settings(max_examples=100, deadline=None)
@given(ARCHITECTURES, st.integers(0, 999), st.sampled_from([0.0, 0.4, 8.0, 5000.0]))
def test_round_trip(architecture: Architecture, seed: int, spread: float) -> None:
    model = random_model(architecture, seed, spread)
    payload = encode_network(model)
    assert_equal(decode_network(payload, architecture.coordinates, DEFAULT_LIMITS), model)
    reader = ByteReader(payload)
    assert read_architecture(reader, architecture.coordinates, DEFAULT_LIMITS) == architecture


@settings(max_examples=100, deadline=None)
@given(ARCHITECTURES)
def test_parameters_are_those_of_the_tensors(architecture: Architecture) -> None:
    a = architecture
    assert a.parameters == sum(spec.size for spec in a.tensors)
    assert len({spec.name for spec in a.tensors}) == len(a.tensors)
    if isinstance(a, Mixture):
        experts = sum(spec.size for spec in a.tensors if spec.name.startswith("experts."))
        once = a.parameters - experts
        assert a.active_parameters == once + experts // a.experts * a.gate.active
    else:
        assert a.active_parameters == max(path_parameters(a, leaf) for leaf in range(a.leaves))
        if a.leaves == 1:
            assert a.active_parameters == a.parameters


def path_parameters(tree: Tree, leaf: int) -> int:
    """Weights and biases from the root to a leaf, with its head."""
    count, inputs = 0, tree.coordinates
    for number, level in enumerate(tree.levels):
        width = level.widths[leaf >> tree.coordinates * (len(tree.levels) - 1 - number)]
        for _ in range(level.layers):
            count += (inputs + 1) * width
            inputs = width
    return count + inputs + 1


def payload_of(*values: int) -> bytes:
    """A chunk N that starts with these numbers."""
    writer = ByteWriter()
    for value in values:
        writer.varint(value)
    return writer.getvalue()


NONE = Stack(0, 0)
SINE = Activation.SINE
SMALL = encode_network(
    random_model(Mixture(3, SINE, Stack(1, 4), 2, Stack(1, 3), Gate(NONE, Stack(1, 2), 2)), 1)
)
SMALL_TREE = encode_network(
    random_model(Tree(3, SINE, (TreeLevel(1, (4,)), TreeLevel(1, (1, 2, 3, 4, 1, 2, 3, 4)))), 1)
)


@pytest.mark.parametrize("payload", [SMALL, SMALL_TREE], ids=["mixture", "tree"])
def test_truncated_anywhere(payload: bytes) -> None:
    for cut in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_network(payload[:cut], 3, DEFAULT_LIMITS)


def test_bytes_left_over() -> None:
    for payload in (SMALL, SMALL_TREE):
        with pytest.raises(BitstreamError):
            decode_network(payload + b"\0", 3, DEFAULT_LIMITS)


def test_step_exponent_out_of_range() -> None:
    fields = len(payload_of(1, 2, 1, 4, 1, 3, 0, 1, 2, 2))
    with pytest.raises(BitstreamError, match="step exponent"):
        decode_network(SMALL[:fields] + b"\x20" + SMALL[fields + 1 :], 3, DEFAULT_LIMITS)


LARGE = (1 << 64) - 2


@pytest.mark.parametrize(
    "values",
    [
        (0, 1, 1, LARGE),
        (0, 1, LARGE, 2),
        (0, 16, *(1, 2) * 16),
        (1, LARGE, 1, 1, 1, 1, 0, 0, 1),
        (1, 2, 1, LARGE, 1, 1, 0, 0, 1),
        (1, 2, 1, 1, LARGE, LARGE, 0, 0, 1),
        (1, 2, 1, 1, 1, 1, LARGE, LARGE, 0, 1, 1),
        (1, 2, 1, 1, 1, 1, 0, LARGE, LARGE, 1),
    ],
)
def test_hostile_sizes_are_refused_before_allocation(values: tuple[int, ...]) -> None:
    with pytest.raises(LimitExceededError):
        decode_network(payload_of(*values), 3, DEFAULT_LIMITS)


def test_limits_are_the_callers() -> None:
    for payload in (SMALL, SMALL_TREE):
        with pytest.raises(LimitExceededError):
            decode_network(payload, 3, Limits(parameters=10))


def test_more_leaves_than_parameters_are_refused_before_they_are_listed() -> None:
    payload = payload_of(0, 16, *(1, 2) * 16)
    with pytest.raises(LimitExceededError) as error:
        decode_network(payload, 3, Limits(experts=1 << 62))
    assert error.value.limit == "parameters"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(1, 4))
def test_arbitrary_bytes_never_crash(data: bytes, coordinates: int) -> None:
    with contextlib.suppress(BitstreamError):
        decode_network(data, coordinates, Limits(parameters=100_000))


@pytest.mark.parametrize(
    "values", [(1, 2, 1 << 40, 1, 1 << 40, 1, 0, 0, 1), (1, 2, 1, 1, 1, 1, 0, 1 << 40, 1, 1)]
)
def test_more_layers_than_bytes_are_refused_before_they_are_listed(values: tuple[int, ...]) -> None:
    limits = Limits(layers=1 << 60, parameters=1 << 60)
    for hostile in (values, (0, 1, 1 << 40, 2)):
        with pytest.raises(BitstreamError, match="before its layers do"):
            decode_network(payload_of(*hostile) + bytes(100), 3, limits)
