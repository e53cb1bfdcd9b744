"""Which nodes share a kernel: greedy in serial order, over equal iteration spaces.

Needs: the unevaluated nodes of a region in serial order, and which of them are outputs.
Leaves: groups in execution order, and which nodes are written to memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from mlx.compiler.nest import CHUNK
from mlx.compiler.uses import (
    Unresolvable,
    Use,
    Uses,
    alignment,
    is_view,
    passed_through,
    push,
    seen_as,
)
from mlx.graph.node import Node
from mlx.primitives.layout import contiguous

MAX_OPERATIONS = 250
MAX_READS = 24


class Group:
    """Nodes computed by one kernel.

    kind: ``rows`` (maps and inner reductions), ``columns``, ``gemm`` or ``opaque``.
    size: iterations of its space; rows: how many rows it is split into, once a reduction says.
    closed: its reductions are complete only when the kernel ends (split, columns).
    movable: a map of leaves alone, which may still be merged into any group, even an earlier one.
    sealed: one node whose strides fit no other's loops.
    """

    def __init__(self, index: int, kind: str, size: int) -> None:
        self.index = index
        self.kind = kind
        self.size = size
        self.rows: int | None = None
        self.split = False
        self.columns: tuple[int, int, int] | None = None
        self.members: list[Node] = []
        self.row_members: set[Node] = set()
        self.reductions: set[Node] = set()
        self.reads: set[Node] = set()
        self.movable = False
        self.sealed = False

    @property
    def closed(self) -> bool:
        return self.split or self.columns is not None

    @property
    def splittable(self) -> bool:
        """Whether a reduction may still decide its rows or columns."""
        return self.kind == "rows" and self.rows is None and not self.closed

    def __repr__(self) -> str:
        return f"<group {self.index} {self.kind} {self.size} {self.rows} {len(self.members)}>"


def reduction_space(node: Node) -> tuple[int, int, int]:
    """(outer, reduced, inner) sizes of a reduction."""
    shape, axis = node.inputs[0].shape, node.primitive.axis
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def is_map(node: Node) -> bool:
    """Elementwise, or a copy: a view or source that needs memory, a fold of one element."""
    family = node.primitive.family
    if family == "reduction":
        return reduction_space(node)[1] == 1
    return family in ("elementwise", "view", "source", "pick")


class Fusion:
    """The grouping of one region."""

    def __init__(
        self, nodes: list[Node], outputs: set[Node], solid: set[Node], apart: set[Node]
    ) -> None:
        self.nodes = nodes
        self.apart = apart
        self.outputs = outputs
        self.uses = Uses(solid)
        self.groups: list[Group] = []
        self.group_of: dict[Node, Group] = {}
        self.readers: dict[Node, Group] = {}
        self.operands: dict[Node, list[Use]] = {}
        self.floors: dict[Node, int] = {}
        self.columns: dict[tuple[int, int, int], Group] = {}
        for node in nodes:
            self._place(node, solid)
        self.stored = self._stored()

    # -- placing nodes -----------------------------------------------------------------

    def _place(self, node: Node, solid: set[Node]) -> None:
        family = node.primitive.family
        floor = max((self.floors.get(i, -1) for i in node.inputs), default=-1)
        if family == "barrier":
            floor = self._new("barrier", 0).index
        if floor >= 0:
            self.floors[node] = floor
        if family in ("custom", "barrier"):
            return
        if family in ("view", "source", "pick") and node not in solid:
            return
        same = passed_through(node)
        uses = [self.uses.of(i) for i in (node.inputs if same is None else (same,))]
        if family == "view":
            uses = [use.through((node,)) for use in uses]
        self.operands[node] = uses
        if is_map(node):
            self._place_map(node, uses)
        elif family == "reduction":
            self._place_reduction(node, uses[0])
        else:
            kind = "gemm" if family == "contraction" else "opaque"
            self._join(self._new(kind, 0 if node.dtype is None else node.size), node, uses)

    def _new(self, kind: str, size: int) -> Group:
        group = Group(len(self.groups), kind, size)
        self.groups.append(group)
        return group

    def _join(self, group: Group, node: Node, uses: list[Use]) -> None:
        group.members.append(node)
        self.group_of[node] = group
        for use in uses:
            source = self.producer(use.node)
            home = self.group_of.get(source)
            if home is not group:
                group.reads.add(use.node)
                self.readers[use.node] = group
                if home is not None:
                    home.movable = False

    @staticmethod
    def producer(node: Node) -> Node:
        """The node whose kernel writes this one."""
        if node.primitive is not None and node.primitive.family == "pick" and node.inputs:
            return node.inputs[0] if passed_through(node) is None else node
        return node

    def _candidates(self, node: Node, uses: Iterable[Use]) -> list[Group]:
        """Groups late enough to see every operand (and behind any barrier), earliest first."""
        low = self.floors.get(node, -1)
        related: set[int] = set()
        for use in uses:
            group = self.group_of.get(self.producer(use.node))
            if group is not None:
                related.add(group.index)
                if not group.movable:
                    low = max(low, group.index)
            reader = self.readers.get(use.node)
            if reader is not None:
                related.add(reader.index)
        return [self.groups[i] for i in sorted(related) if i >= low]

    def _place_map(self, node: Node, uses: list[Use]) -> None:
        if node in self.apart:
            group = self._new("rows", node.size)
            group.sealed = True
            self._join(group, node, uses)
            return
        for group in self._candidates(node, uses):
            how = self._accepts(group, node, uses)
            if how:
                if how == "full":
                    self._absorb(group, uses)
                self._join(group, node, uses)
                group.movable = group.movable and self._is_free(group, node, uses)
                if how == "row":
                    group.row_members.add(node)
                return
        group = self._new("rows", node.size)
        group.movable = self._is_free(group, node, uses)
        self._join(group, node, uses)

    def _is_free(self, group: Group, node: Node, uses: list[Use]) -> bool:
        """Whether a map node needs nothing that another group computes."""
        if node in self.floors:
            return False
        producers = (self.group_of.get(self.producer(u.node)) for u in uses)
        return all(p is None or p is group for p in producers)

    def _foreign_movable(self, group: Group, uses: Iterable[Use]) -> list[Group]:
        """Movable groups, other than the group itself, that compute some of these operands."""
        found: list[Group] = []
        for use in uses:
            other = self.group_of.get(self.producer(use.node))
            if other is not None and other is not group and other.movable and other not in found:
                found.append(other)
        return found

    def _could_absorb(self, group: Group, other: Group, uses: Iterable[Use]) -> bool:
        """Whether a movable group fits in, and its values are used where they are computed."""
        if group.kind not in ("rows", "columns", "gemm") or other.size != group.size:
            return False
        if len(group.members) + len(other.members) >= MAX_OPERATIONS:
            return False
        if len(group.reads | other.reads) >= MAX_READS:
            return False
        if group.kind == "gemm":
            inner = [u for member in other.members for u in self.operands[member]]
            if not self._fits_tile(group, inner):
                return False
        return all(
            alignment(use, None, group.size) == "full"
            for use in uses
            if self.group_of.get(self.producer(use.node)) is other
        )

    def _absorb(self, group: Group, uses: list[Use]) -> None:
        """Merge movable groups whose values the group is about to use."""
        for other in self._foreign_movable(group, uses):
            if not self._could_absorb(group, other, uses):
                continue
            for member in other.members:
                self.group_of[member] = group
            first, rest = group.members[:1], group.members[1:] + other.members
            if group.kind != "gemm":
                first, rest = [], first + rest
            group.members = first + sorted(rest, key=lambda n: n.serial)
            for node in other.reads:
                group.reads.add(node)
                self.readers[node] = group
            other.members, other.reads, other.movable = [], set(), False
            other.kind = "empty"

    def _accepts(self, group: Group, node: Node, uses: list[Use]) -> str:
        """``full`` or ``row`` where the group can compute the node, else an empty string."""
        if group.kind not in ("rows", "columns", "gemm") or group.sealed:
            return ""
        if len(group.members) >= MAX_OPERATIONS or len(group.reads) + len(uses) > MAX_READS:
            return ""
        how = ""
        if node.size == group.size:
            how = "full"
        elif group.rows is not None and node.size == group.rows and not group.closed:
            how = "row"
        inside = [u for u in uses if self.group_of.get(self.producer(u.node)) is group]
        if not how or not all(self._fits(group, u, how) for u in inside):
            return ""
        if group.kind == "gemm" and not self._fits_tile(group, uses):
            return ""
        return how if self._can_take_in(group, uses, how) else ""

    def _can_take_in(self, group: Group, uses: list[Use], how: str) -> bool:
        """Whether operands in later, movable groups can be merged (earlier ones need not be)."""
        return all(
            other.index < group.index or (how == "full" and self._could_absorb(group, other, uses))
            for other in self._foreign_movable(group, uses)
        )

    def _fits(self, group: Group, use: Use, how: str) -> bool:
        """Whether an operand computed in the group is at hand where it is used."""
        node = use.node
        if group.closed and node in group.reductions:
            return False
        is_row = node in group.row_members or (node in group.reductions)
        if how == "row":
            return is_row and alignment(use, None, group.rows or 0) == "full"
        found = alignment(use, group.rows, group.size)
        return found == ("row" if is_row else "full")

    def _fits_tile(self, group: Group, uses: list[Use]) -> bool:
        """An epilogue addresses its operands by batch, row and column strides."""
        root = group.members[0].shape
        for use in uses:
            if self.group_of.get(use.node) is group or use.node.dtype is None:
                continue
            try:
                if seen_as(contiguous(use.node.shape), use.chain, root).strides() is None:
                    return False
            except Unresolvable:
                return False
        return True

    def _place_reduction(self, node: Node, use: Use) -> None:
        outer, depth, inner = reduction_space(node)
        for group in self._reduction_candidates(node, use):
            if self._accepts_reduction(group, node, use):
                self._absorb(group, [use])
                break
        else:
            group = self._new("rows", outer * depth * inner)
        self._join(group, node, [use])
        group.reductions.add(node)
        group.movable = False
        if inner != 1:
            group.columns, group.kind = (outer, depth, inner), "columns"
            self.columns[group.columns] = group
        else:
            group.rows = outer
            group.split = depth > CHUNK

    def _reduction_candidates(self, node: Node, use: Use) -> list[Group]:
        """As for maps; and the last group that reduces the same space over outer axes."""
        found = self._candidates(node, [use])
        same = self.columns.get(reduction_space(node))
        producer = self.group_of.get(self.producer(use.node))
        low = max(self.floors.get(node, -1), -1 if producer is None else producer.index)
        if same is not None and same.index >= low and same not in found:
            found.append(same)
        return found

    def _accepts_reduction(self, group: Group, node: Node, use: Use) -> bool:
        outer, depth, inner = reduction_space(node)
        if (
            group.kind not in ("rows", "columns")
            or group.sealed
            or group.size != outer * depth * inner
        ):
            return False
        if len(group.members) >= MAX_OPERATIONS or len(group.reads) >= MAX_READS:
            return False
        if inner != 1:
            legal = group.splittable or group.columns == (outer, depth, inner)
        elif depth > CHUNK:
            legal = group.splittable or (group.split and group.rows == outer)
        else:
            legal = group.splittable or (
                group.kind == "rows" and group.rows == outer and not group.closed
            )
        if not legal or not self._can_take_in(group, [use], "full"):
            return False
        if self.group_of.get(use.node) is not group:
            return True
        if use.node in group.row_members or use.node in group.reductions:
            return False
        return alignment(use, None, group.size) == "full"

    # -- what is written to memory -----------------------------------------------------

    def _stored(self) -> set[Node]:
        """Outputs, operands of opaque kernels, and what other groups read rather than repeat."""
        stored = {n for n in self.outputs if n in self.group_of}
        needed: dict[Node, set[int]] = {}
        for node in reversed(self.nodes):
            if node not in self.group_of:
                continue
            group = self.group_of[node]
            foreign = needed.get(node, set())
            must = group.kind == "opaque" or (group.kind == "gemm" and node is group.members[0])
            inline = foreign and node not in stored and self._repeatable(node, stored)
            if foreign and not inline:
                stored.add(node)
            homes = set(foreign) if inline else set()
            if node in stored or self._used_inside(node, group, needed):
                homes.add(group.index)
            for use in self.operands[node]:
                self._need(use.node, homes, must, stored, needed)
        return stored

    def _used_inside(self, node: Node, group: Group, needed: dict[Node, set[int]]) -> bool:
        return group.index in self._inside.get(node, set())

    def _need(
        self,
        node: Node,
        homes: set[int],
        must: bool,
        stored: set[Node],
        needed: dict[Node, set[int]],
    ) -> None:
        node = self.producer(node)
        group = self.group_of.get(node)
        if group is None:
            return
        if must:
            stored.add(node)
        for home in homes:
            if home == group.index:
                self._inside.setdefault(node, set()).add(home)
            else:
                needed.setdefault(node, set()).add(home)

    @property
    def _inside(self) -> dict[Node, set[int]]:
        return self.__dict__.setdefault("_inside_uses", {})

    def _repeatable(self, node: Node, stored: set[Node]) -> bool:
        """Whether computing it again costs no more than writing and reading it once."""
        stack, operations, traffic = [node], 0, 0
        seen: set[Node] = set()
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            inner = self.group_of.get(self.producer(at))
            if at is not node and (inner is None or at in stored):
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
        return operations <= 12 and traffic <= 2


def _weight(node: Node, like: Node) -> int:
    """1 for an array as large as ``like``, 0 for a much smaller one or a source."""
    if node.dtype is None or (node.primitive is not None and node.primitive.family == "source"):
        return 0
    return 1 if node.size * 4 > like.size else 0


def solid_views(nodes: list[Node], outputs: set[Node]) -> tuple[set[Node], dict[Node, Use]]:
    """Outputs that are views or sources: those to be copied, and those that alias memory."""
    solid: set[Node] = set()
    aliases: dict[Node, Use] = {}
    for node in nodes:
        if node not in outputs:
            continue
        family = node.primitive.family
        if family == "source":
            solid.add(node)
        if family == "view" or passed_through(node) is not None:
            use = Uses(solid).of(node)
            if _aliases(use):
                aliases[node] = use
            else:
                solid.add(node)
    return solid, aliases


def _aliases(use: Use) -> bool:
    """Whether a view's elements are consecutive in its source (and most of it)."""
    node = use.node
    if is_view(node) or (node.primitive is not None and node.primitive.family == "source"):
        return False
    try:
        layout = push(contiguous(node.shape), use.chain)
    except Unresolvable:
        return False
    viewed = prod(layout.shape)
    return layout.is_contiguous() and viewed > 0 and viewed * 4 >= node.size
