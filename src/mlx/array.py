"""array: the handle that users hold.  It names a node; only the handle mutates."""

from __future__ import annotations

from mlx.base.dtype import Dtype
from mlx.graph.node import Node


class array:  # noqa: N801 (MLX's name)
    """An n-dimensional array, evaluated when its value is needed."""

    __slots__ = ("__weakref__", "_node")

    _node: Node

    @property
    def shape(self) -> tuple[int, ...]:
        return self._node.shape

    @property
    def dtype(self) -> Dtype:
        return self._node.dtype


def wrap(node: Node) -> array:
    """The handle of a node."""
    handle = array.__new__(array)
    handle._node = node
    return handle
