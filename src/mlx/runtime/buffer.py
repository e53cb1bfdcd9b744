"""Evaluated data of a node: a place in a storage, row-major."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlx.base.dtype import Dtype, bfloat16
from mlx.base.lazy import numpy as np
from mlx.runtime.memory import Storage, as_array


class Buffer:
    """Contiguous elements at an address in a storage; ``ticket`` is the unfinished submission
    that writes them, or None."""

    __slots__ = ("address", "storage", "ticket")

    def __init__(self, storage: Storage, offset: int = 0, ticket: Any = None) -> None:
        self.storage = storage
        self.address = storage.address + offset
        self.ticket = ticket

    @property
    def offset(self) -> int:
        return self.address - self.storage.address

    def wait(self) -> None:
        """Block until the data is there; raises what computing it raised."""
        if self.ticket is not None:
            self.ticket.wait()
            self.ticket = None


def numpy_view(buffer: Buffer, shape: tuple[int, ...], dtype: Dtype) -> np.ndarray:
    """A NumPy array on the same memory, which it keeps alive."""
    if 0 in shape:
        return np.empty(shape, dtype.numpy)
    if buffer.ticket is not None:
        buffer.wait()
    if dtype is not bfloat16:
        return as_array(buffer.storage, buffer.address, shape, _format(dtype))
    raw = as_array(buffer.storage, buffer.address, shape, "<u2")
    return raw.view(dtype.numpy)


@cache
def _format(dtype: Dtype) -> str:
    """NumPy's text for a data type."""
    return dtype.numpy.str
