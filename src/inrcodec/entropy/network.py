"""Chunk N: a quantized network as bytes (docs/format.md, "Chunk N")."""

from __future__ import annotations

import numpy as np

from inrcodec.bitstream.architecture import read_architecture, write_architecture
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
    writer = ByteWriter()
    write_architecture(writer, model.architecture)
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
    architecture = read_architecture(reader, coordinates, limits)
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
