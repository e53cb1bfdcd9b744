"""Scalars that are computed twice.

An optimizer makes the same few scalars for every parameter.  Computed once, they fit into the
first kernel, and every parameter's update needs one kernel behind it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mlx.graph.node import Node
from mlx.primitives.base import Full


def number_of(node: Node) -> Hashable:
    """What equal run-time numbers share."""
    value = node.primitive.value
    return (repr(value) if isinstance(value, complex) else value, node.dtype.index)


def equal_numbers(scalars: Sequence[Node]) -> tuple[int, ...]:
    """For each run-time number the position of the first that equals it: a part of a region's
    key, since the plan depends on it."""
    if len(scalars) < 2:
        return ()
    first: dict[Hashable, int] = {}
    return tuple([first.setdefault(number_of(node), i) for i, node in enumerate(scalars)])


FAMILIES = frozenset({"elementwise", "source", "view"})
"""What is a function of its inputs and parameters alone."""


def repeated_scalars(nodes: Sequence[Node], outputs: set[Node]) -> dict[Node, Node]:
    """From each elementwise node of one element, no output, to the first that computes the same.

    Numbers themselves stay apart, so that a kernel doesn't depend on which of them are equal.
    """
    known: dict[Hashable, Node] = {}
    first: dict[Node, Node] = {}
    for node in nodes:
        if node.dtype is not None and node.size == 1 and node.primitive.family in FAMILIES:
            first[node] = known.setdefault(_meaning(node, first), node)
    return {
        node: other
        for node, other in first.items()
        if node is not other and node not in outputs and node.primitive.family == "elementwise"
    }


def _meaning(node: Node, first: dict[Node, Node]) -> Hashable:
    """What nodes share that compute the same."""
    primitive = node.primitive
    if isinstance(primitive, Full) and not primitive.is_literal:
        return (number_of(node), node.shape)
    inputs = tuple([first.get(i, i) for i in node.inputs])
    return (primitive.key_part, node.shape, node.dtype.index, inputs)
