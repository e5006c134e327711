"""Chunk N: round trips, and what a reader refuses."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.architecture import Architecture
from inrcodec.entropy.network import decode_network, encode_network, read_architecture
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


@settings(max_examples=60, deadline=None)
@given(
    coordinates=st.integers(1, 4),
    experts=st.integers(1, 5),
    layers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    widths=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 4)),
    seed=st.integers(0, 999),
    spread=st.sampled_from([0.0, 0.4, 8.0, 5000.0]),
)
def test_round_trip(
    coordinates: int,
    experts: int,
    layers: tuple[int, int],
    widths: tuple[int, int, int],
    seed: int,
    spread: float,
) -> None:
    gate = widths[2] if experts > 1 else 0
    architecture = Architecture(coordinates, experts, *layers, *widths[:2], gate)
    model = random_model(architecture, seed, spread)
    payload = encode_network(model)
    assert_equal(decode_network(payload, coordinates, DEFAULT_LIMITS), model)
    assert read_architecture(payload, coordinates) == architecture


SMALL = encode_network(random_model(Architecture(3, 2, 1, 1, 4, 3, 2, 2), 1))


@pytest.mark.parametrize("cut", range(len(SMALL)))
def test_truncated_anywhere(cut: int) -> None:
    with pytest.raises(BitstreamError):
        decode_network(SMALL[:cut], 3, DEFAULT_LIMITS)


def test_bytes_left_over() -> None:
    with pytest.raises(BitstreamError):
        decode_network(SMALL + b"\0", 3, DEFAULT_LIMITS)


@pytest.mark.parametrize("field", range(5))
def test_zero_layers_or_widths(field: int) -> None:
    with pytest.raises(BitstreamError, match="zero"):
        decode_network(SMALL[:field] + b"\0" + SMALL[field + 1 :], 3, DEFAULT_LIMITS)


def test_step_exponent_out_of_range() -> None:
    with pytest.raises(BitstreamError, match="step exponent"):
        decode_network(SMALL[:7] + b"\x20" + SMALL[8:], 3, DEFAULT_LIMITS)


def test_hostile_sizes_are_refused_before_allocation() -> None:
    huge = bytes([1, 1, 1]) + b"\xff\xff\xff\x7f" * 2
    with pytest.raises(LimitExceededError):
        decode_network(huge, 3, DEFAULT_LIMITS)
    with pytest.raises(LimitExceededError):
        decode_network(SMALL, 3, Limits(parameters=10))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(1, 4))
def test_arbitrary_bytes_never_crash(data: bytes, coordinates: int) -> None:
    with contextlib.suppress(BitstreamError):
        decode_network(data, coordinates, Limits(parameters=100_000))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(3, 1, 2, 4, 5, 7),
        Architecture(4, 6, 1, 1, 5, 7),
        Architecture(1, 3, 3, 2, 5, 7, gate_width=4, active_experts=2),
    ],
)
def test_parameters_are_those_of_the_tensors(architecture: Architecture) -> None:
    a = architecture
    assert a.parameters == sum(spec.size for spec in a.tensors)
    experts = sum(spec.size for spec in a.tensors if spec.name.startswith("experts."))
    assert a.active_parameters == a.parameters - experts + experts // a.experts * a.active_experts


def test_more_layers_than_bytes_are_refused_before_they_are_listed() -> None:
    payload = bytes([1]) + b"\xff\xff\xff\xff\x7f" * 2 + bytes([1, 1]) + bytes(100)
    with pytest.raises(BitstreamError, match="before its layers do"):
        decode_network(payload, 3, Limits(layers=1 << 60, parameters=1 << 60))
