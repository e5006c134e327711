"""What the fuzzer calls: each target reads hostile bytes, and checks what it could read.

A target may raise a `BitstreamError` and nothing else. What is read without one has one encoding
where the format says so: writing it must give the same bytes back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inrcodec.bitstream.architecture import read_architecture, write_architecture
from inrcodec.bitstream.container import chunk_sizes, parse_container
from inrcodec.bitstream.geometry import decode_geometry
from inrcodec.bitstream.metadata import decode_metadata
from inrcodec.bitstream.primitives import ByteReader, ByteWriter
from inrcodec.bitstream.volume_header import decode_volume_header, encode_volume_header
from inrcodec.entropy import rans
from inrcodec.entropy.distribution import Distribution
from inrcodec.entropy.network import decode_network
from inrcodec.entropy.rans import PRECISION, FrequencyTable, rans_decode, rans_encode
from inrcodec.info import read_info
from inrcodec.limits import Limits
from inrcodec.volume.geometry import HEADER_BYTES

LIMITS = Limits(
    file_bytes=1 << 16,
    voxels=1 << 20,
    parameters=1 << 10,
    width=1 << 8,
    metadata_bytes=1 << 12,
    attributes=1 << 14,
)
"""Small, so that an input within them takes a moment; the number of layers is the default one."""

LANES = 3
"""Of the target of that name."""
_MOST_SYMBOLS = 1 << 8


def container(data: bytes) -> None:
    payloads = parse_container(data, LIMITS)
    sizes = chunk_sizes(data, LIMITS)
    assert {chr(letter) for letter in payloads} <= set(sizes)
    assert 6 + sum(sizes.values()) == len(data)


def volume_header(data: bytes) -> None:
    header = decode_volume_header(data, LIMITS)
    assert encode_volume_header(header) == data


def geometry(data: bytes) -> None:
    """The first byte chooses a grid that fits NIfTI-1 or not; `decode_geometry` writes again."""
    decode_geometry(data[1:], (40_000 if data[:1] == b"\1" else 4, 5))


def metadata(data: bytes) -> None:
    """The first byte chooses the NIfTI version."""
    version = 2 if data[:1] == b"\1" else 1
    assert len(decode_metadata(data[1:], version, LIMITS)) == HEADER_BYTES[version]


def architecture(data: bytes) -> None:
    """The first byte chooses the number of coordinates, as in the next two targets."""
    reader, writer = ByteReader(data[1:]), ByteWriter()
    write_architecture(writer, read_architecture(reader, _coordinates(data), LIMITS))
    assert writer.getvalue() == data[1 : 1 + reader.position]


def network(data: bytes) -> None:
    model = decode_network(data[1:], _coordinates(data), LIMITS)
    for spec, tensor in zip(model.architecture.tensors, model.tensors, strict=True):
        assert tensor.integers.shape == spec.shape and tensor.integers.dtype == np.int32


def exact(data: bytes) -> None:
    """The network of chunk N at both ends of the field of view and between them."""
    import torch  # which slows all others down

    from inrcodec.exact.network import ExactNetwork

    coordinates = _coordinates(data)
    decoded = decode_network(data[1:], coordinates, LIMITS)
    evaluated = ExactNetwork(decoded, torch.device("cpu"))
    points = torch.tensor([-(1 << 20), -1, 0, 12345, 1 << 20], dtype=torch.float64)
    samples = torch.stack([points.roll(axis) for axis in range(coordinates)])
    levels, experts = evaluated(samples), evaluated.route(samples)
    assert int(levels.min()) >= 0 and int(levels.max()) <= 1 << 25
    assert int(experts.min()) >= 0 and int(experts.max()) < LIMITS.experts


def _coordinates(data: bytes) -> int:
    return 1 + (data[0] & 3) if data else 1


def entropy(data: bytes) -> None:
    """rANS with one lane, by distributions that the first bytes describe."""
    counts, tables, stream = segments(ByteReader(data))
    symbols = rans_decode(stream, counts, tables)
    assert rans_encode(symbols, counts, tables) == stream


def lanes(data: bytes) -> None:
    """rANS with several lanes, of fewer symbols than a file needs for them."""
    counts, tables, stream = segments(ByteReader(data))
    if sum(counts):
        joined = rans._Segments(counts, tables)
        symbols = rans._decode_interleaved(stream, LANES, counts, tables)
        assert rans._encode_interleaved(joined.rows_of(symbols), LANES, joined) == stream


def segments(reader: ByteReader) -> tuple[list[int], list[FrequencyTable], bytes]:
    """Up to four segments: a count, then a distribution of the format or frequencies at will."""
    counts, tables = [], []
    left = _MOST_SYMBOLS
    for _ in range(1 + (reader.u8() & 3)):
        counts.append(reader.varint() % left)
        left -= counts[-1]
        wire = reader.u8()
        tables.append(_any_table(reader) if wire == 0 else Distribution(wire).table())
    return counts, tables, reader.raw(reader.remaining)


def _any_table(reader: ByteReader) -> FrequencyTable:
    """An alphabet of up to 16 symbols whose cumulative frequencies are given."""
    ends = {1 + reader.uint(3) for _ in range(reader.u8() & 15)} | {0, 1 << PRECISION}
    return FrequencyTable(reader.u8() - 128, np.diff(np.array(sorted(ends), np.int64)))


def dicom(data: bytes) -> None:
    """Chunk D of five slices at two times, and the geometry that it gives them."""
    from inrcodec.bitstream.dicom import decode_dicom_header  # pydicom, which the others do without
    from inrcodec.volume.dicom.volume import geometry_of

    geometry_of(decode_dicom_header(data, (5, 2), LIMITS), (4, 6, 5, 2))


def dicom_metadata(data: bytes) -> None:
    """All attributes of two planes, without the zstandard frame around them."""
    from inrcodec.bitstream.dicom_metadata import read_attributes

    read_attributes(data, 2, LIMITS)


def info(data: bytes) -> None:
    read_info(data, LIMITS).as_dict()


def content(data: bytes) -> None:
    from inrcodec.decoder import parse_content  # imports torch, which slows all others down

    parse_content(data, LIMITS)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        container, volume_header, geometry, metadata, architecture, network, exact, entropy,
        lanes, dicom, dicom_metadata, info, content,
    )
}  # fmt: skip
