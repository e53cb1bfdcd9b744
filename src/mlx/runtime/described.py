"""A region as a key says it: what its program depends on, and nothing else."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from typing import Any

from mlx.graph.node import Node
from mlx.runtime.buffer import Buffer

_SHAPE = 1 << 40
"""Added to the number of a tuple of sizes in a key, which no token or position reaches."""
_TYPES = 64
"""Steps from one such number to the next: more than there are dtypes."""
_ROOT = -(1 << 60)
"""Edges of a root: it is an output whoever refers to it."""


def _new(shapes: dict[tuple[int, ...], int], sizes: tuple[int, ...]) -> int:
    """A number for a tuple of sizes that a region has not had before."""
    number = shapes[sizes] = _SHAPE + _TYPES * len(shapes)
    return number


class Described:
    """What ``roots`` need that is not computed: one walk finds it and says its key.

    Attributes:
        order: the nodes, roots first, then in the order in which their readers name them, so
            that equal graphs have equal keys whenever their parts were recorded.
        roots: how many of them there are.
        key, shapes: the structure, and the tuples of sizes in it.
        edges: references to each node from others of the region; ``uses``: to each of the
            ``leaves``.
        scalars: the run-time numbers among the nodes.
        several: whether a node has several outputs.
        complete: False where the walk was given up: the region has more than ``longest`` nodes,
            waits for a compiled function, or has an input that is no array.
    """

    __slots__ = (
        "complete", "edges", "key", "leaves", "order", "roots", "scalars", "several", "shapes",
        "uses",
    )  # fmt: skip

    def __init__(  # noqa: C901 (a call for each part would take as long as the part)
        self, roots: Iterable[Node], longest: int, recorded: bool = False
    ) -> None:
        """Where the region is ``recorded`` by a compiled function, placeholders are leaves."""
        index: dict[Node, int] = {}
        order: list[Node] = []
        for root in roots:
            if root not in index:
                index[root] = len(order)
                order.append(root)
        self.roots = len(order)
        edges = [_ROOT] * len(order)
        key = [len(order)]
        leaves: list[Node] = []
        uses: list[int] = []
        scalars: list[Node] = []
        shapes: dict[tuple[int, ...], int] = {}
        self.order, self.edges, self.key, self.shapes = order, edges, key, shapes
        self.leaves, self.uses, self.scalars = leaves, uses, scalars
        self.several = self.complete = False
        find, number, say = index.get, shapes.get, key.append
        last_dtype: Any = None  # most nodes are of the type of the one before
        last_shape, last = last_dtype, 0
        for node in order:  # which grows meanwhile
            primitive = node.primitive
            try:
                part = primitive._key_part
            except AttributeError:
                part = primitive.key_part
            if part.__class__ is tuple:
                part, sizes = part
                say(number(sizes) or _new(shapes, sizes))
            say(part)
            inputs, dtype = node.inputs, node.dtype
            if dtype is None:
                self.several = True
                if primitive.family == "compiled":
                    return
                say(-_SHAPE - len(inputs))
                key += [number(sizes) or _new(shapes, sizes) for sizes, _ in node.shape]
            else:
                if node.shape is not last_shape or dtype is not last_dtype:
                    last_shape, last_dtype = node.shape, dtype
                    last = (number(last_shape) or _new(shapes, last_shape)) + dtype.index
                say(last)
            for source in inputs:
                at = find(source)
                if at is None:
                    data = source.data
                    if data is None and (not recorded or source.primitive is not None):
                        at = index[source] = len(order)
                        if at >= longest:
                            return
                        order.append(source)
                        edges.append(1)
                        say(at)
                        continue
                    if type(data) is not Buffer and not recorded:
                        return
                    leaves.append(source)
                    at = index[source] = -len(leaves)
                    uses.append(1)
                    say(at)
                    shape = source.shape
                    say((number(shape) or _new(shapes, shape)) + source.dtype.index)
                    continue
                if at >= 0:
                    edges[at] += 1
                else:
                    uses[-1 - at] += 1
                say(at)
            if primitive.is_number:
                scalars.append(node)
                edges[index[node]] += 1  # by ``scalars`` itself
        self.complete = True

    def forget(self) -> None:
        """Let go of the nodes, for references make them look needed."""
        self.order.clear()
        self.leaves.clear()
        self.scalars.clear()

    def outside(self) -> list[int]:
        """Positions of the roots, and of the nodes that something besides the region refers to."""
        if len(self.order) == 1:
            return [0]
        return [i for i, n in enumerate(_beyond(self.order, self.edges)) if n > _USUAL]


def _beyond(order: list[Node], edges: list[int]) -> Iterable[int]:
    """References to each node besides the region's own."""
    return map(operator.sub, map(sys.getrefcount, order), edges)


_USUAL = list(_beyond([Node(None, (), (), None)], [0]))[0]
"""References that the list itself holds to a node nobody else has."""
