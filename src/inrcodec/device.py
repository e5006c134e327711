"""Where to compute: ``auto``, ``cpu`` or ``cuda``, and on how many threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from inrcodec.errors import DeviceError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ShareOut(Protocol):
    """A `map`, maybe on several threads."""

    def __call__(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item], /
    ) -> Iterable[_Result]: ...


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


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that do not split their products any further, the calling one among them: the faster
    way to share out work, and the only one that does not stall when another program takes a core.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, "inrcodec", torch.set_num_threads, (1,)) as pool:
            torch.set_num_threads(1)
            yield pool
    finally:
        torch.set_num_threads(before)
