"""Questions about the memory of arrays."""

from __future__ import annotations

from typing import Any

from mlx.array import array
from mlx.base import tree
from mlx.runtime.buffer import Buffer


def get_array_buffer_size(*args: Any) -> int:
    """Bytes of the buffers behind arrays, or trees of them; a shared one counts once.

    Other leaves are ignored.  Raises ValueError for an array that isn't evaluated.

    >>> import mlx.core as mx
    >>> a = mx.array([1.0, 2.0])
    >>> get_array_buffer_size(a, {"again": a})
    8
    """
    storages = {}
    for leaf in tree.leaves(list(args)):
        if not isinstance(leaf, array):
            continue
        data = leaf._node.data
        if type(data) is not Buffer:
            raise ValueError(
                "[get_array_buffer_size] Arrays must be evaluated before querying buffer size: "
                "call mx.eval on them first."
            )
        storages[id(data.storage)] = data.storage
    return sum(storage.nbytes for storage in storages.values())
