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
    **{
        name: (ChunkType.NETWORK, [b"\0", b"\1", b"\2", b"\3"])
        for name in ("architecture", "network", "exact")
    },
}
"""The chunk that a target reads, and the bytes that it takes in front."""

_SEGMENTS = "01 06 3d 03 a2"
_STREAMS = {
    "entropy": "0e 2e f3 4e 2b f8",
    "lanes": "3f 05 fb c9 bd 00 00 00 0c 2c 37 77 7b 01 00 00 8e ee 8f 2e 3f 00 00 00",
}
"""The two segments of docs/format.md, "Worked example", in one lane and in three."""

_ATTRIBUTES = {
    "dicom": (
        "00 0e 02 03 0a 0c 0e 00 01 00 01 01 0f 07 01 a1 06 04 06 20 00 00 00 20 00 0f 01 12 "
        "06 02 a1 01 e2 12 10 01 20 11 01 20 12 01 02 0c 02 80 0a 80 64 0d 02 80 14 80 f7 02 "
        "0a 01 f0 ff 01 09 01 20 03 01 42 00 01 10 00 c8 01 13 2b 3f 57 58 44 2c 18 01 05 01 "
        "03 00 14 00 00 28 00 01 d7 04 c8 01 01 3e 02 01 00 02 02 "
    ),
    "dicom_metadata": (
        "01 2e 08 00 05 00 43 53 0a 00 49 53 4f 5f 49 52 20 31 39 32 10 00 10 00 50 4e 04 00 "
        "4d c3 bc 20 28 00 30 00 44 53 08 00 31 2e 30 5c 32 2e 30 20 02 03 20 08 00 40 11 53 "
        "51 00 00 14 00 00 00 fe ff 00 e0 0c 00 00 00 08 00 55 11 55 49 04 00 31 2e 30 00 20 "
        "08 00 40 11 53 51 00 00 14 00 00 00 fe ff 00 e0 0c 00 00 00 08 00 55 11 55 49 04 00 "
        "31 2e 31 00 0a 20 00 13 00 49 53 02 00 30 20 0a 20 00 13 00 49 53 02 00 31 20 0c 20 "
        "00 00 40 4c 54 04 00 c3 a4 30 20 0c 20 00 00 40 4c 54 04 00 c3 a4 31 20 "
    ),
}
"""Of a CT series of five slices at two times; of two frames with a sequence and other letters."""


def seeds(target: str) -> Iterator[bytes]:
    """Inputs of the target of that name."""
    if target in _STREAMS:
        yield bytes.fromhex(_SEGMENTS + _STREAMS[target])
        return
    if target in _ATTRIBUTES:
        yield bytes.fromhex(_ATTRIBUTES[target])
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
