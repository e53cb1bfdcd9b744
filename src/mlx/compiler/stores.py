"""Which values are written to memory, and which are computed again where they are read.

Needs: groups, and the operands of every node in one.  Leaves: the nodes that get memory: outputs,
operands of opaque kernels, and what other groups read rather than repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlx.compiler.groups import Group, producer
from mlx.compiler.uses import Use
from mlx.graph.node import Node
from mlx.primitives.elementwise import Cast

MOST_OPERATIONS, MOST_READS = 12, 2
"""What repeating a value may cost: cheap operations, and arrays of its size that they read."""


class Stores:
    """The decision for one region; ``stored`` is the result."""

    def __init__(
        self,
        nodes: list[Node],
        outputs: Iterable[Node],
        group_of: Mapping[Node, Group],
        operands: Mapping[Node, list[Use]],
    ) -> None:
        self.group_of = group_of
        self.operands = operands
        self.stored = {n for n in outputs if n in group_of}
        self._readers: dict[Node, set[int]] = {}  # groups that need a node's value
        for node in reversed(nodes):
            if node in group_of:
                self._decide(node)

    def _decide(self, node: Node) -> None:
        group = self.group_of[node]
        readers = self._readers.get(node, set())
        foreign = readers - {group.index}
        repeated = foreign and node not in self.stored and self._repeatable(node)
        if foreign and not repeated:
            self.stored.add(node)
        homes = set(foreign) if repeated else set()
        if node in self.stored or group.index in readers:
            homes.add(group.index)
        must = group.kind == "opaque" or (group.kind == "gemm" and node is group.members[0])
        for use in self.operands[node]:
            self._need(producer(use.node), homes, must)

    def _need(self, node: Node, homes: set[int], must: bool) -> None:
        if node in self.group_of:
            if must:
                self.stored.add(node)
            self._readers.setdefault(node, set()).update(homes)

    def _repeatable(self, node: Node) -> bool:
        """Whether computing it again costs no more than writing and reading it once."""
        if self._widens(node):
            return True
        stack, operations, traffic = [node], 0, 0
        seen: set[Node] = set()
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            inner = self.group_of.get(producer(at))
            if at is not node and (inner is None or at in self.stored):
                traffic += _weight(at, node)
                continue
            cheap = at.primitive is not None and getattr(at.primitive, "cheap", False)
            if not cheap or inner is None or inner.kind not in ("rows", "columns"):
                if at is node:
                    return False
                traffic += 2 * _weight(at, node)
                continue
            operations += 1
            stack += [u.node for u in self.operands[at]]
        return operations <= MOST_OPERATIONS and traffic <= MOST_READS

    def _widens(self, node: Node) -> bool:
        """Whether it is cast from a narrower value of a product's epilogue: better stored."""
        group = self.group_of[node]
        if group.kind != "gemm" or not isinstance(node.primitive, Cast):
            return False
        (use,) = self.operands[node]
        narrower = use.node.dtype.size < node.dtype.size
        return narrower and self.group_of.get(use.node) is group


def _weight(node: Node, like: Node) -> int:
    """1 for an array as large as ``like``, 0 for a much smaller one or a source."""
    if node.dtype is None or (node.primitive is not None and node.primitive.family == "source"):
        return 0
    return 1 if node.size * 4 > like.size else 0
