"""How far a decoded volume is from its original.

Everything is measured on the stored values, in float64, and a block at a time, so the temporary
memory does not grow with the volume.
"""

from __future__ import annotations

from inrcodec.metrics.foreground import find_foreground
from inrcodec.metrics.gradient import gradient_error
from inrcodec.metrics.percentiles import error_percentiles
from inrcodec.metrics.quality import Quality, measure
from inrcodec.metrics.slices import axis_psnr
from inrcodec.metrics.spectrum import SpectrumError, spectrum_error

__all__ = [
    "Quality",
    "SpectrumError",
    "axis_psnr",
    "error_percentiles",
    "find_foreground",
    "gradient_error",
    "measure",
    "spectrum_error",
]
