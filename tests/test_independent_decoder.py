"""docs/format.md, a second decoder that was written from it alone, and the package agree."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import independent_decoder as independent
import numpy as np
import pytest
import zstandard
from dicom_files import image, save_all
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from independent_decoder import Reader
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as ItemSequence
from pydicom.valuerep import format_number_as_ds

from inrcodec import encoding
from inrcodec.architecture import (
    Activation,
    Architecture,
    Gate,
    Mixture,
    Stack,
    Tree,
    TreeLevel,
    single,
)
from inrcodec.bitstream.container import Chunk, ChunkType, write_container
from inrcodec.bitstream.dicom import decode_dicom_header, encode_dicom_header
from inrcodec.bitstream.geometry import NiftiGeometry, encode_geometry
from inrcodec.bitstream.volume_header import VolumeHeader, encode_volume_header
from inrcodec.decoder import decode_bytes
from inrcodec.encoder import Target, encode_volume
from inrcodec.entropy.network import encode_network
from inrcodec.errors import BitstreamError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.planner import Effort
from inrcodec.quantization import QuantizedModel, QuantizedTensor
from inrcodec.volume.dicom.series import DicomHeader
from inrcodec.volume.read import read_volume
from inrcodec.volume.volume import Volume

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.moec"))
MINIMAL_GEOMETRY = b"\0"
SINE, FINER = Activation.SINE, Activation.FINER
NONE, ONE = Stack(0, 0), Stack(1, 1)

WORKED_FILE = bytes.fromhex(
    "4d 4f 45 43 01 03"
    "56 0a 03 08 c7 01 90 03 78 13 ca 1a f1 02 9d ea"
    "47 01 00 16 73 8f 93"
    "4e 19 00 02 01 04 01 02 16 09 15 09 15 09 14 07 17 07 16 04 fd f2 89 f9 a2 06 73 16 d3 55 65"
)
GEOMETRY_EXAMPLE = bytes.fromhex(
    "7c 04 02 02 09 09 3f 40 a0 00 80 3e aa 0a 80 bf a0 bf a0 c0 00 00 10 00 00 00 02"
)


# What both decoders are asked


def package_decode(data: bytes) -> Volume:
    return decode_bytes(data, device="cpu", threads=1)


def assert_agree(data: bytes) -> bool:
    """Whether both decoders accept a file; fails if only one does or what they give differs."""
    try:
        file = independent.decode(data)
    except ValueError:
        with pytest.raises(BitstreamError):
            package_decode(data)
        return False
    volume = package_decode(data)
    assert volume.data.dtype == file.voxels.dtype
    assert volume.data.shape == file.voxels.shape
    assert volume.data.tobytes(order="F") == file.voxels.tobytes(order="F")
    if isinstance(file.geometry, independent.Dicom):
        payload = independent.read_container(data)["D"]
        assert_dicom_agree(payload, file.volume.lengths)
        if file.metadata is not None:
            assert volume.dicom == header_of_elements(file.metadata)
    else:
        assert file.geometry == document_fields(volume.geometry)
        assert volume.header_block == file.metadata
    return True


def assert_dicom_agree(payload: bytes, lengths: tuple[int, ...]) -> bool:
    """As `assert_agree`, of a chunk D."""
    planes = independent.number_of_planes(lengths)
    try:
        series = independent.read_dicom(payload, lengths)
    except ValueError:
        with pytest.raises(BitstreamError):
            decode_dicom_header(payload, planes, DEFAULT_LIMITS)
        return False
    header = decode_dicom_header(payload, planes, DEFAULT_LIMITS)
    assert header.enhanced == series.one_file
    assert plain(header.shared) == plain(series.shared)
    assert [plain(frame) for frame in header.frames] == [plain(plane) for plane in series.planes]
    return True


def plain(attributes: Dataset | independent.Attributes) -> dict[str, object]:
    """Values by keyword in the same form, whichever decoder read them."""
    if isinstance(attributes, Dataset):
        attributes = {element.keyword: element.value for element in attributes}
    return {keyword: plain_value(keyword, value) for keyword, value in attributes.items()}


def plain_value(keyword: str, value: Any) -> object:
    """Decimals as texts, to tell -0 from 0 and not NaN from NaN."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, MultiValue | ItemSequence | list):
        value = [] if value in (None, "") else [value]
    kind = independent.representation(keyword)
    if kind == "SQ":
        return [plain(item) for item in value]
    if kind != "decimals":
        return list(value)
    decimals = [float(v) for v in value]
    if dictionary_VR(keyword) == "DS":
        # A DS has at most 16 characters, and the package rounds to that.
        decimals = [float(format_number_as_ds(v)) if math.isfinite(v) else v for v in decimals]
    return [str(v) for v in decimals]


def header_of_elements(attributes: independent.AllAttributes) -> DicomHeader:
    """The elements as pydicom reads them."""

    def dataset(elements: independent.Elements) -> Dataset:
        data = b"".join(elements[tag] for tag in sorted(elements))
        return read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)

    frames = tuple(dataset(plane) for plane in attributes.planes)
    return DicomHeader(dataset(attributes.shared), frames, attributes.one_file)


def document_fields(geometry: NiftiGeometry) -> independent.Geometry:
    """The fields of the package's geometry under the document's names."""
    fields: independent.Geometry = {
        name: getattr(geometry, name)
        for name in (
            *("dim_info", "xyzt_units", "qform_code", "sform_code", "scl_slope", "scl_inter"),
            *("cal_max", "cal_min", "toffset", "intent_code", "intent_name", "slice_code"),
            *("slice_start", "slice_end", "slice_duration"),
        )
    }
    fields["NIfTI-2"] = geometry.version == 2
    fields["big-endian"] = geometry.byte_order == ">"
    arrays: list[tuple[Sequence[str], tuple[int, ...]]] = [
        (independent.elements("pixdim", range(8)), geometry.pixdim),
        (("quatern_b", "quatern_c", "quatern_d"), geometry.quatern),
        (("qoffset_x", "qoffset_y", "qoffset_z"), geometry.qoffset),
        (independent.SROW, geometry.srow),
        (("intent_p1", "intent_p2", "intent_p3"), geometry.intent_p),
    ]
    for names, values in arrays:
        fields.update(zip(names, values, strict=True))
    return fields


# Files to ask about


def varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*groups, value])


def svarint(value: int) -> bytes:
    return varint(independent.zigzag(value))


def chunk(chunk_type: bytes, payload: bytes) -> bytes:
    data = chunk_type + varint(len(payload)) + payload
    return data + struct.pack("<I", zlib.crc32(data))


def container(*chunks: bytes) -> bytes:
    return b"MOEC\1" + bytes([len(chunks)]) + b"".join(chunks)


def with_checksum(volume: bytes, geometry: bytes, network: bytes) -> bytes:
    """The file of three payloads, with the checksum of its voxels, if it decodes to any."""
    try:
        file = independent.decode_unverified(
            container(chunk(b"V", volume), chunk(b"G", geometry), chunk(b"N", network))
        )
        volume = volume[:-4] + struct.pack("<I", independent.voxels_checksum(file.voxels))
    except ValueError:
        pass
    return write_container(
        [
            Chunk(ChunkType.VOLUME, volume),
            Chunk(ChunkType.GEOMETRY, geometry),
            Chunk(ChunkType.NETWORK, network),
        ]
    )


def volume_payload(
    shape: tuple[int, ...], dtype: str = "int16", low: float = -30000, high: float = 30000
) -> bytes:
    return encode_volume_header(VolumeHeader(np.dtype(dtype), shape, low, high))


def network_payload(
    architecture: Architecture, integers: list[np.ndarray], steps: list[int]
) -> bytes:
    tensors = [
        QuantizedTensor(values.reshape(spec.shape).astype(np.int32), s)
        for spec, values, s in zip(architecture.tensors, integers, steps, strict=True)
    ]
    return encode_network(QuantizedModel(architecture, tuple(tensors)))


def constant_file(geometry: bytes = MINIMAL_GEOMETRY, shape: tuple[int, ...] = (2,)) -> bytes:
    return with_checksum(volume_payload(shape, low=7, high=7), geometry, b"")


# The document's examples


def test_conventions() -> None:
    assert Reader(bytes.fromhex("ac 02")).varint() == 300
    assert [independent.zigzag(n) for n in (0, -1, 1, -2)] == [0, 1, 2, 3]
    assert [independent.unzigzag(z) for z in range(4)] == [0, -1, 1, -2]
    assert Reader(b"\xff" * 9 + b"\x01").varint() == 2**64 - 1
    assert Reader(b"\xff" * 9 + b"\x01").svarint() == -(2**63)
    for damaged in (b"\x80\0", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\x80", b""):
        with pytest.raises(ValueError):
            Reader(damaged).varint()


def test_example_of_chunk_v() -> None:
    data = bytes.fromhex("56 0c 23 04 05 06 ff 0f ff 1f 78 56 34 12 0d 0d d3 86")
    file = Reader(data)
    example = independent.read_chunk(file)
    file.end()
    assert example.type == "V"
    assert independent.read_volume(example.payload) == independent.Volume(
        np.dtype("int16"), (4, 5, 6), -1024, 3071, 0x12345678
    )


def test_example_of_chunk_g() -> None:
    fields = independent.read_geometry(GEOMETRY_EXAMPLE, (4, 5, 6))
    values = {
        name: independent.bits_to_float(fields[name], 32)
        for name in (
            *independent.elements("pixdim", range(8)),
            *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
            *("srow_x[0]", "srow_x[3]", "srow_y[1]", "srow_y[3]", "srow_z[3]", "scl_slope"),
        )
    }
    assert list(values.values()) == [
        *(1, 0.5, 0.5, 2, 1, 1, 1, 1),
        *(0.25, 0, 0, -1, -1.25, -5),
        *(0.5, -1, 0.4375 + 2**-25, -1.25, -5, 1),
    ]
    assert (fields["xyzt_units"], fields["qform_code"], fields["sform_code"]) == (2, 1, 1)
    assert not fields["NIfTI-2"] and not fields["big-endian"]
    assert fields["intent_name"] == b""
    assert assert_agree(constant_file(GEOMETRY_EXAMPLE))


def test_tables() -> None:
    sines, blend = independent.S.tolist(), independent.B.tolist()
    assert sines[:6] == [1, 2, 4, 5, 7, 9] and sines[-6:] == [-9, -7, -5, -4, -2, -1]
    assert blend[:4] == [32736, 32672, 32608, 32544] and blend[-3:] == [0, 0, 0]
    assert zlib.crc32(struct.pack("<16384i", *sines)) == 0x1C69656F
    assert zlib.crc32(struct.pack("<3072i", *blend)) == 0x66B02EC9
    check_values = {
        **{0: 16777216, 1: 16731851, 64: 14107900},
        **{128: 11863283, 192: 9975792, 255: 8411351},
    }
    assert {i: independent.T[i] for i in check_values} == check_values


def test_worked_file() -> None:
    assert len(WORKED_FILE) == 60
    voxels = independent.decode(WORKED_FILE).voxels
    assert voxels.dtype == np.int16
    assert voxels.tolist() == [249, 131, 93, 189, 216, 243, -13, -77]
    assert independent.voxels_checksum(voxels) == 0x1ACA1378
    assert assert_agree(WORKED_FILE)


def test_steps_of_the_worked_file() -> None:
    chunks = independent.read_container(WORKED_FILE)
    volume = independent.read_volume(chunks["V"])
    network = independent.read_network(chunks["N"], volume)
    inputs = independent.samples(volume.lengths)[[0, 5]]
    assert inputs.tolist() == [[-917504], [393216]]

    assert isinstance(network, independent.Tree)
    (root,), (leaves,) = network.levels
    a = independent.layer_sums(root, inputs)
    assert root.u == -22
    assert a.tolist() == [[-2228224, 3407872], [1703936, 786432]]
    assert (a // 2**8 % 2**14).tolist() == [[7680, 13312], [6656, 3072]]
    outputs = independent.sine_layer(root, False, inputs)
    assert outputs.tolist() == [[798, -3784], [2275, 3785]]
    assert independent.node_numbers(1, inputs).tolist() == [0, 1]

    expected = [(7428, 4052, 6100, 12492800, 249), (9534, 3961, 5874, 12029952, 243)]
    for node, (sum_of_node, output, sum_of_head, y, voxel) in enumerate(expected):
        v = outputs[node : node + 1]
        assert leaves.u == -15
        assert independent.layer_sums(leaves, v, node).tolist() == [[sum_of_node]]
        v = independent.sine_layer(leaves, False, v, node)
        assert v.tolist() == [[output]]
        assert network.heads.u == -13
        assert independent.layer_sums(network.heads, v, node).tolist() == [[sum_of_head]]
        outputs_of_head = independent.linear_output(network.heads, v, node)
        assert outputs_of_head.tolist() == [y]
        assert independent.voxel_values(outputs_of_head, volume).tolist() == [voxel]


def test_indices_of_finer() -> None:
    """Of the phases that the document names, as biases in steps of 2^-14."""
    phases = [3, 5000, -5000, 100000, 2**24, -(2**24), 2**24 + 3, -(2**24) - 3]
    bias = np.array(phases)
    layer = independent.Layer([np.zeros((8, 1), np.int64)], [bias], -2, -14, 12, 2**12)
    output = independent.sine_layer(layer, True, np.array([[0]]))
    indices = [3, 5381, 11002, 6827, 0, 0, 0, 0]
    assert output.tolist() == [independent.S[indices].tolist()]


def test_check_values_of_the_distributions() -> None:
    gaussian = independent.distribution(61)
    assert gaussian.K == 9
    assert independent.weights(61) == [
        *(16777216, 14107900, 8388608, 3526975, 1048576, 220435, 32768, 3444, 256, 13)
    ]
    assert gaussian.F[9:] == [3940284, 3313369, 1970142, 828343, 246268, 51772, 7697, 810, 61, 4]
    assert gaussian.start[0] == 0
    frequencies = [independent.distribution(wire).F for wire in range(256)]
    packed = b"".join(struct.pack(f"<{len(F)}I", *F) for F in frequencies)
    assert len(packed) == 5_542_376
    assert zlib.crc32(packed) == 0x29E45A8B
    assert all(sum(F) == 2**24 and min(F) >= 1 for F in frequencies)
    widest = max(range(256), key=lambda wire: len(frequencies[wire]))
    assert widest == 255 and len(frequencies[widest]) == 2 * 52150 + 1


def test_worked_stream_of_one_lane() -> None:
    stream = bytes.fromhex("0e 2e f3 4e 2b f8")
    symbols = [3, -1, 0, 2, -4, 1, 0, 0, -1]
    assert independent.rans_decode(stream, [(61, 6), (162, 3)]) == symbols
    for damaged in (stream + b"\0", b"\0" + stream, stream[:-1], b"", stream[:-1] + b"\xf9"):
        with pytest.raises(ValueError):
            independent.rans_decode(damaged, [(61, 6), (162, 3)])
    assert independent.rans_decode(b"", []) == []
    with pytest.raises(ValueError):
        independent.rans_decode(b"\0", [])
    assert independent.rans_decode(b"\x10\0", [(0, 5)]) == [0] * 5


def test_steps_of_the_worked_stream() -> None:
    """The table of the document, from the encoder's rules."""
    x = 4096
    stream: list[int] = []
    steps = []
    for wire, symbol in reversed(
        [*((61, k) for k in (3, -1, 0, 2, -4, 1)), *((162, k) for k in (0, 0, -1))]
    ):
        model = independent.distribution(wire)
        frequency, start = model.F[model.K + symbol], model.start[model.K + symbol]
        while x >= frequency * 2**15:
            stream.append(x % 256)
            x >>= 8
        x = (x // frequency) * 2**24 + x % frequency + start
        steps.append((symbol, frequency, start, len(stream), x))
    assert steps == [
        (-1, 2859994, 1717864, 0, 0x1A4668),
        (0, 7621500, 4577858, 0, 0x6020AA),
        (0, 7621500, 4577858, 0, 0xA5FAEC),
        (1, 3313369, 10358750, 0, 0x3AC5E3F),
        (-4, 246268, 60344, 0, 0xFA01D9DF),
        (2, 1970142, 13672119, 0, 0x850EE9336),
        (0, 3940284, 6418466, 0, 0x23688CEAF8),
        (-1, 3313369, 3105097, 1, 0xB33E0C78),
        (3, 828343, 15642261, 1, 0xE2EF34E2B),
    ]
    assert bytes(stream) == b"\xf8"
    assert x.to_bytes(5, "little") == bytes.fromhex("2b 4e f3 2e 0e")


def test_worked_stream_of_many_lanes() -> None:
    symbols = [(i * i) % 19 - 9 for i in range(262144)]
    stream = encode_many_lanes(symbols, 61, 32)
    assert len(stream) == 305_520
    assert stream.startswith(bytes.fromhex("01 00 00 fe ff bf d5 00"))
    assert zlib.crc32(stream) == 0xD1E59C44
    assert independent.rans_decode(stream, [(61, 262144)]) == symbols
    for damaged in (stream + b"\0", stream + bytes(4), stream[:-4]):
        with pytest.raises(ValueError):
            independent.rans_decode(damaged, [(61, 262144)])


def encode_many_lanes(symbols: list[int], wire: int, lanes: int) -> bytes:
    """The encoder of the document."""
    model = independent.distribution(wire)
    states = [2**31] * lanes
    words = []
    for i in reversed(range(len(symbols))):
        x = states[i % lanes]
        index = symbols[i] + model.K
        frequency = model.F[index]
        if x >= frequency * 2**39:
            words.append(x % 2**32)
            x >>= 32
        states[i % lanes] = (x // frequency) * 2**24 + x % frequency + model.start[index]
    return struct.pack(f"<{lanes}Q{len(words)}I", *states, *reversed(words))


# The stored files


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_file(path: Path) -> None:
    assert assert_agree(path.read_bytes())


# Random networks

FEW = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT64_MAX = float(np.finfo(np.float64).max)
RANGES: list[tuple[str, float, float]] = [
    ("uint8", 0, 255),
    ("int8", -128, 127),
    ("uint16", 1, 2),
    ("int16", -(2**15), 2**15 - 1),
    ("uint32", 0, 2**32 - 1),
    ("int32", -(2**31), 2**31 - 1),
    ("uint64", 0, 2**64 - 1),
    ("uint64", 2**64 - 1001, 2**64 - 1),
    ("int64", -(2**63), 2**63 - 1),
    ("int64", -(2**63), -(2**63) + 12345),
    ("float32", -FLOAT32_MAX, FLOAT32_MAX),
    ("float32", FLOAT32_MAX - 2.0**105, FLOAT32_MAX),
    ("float32", -(2.0**-149), 2.0**-147),
    ("float32", -0.0, 2.0**-140),
    ("float32", -1.0, -0.0),
    ("float32", 0.5, 1.0),
    ("float64", -FLOAT64_MAX, FLOAT64_MAX),
    ("float64", FLOAT64_MAX - 2.0**972, FLOAT64_MAX),
    ("float64", -(2.0**-1074), 2.0**-1070),
    ("float64", 0.0, 2.0**-1060),
    ("float64", 0.1, 0.3),
]


SHAPES = [(97,), (13, 11), (7, 6, 5), (5, 4, 3, 3), (1, 1, 83), (9, 1, 10, 1), (2, 2), (2, 1)]


@st.composite
def stacks(draw: st.DrawFn, optional: bool = False) -> Stack:
    layers = draw(st.integers(0 if optional else 1, 3))
    return Stack(layers, draw(st.integers(1, 9))) if layers else NONE


@st.composite
def mixtures(draw: st.DrawFn, coordinates: int) -> Mixture:
    gate = Gate(draw(stacks(True)), draw(stacks(True)), draw(st.integers(1, 2)))
    activation = draw(st.sampled_from(Activation))
    experts = draw(st.integers(2, 5))
    return Mixture(coordinates, activation, draw(stacks()), experts, draw(stacks()), gate)


@st.composite
def trees(draw: st.DrawFn, coordinates: int) -> Tree:
    levels = []
    for level in range(draw(st.integers(1, {1: 5, 2: 4, 3: 3, 4: 2}[coordinates]))):
        nodes = 1 << coordinates * level
        period = draw(st.lists(st.integers(1, 7), min_size=1, max_size=min(nodes, 5)))
        widths = tuple(period[node % len(period)] for node in range(nodes))
        levels.append(TreeLevel(draw(st.integers(1, 2)), widths))
    return Tree(coordinates, draw(st.sampled_from(Activation)), tuple(levels))


@st.composite
def networks(draw: st.DrawFn, coordinates: int) -> bytes:
    """A payload of chunk N: some have sums of 2^52 or more, or an output far beyond both ends."""
    architecture: Architecture = draw(st.one_of(trees(coordinates), mixtures(coordinates)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    any_step = draw(st.sampled_from([False, False, True]))
    integers = []
    steps = []
    for spec in architecture.tensors:
        magnitude = int(random.choice([0, 1, 7, 100, 2000, 32767], p=[0.04] + [0.192] * 5))
        values = random.integers(-magnitude, magnitude, spec.shape, endpoint=True)
        if any_step:
            step = int(random.integers(-24, 8))
        else:
            # The largest value is about 1 in what gives the output and up to 64 elsewhere.
            last = spec.name.startswith(("decoder", "heads"))
            largest = int(random.integers(-1, 1 if last else 7))
            step = largest - magnitude.bit_length()
        if spec.name.startswith("gate.output") and random.random() < 0.4:
            # Experts between which the gate cannot choose.
            values[random.integers(len(values)) :] = values[0]
        integers.append(values)
        steps.append(step)
    return network_payload(architecture, integers, steps)


@st.composite
def value_ranges(draw: st.DrawFn) -> tuple[str, float, float]:
    if draw(st.booleans()):
        return draw(st.sampled_from(RANGES))
    dtype = draw(st.sampled_from(independent.VOXEL_TYPES))
    values: st.SearchStrategy[float]
    if dtype.startswith("float"):
        width = 8 * np.dtype(dtype).itemsize
        values = st.floats(width=width, allow_nan=False, allow_infinity=False)
    else:
        limits = np.iinfo(dtype)
        values = st.integers(int(limits.min), int(limits.max))
    low, high = sorted([draw(values), draw(values)])
    assume(low < high)
    return dtype, low, high


@st.composite
def files(draw: st.DrawFn) -> bytes:
    shape = draw(st.sampled_from(SHAPES))
    dtype, low, high = draw(value_ranges())
    network = draw(networks(sum(length > 1 for length in shape)))
    return with_checksum(volume_payload(shape, dtype, low, high), MINIMAL_GEOMETRY, network)


@FEW
@given(files())
def test_random_network(data: bytes) -> None:
    assert_agree(data)


@FEW
@given(files(), st.data())
def test_random_damage(data: bytes, draw: st.DataObject) -> None:
    """One byte of a payload differs, and the checksums are those of what the file then says."""
    payloads = independent.read_container(data)
    name = draw.draw(st.sampled_from("VGNN"))
    payload = bytearray(payloads[name])
    offset = draw.draw(st.integers(0, len(payload) - 1))
    # Lengths and widths are bytes below 128 and stay small.
    payload[offset] = draw.draw(st.integers(0, 127 if offset < 11 else 255))
    payloads[name] = bytes(payload)
    assert_agree(with_checksum(*(payloads[name] for name in "VGN")))


def line(width: int = 1, layers: int = 2, activation: Activation = SINE) -> Tree:
    """A single network on a line."""
    return single(1, activation, Stack(layers, width))


def two_leaves(root: int, width: int = 1) -> Tree:
    return Tree(1, SINE, (TreeLevel(1, (root,)), TreeLevel(1, (width, width))))


def small_mixture(
    experts: int = 2,
    encoder: Stack = ONE,
    expert: Stack = ONE,
    own: Stack = NONE,
    hidden: Stack = NONE,
    active: int = 1,
) -> Mixture:
    return Mixture(1, SINE, encoder, experts, expert, Gate(own, hidden, active))


def small_network(
    architecture: Architecture, steps: dict[str, int], values: dict[str, list[int]]
) -> bytes:
    """Zeros with a step of 1 but for the tensors given."""
    names = [spec.name for spec in architecture.tensors]
    assert {*steps, *values} <= set(names)
    integers = [
        np.array(values.get(spec.name, [0] * spec.size), np.int64) for spec in architecture.tensors
    ]
    return network_payload(architecture, integers, [steps.get(name, 0) for name in names])


@pytest.mark.parametrize(
    ("valid", "architecture", "steps", "values"),
    [
        # 2^51 and 2^52 by a bias, where the inputs are coordinates.
        *(
            (valid, architecture, {f"{name}.weight": -24, f"{name}.bias": 7}, {f"{name}.bias": [b]})
            for valid, b in [(True, 1), (False, -2)]
            for architecture, name in [
                (line(), "levels.0.0"),
                (small_mixture(), "encoder.0"),
                (small_mixture(own=Stack(2, 1)), "gate.encoder.0"),
            ]
        ),
        # The same where they are not: 2^8 times as much.
        *(
            (valid, architecture, {f"{name}.weight": -24, f"{name}.bias": 7}, {f"{name}.bias": [b]})
            for valid, b in [(True, 511), (False, -512)]
            for architecture, name in [
                (line(), "levels.0.1"),
                (small_mixture(own=Stack(2, 1)), "gate.encoder.1"),
            ]
        ),
        # 2^21 x 2^19 x 2^12 by a row of a matrix, the inputs being at most 2^12.
        *(
            (
                valid,
                line(65),
                {"heads.weight": 7, "heads.bias": -24},
                {"heads.weight": [32767] * 64 + [last], "heads.bias": [bias]},
            )
            for valid, last, bias in [(True, 63, 32767), (False, 64, 0), (False, -64, 0)]
        ),
        # The same in the second node of a level alone: rows belong to their nodes.
        *(
            (
                valid,
                two_leaves(65),
                {"levels.1.0.weight": 7, "levels.1.0.bias": -24},
                {"levels.1.0.weight": [0] * 65 + [32767] * 64 + [last]},
            )
            for valid, last in [(True, 63), (False, 64)]
        ),
        (
            True,
            two_leaves(33),
            {"levels.1.0.weight": 7, "levels.1.0.bias": -24},
            {"levels.1.0.weight": [32767] * 66},
        ),
        # 2^13 x 2^19 x 2^20 behind a ReLU, whose output is at most 2^20.
        *(
            (
                valid,
                small_mixture(hidden=Stack(2, 1)),
                {f"gate.{layer}.weight": 7, f"gate.{layer}.bias": -24},
                {
                    f"gate.{layer}.weight": [weight] * rows,
                    f"gate.{layer}.bias": [32767] * rows,
                },
            )
            for valid, weight in [(True, 8191), (False, 8192)]
            for layer, rows in [("hidden.1", 1), ("output", 2)]
        ),
        # The same in the first gate layer, whose inputs are at most 2^12.
        (
            True,
            small_mixture(hidden=Stack(2, 1)),
            {"gate.hidden.0.weight": 7, "gate.hidden.0.bias": -24},
            {"gate.hidden.0.weight": [32767], "gate.hidden.0.bias": [32767]},
        ),
        (
            True,
            small_mixture(active=2),
            {"gate.output.weight": 7, "gate.output.bias": -24},
            {"gate.output.weight": [32767, -32767], "gate.output.bias": [32767, 0]},
        ),
        (
            True,
            small_mixture(own=Stack(1, 1), hidden=Stack(1, 1)),
            {"gate.hidden.0.weight": 7, "gate.hidden.0.bias": -24},
            {"gate.hidden.0.weight": [32767, -32767], "gate.hidden.0.bias": [32767]},
        ),
        # An expert that never acts counts as well.
        (
            False,
            small_mixture(),
            {"experts.0.weight": -24, "experts.0.bias": 7, "gate.output.bias": 7},
            {"experts.0.bias": [0, 512], "gate.output.bias": [1, 0]},
        ),
    ],
)
def test_bound_on_the_sums(
    valid: bool, architecture: Architecture, steps: dict[str, int], values: dict[str, list[int]]
) -> None:
    network = small_network(architecture, steps, values)
    assert assert_agree(with_checksum(volume_payload((5,)), MINIMAL_GEOMETRY, network)) == valid


@pytest.mark.parametrize(
    ("valid", "architecture"),
    [
        (True, line(layers=64)),
        (False, line(layers=65)),
        (True, small_mixture(encoder=Stack(33, 1), expert=Stack(31, 1))),
        (False, small_mixture(encoder=Stack(33, 1), expert=Stack(32, 1))),
        (True, small_mixture(2, Stack(30, 1), Stack(30, 1), Stack(2, 1), Stack(2, 1))),
        (False, small_mixture(2, Stack(30, 1), Stack(30, 1), Stack(3, 1), Stack(2, 1))),
        (True, small_mixture(256)),
        (False, small_mixture(257)),
        (True, Tree(1, SINE, tuple(TreeLevel(1, (1,) * 2**i) for i in range(9)))),
        (False, Tree(1, SINE, tuple(TreeLevel(1, (1,) * 2**i) for i in range(10)))),
        (True, small_mixture(encoder=Stack(1, 4096), own=Stack(1, 4096))),
        (False, small_mixture(encoder=Stack(1, 4097))),
        (False, small_mixture(expert=Stack(1, 4097))),
        (False, small_mixture(own=Stack(1, 4097))),
        (False, small_mixture(hidden=Stack(1, 4097))),
        (True, line(4096, 1)),
        (False, line(4097, 1)),
        (False, two_leaves(1, 4097)),
        (False, Tree(1, SINE, (TreeLevel(1, (1,)), TreeLevel(1, (4097, 1))))),
    ],
)
def test_limits_of_the_network(valid: bool, architecture: Architecture) -> None:
    network = small_network(architecture, {}, {})
    assert assert_agree(with_checksum(volume_payload((5,)), MINIMAL_GEOMETRY, network)) == valid


@pytest.mark.parametrize("active_experts", [1, 2])
@pytest.mark.parametrize(
    ("gate", "first", "second"), [([5, 5, 5], 0, 1), ([4, 5, 5], 1, 2), ([5, 4, 5], 0, 2)]
)
def test_ties_of_the_gate(active_experts: int, gate: list[int], first: int, second: int) -> None:
    outputs = [-700, 100, 900]
    network = small_network(
        small_mixture(3, active=active_experts),
        {"gate.output.bias": -8, "experts.0.bias": -12, "decoder.weight": -1},
        {"gate.output.bias": gate, "experts.0.bias": outputs, "decoder.weight": [1]},
    )
    data = with_checksum(volume_payload((2,), low=-(2**12), high=2**12), MINIMAL_GEOMETRY, network)
    assert assert_agree(data)
    y1, y2 = (int(independent.S[4 * outputs[i] % 2**14]) << 11 for i in (first, second))
    w = 32736 if active_experts == 2 else 0
    y = (y1 * (2**16 - w) + y2 * w) >> 16
    voxels = independent.decode(data).voxels
    assert voxels.tolist() == [-(2**12) + ((y + 2**24) * 2**13 + 2**24 >> 25)] * 2


@pytest.mark.parametrize("range_of_values", RANGES)
def test_saturation(range_of_values: tuple[str, float, float]) -> None:
    """An output far beyond both ends gives the ends."""
    network = small_network(
        line(),
        {"heads.weight": 7, "levels.0.0.weight": -2, "levels.0.1.weight": -2},
        {"heads.weight": [32767], "levels.0.0.weight": [1], "levels.0.1.weight": [1]},
    )
    dtype, low, high = range_of_values
    data = with_checksum(volume_payload((2,), dtype, low, high), MINIMAL_GEOMETRY, network)
    assert assert_agree(data)
    voxels = independent.decode(data).voxels
    assert voxels.tolist() == [low, high]


def test_network_of_many_lanes() -> None:
    gate = Gate(NONE, NONE, 2)
    architecture = Mixture(2, SINE, Stack(2, 512), 2, Stack(1, 4), gate)
    random = np.random.default_rng(1)
    integers = [random.integers(-9, 9, spec.shape, endpoint=True) for spec in architecture.tensors]
    assert sum(values.size for values in integers) >= 2**18
    network = network_payload(architecture, integers, [-4, -4] * (len(integers) // 2))
    volume = volume_payload((5, 4), "uint16", 0, 65535)
    assert assert_agree(with_checksum(volume, MINIMAL_GEOMETRY, network))
    assert not assert_agree(with_checksum(volume, MINIMAL_GEOMETRY, network + bytes(4)))


@pytest.mark.parametrize("shape", [(3,), (16,), (5, 3), (4, 1, 4), (3, 5, 2), (2, 3, 2, 3)])
def test_each_leaf_makes_the_voxels_of_its_cell(shape: tuple[int, ...]) -> None:
    """Heads of a constant each: the voxel is the number of its cell, in Morton order."""
    axes = sum(length > 1 for length in shape)
    levels = 3 if axes < 4 else 2
    widths = [(1,) * 2 ** (axes * level) for level in range(levels)]
    tree = Tree(axes, SINE, tuple(TreeLevel(1, level) for level in widths))
    leaves = 2 ** (axes * (levels - 1))
    network = small_network(tree, {"heads.bias": -14}, {"heads.bias": list(range(leaves))})
    # An output of n x 2^10 is n above the middle of the range.
    volume = volume_payload(shape, low=-(2**14), high=2**14)
    data = with_checksum(volume, MINIMAL_GEOMETRY, network)
    assert assert_agree(data)
    voxels = independent.decode(data).voxels
    for place in np.ndindex(shape):
        pairs = [(p, n) for p, n in zip(place, shape, strict=True) if n > 1]
        cells = [(2 * p + 1) * 2 ** (levels - 1) // (2 * n) for p, n in pairs]
        leaf = sum(
            (c >> k & 1) << (axes * k + d) for d, c in enumerate(cells) for k in range(levels - 1)
        )
        assert voxels[place] == leaf


@pytest.mark.parametrize(
    ("valid", "payload"),
    [
        # The worked file's network, and it with other fields.
        (True, "00 02 01 04 01 02"),
        (True, "04 02 01 04 01 02"),
        (False, "02 02 01 04 01 02"),
        (False, "03 02 01 04 01 02"),
        (False, "08 02 01 04 01 02"),
        (False, "80 02 01 04 01 02"),
        (False, "00 00 01 04 01 02"),
        (False, "00 02 00 04 01 02"),
        (False, "00 02 01 04 01 00"),
        (False, "00 02 01 04 01 03"),
        (False, "00 02 01 05 01 02"),
        (False, "00 02 01 01 02 01 02"),
        (False, "00 02 01 04 01 01 01 01"),
        (False, "00 02 01 04 01 01 00 02"),
        (False, "00 02 01 04 81 00 02"),
    ],
)
def test_fields_of_the_architecture(valid: bool, payload: str) -> None:
    tensors = independent.read_container(WORKED_FILE)["N"][6:]
    network = bytes.fromhex(payload) + tensors
    volume = independent.read_container(WORKED_FILE)["V"]
    assert assert_agree(with_checksum(volume, MINIMAL_GEOMETRY, network)) == valid


@pytest.mark.parametrize(
    ("valid", "fields"),
    [
        (True, "02 01 01 01 01 00 00 01"),
        (True, "02 01 01 01 01 01 01 00 02 01"),
        (True, "02 01 01 01 01 01 01 00 02 00"),
        (False, "02 01 01 01 01 01 01 00 02 02"),
        (True, "02 01 01 01 01 00 03 01 02"),
        (False, "01 01 01 01 01 00 00 01"),
        (False, "02 00 01 01 01 00 00 01"),
        (False, "02 01 00 01 01 00 00 01"),
        (False, "02 01 01 00 01 00 00 01"),
        (False, "02 01 01 01 00 00 00 01"),
        (False, "02 01 01 01 01 01 00 00 01 01"),
        (False, "02 01 01 01 01 00 01 00 01"),
        (False, "02 01 01 01 01 00 00 00"),
        (False, "02 01 01 01 01 00 00 03"),
    ],
)
def test_fields_of_a_mixture(valid: bool, fields: str) -> None:
    """With zeros for all weights, where the fields say how many there are."""
    payload = b"\x05" + bytes.fromhex(fields)
    tensors = 0
    if valid:
        chunk_of_fields = bytes.fromhex(fields)
        own = chunk_of_fields[5]
        hidden = chunk_of_fields[7 if own else 6]
        tensors = 2 * (chunk_of_fields[1] + chunk_of_fields[3] + own + hidden + 2)
    network = payload + b"\x18\0" * tensors + b"\x10\0"
    data = with_checksum(volume_payload((5,)), MINIMAL_GEOMETRY, network)
    assert assert_agree(data) == valid


# Geometry


@st.composite
def geometries(draw: st.DrawFn) -> NiftiGeometry:
    version = draw(st.sampled_from([1, 2]))
    w = 32 * version
    special = [0.0, -0.0, 1.0, -1.0, 0.5, 0.7071068, 2.5, 1e-30, 1e30, np.inf, -np.inf, np.nan]
    patterns = st.one_of(
        st.sampled_from([independent.float_to_bits(value, w) for value in special]),
        st.floats(-2, 2, width=w).map(lambda value: independent.float_to_bits(value, w)),
        st.integers(0, 2**w - 1),
    )

    def floats(number: int) -> tuple[int, ...]:
        if draw(st.booleans()):
            return (0,) * number
        return tuple(draw(st.lists(patterns, min_size=number, max_size=number)))

    ranges = [independent.INTEGER_FIELDS_NIFTI1, independent.INTEGER_FIELDS_NIFTI2][version - 1]

    def integer(name: str) -> int:
        values = ranges[name]
        return draw(st.one_of(st.just(0), st.integers(values.start, values.stop - 1)))

    unit = draw(st.lists(st.integers(-99, 99), min_size=3, max_size=3).filter(any))
    norm = draw(st.sampled_from([1.0, 1 - 4e-8, 1 - 6e-8, 0.5])) / np.linalg.norm(unit)
    quaternion = tuple(independent.float_to_bits(float(norm * part), w) for part in unit)
    geometry = NiftiGeometry(
        version=version,
        byte_order=draw(st.sampled_from("<>")),
        pixdim=floats(8),
        quatern=draw(st.sampled_from([quaternion, floats(3)])),
        qoffset=floats(3),
        srow=floats(12),
        scl_slope=floats(1)[0],
        scl_inter=floats(1)[0],
        cal_max=floats(1)[0],
        cal_min=floats(1)[0],
        toffset=floats(1)[0],
        intent_p=floats(3),
        intent_name=draw(st.binary(max_size=16)).rstrip(b"\0"),
        slice_duration=floats(1)[0],
        **{name: integer(name) for name in ranges},
    )
    if draw(st.booleans()):
        return geometry
    fields = document_fields(geometry)
    distances = draw(st.lists(st.integers(0, 1), min_size=12, max_size=12))
    return replace(
        geometry,
        srow=tuple(
            independent.prediction(name, fields, w) ^ distance
            for name, distance in zip(independent.SROW, distances, strict=True)
        ),
    )


@FEW
@given(geometries(), st.data())
def test_random_geometry(geometry: NiftiGeometry, draw: st.DataObject) -> None:
    payload = encode_geometry(geometry)
    assert independent.read_geometry(payload, (2,)) == document_fields(geometry)
    assert assert_agree(constant_file(payload))
    damaged = bytearray(payload)
    damaged[draw.draw(st.integers(0, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    assert_agree(constant_file(bytes(damaged)))


@pytest.mark.parametrize(
    ("valid", "payload"),
    [
        (True, "00"),
        (True, "03"),
        (False, ""),
        (False, "00 00"),
        (False, "80 00"),
        # Bit 14.
        (False, "80 80 01"),
        # Groups that should be absent.
        (False, "04 00 00 00"),
        (False, "08 00 00"),
        (False, "80 40 00 00 00 00"),
        # pixdim[1] 2, the unused half byte not 0, a longer code, codes reserved.
        (True, "08 09 00 40"),
        (False, "08 09 10 40"),
        (False, "08 0a 00 00 40"),
        (False, "08 05 00 00 00 00 00 00"),
        (False, "08 0d 00 00 00 00 00 40"),
        # pixdim[1] one float above 1, in the shortest and longer codes, and a distance of 0.
        (True, "08 01 00 02"),
        (False, "08 02 00 02 00"),
        (False, "08 0c 00 01 00 80 3f"),
        (False, "08 01 00 00"),
        # intent_name: the last byte 0, too long, and the longest.
        (False, "80 40 00 00 00 02 41 00"),
        (False, "80 40 00 00 00 11" + 17 * "41"),
        (True, "80 40 00 00 00 10" + 16 * "41"),
        # dim_info 255 and 256.
        (True, "80 08 fe 03"),
        (False, "80 08 80 04"),
        # qform_code 32767 and 32768, in NIfTI-2 too.
        (True, "04 00 fe ff 03 00"),
        (False, "04 00 80 80 04 00"),
        (True, "05 00 80 80 04 00"),
    ],
)
def test_geometry_of_one_encoding(valid: bool, payload: str) -> None:
    assert assert_agree(constant_file(bytes.fromhex(payload))) == valid


def test_prediction_by_a_subnormal_product() -> None:
    """NIfTI-2, quatern_b = quatern_c = 2^-535 and pixdim[2] = 2^1000 predict 2^-69."""
    quaternion = bytes.fromhex("a0 0a") + 2 * struct.pack(">d", 2.0**-535)[1::-1]
    spacing = bytes.fromhex("a0 0a") + struct.pack(">d", 2.0**1000)[1::-1] + b"\xf0\x3f"
    payload = bytes([0b11001]) + spacing + quaternion
    fields = independent.read_geometry(payload, (2,))
    assert fields["srow_x[1]"] == independent.float_to_bits(2.0**-69, 64)
    assert assert_agree(constant_file(payload))


# DICOM

TEXTS = {"UI": independent.TERMS[:3]}
DECIMALS = ["1.5", "-29.50", "1e5", "-0", "1.5e-20", "0.33333333333333", "-99999999999999"]
VALUES = {
    "bytes": st.binary(max_size=5),
    "decimals": st.lists(st.sampled_from(DECIMALS), max_size=3),
    "integers": st.lists(st.sampled_from([0, 1, 255, 40000]), max_size=3),
}
OF_FRAMES = ("MREchoSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


@st.composite
def datasets(draw: st.DrawFn, levels: int = 2) -> Dataset:
    dataset = Dataset()
    for keyword in draw(st.lists(st.sampled_from(independent.ATTRIBUTES), max_size=6)):
        setattr(dataset, keyword, draw(values_of(keyword, levels)))
    return dataset


def values_of(keyword: str, levels: int = 0, items: int = 0) -> st.SearchStrategy[Any]:
    """Values of an attribute; of a sequence, at least so many items and at most two."""
    kind, vr = independent.representation(keyword), dictionary_VR(keyword)
    if kind == "SQ":
        most = 2 if levels else items
        return st.lists(datasets(levels - 1), min_size=items, max_size=most).map(ItemSequence)
    if vr == "FD":
        return st.lists(st.floats(width=64), max_size=3)
    return VALUES.get(kind, st.lists(st.sampled_from(TEXTS.get(vr, ["AXIAL", "00"])), max_size=3))


@st.composite
def dicom_series(draw: st.DrawFn) -> tuple[DicomHeader, tuple[int, ...]]:
    """A header and a grid: of attributes by plane, by place along one axis, and on a line."""
    depth, times = draw(st.tuples(st.integers(1, 5), st.integers(1, 3)))
    frames = [Dataset() for _ in range(depth * times)]
    for keyword in draw(st.lists(st.sampled_from(independent.ATTRIBUTES), max_size=5, unique=True)):
        path = draw(st.sampled_from(((), OF_FRAMES[:1], OF_FRAMES[1:])))
        place = draw(st.sampled_from((lambda p: p, lambda p: p % depth, lambda p: p // depth)))
        values = draw(
            st.lists(values_of(keyword, 0, 2), min_size=depth * times, max_size=depth * times)
        )
        if independent.representation(keyword) in ("decimals", "integers") and draw(st.booleans()):
            values = [[3 * k, 100 + k * k // 20] for k in range(depth * times)]
        for p, frame in enumerate(frames):
            setattr(at(frame, path), keyword, values[place(p)])
    header = DicomHeader(draw(datasets()), tuple(frames), draw(st.booleans()))
    return header, (2, 2, depth) if times == 1 else (2, 2, depth, times)


def at(dataset: Dataset, path: Sequence[str]) -> Dataset:
    """The dataset behind sequences of one item."""
    for keyword in path:
        if len(dataset.get(keyword) or []) != 1:
            setattr(dataset, keyword, ItemSequence([Dataset()]))
        dataset = dataset[keyword].value[0]
    return dataset


@FEW
@given(dicom_series(), st.data())
def test_random_series(
    header_and_grid: tuple[DicomHeader, tuple[int, ...]], draw: st.DataObject
) -> None:
    header, lengths = header_and_grid
    payload = encode_dicom_header(header, independent.number_of_planes(lengths))
    assert assert_dicom_agree(payload, lengths)
    read = independent.read_dicom(payload, lengths)
    assert plain(read.shared) == plain(header.shared)
    assert [plain(plane) for plane in read.planes] == [plain(frame) for frame in header.frames]
    damaged = bytearray(payload)
    damaged[draw.draw(st.integers(0, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    assert_dicom_agree(bytes(damaged), lengths)
    cut = draw.draw(st.integers(0, len(payload) - 1))
    assert not assert_dicom_agree(payload[:cut], lengths)
    assert not assert_dicom_agree(payload + b"\0", lengths)


@pytest.mark.parametrize(
    ("valid", "payload"),
    [
        (True, "00 00 00"),
        (True, "01 00 00"),
        (False, "02 00 00"),
        (False, "00 00 00 00"),
        (False, "00 00"),
        (False, ""),
        # Modality: CT, the last term, and the first and last number without one.
        (True, "00 01 01 01 0f 00"),
        (True, "00 01 01 01 c0 02 00"),
        (False, "00 01 01 01 c1 02 00"),
        (False, "00 01 01 01 ff ff ff ff ff ff ff ff ff 01 00"),
        # The last attribute, the first and last number without one, and one twice.
        (True, "00 01 6f 00 00"),
        (False, "00 01 70 00 00"),
        (False, "00 01 ff 00 00"),
        (False, "00 02 01 00 01 00 00"),
        # WindowCenter: 14 digits, an f64, one that is not finite, and reserved ones.
        (True, "00 01 0c 01 2e 00"),
        (True, "00 01 0c 01 0f" + struct.pack("<d", 1 / 3).hex() + "00"),
        (False, "00 01 0c 01 0f" + struct.pack("<d", np.nan).hex() + "00"),
        (False, "00 01 0c 01 0f" + struct.pack("<d", np.inf).hex() + "00"),
        # BitsStored of 65535, 65536 and -1; LUTDescriptor of 40000 and of that beside -1.
        (True, "00 01 11 01 fe ff 07 00"),
        (False, "00 01 11 01 80 80 08 00"),
        (False, "00 01 11 01 01 00"),
        (True, "00 01 24 01 80 f1 04 00"),
        (False, "00 01 24 02 80 f1 04 01 00"),
        (False, "00 01 0c 01 1f 00"),
        (False, "00 01 0c 01 1f" + struct.pack("<d", 1 / 3).hex() + "00"),
        # ModalityLUTSequence in itself: 6 and 7 times.
        (True, "00" + 6 * "01 23 01" + "00 00"),
        (False, "00" + 7 * "01 23 01" + "00 00"),
        # WindowCenter on a line, near one, and with what is reserved.
        (True, "00 00 01 01 0c 00 01 00 02 05"),
        (True, "00 00 01 01 0c 00 01 1e 02 05 01 02 03 04"),
        (False, "00 00 01 01 0c 00 01 10 02 05 01 02 03"),
        (False, "00 00 01 01 0c 00 01 0f 02 05"),
        (False, "00 00 01 01 0c 00 01 20 02 05"),
        # AcquisitionNumber with digits; Modality, ModalityLUTSequence and LUTData as numbers.
        (True, "00 00 01 01 3d 00 01 00 02 05"),
        (False, "00 00 01 01 3d 00 01 01 02 05"),
        (False, "00 00 01 01 01 00 01 00 02 05"),
        (False, "00 00 01 01 23 00 01 00 02 05"),
        (False, "00 00 01 01 25 00 01 00 02 05"),
        # The forms of columns: values one by one, a wrong presence, and unknown forms.
        (True, "00 00 01 01 0c 04 00 00 01 00 01 01 20 00 00"),
        (True, "00 00 01 01 0c 05 00 01 00 01 01 20"),
        (True, "00 00 01 01 0c 06 00 01 00"),
        (True, "00 00 01 01 0c 07 01 00"),
        (False, "00 00 01 01 0c 07 02 00"),
        (False, "00 00 01 01 0c 08 01 00 02 05"),
        (False, "00 00 01 01 0c 80 01 00 02 05"),
        # Paths: none, too long, through WindowWidth, to an unknown attribute.
        (True, "00 00 01 06 23 23 23 23 23 0c 03 00"),
        (False, "00 00 01 00 03 00"),
        (False, "00 00 01 07 23 23 23 23 23 23 0c 03 00"),
        (False, "00 00 01 02 0d 0c 03 00"),
        (False, "00 00 01 02 23 70 07 00"),
        # One attribute twice, by columns of different planes, and behind none or two items.
        (False, "00 00 02 01 0c 03 00 01 0c 03 00"),
        (True, "00 00 02 01 0c 06 01 00 00 01 0c 06 00 01 00"),
        (True, "00 00 02 01 23 06 01 01 00 00 02 23 0c 06 00 01 00"),
        (False, "00 00 02 01 23 07 01 00 02 23 0c 03 00"),
        # Each plane has items of its own, of a sequence that all of them have.
        (True, "00 00 02 01 23 07 01 01 00 02 23 0c 00 01 00 02 06"),
        (False, "00 00 02 01 23 07 01 02 00 00 02 23 0c 03 00"),
    ],
)
def test_fields_of_chunk_d(valid: bool, payload: str) -> None:
    assert assert_dicom_agree(bytes.fromhex(payload), (2, 2, 3, 2)) == valid


def test_whole_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "plan_effort", lambda *_: Effort(20, 2, 1024))
    volume = read_volume(save_all([image(k) for k in range(5)], tmp_path))
    data, _ = encode_volume(volume, target=Target(file_bytes=1500), metadata="full")
    assert assert_agree(data)
    file, chunks = independent.decode(data), independent.read_container(data)
    position = [plane["ImagePositionPatient"] for plane in file.geometry.planes]
    assert position == [[10, 20, -30 + Fraction(5, 2) * k] for k in range(5)]
    v, d, n, m = (chunk(name.encode(), payload) for name, payload in chunks.items())
    assert assert_agree(container(v, d, n))
    assert not assert_agree(container(v, d, n, chunk(b"m", b"\1" + chunks["m"][1:])))
    for others in ((v, d, G, n), (v, G, d, n), (v, n), (d, v, n), (v, n, d), (v, G, n, m)):
        assert not assert_agree(container(*others))


# What is to be rejected

V = chunk(b"V", b"\x00\x02\x00\x00" + struct.pack("<I", zlib.crc32(bytes(2))))
G = chunk(b"G", MINIMAL_GEOMETRY)
N = chunk(b"N", b"")
FRAME = zstandard.ZstdCompressor().compress(bytes(348))


@pytest.mark.parametrize(
    ("valid", "data"),
    [
        (True, container(V, G, N)),
        (True, container(chunk(b"x", b""), V, chunk(b"y", b"1"), G, N, chunk(b"z", b"22"))),
        (False, container(V, chunk(b"x", b""), G, N, chunk(b"x", b""))),
        (False, container(V, G, N, chunk(b"X", b""))),
        (False, container(V, G, N, chunk(b"1", b""))),
        (False, container(V, G, N, chunk(b"\xe9", b""))),
        (False, container(V, G, N, N)),
        (False, container(G, V, N)),
        (False, container(V, G)),
        (False, container(V, G, N) + b"\0"),
        (False, container(V, G, N)[:-1]),
        (False, container(V, G, N)[:-1] + b"\0"),
        (False, b"MOEC\x02" + container(V, G, N)[5:]),
        (False, b"MOED\x00" + container(V, G, N)[5:]),
        (False, container(V, G, chunk(b"N", b"\x01"))),
        (False, b""),
    ],
)
def test_container(valid: bool, data: bytes) -> None:
    assert assert_agree(data) == valid


@pytest.mark.parametrize(
    ("valid", "payload"),
    [
        (True, FRAME),
        (True, zstandard.ZstdCompressor(write_checksum=True).compress(bytes(348))),
        (False, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(348))),
        (False, zstandard.ZstdCompressor().compress(bytes(540))),
        (False, FRAME + FRAME),
        (False, FRAME + b"\0"),
        (False, FRAME[:-1]),
        (False, b"\x50\x2a\x4d\x18" + bytes(4) + FRAME),
        (False, b""),
    ],
)
def test_metadata(valid: bool, payload: bytes) -> None:
    assert assert_agree(container(V, G, N, chunk(b"m", b"\x01" + payload))) == valid
    assert not assert_agree(container(V, G, N, chunk(b"m", b"\x02" + payload)))


@pytest.mark.parametrize(
    ("valid", "payload"),
    [
        (True, b"\x30\x01\x01\x01\x02" + svarint(7) + varint(0)),
        # Reserved bits and voxel types.
        (False, b"\x40\x02\x00\x00"),
        (False, b"\x80\x02\x00\x00"),
        (False, b"\x0a\x02\x00\x00"),
        # No voxel, and one voxel of two values.
        (False, b"\x00\x00\x00\x00"),
        (False, b"\x00\x01\x00\x01"),
        # Too many voxels, and too many for NIfTI-1.
        (False, b"\x10" + varint(2**32) + varint(2**2) + b"\0\0"),
        (False, b"\x00" + varint(32768) + b"\0\0"),
        (True, b"\x00" + varint(32767) + b"\0\0"),
        # Values that the type does not have.
        (True, b"\x00\x02" + varint(255) + varint(0)),
        (False, b"\x00\x02" + varint(256) + varint(0)),
        (False, b"\x01\x02" + svarint(-129) + varint(0)),
        (True, b"\x06\x02" + varint(2**64 - 1) + varint(0)),
        (True, b"\x07\x02" + svarint(-(2**63)) + varint(0)),
        (True, b"\x08\x02" + struct.pack("<ff", -0.0, -0.0)),
        (True, b"\x08\x02" + struct.pack("<ff", -0.0, 0.0)),
        (False, b"\x08\x02" + struct.pack("<ff", np.inf, np.inf)),
        (False, b"\x09\x02" + struct.pack("<dd", np.nan, np.nan)),
    ],
)
def test_volume(valid: bool, payload: bytes) -> None:
    data = with_checksum(payload + bytes(4), MINIMAL_GEOMETRY, b"")
    assert assert_agree(data) == valid


@pytest.mark.parametrize("payload", [b"\x00\x02\x00\x01", b"\x09\x02" + struct.pack("<dd", 1, 0)])
def test_volume_without_its_network(payload: bytes) -> None:
    assert not assert_agree(with_checksum(payload + bytes(4), MINIMAL_GEOMETRY, b""))


def test_checksum_of_the_voxels() -> None:
    for data, size in ((WORKED_FILE, 10), (container(V, G, N), 8)):
        payloads = independent.read_container(data)
        assert len(payloads["V"]) == size
        volume = payloads["V"][:-1] + bytes([payloads["V"][-1] ^ 1])
        damaged = container(
            chunk(b"V", volume), chunk(b"G", payloads["G"]), chunk(b"N", payloads["N"])
        )
        assert not assert_agree(damaged)
