"""Evaluated data of a node: a place in a storage, row-major."""

from __future__ import annotations

from math import prod
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np
from mlx.runtime.memory import Storage, as_bytes


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
    count = prod(shape)
    if count == 0:
        return np.empty(shape, dtype.numpy)
    buffer.wait()
    raw = as_bytes(buffer.storage, buffer.offset, count * dtype.size)
    return raw.view(dtype.numpy).reshape(shape)
