"""Integers with a power-of-two step: what a network is once it is in the file, weights and
activations alike (docs/format.md, "Exact arithmetic")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.architecture import Architecture

MIN_STEP_EXPONENT = -24
MAX_STEP_EXPONENT = 7
"""Steps are 2**exponent."""

MAX_MAGNITUDE = (1 << 15) - 1
"""Largest |integer| a weight may take."""

PHASE_BITS = 14
"""A sine layer's phase is rounded to 2**-14 turns."""

ACTIVATION_BITS = 12
"""Outputs of sine and ReLU layers are multiples of 2**-12."""

OUTPUT_BITS = 24
"""The network's output is a multiple of 2**-24."""


@dataclass(frozen=True, slots=True)
class QuantizedTensor:
    """``integers * 2**step_exponent``; integers int32, any shape, |integer| <= 32767."""

    integers: NDArray[np.int32]
    step_exponent: int

    def dequantize(self) -> NDArray[np.float32]:
        """The exact values, float32 (15-bit integers times a power of two lose nothing)."""
        return np.ldexp(self.integers.astype(np.float32), self.step_exponent)


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A network in integers: one tensor for each of ``architecture.tensors``, in that order.

    Sine layers are in turns: ``W x + b`` is a phase of which 1 is a whole period (docs/format.md,
    "Layers").
    """

    architecture: Architecture
    tensors: tuple[QuantizedTensor, ...]
