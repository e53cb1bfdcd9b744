"""A graph and its gradient as one node, where nothing else asks for what the graph records."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mlx.base.tree import picker
from mlx.graph.chains import Chain
from mlx.graph.node import Node
from mlx.primitives.segment import Joined
from mlx.transforms.repeated import Transformed

_APART = frozenset({"barrier", "compiled", "custom", "segment"})
"""Families that are more than their part of a key says."""
_data_of = operator.attrgetter("data")
_serial_of = operator.attrgetter("serial")


def _references(pick: Callable[[Any], Sequence[Node]], given: Sequence[Node]) -> list[int]:
    """How often some of the nodes are referred to."""
    return list(map(sys.getrefcount, pick(given)))


_USUAL = _references(picker([0, 2]), [Node(None, (), (), None) for _ in range(3)])[0]


class Joint:
    """What is known of a graph that was described, and of its derivative.

    Where the graph's nodes are referred to by one another alone, but for some that are *live*,
    these become results of one node, beside what the transformation found.
    """

    def __init__(self, given: Sequence[Node], first: int, start: float) -> None:
        """Of nodes that were described, those from ``first`` on found by the walk."""
        self._inner = [
            i
            for i, node in enumerate(given)
            if i >= first
            and node.serial > start
            and node.primitive is not None
            and not node.primitive.is_number
        ]
        place = {given[i]: k for k, i in enumerate(self._inner)}
        usual = [_USUAL] * len(place)
        for i in self._inner:
            for source in given[i].inputs:
                if (at := place.get(source)) is not None:
                    usual[at] += 1
        self._usual = usual
        self._pick = picker(self._inner)
        self._variants: dict[tuple[int, ...], tuple[Joined, list[int | None]] | None] = {}

    def apart(self, given: Sequence[Node]) -> set[Node]:
        """The nodes that were described and are no part of the graph."""
        return set(given).difference([given[i] for i in self._inner])

    def learn(
        self,
        given: Sequence[Node],
        forward: Sequence[Node],
        backward: Sequence[Node],
        found: Sequence[Node | None],
    ) -> bool:
        """Note what the graph and its derivative record, nothing of it standing for others;
        whether one node may stand for them."""
        recorded = [*forward, *backward]
        made = set(recorded)
        read = {source for node in recorded for source in node.inputs}
        leaves = [i for i, node in enumerate(given) if node in read and node not in made]
        if len(self._inner) < 2 or not read.issubset(made.union([given[i] for i in leaves])):
            return False
        if not set(backward).issuperset([node for node in found if node is not None]):
            return False
        if any(
            [
                n.data is not None or n.primitive is None or n.primitive.family in _APART
                for n in recorded
            ]
        ):
            return False
        at = {node: len(leaves) + i for i, node in enumerate(recorded)}
        of_inner = [given[i] for i in self._inner]
        self._places = [None if n.dtype is None else at.get(n) for n in of_inner]
        self._found = [None if n is None else at[n] for n in found]
        self._take = picker(leaves)
        self._chain = Chain([given[i] for i in leaves], recorded, recorded[-1])
        self._forward = len(forward)
        return True

    def of(self, given: Sequence[Node]) -> list[Node | None] | None:
        """The derivative of a graph that was described alike; None where the graph's own nodes
        are needed."""
        counts = _references(self._pick, given)
        beyond = map(operator.gt, counts, self._usual)
        live = tuple([k for k, is_live in enumerate(beyond) if is_live])
        nodes = self._pick(given)
        if not live or any(map(_data_of, nodes)):
            return None
        if live not in self._variants:
            self._variants[live] = self._variant(live)
        variant = self._variants[live]
        if variant is None:
            return None
        joined, places = variant
        results = [nodes[k] for k in live]
        serial = min(map(_serial_of, results)) - 0.5
        operands = [_earlier(node, serial) for node in self._take(given)]
        if None in operands:
            return None
        made = joined.over(tuple(operands), results, serial)  # type: ignore[arg-type]
        return [None if at is None else made[at] for at in places]

    def _variant(self, live: tuple[int, ...]) -> tuple[Joined, list[int | None]] | None:
        """What makes the nodes that are live, and which of its results belong to the derivative;
        None where one of them stands for others, or has several outputs."""
        results = [at for k in live if (at := self._places[k]) is not None]
        if len(results) < len(live):
            return None
        results += dict.fromkeys([at for at in self._found if at is not None])
        place: dict[int | None, int] = {at: i for i, at in enumerate(results)}
        joined = Joined(self._chain, results, self._forward)
        return joined, [place.get(at) for at in self._found]


def _earlier(node: Node, serial: float) -> Node | None:
    """The node, or for a number one that is no later than ``serial``; None for others."""
    if node.serial < serial or node.data is not None or node.primitive is None:
        return node
    if node.inputs:
        return None
    other = Node(node.primitive, (), node.shape, node.dtype)
    other.serial = serial - 0.25
    return other


class Derivative:
    """What is known of a derivative: of nodes of the graph, as one node with it, or either."""

    def __init__(self, transformed: Transformed | None, joint: Joint | None) -> None:
        self._transformed = transformed
        self._joint = joint

    def of(self, given: Sequence[Node], alone: bool) -> list[Node | None] | None:
        """The results that belong to nodes described alike; None where they can't be made."""
        if alone and self._joint is not None:
            found = self._joint.of(given)
            if found is not None:
                return found
        return None if self._transformed is None else self._transformed.of(given, alone)
