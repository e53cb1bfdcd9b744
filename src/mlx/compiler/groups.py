"""A group: the nodes that one kernel computes, and what decides whether another fits in."""

from __future__ import annotations

from math import prod

from mlx.compiler.uses import passed_through
from mlx.graph.node import Node


class Group:
    """Nodes computed by one kernel.

    kind: ``rows`` (maps and inner reductions), ``columns``, ``gemm`` or ``opaque``.
    size: iterations of its space; rows: how many rows it is split into, once a reduction says.
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


def producer(node: Node) -> Node:
    """The node whose kernel writes this one."""
    if node.primitive is not None and node.primitive.family == "pick" and node.inputs:
        return node.inputs[0] if passed_through(node) is None else node
    return node
