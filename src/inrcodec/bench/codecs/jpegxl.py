"""JPEG XL (libjxl): the slices below each other, as one grey image of 16 bits."""

from __future__ import annotations

import numpy as np

from inrcodec.bench.codecs.imagecodecs_peer import ImagecodecsPeer
from inrcodec.bench.resampling import FloatArray, Shape

_PEAK = 65535
_POWER = 3 / 2.2
"""JPEG XL quantizes cube roots of light, which it takes to be sample values to the power of 2.2:
after this power, those are proportional to the values. It is worth 0.7 to 1.7 dB."""


class JpegXl(ImagecodecsPeer):
    """A distance, of which the parameter is the logarithm to base 2."""

    name = "jpegxl"
    function = "jpegxl"
    settings = "one image, 16 bits, effort 7, values to the power of 3/2.2, distance searched"
    coarsest, finest = np.log2(25.0), -7.0
    factors = (1, 2, 4)

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        import imagecodecs

        image = np.rint(stack**_POWER * _PEAK).astype(np.uint16).reshape(-1, stack.shape[2])
        data = imagecodecs.jpegxl_encode(
            image, distance=2.0**parameter, effort=7, numthreads=self._threads
        )
        return bytes(data)

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        import imagecodecs

        image = imagecodecs.jpegxl_decode(data, numthreads=self._threads)
        values = np.asarray(image).reshape(shape).astype(np.float32) / np.float32(_PEAK)
        return values ** np.float32(1 / _POWER)
