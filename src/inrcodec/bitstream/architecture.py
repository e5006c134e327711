"""The first fields of chunk N: what kind of network it is, and of what size (docs/format.md)."""

from __future__ import annotations

from enum import IntEnum

from inrcodec.architecture import (
    MAX_LEVELS,
    Activation,
    Architecture,
    Gate,
    Mixture,
    Stack,
    Tree,
    TreeLevel,
)
from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.errors import BitstreamError, TruncatedError
from inrcodec.limits import Limits

_FAMILY_MASK = 0x03
_FINER_FLAG = 0x04
_RESERVED_MASK = 0xF8

_LIST_OF_WIDTHS = 1
"""In place of twice the width that all nodes of a level have."""


class _Family(IntEnum):
    TREE = 0
    MIXTURE = 1


def write_architecture(writer: ByteWriter, architecture: Architecture) -> None:
    """Append the fields."""
    a = architecture
    family = _Family.TREE if isinstance(a, Tree) else _Family.MIXTURE
    writer.u8(family | (_FINER_FLAG if a.activation is Activation.FINER else 0))
    if isinstance(a, Tree):
        _write_tree(writer, a)
    else:
        _write_mixture(writer, a)


def read_architecture(reader: ByteReader, coordinates: int, limits: Limits) -> Architecture:
    """Read the fields, for a grid with that many axes longer than one voxel.

    Raises `LimitExceededError` for a network beyond ``limits``, and `BitstreamError` for anything
    that breaks the format.
    """
    kind = reader.u8()
    if kind & _RESERVED_MASK:
        raise BitstreamError(f"chunk N: reserved bits are set in kind 0x{kind:02x}")
    activation = Activation.FINER if kind & _FINER_FLAG else Activation.SINE
    match kind & _FAMILY_MASK:
        case _Family.TREE:
            architecture: Architecture = _read_tree(reader, coordinates, activation, limits)
        case _Family.MIXTURE:
            architecture = _read_mixture(reader, coordinates, activation)
        case family:
            raise BitstreamError(f"chunk N: network family {family} is unknown")
    architecture.check(limits)
    return architecture


def _write_tree(writer: ByteWriter, tree: Tree) -> None:
    writer.varint(len(tree.levels))
    for level in tree.levels:
        writer.varint(level.layers)
        if len(set(level.widths)) == 1:
            writer.varint(2 * level.widths[0])
        else:
            writer.varint(_LIST_OF_WIDTHS)
            for width in level.widths:
                writer.varint(width)


def _read_tree(
    reader: ByteReader, coordinates: int, activation: Activation, limits: Limits
) -> Tree:
    levels = reader.varint()
    if not 1 <= levels <= MAX_LEVELS:
        raise BitstreamError(f"chunk N: a tree has {levels} levels, not 1 to {MAX_LEVELS}")
    # A level takes two bytes, whatever its number of nodes: refused before the nodes are listed.
    leaves = 1 << coordinates * (levels - 1)
    limits.check("experts", leaves)
    limits.check("parameters", 2 * leaves)  # a weight and a bias each, at the least
    return Tree(
        coordinates,
        activation,
        tuple(_read_level(reader, 1 << coordinates * level) for level in range(levels)),
    )


def _read_level(reader: ByteReader, nodes: int) -> TreeLevel:
    layers = _positive(reader)
    code = reader.varint()
    if code % 2 == 0:
        if not code:
            raise BitstreamError("chunk N: a width is zero")
        return TreeLevel(layers, (code // 2,) * nodes)
    if code != _LIST_OF_WIDTHS:
        raise BitstreamError(f"chunk N: {code} is no code of a level's widths")
    if nodes == 1:
        raise BitstreamError("chunk N: the one node of the first level has a list of widths")
    if nodes > reader.remaining:
        raise TruncatedError("chunk N: it ends before a level's widths do")
    widths = tuple(_positive(reader) for _ in range(nodes))
    if len(set(widths)) == 1:
        raise BitstreamError("chunk N: a list of equal widths is not in shortest form")
    return TreeLevel(layers, widths)


def _write_mixture(writer: ByteWriter, mixture: Mixture) -> None:
    gate = mixture.gate
    writer.varint(mixture.experts)
    for stack in (mixture.encoder, mixture.expert, gate.encoder, gate.hidden):
        writer.varint(stack.layers)
        if stack.layers:
            writer.varint(stack.width)
    writer.varint(gate.active)
    if gate.encoder.layers:
        writer.varint(int(gate.reads_features))


def _read_mixture(reader: ByteReader, coordinates: int, activation: Activation) -> Mixture:
    experts = reader.varint()
    if experts < 2:
        raise BitstreamError(f"chunk N: a mixture has {experts} experts, not at least 2")
    encoder, expert = (Stack(_positive(reader), _positive(reader)) for _ in range(2))
    own, hidden = _optional_stack(reader), _optional_stack(reader)
    active = reader.varint()
    if active not in (1, 2):
        raise BitstreamError(f"chunk N: {active} experts act on a sample, not 1 or 2")
    reads_features = reader.varint() if own.layers else 1
    if reads_features not in (0, 1):
        raise BitstreamError(f"chunk N: {reads_features} does not say what the gate reads")
    gate = Gate(own, hidden, active, bool(reads_features))
    return Mixture(coordinates, activation, encoder, experts, expert, gate)


def _optional_stack(reader: ByteReader) -> Stack:
    layers = reader.varint()
    return Stack(layers, _positive(reader)) if layers else Stack(0, 0)


def _positive(reader: ByteReader) -> int:
    value = reader.varint()
    if not value:
        raise BitstreamError("chunk N: a number of layers or a width is zero")
    return value
