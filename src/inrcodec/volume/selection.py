"""What of a volume to decode, in the user's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inrcodec.errors import RegionError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.region import parse_region
from inrcodec.volume.sampling_grid import SPATIAL_AXES, SamplingGrid


@dataclass(frozen=True, slots=True)
class Selection:
    """A region of a volume, or all of it, at its voxels or at another density of samples.

    Raises ``ValueError`` for both a ``scale`` and a ``spacing``.
    """

    region: str | None = None
    """As `parse_region` reads it: ``10:50,:,20``."""
    volume: int | None = None
    """One volume of a time series; negative numbers count from the last. The result has no time
    axis."""
    scale: float | Sequence[float] | None = None
    """Samples for each voxel along the spatial axes: one number for all, or one for each."""
    spacing: float | Sequence[float] | None = None
    """Distance of the samples along the spatial axes, in the unit of the header; approximate, as
    `SamplingGrid.respace` says."""

    def __post_init__(self) -> None:
        if self.scale is not None and self.spacing is not None:
            raise ValueError("scale and spacing exclude each other")

    def grid(
        self,
        shape: tuple[int, ...],
        voxel_spacing: Sequence[float],
        limits: Limits = DEFAULT_LIMITS,
    ) -> SamplingGrid:
        """Return the samples selected in a volume of ``shape``, in all of its axes.

        ``voxel_spacing`` is that of the spatial axes. Raises ``RegionError`` where the volume has
        no such samples, and ``LimitExceededError`` for more than ``limits.voxels`` of them.
        """
        try:
            return self._grid(shape, voxel_spacing, limits)
        except RegionError as error:
            raise RegionError(f"{error} (the volume is {' x '.join(map(str, shape))})") from None

    def _grid(
        self, shape: tuple[int, ...], voxel_spacing: Sequence[float], limits: Limits
    ) -> SamplingGrid:
        grid = SamplingGrid.whole(shape)
        if self.region is not None:
            grid = grid.crop(parse_region(self.region, shape))
        if self.volume is not None:
            if len(shape) <= SPATIAL_AXES:
                raise RegionError(f"volume {self.volume} is asked for, but there is no time axis")
            if not grid.axes[SPATIAL_AXES].is_whole:
                raise RegionError(
                    f"region {self.region!r} and volume {self.volume} both choose from axis t; "
                    "leave one out"
                )
            grid = grid.crop((*[slice(None)] * SPATIAL_AXES, self.volume))
        if self.scale is not None:
            grid = grid.scale(self.scale, limits)
        if self.spacing is not None:
            grid = grid.respace(voxel_spacing, self.spacing, limits)
        return grid


EVERYTHING = Selection()
"""All voxels."""
