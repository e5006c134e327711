"""ZFP: a transform codec of blocks of 4 x 4 x 4 voxels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inrcodec.bench.codecs.imagecodecs_peer import ImagecodecsPeer
from inrcodec.bench.resampling import FloatArray, Shape


class Zfp(ImagecodecsPeer):
    """Fixed accuracy, its best mode; the parameter is the logarithm of the tolerance to base 2.

    ZFP rounds the tolerance down to a power of two. A fraction of the exponent is made of a smaller
    amplitude of the values.
    """

    name = function = "zfp"
    settings = "fixed accuracy, tolerance and amplitude searched"
    coarsest, finest = 10.0, -20.0

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        import imagecodecs

        exponent = math.floor(parameter)
        amplitude = np.float16(2.0 ** (exponent - parameter))
        scaled = stack * np.float32(amplitude)
        tolerance: Any = 2.0**exponent  # its type says int, which goes for other modes
        data = imagecodecs.zfp_encode(scaled, tolerance, mode="a", execution="serial")
        return amplitude.tobytes() + bytes(data)

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        import imagecodecs

        amplitude = np.float32(np.frombuffer(data[:2], np.float16)[0])
        return np.asarray(imagecodecs.zfp_decode(data[2:]), np.float32) / amplitude
