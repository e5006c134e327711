"""A mixture of experts in integers: docs/format.md, "Output of a mixture"."""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec.architecture import Mixture
from inrcodec.exact.layers import LayerFactory, Linear, run
from inrcodec.exact.tables import BLEND_BITS, BLEND_ENTRIES, BLEND_STEP_BITS, blend_table
from inrcodec.quantization import ACTIVATION_BITS, OUTPUT_BITS

_LARGEST_RELU = 1 << 20
"""256, as an activation."""

_LARGEST_BLENDED = 4 << OUTPUT_BITS


class ExactMixture:
    """Encoder, gate, experts and decoder."""

    def __init__(self, mixture: Mixture, layers: LayerFactory) -> None:
        gate = mixture.gate
        self._count = mixture.experts
        self._active = gate.active
        self._gate_reads_features = gate.reads_features
        self._encoder = layers.stack("encoder", mixture.encoder.layers)
        self._gate_encoder = layers.stack("gate.encoder", gate.encoder.layers)
        self._gate_hidden: list[Linear] = []
        largest = 1 << ACTIVATION_BITS
        for i in range(gate.hidden.layers):
            name = f"gate.hidden.{i}"
            self._gate_hidden.append(
                layers.linear(name, largest=largest, output_bits=ACTIVATION_BITS)
            )
            largest = _LARGEST_RELU
        self._gate_output = layers.linear(
            "gate.output", largest=largest, output_bits=BLEND_STEP_BITS
        )
        self._blend = torch.tensor(blend_table(), dtype=torch.int64, device=layers.device)
        self._experts = [layers.hidden(f"experts.{i}") for i in range(mixture.expert.layers)]
        self._decoder = layers.linear("decoder", output_bits=OUTPUT_BITS)

    def __call__(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates -> (N,) float64 outputs, whole numbers."""
        features = run(self._encoder, coordinates)
        logits = self._logits(coordinates, features)
        best, first = logits.max(0)  # ties go to the lowest expert
        output = self._dispatch(features, first)
        if self._active == 1:
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

    def route(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates -> (N,) int64, the expert that the gate prefers."""
        features = run(self._encoder, coordinates) if self._gate_reads_features else coordinates
        return self._logits(coordinates, features).argmax(0)

    def _logits(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """(D, N) coordinates and (F, N) features -> (E, N) float64."""
        hidden = features
        if self._gate_encoder:
            hidden = run(self._gate_encoder, coordinates)
            if self._gate_reads_features:
                hidden = torch.cat([hidden, features])
        for layer in self._gate_hidden:
            hidden = layer(hidden).floor_().clamp_(0, _LARGEST_RELU)
        return self._gate_output(hidden).double()

    def _dispatch(self, features: Tensor, routing: Tensor) -> Tensor:
        """(F, N) features and (N,) experts -> (N,) float64 outputs, each expert run once."""
        order = torch.argsort(routing.int())
        counts = torch.bincount(routing, minlength=self._count).tolist()
        groups = torch.split(features.index_select(1, order), counts, dim=1)
        outputs = [
            self._decoder(run(self._experts, group, i))[0].double().floor_()
            for i, group in enumerate(groups)
            if group.shape[1]
        ]
        result = torch.empty(len(order), dtype=torch.float64, device=order.device)
        result[order] = torch.cat(outputs)
        return result
