"""Where the samples of a volume lie: all of its voxels, a part of them, or points between them.

Position ``p`` of an axis is an index of its voxels, fractional between their centres. The network
knows it as the coordinate ``(2 p + 1 - n) / n`` on an axis of ``n`` voxels, so that the field of
view spans -1..1 from edge to edge, in fixed point (docs/format.md, "Samples").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import LimitExceededError, RegionError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.region import AXIS_NAMES, select_voxels

COORDINATE_BITS = 20
"""Fraction bits of a coordinate, whose unit is half the field of view."""

SPATIAL_AXES = 3
"""The axes that are resampled: x, y, z. The fourth is time."""

_TOO_MANY = 1 << 64


@dataclass(frozen=True, slots=True)
class AxisSamples:
    """Evenly spaced samples along one axis: sample ``j`` at position (first + j step) / divisor.

    Raises ``ValueError`` for no samples, and for samples outside of the field of view.
    """

    length: int
    """Voxels of the axis."""
    count: int
    """Samples, at least 1."""
    first: int
    step: int
    """Negative where the axis is reversed."""
    divisor: int
    """At least 1."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.count < 1 or self.divisor < 1:
            raise ValueError(f"{self} has no samples")
        for position in (self.first, self.first + (self.count - 1) * self.step):
            if not -self.divisor <= 2 * position <= (2 * self.length - 1) * self.divisor:
                raise ValueError(f"{self} leaves the field of view")

    @classmethod
    def whole(cls, length: int) -> AxisSamples:
        """Every voxel of an axis of ``length``."""
        return cls(length, length, 0, 1, 1)

    @property
    def origin(self) -> float:
        """Position of sample 0, in voxels."""
        return self.first / self.divisor

    @property
    def spacing(self) -> float:
        """Distance from each sample to the next, in voxels; negative where reversed."""
        return self.step / self.divisor

    @property
    def is_whole(self) -> bool:
        """Whether the samples are the voxels of the axis, all of them in their order."""
        return self == self.whole(self.length)

    def crop(self, selected: range) -> AxisSamples:
        """Keep the samples whose numbers are ``selected``, in that order."""
        return AxisSamples(
            self.length,
            len(selected),
            self.first + selected.start * self.step,
            selected.step * self.step,
            self.divisor,
        )

    def resample(self, count: int) -> AxisSamples:
        """Replace neighbouring voxels by ``count`` samples over the same field of view.

        Of a run of r voxels from s on, sample j is at s - 1/2 + (j + 1/2) r / count.

        Raises ``RegionError`` for a count below 1, for samples that are not neighbouring voxels,
        and for an axis of one voxel, along which there is nothing to tell samples apart.
        """
        if count == self.count:
            return self
        if count < 1:
            raise RegionError(f"{count} samples; take at least one")
        if self.length == 1:
            raise RegionError("an axis of one voxel cannot be resampled")
        if self.divisor != 1 or abs(self.step) != 1:
            raise RegionError("only neighbouring voxels can be resampled; take them without a step")
        first = 2 * count * self.first + self.step * (self.count - count)
        step = 2 * self.step * self.count
        common = math.gcd(first, step, 2 * count)
        return AxisSamples(self.length, count, first // common, step // common, 2 * count // common)

    def coordinates(self) -> NDArray[np.int64]:
        """Return floor(2^COORDINATE_BITS (2 p + 1 - n) / n) of each sample, (count,) int64, exact.

        Zeros for the axis of one voxel.
        """
        denominator = self.length * self.divisor
        start = (2 * self.first + (1 - self.length) * self.divisor) << COORDINATE_BITS
        whole, part = divmod(start, denominator)
        # The step of a single sample leads nowhere, and may be beyond int64.
        step = self.step if self.count > 1 else 0
        whole_step, part_step = divmod(2 * step << COORDINATE_BITS, denominator)
        # Remainders are below the denominator. Python's integers take over where int64 ends, which
        # no axis of less than 2^20 voxels and samples does.
        exact: Any = np.int64 if self.count * denominator < 1 << 63 else object
        number = np.arange(self.count).astype(exact)
        coordinates = whole + number * whole_step + (part + number * part_step) // denominator
        return np.asarray(coordinates, np.int64)


@dataclass(frozen=True, slots=True)
class SamplingGrid:
    """The samples of a volume: every combination of the samples of its axes, fastest axis first."""

    axes: tuple[AxisSamples, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> SamplingGrid:
        """Every voxel of a volume of ``shape``."""
        return cls(tuple(map(AxisSamples.whole, shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples along each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return math.prod(self.shape)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Number of voxels along each axis of the volume."""
        return tuple(axis.length for axis in self.axes)

    def crop(self, region: Sequence[int | slice]) -> SamplingGrid:
        """Keep a part of the samples, as numpy indexes an array of ``shape``.

        An integer leaves its axis in place, with one sample. Axes missing at the end stay whole.

        Raises ``RegionError`` for an index out of range, an empty slice, or too many axes.
        """
        if len(region) > len(self.axes):
            raise RegionError(f"{len(region)} axes selected; the volume has {len(self.axes)}")
        axes = list(self.axes)
        for number, index in enumerate(region):
            axis = axes[number]
            axes[number] = axis.crop(select_voxels(index, axis.count, AXIS_NAMES[number]))
        return SamplingGrid(tuple(axes))

    def resample(self, counts: Sequence[int], limits: Limits = DEFAULT_LIMITS) -> SamplingGrid:
        """Take ``counts`` samples along the spatial axes, over the same field of view.

        An axis keeps its samples where the count is theirs. Any other must consist of neighbouring
        voxels of an axis of more than one voxel.

        Raises ``RegionError`` where it cannot be done, ``LimitExceededError`` for more than
        ``limits.voxels`` samples.
        """
        if len(counts) != self._spatial_axes:
            raise RegionError(
                f"{len(counts)} numbers of samples for {self._spatial_axes} spatial axes"
            )
        samples = math.prod((*counts, *self.shape[SPATIAL_AXES:]))
        if samples > limits.voxels:
            raise LimitExceededError(
                f"{' x '.join(map(str, counts))} samples are more than the limit of "
                f"{limits.voxels}; take fewer, or raise the limit of voxels",
                "voxels",
                samples,
            )
        axes = list(self.axes)
        for number, count in enumerate(counts):
            try:
                axes[number] = axes[number].resample(count)
            except RegionError as error:
                raise RegionError(f"axis {AXIS_NAMES[number]}: {error}") from None
        return SamplingGrid(tuple(axes))

    def scale(
        self, factor: float | Sequence[float], limits: Limits = DEFAULT_LIMITS
    ) -> SamplingGrid:
        """Resample to ``factor`` times the samples, rounded: for all spatial axes, or for each.

        Axes of one voxel stay as they are. Raises what ``resample`` does.
        """
        factors = self._for_each_axis("scale", factor)
        extents = (axis.count for axis in self.axes)
        return self._resample_to([n * f for n, f in zip(extents, factors, strict=False)], limits)

    def respace(
        self,
        voxel_spacing: Sequence[float],
        spacing: float | Sequence[float],
        limits: Limits = DEFAULT_LIMITS,
    ) -> SamplingGrid:
        """Resample to a ``spacing`` near the one given: for all spatial axes, or for each.

        ``voxel_spacing`` is that of the volume's spatial axes, in the same unit. The spacing is not
        exact: a whole number of samples has to fill the field of view. Axes of one voxel stay as
        they are. Raises what ``resample`` does.
        """
        sizes = self._for_each_axis("voxel spacing", voxel_spacing)
        targets = self._for_each_axis("spacing", spacing)
        extents = (axis.count * abs(axis.spacing) for axis in self.axes)
        return self._resample_to(
            [n * size / target for n, size, target in zip(extents, sizes, targets, strict=False)],
            limits,
        )

    @property
    def _spatial_axes(self) -> int:
        return min(len(self.axes), SPATIAL_AXES)

    def _for_each_axis(self, name: str, value: float | Sequence[float]) -> Sequence[float]:
        values = value if isinstance(value, Sequence) else [value] * self._spatial_axes
        if len(values) != self._spatial_axes:
            raise RegionError(f"{name}: {len(values)} for {self._spatial_axes} spatial axes")
        for number in values:
            if not 0 < number < math.inf:
                raise RegionError(f"{name} {number} must be a number above 0")
        return values

    def _resample_to(self, sizes: list[float], limits: Limits) -> SamplingGrid:
        """Resample to ``sizes`` samples, rounded; infinity is among them, and beyond any limit."""
        counts = [
            1 if axis.length == 1 else max(1, round(min(size, _TOO_MANY)))
            for axis, size in zip(self.axes, sizes, strict=False)
        ]
        return self.resample(counts, limits)
