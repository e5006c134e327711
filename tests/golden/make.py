"""Write the golden files: `make golden`, when format version 0 changes. Look at the diff first.

Each case is a small volume encoded in a moment, with the voxels that its file decoded to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from inrcodec import encoder
from inrcodec.decoder import decode_bytes
from inrcodec.encoder import Target, encode_volume
from inrcodec.planner import Effort
from inrcodec.volume.geometry import NiftiGeometry, float_to_bits
from inrcodec.volume.volume import Volume

FOLDER = Path(__file__).parent

CASES: dict[str, tuple[tuple[int, ...], str, dict[str, int]]] = {
    "one_expert": ((12, 10, 8), "<i2", {"experts": 1}),
    "three_experts": ((12, 10, 8), "<i2", {"experts": 3}),
    "uint8": ((9, 8, 7), "|u1", {}),
    "uint16_big_endian": ((9, 8, 7), ">u2", {}),
    "float32_nifti2": ((9, 8, 7), "<f4", {"version": 2}),
    "four_axes": ((8, 7, 6, 3), "<i2", {}),
    "axis_of_one": ((1, 30, 1), "<i4", {}),
    "one_value": ((5, 4, 3), "<i2", {"constant": 1}),
    "full_header": ((9, 8, 7), "<i2", {"full": 1}),
}


def geometry(version: int, byte_order: str) -> NiftiGeometry:
    """0.7 x 0.8 x 2 mm, a rotation about the third axis, and an sform that differs from it."""

    def bits(*values: float) -> tuple[int, ...]:
        return tuple(float_to_bits(v, version) for v in values)  # type: ignore[arg-type]

    (zero,) = bits(0.0)
    return NiftiGeometry(
        version=version,  # type: ignore[arg-type]
        byte_order=byte_order,  # type: ignore[arg-type]
        dim_info=0,
        xyzt_units=10,
        pixdim=bits(1, 0.7, 0.8, 2, 1.5, 1, 1, 1),
        qform_code=1,
        quatern=bits(0, 0, 0.25),
        qoffset=bits(-30, 12.5, 7),
        sform_code=2,
        srow=bits(0.7, 0, 0, -30, 0, 0.8, 0, 12.5, 0, 0, 2, 7),
        scl_slope=bits(2.0)[0],
        scl_inter=bits(-1024.0)[0],
        cal_max=zero,
        cal_min=zero,
        toffset=zero,
        intent_code=0,
        intent_p=(zero,) * 3,
        intent_name=b"",
        slice_code=0,
        slice_start=0,
        slice_end=0,
        slice_duration=zero,
    )


def volume(name: str) -> Volume:
    """The original of a case."""
    shape, dtype, options = CASES[name]
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    wave = sum(np.sin(2 * a + i) for i, a in enumerate(axes))
    data = np.asfortranarray(
        (20 + 40 * (wave - wave.min())).astype(np.dtype(dtype).newbyteorder("="))
    )
    if "constant" in options:
        data[...] = -7
    version = options.get("version", 1)
    block = None
    if "full" in options:
        block = (348).to_bytes(4, "little") + b"\0" * 144 + b"a description".ljust(200, b"\0")
    byte_order = ">" if dtype[0] == ">" else "<"
    return Volume(data, geometry(version, byte_order), block, source=name)


def main() -> None:
    torch.set_num_threads(1)
    encoder.plan_effort = lambda *_: Effort(100, 8, 2048)  # type: ignore[assignment]
    for name, (_, _, options) in CASES.items():
        data, _ = encode_volume(
            volume(name),
            target=Target(file_bytes=450),
            experts=options.get("experts"),
            metadata="full" if "full" in options else "geometry",
            device="cpu",
        )
        (FOLDER / f"{name}.moec").write_bytes(data)
        np.save(FOLDER / f"{name}.npy", decode_bytes(data, device="cpu").data)


if __name__ == "__main__":
    main()
