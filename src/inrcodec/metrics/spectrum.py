"""What is left of a volume's power spectrum, and how large the error is, by frequency."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FloatArray = NDArray[np.float64]

_BLOCK = 64  # voxels along each axis


@dataclass(frozen=True, slots=True)
class SpectrumError:
    """Energies by band of the radial frequency |f|, relative to those of the original.

    Attributes:
        edges: (bands + 1,) frequencies between the bands, in cycles per unit of the spacing.
        ratios: (bands, 2): energy of the decoded volume, and of the error, over that of the
            original. NaN where the original has none.
    """

    edges: _FloatArray
    ratios: _FloatArray


def spectrum_error(
    original: NDArray[Any],
    decoded: NDArray[Any],
    spacing: Sequence[float],
    mask: NDArray[np.bool_] | None = None,
    *,
    bands: int = 16,
) -> SpectrumError:
    """Compare the power spectra in bands of equal width, from 0 to the highest frequency that an
    axis has (1 / (2 * spacing), Nyquist's).

    By Welch's method: periodograms of blocks of 64 voxels an axis (fewer on a shorter one) that
    overlap by half, under a Hann window and around the original's mean, are added up, and so are
    the volumes of a fourth axis. ``spacing`` is the distance of voxels along each of the first
    three axes, in one unit. With a ``mask`` of the shape of these, all voxels outside of it are at
    the original's mean inside, in both volumes; its border is part of both spectra.
    """
    shape = original.shape[:3]
    sizes = [min(length, _BLOCK) for length in shape]
    window = functools.reduce(np.multiply.outer, map(_hann, sizes))
    steps = [step for step, length in zip(spacing, shape, strict=False) if length > 1]
    highest = 0.5 / min(steps or spacing)
    band = _bands(sizes, spacing, highest, bands)
    # The transform of real values leaves out half of the frequencies, equal to those it has.
    twice = np.full(sizes[-1] // 2 + 1, 2.0)
    twice[0] = 1
    if sizes[-1] % 2 == 0:
        twice[-1] = 1
    energies = np.zeros((3, bands + 1))
    starts = [_starts(length) for length in shape]
    for volume in range(original.shape[3]) if original.ndim == 4 else (...,):
        for corner in itertools.product(*starts):
            region: tuple[Any, ...] = tuple(map(slice, corner, np.add(corner, sizes)))
            inside = None if mask is None else mask[region]
            if inside is not None and not inside.any():
                continue
            reference = original[(*region, volume)].astype(np.float64)
            error = reference - decoded[(*region, volume)]
            if inside is None:
                reference -= reference.mean()
            else:
                reference -= reference[inside].mean()
                reference *= inside
                error *= inside
            transforms = [np.fft.rfftn(window * part) for part in (reference, error)]
            for i, transform in enumerate((*transforms, transforms[0] - transforms[1])):
                power = (transform.real**2 + transform.imag**2) * twice
                energies[i] += np.bincount(band, power.ravel(), bands + 1)
    source, error_energy, kept = energies[:, :bands]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(source > 0, np.stack((kept, error_energy)) / source, np.nan)
    return SpectrumError(np.linspace(0, highest, bands + 1), ratios.T.copy())


def _hann(size: int) -> _FloatArray:
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def _starts(length: int) -> list[int]:
    """Where blocks that overlap by half or a little more begin, the last at the axis's end."""
    count = max(0, -(-2 * (length - _BLOCK) // _BLOCK)) + 1
    return [round(i) for i in np.linspace(0, max(length - _BLOCK, 0), count)]


def _bands(
    sizes: Sequence[int], spacing: Sequence[float], highest: float, bands: int
) -> NDArray[np.int64]:
    """The band of each coefficient of `np.fft.rfftn`, flat; ``bands`` beyond the last."""
    *others, last = zip(sizes, spacing, strict=False)
    frequencies = [np.fft.fftfreq(*axis) for axis in others] + [np.fft.rfftfreq(*last)]
    squares = functools.reduce(np.add.outer, [f * f for f in frequencies])
    position = np.sqrt(squares).ravel() * (bands / highest)
    # Frequencies lie on edges, of which the lower belongs to a band, and of the last both.
    found = np.minimum(np.floor(position + 1e-9).astype(np.int64), bands - 1)
    return np.where(position > bands + 1e-9, bands, found)
