"""What a file claims is refused by name before memory is spent, and can be allowed by option."""

from __future__ import annotations

import io
import pickle
import re
import tracemalloc
import zlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from inrcodec import encoding
from inrcodec.architecture import Activation, Architecture, Mixture, Stack, single
from inrcodec.bitstream.container import Chunk, ChunkType, read_file, write_container
from inrcodec.bitstream.primitives import ByteWriter
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.cli import main
from inrcodec.decoder import decode_bytes
from inrcodec.encoder import Target, encode_volume
from inrcodec.entropy.network import encode_network
from inrcodec.errors import LimitExceededError, naming
from inrcodec.info import read_info
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.planner import Effort, NetworkChoice
from inrcodec.quantization import QuantizedModel, QuantizedTensor
from inrcodec.volume.nifti import read_nifti

DOCUMENT = Path(__file__).parents[1] / "docs" / "cli.md"

NAMES = [field.name for field in fields(Limits)]

FILE_BYTES = 4096
MOST_MEMORY = 12_000_000
"""Bytes that a refusal may take at most."""

ALL_AS_PREDICTED = b"\0"
"""The payload of chunk G for a NIfTI-1 header without anything of note."""


def volume_chunk(shape: tuple[int, ...], high: int = 0) -> bytes:
    return encode_volume_header(VolumeHeader(np.dtype(np.int16), shape, 0, high))


def network_chunk(*claims: int) -> bytes:
    """The start of a chunk N: all that is read before the limits are checked."""
    writer = ByteWriter()
    for claim in claims:
        writer.varint(claim)
    return writer.getvalue()


def network_of_zeros(architecture: Architecture) -> bytes:
    """A chunk N that is valid, and small for its claims."""
    tensors = (QuantizedTensor(np.zeros(s.shape, np.int32), 0) for s in architecture.tensors)
    return encode_network(QuantizedModel(architecture, tuple(tensors)))


def metadata_chunk(claim: int) -> bytes:
    """A chunk m that is a zstandard frame header of that content size."""
    magic, eight_byte_size_of_one_segment = b"\x28\xb5\x2f\xfd", b"\xe0"
    return b"\x01" + magic + eight_byte_size_of_one_segment + claim.to_bytes(8, "little")


def file_of(volume: bytes, network: bytes = b"", metadata: bytes | None = None) -> bytes:
    """A .moec file of `FILE_BYTES`, filled up with a chunk that readers skip."""
    chunks = [
        Chunk(ChunkType.VOLUME, volume),
        Chunk(ChunkType.GEOMETRY, ALL_AS_PREDICTED),
        Chunk(ChunkType.NETWORK, network),
    ]
    if metadata is not None:
        chunks.append(Chunk(ChunkType.METADATA, metadata))
    file = bytearray(write_container(chunks))
    file[5] += 1
    filling = ByteWriter()
    filling.raw(b"z")
    filling.varint(FILE_BYTES - len(file) - 7)
    filling.raw(bytes(FILE_BYTES - len(file) - 7))
    framed = filling.getvalue()
    return bytes(file) + framed + zlib.crc32(framed).to_bytes(4, "little")


SMALL = volume_chunk((4, 5, 6), high=1)
WIDE = single(3, Activation.SINE, Stack(2, 740))
DEEP = single(3, Activation.SINE, Stack(64, 4096))

HOSTILE: dict[str, tuple[bytes, int]] = {
    "voxels": (file_of(volume_chunk((10_000,) * 3)), 10**12),
    "experts": (file_of(SMALL, network_chunk(1, 257, 1, 1, 1, 1, 0, 0, 1)), 257),
    "layers": (file_of(SMALL, network_chunk(0, 1, 65, 2)), 65),
    "width": (file_of(SMALL, network_chunk(0, 1, 1, 8194)), 4097),
    "parameters": (
        file_of(SMALL, network_chunk(0, 1, 64, 8192)),
        DEEP.parameters,
    ),
    "metadata_bytes": (file_of(volume_chunk((4, 5, 6)), b"", metadata_chunk(10**18)), 10**18),
    "work": (
        file_of(volume_chunk((2048,) * 3, high=1), network_of_zeros(WIDE)),
        2048**3 * WIDE.active_parameters,
    ),
}
"""Files beyond the default limit of a name, and what they claim."""

HEADERS_ONLY = ("voxels", "experts", "layers", "width", "parameters")
"""What `info` meets; it unpacks no metadata and decodes nothing."""


@pytest.fixture(scope="module")
def two_experts(scan: Path) -> bytes:
    """A file that claims at least 2 of everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "plan_effort", lambda *_: Effort(60, 4, 2048))
        target = Target(file_bytes=900)
        choice = NetworkChoice(experts=2)
        return encode_volume(read_nifti(scan), target=target, network=choice, metadata="full")[0]


def claims_of(moec: bytes) -> dict[str, int]:
    info = read_info(moec)
    a = info.architecture
    assert isinstance(a, Mixture)
    return {
        "file_bytes": len(moec),
        "voxels": info.header.voxels,
        "parameters": a.parameters,
        "experts": a.experts,
        "layers": a.layers,
        "width": max(a.encoder.width, a.expert.width, a.gate.encoder.width),
        "metadata_bytes": 348,
        "work": info.header.voxels * a.active_parameters,
    }


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def advice(result: Result) -> list[str]:
    """The options that an error tells the user to add."""
    assert result.exit_code == 4
    assert len(result.stderr.splitlines()) == 1
    found = re.search(r"; if you trust the file, add (--limit [a-z-]+=\d+)$", result.stderr.strip())
    assert found, result.stderr
    return found[1].split()


# The error


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_that_claims_much_is_refused_without_memory(name: str) -> None:
    file, claimed = HOSTILE[name]
    assert len(file) == FILE_BYTES
    readers = [decode_bytes, read_info] if name in HEADERS_ONLY else [decode_bytes]
    for read in readers:
        tracemalloc.start()
        try:
            with pytest.raises(LimitExceededError) as error:
                read(file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (error.value.limit, error.value.claimed) == (name, claimed)
        assert peak < MOST_MEMORY


def test_the_message_tells_what_and_how_to_allow_it() -> None:
    with pytest.raises(LimitExceededError) as error:
        decode_bytes(HOSTILE["voxels"][0])
    assert str(error.value) == (
        "the file claims 1000000000000 voxels, more than the limit of 8589934592; "
        "if you trust the file, add --limit voxels=1000000000000"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_has_its_message(name: str) -> None:
    most = getattr(DEFAULT_LIMITS, name)
    DEFAULT_LIMITS.check(name, most)
    with pytest.raises(LimitExceededError, match=rf" {most + 1} .*, more than .* {most}; .*=\d+$"):
        DEFAULT_LIMITS.check(name, most + 1)


def test_the_message_of_an_absurd_claim_is_short_and_allows_nothing() -> None:
    file = file_of(volume_chunk(((1 << 64) - 1,) * 4))
    with pytest.raises(LimitExceededError) as error:
        read_info(file)
    assert error.value.claimed == ((1 << 64) - 1) ** 4
    assert str(error.value) == (
        "the file claims 1.2e+77 voxels, more than the limit of 8589934592; "
        "no real file needs that: do not trust it"
    )


def test_the_largest_content_size_of_a_frame_is_a_claim_like_any_other() -> None:
    for claim in (1 << 63, (1 << 64) - 3):
        with pytest.raises(LimitExceededError, match="do not trust it"):
            decode_bytes(file_of(volume_chunk((4, 5, 6)), b"", metadata_chunk(claim)))


def test_the_error_keeps_its_attributes_under_a_name_and_between_processes() -> None:
    with (
        pytest.raises(LimitExceededError, match=r"^a\.moec: the file claims 300 e") as error,
        naming("a.moec"),
    ):
        DEFAULT_LIMITS.check("experts", 300)
    copy = pickle.loads(pickle.dumps(error.value))
    for found in (error.value, copy):
        assert (found.limit, found.claimed) == ("experts", 300)
    assert str(copy) == str(error.value)


# The size of a file


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.moec"
    size = DEFAULT_LIMITS.file_bytes + 1
    with path.open("wb") as file:
        file.truncate(size)
    with path.open("rb") as file, pytest.raises(LimitExceededError) as error:
        tracemalloc.start()
        try:
            read_file(file, DEFAULT_LIMITS)
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert (error.value.limit, error.value.claimed) == ("file_bytes", size)
    assert peak < MOST_MEMORY


def test_only_what_is_left_of_a_file_counts() -> None:
    file = io.BytesIO(b"header" + b"moec")
    file.seek(6)
    assert read_file(file, Limits(file_bytes=4)) == b"moec"


class Endless(io.RawIOBase):
    """A stream of zeros, like a pipe: it has no size and no end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return len(buffer)


def test_a_stream_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(LimitExceededError) as error:
        read_file(io.BufferedReader(Endless()), Limits(file_bytes=3 << 20))
    assert error.value.claimed <= 4 << 20


# The option


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("planes", "attributes")])
def test_each_limit_can_be_set_and_the_advice_works(
    name: str, two_experts: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.moec").write_bytes(two_experts)
    claimed = claims_of(two_experts)[name]
    assert claimed >= 2
    option = name.replace("_", "-")
    for command in ("decode", "info"):
        arguments = [command, "a.moec", *(["--quiet"] if command == "decode" else [])]
        too_little = run(*arguments, "--limit", f"{option}={claimed - 1}")
        if command == "info" and name in ("metadata_bytes", "work"):
            assert too_little.exit_code == 0
            continue
        assert too_little.stderr.startswith("inrcodec: error: a.moec: ")
        assert advice(too_little) == ["--limit", f"{option}={claimed}"]
        assert run(*arguments, *advice(too_little)).exit_code == 0
    assert Path("a.decoded.nii.gz").exists()


@pytest.mark.parametrize("name", HEADERS_ONLY)
def test_each_default_can_be_raised(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.write_bytes(HOSTILE[name][0])
    assert run("info", path, *advice(run("info", path))).exit_code == 0


def test_several_limits_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.write_bytes(file_of(volume_chunk((10_000,) * 3, high=1), network_chunk(0, 1, 65, 18)))
    first = advice(run("info", path))
    second = advice(run("info", path, *first))
    assert (first[1], second[1]) == ("voxels=1000000000000", "layers=65")
    assert run("info", path, *first, *second).exit_code == 0


@pytest.mark.parametrize("command", ["decode", "info"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("pixels=5", f"'pixels' is not one of {', '.join(n.replace('_', '-') for n in NAMES)}."),
        ("file_bytes=5", "'file_bytes' is not one of"),
        ("=5", "'' is not one of"),
        ("voxels", "'' is not a valid integer"),
        ("voxels=many", "'many' is not a valid integer"),
        ("voxels=1e9", "'1e9' is not a valid integer"),
        ("voxels=0", "0 is not in the range x>=1"),
        ("voxels=-1", "-1 is not in the range x>=1"),
    ],
)
def test_usage(command: str, value: str, message: str) -> None:
    result = run(command, "a.moec", "--limit", value)
    assert result.exit_code == 2
    assert message in result.stderr


def test_underscores_may_group_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.moec"
    path.write_bytes(HOSTILE["voxels"][0])
    assert run("info", path, "--limit", "voxels=1_000_000_000_000").exit_code == 0


def test_the_defaults_are_documented() -> None:
    section = DOCUMENT.read_text().split("\n## Limits\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([a-z-]+)` \|.*\| (\d+) \|$", section, re.M)
    expected = [(n.replace("_", "-"), str(getattr(DEFAULT_LIMITS, n))) for n in NAMES]
    assert documented == expected
