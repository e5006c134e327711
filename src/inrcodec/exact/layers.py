"""Layers in integers: docs/format.md, "Layers", on torch's float units.

Floats are only the vehicle. Every product and sum here is of integers times one power of two, and
stays below 2**24 of its units in float32 or 2**52 in float64: it is exact, in whatever order a
machine adds. Features stand first and samples second, (features, N), as in `model`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.architecture import Activation
from inrcodec.errors import BitstreamError
from inrcodec.exact.tables import sine_table
from inrcodec.quantization import (
    ACTIVATION_BITS,
    PHASE_BITS,
    QuantizedModel,
    QuantizedTensor,
)
from inrcodec.volume.sampling_grid import COORDINATE_BITS

_FLOAT32_EXACT = 1 << 24
_ACCUMULATOR_LIMIT = 1 << 52
"""A layer whose sums could reach it is not in the format."""

_LARGEST_PHASE = 1 << 24
"""1024 turns: what FINER squares."""

Shape = tuple[int, int]
"""Outputs and inputs of a matrix."""


class Linear:
    """``A v + b`` without error: the layers of one pair of tensors, one or several side by side.

    Inputs are multiples of 2**-``input_bits``, at most ``largest`` of them in magnitude; outputs
    are in units of 2**-``output_bits``, fractions included.
    """

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: QuantizedTensor,
        shapes: Sequence[Shape],
        device: torch.device,
        *,
        input_bits: int,
        largest: int,
        output_bits: int,
    ) -> None:
        """``shapes`` are those of the matrices, as they follow one another in the tensor."""
        step = weight.step_exponent - input_bits
        unit = min(step, bias.step_exponent)
        fan_ins = np.repeat([inputs for _, inputs in shapes], [outputs for outputs, _ in shapes])
        bound = _largest_sum(
            weight.integers,
            fan_ins,
            largest << (step - unit),
            bias.integers,
            bias.step_exponent - unit,
        )
        if bound >= _ACCUMULATOR_LIMIT:
            raise BitstreamError("chunk N: the sums of a layer exceed 52 bits")
        self.dtype = torch.float32 if bound < _FLOAT32_EXACT else torch.float64
        self.largest = bound * 2.0 ** (unit + output_bits)

        def scaled(integers: NDArray[np.int32], exponent: int) -> Tensor:
            values = np.ldexp(integers.reshape(-1).astype(np.float64), exponent + output_bits)
            return torch.from_numpy(values).to(device, self.dtype)

        weights = torch.split(
            scaled(weight.integers, step), [outputs * inputs for outputs, inputs in shapes]
        )
        biases = torch.split(
            scaled(bias.integers, bias.step_exponent), [outputs for outputs, _ in shapes]
        )
        self._weights = [part.view(shape) for part, shape in zip(weights, shapes, strict=True)]
        self._biases = [part[:, None] for part in biases]

    def __call__(self, inputs: Tensor, member: int = 0) -> Tensor:
        """(in, N) -> (out, N) in the layer's dtype, by the layer of that number."""
        return torch.addmm(self._biases[member], self._weights[member], inputs.to(self.dtype))


class Sine(Linear):
    """Sine layers: the accumulator's turns are masked off, the rest looks up the table."""

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: QuantizedTensor,
        shapes: Sequence[Shape],
        device: torch.device,
        table: Tensor,
        *,
        input_bits: int = ACTIVATION_BITS,
    ) -> None:
        super().__init__(
            weight,
            bias,
            shapes,
            device,
            input_bits=input_bits,
            largest=1 << input_bits,
            output_bits=PHASE_BITS,
        )
        self._table = table

    def __call__(self, inputs: Tensor, member: int = 0) -> Tensor:
        """(in, N) -> (out, N) activations, float32."""
        phase = self._phase(super().__call__(inputs, member).floor_())
        index = phase.bitwise_and_((1 << PHASE_BITS) - 1)
        return self._table.index_select(0, index.view(-1)).view(index.shape)

    def _phase(self, turned: Tensor) -> Tensor:
        """Whole numbers of 2**-14 turns, to be changed in place -> an index into the table, and
        any multiple of its size."""
        return turned.to(torch.int32 if self.largest < 1 << 31 else torch.int64)


class Finer(Sine):
    """Sine layers whose frequency grows with the phase."""

    def _phase(self, turned: Tensor) -> Tensor:
        phase = turned.clamp_(-_LARGEST_PHASE, _LARGEST_PHASE).to(torch.int32)
        # The product wraps around, which leaves alone the bits that become the index: 16 to 29.
        return phase.abs().mul_(phase).bitwise_right_shift_(16).add_(phase)


class LayerFactory:
    """Makes the layers of a quantized network, by the names of their tensors.

    ``shapes`` of the matrices are to be given where a tensor's own shape does not tell them.
    """

    def __init__(self, model: QuantizedModel, device: torch.device) -> None:
        names = (spec.name for spec in model.architecture.tensors)
        self.device = device
        self._tensors = dict(zip(names, model.tensors, strict=True))
        self._table = torch.tensor(sine_table(), dtype=torch.float32, device=device)
        self._activation = Finer if model.architecture.activation is Activation.FINER else Sine

    def hidden(
        self, name: str, shapes: Sequence[Shape] | None = None, *, input_bits: int = ACTIVATION_BITS
    ) -> Sine:
        """Layers of the network's activation function."""
        weight, bias = self._pair(name)
        return self._activation(
            weight, bias, shapes or _shapes(weight), self.device, self._table,
            input_bits=input_bits,
        )  # fmt: skip

    def stack(self, name: str, layers: int) -> list[Sine]:
        """Hidden layers one after the other, the first of them fed with coordinates."""
        return [
            self.hidden(f"{name}.{i}", input_bits=ACTIVATION_BITS if i else COORDINATE_BITS)
            for i in range(layers)
        ]

    def linear(
        self,
        name: str,
        shapes: Sequence[Shape] | None = None,
        *,
        largest: int = 1 << ACTIVATION_BITS,
        output_bits: int,
    ) -> Linear:
        """Layers without an activation function, fed with activations of up to ``largest``."""
        weight, bias = self._pair(name)
        return Linear(
            weight, bias, shapes or _shapes(weight), self.device,
            input_bits=ACTIVATION_BITS, largest=largest, output_bits=output_bits,
        )  # fmt: skip

    def _pair(self, name: str) -> tuple[QuantizedTensor, QuantizedTensor]:
        return self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]


def run(layers: Iterable[Sine], features: Tensor, member: int = 0) -> Tensor:
    """(F, N) -> (W, N), through the layers of that number."""
    for layer in layers:
        features = layer(features, member)
    return features


def _shapes(weight: QuantizedTensor) -> list[Shape]:
    """One matrix, or a stack of them."""
    *stacked, outputs, inputs = weight.integers.shape
    return [(outputs, inputs)] * math.prod(stacked)


def _largest_sum(
    weight: NDArray[np.int32],
    fan_ins: NDArray[np.int64],
    factor: int,
    bias: NDArray[np.int32],
    bias_shift: int,
) -> int:
    """The largest |sum| that a row can reach: weights times ``factor``, biases shifted.

    ``fan_ins`` has the length of each row.
    """
    magnitudes = np.abs(weight.reshape(-1).astype(np.int64))
    rows = np.add.reduceat(magnitudes, np.cumsum(fan_ins) - fan_ins).tolist()
    biases = np.abs(bias.astype(np.int64)).reshape(-1).tolist()
    # Python's integers: hostile weights may go beyond 64 bits here.
    bound: int = max(row * factor + (b << bias_shift) for row, b in zip(rows, biases, strict=True))
    return bound
