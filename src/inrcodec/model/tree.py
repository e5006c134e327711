"""The octree of networks (TINC, arXiv 2211.06689), of which a single SIREN is the smallest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from inrcodec.architecture import Stack, Tree
from inrcodec.model.experts import Grouping
from inrcodec.model.inr import INR, Affine
from inrcodec.model.stack import HiddenLayer, HiddenStack


class TreeINR(INR):
    """A coordinate passes the nodes of its cells from the root to a leaf, and the leaf's head."""

    architecture: Tree

    def __init__(self, architecture: Tree) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.levels = nn.ModuleList(
            nn.ModuleList(
                HiddenStack(Stack(level.layers, width), a.inputs(number, node), a.activation)
                for node, width in enumerate(level.widths)
            )
            for number, level in enumerate(a.levels)
        )
        self.leaf_heads = nn.ModuleList(nn.Linear(width, 1) for width in a.levels[-1].widths)

    def _nodes(self) -> Iterator[list[HiddenStack]]:
        """The nodes of each level."""
        for nodes in self.levels:
            yield [cast(HiddenStack, node) for node in cast(nn.ModuleList, nodes)]

    def hidden_layers(self) -> list[HiddenLayer]:
        return [layer for nodes in self._nodes() for stack in nodes for layer in stack]

    def heads(self) -> list[nn.Linear]:
        return [cast(nn.Linear, head) for head in self.leaf_heads]

    def gate_parameters(self) -> list[nn.Parameter]:
        return []

    def affines(self, name: str) -> list[Affine]:
        if name == "heads":
            owners = [f"leaf_heads.{leaf}" for leaf in range(self.architecture.leaves)]
        else:
            _, level, layer = name.split(".")
            nodes = len(self.architecture.levels[int(level)].widths)
            owners = [f"levels.{level}.{node}.{layer}" for node in range(nodes)]
        return [
            Affine(self.get_parameter(f"{owner}.weight"), self.get_parameter(f"{owner}.bias"))
            for owner in owners
        ]

    def paths(self) -> list[list[tuple[str, int]]]:
        a = self.architecture
        deepest = len(a.levels) - 1
        return [
            [
                *(
                    (f"levels.{number}.{layer}", leaf >> a.coordinates * (deepest - number))
                    for number, level in enumerate(a.levels)
                    for layer in range(level.layers)
                ),
                ("heads", leaf),
            ]
            for leaf in range(a.leaves)
        ]

    def route(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        leaf = self.leaf(coordinates)[None]
        return leaf, torch.ones_like(leaf, dtype=coordinates.dtype)

    def leaf(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates -> (N,) number of the leaf."""
        return cell_of(coordinates, len(self.architecture.levels) - 1)

    def forward(self, coordinates: Tensor) -> Tensor:
        if len(self.architecture.levels) == 1:
            return self._evaluate(coordinates, [coordinates.shape[1]])
        grouping = Grouping(self.leaf(coordinates), self.architecture.leaves)
        values = self._evaluate(grouping.gather(coordinates), grouping.counts)
        return grouping.scatter(values[None])[0]

    @property
    def groups(self) -> int:
        return self.architecture.leaves

    def forward_balanced(self, coordinates: Tensor) -> Tensor:
        leaves = self.architecture.leaves
        return self._evaluate(coordinates, [coordinates.shape[1] // leaves] * leaves)

    def _evaluate(self, coordinates: Tensor, counts: list[int]) -> Tensor:
        """(D, N) coordinates that stand by leaf, ``counts`` of each -> (N,) values."""
        # Those of a node stand side by side on every level.
        groups = [coordinates]
        of_leaves = torch.tensor(counts)
        for number, nodes in enumerate(self._nodes()):
            if number:
                of_nodes = of_leaves.view(len(nodes), -1).sum(1).view(len(groups), -1).tolist()
                groups = [
                    part
                    for group, sizes in zip(groups, of_nodes, strict=True)
                    for part in torch.split(group, sizes, dim=1)
                ]
            groups = [
                stack(group) if group.shape[1] else group  # nothing of it is looked at
                for stack, group in zip(nodes, groups, strict=True)
            ]
        values = [
            _apply(head, group)
            for head, group in zip(self.heads(), groups, strict=True)
            if group.shape[1]
        ]
        return torch.cat(values)


def _apply(head: nn.Linear, features: Tensor) -> Tensor:
    """(W, N) -> (N,)."""
    return torch.addmm(head.bias[:, None], head.weight, features)[0]


def cell_of(coordinates: Tensor, level: int) -> Tensor:
    """(D, N) coordinates -> (N,) number of the octree's cell on that level, in Morton order."""
    cells = ((coordinates + 1) * 2.0 ** (level - 1)).long().clamp_(0, (1 << level) - 1)
    number = torch.zeros_like(cells[0])
    for bit in range(level):
        for axis, cell in enumerate(cells):
            number |= (cell >> bit & 1) << (len(cells) * bit + axis)
    return number
