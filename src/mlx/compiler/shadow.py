"""A region with other sizes in it: what planning is given in place of the recorded nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlx.graph.node import Node


class Fixed(Exception):
    """A region whose sizes can't be exchanged."""


def shadow(
    order: Sequence[Node], leaves: Sequence[Node], named: Mapping[Any, Any]
) -> tuple[list[Node], list[Node]]:
    """Copies of a region's nodes and leaves with the shapes (and other tuples of sizes) that
    ``named`` gives for theirs."""
    copies = {leaf: Node(None, (), named[leaf.shape], leaf.dtype, leaf.data) for leaf in leaves}
    found = [copies[leaf] for leaf in leaves]
    for node in order:
        inputs = tuple([copies[i] for i in node.inputs])
        if node.dtype is None:
            shape = tuple([(named[s], dtype) for s, dtype in node.shape])
        else:
            shape = named[node.shape]
        primitive = node.primitive
        if primitive.sizes:
            primitive = _resized(primitive, node, named)
        copies[node] = Node(primitive, inputs, shape, node.dtype)
    return [copies[node] for node in order], found


def _resized(primitive: Any, node: Node, named: Mapping[Any, Any]) -> Any:
    """The primitive with its sizes exchanged: they are the result's shape or in the key."""
    changes: dict[str, Any] = {}
    given = primitive.size_values
    values = {f.name: getattr(primitive, f.name) for f in dataclasses.fields(primitive)}
    sizes = {name: value for name, value in values.items() if name in primitive.sizes}
    if given and given == _joined(sizes.values()):
        rest = named[given]
        for field, value in sizes.items():
            changes[field], rest = rest[: len(value)], rest[len(value) :]
        return dataclasses.replace(primitive, **changes)
    for field, value in sizes.items():
        if type(value) is tuple and value:
            if value not in (node.shape, given):
                raise Fixed(f"{primitive} of {node.shape}")
            changes[field] = named[value]
        elif type(value) is int:
            raise Fixed(f"{primitive}")
    return dataclasses.replace(primitive, **changes) if changes else primitive


def _joined(values: Iterable[Any]) -> tuple[Any, ...]:
    """The sizes of several fields as they stand in a key: one after the other."""
    return tuple([size for value in values if type(value) is tuple for size in value])
