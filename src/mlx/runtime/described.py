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


class Described:
    """What some nodes, the roots, need that is not computed: one walk finds it and says its key.

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

    complete: bool
    edges: list[int]
    key: list[int]
    leaves: list[Node]
    order: list[Node]
    roots: int
    scalars: list[Node]
    several: bool
    shapes: dict[tuple[int, ...], int]
    uses: list[int]

    def forget(self) -> None:
        """Let go of the nodes, for references make them look needed."""
        self.order.clear()
        self.leaves.clear()
        self.scalars.clear()

    def outside(self) -> list[int]:
        """Positions of the roots, and of the nodes that something besides the region refers to."""
        if len(self.order) == 1:
            return [0]
        beyond = map(operator.sub, map(sys.getrefcount, self.order), self.edges)
        return [i for i, n in enumerate(beyond) if n > _USUAL]


_USUAL = next(map(sys.getrefcount, [Node(None, (), (), None)]))
"""References that the list itself holds to a node nobody else has."""


def describe(  # noqa: C901 (a call for each part would take as long as the part)
    roots: Iterable[Node], longest: int, recorded: bool = False
) -> Described:
    """Walk over what ``roots`` need.  Where the region is ``recorded`` by a compiled function,
    placeholders are leaves."""
    index: dict[Node, int] = {}
    order: list[Node] = []
    for root in roots:
        if root not in index:
            index[root] = len(order)
            order.append(root)
    edges = [_ROOT] * len(order)
    key = [len(order)]
    leaves: list[Node] = []
    uses: list[int] = []
    scalars: list[Node] = []
    shapes: dict[tuple[int, ...], int] = {}
    region = _new(Described)
    region.order, region.edges, region.key, region.shapes = order, edges, key, shapes
    region.leaves, region.uses, region.scalars = leaves, uses, scalars
    region.roots, region.several, region.complete = len(order), False, False
    find, say, numbered = index.get, key.append, shapes.setdefault
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
            say(numbered(sizes, len(shapes)))
        inputs, shape, dtype = node.inputs, node.shape, node.dtype
        if dtype is None:
            region.several = True
            if primitive.family == "compiled":
                return region
            key += (part, -_SHAPE - len(inputs))
            key += [_SHAPE + numbered(sizes, len(shapes)) for sizes, _ in shape]
        else:
            if shape is not last_shape or dtype is not last_dtype:
                last_shape, last_dtype = shape, dtype
                last = _SHAPE + _TYPES * numbered(shape, len(shapes)) + dtype.index
            key += (part, last)
        for source in inputs:
            at = find(source)
            if at is None:
                data = source.data
                if data is None and (not recorded or source.primitive is not None):
                    at = index[source] = len(order)
                    if at >= longest:
                        return region
                    order.append(source)
                    edges.append(1)
                    say(at)
                    continue
                if data.__class__ is not Buffer and not recorded:
                    return region
                leaves.append(source)
                at = index[source] = -len(leaves)
                uses.append(1)
                shape, dtype = source.shape, source.dtype
                if shape is last_shape and dtype is last_dtype:
                    key += (at, last)
                else:
                    number = _SHAPE + _TYPES * numbered(shape, len(shapes))
                    key += (at, number + dtype.index)
                continue
            if at >= 0:
                edges[at] += 1
            else:
                uses[-1 - at] += 1
            say(at)
        if primitive.is_number:
            scalars.append(node)
            edges[index[node]] += 1  # by ``scalars`` itself
    region.complete = True
    return region


_new = Described.__new__
