"""Stored values of the frames of a DICOM file: format checked first, then decoded by pydicom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from inrcodec.errors import InputError, UnsupportedVolumeError
from inrcodec.volume.dicom.codestream import bare, frame_size
from inrcodec.volume.dicom.damage import damage_reported, one_line
from inrcodec.volume.dicom.header import Header

_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_INTEGERS = (8, 16, 32)
_RLE_MAX_RATIO = 64
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")

_EXTRA = "install inrcodec[dicom]"
_PACKAGES = {
    uid.JPEGBaseline8Bit: _EXTRA,
    uid.JPEGLSLossless: _EXTRA,
    uid.JPEGLSNearLossless: _EXTRA,
    **dict.fromkeys(uid.JPEG2000TransferSyntaxes, _EXTRA),
    **dict.fromkeys(
        (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1),
        "install python-gdcm, or pylibjpeg-libjpeg (whose licence is GPL 3)",
    ),
}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a file stores its frames."""

    rows: int
    columns: int
    frames: int
    keyword: str
    allocated: int
    """Bits of a stored value in the file; those used are ``stored`` bits up to ``high_bit``."""
    stored: int
    high_bit: int
    signed: bool
    photometric: str

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = "f" if self.keyword in _FLOATS else "i" if self.signed else "u"
        return np.dtype(f"{kind}{self.allocated // 8}")

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.allocated // 8


def pixel_format(header: Header, frames: int) -> PixelFormat:
    """Return how the file stores its frames.

    Raises ``UnsupportedVolumeError`` for colour, palettes, and bits or encodings that cannot be
    read here; ``InputError`` for attributes that are missing or make no sense, and pixel data of
    another length than they say.
    """
    with damage_reported(header.name):
        result = _read_format(header, frames)
        if header.transfer_syntax.is_encapsulated:
            _require_decoder(header.name, header.transfer_syntax, result)
        elif (
            not 0 <= (header.pixels.length or 0) - result.frame_bytes * frames < result.frame_bytes
        ):
            raise InputError(
                f"{header.name}: {header.pixels.length} bytes of pixel data, where {frames} "
                f"frame(s) of {result.columns} x {result.rows} take {result.frame_bytes * frames}"
            )
        return result


def read_frames(stream: BinaryIO, header: Header, form: PixelFormat) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame, in the order of the file, shape (rows, columns).

    ``stream`` is the file's, inflated if it is deflated. Unused bits are gone: those of unsigned
    values are 0, those of signed values repeat the sign.

    Raises ``InputError`` for damaged pixel data.
    """
    with damage_reported(header.name):
        stream.seek(header.pixels.offset)
        if not header.transfer_syntax.is_encapsulated:
            yield from _native_frames(stream, header, form)
            return
        count = 0
        codes = generate_frames(stream, number_of_frames=form.frames)
        for count, code in enumerate(codes, start=1):
            if count > form.frames:
                raise InputError(f"{header.name}: more than {form.frames} frame(s) of pixel data")
            yield _decode(code, header, form)
        if count < form.frames:
            raise InputError(f"{header.name}: {count} frame(s) of pixel data, not {form.frames}")


def _read_format(header: Header, frames: int) -> PixelFormat:
    name, dataset = header.name, header.dataset

    def integer(keyword: str, low: int, high: int, default: int | None = None) -> int:
        value = dataset.get(keyword, default)
        if value is None:
            raise InputError(f"{name}: no {keyword}")
        if not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{name}: {keyword} is {one_line(value)}, not {low} to {high}")
        return int(value)

    photometric = dataset.get("PhotometricInterpretation")
    if photometric is None:
        raise InputError(f"{name}: no PhotometricInterpretation")
    samples = integer("SamplesPerPixel", 1, 4)
    if samples > 1 or photometric not in _MONOCHROME:
        raise UnsupportedVolumeError(
            f"{name}: colour images ({one_line(photometric)}) are not supported; convert to "
            "grayscale"
        )
    rows, columns = integer("Rows", 1, 65535), integer("Columns", 1, 65535)
    keyword = header.pixels.keyword
    if keyword in _FLOATS:
        bits = _FLOATS[keyword]
        return PixelFormat(rows, columns, frames, keyword, bits, bits, bits - 1, True, photometric)
    allocated = integer("BitsAllocated", 1, 64)
    if allocated not in _INTEGERS:
        raise UnsupportedVolumeError(
            f"{name}: {allocated} bits allocated for a value are not supported; 8, 16 and 32 are"
        )
    stored = integer("BitsStored", 1, allocated)
    high_bit = integer("HighBit", stored - 1, allocated - 1, default=stored - 1)
    signed = bool(integer("PixelRepresentation", 0, 1))
    return PixelFormat(
        rows, columns, frames, keyword, allocated, stored, high_bit, signed, photometric
    )


def _require_decoder(name: str, syntax: UID, form: PixelFormat) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise UnsupportedVolumeError(
            f"{name}: {syntax.name} pixel data are not supported; convert the file"
        ) from None
    # Pillow decodes the 8-bit half of this transfer syntax alone.
    if syntax == uid.JPEGExtended12Bit and form.stored > 8:
        available = any(
            plugin in get_decoder(syntax).available_plugins for plugin in ("gdcm", "pylibjpeg")
        )
    if not available:
        raise UnsupportedVolumeError(
            f"{name}: {syntax.name} pixel data need another package: {_PACKAGES[syntax]}"
        )


def _native_frames(stream: BinaryIO, header: Header, form: PixelFormat) -> Iterator[NDArray[Any]]:
    decoder = get_decoder(header.transfer_syntax)
    frames = decoder.iter_array(
        stream, raw=True, pixel_vr=header.pixels.vr, **_options(form, form.frames)
    )
    for frame, _ in frames:
        yield _used_bits(frame, form)


def _decode(code: bytes, header: Header, form: PixelFormat) -> NDArray[Any]:
    syntax = header.transfer_syntax
    decoder = get_decoder(syntax)
    if syntax == uid.RLELossless:
        if len(code) * _RLE_MAX_RATIO < form.frame_bytes:
            raise InputError(f"{header.name}: truncated: a frame of pixel data is too short")
        # pylibjpeg-rle panics on damaged data.
        frame, _ = decoder.as_array(
            encapsulate([code]), raw=True, index=0, decoding_plugin="pydicom", **_options(form, 1)
        )
        return _used_bits(frame, form)
    code = bare(code, syntax)
    size = frame_size(code, syntax)
    if size != (form.rows, form.columns, 1):
        raise InputError(
            f"{header.name}: a frame of pixel data is encoded as {size[1]} x {size[0]} with "
            f"{size[2]} component(s), not {form.columns} x {form.rows} with 1"
        )
    frame, _ = decoder.as_array(encapsulate([code]), raw=True, index=0, **_options(form, 1))
    return np.asarray(frame)


def _options(form: PixelFormat, frames: int) -> dict[str, Any]:
    return {
        "rows": form.rows,
        "columns": form.columns,
        "number_of_frames": frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": form.photometric,
        "pixel_keyword": form.keyword,
        "bits_allocated": form.allocated,
        "bits_stored": form.stored,
        "pixel_representation": int(form.signed),
        "correct_unused_bits": False,  # pydicom takes the high bit to be the last
    }


def _used_bits(frame: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Return the frame without its unused bits, in place."""
    above = form.allocated - 1 - form.high_bit
    below = form.allocated - form.stored
    if form.keyword not in _FLOATS and below:
        np.left_shift(frame, above, out=frame)
        np.right_shift(frame, below, out=frame)
    return frame
