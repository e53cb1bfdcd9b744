"""Which values are written to memory, and which are computed again where they are read.

Needs: groups, and the operands of every node in one.  Leaves: the nodes that get memory: outputs,
operands of opaque kernels, and what other groups read rather than repeat.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from mlx.compiler.groups import Group, producer
from mlx.compiler.uses import Use
from mlx.graph.node import Node
from mlx.primitives.elementwise import Cast

MOST_OPERATIONS, MOST_READS = 12, 2
"""What repeating a value may cost: cheap operations, and arrays of its size that they read."""
MOST_REPEATED, MOST_FUNCTIONS = 32, 3
"""... and where its readers read already all that it takes: operations, and those among them
(functions, divisions) that are not cheap."""


class Stores:
    """The decision for one region; ``stored`` is the result."""

    def __init__(
        self,
        nodes: list[Node],
        outputs: Iterable[Node],
        unplaced: set[Node],
        group_of: Mapping[Node, Group],
        operands: Mapping[Node, list[Use]],
        folds: Container[Node],
    ) -> None:
        self.group_of = group_of
        self.operands = operands
        self.unplaced = unplaced
        self.folds = folds
        self.stored = {n for n in outputs if n in group_of}
        self._readers: dict[Node, set[int]] = {}  # groups that need a node's value
        members = [node for node in nodes if node in group_of]
        self._certain = self.stored | self._written_anyway(members)
        self._sources: dict[Node, frozenset[Node]] = {}  # what repeating a value reads
        self._repeats: dict[Node, frozenset[Node]] = {}  # and which operations that takes
        for node in members:
            self._price(node)
        for node in reversed(members):
            self._decide(node)
        spared = [n for n in reversed(members) if n in self.stored and n not in self._certain]
        by_product: dict[Node, list[Node]] = {}
        for node in spared:
            if (group := self.group_of[node]).kind == "gemm":
                by_product.setdefault(group.members[0], []).append(node)
        for product, values in by_product.items():
            self._keep_instead(product, values)
        for node in spared:
            self._spare(node)

    def _written_anyway(self, members: list[Node]) -> set[Node]:
        """Operands of kernels that read memory alone; products that other groups read."""
        found = set()
        for reader in members:
            group = self.group_of[reader]
            must = self._reads_memory(reader)
            for use in self.operands[reader]:
                node = producer(use.node)
                home = self.group_of.get(node)
                if home is not None and (must or (home is not group and _is_product(node, home))):
                    found.add(node)
        return found

    def _reads_memory(self, node: Node) -> bool:
        group = self.group_of[node]
        return group.kind == "opaque" or _is_product(node, group)

    def _decide(self, node: Node) -> None:
        group = self.group_of[node]
        readers = self._readers.get(node, set())
        foreign = readers - {group.index}
        repeated = foreign and node not in self.stored and node in self._repeats[node]
        if foreign and not repeated:
            self.stored.add(node)
        homes = set(foreign) if repeated else set()
        if node in self.stored or group.index in readers:
            homes.add(group.index)
        must = self._reads_memory(node)
        for use in self.operands[node]:
            self._need(producer(use.node), homes, must)

    def _need(self, node: Node, homes: set[int], must: bool) -> None:
        if must and node in self.group_of:
            self.stored.add(node)
        self._readers.setdefault(node, set()).update(homes)

    def _keep_instead(self, product: Node, values: list[Node]) -> None:
        """Store a product in place of values that its epilogue makes of it, where these are two
        or more."""
        if product in self.stored or len(values) < 2:
            return
        before = self._readers.get(product, set())
        home = {self.group_of[product].index}
        self._readers[product] = before.union(*(self._readers[v] - home for v in values))
        self.stored.add(product)
        for value in values:
            self._spare(value)
        if len(self.stored.intersection(values)) > len(values) - 2:
            self.stored.discard(product)
            self.stored.update(values)
            self._readers[product] = before

    def _spare(self, node: Node) -> None:
        """Store a value no longer whose readers can work it out from what they read anyway: an
        elementary function takes about as long as writing and reading its result."""
        if node not in self.stored:
            return
        readers = self._readers[node] - {self.group_of[node].index}
        repeated, stack = {node}, [node]
        functions = 0
        while stack:
            at = stack.pop()
            if not self._is_pointwise(at):
                return
            functions += not getattr(at.primitive, "cheap", False)
            for use in self.operands[at]:
                source = producer(use.node)
                if source not in self.group_of or source in self.stored:
                    if _weight(use.node, node) and not readers <= self._readers.get(source, set()):
                        return
                elif source not in repeated:
                    repeated.add(source)
                    stack.append(source)
            if len(repeated) > MOST_REPEATED or functions > MOST_FUNCTIONS:
                return
        self.stored.discard(node)
        for inner in repeated:
            self._readers.setdefault(inner, set()).update(readers)

    def _is_pointwise(self, node: Node) -> bool:
        """Whether its value is worked out element by element, wherever that is."""
        if node in self.unplaced or node.primitive.family != "elementwise":
            return False
        return self.group_of[node].kind != "opaque"

    def _price(self, node: Node) -> None:
        """What computing a value again takes; itself, from memory, where that costs more than
        writing and reading it once."""
        sources, repeats = frozenset((node,)), frozenset[Node]()
        if self._is_repeatable(node):
            read: set[Node] = set()
            repeated = {node}
            for use in self.operands[node]:
                at = use.node
                inner = producer(at)
                if inner in self.group_of and at not in self._certain:
                    read |= self._sources[inner]
                    repeated |= self._repeats[inner]
                else:
                    read.add(at)
            if len(repeated) <= MOST_OPERATIONS and self._traffic(read, node) <= MOST_READS:
                sources, repeats = frozenset(read), frozenset(repeated)
        self._sources[node], self._repeats[node] = sources, repeats

    def _is_repeatable(self, node: Node) -> bool:
        if node in self.unplaced:  # a view of it can't be said by what it is made of
            return False
        group = self.group_of[node]
        cheap = getattr(node.primitive, "cheap", False) or node in self.folds
        if not cheap or group.kind == "opaque":
            return False
        if group.kind != "gemm" or isinstance(node.primitive, Cast):
            return True
        first = group.members[0]  # next to it is as good a place to write as the product itself
        return first in self._certain or all(u.node is not first for u in self.operands[node])

    def _traffic(self, nodes: Iterable[Node], like: Node) -> int:
        """Arrays as large as ``like`` to read, and to write where that isn't done anyway."""
        return sum(
            1 if n not in self.group_of or n in self._certain else 2 * _wider(n, like)
            for n in nodes
            if _weight(n, like)
        )


def _is_product(node: Node, group: Group) -> bool:
    return group.kind == "gemm" and node is group.members[0]


def _weight(node: Node, like: Node) -> int:
    """1 for an array as large as ``like``, 0 for a much smaller one or a source."""
    if node.dtype is None or (node.primitive is not None and node.primitive.family == "source"):
        return 0
    return 1 if node.size * 4 > like.size else 0


def _wider(node: Node, like: Node) -> int:
    """How many times as wide the elements are, at least 1."""
    return max(1, node.dtype.size // like.dtype.size)
