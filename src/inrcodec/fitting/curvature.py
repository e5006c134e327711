"""The Gauss-Newton matrix of the squared error over the weights: how errors in weights add up.

Rounding the weights by d changes the mean squared error by about ``d' H d`` with
``H = mean(j j')``, where j is the gradient of the network's output at one coordinate. Weights are
numbered in one flat vector: layer after layer (encoder, each expert, decoder), a layer's matrix
with its bias as last column, row after row. The gate is no part of it: its routing has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inrcodec.fitting.sampling import Batch, VoxelSampler
from inrcodec.model.moe import MoEINR
from inrcodec.model.sine import TURN

_CHUNK = 4096
"""Coordinates whose gradients are held at a time."""


@dataclass(frozen=True, slots=True)
class LayerView:
    """One linear map with its place in the flat vector and in ``architecture.tensors``."""

    weight: nn.Parameter
    bias: nn.Parameter
    expert: int | None
    start: int
    tensor: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns with the bias."""
        return self.weight.shape[-2], self.weight.shape[-1] + 1

    @property
    def stop(self) -> int:
        return self.start + self.shape[0] * self.shape[1]

    def values(self) -> tuple[Tensor, Tensor]:
        """The (out, in) weight and (out,) bias, detached views."""
        weight, bias = self.weight.detach(), self.bias.detach()
        return (weight, bias) if self.expert is None else (weight[self.expert], bias[self.expert])


class FlatWeights:
    """The flat vector of a model's weights, gate excluded, and its layers."""

    def __init__(self, model: MoEINR) -> None:
        self.model = model
        order = {spec.name: i for i, spec in enumerate(model.architecture.tensors)}
        layers: list[LayerView] = []

        def add(name: str, layer: nn.Module, expert: int | None) -> LayerView:
            start = layers[-1].stop if layers else 0
            tensor = order[f"{name}.weight"]
            view = LayerView(layer.weight, layer.bias, expert, start, tensor)  # type: ignore[arg-type]
            layers.append(view)
            return view

        encoder = [add(f"encoder.{i}", layer, None) for i, layer in enumerate(model.encoder)]
        experts = [
            [add(f"experts.{i}", layer, expert) for i, layer in enumerate(model.experts)]
            for expert in range(model.experts.count)
        ]
        decoder = add("decoder", model.decoder, None)
        self.layers = layers
        self.chains = [[*encoder, *layers_of_expert, decoder] for layers_of_expert in experts]
        self.size = decoder.stop

    def get(self) -> Tensor:
        """(P,) float32 copy of the weights."""
        parts = [torch.cat([w, b[:, None]], dim=1).reshape(-1) for w, b in self._values()]
        return torch.cat(parts)

    def set(self, flat: Tensor) -> None:
        """Write (P,) weights into the model."""
        for layer, (weight, bias) in zip(self.layers, self._values(), strict=True):
            rows = flat[layer.start : layer.stop].reshape(layer.shape).to(weight.dtype)
            weight.copy_(rows[:, :-1])
            bias.copy_(rows[:, -1])

    def gradient(self) -> Tensor:
        """(P,) gradients of the model's parameters."""
        parts = []
        for layer in self.layers:
            weight, bias = layer.weight.grad, layer.bias.grad
            assert weight is not None and bias is not None
            if layer.expert is not None:
                weight, bias = weight[layer.expert], bias[layer.expert]
            parts.append(torch.cat([weight, bias[:, None]], dim=1).reshape(-1))
        return torch.cat(parts)

    def per_tensor(self, exponents: list[int]) -> Tensor:
        """Spread one number for each of ``architecture.tensors`` over the weights -> (P,) int."""
        spread = torch.empty(self.size, dtype=torch.int64)
        for layer in self.layers:
            rows = spread[layer.start : layer.stop].view(layer.shape)
            rows[:, :-1] = exponents[layer.tensor]
            rows[:, -1] = exponents[layer.tensor + 1]
        return spread

    def _values(self) -> list[tuple[Tensor, Tensor]]:
        return [layer.values() for layer in self.layers]


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a chunk of voxels gives for one layer: the gradient of row r's weights, scaled by the
    root of the voxels' weights, is ``delta[r] * inputs``."""

    layer: LayerView
    delta: Tensor  # (out, N)
    inputs: Tensor  # (in + 1, N), the last row ones


def _passes(flat: FlatWeights, voxels: Batch) -> Iterator[list[_Pass]]:
    """One list of layer passes for each expert that some of the voxels reach."""
    model = flat.model
    coordinates, scale = voxels.coordinates, voxels.weight.sqrt()
    if model.gate is None:
        yield _chain_passes(flat.chains[0], coordinates, scale)
        return
    routing = model.gate.route(model.encoder(coordinates))
    for expert, chain in enumerate(flat.chains):
        mine = routing == expert
        if bool(mine.any()):
            yield _chain_passes(chain, coordinates[:, mine], scale[mine])


def _chain_passes(chain: list[LayerView], coordinates: Tensor, scale: Tensor) -> list[_Pass]:
    ones = torch.ones_like(coordinates[:1])
    inputs, slopes, hidden = [], [], coordinates
    for layer in chain[:-1]:
        weight, bias = layer.values()
        inputs.append(torch.cat([hidden, ones]))
        phase = torch.addmm(bias[:, None], weight, hidden, beta=TURN, alpha=TURN)
        slopes.append(torch.cos(phase) * TURN)
        hidden = torch.sin(phase)
    inputs.append(torch.cat([hidden, ones]))
    weight, bias = chain[-1].values()
    output = torch.addmm(bias[:, None], weight, hidden)
    delta = (output.abs() <= 1) * scale  # the clamp hides what lies outside
    passes = [_Pass(chain[-1], delta, inputs[-1])]
    for index in range(len(chain) - 2, -1, -1):
        delta = (weight.mT @ delta) * slopes[index]
        passes.append(_Pass(chain[index], delta, inputs[index]))
        weight = chain[index].values()[0]
    return passes


@torch.no_grad()
def diagonal(flat: FlatWeights, sampler: VoxelSampler, samples: int) -> Tensor:
    """Diagonal of H, (P,) float64 on the CPU: each weight's own sensitivity."""
    total = torch.zeros(flat.size, dtype=torch.float64)
    for count in _chunks(samples):
        for passes in _passes(flat, sampler.draw(count)):
            for p in passes:
                squares = p.delta.square() @ p.inputs.square().mT
                total[p.layer.start : p.layer.stop] += squares.reshape(-1).double().cpu()
    return total / samples


@torch.no_grad()
def blocks(
    flat: FlatWeights, sampler: VoxelSampler, samples: int, groups: list[Tensor]
) -> list[Tensor]:
    """Blocks of H, a float64 (B, B) on the CPU for each (B,) sorted flat indices of ``groups``."""
    device = flat.layers[0].weight.device
    sums = [torch.zeros(len(group), len(group), device=device) for group in groups]
    for count in _chunks(samples):
        for passes in _passes(flat, sampler.draw(count)):
            passes.sort(key=lambda p: p.layer.start)
            for group, total in zip(groups, sums, strict=True):
                _add_products(passes, group, total)
    return [total.double().cpu() / samples for total in sums]


def _add_products(passes: list[_Pass], group: Tensor, total: Tensor) -> None:
    """Add the sum of j j' over one chunk to ``total``, (B, B), for the weights in ``group``."""
    gradients, places = [], []
    for p in passes:
        bounds = torch.tensor([p.layer.start, p.layer.stop])
        first, last = torch.searchsorted(group, bounds).tolist()
        if first < last:
            own = (group[first:last] - p.layer.start).to(total.device)
            columns = p.layer.shape[1]
            gradients.append(p.delta[own // columns] * p.inputs[own % columns])  # (n, N)
            places.append(torch.arange(first, last, device=total.device))
    if not gradients:
        return
    j = torch.cat(gradients)
    if len(j) == len(group):
        total.addmm_(j, j.mT)
    else:  # the weights of other experts do not act here
        place = torch.cat(places)
        total[place[:, None], place] += j @ j.mT


def _chunks(samples: int) -> Iterator[int]:
    for start in range(0, samples, _CHUNK):
        yield min(_CHUNK, samples - start)
