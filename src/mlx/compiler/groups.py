"""A group: the nodes that one kernel computes, and what decides whether another fits in."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.compiler.nest import CHUNK
from mlx.compiler.uses import passed_through
from mlx.graph.node import Node
from mlx.primitives.base import picks
from mlx.primitives.views import Reshape, Slice

LATE_DEPTH, LATE_INNER = 256, (64, 16384)
"""Of reductions over an outer axis that join those of rows: fewest rows, and their lengths."""
MOST_LATE = 4
SHORT = 8
"""Elements up to which a fold is a map of as many operands."""


class Group:
    """Nodes computed by one kernel.

    kind: ``rows`` (maps and inner reductions), ``columns``, ``gemm`` or ``opaque``.
    size: iterations of its space; rows: how many rows it is split into, once a reduction says.
    late: reductions over the rows, in a kernel that reduces each row too; complete when it ends.
    closed: its reductions are complete only when the kernel ends (split, columns).
    movable: a map of leaves alone, which may still be merged into any group, even an earlier one.
    early: once movable, and read by a group before it: it runs first and stays a map of leaves.
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
        self.late: set[Node] = set()
        self.reads: set[Node] = set()
        self.movable = False
        self.early = False
        self.sealed = False

    @property
    def order(self) -> int:
        """Groups run in this order (early ones among themselves in any)."""
        return -1 if self.early else self.index

    @property
    def closed(self) -> bool:
        return self.split or self.columns is not None

    @property
    def splittable(self) -> bool:
        """Whether a reduction may still decide its rows or columns."""
        return self.kind == "rows" and self.rows is None and not self.closed

    def take_rows(self) -> None:
        """From a reduction over an outer axis to rows, that reduction one more result."""
        assert self.columns is not None
        self.rows, self.kind, self.columns = self.columns[1], "rows", None
        self.late, self.reductions = self.reductions, set()

    def __repr__(self) -> str:
        return f"<group {self.index} {self.kind} {self.size} {self.rows} {len(self.members)}>"


def reduction_space(node: Node) -> tuple[int, int, int]:
    """(outer, reduced, inner) sizes of a reduction."""
    shape, axis = node.inputs[0].shape, node.primitive.axis
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def is_late(columns: tuple[int, int, int] | None) -> bool:
    """Whether a reduction over an outer axis may share a kernel with reductions of the rows: a
    few rows of accumulators, much smaller than the operand."""
    if columns is None or columns[0] != 1:
        return False
    _, depth, inner = columns
    return LATE_DEPTH <= depth <= CHUNK and LATE_INNER[0] <= inner <= LATE_INNER[1]


def can_reduce(group: Group, space: tuple[int, int, int]) -> bool:
    """Whether a kernel of as many elements may reduce them, as (outer, reduced, inner)."""
    outer, depth, inner = space
    if inner != 1:
        return group.splittable or group.columns == space or _joins_rows(group, space)
    if group.columns is not None:
        legal = group.columns == (1, outer, depth) and is_late(group.columns)
        return legal and len(group.reductions) <= MOST_LATE
    if depth > CHUNK:
        return group.splittable or (group.split and group.rows == outer)
    return group.splittable or (group.kind == "rows" and group.rows == outer and not group.closed)


def _joins_rows(group: Group, space: tuple[int, int, int]) -> bool:
    """Whether a reduction over an outer axis can be one more result of a kernel of rows."""
    if group.closed or group.rows != space[1] or len(group.late) >= MOST_LATE:
        return False
    return is_late(space)


def is_map(node: Node) -> bool:
    """Elementwise, or a copy: a view or source that needs memory, a fold of one element."""
    family = node.primitive.family
    if family == "reduction":
        return reduction_space(node)[1] == 1
    return family in ("elementwise", "view", "source", "pick")


def is_short(node: Node) -> bool:
    """Whether it folds a few elements over an outer axis, which can be read side by side."""
    if node.primitive.family != "reduction":
        return False
    _, depth, inner = reduction_space(node)
    return 1 < depth <= SHORT and inner > 1


def elements(node: Node) -> list[tuple[Node, Node]]:
    """For each element of a short fold, the views that pick it from the operand.

    Sizes may be unknown: fields given by name are not looked up among shared primitives.
    """
    (x,) = node.inputs
    axis, shape = node.primitive.axis, node.shape
    picked = (*shape[:axis], 1, *shape[axis:])
    out = []
    for at in range(x.shape[axis]):
        starts = tuple(at if a == axis else 0 for a in range(x.ndim))
        one = Slice(starts=starts, steps=(1,) * x.ndim, shape=picked)(x)
        out.append((one, Reshape(shape=shape)(one)))
    return out


def producer(node: Node) -> Node:
    """The node whose kernel writes this one."""
    if node.primitive is not None and node.primitive.family == "pick" and node.inputs:
        return node.inputs[0] if passed_through(node) is None else node
    return node


def outputs_of(several: Sequence[Node], order: Sequence[Node]) -> dict[Node, list[Node]]:
    """A pick for every output of nodes with several outputs: those of ``order``, others new."""
    found = {node: picks(node) for node in several}
    for node in order:
        made = found.get(node.inputs[0]) if node.inputs else None
        if made is not None and node.primitive.family == "pick":
            made[node.primitive.index] = node
    return found
