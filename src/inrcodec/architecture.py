"""The shape of a network: a few integers from which every tensor's shape follows.

Two families, and free of torch, since the file format speaks in them:

- `Mixture`: ``f(x) = Dec(sum_g w_g E_g(e))``, ``e = Enc(x)``, with ``g`` the one or two experts
  that a gate picks (MoEC, arXiv 2312.01361; Neural Experts, arXiv 2410.21643);
- `Tree`: sine networks in an octree, a node's output feeding its children (TINC, arXiv 2211.06689).
  A tree of one level is a single SIREN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from inrcodec.limits import Limits

MAX_LEVELS = 16
"""Of a tree: the cells of the last one are then 2**-15 of the field of view."""


class Activation(StrEnum):
    """What a hidden layer does with its phase, in turns."""

    SINE = "sine"
    """SIREN (arXiv 2006.09661): ``sin(2 pi p)``."""
    FINER = "finer"
    """FINER (arXiv 2312.02434): ``sin(2 pi (p + p |p| / 4))``, its omega_0 of 8 pi folded in."""


class Partition(StrEnum):
    """How the volume is shared out among networks."""

    SINGLE = "single"
    OCTREE = "octree"
    MOEC = "moec"
    NEURAL_EXPERTS = "neural-experts"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name and shape of one tensor of the network, as the file stores it."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Stack:
    """``layers`` layers of ``width`` units, one after the other; ``Stack(0, 0)`` for none."""

    layers: int
    width: int

    def parameters(self, inputs: int) -> int:
        """Weights and biases, fed with ``inputs`` features."""
        if not self.layers:
            return 0
        return (inputs + 1 + (self.layers - 1) * (self.width + 1)) * self.width

    def specs(self, name: str, inputs: int, *stacked: int) -> list[TensorSpec]:
        """A matrix and a bias for each layer, ``stacked`` axes in front."""
        specs = []
        for layer in range(self.layers):
            fan_in = self.width if layer else inputs
            specs.append(TensorSpec(f"{name}.{layer}.weight", (*stacked, self.width, fan_in)))
            specs.append(TensorSpec(f"{name}.{layer}.bias", (*stacked, self.width)))
        return specs


@dataclass(frozen=True, slots=True)
class Gate:
    """Which experts act on a coordinate: hidden ReLU layers and a linear map over its input.

    The input is the shared encoder's features (MoEC) where ``encoder.layers`` is 0, and else these
    features after those of a sine encoder of the gate's own (Neural Experts, sec. 3.2), or the
    latter alone.
    """

    encoder: Stack
    hidden: Stack
    """ReLU layers; none of them make the gate one linear map of its input."""
    active: int
    """Experts that act on a coordinate, 1 or 2."""
    reads_features: bool = True
    """False: the input is what its own encoder gives alone, so that the training of the networks
    behind it moves no border."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """``experts`` networks of one shape between a shared encoder and a shared linear decoder."""

    coordinates: int
    """Grid axes longer than one voxel."""
    activation: Activation
    encoder: Stack
    experts: int
    """At least 2."""
    expert: Stack
    gate: Gate

    @property
    def partition(self) -> Partition:
        both = self.gate.encoder.layers and self.gate.reads_features
        return Partition.NEURAL_EXPERTS if both else Partition.MOEC

    @property
    def paths(self) -> int:
        """Ways that a coordinate can take."""
        return self.experts

    def description(self) -> list[str]:
        """Encoder, experts and gate in words."""
        encoder, expert, gate = self.encoder, self.expert, self.gate
        active = ", two active" if gate.active == 2 else ""
        parts = [
            _in_words(encoder.layers, encoder.width, "shared "),
            f"{self.experts} experts of {_in_words(expert.layers, expert.width)}{active}",
        ]
        if gate.encoder.layers:
            parts.append(_in_words(gate.encoder.layers, gate.encoder.width, "gate encoder "))
        if gate.hidden.layers:
            parts.append(_in_words(gate.hidden.layers, gate.hidden.width, "gate "))
        return parts

    @property
    def gate_inputs(self) -> int:
        """Features that the gate's first layer behind its encoder reads."""
        gate = self.gate
        own = gate.encoder.width if gate.encoder.layers else 0
        return own + (self.encoder.width if gate.reads_features else 0)

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors, in the order in which the file stores them."""
        gate = self.gate
        hidden = gate.hidden.width if gate.hidden.layers else self.gate_inputs
        return (
            *self.encoder.specs("encoder", self.coordinates),
            *gate.encoder.specs("gate.encoder", self.coordinates),
            *gate.hidden.specs("gate.hidden", self.gate_inputs),
            TensorSpec("gate.output.weight", (self.experts, hidden)),
            TensorSpec("gate.output.bias", (self.experts,)),
            *self.expert.specs("experts", self.encoder.width, self.experts),
            TensorSpec("decoder.weight", (1, self.expert.width)),
            TensorSpec("decoder.bias", (1,)),
        )

    @property
    def layers(self) -> int:
        """Layers that a coordinate meets, the gate's hidden and encoder layers among them."""
        gate = self.gate
        return self.encoder.layers + self.expert.layers + gate.encoder.layers + gate.hidden.layers

    @property
    def widest(self) -> int:
        """The most features that are held of one coordinate at a time."""
        stacks = self.encoder, self.gate.encoder, self.gate.hidden, self.expert
        widths = (stack.width for stack in stacks)
        return max(self.coordinates, self.experts, self.gate_inputs, *widths)

    @property
    def parameters(self) -> int:
        """Number of weights and biases in the file."""
        return self._shared_parameters + self.experts * self._expert_parameters

    @property
    def active_parameters(self) -> int:
        """Number of weights and biases that one coordinate meets on its way (its cost)."""
        return self._shared_parameters + self.gate.active * self._expert_parameters

    # In closed form: hostile numbers of layers must not be listed before they are refused.

    @property
    def _shared_parameters(self) -> int:
        gate = self.gate
        hidden = gate.hidden.width if gate.hidden.layers else self.gate_inputs
        return (
            self.encoder.parameters(self.coordinates)
            + gate.encoder.parameters(self.coordinates)
            + gate.hidden.parameters(self.gate_inputs)
            + (hidden + 1) * self.experts
            + self.expert.width
            + 1
        )

    @property
    def _expert_parameters(self) -> int:
        return self.expert.parameters(self.encoder.width)

    def check(self, limits: Limits) -> None:
        """Raise `LimitExceededError` if the network is beyond what the reader accepts."""
        stacks = self.encoder, self.gate.encoder, self.gate.hidden, self.expert
        limits.check("experts", self.experts)
        limits.check("layers", self.layers)
        limits.check("width", max(stack.width for stack in stacks))
        limits.check("parameters", self.parameters)


@dataclass(frozen=True, slots=True)
class TreeLevel:
    """The nodes of one level: ``layers`` layers each, of the node's own width.

    ``widths`` has a number for each of the ``2 ** (coordinates * level)`` nodes, in Morton order:
    bit k of the cell's number along axis d is bit ``coordinates * k + d`` of the node's.
    """

    layers: int
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Networks in an octree: each level halves the cells of the one above along every coordinate.

    A coordinate passes the nodes of its cells from the root to a leaf, and the leaf's linear head.
    """

    coordinates: int
    activation: Activation
    levels: tuple[TreeLevel, ...]

    @property
    def partition(self) -> Partition:
        return Partition.OCTREE if len(self.levels) > 1 else Partition.SINGLE

    @property
    def leaves(self) -> int:
        return len(self.levels[-1].widths)

    @property
    def paths(self) -> int:
        """Ways that a coordinate can take."""
        return self.leaves

    def description(self) -> list[str]:
        """Nodes of each level in words, from the root to the leaves."""
        parts = []
        for level in self.levels:
            narrow, wide = min(level.widths), max(level.widths)
            width = str(wide) if narrow == wide else f"{narrow} to {wide}"
            nodes = "" if len(level.widths) == 1 else f"{len(level.widths)} nodes of "
            parts.append(f"{nodes}{_in_words(level.layers, width)}")
        return parts

    def parent(self, node: int) -> int:
        """Index of the node above, on its level."""
        return node >> self.coordinates

    def inputs(self, level: int, node: int) -> int:
        """Features that a node reads."""
        if level == 0:
            return self.coordinates
        return self.levels[level - 1].widths[self.parent(node)]

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """All tensors, in the order in which the file stores them. Each is flat: the matrices (or
        biases) of one layer of all nodes of a level, node after node, row after row."""
        specs = []
        for number, level in enumerate(self.levels):
            for layer in range(level.layers):
                weights = sum(
                    width * (width if layer else self.inputs(number, node))
                    for node, width in enumerate(level.widths)
                )
                specs.append(TensorSpec(f"levels.{number}.{layer}.weight", (weights,)))
                specs.append(TensorSpec(f"levels.{number}.{layer}.bias", (sum(level.widths),)))
        specs.append(TensorSpec("heads.weight", (sum(self.levels[-1].widths),)))
        specs.append(TensorSpec("heads.bias", (self.leaves,)))
        return tuple(specs)

    @property
    def layers(self) -> int:
        """Layers that a coordinate meets."""
        return sum(level.layers for level in self.levels)

    @property
    def widest(self) -> int:
        """The most features that are held of one coordinate at a time."""
        return max(self.coordinates, *(max(level.widths) for level in self.levels))

    @property
    def parameters(self) -> int:
        """Number of weights and biases in the file."""
        nodes = sum(
            Stack(level.layers, width).parameters(self.inputs(number, node))
            for number, level in enumerate(self.levels)
            for node, width in enumerate(level.widths)
        )
        return nodes + sum(self.levels[-1].widths) + self.leaves

    @property
    def active_parameters(self) -> int:
        """The most weights and biases that one coordinate meets on its way (its cost)."""
        paths = [0]
        for number, level in enumerate(self.levels):
            paths = [
                paths[self.parent(node) if number else 0]
                + Stack(level.layers, width).parameters(self.inputs(number, node))
                for node, width in enumerate(level.widths)
            ]
        heads = self.levels[-1].widths
        return max(path + width + 1 for path, width in zip(paths, heads, strict=True))

    def check(self, limits: Limits) -> None:
        """Raise `LimitExceededError` if the network is beyond what the reader accepts."""
        limits.check("experts", self.leaves)
        limits.check("layers", self.layers)
        limits.check("width", self.widest)
        limits.check("parameters", self.parameters)


Architecture = Mixture | Tree


def _in_words(layers: int, width: int | str, kind: str = "") -> str:
    return f"{layers} {kind}layer{'s' * (layers > 1)} of width {width}"


def single(coordinates: int, activation: Activation, stack: Stack) -> Tree:
    """One network for the whole volume."""
    return Tree(coordinates, activation, (TreeLevel(stack.layers, (stack.width,)),))
