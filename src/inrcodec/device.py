"""Where to compute: ``auto``, ``cpu`` or ``cuda``, and on how many threads."""

from __future__ import annotations

import torch

from inrcodec.errors import DeviceError


def pick_device(name: str, threads: int | None = None) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is a GPU. Sets torch's thread count.

    Raises `DeviceError` for CUDA on a machine without it.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError("no CUDA device is available here: use --device cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
