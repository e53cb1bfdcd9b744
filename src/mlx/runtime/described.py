"""A region as a key says it: what its program depends on, and nothing else."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from itertools import islice
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
        key, shapes: the structure, and the tuples of sizes that it has numbers for; those that
            primitives have stand in the key.
        edges: references to each node from others of the region; ``uses``: to each of the
            ``leaves``.
        scalars: the run-time numbers among the nodes.
        several: whether a node has several outputs; ``segments``: those that stand for others.
        complete: False where the walk was given up: the region has more than ``longest`` nodes,
            waits for a compiled function, or has an input that is no array.
    """

    __slots__ = (
        "complete", "edges", "key", "leaves", "order", "roots", "scalars", "segments", "several",
        "shapes", "uses",
    )  # fmt: skip

    complete: bool
    edges: list[int]
    key: list[Any]
    leaves: list[Node]
    order: list[Node]
    roots: int
    scalars: list[Node]
    segments: list[Node]
    several: bool
    shapes: dict[tuple[int, ...], int]
    uses: list[int]

    def forget(self) -> None:
        """Let go of the nodes, for references make them look needed."""
        self.order.clear()
        self.leaves.clear()
        self.scalars.clear()
        self.segments.clear()

    def made_numbers(self) -> list[Node]:
        """The run-time numbers that segments make."""
        return [number for segment in self.segments for number in segment.primitive.numbers]

    def structure(self) -> tuple[int, ...]:
        """The key with numbers in place of all sizes, which join ``shapes``."""
        numbers = []
        for part in self.key:
            if part.__class__ is tuple:
                part, sizes = part
                numbers.append(_SHAPE + self.shapes.setdefault(sizes, len(self.shapes)))
            numbers.append(part)
        return tuple(numbers)

    def outside(self) -> list[int]:
        """Positions of the roots, and of the nodes that something besides the region refers to."""
        if len(self.order) == 1:
            return [0]
        beyond = map(operator.sub, map(sys.getrefcount, self.order), self.edges)
        return [i for i, n in enumerate(beyond) if n > _USUAL]


_USUAL = next(map(sys.getrefcount, [Node(None, (), (), None)]))
"""References that the list itself holds to a node nobody else has."""


def describe(roots: Iterable[Node], longest: int, recorded: bool = False) -> Described:
    """Walk over what ``roots`` need.  Where the region is ``recorded`` by a compiled function,
    placeholders are leaves."""
    index: dict[Node, int] = {}
    order: list[Node] = []
    for root in roots:
        if root not in index:
            index[root] = len(order)
            order.append(root)
    region = _new(Described)
    region.order, region.roots, region.several = order, len(order), False
    region.edges, region.key, region.shapes = [_ROOT] * len(order), [len(order)], {}
    region.leaves, region.uses, region.scalars, region.segments = [], [], [], []
    region.complete = _walk(region, index, longest, recorded)
    return region


def _walk(  # noqa: C901 (a call for each part would take as long as the part)
    region: Described, index: dict[Node, int], longest: int, recorded: bool
) -> bool:
    order, edges, leaves, uses = region.order, region.edges, region.leaves, region.uses
    key, shapes, last, last_shape, last_dtype = region.key, region.shapes, 0, (-1,), None
    find, say, numbered = index.get, key.append, shapes.setdefault
    for node in islice(order, longest):  # it grows meanwhile
        primitive, inputs, shape, dtype = node.primitive, node.inputs, node.shape, node.dtype
        if shape is not last_shape or dtype is not last_dtype:  # else as the one before
            last_shape, last_dtype = shape, dtype
            if dtype is not None:
                last = _SHAPE + _TYPES * numbered(shape, len(shapes)) + dtype.index
            elif not (last := _several(region, node, index[node])):
                return False
        key += (primitive._key_part, last)
        for source in inputs:
            if (at := find(source)) is None:
                if (data := source.data) is None and (not recorded or source.primitive is not None):
                    at = index[source] = len(order)
                    order.append(source)
                    edges.append(1)
                elif data.__class__ is Buffer or recorded:
                    leaves.append(source)
                    uses.append(1)
                    at = index[source] = -len(leaves)
                    say(_SHAPE + _TYPES * numbered(source.shape, len(shapes)) + source.dtype.index)
                else:
                    return False
            elif at >= 0:
                edges[at] += 1
            else:
                uses[-1 - at] += 1
            say(at)
        if primitive.is_listed:
            (region.scalars if primitive.is_number else region.segments).append(node)
            edges[index[node]] += 1  # by the list itself
    return len(order) <= longest


def _several(region: Described, node: Node, at: int) -> int:
    """Say the sizes of a node's outputs, between marks; what stands for them behind it, or 0
    where the node is the call of a compiled function."""
    family = node.primitive.family
    if family == "compiled":
        return 0
    if family == "segment":
        region.segments.append(node)
        region.edges[at] += 1  # by ``segments`` itself
    region.several = True
    shapes = region.shapes
    sizes = [shapes.setdefault(one, len(shapes)) for one, _ in node.shape]
    region.key += [-_SHAPE, *sizes, -_SHAPE]
    return -_SHAPE - 1 - len(node.inputs)


_new = Described.__new__


_PASSING = frozenset({"custom", "barrier", "compiled"})


def wanted_whole(region: Described, live: list[int]) -> list[Node]:
    """Nodes with several outputs that something outside refers to: it may ask for any of them,
    and their operands are only here now.  Those among the roots are being taken care of."""
    return [
        node
        for i in live
        if (node := region.order[i]).dtype is None
        and node.primitive.family not in _PASSING
        and i >= region.roots
    ]
