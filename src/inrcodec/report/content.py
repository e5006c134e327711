"""What a report is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.compare import Comparison
from inrcodec.info import Info, read_info
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.sampling_grid import SamplingGrid
from inrcodec.volume.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The ``.moec`` file that the decoded volume came from."""

    info: Info
    expert_map: Callable[[SamplingGrid], NDArray[np.uint16]]
    """`Decoder.expert_map` of that file."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage of the encoder; empty where that is not known."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the encoder was asked for, by option; empty where that is not known."""

    @classmethod
    def of(
        cls,
        data: bytes,
        seconds: Mapping[str, float] | None = None,
        options: Mapping[str, str] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Encoded:
        """What the bytes of a file tell; ``device`` and ``threads`` are for its expert map.

        Raises a `BitstreamError` for a damaged file, and a `DeviceError`.
        """
        from inrcodec.decoder import Decoder, parse_content
        from inrcodec.device import pick_device

        decoder = Decoder(parse_content(data, limits), pick_device(device, threads), limits)
        return cls(read_info(data, limits), decoder.expert_map, seconds or {}, options or {})


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """Two volumes of one shape, what is measured on them, and where the second comes from."""

    original: Volume
    decoded: NDArray[Any]
    original_name: str
    decoded_name: str
    comparison: Comparison
    encoded: Encoded | None = None
    """None: the decoded volume is no ``.moec`` file."""

    @property
    def modality(self) -> str | None:
        """What made the image (CT, MR, ...), of DICOM; the only attribute of it in a report."""
        if self.original.dicom is None:
            return None
        return str(self.original.dicom.shared.get("Modality", "")) or None
