"""SZ3: a predictive codec for scientific data with a bound on the error."""

from __future__ import annotations

import numpy as np

from inrcodec.bench.codecs.imagecodecs_peer import ImagecodecsPeer
from inrcodec.bench.resampling import FloatArray, Shape


class Sz3(ImagecodecsPeer):
    """A bound on the absolute error, of which the parameter is the logarithm to base 2."""

    name = function = "sz3"
    settings = "absolute error searched"
    coarsest, finest = 0.0, -20.0

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        import imagecodecs

        return bytes(imagecodecs.sz3_encode(stack, "abs", abs=2.0**parameter))

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        import imagecodecs

        return np.asarray(imagecodecs.sz3_decode(data, shape, np.dtype(np.float32)))
