"""The Gauss-Newton matrix of the squared error over the weights: how errors in weights add up.

Rounding the weights by d changes the mean squared error by about ``d' H d`` with
``H = mean(j j')``, where j is the gradient of the network's output at one coordinate. Weights are
numbered in one flat vector: path after path, a path's maps one after the other, a map's matrix with
its bias as last column, row after row. A gate is no part of it: its routing has no gradient, and
the weights that it gives to two experts are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, takewhile

import torch
from torch import Tensor

from inrcodec.device import single_threads
from inrcodec.fitting.loss import LEAK
from inrcodec.fitting.sampling import Batch, VoxelSampler
from inrcodec.model.inr import INR, Affine
from inrcodec.model.sine import TURN
from inrcodec.model.stack import activate, slope_

_CHUNK = 4096
"""Coordinates of one path whose gradients are held at a time."""

_MOST_DRAWN = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class LayerView:
    """One affine map with its place in the flat vector."""

    affine: Affine
    start: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns with the bias."""
        rows, columns = self.affine.weight.shape[-2:]
        return rows, columns + 1

    @property
    def stop(self) -> int:
        return self.start + self.shape[0] * self.shape[1]


class FlatWeights:
    """The flat vector of a model's weights, gate excluded, and its layers."""

    def __init__(self, model: INR) -> None:
        self.model = model
        self.layers: list[LayerView] = []
        views: dict[tuple[str, int], LayerView] = {}
        for path in model.paths():
            for name, place in path:
                if (name, place) not in views:
                    start = self.layers[-1].stop if self.layers else 0
                    view = LayerView(model.affines(name)[place], start)
                    views[name, place] = view
                    self.layers.append(view)
        self.paths = [[views[step] for step in path] for path in model.paths()]
        self.size = self.layers[-1].stop
        self.heads = [path[-1] for path in self.paths]
        names = [spec.name.removesuffix(".weight") for spec in model.architecture.tensors[::2]]
        affines = [model.affines(name) for name in names]
        # As many numbers as in the file's tensors, in their order.
        self._parameters = [
            parameter
            for group in affines
            for kind in ([a.weight for a in group], [a.bias for a in group])
            for parameter in dict.fromkeys(kind)
        ]
        self._places = self._find_places(views)
        self._order = self._places.to(self._parameters[0].device)
        sizes = torch.tensor([spec.size for spec in model.architecture.tensors])
        self._owners = torch.arange(len(sizes)).repeat_interleave(sizes)[self._places]

    def get(self) -> Tensor:
        """(P,) float32 copy of the weights."""
        return _joined(self._parameters)[self._order]

    def set(self, flat: Tensor) -> None:
        """Write (P,) weights into the model."""
        everything = _joined(self._parameters)
        everything[self._order] = flat.to(everything)
        parts = torch.split(everything, [parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.detach().copy_(part.view(parameter.shape))

    def gradient(self) -> Tensor:
        """(P,) gradients of the model's parameters, 0 where no coordinate reached them."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        return _joined(gradients)[self._order]

    def segments(self) -> list[tuple[int, int]]:
        """Starts and stops of the runs of weights that the same paths pass."""
        users: dict[int, list[int]] = {layer.start: [] for layer in self.layers}
        for number, path in enumerate(self.paths):
            for layer in path:
                users[layer.start].append(number)
        runs = [list(run) for _, run in groupby(self.layers, key=lambda at: users[at.start])]
        return [(run[0].start, run[-1].stop) for run in runs]

    def owners(self) -> Tensor:
        """(P,) index in ``architecture.tensors`` of the tensor that each weight is in."""
        return self._owners

    def in_file(self, flat: Tensor) -> list[Tensor]:
        """(P,) weights -> flat ``architecture.tensors``, those of the gate 0."""
        sizes = [spec.size for spec in self.model.architecture.tensors]
        everything = torch.zeros(sum(sizes), dtype=flat.dtype)
        everything[self._places] = flat
        return list(torch.split(everything, sizes))

    def _find_places(self, views: dict[tuple[str, int], LayerView]) -> Tensor:
        """(P,) place of each weight among those of all tensors, one after the other."""
        places = torch.empty(self.size, dtype=torch.int64)
        specs, start = self.model.architecture.tensors, 0
        for weights, biases in zip(specs[::2], specs[1::2], strict=True):
            name, place = weights.name.removesuffix(".weight"), 0
            at_weight, at_bias = start, start + weights.size
            while (view := views.get((name, place))) is not None:
                rows, columns = view.shape[0], view.shape[1] - 1
                own = places[view.start : view.stop].view(rows, columns + 1)
                own[:, :-1] = at_weight + torch.arange(rows * columns).view(rows, columns)
                own[:, -1] = at_bias + torch.arange(rows)
                at_weight, at_bias, place = at_weight + rows * columns, at_bias + rows, place + 1
            start += weights.size + biases.size
        return places


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


@dataclass(frozen=True, slots=True)
class _Pass:
    """What some voxels give for one layer: the gradient of row r's weights, scaled by the root of
    the voxels' weights, is ``delta[r] * inputs``."""

    layer: LayerView
    delta: Tensor  # (out, N)
    inputs: Tensor  # (in + 1, N), the last row ones


def _passes(flat: FlatWeights, voxels: Batch) -> Iterator[list[_Pass]]:
    """One list of layer passes for each path, or pair of paths, that some of the voxels take."""
    coordinates, scale = voxels.coordinates, voxels.weight.sqrt()
    paths, shares = flat.model.route(coordinates)  # (A, N)
    paths, order = paths.sort(dim=0)
    shares = shares.gather(0, order)
    taken, which = torch.unique(paths, dim=1, return_inverse=True)
    for number, numbers in enumerate(taken.mT.tolist()):
        layers = [flat.paths[path] for path in numbers]
        for mine in torch.split((which == number).nonzero()[:, 0], _CHUNK):
            yield _path_passes(flat, layers, coordinates[:, mine], shares[:, mine], scale[mine])


def _path_passes(
    flat: FlatWeights,
    paths: list[list[LayerView]],
    coordinates: Tensor,
    shares: Tensor,
    scale: Tensor,
) -> list[_Pass]:
    """Of voxels that take the same paths: a trunk in common, branches, and one head."""
    head = paths[0][-1]
    trunk = [steps[0] for steps in takewhile(_all_same, zip(*paths, strict=True))]
    trunk = trunk[: len(paths[0]) - 1]
    stem = _Trace(flat, trunk, coordinates)
    branches = [_Trace(flat, path[len(trunk) : -1], stem.output) for path in paths]
    mixed = branches[0].output
    if len(paths) > 1:
        mixed = sum(b.output * share for b, share in zip(branches, shares, strict=True))
    inputs = _with_ones(mixed)
    weight, bias = head.affine.values()
    output = torch.addmm(bias[:, None], weight, mixed)
    delta = torch.where(output.abs() <= 1, scale, LEAK * scale)
    passes = [_Pass(head, delta, inputs)]
    back = weight.mT @ delta
    if len(paths) == 1:
        backs = [branches[0].back(back, passes)]
    else:
        backs = [b.back(back * share, passes) for b, share in zip(branches, shares, strict=True)]
    stem.back(torch.stack(backs).sum(0), passes)
    return passes


def _all_same(steps: tuple[LayerView, ...]) -> bool:
    return all(step is steps[0] for step in steps)


class _Trace:
    """Hidden layers one after the other, forward at once and backward on demand."""

    def __init__(self, flat: FlatWeights, layers: list[LayerView], features: Tensor) -> None:
        self._layers = layers
        self._inputs: list[Tensor] = []
        self._slopes: list[Tensor] = []
        self.output = features
        for layer in layers:
            weight, bias = layer.affine.values()
            self._inputs.append(_with_ones(self.output))
            phase = torch.addmm(bias[:, None], weight, self.output, beta=TURN, alpha=TURN)
            activation = flat.model.architecture.activation
            self.output = torch.empty_like(phase)
            activate(activation, phase, self.output)
            self._slopes.append(slope_(activation, phase).mul_(TURN))

    def back(self, gradient: Tensor, passes: list[_Pass]) -> Tensor:
        """Add the layers' passes, from the gradient of their output; return that of their input."""
        for index in range(len(self._layers) - 1, -1, -1):
            delta = gradient * self._slopes[index]
            passes.append(_Pass(self._layers[index], delta, self._inputs[index]))
            gradient = self._layers[index].affine.values()[0].mT @ delta
        return gradient


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[:1])])


@torch.no_grad()
def diagonal(flat: FlatWeights, sampler: VoxelSampler, samples: int) -> Tensor:
    """Diagonal of H, (P,) float64 on the CPU: each weight's own sensitivity."""
    total = torch.zeros(flat.size, dtype=torch.float64)
    for count in _draws(flat, samples):
        for passes in _passes(flat, sampler.draw(count)):
            for p in passes:
                squares = p.delta.square() @ p.inputs.square().mT
                total[p.layer.start : p.layer.stop] += squares.reshape(-1).double().cpu()
    return total / samples


@torch.no_grad()
def blocks(
    flat: FlatWeights, sampler: VoxelSampler, samples: int, groups: list[Tensor]
) -> list[Tensor]:
    """Blocks of H, a float32 (B, B) for each (B,) sorted flat indices of ``groups``."""
    device = flat.layers[0].affine.weight.device
    sums = [torch.zeros(len(group), len(group), device=device) for group in groups]
    rows: dict[int, list[tuple[int, _Rows]]] = {layer.start: [] for layer in flat.layers}
    for number, group in enumerate(groups):
        for layer, own in _rows(flat, group):
            rows[layer.start].append((number, own))
    # One large product is better split by torch itself.
    threads = torch.get_num_threads()
    with single_threads(threads) if len(groups) > threads else nullcontext() as pool:
        share_out = map if pool is None else pool.map
        for count in _draws(flat, samples):
            for passes in _passes(flat, sampler.draw(count)):
                touched: dict[int, list[tuple[_Pass, _Rows]]] = {}
                for p in sorted(passes, key=lambda p: p.layer.start):
                    for number, own in rows[p.layer.start]:
                        touched.setdefault(number, []).append((p, own))
                list(share_out(_add_products, touched.values(), (sums[n] for n in touched)))
    for block in sums:
        block /= samples
    return sums


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Where the weights of one layer stand in a group, and which they are in the layer."""

    places: Tensor
    outputs: Tensor
    inputs: Tensor


def _rows(flat: FlatWeights, group: Tensor) -> Iterator[tuple[LayerView, _Rows]]:
    """The layers that a group has weights of."""
    for layer in flat.layers:
        first, last = torch.searchsorted(group, torch.tensor([layer.start, layer.stop])).tolist()
        if first < last:
            own = group[first:last] - layer.start
            columns = layer.shape[1]
            yield layer, _Rows(torch.arange(first, last), own // columns, own % columns)


def _add_products(passes: list[tuple[_Pass, _Rows]], total: Tensor) -> None:
    """Add the sum of j j' over some voxels to ``total``, (B, B)."""
    # Indices are made on the CPU, but may have to act on a GPU.
    device = total.device
    j = torch.cat(
        [p.delta[own.outputs.to(device)] * p.inputs[own.inputs.to(device)] for p, own in passes]
    )
    if len(j) == len(total):
        total.addmm_(j, j.mT)
    else:  # the weights of other paths do not act here
        place = torch.cat([own.places for _, own in passes]).to(device)
        total[place[:, None], place] += j @ j.mT


def _draws(flat: FlatWeights, samples: int) -> Iterator[int]:
    """Shares of ``samples`` in which each path has about `_CHUNK`."""
    most = min(_CHUNK * len(flat.paths), _MOST_DRAWN)
    for start in range(0, samples, most):
        yield min(most, samples - start)
