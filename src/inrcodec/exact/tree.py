"""A tree of networks in integers: docs/format.md, "Output of a tree"."""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec.architecture import Tree
from inrcodec.exact.layers import LayerFactory, Shape, Sine, run
from inrcodec.quantization import ACTIVATION_BITS, OUTPUT_BITS
from inrcodec.volume.sampling_grid import COORDINATE_BITS


class ExactTree:
    """The networks of all nodes, and a linear head for each leaf."""

    def __init__(self, tree: Tree, layers: LayerFactory) -> None:
        self._tree = tree
        self._levels: list[list[Sine]] = []
        for number, level in enumerate(tree.levels):
            nodes = list(enumerate(level.widths))
            first: list[Shape] = [(width, tree.inputs(number, node)) for node, width in nodes]
            later: list[Shape] = [(width, width) for _, width in nodes]
            self._levels.append(
                [
                    layers.hidden(
                        f"levels.{number}.{i}",
                        later if i else first,
                        input_bits=ACTIVATION_BITS if number or i else COORDINATE_BITS,
                    )
                    for i in range(level.layers)
                ]
            )
        heads = [(1, width) for width in tree.levels[-1].widths]
        self._heads = layers.linear("heads", heads, output_bits=OUTPUT_BITS)

    def __call__(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates -> (N,) float64 outputs, whole numbers."""
        if self._tree.leaves == 1:
            return self._node(0, 0, coordinates, [[coordinates.shape[1]]])[0]
        leaf = self.route(coordinates)
        # Leaves in their order have the nodes of all levels in their order: the samples of a node
        # lie side by side.
        order = torch.argsort(leaf.int())
        counts = torch.bincount(leaf, minlength=self._tree.leaves)
        samples = [counts.tolist()]
        for _ in self._levels[1:]:
            counts = counts.view(-1, 1 << self._tree.coordinates).sum(1)
            samples.append(counts.tolist())
        outputs = self._node(0, 0, coordinates.index_select(1, order), samples[::-1])
        result = torch.empty(len(order), dtype=torch.float64, device=order.device)
        result[order] = torch.cat(outputs)
        return result

    def route(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates -> (N,) int64, the leaf."""
        depth = len(self._levels) - 1
        cells = coordinates.long().add_(1 << COORDINATE_BITS) >> (COORDINATE_BITS + 1 - depth)
        cells.clamp_(0, (1 << depth) - 1)
        leaf = torch.zeros(cells.shape[1], dtype=torch.int64, device=cells.device)
        for axis, cell in enumerate(cells):
            for bit in range(depth):
                leaf |= (cell >> bit & 1) << (len(cells) * bit + axis)
        return leaf

    def _node(
        self, level: int, node: int, inputs: Tensor, samples: list[list[int]]
    ) -> list[Tensor]:
        """Outputs of the leaves under a node, (F, N) inputs; ``samples`` counts those of each node
        of each level."""
        features = run(self._levels[level], inputs, node)
        if level + 1 == len(self._levels):
            return [self._heads(features, node)[0].double().floor_()]
        children = range(node << self._tree.coordinates, (node + 1) << self._tree.coordinates)
        counts = samples[level + 1][children.start : children.stop]
        return [
            output
            for child, part in zip(children, torch.split(features, counts, dim=1), strict=True)
            if part.shape[1]
            for output in self._node(level + 1, child, part, samples)
        ]
