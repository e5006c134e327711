"""JPEG 2000 (OpenJPEG): the slices below each other, as one image of 12 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from inrcodec.bench.codecs.imagecodecs_peer import ImagecodecsPeer
from inrcodec.bench.resampling import FloatArray, Shape

_BITS = 12
_PEAK = 4095


class Jpeg2000(ImagecodecsPeer):
    """One quality layer of a PSNR, with the 9/7 wavelet; a codestream without boxes is the file.

    One tall image has one header, and shares its bytes out among the slices by what they need.
    """

    name = "jpeg2000"
    function = "jpeg2k"
    settings = "one image, 12 bits, 9/7 wavelet, PSNR searched"
    coarsest, finest = 5.0, 90.0
    factors = (1, 2, 4)

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def encode(self, stack: FloatArray, parameter: float) -> bytes:
        import imagecodecs

        image = np.rint(stack * _PEAK).astype(np.uint16).reshape(-1, stack.shape[2])
        psnr: Any = parameter  # its type says int, but fractions are heeded
        data = imagecodecs.jpeg2k_encode(
            image,
            psnr,
            codecformat="j2k",
            bitspersample=_BITS,
            reversible=False,
            numthreads=self._threads,
        )
        return bytes(data)

    def decode(self, data: bytes, shape: Shape) -> FloatArray:
        import imagecodecs

        image = imagecodecs.jpeg2k_decode(data, numthreads=self._threads)
        return np.asarray(image).reshape(shape).astype(np.float32) / np.float32(_PEAK)
