"""Which nodes share a kernel: greedy in serial order, over equal iteration spaces.

Needs: the unevaluated nodes of a region in serial order, and which of them are outputs.
Leaves: groups in execution order, and which nodes are written to memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlx.compiler.equal import repeated_scalars
from mlx.compiler.groups import (
    SHORT,
    Group,
    can_reduce,
    elements,
    is_map,
    is_short,
    producer,
    reduction_space,
)
from mlx.compiler.nest import CHUNK
from mlx.compiler.stores import Stores
from mlx.compiler.uses import (
    Unresolvable,
    Use,
    Uses,
    alignment,
    passed_through,
    read_whole,
    seen_as,
)
from mlx.graph.node import Node
from mlx.primitives.base import Full
from mlx.primitives.layout import contiguous

MAX_OPERATIONS = 250
MAX_READS = 24
SMALLER = 16
"""A map of leaves this much smaller than its reader may run ahead of its turn."""


class Fusion:
    """The grouping of one region."""

    def __init__(
        self,
        nodes: list[Node],
        outputs: set[Node],
        solid: set[Node],
        unplaced: set[Node],
        apart: set[Node],
    ) -> None:
        self.nodes = nodes
        self.apart = apart
        self.outputs = outputs
        same = repeated_scalars(nodes, outputs)
        self.uses = Uses(solid, same)
        self.groups: list[Group] = []
        self.group_of: dict[Node, Group] = {}
        self.readers: dict[Node, Group] = {}
        self.operands: dict[Node, list[Use]] = {}
        self.folds: dict[Node, Node] = {}
        """For views made here, which pick an element of a short fold: the fold."""
        self.wide: dict[Node, int] = {}  # for short folds: how many elements it takes
        self.floors: dict[Node, int] = {}
        self.columns: dict[tuple[int, int, int], Group] = {}
        self.constants: set[Node] = set()
        self.needed = outputs | read_whole(nodes, self.uses)
        for node in nodes:
            if node not in same:
                self._place(node, solid)
        self.groups.sort(key=lambda group: group.order)
        for index, group in enumerate(self.groups):
            group.index, group.early = index, False
        self.stored = Stores(
            nodes, outputs, unplaced, self.group_of, self.operands, self.wide
        ).stored

    # -- placing nodes -----------------------------------------------------------------

    def _place(self, node: Node, solid: set[Node]) -> None:
        family = node.primitive.family
        floors = self.floors  # most regions have none
        floor = max([floors.get(i, -1) for i in node.inputs], default=-1) if floors else -1
        if family == "barrier":
            floor = self._new("barrier", 0).index
        if floor >= 0:
            self.floors[node] = floor
        if family in ("custom", "barrier"):
            return
        if family in ("view", "source", "pick") and node not in solid:
            return
        uses = self._operand_uses(node)
        short = is_short(node) and self._is_apart(node, uses[0])
        if short:
            self.wide[node] = self._width(node, uses[0])
            uses = [uses[0].through(views) for views in self._elements(node)]
        self.operands[node] = uses
        if self._is_constant(node, uses):
            self.constants.add(node)
        elif short or is_map(node):
            self._place_map(node, uses)
        elif family == "reduction":
            self._place_reduction(node, uses[0])
        else:
            kind = "gemm" if family == "contraction" else "opaque"
            self._join(self._new(kind, 0 if node.dtype is None else node.size), node, uses)

    def _elements(self, node: Node) -> list[tuple[Node, Node]]:
        found = elements(node)
        self.folds.update((view, node) for views in found for view in views)
        return found

    def blamed(self, node: Node) -> Node:
        """What to write out for a node: for a fold's element the view it is in, or the fold."""
        if node not in self.folds:
            return node
        *views, _, _ = self.operands[fold := self.folds[node]][0].chain
        return views[-1] if views else fold

    def _operand_uses(self, node: Node) -> list[Use]:
        same = passed_through(node)
        uses = [self.uses.of(i) for i in (node.inputs if same is None else (same,))]
        if node.primitive.family == "view":
            uses = [use.through((node,)) for use in uses]
        if getattr(node.primitive, "reads_narrow", False):
            uses = self._before_casts(uses)
        return uses

    def _is_constant(self, node: Node, uses: list[Use]) -> bool:
        """Whether it follows from numbers alone (a mean's share of a cotangent): then every
        kernel that needs it computes it, once, and depends on no other kernel."""
        if node.primitive.family != "elementwise" or node in self.needed or node in self.apart:
            return False
        sources = (u.node for u in uses if u.node not in self.constants)
        return all(
            s.data is None and isinstance(s.primitive, Full) and s not in self.group_of
            for s in sources  # one with a group is written out, and read from there
        )

    def _before_casts(self, uses: list[Use]) -> list[Use]:
        """Operands as they were before an exact cast, which a product repeats as it reads them.

        Not both of one half precision: their product might come from other instructions.
        """
        narrow = [self._before_cast(use) for use in uses]
        dtype = narrow[0].node.dtype
        same = dtype is narrow[1].node.dtype and dtype.is_float
        return [uses[0], narrow[1]] if same else narrow

    def _before_cast(self, use: Use) -> Use:
        exact = getattr(use.node.primitive, "is_exact", None)
        if use.node.data is not None or exact is None or not exact(use.node.inputs[0].dtype):
            return use
        source = self.uses.of(use.node.inputs[0])
        there = source.node.data is not None or producer(source.node) in self.group_of
        return source.through(use.chain) if there else use

    def _is_apart(self, node: Node, use: Use) -> bool:
        """Whether no kernel that makes an operand could also fold it; or the operand is cheap, or a
        fold of few elements itself."""
        if use.node in self.wide and self._width(node, use) <= 2 * SHORT:
            return True
        home = self.group_of.get(producer(use.node))
        if home is None or home.kind not in ("rows", "columns"):
            return True
        size = node.inputs[0].size
        aligned = alignment(use, None, size) == "full"
        return not aligned or getattr(use.node.primitive, "cheap", False)

    def _width(self, node: Node, use: Use) -> int:
        return int(reduction_space(node)[1]) * self.wide.get(use.node, 1)

    def _new(self, kind: str, size: int) -> Group:
        group = Group(len(self.groups), kind, size)
        self.groups.append(group)
        return group

    def _join(self, group: Group, node: Node, uses: list[Use]) -> None:
        group.members.append(node)
        self.group_of[node] = group
        for use in uses:
            source = producer(use.node)
            home = self.group_of.get(source)
            if home is not group:
                group.reads.add(use.node)
                self.readers[use.node] = group
                if home is not None:
                    home.movable = False

    def _candidates(self, node: Node, uses: Iterable[Use]) -> list[Group]:
        """Groups late enough to see every operand (and behind any barrier), earliest first."""
        low = self.floors.get(node, -1)
        related: set[int] = set()
        for use in uses:
            group = self.group_of.get(producer(use.node))
            if group is not None:
                related.add(group.index)
                if not group.movable:
                    low = max(low, group.order)
            reader = self.readers.get(use.node)
            if reader is not None and use.node.dtype and use.node.size * SMALLER > node.size:
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
                if self._foreign_movable(group, uses):
                    if how == "full":
                        self._absorb(group, uses)
                    self._precede(group, uses)
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
        producers = (self.group_of.get(producer(u.node)) for u in uses)
        return all(p is None or p is group for p in producers)

    def _foreign_movable(self, group: Group, uses: Iterable[Use]) -> list[Group]:
        """Movable groups, other than the group itself, that compute some of these operands."""
        found: list[Group] = []
        find = self.group_of.get
        for use in uses:
            other = find(producer(use.node))
            if other is not None and other.movable and other is not group and other not in found:
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
            if self.group_of.get(producer(use.node)) is other
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
        if group.early and not self._is_free(group, node, uses):
            return ""
        how = ""
        if node.size == group.size:
            how = "full"
        elif group.rows is not None and node.size == group.rows and not group.closed:
            how = "row"
        inside = [u for u in uses if self.group_of.get(producer(u.node)) is group]
        if not how or not all(self._fits(group, u, how) for u in inside):
            return ""
        if group.kind == "gemm" and not self._fits_tile(group, uses):
            return ""
        return how if self._can_take_in(group, uses, how) else ""

    def _can_take_in(self, group: Group, uses: list[Use], how: str) -> bool:
        """Whether operands in later, movable groups can be merged, or computed before: those that
        are much smaller, as they would not fit in."""
        return all(
            other.order < group.order
            or (how == "full" and self._could_absorb(group, other, uses))
            or other.size * SMALLER <= group.size
            for other in self._foreign_movable(group, uses)
        )

    def _precede(self, group: Group, uses: list[Use]) -> None:
        """Let the movable groups whose values the group is about to use run before it."""
        for other in self._foreign_movable(group, uses):
            if other.order > group.order:
                other.early = True

    def _fits(self, group: Group, use: Use, how: str) -> bool:
        """Whether an operand computed in the group is at hand where it is used."""
        node = use.node
        if node in group.late or (group.closed and node in group.reductions):
            return False
        is_row = node in group.row_members or (node in group.reductions)
        if how == "row":
            return is_row and alignment(use, None, group.rows or 0) == "full"
        found = alignment(use, group.rows, group.size)
        return found == ("row" if is_row else "full")

    def _fits_tile(self, group: Group, uses: list[Use]) -> bool:
        """An epilogue addresses its operands by batch, row and column strides."""
        contraction = group.members[0]
        root, _ = contraction.primitive.tiling(contraction)
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
                self._precede(group, [use])
                break
        else:
            group = self._new("rows", outer * depth * inner)
        self._join(group, node, [use])
        group.movable = False
        if inner != 1 and group.rows is not None:
            group.late.add(node)
            return
        if inner == 1 and group.columns is not None:
            group.take_rows()
        group.reductions.add(node)
        if inner != 1:
            group.columns, group.kind = (outer, depth, inner), "columns"
            self.columns[group.columns] = group
        else:
            group.rows = outer
            group.split = depth > CHUNK
            self.columns[1, outer, depth] = group

    def _reduction_candidates(self, node: Node, use: Use) -> list[Group]:
        """As for maps; and the last group that reduces the same space over outer axes, or whose
        rows these are."""
        found = self._candidates(node, [use])
        same = self.columns.get(reduction_space(node))
        home = self.group_of.get(producer(use.node))
        low = max(self.floors.get(node, -1), -1 if home is None else home.order)
        if same is not None and same.order >= low and same not in found:
            found.append(same)
        return found

    def _accepts_reduction(self, group: Group, node: Node, use: Use) -> bool:
        outer, depth, inner = reduction_space(node)
        if (
            group.kind not in ("rows", "columns")
            or group.sealed
            or (group.early and not self._is_free(group, node, [use]))
            or group.size != outer * depth * inner
        ):
            return False
        if len(group.members) >= MAX_OPERATIONS or len(group.reads) >= MAX_READS:
            return False
        if not can_reduce(group, (outer, depth, inner)) or not self._can_take_in(
            group, [use], "full"
        ):
            return False
        if self.group_of.get(use.node) is not group:
            return True
        if use.node in group.row_members | group.reductions | group.late:
            return False
        return alignment(use, None, group.size) == "full"
