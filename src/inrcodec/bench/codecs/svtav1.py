"""SVT-AV1: AV1 video in 10 bits, with the slices as frames."""

from __future__ import annotations

import math

import numpy as np

from inrcodec.bench.codecs import ffmpeg
from inrcodec.bench.codecs.padding import pad, padded_shape
from inrcodec.bench.codecs.peer import Peer
from inrcodec.bench.resampling import FloatArray, Shape

_FORMAT = "yuv420p10le"
_PEAK = 1023
_GREY = 512  # of both chroma planes, which cost nothing
_SMALLEST = 64  # pixels along an edge, which SVT-AV1 asks for
_PARAMETERS = "tune=1:keyint=-1"  # tune=1 is PSNR
_STEP = 0.05
"""By how much one more of the rate factor, an integer, widens the quantizer, about."""


class SvtAv1(Peer):
    """Constant rate factor; the stream of open bitstream units is the file.

    The rate factor is an integer. A fraction of it is made of a smaller amplitude of the values,
    which is to the quantizer what a wider step is.
    """

    name = "svtav1"
    settings = f"preset 4, 10 bits, {_PARAMETERS}, crf and amplitude searched"
    coarsest, finest = 63.0, 1.0
    factors = (1, 2, 4)

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def missing(self) -> str | None:
        return ffmpeg.missing_encoder("libsvtav1", _FORMAT)

    def version(self) -> str:
        return ffmpeg.encoder_version("libsvtav1", _FORMAT, r"(SVT-AV1 Encoder Lib \S+)")

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        crf, fraction = divmod(parameter, 1)
        amplitude = float(np.float16(math.exp(-_STEP * fraction)))
        luma = np.rint(pad(stack, _SMALLEST, multiple=2) * (_PEAK * amplitude))
        slices, height, width = luma.shape
        chroma = np.full((slices, height * width // 2), _GREY)
        frames = np.concatenate([luma.reshape(slices, -1), chroma], axis=1).astype("<u2")
        options = ["-c:v", "libsvtav1", "-preset", "4", "-crf", str(int(crf))]
        options += ["-svtav1-params", f"{_PARAMETERS}:lp={self._threads}"]
        stream = ffmpeg.encode(frames.tobytes(), _FORMAT, width, height, options, "obu")
        return np.float16(amplitude).tobytes() + stream

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        amplitude = float(np.frombuffer(data[:2], np.float16)[0])
        slices, height, width = padded_shape(shape, _SMALLEST, multiple=2)
        plane = height * width
        frames = ffmpeg.decode(data[2:], _FORMAT, "obu", self._threads, 3 * slices * plane)
        values = np.frombuffer(frames, "<u2").reshape(slices, -1)[:, :plane]
        values = values.reshape(slices, height, width)[:, : shape[1], : shape[2]]
        return values.astype(np.float32) / np.float32(_PEAK * amplitude)
