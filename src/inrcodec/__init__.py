"""inrcodec: a neural codec for medical and biomedical volumes.

`open` gives a ``.moec`` file as an array; `inrcodec.encoder` and `inrcodec.decoder` convert files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inrcodec.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from inrcodec.reader import Reader, Source

__version__ = "0.1.0"


def open(
    source: Source,
    *,
    device: str = "auto",
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Reader:
    """Open a ``.moec`` file, given as a path, its bytes, or a binary file: see `Reader`.

    ``device`` is ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``; ``threads`` is torch's
    number of threads from here on. Raises a `BitstreamError` for data that cannot be read or is
    beyond ``limits``, and a `DeviceError`.
    """
    # Not at the top: torch takes a second to import, and `inrcodec info` does without.
    from inrcodec.reader import Reader

    return Reader(source, device=device, threads=threads, limits=limits)
