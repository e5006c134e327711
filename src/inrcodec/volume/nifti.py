"""Reading and writing NIfTI-1 and NIfTI-2 single files, .nii and .nii.gz.

Voxels are the stored values: slope and intercept are carried as header fields, never applied.
Header extensions are not kept.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header, data_type_codes
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import Nifti2Header
from nibabel.nifti2 import header_dtype as nifti2_dtype
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from inrcodec.errors import InputError, NonFiniteError, OutOfMemoryError, UnsupportedVolumeError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.volume.geometry import HEADER_BYTES, ByteOrder, NiftiGeometry, NiftiVersion
from inrcodec.volume.volume import MAX_AXES, VOXEL_DTYPES, Volume

_HEADER_DTYPES: dict[NiftiVersion, np.dtype[Any]] = {1: nifti1_dtype, 2: nifti2_dtype}
_SINGLE_MAGIC: dict[NiftiVersion, bytes] = {1: b"n+1", 2: b"n+2"}
_PAIR_MAGICS = (b"ni1", b"ni2")
_EOL_CHECK = (13, 10, 26, 10)

_EXTENSION_FLAG_BYTES = 4
_MAX_DATA_OFFSET = DEFAULT_LIMITS.metadata_bytes

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_LEVEL = 4
_DEFLATE_MAX_RATIO = 1032
_BLOCK_BYTES = 1 << 20

# Fields that the header and NiftiGeometry hold alike; the others there are grouped into tuples.
_SCALAR_FIELDS = (
    "dim_info",
    "xyzt_units",
    "qform_code",
    "sform_code",
    "scl_slope",
    "scl_inter",
    "cal_max",
    "cal_min",
    "toffset",
    "intent_code",
    "slice_code",
    "slice_start",
    "slice_end",
    "slice_duration",
)
_TUPLE_FIELDS = {
    "pixdim": ("pixdim",),
    "quatern": ("quatern_b", "quatern_c", "quatern_d"),
    "qoffset": ("qoffset_x", "qoffset_y", "qoffset_z"),
    "srow": ("srow_x", "srow_y", "srow_z"),
    "intent_p": ("intent_p1", "intent_p2", "intent_p3"),
}


def read_nifti(path: str | Path, nonfinite: Literal["refuse", "zero"] = "refuse") -> Volume:
    """Read the stored voxels and the header of a single-file NIfTI, compressed or not.

    ``nonfinite`` says what happens to NaN and infinite voxels: refused, or replaced by 0.

    Raises ``UnsupportedVolumeError`` for colour, complex and 128-bit voxels, more than four axes,
    header/image pairs, and more voxels than a file may hold; ``NonFiniteError`` for NaN and
    infinite voxels; ``InputError`` for a file that is missing, damaged, truncated, or not NIfTI;
    ``OutOfMemoryError``.
    """
    path = Path(path)
    try:
        with _open(path) as (stream, capacity):
            version, byte_order, block = _read_header(stream, path)
            records = _records(version, byte_order, block)
            dtype = _dtype(records[0], path).newbyteorder(byte_order)
            data = _read_voxels(stream, capacity, dtype, records[0], path)
    except (OSError, EOFError, zlib.error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{path}: cannot be read: {reason}") from error
    if data.dtype.kind == "f":
        _settle_nonfinite(data, nonfinite, path)
    geometry = _geometry(version, byte_order, records)
    return Volume(data=data, geometry=geometry, header_block=block, source=str(path))


def write_nifti(
    volume: Volume, output: str | Path | BinaryIO, *, compress: bool | None = None
) -> None:
    """Write ``volume`` as a NIfTI file of its version and byte order, in bounded memory.

    ``compress`` says whether the file is gzipped; by default a path that ends in ``.gz`` is and an
    open file is not. A path is overwritten in place, an open binary file is left open; ``OSError``
    passes through.

    With ``volume.header_block``, that block comes back as it was, and the voxels start where it
    says; what lay between (header extensions) is zeros. Without it, fields outside of
    ``NiftiGeometry`` are empty.
    """
    if isinstance(output, str | Path):
        if compress is None:
            compress = str(output).lower().endswith(".gz")
        with open(output, "wb") as file:
            write_nifti(volume, file, compress=compress)
        return
    if compress:
        # No name and no time in the gzip header: equal volumes give equal files.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, output, mtime=0) as stream:
            write_nifti(volume, stream)  # type: ignore[arg-type]
        return
    output.write(_preamble(volume))
    disk_dtype = volume.data.dtype.newbyteorder(volume.geometry.byte_order)
    blocks = np.nditer(
        volume.data,
        flags=["external_loop", "buffered"],
        order="F",
        op_dtypes=[disk_dtype],
        casting="equiv",
        buffersize=_BLOCK_BYTES // disk_dtype.itemsize,
    )
    for block in blocks:
        output.write(np.asarray(block).tobytes())


def read_affine(geometry: NiftiGeometry, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the (4, 4) affine from voxel indices to RAS+ mm, as nibabel reads it from a file of
    that geometry: that of the sform; without one, of the qform; without either, one that puts the
    middle of the volume at 0.

    Raises ``ValueError`` for a qform that gives none.
    """
    nothing = np.broadcast_to(np.uint8(0), shape)
    block = _preamble(Volume(nothing, geometry, header_block=None, source=""))
    header_class: Any = Nifti1Header if geometry.version == 1 else Nifti2Header
    header = header_class(block[: HEADER_BYTES[geometry.version]], geometry.byte_order, check=False)
    # What nibabel mends when it opens a file (a qfac of 0, say), without its messages.
    header.check_fix(logging.Logger("silent", logging.CRITICAL), error_level=logging.CRITICAL)
    try:
        return np.asarray(header.get_best_affine(), np.float64)
    except HeaderDataError as error:
        raise ValueError(str(error)) from None


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Yield the uncompressed stream of ``path`` and an upper bound of its length in bytes."""
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not compressed:
            yield file, size
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            yield stream, size * _DEFLATE_MAX_RATIO  # type: ignore[misc]


def _read_header(stream: BinaryIO, path: Path) -> tuple[NiftiVersion, ByteOrder, bytes]:
    pair = f"{path}: header/image pairs are not supported; convert to a single .nii file"
    if path.suffix.lower() in (".hdr", ".img"):
        raise UnsupportedVolumeError(pair)
    block = stream.read(HEADER_BYTES[1])
    version, byte_order = _detect(block, path)
    block += stream.read(HEADER_BYTES[version] - len(block))
    if len(block) < HEADER_BYTES[version]:
        raise InputError(f"{path}: truncated in the NIfTI header; copy it again")
    header = _records(version, byte_order, block)[0]
    magic = bytes(header["magic"])
    if magic in _PAIR_MAGICS:
        raise UnsupportedVolumeError(pair)
    if magic != _SINGLE_MAGIC[version]:
        raise InputError(f"{path}: not a NIfTI file (magic {magic!r})")
    if version == 2 and tuple(header["eol_check"]) not in (_EOL_CHECK, (0, 0, 0, 0)):
        raise InputError(f"{path}: damaged by a conversion of line endings; copy it as binary")
    return version, byte_order, block


def _detect(block: bytes, path: Path) -> tuple[NiftiVersion, ByteOrder]:
    """Return version and byte order, which sizeof_hdr (the first field) tells."""
    for version, size in HEADER_BYTES.items():
        if block[:4] == size.to_bytes(4, "little"):
            return version, "<"
        if block[:4] == size.to_bytes(4, "big"):
            return version, ">"
    raise InputError(f"{path}: not a NIfTI file")


def _records(version: NiftiVersion, byte_order: ByteOrder, block: bytes) -> NDArray[Any]:
    """Return the header block as a writable structured array, shape (1,)."""
    return np.frombuffer(bytearray(block), _HEADER_DTYPES[version].newbyteorder(byte_order))


def _read_voxels(
    stream: BinaryIO, capacity: int, dtype: np.dtype[Any], header: Any, path: Path
) -> NDArray[Any]:
    """Return the voxels in native byte order; ``dtype`` is that of the file."""
    shape = _shape(header, path)
    voxels = math.prod(shape)
    if voxels > DEFAULT_LIMITS.voxels:
        raise UnsupportedVolumeError(
            f"{path}: {voxels} voxels; at most {DEFAULT_LIMITS.voxels} are supported"
        )
    offset = _data_offset(header)
    if offset is None:
        raise InputError(f"{path}: vox_offset {header['vox_offset']} lies inside the header")
    truncated = (
        f"{path}: truncated: the header claims {voxels} voxels of {dtype.name}; copy it again"
    )
    if offset + voxels * dtype.itemsize > capacity:
        raise InputError(truncated)
    stream.seek(offset)
    try:
        data = np.empty(voxels, dtype)
    except MemoryError as error:
        raise OutOfMemoryError(f"{path}: {voxels} voxels do not fit in memory") from error
    unread = data.view(np.uint8).data
    while unread:
        count = stream.readinto(unread)  # type: ignore[attr-defined]
        if not count:
            raise InputError(truncated)
        unread = unread[count:]
    # The checksum of a gzip file is verified at its end only.
    while stream.read(_BLOCK_BYTES):
        pass
    if not dtype.isnative:
        data = data.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return data.reshape(shape, order="F")


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    try:
        name = str(data_type_codes.label[code])
    except KeyError:
        raise InputError(f"{path}: unknown NIfTI data type {code}") from None
    if name not in VOXEL_DTYPES:
        raise UnsupportedVolumeError(
            f"{path}: {name} voxels are not supported; convert to an integer or float type of at "
            "most 64 bits"
        )
    return np.dtype(name)


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    axes, *lengths = (int(value) for value in header["dim"])
    if axes > MAX_AXES:
        raise UnsupportedVolumeError(f"{path}: {axes} axes; at most {MAX_AXES} are supported")
    shape = tuple(lengths[: max(axes, 0)])
    if not shape or min(shape) < 1:
        raise InputError(f"{path}: no voxels: the header claims the shape {shape}")
    return shape


def _data_offset(header: Any) -> int | None:
    """Return where the voxels start, in bytes; None if that is no place after the header."""
    offset = float(header["vox_offset"])
    least = header.dtype.itemsize + _EXTENSION_FLAG_BYTES
    return int(offset) if math.isfinite(offset) and offset >= least else None


def _settle_nonfinite(data: NDArray[Any], nonfinite: Literal["refuse", "zero"], path: Path) -> None:
    finite = np.isfinite(data)
    count = data.size - int(np.count_nonzero(finite))
    if count and nonfinite == "refuse":
        raise NonFiniteError(
            f"{path}: {count} voxels are NaN or infinite; to code them as 0, add --nonfinite zero "
            "(in Python, nonfinite='zero')"
        )
    if count:
        data[~finite] = 0


def _geometry(version: NiftiVersion, byte_order: ByteOrder, records: NDArray[Any]) -> NiftiGeometry:
    values: dict[str, Any] = {name: int(_bits(records[name])[0]) for name in _SCALAR_FIELDS}
    for name, parts in _TUPLE_FIELDS.items():
        values[name] = tuple(int(bits) for part in parts for bits in _bits(records[part]).flat)
    return NiftiGeometry(
        version=version,
        byte_order=byte_order,
        intent_name=bytes(records["intent_name"][0]),
        **values,
    )


def _preamble(volume: Volume) -> bytes:
    """Return what precedes the voxels: header block, extension flag, padding."""
    geometry, data = volume.geometry, volume.data
    version = geometry.version
    header_bytes = HEADER_BYTES[version]
    records = _records(version, geometry.byte_order, volume.header_block or bytes(header_bytes))
    header = records[0]
    if volume.header_block is None:
        header["dim"] = 1
        if version == 1:
            header["regular"] = b"r"
        else:
            header["eol_check"] = _EOL_CHECK
    header["sizeof_hdr"] = header_bytes
    header["magic"] = _SINGLE_MAGIC[version]
    # Axes of the original that are not decoded.
    header["dim"][1 + data.ndim : 1 + int(header["dim"][0])] = 1
    header["dim"][: 1 + data.ndim] = (data.ndim, *data.shape)
    header["datatype"] = data_type_codes.code[data.dtype.name]
    header["bitpix"] = 8 * data.dtype.itemsize
    header["intent_name"] = geometry.intent_name
    for name in _SCALAR_FIELDS:
        _bits(records[name])[0] = getattr(geometry, name)
    for name, parts in _TUPLE_FIELDS.items():
        values = np.array(getattr(geometry, name), np.uint64).reshape(len(parts), -1)
        for part, bits in zip(parts, values, strict=True):
            _bits(records[part]).reshape(-1)[:] = bits
    offset = _data_offset(header)
    if offset is None or offset > _MAX_DATA_OFFSET:
        offset = header_bytes + _EXTENSION_FLAG_BYTES
        header["vox_offset"] = offset
    return records.tobytes().ljust(offset, b"\0")


def _bits(field: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a header field: integers as they are, floats as their bit patterns."""
    return field.view(field.dtype.str.replace("f", "u"))
