"""SPERR: a 3D wavelet codec for scientific data."""

from __future__ import annotations

import numpy as np

from inrcodec.bench.codecs.imagecodecs_peer import ImagecodecsPeer
from inrcodec.bench.resampling import FloatArray, Shape

_FEWEST_BITS = 64  # that a volume is given


class Sperr(ImagecodecsPeer):
    """A number of bits per voxel, of which the parameter is the logarithm to base 2."""

    name = function = "sperr"
    settings = "one chunk, bits per voxel searched"
    coarsest, finest = -16.0, 5.0

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        import imagecodecs

        # It takes a budget that rounds to nothing for no limit.
        bits = max(2.0**parameter, _FEWEST_BITS / stack.size)
        if len(stack) == 1:  # which as a chunk ends the process
            return bytes(imagecodecs.sperr_encode(stack[0], bits, "bpp"))
        return bytes(imagecodecs.sperr_encode(stack, bits, "bpp", chunks=stack.shape))

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        import imagecodecs

        return np.asarray(imagecodecs.sperr_decode(data), np.float32).reshape(shape)
