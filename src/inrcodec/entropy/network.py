"""Chunk N: a quantized network as bytes (docs/format.md, "Chunk N")."""

from __future__ import annotations

import numpy as np

from inrcodec.architecture import Architecture
from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.entropy.distribution import Distribution, fit_distribution
from inrcodec.entropy.rans import rans_decode, rans_encode
from inrcodec.errors import BitstreamError, TruncatedError
from inrcodec.limits import Limits
from inrcodec.quantization import (
    MAX_MAGNITUDE,
    MAX_STEP_EXPONENT,
    MIN_STEP_EXPONENT,
    QuantizedModel,
    QuantizedTensor,
)

_BYTES_PER_LAYER = 4
"""Step exponent and distribution of a matrix and of its bias."""


def encode_network(model: QuantizedModel) -> bytes:
    """The payload of chunk N."""
    a = model.architecture
    writer = ByteWriter()
    for value in (
        a.experts, a.encoder_layers, a.expert_layers, a.encoder_width, a.expert_width
    ):  # fmt: skip
        writer.varint(value)
    if a.experts > 1:
        writer.varint(a.gate_width)
        writer.varint(a.active_experts)
    distributions = [fit_distribution(tensor.integers) for tensor in model.tensors]
    for tensor, distribution in zip(model.tensors, distributions, strict=True):
        writer.u8(tensor.step_exponent - MIN_STEP_EXPONENT)
        writer.u8(distribution.wire)
    symbols = np.concatenate([tensor.integers.reshape(-1) for tensor in model.tensors])
    counts = [tensor.integers.size for tensor in model.tensors]
    writer.raw(rans_encode(symbols, counts, [d.table() for d in distributions]))
    return writer.getvalue()


def decode_network(payload: bytes, coordinates: int, limits: Limits) -> QuantizedModel:
    """Read the payload of chunk N, for a grid with that many axes longer than one voxel.

    Raises `LimitExceededError` before a network beyond ``limits`` is allocated, and
    `BitstreamError` for anything that breaks the format.
    """
    reader = ByteReader(payload)
    architecture = _read_architecture(reader, coordinates)
    architecture.check(limits)
    if architecture.layers > reader.remaining // _BYTES_PER_LAYER:
        raise TruncatedError("chunk N: it ends before its layers do")
    exponents, distributions = [], []
    specs = architecture.tensors
    for _ in specs:
        exponent = reader.u8() + MIN_STEP_EXPONENT
        if exponent > MAX_STEP_EXPONENT:
            raise BitstreamError(f"chunk N: step exponent {exponent} is out of range")
        exponents.append(exponent)
        distributions.append(Distribution(reader.u8()))
    symbols = rans_decode(
        reader.raw(reader.remaining),
        [spec.size for spec in specs],
        [distribution.table() for distribution in distributions],
    )
    if np.any(np.abs(symbols) > MAX_MAGNITUDE):
        raise BitstreamError(f"chunk N: a weight is beyond {MAX_MAGNITUDE} steps")
    tensors, start = [], 0
    for spec, exponent in zip(specs, exponents, strict=True):
        integers = symbols[start : start + spec.size].reshape(spec.shape)
        tensors.append(QuantizedTensor(integers, exponent))
        start += spec.size
    return QuantizedModel(architecture, tuple(tensors))


def read_architecture(payload: bytes, coordinates: int) -> Architecture:
    """The architecture alone, for `info`: no weight is decoded."""
    return _read_architecture(ByteReader(payload), coordinates)


def _read_architecture(reader: ByteReader, coordinates: int) -> Architecture:
    values = [reader.varint() for _ in range(5)]
    if min(values) < 1:
        raise BitstreamError("chunk N: a layer count or width is zero")
    experts, encoder_layers, expert_layers, encoder_width, expert_width = values
    gate_width = reader.varint() if experts > 1 else 0
    active_experts = reader.varint() if experts > 1 else 1
    if active_experts not in (1, 2):
        raise BitstreamError(f"chunk N: {active_experts} experts act on a sample, not 1 or 2")
    return Architecture(
        coordinates,
        experts,
        encoder_layers,
        expert_layers,
        encoder_width,
        expert_width,
        gate_width,
        active_experts,
    )
