"""Operations of one operand that become a chain of primitives, worked out once for a shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlx.base.dtype import float32
from mlx.graph.node import Node, Shape

KEPT = 4096


def by_shape(make: Callable[..., Node]) -> Callable[..., Node]:
    """``make(x, *arguments)`` remembered by x's shape and the arguments.

    It must record nodes of one operand each, one upon the other, none of which changes the
    dtype or depends on it; and its arguments must be hashable and no arrays.
    """

    @lru_cache(KEPT)
    def steps(shape: Shape, *arguments: Any) -> tuple[tuple[Any, Shape], ...]:
        start = Node(None, (), shape, float32)
        node, found = make(start, *arguments), []
        while node is not start:
            found.append((node.primitive, node.shape))
            (node,) = node.inputs
        return tuple(reversed(found))

    def recorded(x: Node, *arguments: Any) -> Node:
        dtype = x.dtype
        for primitive, shape in steps(x.shape, *arguments):
            x = Node(primitive, (x,), shape, dtype)
        return x

    return recorded
