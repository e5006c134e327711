"""Inputs to start from: golden and malformed files, or the parts of them that a target reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inrcodec.bitstream.container import ChunkType, parse_container
from inrcodec.errors import BitstreamError
from inrcodec.limits import DEFAULT_LIMITS

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
"""What the fuzzer keeps from one time to the next: inputs of each target, findings, logs."""

_FOLDERS = [Path(__file__).parents[1] / name for name in ("golden", "malformed")]
_MOST_BYTES = 2048

_CHUNKS = {
    "volume_header": (ChunkType.VOLUME, [b""]),
    "geometry": (ChunkType.GEOMETRY, [b"\0", b"\1"]),
    "metadata": (ChunkType.METADATA, [b"\0", b"\1"]),
    "network": (ChunkType.NETWORK, [b"\0", b"\1", b"\2", b"\3"]),
}
"""The chunk that a target reads, and the bytes that it takes in front."""

_SEGMENTS = "01 06 3d 03 a2"
_STREAMS = {
    "entropy": "0e 2e f3 4e 2b f8",
    "lanes": "3f 05 fb c9 bd 00 00 00 0c 2c 37 77 7b 01 00 00 8e ee 8f 2e 3f 00 00 00",
}
"""The two segments of docs/format.md, "Worked example", in one lane and in three."""


def seeds(target: str) -> Iterator[bytes]:
    """Inputs of the target of that name."""
    if target in _STREAMS:
        yield bytes.fromhex(_SEGMENTS + _STREAMS[target])
        return
    for folder in _FOLDERS:
        for path in sorted(folder.glob("*.moec")):
            data = path.read_bytes()
            if len(data) <= _MOST_BYTES:
                yield from _inputs(target, data)


def _inputs(target: str, data: bytes) -> Iterator[bytes]:
    if target in ("container", "info", "content"):
        yield data
    elif target in _CHUNKS:
        letter, prefixes = _CHUNKS[target]
        try:
            payload = parse_container(data, DEFAULT_LIMITS).get(letter)
        except BitstreamError:
            return
        if payload is not None:
            yield from (prefix + payload for prefix in prefixes)
