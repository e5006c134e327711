"""Bits a weight against quality, at one file size: more bits for fewer weights.

Prints a Markdown table, a row as soon as it is measured, and beside each network's coded bytes
those of two simpler coders: Huffman codes, one byte a symbol for their table, and zstandard. The
volumes are looked for in --data, by default the folder in INRCODEC_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import zstandard
from measuring import Problem, add_data_option, path_of

from inrcodec import planner
from inrcodec.entropy.network import encode_network
from inrcodec.fitting.fit import fit
from inrcodec.fitting.pretraining import pretrain_gate
from inrcodec.fitting.quantize import quantize
from inrcodec.model.moe import MoEINR
from inrcodec.model.network import from_quantized, initialized
from inrcodec.quantization import QuantizedModel

COLUMNS = (
    "volume", "ratio", "planned bits", "weights", "float dB", "file dB", "lost dB", "N bytes",
    "bits a weight", "Huffman bytes", "zstd -19 bytes",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volumes", nargs="*", default=["ct_head", "mr_t1_brain_crop"])
    parser.add_argument("--ratios", default="1024,6000")
    parser.add_argument("--bits", default="4.5,5.3,6,7")
    parser.add_argument("--preset", type=planner.Preset, default=planner.Preset.FAST)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    add_data_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_row(COLUMNS)
    print_row("---" for _ in COLUMNS)
    for name in options.volumes:
        for ratio in map(int, options.ratios.split(",")):
            for bits in map(float, options.bits.split(",")):
                path = path_of(name, options.data)
                print_row((name, ratio, bits, *measured(path, ratio, bits, options.preset)))


def measured(path: Path, ratio: int, bits: float, preset: planner.Preset) -> Iterator[object]:
    """The rest of the columns."""
    problem = Problem(path)
    room = problem.room(ratio)
    planner.BITS_PER_WEIGHT = bits
    architecture = planner.plan_architecture(room, problem.coordinates, planner.NetworkChoice())
    effort = planner.plan_effort(preset, architecture, problem.header.voxels)
    sampler = problem.sampler(seed=0)
    generator = torch.Generator().manual_seed(0)
    model = initialized(architecture, sampler.statistics, generator)
    if isinstance(model, MoEINR):
        pretrain_gate(model, sampler, generator)
    fit(model, sampler, effort.fit_steps, effort.batch, lambda *_: None)
    fitted = problem.psnr(model)
    coded = quantize(
        model,
        sampler,
        room,
        lambda candidate: len(encode_network(candidate)),
        effort.tuning_steps,
        effort.batch,
        lambda *_: None,
    )
    in_file, size = problem.psnr(from_quantized(coded)), len(encode_network(coded))
    yield architecture.parameters
    yield from (f"{fitted:.2f}", f"{in_file:.2f}", f"{fitted - in_file:.2f}")
    yield from (size, f"{8 * size / architecture.parameters:.2f}")
    yield from (huffman_bytes(coded), zstandard_bytes(coded))


def huffman_bytes(model: QuantizedModel) -> int:
    """A canonical code for each tensor, its table counted as one byte a symbol."""
    return sum(_huffman_bytes(tensor.integers) for tensor in model.tensors)


def _huffman_bytes(integers: np.ndarray) -> int:
    counts = Counter(integers.reshape(-1).tolist())
    heap = list(counts.values())
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return -(-bits // 8) + len(counts)


def zstandard_bytes(model: QuantizedModel) -> int:
    """All tensors one after the other, as int8 where they fit, else as int16."""
    parts = []
    for tensor in model.tensors:
        small = int(abs(tensor.integers).max(initial=0)) < 128
        parts.append(tensor.integers.astype(np.int8 if small else np.int16).tobytes())
    return len(zstandard.ZstdCompressor(level=19).compress(b"".join(parts)))


def print_row(cells: Iterable[object]) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
