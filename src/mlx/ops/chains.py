"""Operations that become several primitives, worked out once for the types of their operands."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlx.base.dtype import float32
from mlx.graph.node import Node, Shape, ancestors, next_serial

KEPT = 4096


def by_types(count: int) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Remember what ``make(*nodes, *arguments)`` records, by the shapes and dtypes of its
    first ``count`` arguments, nodes, and by the others; from then on it is merely repeated.

    What it records must depend on these alone (not on values, on the signs of zeros, on whether
    two operands are one node); the arguments must be hashable and no arrays.
    """

    def decorate(make: Callable[..., Node]) -> Callable[..., Node]:
        @lru_cache(KEPT, typed=True)
        def steps(types: tuple[Any, ...], *arguments: Any) -> tuple[list[Any], int]:
            nodes = [Node(None, (), shape, dtype) for shape, dtype in types]
            result = make(*nodes, *arguments)
            nodes += ancestors([result], nodes[-1].serial)
            at = {node: i for i, node in enumerate(nodes)}
            given = tuple(nodes[:count])
            made = [
                (n.primitive, _inputs([at[source] for source in n.inputs]), n.shape, n.dtype)
                for n in nodes[count:]
            ]
            if len(made) == 1 and result.inputs == given:  # the most usual, in fewer steps
                return [(result.primitive, result.shape, result.dtype)], -1
            return made, at[result]

        def recorded(*arguments: Any) -> Node:
            given = arguments[:count]
            types = tuple([(node.shape, node.dtype) for node in given])
            found, result = steps(types, *arguments[count:])
            if result < 0:
                ((primitive, shape, dtype),) = found
                return Node(primitive, given, shape, dtype)
            nodes = list(given)
            new, add = Node.__new__, nodes.append
            for primitive, inputs, shape, dtype in found:  # Node(...), in half the time
                node = new(Node)
                node.primitive, node.shape, node.dtype, node.data = primitive, shape, dtype, None
                node.inputs = (nodes[inputs],) if inputs.__class__ is int else inputs(nodes)
                node.serial = next_serial()
                add(node)
            return nodes[result]

        return recorded

    return decorate


def _inputs(positions: list[int]) -> Any:
    """The position of the only input, or what picks the inputs as a tuple."""
    if len(positions) == 1:
        return positions[0]
    return operator.itemgetter(*positions) if positions else _nothing


def _nothing(nodes: list[Node]) -> tuple[()]:
    return ()


def by_shape(make: Callable[..., Node]) -> Callable[..., Node]:
    """As :func:`by_types` for ``make(x, *arguments)`` that records nodes of one operand each,
    one upon the other, none of which changes the dtype or depends on it; in fewer steps."""

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
