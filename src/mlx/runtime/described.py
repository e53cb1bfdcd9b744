"""A region as a key says it: what its program depends on, and nothing else."""

from __future__ import annotations

from typing import Any

from mlx.graph.node import Node

_SHAPE = 1 << 40
"""Added to the number of a tuple of sizes in a key, which no token or position reaches."""
_TYPES = 64
"""Steps from one such number to the next: more than there are dtypes."""


class _Shapes(dict[tuple[int, ...], int]):
    """Numbers for the different tuples of sizes of a region, in the order in which it has them."""

    def __missing__(self, sizes: tuple[int, ...]) -> int:
        number = self[sizes] = _SHAPE + _TYPES * len(self)
        return number


class Described:
    """A region as a key says it: ``key`` is the structure, ``shapes`` the tuples of sizes.

    edges: in-region references to each node; uses: to each leaf; index: positions of nodes.
    """

    __slots__ = ("edges", "index", "key", "leaves", "scalars", "shapes", "uses")

    def __init__(self, order: list[Node]) -> None:
        self.index: dict[Node, int] = {}
        self.key: list[int] = []
        self.leaves: list[Node] = []
        self.scalars: list[Node] = []
        self.shapes = _Shapes()
        self.edges = [0] * len(order)
        self.uses: list[int] = []
        self._walk(order)

    def _walk(self, order: list[Node]) -> None:
        index, key, shapes, edges, uses = self.index, self.key, self.shapes, self.edges, self.uses
        leaves, find, say = self.leaves, index.get, key.append
        last_dtype: Any = None  # most nodes are of the type of the one before
        last_shape, last = last_dtype, 0
        for position, node in enumerate(order):
            primitive = node.primitive
            index[node] = position
            try:
                part = primitive._key_part
            except AttributeError:
                part = primitive.key_part
            if part.__class__ is tuple:
                key += (part[0], shapes[part[1]])
            else:
                say(part)
            inputs, dtype = node.inputs, node.dtype
            if dtype is None:
                say(-_SHAPE - len(inputs))
                key += [shapes[sizes] for sizes, _ in node.shape]
            else:
                if node.shape is not last_shape or dtype is not last_dtype:
                    last_shape, last_dtype = node.shape, dtype
                    last = shapes[last_shape] + dtype.index
                say(last)
            if not inputs:
                self._number(position, node)
                continue
            for source in inputs:
                at = find(source)
                if at is None:
                    leaves.append(source)
                    at = index[source] = -len(leaves)
                    uses.append(1)
                    key += (at, shapes[source.shape] + source.dtype.index)
                    continue
                if at >= 0:
                    edges[at] += 1
                else:
                    uses[-1 - at] += 1
                say(at)

    def _number(self, position: int, node: Node) -> None:
        """Note a node without inputs if it is a run-time number."""
        primitive = node.primitive
        if primitive.family == "source" and getattr(primitive, "is_literal", None) is False:
            self.scalars.append(node)
            self.edges[position] += 1  # by ``scalars`` itself
