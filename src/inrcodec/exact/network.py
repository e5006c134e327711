"""The network in integers: docs/format.md, "Exact arithmetic", on torch's float units.

Floats are only the vehicle. Every product and sum here is of integers times one power of two, and
stays below 2**24 of its units in float32 or 2**52 in float64: it is exact, in whatever order a
machine adds. Features stand first and samples second, (features, N), as in `model`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.errors import BitstreamError
from inrcodec.exact.tables import (
    BLEND_BITS,
    BLEND_ENTRIES,
    BLEND_STEP_BITS,
    blend_table,
    sine_table,
)
from inrcodec.quantization import (
    ACTIVATION_BITS,
    OUTPUT_BITS,
    PHASE_BITS,
    QuantizedModel,
    QuantizedTensor,
)
from inrcodec.volume.sampling_grid import COORDINATE_BITS

_FLOAT32_EXACT = 1 << 24
_ACCUMULATOR_LIMIT = 1 << 52
"""A layer whose sums could reach it is not in the format."""

_LARGEST_RELU = 1 << 20
"""256, as an activation."""

_LARGEST_OUTPUT = 1 << OUTPUT_BITS
_LARGEST_BLENDED = 4 * _LARGEST_OUTPUT


class _Linear:
    """``A v + b`` without error: the layers of one tensor pair, one for each expert or just one.

    Inputs are multiples of 2**-``input_bits``, at most ``largest`` of them in magnitude; outputs
    are in units of 2**-``output_bits``, fractions included.
    """

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: QuantizedTensor,
        device: torch.device,
        *,
        input_bits: int,
        largest: int,
        output_bits: int,
    ) -> None:
        step = weight.step_exponent - input_bits
        unit = min(step, bias.step_exponent)
        bound = _largest_sum(
            weight.integers, largest << (step - unit), bias.integers, bias.step_exponent - unit
        )
        if bound >= _ACCUMULATOR_LIMIT:
            raise BitstreamError("chunk N: the sums of a layer exceed 52 bits")
        self.dtype = torch.float32 if bound < _FLOAT32_EXACT else torch.float64
        self.largest = bound * 2.0 ** (unit + output_bits)

        def scaled(integers: NDArray[np.int32], exponent: int) -> Tensor:
            values = np.ldexp(integers.astype(np.float64), exponent + output_bits)
            return torch.from_numpy(values).to(device, self.dtype)

        self._weight = scaled(weight.integers, step)
        self._bias = scaled(bias.integers, bias.step_exponent)[..., None]

    def __call__(self, inputs: Tensor, expert: int | None = None) -> Tensor:
        """(in, N) -> (out, N) in the layer's dtype."""
        if expert is None:
            return torch.addmm(self._bias, self._weight, inputs.to(self.dtype))
        return torch.addmm(self._bias[expert], self._weight[expert], inputs.to(self.dtype))


class _Sine(_Linear):
    """A sine layer: the accumulator's turns are masked off, the rest looks up the table."""

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: QuantizedTensor,
        device: torch.device,
        table: Tensor,
        *,
        input_bits: int = ACTIVATION_BITS,
    ) -> None:
        super().__init__(
            weight,
            bias,
            device,
            input_bits=input_bits,
            largest=1 << input_bits,
            output_bits=PHASE_BITS,
        )
        self._table = table
        self._index = torch.int32 if self.largest < 1 << 31 else torch.int64

    def __call__(self, inputs: Tensor, expert: int | None = None) -> Tensor:
        """(in, N) -> (out, N) activations, float32."""
        phase = super().__call__(inputs, expert).floor_()
        index = phase.to(self._index).bitwise_and_((1 << PHASE_BITS) - 1)
        return self._table.index_select(0, index.view(-1)).view(index.shape)


class ExactNetwork:
    """Evaluates a quantized network at fixed-point coordinates, to the bit.

    Raises `BitstreamError` for weights that the exact arithmetic does not allow.
    """

    def __init__(self, model: QuantizedModel, device: torch.device) -> None:
        a = model.architecture
        names = [spec.name for spec in a.tensors]
        tensors = dict(zip(names, model.tensors, strict=True))
        table = torch.tensor(sine_table(), dtype=torch.float32, device=device)

        def sine(name: str, input_bits: int = ACTIVATION_BITS) -> _Sine:
            pair = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
            return _Sine(*pair, device, table, input_bits=input_bits)

        def linear(name: str, largest: int, output_bits: int) -> _Linear:
            return _Linear(
                tensors[f"{name}.weight"],
                tensors[f"{name}.bias"],
                device,
                input_bits=ACTIVATION_BITS,
                largest=largest,
                output_bits=output_bits,
            )

        one = 1 << ACTIVATION_BITS
        self.architecture = a
        self.device = device
        self.widest = max(a.encoder_width, a.expert_width, a.gate_width, a.experts)
        """Rows of the largest intermediate result."""
        self._encoder = [
            sine(f"encoder.{i}", ACTIVATION_BITS if i else COORDINATE_BITS)
            for i in range(a.encoder_layers)
        ]
        self._gate_hidden: list[_Linear] = []
        if a.experts > 1:
            largest = one
            for i in range(2 if a.gate_width else 0):
                self._gate_hidden.append(linear(f"gate.hidden.{i}", largest, ACTIVATION_BITS))
                largest = _LARGEST_RELU
            self._gate_output = linear("gate.output", largest, BLEND_STEP_BITS)
            self._blend = torch.tensor(blend_table(), dtype=torch.int64, device=device)
        self._experts = [sine(f"experts.{i}") for i in range(a.expert_layers)]
        self._decoder = linear("decoder", one, OUTPUT_BITS)

    @torch.inference_mode()
    def __call__(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates in units of 2**-20 -> (N,) int64 levels 0..2**25.

        Level 0 stands for the volume's lowest value, 2**25 for its highest.
        """
        features = self._encode(coordinates)
        if self.architecture.experts == 1:
            output = self._expert(0, features)
        else:
            output = self._mixture(features)
        return output.clamp_(-_LARGEST_OUTPUT, _LARGEST_OUTPUT).long().add_(_LARGEST_OUTPUT)

    @torch.inference_mode()
    def top_expert(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates in units of 2**-20 -> (N,) int64, the expert picked first."""
        if self.architecture.experts == 1:
            return torch.zeros(coordinates.shape[1], dtype=torch.int64, device=self.device)
        return self._logits(self._encode(coordinates)).max(0).indices

    def _encode(self, coordinates: Tensor) -> Tensor:
        """(D, N) -> (F, N) features."""
        features = coordinates
        for layer in self._encoder:
            features = layer(features)
        return features

    def _expert(self, expert: int, features: Tensor) -> Tensor:
        """(F, N) -> (N,) float64 outputs, whole numbers."""
        for layer in self._experts:
            features = layer(features, expert)
        return self._decoder(features)[0].double().floor_()

    def _mixture(self, features: Tensor) -> Tensor:
        """(F, N) -> (N,) float64 outputs of the experts that the gate picks."""
        logits = self._logits(features)
        best, first = logits.max(0)  # ties go to the lowest expert
        output = self._dispatch(features, first)
        if self.architecture.active_experts == 1:
            return output
        runner_up, second = logits.scatter_(0, first[None], -torch.inf).max(0)
        distance = (best - runner_up).floor_().clamp_(max=BLEND_ENTRIES - 1).long()
        share = self._blend[distance]
        outputs = [
            o.clamp_(-_LARGEST_BLENDED, _LARGEST_BLENDED).long()
            for o in (output, self._dispatch(features, second))
        ]
        mixed = outputs[0] * ((1 << BLEND_BITS) - share) + outputs[1] * share
        return (mixed >> BLEND_BITS).double()

    def _logits(self, features: Tensor) -> Tensor:
        """(F, N) -> (E, N) float64, whole numbers and their fractions."""
        hidden = features
        for layer in self._gate_hidden:
            hidden = layer(hidden).floor_().clamp_(0, _LARGEST_RELU)
        return self._gate_output(hidden).double()

    def _dispatch(self, features: Tensor, routing: Tensor) -> Tensor:
        """(F, N) features and (N,) experts -> (N,) float64 outputs, each expert run once."""
        order = torch.argsort(routing)
        counts = torch.bincount(routing, minlength=self.architecture.experts).tolist()
        groups = torch.split(features.index_select(1, order), counts, dim=1)
        outputs = [self._expert(i, group) for i, group in enumerate(groups) if group.shape[1]]
        result = torch.empty(len(order), dtype=torch.float64, device=order.device)
        result[order] = torch.cat(outputs)
        return result


def _largest_sum(
    weight: NDArray[np.int32], factor: int, bias: NDArray[np.int32], bias_shift: int
) -> int:
    """The largest |sum| that a row can reach: weights times ``factor``, biases shifted."""
    rows = np.abs(weight.astype(np.int64)).sum(-1).reshape(-1).tolist()
    biases = np.abs(bias.astype(np.int64)).reshape(-1).tolist()
    # Python's integers: hostile weights may go beyond 64 bits here.
    bound: int = max(row * factor + (b << bias_shift) for row, b in zip(rows, biases, strict=True))
    return bound
