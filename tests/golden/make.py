"""Write the golden files that are not there yet: `make golden`. Those that are never change.

`CASES` says what each file is for. Those of `fitted` come from the encoder, with a fit of a moment;
those of `crafted` are put together by hand, to reach what no fit does. manifest.json has the
SHA-256 of each file and of the voxels in it (little-endian, first axis fastest).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from golden.crafting import (
    extreme_geometry,
    frames_of_one_file,
    plain_geometry,
    random_network,
    scanner_geometry,
    slices,
    whole_file,
    with_tensors,
)

from inrcodec import encoding
from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Partition,
    Stack,
    Tree,
    TreeLevel,
)
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.decoder import decode_bytes
from inrcodec.encoder import Target, encode_volume
from inrcodec.entropy.distribution import Distribution
from inrcodec.planner import Effort, NetworkChoice
from inrcodec.quantization import MAX_MAGNITUDE, QuantizedModel, QuantizedTensor
from inrcodec.volume.dicom.series import DicomHeader
from inrcodec.volume.dicom.volume import geometry_of
from inrcodec.volume.geometry import NiftiGeometry
from inrcodec.volume.volume import VOXEL_DTYPES, Volume

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"

SINE, FINER = Activation.SINE, Activation.FINER
NONE, ENCODER, EXPERT = Stack(0, 0), Stack(2, 6), Stack(2, 5)
ANY_NETWORK = NetworkChoice()

Plan = Callable[[int], Architecture]
"""The architecture for a number of coordinates."""

PLAIN = plain_geometry()
SCANNER = scanner_geometry()


@dataclass(frozen=True)
class Case:
    """What a golden file holds besides its voxels, and how to write it."""

    geometry: NiftiGeometry
    header_block: bytes | None
    write: Callable[[], bytes]
    dicom: DicomHeader | None = None


def header_block(version: int, byte_order: str) -> bytes:
    """An original header with free text in it."""
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    block = kind(endianness=byte_order)
    block["descrip"] = b"made by hand"
    block["aux_file"] = b"none"
    content: bytes = block.binaryblock
    return content


def fitted(
    shape: tuple[int, ...],
    dtype: str,
    geometry: NiftiGeometry = SCANNER,
    *,
    network: NetworkChoice = ANY_NETWORK,
    file_bytes: int = 450,
    block: bytes | None = None,
) -> Case:
    """A wave, encoded."""
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    wave = sum(np.sin(2 * a + i) for i, a in enumerate(axes))
    data = np.asfortranarray((20 + 40 * (wave - wave.min())).astype(dtype))

    def write() -> bytes:
        encoded, _ = encode_volume(
            Volume(data, geometry, block, source="golden"),
            target=Target(file_bytes=file_bytes),
            network=network,
            metadata="geometry" if block is None else "full",
            device="cpu",
        )
        return encoded

    return Case(geometry, block, write)


def crafted(
    shape: tuple[int, ...],
    dtype: str = "int16",
    low: float = -1024,
    high: float = 3071,
    *,
    network: Callable[[int], QuantizedModel] | None = None,
    plan: Plan | None = None,
    wires: tuple[int, ...] | None = None,
    geometry: NiftiGeometry = PLAIN,
    block: bytes | None = None,
    ancillary: bytes | None = None,
) -> Case:
    """The network of that function of the number of coordinates, or a random one of ``plan``."""

    def write() -> bytes:
        coordinates = sum(length > 1 for length in shape)
        model = None
        if low != high:
            model = network(coordinates) if network else random_network((plan or FOUR)(coordinates))
        header = VolumeHeader(np.dtype(dtype), shape, low, high)
        return whole_file(
            header, geometry, model, wires=wires, header_block=block, ancillary=ancillary
        )

    return Case(geometry, block, write)


def series(shape: tuple[int, ...], header: DicomHeader, full: DicomHeader | None = None) -> Case:
    """A random network in a file with the attributes of a DICOM series; ``full``: all of them."""

    def write() -> bytes:
        volume = VolumeHeader(np.dtype("int16"), shape, -1024, 3071)
        return whole_file(volume, header, random_network(FOUR(len(shape))), all_attributes=full)

    known = full or header
    return Case(geometry_of(known, shape), None, write, known)


def tree(*levels: tuple[int, int | tuple[int, ...]], activation: Activation = SINE) -> Plan:
    """Layers and width of each level; or the widths of the nodes, again and again."""

    def plan(coordinates: int) -> Tree:
        def widths(level: int, given: int | tuple[int, ...]) -> tuple[int, ...]:
            period = (given,) if isinstance(given, int) else given
            nodes = 1 << coordinates * level
            return tuple(period[node % len(period)] for node in range(nodes))

        return Tree(
            coordinates,
            activation,
            tuple(TreeLevel(layers, widths(i, given)) for i, (layers, given) in enumerate(levels)),
        )

    return plan


def mixture(
    experts: int = 2,
    encoder: Stack = ENCODER,
    expert: Stack = EXPERT,
    *,
    own: Stack = NONE,
    hidden: Stack = NONE,
    active: int = 1,
    reads_features: bool = True,
    activation: Activation = SINE,
) -> Plan:
    """``own`` is the gate's encoder, ``hidden`` its ReLU layers."""
    gate = Gate(own, hidden, active, reads_features)
    return lambda coordinates: Mixture(coordinates, activation, encoder, experts, expert, gate)


UNEVEN = (4, 1, 7, 3, 2, 5, 4, 6)
"""Widths of the eight octants."""

FOUR = tree((4, 6))
"""A single network of four layers."""


def extremes(dtype: str) -> Case:
    info: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    low, high = (np.array(end, dtype).item() for end in (info.min, info.max))
    return crafted((6, 5, 4), dtype, low, high, network=saturating(FOUR))


def worked_example(_: int) -> QuantizedModel:
    """The network of docs/format.md, "Exact arithmetic"."""
    integers_and_steps = (
        ([3, -2], -2), ([1, 3], -3), ([2, -1, 1, 3], -3), ([1, -2], -4), ([1, 2], -1), ([1, -1], -2)
    )  # fmt: skip
    return QuantizedModel(
        tree((1, 2), (1, 1))(1),
        tuple(QuantizedTensor(np.array(i, np.int32), step) for i, step in integers_and_steps),
    )


def equal_experts(coordinates: int, active_experts: int) -> QuantizedModel:
    """Experts 1 and 3 have the same rows in the gate, and so have 0 and 2."""
    network = random_network(mixture(4, active=active_experts)(coordinates), seed=4)
    rows = np.random.default_rng(4).integers(-9, 10, (2, 6))
    return with_tensors(
        network,
        {"gate.output.weight": (rows[[0, 1, 0, 1]], -4), "gate.output.bias": (1, -4)},
    )


def saturating(plan: Plan) -> Callable[[int], QuantizedModel]:
    """Outputs beyond the range of the values, and of a blend."""
    return lambda coordinates: random_network(plan(coordinates), seed=5, contrast=8)


def saturating_gate(coordinates: int) -> QuantizedModel:
    """ReLU units beyond 256, and gate outputs so far apart that the second expert fades out."""
    random = random_network(mixture(3, hidden=Stack(2, 4), active=2)(coordinates), seed=6)
    rng = np.random.default_rng(6)
    return with_tensors(
        random,
        {
            "gate.hidden.0.weight": (rng.integers(-3000, 3000, (4, 6)), -3),
            "gate.hidden.1.weight": (rng.integers(-9, 10, (4, 4)), -2),
            "gate.output.weight": (rng.integers(-9, 10, (3, 4)), -7),
        },
    )


def sums_around_24_bits(coordinates: int) -> QuantizedModel:
    """The largest sum is 2^24 - 1 steps in one layer, and 2^24 in the next."""
    below, reaching = np.zeros((8, 8), int), np.zeros((8, 8), int)
    below[:, :5], below[:, 5] = 100, -11  # 511 x 2^15 + 32767
    reaching[:, 0] = 512  # x 2^15
    return with_tensors(
        random_network(tree((4, 8))(coordinates), seed=7),
        {
            "levels.0.1.weight": (below, -9),
            "levels.0.1.bias": (MAX_MAGNITUDE, -24),
            "levels.0.2.weight": (reaching, -9),
            "levels.0.2.bias": (0, -24),
        },
    )


def sums_below_52_bits(coordinates: int) -> QuantizedModel:
    """The largest sums that the format allows: 2^52 - 2^31 + 32767 steps of 2^-24."""
    plan = mixture(2, Stack(1, 65), Stack(2, 2), hidden=Stack(2, 2))
    rng = np.random.default_rng(8)

    def rows(*shape: int) -> np.ndarray[Any, Any]:
        row = np.full(65, MAX_MAGNITUDE)
        row[-1] = (1 << 21) - 1 - row[:-1].sum()
        return row * rng.choice([-1, 1], (*shape, 65))

    return with_tensors(
        random_network(plan(coordinates), seed=8),
        {
            "gate.hidden.0.weight": (rows(2), 7),
            "gate.hidden.0.bias": (-MAX_MAGNITUDE, -24),
            "gate.hidden.1.weight": ([[5000, 3191], [-8190, 1]], 7),  # 2^13 - 1: inputs to 2^20
            "gate.hidden.1.bias": (MAX_MAGNITUDE, -24),
            "gate.output.weight": ([[8191, 0], [0, -8191]], 7),
            "gate.output.bias": (MAX_MAGNITUDE, -24),
            "experts.0.weight": (rows(2, 2), 7),
            "experts.0.bias": ([[1, -1], [MAX_MAGNITUDE, -MAX_MAGNITUDE]], -24),
        },
    )


def sparse_network(architecture: Architecture) -> QuantizedModel:
    """Large, but of its large tensors all weights but about 200 are zero."""
    network = random_network(architecture, seed=9)
    rng = np.random.default_rng(9)
    thinned = {
        spec.name: (
            np.where(rng.random(spec.shape) * spec.size < 200, rng.choice([-1, 1], spec.shape), 0),
            tensor.step_exponent + 3,
        )
        for spec, tensor in zip(architecture.tensors, network.tensors, strict=True)
        if spec.size > 1000
    }
    return with_tensors(network, thinned)


def uniform_over_supports(coordinates: int, wires: tuple[int, ...]) -> QuantizedModel:
    """As deep as the limits allow; each tensor reaches all over its distribution's support."""
    plan = mixture(2, Stack(31, 3), Stack(31, 2), hidden=Stack(2, 2))(coordinates)
    rng = np.random.default_rng(10)
    tensors = []
    for spec, wire in zip(plan.tensors, wires, strict=True):
        most = min(Distribution(wire).support, MAX_MAGNITUDE)
        integers = rng.integers(-most, most + 1, spec.shape).astype(np.int32)
        integers.reshape(-1)[-1] = most
        tensors.append(QuantizedTensor(integers, -most.bit_length()))
    return QuantizedModel(plan, tuple(tensors))


def steps_at_both_ends(coordinates: int) -> QuantizedModel:
    """Step exponents of 7 and -24."""
    return with_tensors(
        random_network(FOUR(coordinates), seed=11),
        {
            "levels.0.0.weight": ([3, -1, 0, 2, 1, -2], 7),
            "levels.0.0.bias": (12345, -24),
            "levels.0.1.weight": (MAX_MAGNITUDE, -24),
            "levels.0.1.bias": (-1, 7),
            "heads.bias": (-MAX_MAGNITUDE, -24),
        },
    )


def equal_steps(coordinates: int, step_exponent: int) -> QuantizedModel:
    """All step exponents at one end."""
    plan = mixture(3, Stack(1, 40), Stack(1, 4), hidden=Stack(2, 3), active=2)(coordinates)
    rng = np.random.default_rng(12)
    most = 3 if step_exponent > 0 else MAX_MAGNITUDE
    tensors = (
        QuantizedTensor(rng.integers(-most, most, spec.shape, np.int32, True), step_exponent)
        for spec in plan.tensors
    )
    return QuantizedModel(plan, tuple(tensors))


def phases_at_the_limit(coordinates: int) -> QuantizedModel:
    """FINER: phases up to 1024 turns and beyond, on both sides, in float32 and in float64."""
    rng = np.random.default_rng(13)
    return with_tensors(
        random_network(tree((3, 8), activation=FINER)(coordinates), seed=13),
        {
            "levels.0.0.weight": ([1024, -1024, 1023, 2000, -3000, 517, 32767, -32767], 0),
            "levels.0.0.bias": ([0, 0, 1, -1, 5, 7, 9, -9], -14),
            "levels.0.1.weight": (rng.integers(-9000, 9000, (8, 8)), -4),
            "levels.0.1.bias": (rng.integers(-9000, 9000, 8), -24),
        },
    )


_DEEPEST = 2 * (31 + 3 + 31 + 1)
FIRST = tuple(reversed(range(_DEEPEST)))
LAST = tuple(range(256 - _DEEPEST, 256))
"""Distributions for the tensors of `uniform_over_supports`: together, all of them."""

CASES: dict[str, Case] = {
    # Written by the encoder.
    "single": fitted((12, 10, 8), "int16", network=NetworkChoice(Partition.SINGLE)),
    "three_experts": fitted((12, 10, 8), "int16", network=NetworkChoice(experts=3)),
    "fitted_octree": fitted(
        (12, 10, 8), "int16", network=NetworkChoice(Partition.OCTREE), file_bytes=900
    ),
    "fitted_neural_experts": fitted(
        (12, 10, 8), "int16", network=NetworkChoice(Partition.NEURAL_EXPERTS), file_bytes=900
    ),
    "fitted_finer": fitted((12, 10, 8), "int16", network=NetworkChoice(activation=FINER)),
    "four_axes": fitted((8, 7, 6, 3), "int16"),
    "axis_of_one": fitted((1, 30, 1), "int32"),
    "float32_nifti2": fitted((9, 8, 7), "float32", scanner_geometry(2)),
    "uint16_big_endian": fitted((9, 8, 7), "uint16", replace(SCANNER, byte_order=">")),
    "full_header": fitted((9, 8, 7), "int16", block=header_block(1, "<")),
    "four_kilobytes": fitted((24, 20, 16), "int16", file_bytes=4000),
    # One value: no network.
    "one_value": crafted((5, 4, 3), "int16", -7, -7, geometry=SCANNER),
    "one_value_negative_zero": crafted((3, 2), "float64", -0.0, -0.0),
    "one_voxel": crafted((1,), "uint8", 255, 255),
    "one_voxel_four_axes": crafted((1, 1, 1, 1), "float32", 1.5, 1.5),
    # Voxel types.
    **{f"all_of_{dtype}": extremes(dtype) for dtype in sorted(VOXEL_DTYPES)},
    "narrow_uint64": crafted((6, 5, 4), "uint64", 2**64 - 3, 2**64 - 1),
    "narrow_int64": crafted((6, 5, 4), "int64", -(2**63), -(2**63) + 2**25 + 1),
    "narrow_float64": crafted((6, 5, 4), "float64", 1.0, 1 + 2.0**-50),
    "subnormal_float32": crafted((9, 8, 7), "float32", -(2.0**-149), 2.0**-130),
    "subnormal_float64": crafted((9, 8, 7), "float64", -(2.0**-1074), 2.0**-1040),
    "negative_zero_float32": crafted(
        (6, 5, 4), "float32", -0.0, 2.0**-149, network=saturating(FOUR)
    ),
    # Grids.
    "worked_example": crafted((8,), "int16", -100, 300, network=worked_example),
    "two_voxels": crafted((2,)),
    "twos": crafted((2, 2, 2, 2)),
    "threes": crafted((3, 3, 3)),
    "plane_of_primes": crafted((13, 17)),
    "primes": crafted((7, 11, 13)),
    "ones_among_four_axes": crafted((1, 7, 1, 3)),
    "long_third_axis": crafted((1, 1, 5000)),
    "longest_nifti1_axis": crafted((32767,), "uint8", 0, 255),
    "nifti2_axis": crafted((2, 40001), "uint8", 0, 255, geometry=plain_geometry(2)),
    # The gate.
    "two_experts": crafted((9, 8, 7), plan=mixture(2)),
    "eight_experts_hidden_gate": crafted((9, 8, 7), plan=mixture(8, hidden=Stack(2, 5))),
    "one_hidden_layer": crafted((9, 8, 7), plan=mixture(5, hidden=Stack(1, 5))),
    "top2_of_two": crafted((9, 8, 7), plan=mixture(2, active=2)),
    "top2_of_three_hidden_gate": crafted((9, 8, 7), plan=mixture(3, hidden=Stack(2, 7), active=2)),
    "top2_of_eight": crafted((9, 8, 7), plan=mixture(8, active=2)),
    **{
        f"neural_experts{top}{gate}{layer}": crafted(
            (9, 8, 7),
            plan=mixture(5, own=own, hidden=hidden, active=active, activation=activation),
        )
        for top, active in (("", 1), ("_top2", 2))
        for gate, own, hidden in (
            ("", Stack(1, 7), NONE),
            ("_hidden_gate", Stack(2, 4), Stack(2, 6)),
        )
        for layer, activation in (("", SINE), ("_finer", FINER))
    },
    **{
        f"gate_apart{layer}": crafted(
            (9, 8, 7),
            plan=mixture(5, own=own, hidden=hidden, reads_features=False, activation=activation),
        )
        for layer, own, hidden, activation in (
            ("", Stack(1, 7), NONE, SINE),
            ("_finer_hidden_gate", Stack(2, 4), Stack(1, 6), FINER),
        )
    },
    "gate_apart_top2": crafted(
        (9, 8, 7), plan=mixture(3, own=Stack(1, 7), reads_features=False, active=2)
    ),
    "moec_finer": crafted((9, 8, 7), plan=mixture(4, activation=FINER)),
    "moec_finer_top2": crafted(
        (9, 8, 7), plan=mixture(4, hidden=Stack(2, 5), active=2, activation=FINER)
    ),
    "tied_gate": crafted((9, 8, 7), network=lambda d: equal_experts(d, 1)),
    "tied_gate_top2": crafted((9, 8, 7), network=lambda d: equal_experts(d, 2)),
    "saturating_gate": crafted((9, 8, 7), network=saturating_gate),
    # The tree.
    "octree": crafted((9, 8, 7), plan=tree((2, 6), (2, 5))),
    "octree_three_levels": crafted((9, 8, 7), plan=tree((1, 6), (1, 5), (2, 4))),
    "octree_uneven": crafted((9, 8, 7), plan=tree((2, 6), (1, UNEVEN), (2, (3, 1, 2)))),
    "octree_uneven_above_even": crafted((9, 8, 7), plan=tree((2, 6), (1, UNEVEN), (1, 3))),
    "octree_finer": crafted((9, 8, 7), plan=tree((2, 6), (2, 5), activation=FINER)),
    "octree_uneven_finer": crafted((9, 8, 7), plan=tree((1, 6), (3, UNEVEN), activation=FINER)),
    "octree_one_axis": crafted((301,), plan=tree((1, 6), (1, 5), (1, 4), (1, (2, 3)))),
    "octree_two_axes": crafted((23, 19), plan=tree((1, 6), (1, 5), (1, 4))),
    "octree_four_axes": crafted((5, 4, 6, 3), plan=tree((1, 6), (1, (2, 3, 4)), (1, 2))),
    "octree_deepest_line": crafted((1030,), plan=tree(*[(1, 2)] * 9)),
    "octree_cells_without_voxels": crafted((3, 2, 5), plan=tree((1, 6), (1, 5), (1, (2, 3)))),
    "octree_cells_of_one_voxel": crafted((4, 4, 4), plan=tree((1, 6), (1, 5), (1, 4))),
    "octree_ones_among_axes": crafted((1, 9, 1, 10), plan=tree((1, 6), (1, 5), (1, 4))),
    "saturating_octree": crafted((9, 8, 7), network=saturating(tree((1, 6), (1, UNEVEN)))),
    # Arithmetic.
    "finer": crafted((9, 8, 7), plan=tree((4, 6), activation=FINER)),
    "finer_phases_at_the_limit": crafted((301,), network=phases_at_the_limit),
    "saturating": crafted((9, 8, 7), network=saturating(FOUR)),
    "saturating_top2": crafted((9, 8, 7), network=saturating(mixture(3, active=2))),
    "sums_around_24_bits": crafted((40, 5), network=sums_around_24_bits),
    "sums_below_52_bits": crafted((40, 5), network=sums_below_52_bits),
    "steps_at_both_ends": crafted((301,), network=steps_at_both_ends),
    "coarsest_steps": crafted((301,), network=lambda d: equal_steps(d, 7)),
    "finest_steps": crafted(
        (301,), network=lambda d: equal_steps(d, -24), dtype="int32", low=-(2**31), high=2**31 - 1
    ),
    # Entropy coding.
    "first_distributions": crafted(
        (5, 4, 3),
        network=lambda d: uniform_over_supports(d, FIRST),
        wires=FIRST,
    ),
    "last_distributions": crafted(
        (5, 4, 3),
        network=lambda d: uniform_over_supports(d, LAST),
        wires=LAST,
    ),
    "widest": crafted((300,), network=lambda d: sparse_network(tree((1, 4096))(d))),
    "many_lanes": crafted(
        (5, 4, 3),
        network=lambda d: sparse_network(mixture(256, Stack(1, 32), Stack(1, 32))(d)),
    ),
    "many_lanes_octree": crafted(
        (9, 8, 7),
        network=lambda d: sparse_network(tree((2, 64), (1, 48), (2, (40, 56)))(d)),
    ),
    # Geometry and metadata.
    "plain_nifti2": crafted((4, 3, 2), geometry=plain_geometry(2)),
    "extreme_nifti1": crafted((4, 3, 2), geometry=extreme_geometry(1)),
    "extreme_nifti2": crafted((4, 3, 2), geometry=extreme_geometry(2)),
    "full_header_nifti2": crafted(
        (4, 3, 2), geometry=extreme_geometry(2), block=header_block(2, ">")
    ),
    "unknown_chunks": crafted((4, 3, 2), block=header_block(1, "<"), ancillary=bytes(16400)),
    # DICOM.
    "dicom_slices": series((6, 4, 5), slices(5)),
    "dicom_volumes_in_time": series((6, 4, 3, 2), slices(3, 2)),
    "dicom_enhanced": series((6, 4, 5), frames_of_one_file(5)),
    "dicom_all_attributes": series((6, 4, 5), slices(5), slices(5, identified=True)),
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe(data: bytes, voxels: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The manifest's entry of a file and what it decodes to."""
    return {
        "dtype": voxels.dtype.name,
        "shape": list(voxels.shape),
        "voxels": sha256(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F")),
        "file": sha256(data),
    }


def main() -> None:
    torch.set_num_threads(1)
    encoding.plan_effort = lambda *_: Effort(100, 8, 2048)  # type: ignore[assignment]
    manifest = json.loads(MANIFEST.read_text())
    for name in CASES.keys() - manifest.keys():
        data = CASES[name].write()
        (FOLDER / f"{name}.moec").write_bytes(data)
        manifest[name] = describe(data, decode_bytes(data, device="cpu").data)
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
