"""Size and speed of the weight coder against its own ideal and against zstandard.

Run by hand: ``python benchmarks/entropy.py``. Prints the table of docs/benchmarks/entropy.md.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import zstandard
from numpy.typing import NDArray

from inrcodec.entropy.distribution import fit_distribution
from inrcodec.entropy.rans import lane_count, rans_decode, rans_encode

COUNTS = (1_000, 5_000, 100_000, 10_000_000)
SPREADS = (2, 20, 300, 2_000)  # standard deviation, in quantization steps
COLUMNS = (
    "samples", "spread", "n", "lanes", "ideal bits", "bytes", "overhead %",
    "zstd -19 bytes", "encode Msym/s", "decode Msym/s",
)  # fmt: skip


def sample(family: str, spread: float, count: int) -> NDArray[np.int16]:
    """Integer weights, shape (count,)."""
    rng = np.random.default_rng(count + int(spread))
    real = rng.normal(0, spread, count) if family == "Gaussian" else rng.laplace(
        0, spread / np.sqrt(2), count
    )  # fmt: skip
    return np.rint(real).clip(-32768, 32767).astype(np.int16)


def row(family: str, spread: int, count: int) -> tuple[str, ...]:
    weights = sample(family, spread, count)
    distribution = fit_distribution(weights)
    counts, tables = [count], [distribution.table()]
    start = time.perf_counter()
    data = rans_encode(weights, counts, tables)
    encoded = time.perf_counter()
    decoded = rans_decode(data, counts, tables)
    done = time.perf_counter()
    if not np.array_equal(decoded, weights):
        raise SystemExit("round trip failed")
    narrow = weights.astype(np.int8) if np.abs(weights).max() < 128 else weights
    competitor = len(zstandard.ZstdCompressor(level=19).compress(narrow.tobytes()))
    ideal = distribution.bits(weights)
    return (
        family, str(spread), f"{count:,}", str(lane_count(count)), f"{ideal:,.0f}",
        f"{len(data):,}", f"{100 * (8 * len(data) / ideal - 1):.3f}", f"{competitor:,}",
        f"{count / (encoded - start) / 1e6:.1f}", f"{count / (done - encoded) / 1e6:.1f}",
    )  # fmt: skip


def main() -> None:
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    for family, spread, count in itertools.product(("Gaussian", "Laplace"), SPREADS, COUNTS):
        print("|", " | ".join(row(family, spread, count)), "|", flush=True)


if __name__ == "__main__":
    main()
