"""Fuzz one target in this process: `python -m fuzz.worker TARGET RUNS`.

It stops at the first input that raises anything but a `BitstreamError`, takes more than a second of
processor time, or more than 64 MB of memory.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["inrcodec"]):
    from fuzz.targets import TARGETS

from fuzz.mutation import (
    mutate_container,
    mutate_content,
    mutate_lanes,
    mutate_network,
    mutate_stream,
)
from fuzz.seeds import FOLDER, seeds

from inrcodec.entropy.distribution import MAX_WIRE, Distribution
from inrcodec.errors import BitstreamError

MOST_SECONDS = 1.0
MOST_KB = 64 << 10
LONGEST_INPUT = 4096

MUTATORS = {
    "container": mutate_container,
    "info": mutate_content,
    "content": mutate_content,
    "network": mutate_network,
    "exact": mutate_network,
    "entropy": mutate_stream,
    "lanes": mutate_lanes,
}


def fuzz(name: str, runs: int) -> None:
    """Fuzz one target; ends the process."""
    target = TARGETS[name]
    with atheris.instrument_imports(include=["inrcodec"]):
        if name == "content":
            import inrcodec.decoder
        if name == "exact":
            import inrcodec.exact.network
        if name.startswith("dicom"):
            import inrcodec.bitstream.dicom  # noqa: F401
    for wire in range(MAX_WIRE + 1):
        Distribution(wire).table()  # kept for good, whatever the input
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds(name)):
        (corpus / f"seed-{index}").write_bytes(seed)
    most_kb = 0

    def run(data: bytes) -> None:
        nonlocal most_kb
        reset_peak()
        before = peak_kb()
        start = time.process_time()
        try:
            target(data)
        except BitstreamError as error:
            assert len(str(error).splitlines()) == 1
        if time.process_time() - start > MOST_SECONDS:
            raise TimeoutError(f"an input took more than {MOST_SECONDS} s")
        taken = peak_kb() - before
        if taken > most_kb:
            most_kb = taken
            print(f"one input took {taken} KB", flush=True)
        if taken > MOST_KB:
            raise MemoryError(f"an input took more than {MOST_KB} KB")

    arguments = [
        f"-runs={runs}",
        f"-max_len={LONGEST_INPUT}",
        f"-artifact_prefix={FOLDER / name}-",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=MUTATORS.get(name))
    atheris.Fuzz()


def reset_peak() -> None:
    """Make the peak of this process's resident memory what it holds now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_kb() -> int:
    """The most resident memory that this process has held since."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]))
