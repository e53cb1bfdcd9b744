"""A region with other sizes in it: what planning is given in place of the recorded nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from mlx.graph.node import Node


class Fixed(Exception):
    """A region whose sizes can't be exchanged."""


class _Copy(Node):
    """Its number of elements is asked for many times, and multiplying sizes takes long."""

    __slots__ = ("size",)

    def __init__(self, primitive: Any, inputs: tuple[Node, ...], like: Node, shape: Any) -> None:
        super().__init__(primitive, inputs, shape, like.dtype, None if inputs else like.data)
        self.size = 0 if like.dtype is None else prod(shape)  # type: ignore[misc] # a property there


def shadow(
    order: Sequence[Node], leaves: Sequence[Node], named: Mapping[Any, Any]
) -> tuple[list[Node], list[Node], dict[Node, int]]:
    """Copies of a region's nodes and leaves with the shapes (and other tuples of sizes) that
    ``named`` gives for theirs; and for each a number, equal for those that were the same."""
    copies: dict[Node, Node] = {leaf: _Copy(None, (), leaf, named[leaf.shape]) for leaf in leaves}
    found = [copies[leaf] for leaf in leaves]
    numbers: dict[Any, int] = {}
    signs: dict[Node, int] = {}
    for leaf in leaves:
        signs[copies[leaf]] = numbers.setdefault((leaf.shape, leaf.dtype.index), len(numbers))
    resized: dict[Any, Any] = {}
    for node in order:
        inputs = tuple([copies[i] for i in node.inputs])
        if node.dtype is None:
            shape = tuple([(named[s], dtype) for s, dtype in node.shape])
        else:
            shape = named[node.shape]
        primitive = node.primitive
        what = primitive._key_part, node.shape, node.dtype and node.dtype.index
        if primitive.sizes:
            if what not in resized:
                resized[what] = _resized(primitive, node, named)
            primitive = resized[what]
        copy = copies[node] = _Copy(primitive, inputs, node, shape)
        signs[copy] = numbers.setdefault(what, len(numbers))
    return [copies[node] for node in order], found, signs


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
