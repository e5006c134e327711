"""A small network of each kind, for the tests that hold for all of them."""

from __future__ import annotations

import pytest

from inrcodec.architecture import Activation, Gate, Mixture, Stack, Tree, TreeLevel, single

SINE, FINER = Activation.SINE, Activation.FINER
NONE = Stack(0, 0)

SINGLE = single(3, SINE, Stack(4, 7))
SINGLE_FINER = single(3, FINER, Stack(4, 7))
TREE = Tree(3, SINE, (TreeLevel(2, (7,)), TreeLevel(1, (4,) * 8)))
UNEVEN_TREE = Tree(3, FINER, (TreeLevel(1, (6,)), TreeLevel(2, (3, 1, 4, 2, 5, 3, 3, 2))))
DEEP_TREE = Tree(3, SINE, (*UNEVEN_TREE.levels, TreeLevel(1, (1, 2, 3, 2) * 16)))
MOEC = Mixture(3, SINE, Stack(1, 6), 3, Stack(2, 5), Gate(NONE, Stack(2, 3), 1))
MOEC_TOP2 = Mixture(3, FINER, Stack(2, 6), 4, Stack(1, 5), Gate(NONE, NONE, 2))
APART = Mixture(
    3, SINE, Stack(2, 6), 3, Stack(1, 5), Gate(Stack(1, 4), NONE, 1, reads_features=False)
)
NEURAL = Mixture(3, SINE, Stack(2, 6), 3, Stack(2, 5), Gate(Stack(2, 4), Stack(1, 3), 1))
NEURAL_TOP2 = Mixture(3, FINER, Stack(1, 6), 3, Stack(2, 5), Gate(Stack(1, 4), NONE, 2))

MIXTURES = (MOEC, MOEC_TOP2, APART, NEURAL, NEURAL_TOP2)
NAMES = {
    "single": SINGLE,
    "single finer": SINGLE_FINER,
    "octree": TREE,
    "uneven finer octree": UNEVEN_TREE,
    "moec": MOEC,
    "moec finer top-2": MOEC_TOP2,
    "moec with a gate apart": APART,
    "neural experts": NEURAL,
    "neural experts finer top-2": NEURAL_TOP2,
}


def every(*architectures: Mixture | Tree) -> pytest.MarkDecorator:
    """Run a test for each of the architectures, all of them by default."""
    chosen = {n: a for n, a in NAMES.items() if not architectures or a in architectures}
    return pytest.mark.parametrize("architecture", chosen.values(), ids=chosen.keys())
