"""Bits a weight against quality, at one file size: more bits for fewer weights.

Beside each network's coded bytes stand those of two simpler coders: Huffman codes, one byte a
symbol for their table, and zstandard. Results go to a CSV file, a line each; what is there already
is not measured again. Prints all of it as a Markdown table, and draws it beside that file. The
volumes are looked for in --data, by default the folder in INRCODEC_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from measuring import Problem, add_data_option, append, is_known, lines, path_of

from inrcodec import planner
from inrcodec.bench.plot import save_figure
from inrcodec.entropy.network import encode_network
from inrcodec.fitting.fit import fit
from inrcodec.fitting.pretraining import pretrain_gate
from inrcodec.fitting.quantize import quantize
from inrcodec.model.moe import MoEINR
from inrcodec.model.network import from_quantized, initialized
from inrcodec.quantization import QuantizedModel

COLUMNS = (
    "volume", "ratio", "planned bits", "weights", "steps", "float", "file", "bytes", "huffman",
    "zstandard",
)  # fmt: skip
KEY = COLUMNS[:3]
ANCHOR = "6.0"
"""Bits a weight that a float network is counted at."""
TARGET = -0.15
"""Of the file's quality, against that float network's, dB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "volumes", nargs="*", default=["ct_head", "mr_t1_brain_crop", "mr_t2_brain"]
    )
    parser.add_argument("--ratios", default="1024,6000")
    parser.add_argument("--bits", default="4.5,5.3,6,7")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default="docs/benchmarks/bits.csv")
    add_data_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.volumes:
        problem = None
        for ratio in map(int, options.ratios.split(",")):
            for bits in map(float, options.bits.split(",")):
                key = dict(zip(KEY, (name, str(ratio), str(bits)), strict=True))
                if not is_known(options.out, key):
                    problem = problem or Problem(path_of(name, options.data))
                    append(options.out, key | measured(problem, ratio, bits), COLUMNS)
    print_table(lines(options.out))
    draw(lines(options.out), options.out.parent)


def measured(problem: Problem, ratio: int, bits: float) -> dict[str, Any]:
    """The rest of the columns, by the preset ``fast``'s effort."""
    room = problem.room(ratio)
    planner.BITS_PER_WEIGHT = bits
    architecture = planner.plan_architecture(room, problem.coordinates, planner.NetworkChoice())
    effort = planner.plan_effort(planner.Preset.FAST, architecture, problem.header.voxels)
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
    return {
        "weights": architecture.parameters,
        "steps": effort.fit_steps,
        "float": round(fitted, 3),
        "file": round(problem.psnr(from_quantized(coded)), 3),
        "bytes": len(encode_network(coded)),
        "huffman": huffman_bytes(coded),
        "zstandard": zstandard_bytes(coded),
    }


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


def print_table(measurements: Sequence[dict[str, str]]) -> None:
    titles = (
        "volume", "ratio", "weights", "float dB", "file dB", "lost dB", "file over float at 6 bits",
        "bytes", "bits a weight", "Huffman", "zstd -19",
    )  # fmt: skip
    print("|", " | ".join(titles), "|")
    print("|---" * len(titles) + "|")
    for m in measurements:
        anchored = over_anchor(m, measurements)
        cells = (
            m["volume"], m["ratio"], m["weights"], f"{float(m['float']):.2f}",
            f"{float(m['file']):.2f}", f"{float(m['float']) - float(m['file']):.2f}",
            "" if anchored is None else f"{round(anchored, 2) + 0.0:+.2f}",
            m["bytes"], f"{spent(m):.2f}", m["huffman"], m["zstandard"],
        )  # fmt: skip
        print("|", " | ".join(cells), "|")


def over_anchor(m: dict[str, str], measurements: Sequence[dict[str, str]]) -> float | None:
    """dB of a file over the float network whose weights count 6 bits each, if that was fitted."""
    for other in measurements:
        if all(other[k] == m[k] for k in KEY[:2]) and other["planned bits"] == ANCHOR:
            return float(m["file"]) - float(other["float"])
    return None


def spent(m: dict[str, str]) -> float:
    """Bits a weight."""
    return 8 * int(m["bytes"]) / int(m["weights"])


def draw(measurements: Sequence[dict[str, str]], folder: Path) -> None:
    """A panel a ratio: quality of the file against bits a weight, a curve a volume."""
    from matplotlib.figure import Figure

    ratios = list(dict.fromkeys(m["ratio"] for m in measurements))
    figure = Figure(figsize=(5.6 * len(ratios), 4.2), layout="constrained")
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    for axes, ratio in zip(panels, ratios, strict=True):
        curves: dict[str, list[tuple[float, float]]] = {}
        for m in measurements:
            over = over_anchor(m, measurements)
            if m["ratio"] == ratio and over is not None:
                curves.setdefault(m["volume"], []).append((spent(m), over))
        for name, points in curves.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axes.axhline(0, color="#7F7F7F", linewidth=0.8)
        axes.axhline(TARGET, color="#7F7F7F", linewidth=0.8, linestyle="--")
        axes.set_title(f"{ratio}x", loc="left")
        axes.set_xlabel("bits a weight in the file")
        axes.grid(color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("file over float at 6 bits a weight, dB")
    panels[0].legend(frameon=False)
    save_figure(figure, folder, "bits")


if __name__ == "__main__":
    main()
