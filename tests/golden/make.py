"""Write the golden files: `make golden`, when format version 0 changes. Look at the diff first.

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
    plain_geometry,
    random_network,
    scanner_geometry,
    whole_file,
    with_tensors,
)

from inrcodec import encoder
from inrcodec.architecture import Architecture
from inrcodec.bitstream.volume_header import VolumeHeader
from inrcodec.decoder import decode_bytes
from inrcodec.encoder import Target, encode_volume
from inrcodec.entropy.distribution import Distribution
from inrcodec.planner import Effort
from inrcodec.quantization import MAX_MAGNITUDE, QuantizedModel, QuantizedTensor
from inrcodec.volume.geometry import NiftiGeometry
from inrcodec.volume.volume import VOXEL_DTYPES, Volume

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"

PLAIN = plain_geometry()
SCANNER = scanner_geometry()


@dataclass(frozen=True)
class Case:
    """What a golden file holds besides its voxels, and how to write it."""

    geometry: NiftiGeometry
    header_block: bytes | None
    write: Callable[[], bytes]


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
    experts: int | None = None,
    file_bytes: int = 450,
    block: bytes | None = None,
) -> Case:
    """A wave, encoded; ``experts`` None leaves them to the planner."""
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    wave = sum(np.sin(2 * a + i) for i, a in enumerate(axes))
    data = np.asfortranarray((20 + 40 * (wave - wave.min())).astype(dtype))

    def write() -> bytes:
        encoded, _ = encode_volume(
            Volume(data, geometry, block, source="golden"),
            target=Target(file_bytes=file_bytes),
            experts=experts,
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
    wires: tuple[int, ...] | None = None,
    geometry: NiftiGeometry = PLAIN,
    block: bytes | None = None,
    ancillary: bytes | None = None,
    **sizes: int,
) -> Case:
    """The network of that function of the number of coordinates, or a random one of ``sizes``."""

    def write() -> bytes:
        coordinates = sum(length > 1 for length in shape)
        model = None
        if low != high:
            model = (network or random)(coordinates)
        header = VolumeHeader(np.dtype(dtype), shape, low, high)
        return whole_file(
            header, geometry, model, wires=wires, header_block=block, ancillary=ancillary
        )

    def random(coordinates: int) -> QuantizedModel:
        return random_network(architecture(coordinates, **sizes))

    return Case(geometry, block, write)


def architecture(
    coordinates: int,
    experts: int = 1,
    layers: tuple[int, int] = (2, 2),
    widths: tuple[int, int] = (6, 5),
    gate_width: int = 0,
    active_experts: int = 1,
) -> Architecture:
    return Architecture(coordinates, experts, *layers, *widths, gate_width, active_experts)


def extremes(dtype: str) -> Case:
    info: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    low, high = (np.array(end, dtype).item() for end in (info.min, info.max))
    return crafted((6, 5, 4), dtype, low, high, network=lambda d: saturating(d, 1))


def worked_example(_: int) -> QuantizedModel:
    """The network of docs/format.md, "Exact arithmetic"."""
    integers_and_steps = (
        ([[3], [-2]], -2), ([1, 3], -3), ([[[2, -1]]], -3), ([[1]], -4), ([[1]], -1), ([1], -2)
    )  # fmt: skip
    return QuantizedModel(
        architecture(1, layers=(1, 1), widths=(2, 1)),
        tuple(QuantizedTensor(np.array(i, np.int32), step) for i, step in integers_and_steps),
    )


def equal_experts(coordinates: int, active_experts: int) -> QuantizedModel:
    """Experts 1 and 3 have the same rows in the gate, and so have 0 and 2."""
    plan = architecture(coordinates, experts=4, active_experts=active_experts)
    network = random_network(plan, seed=4)
    rows = np.random.default_rng(4).integers(-9, 10, (2, plan.encoder_width))
    return with_tensors(
        network,
        {"gate.output.weight": (rows[[0, 1, 0, 1]], -4), "gate.output.bias": (1, -4)},
    )


def saturating(coordinates: int, experts: int) -> QuantizedModel:
    """Outputs beyond the range of the values, and of a blend."""
    plan = architecture(coordinates, experts, active_experts=min(experts, 2))
    return random_network(plan, seed=5, contrast=8)


def saturating_gate(coordinates: int) -> QuantizedModel:
    """ReLU units beyond 256, and gate outputs so far apart that the second expert fades out."""
    plan = architecture(coordinates, experts=3, gate_width=4, active_experts=2)
    random = random_network(plan, seed=6)
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
    plan = architecture(coordinates, layers=(3, 1), widths=(8, 4))
    below, reaching = np.zeros((8, 8), int), np.zeros((8, 8), int)
    below[:, :5], below[:, 5] = 100, -11  # 511 x 2^15 + 32767
    reaching[:, 0] = 512  # x 2^15
    return with_tensors(
        random_network(plan, seed=7),
        {
            "encoder.1.weight": (below, -9),
            "encoder.1.bias": (MAX_MAGNITUDE, -24),
            "encoder.2.weight": (reaching, -9),
            "encoder.2.bias": (0, -24),
        },
    )


def sums_below_52_bits(coordinates: int) -> QuantizedModel:
    """The largest sums that the format allows: 2^52 - 2^31 + 32767 steps of 2^-24."""
    plan = architecture(coordinates, 2, (1, 2), (65, 2), gate_width=2)
    rng = np.random.default_rng(8)

    def rows(*shape: int) -> np.ndarray[Any, Any]:
        row = np.full(65, MAX_MAGNITUDE)
        row[-1] = (1 << 21) - 1 - row[:-1].sum()
        return row * rng.choice([-1, 1], (*shape, 65))

    return with_tensors(
        random_network(plan, seed=8),
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


def sparse_network(
    coordinates: int, experts: int, expert_layers: int, widths: tuple[int, int]
) -> QuantizedModel:
    """Large, but of its large tensors all weights but about 200 are zero."""
    plan = architecture(coordinates, experts, (1, expert_layers), widths)
    network = random_network(plan, seed=9)
    rng = np.random.default_rng(9)
    thinned = {
        spec.name: (
            np.where(rng.random(spec.shape) * spec.size < 200, rng.choice([-1, 1], spec.shape), 0),
            tensor.step_exponent + 3,
        )
        for spec, tensor in zip(plan.tensors, network.tensors, strict=True)
        if spec.size > 1000
    }
    return with_tensors(network, thinned)


def uniform_over_supports(coordinates: int, wires: tuple[int, ...]) -> QuantizedModel:
    """As deep as the limits allow; each tensor reaches all over its distribution's support."""
    plan = architecture(coordinates, experts=2, layers=(32, 32), widths=(3, 2), gate_width=2)
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
        random_network(architecture(coordinates), seed=11),
        {
            "encoder.0.weight": ([[3], [-1], [0], [2], [1], [-2]], 7),
            "encoder.0.bias": (12345, -24),
            "encoder.1.weight": (MAX_MAGNITUDE, -24),
            "encoder.1.bias": (-1, 7),
            "decoder.bias": (-MAX_MAGNITUDE, -24),
        },
    )


def equal_steps(coordinates: int, step_exponent: int) -> QuantizedModel:
    """All step exponents at one end."""
    plan = architecture(coordinates, 3, (1, 1), (40, 4), gate_width=3, active_experts=2)
    rng = np.random.default_rng(12)
    most = 3 if step_exponent > 0 else MAX_MAGNITUDE
    tensors = (
        QuantizedTensor(rng.integers(-most, most, spec.shape, np.int32, True), step_exponent)
        for spec in plan.tensors
    )
    return QuantizedModel(plan, tuple(tensors))


_DEEPEST = 2 * (32 + 3 + 32 + 1)
FIRST = tuple(reversed(range(_DEEPEST)))
LAST = tuple(range(256 - _DEEPEST, 256))
"""Distributions for the tensors of `uniform_over_supports`: together, all of them."""

CASES: dict[str, Case] = {
    # Written by the encoder.
    "one_expert": fitted((12, 10, 8), "int16", experts=1),
    "three_experts": fitted((12, 10, 8), "int16", experts=3),
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
        (6, 5, 4), "float32", -0.0, 2.0**-149, network=lambda d: saturating(d, 1)
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
    "two_experts": crafted((9, 8, 7), experts=2),
    "eight_experts_hidden_gate": crafted((9, 8, 7), experts=8, gate_width=5),
    "top2_of_two": crafted((9, 8, 7), experts=2, active_experts=2),
    "top2_of_three_hidden_gate": crafted((9, 8, 7), experts=3, gate_width=7, active_experts=2),
    "top2_of_eight": crafted((9, 8, 7), experts=8, active_experts=2),
    "tied_gate": crafted((9, 8, 7), network=lambda d: equal_experts(d, 1)),
    "tied_gate_top2": crafted((9, 8, 7), network=lambda d: equal_experts(d, 2)),
    "saturating_gate": crafted((9, 8, 7), network=saturating_gate),
    # Arithmetic.
    "saturating": crafted((9, 8, 7), network=lambda d: saturating(d, 1)),
    "saturating_top2": crafted((9, 8, 7), network=lambda d: saturating(d, 3)),
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
    "widest": crafted((300,), network=lambda d: sparse_network(d, 1, 1, (4096, 1))),
    "many_lanes": crafted((5, 4, 3), network=lambda d: sparse_network(d, 256, 1, (32, 32))),
    # Geometry and metadata.
    "plain_nifti2": crafted((4, 3, 2), geometry=plain_geometry(2)),
    "extreme_nifti1": crafted((4, 3, 2), geometry=extreme_geometry(1)),
    "extreme_nifti2": crafted((4, 3, 2), geometry=extreme_geometry(2)),
    "full_header_nifti2": crafted(
        (4, 3, 2), geometry=extreme_geometry(2), block=header_block(2, ">")
    ),
    "unknown_chunks": crafted((4, 3, 2), block=header_block(1, "<"), ancillary=bytes(16400)),
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
    encoder.plan_effort = lambda *_: Effort(100, 8, 2048)  # type: ignore[assignment]
    for file in FOLDER.glob("*.moec"):
        file.unlink()
    manifest = {}
    for name, case in CASES.items():
        data = case.write()
        (FOLDER / f"{name}.moec").write_bytes(data)
        manifest[name] = describe(data, decode_bytes(data, device="cpu").data)
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
