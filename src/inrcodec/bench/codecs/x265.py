"""x265: HEVC video in 12 bits, with the slices as frames."""

from __future__ import annotations

import math

import numpy as np

from inrcodec.bench.codecs import ffmpeg
from inrcodec.bench.codecs.padding import pad, padded_shape
from inrcodec.bench.codecs.peer import Peer
from inrcodec.bench.resampling import FloatArray, Shape

_FORMAT = "gray12le"
_PEAK = 4095
_SMALLEST = 32  # pixels along an edge, which x265 asks for
# One key frame, no text about the encoder, and nothing coded in parallel at the cost of bits.
_PARAMETERS = "keyint=-1:info=0:wpp=0:frame-threads=1"

_WEIGHTED = 64
"""Pixels along an edge below which x265 3.5's weighted prediction writes beyond its memory."""


class X265(Peer):
    """Constant rate factor, fractions of it included; the raw stream is the file."""

    name = "x265"
    settings = f"preset veryslow, tune psnr, 12 bits, {_PARAMETERS}, crf searched"
    coarsest, finest = 51.0, -24.0  # 12 bits have 24 more of it than 8
    factors = (1, 2, 4)

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def missing(self) -> str | None:
        return ffmpeg.missing_encoder("libx265", _FORMAT)

    def version(self) -> str:
        return "x265 " + ffmpeg.encoder_version("libx265", _FORMAT, r"encoder version (\S+)")

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        padded = pad(stack, _SMALLEST, multiple=1)
        _, height, width = padded.shape
        parameters = f"{_PARAMETERS}:pools={self._threads}:log-level=error"
        if min(height, width) < _WEIGHTED:
            parameters += ":weightp=0:weightb=0"
        options = ["-c:v", "libx265", "-preset", "veryslow", "-tune", "psnr", "-x265-params"]
        # ffmpeg's own option for the rate factor has two decimals.
        options += [f"crf={parameter:.6f}:{parameters}"]
        frames = np.rint(padded * _PEAK).astype("<u2").tobytes()
        return ffmpeg.encode(frames, _FORMAT, width, height, options, "hevc")

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        padded = padded_shape(shape, _SMALLEST, multiple=1)
        frames = ffmpeg.decode(data, _FORMAT, "hevc", self._threads, 2 * math.prod(padded))
        values = np.frombuffer(frames, "<u2").reshape(padded)
        return values[:, : shape[1], : shape[2]].astype(np.float32) / np.float32(_PEAK)
