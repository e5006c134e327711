"""The absolute errors of a volume, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 16  # voxels


def absolute_errors(
    original: NDArray[Any], decoded: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.float64]]:
    """|original - decoded| as one-dimensional chunks of some voxels each, in no certain order.

    ``mask`` has the shape of the first three axes: where it is False, there are no errors.
    """
    operands: list[NDArray[Any]] = [original, decoded]
    dtypes: list[type] = [np.float64, np.float64]
    if mask is not None:
        operands.append(mask.reshape(mask.shape + (1,) * (original.ndim - mask.ndim)))
        dtypes.append(np.bool_)
    # The iterator walks the arrays in memory order, whatever it is, and casts a chunk at a time.
    chunks = np.nditer(
        operands,
        flags=["external_loop", "buffered"],
        op_dtypes=dtypes,
        casting="unsafe",
        buffersize=_CHUNK,
    )
    for reference, test, *inside in chunks:
        error = np.abs(np.subtract(reference, test))
        yield error[inside[0]] if inside else error
