"""Gradients of the squared error by hand, a few thousand voxels at a time.

Autograd takes a whole batch through one layer after the other, and keeps what each of them makes:
arrays that no cache holds. Here a span of voxels goes forward and back through all of its layers
before the next one does, in arrays that are used again. On a CPU that takes half the time.

Arrays are (G, features, n): G networks of one shape side by side, each with its own n voxels. Those
of a layer's inputs have a row of ones for its biases, and then rows of zeros, with which the
products for its gradients are quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise

import torch
from torch import Tensor

from inrcodec.fitting.loss import add_error
from inrcodec.fitting.padding import padded
from inrcodec.fitting.sampling import Batch
from inrcodec.model.inr import INR, Affine
from inrcodec.model.sine import TURN
from inrcodec.model.stack import activate, slope_

SPAN = 6144
"""Voxels at a time, at most: six layers of 34 units keep 9 MB of them."""


class Backpropagation:
    """Gradients of a network in which each coordinate takes one path, of balanced batches, on a
    CPU. Up to ``parts`` batches may be worked on at a time, each on a thread of its own.
    """

    def __init__(self, model: INR, parts: int) -> None:
        paths = model.paths()
        heads = {path[-1][0] for path in paths}
        self._joined: list[_Joined] = []
        maps: dict[tuple[str, int], _Map] = {}
        for name in dict.fromkeys(name for path in paths for name, _ in path):
            unit = 1.0 if name in heads else TURN
            affines = model.affines(name)
            alike = len({affine.values()[0].shape for affine in affines}) == 1
            groups = [affines] if alike else [[affine] for affine in affines]
            joined = [_Joined(group, unit, parts) for group in groups]
            found = [_Map(owner, at) for owner in joined for at in range(owner.count)]
            maps |= {(name, place): map_ for place, map_ in enumerate(found)}
            self._joined += joined
        self._root = _tree([[maps[step] for step in path] for path in paths], 0)
        self._passes = [_Pass(model, part) for part in range(parts)]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the network's parameters over as they are now."""
        for joined in self._joined:
            joined.refresh()

    @torch.no_grad()
    def run(self, part: int, voxels: Batch) -> Tensor:
        """Find the gradients of the mean squared error of one part's voxels, which stand by path.
        Returns the error."""
        for joined in self._joined:
            joined.gradients[part].zero_()
        return self._passes[part].run(self._root, voxels)

    @torch.no_grad()
    def collect(self) -> None:
        """Make the mean of all parts' gradients the parameters' ``grad``."""
        for joined in self._joined:
            joined.collect()


class _Joined:
    """Maps of one shape: weights with their biases as last column, (E, out, in + 1), and the parts'
    gradients of them, padded. ``unit`` is the parameters' unit in that of the products."""

    def __init__(self, affines: list[Affine], unit: float, parts: int) -> None:
        self._unit = unit
        self._places = {
            affine.weight: (affine.bias, place if affine.expert is None else slice(None))
            for place, affine in enumerate(affines)
        }
        rows, columns = affines[0].values()[0].shape
        self.count = len(affines)
        self.values = torch.empty(self.count, rows, columns + 1)
        self.gradients = [torch.empty(self.count, rows, padded(columns + 1)) for _ in range(parts)]

    def refresh(self) -> None:
        for weight, (bias, place) in self._places.items():
            self.values[place, :, :-1] = weight
            self.values[place, :, -1] = bias
        self.values.mul_(self._unit)

    def collect(self) -> None:
        total, *others = self.gradients
        for gradients in others:
            total += gradients
        total.mul_(self._unit / len(self.gradients))
        columns = self.values.shape[-1] - 1
        for weight, (bias, place) in self._places.items():
            weight.grad = total[place, :, :columns].contiguous()
            bias.grad = total[place, :, columns].contiguous()


class _Map:
    """``W x + b`` of ``count`` neighbours among joined maps; a head may serve several networks."""

    def __init__(self, joined: _Joined, first: int, count: int = 1) -> None:
        self.joined, self.first = joined, first
        own = slice(first, first + count)
        self.weight = joined.values[own]  # (G, out, in + 1)
        self.back = self.weight[..., :-1].mT  # (G, in, out)
        self._gradients = [gradients[own] for gradients in joined.gradients]

    def add(self, part: int, delta: Tensor, inputs: Tensor) -> None:
        """Add to a part's gradients, from those of the (G, out, n) products and from the inputs."""
        own = self._gradients[part]
        if len(own) == len(delta):
            own.baddbmm_(delta, inputs.mT)
        else:
            own += (delta @ inputs.mT).sum(0)


@dataclass(frozen=True, slots=True)
class _Node:
    """Layers on the paths ``first`` to ``last`` - 1, and the branches into which these then part.

    What does not branch ends in a head; where it has several paths, they go side by side through
    maps of their own.
    """

    first: int
    last: int
    maps: list[_Map]
    branches: list[_Node]

    def between(self, first: int, last: int) -> _Node:
        """What of a node without branches is on those paths."""
        if (first, last) == (self.first, self.last):
            return self
        maps = [
            own
            if len(own.weight) == 1
            else _Map(own.joined, own.first + first - self.first, last - first)
            for own in self.maps
        ]
        return _Node(first, last, maps, [])


def _tree(paths: list[list[_Map]], first: int) -> _Node:
    """The paths from number ``first`` on, merged as far as they agree."""
    if len(paths) == 1:
        return _Node(first, first + 1, paths[0], [])
    common = 0
    while all(path[common] is paths[0][common] for path in paths):
        common += 1
    branches, start = [], first
    for _, group in groupby((path[common:] for path in paths), key=lambda rest: id(rest[0])):
        branches.append(_tree(list(group), start))
        start = branches[-1].last
    return _Node(first, start, paths[0][:common], _side_by_side(branches))


def _side_by_side(branches: list[_Node]) -> list[_Node]:
    """The branches as one where each is one path, and their maps are of one shape."""
    if any(branch.branches for branch in branches):
        return branches
    maps = []
    for layer in zip(*(branch.maps for branch in branches), strict=True):
        if any(own.joined is not layer[0].joined for own in layer):
            return branches
        maps.append(
            layer[0] if layer[-1] is layer[0] else _Map(layer[0].joined, layer[0].first, len(layer))
        )
    return [_Node(branches[0].first, branches[-1].last, maps, [])]


def _spans(paths: int, each: int) -> Iterator[tuple[int, int, slice]]:
    """Some neighbouring paths with all of their ``each`` voxels, or one path with some of them:
    the first path, the one after the last, and the voxels."""
    together = max(1, SPAN // each)
    pieces = -(-each // SPAN)
    for first in range(0, paths, together):
        last = min(first + together, paths)
        bounds = [each * (first * pieces + (last - first) * i) // pieces for i in range(pieces + 1)]
        for start, stop in pairwise(bounds):
            yield first, last, slice(start, stop)


class _Pass:
    """Forward through the network and back, of one part's voxels.

    What is done to some paths' voxels is a list of calls with all of their arrays, made when these
    paths first come with so many voxels: to find views and shapes anew in each step would take as
    long as the products of a small network, and other threads wait for it.
    """

    def __init__(self, model: INR, part: int) -> None:
        self.activation = model.architecture.activation
        self.fixed_point = model.fixed_point
        self.part = part
        self.error = torch.zeros(())
        self._arrays: dict[tuple[str, int, tuple[int, ...]], Tensor] = {}
        self._programs: dict[tuple[int, int, int], _Program] = {}

    def run(self, root: _Node, voxels: Batch) -> Tensor:
        """Add to the maps' gradients, and return the mean squared error."""
        coordinates, count = voxels.coordinates, len(voxels.target)
        weight = voxels.weight / count
        self.error.zero_()
        for first, last, span in _spans(root.last, count // root.last):
            key = first, last, span.stop - span.start
            if key not in self._programs:
                self._programs[key] = _Program(self, root, first, last, len(coordinates), key[2])
            self._programs[key].run(coordinates[:, span], voxels.target[span], weight[span])
        return self.error.clone()

    def array(self, purpose: str, depth: int, *shape: int) -> Tensor:
        """An array of that shape, the same one whenever it is asked for: what is in it has been
        used by then."""
        return self._arrays.setdefault((purpose, depth, shape), torch.empty(shape))

    def inputs(self, depth: int, groups: int, rows: int, columns: int) -> Tensor:
        """An array for so many rows of features, with the rows of ones and zeros below."""
        array = self.array(f"{rows} inputs", depth, groups, padded(rows + 1), columns)
        array[:, rows] = 1
        array[:, rows + 1 :] = 0
        return array


class _Program:
    """The calls for ``columns`` voxels of the paths ``first`` to ``last`` - 1."""

    def __init__(
        self, of: _Pass, root: _Node, first: int, last: int, axes: int, columns: int
    ) -> None:
        self._pass, self._first, self._last = of, first, last
        self._calls: list[Callable[[], object]] = []
        inputs = of.inputs(0, 1, axes, columns)
        self._coordinates = inputs[0, :axes]
        self._target = of.array("target", 0, columns)
        self._weight = of.array("weight", 0, columns)
        self._node(root, 0, inputs, slice(0, columns))

    def run(self, coordinates: Tensor, target: Tensor, weight: Tensor) -> None:
        self._coordinates.copy_(coordinates)
        self._target.copy_(target)
        self._weight.copy_(weight)
        for call in self._calls:
            call()

    def _then(self, function: Callable[..., object], *arguments: object, **named: object) -> None:
        self._calls.append(partial(function, *arguments, **named))

    def _node(self, node: _Node, depth: int, inputs: Tensor, voxels: slice) -> Tensor:
        """Through the node and all behind it, from its inputs, of some of the voxels. Returns the
        array for the error's (G, in, n) gradient by the inputs, or for what is left of it in front
        of the first layer."""
        of, (groups, _, columns) = self._pass, inputs.shape
        layers = node.maps if node.branches else node.maps[:-1]
        passed: list[tuple[_Map, Tensor, Tensor]] = []
        for layer in layers:
            _, width, fan_in = layer.weight.shape
            phase = of.array("phase", depth, groups, width, columns)
            self._then(torch.bmm, layer.weight, inputs[:, :fan_in], out=phase)
            passed.append((layer, inputs, phase))
            depth += 1
            inputs = of.inputs(depth, *phase.shape)
            features = inputs[:, :width]
            self._then(activate, of.activation, phase, features, fixed_point=of.fixed_point)
        behind = self._branches if node.branches else self._head
        back = behind(node, depth, inputs, voxels)
        for layer, features, phase in reversed(passed):
            self._then(slope_, of.activation, phase)
            self._then(phase.mul_, back)
            self._then(layer.add, of.part, phase, features)
            depth -= 1
            if depth > 0:  # nothing depends on the gradient by coordinates
                back = of.array("back", depth, groups, layer.back.shape[1], columns)
                self._then(torch.bmm, layer.back, phase, out=back)
        return back

    def _branches(self, node: _Node, depth: int, inputs: Tensor, voxels: slice) -> Tensor:
        first, last = max(node.first, self._first), min(node.last, self._last)
        _, rows, columns = inputs.shape
        each = columns // (last - first)
        width = node.maps[-1].weight.shape[1] if node.maps else 0
        back = self._pass.array("branches", depth, width, columns)
        for branch in node.branches:
            low, high = max(branch.first, first), min(branch.last, last)
            if low >= high:
                continue
            groups = 1 if branch.branches else high - low
            start, stop = (low - first) * each, (high - first) * each
            own = inputs[0, :, start:stop].view(rows, groups, -1).transpose(0, 1)
            part = self._node(
                branch if branch.branches else branch.between(low, high),
                depth,
                own,
                slice(voxels.start + start, voxels.start + stop),
            )
            if depth > 0:
                place = back[:, start:stop].view(width, groups, -1)
                self._then(place.copy_, part.transpose(0, 1))
        return back[None]

    def _head(self, node: _Node, depth: int, inputs: Tensor, voxels: slice) -> Tensor:
        of, (groups, _, columns) = self._pass, inputs.shape
        head = node.maps[-1]
        fan_in = head.weight.shape[-1]
        weight = head.weight.expand(groups, -1, -1)
        output = of.array("output", depth, groups, 1, columns)
        self._then(torch.bmm, weight, inputs[:, :fan_in], out=output)
        target, weight = (a[voxels].view_as(output) for a in (self._target, self._weight))
        self._then(add_error, output, target, weight, of.error)
        self._then(head.add, of.part, output, inputs)
        back = of.array("back", depth, groups, fan_in - 1, columns)
        self._then(torch.mul, head.back, output, out=back)
        return back
