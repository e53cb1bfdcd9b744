"""From a group of nodes to a loop nest: expressions, and the strides of every operand.

Needs: a fusion, and where each stored node lies.  Leaves: a Nest whose operands all have one
stride a loop; raises Unresolvable with the node to write out where that can't be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx.compiler.fuse import Fusion
from mlx.compiler.groups import Group, reduction_space
from mlx.compiler.loops import loops_of
from mlx.compiler.nest import (
    Access,
    Accumulate,
    Apply,
    Argument,
    Expression,
    Fold,
    Index,
    Literal,
    Load,
    Nest,
    Reduce,
    Tile,
)
from mlx.compiler.orient import oriented
from mlx.compiler.runs import is_gathered_again
from mlx.compiler.uses import Chain, Unresolvable, Use, culprit, seen_as
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Full
from mlx.primitives.elementwise import Elementwise
from mlx.primitives.layout import Layout
from mlx.primitives.reductions import Reduction


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stored node lies: a buffer and a layout over the node's shape; whether it has the
    buffer to itself."""

    buffer: int
    layout: Layout
    is_whole: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Operand:
    """An access before its loops are known: ``buffer`` None computes the position itself."""

    buffer: int | None
    layout: Layout
    dtype: Any
    culprit: Node | None
    small: Node | None = None
    """The smallest of the views that it is seen through."""


class ExpressionBuilder:
    """Builds the values of one kernel over a root shape of one or more axes."""

    def __init__(
        self,
        fusion: Fusion,
        group: Group,
        place: Callable[[Node], Place],
        argument: Callable[[Node], int],
        root: Shape,
    ) -> None:
        self.fusion = fusion
        self.group = group
        self.place = place
        self.argument = argument
        self.root = root
        self.values: list[Expression] = []
        self.operands: list[Operand] = []
        self.arguments: list[int] = []
        self._values: dict[Expression, int] = {}
        self._operands: dict[tuple[Any, ...], int] = {}
        self._known: dict[tuple[Node, Chain, bool], int] = {}

    # -- values ------------------------------------------------------------------------

    def value(self, use: Use, row: bool = False) -> int:
        """The value of a use at the current iteration (of the row loops only, for ``row``).

        Iterative: each key is visited when its operands are known.
        """
        wanted = self._key(use, row)
        stack = [wanted]
        while stack:
            key = stack[-1]
            if key in self._known:
                stack.pop()
                continue
            missing = [k for k in self._needs(key) if k not in self._known]
            if missing:
                stack += missing
                continue
            self._known[key] = self._make(key)
        return self._known[wanted]

    def _key(self, use: Use, row: bool) -> tuple[Node, Chain, bool]:
        node = use.node
        if self._is_member(node):
            is_row = node in self.group.row_members or node in self.group.reductions
            return node, (), is_row and not self.group.closed
        return node, use.chain, row

    def _is_member(self, node: Node) -> bool:
        return self.fusion.group_of.get(node) is self.group

    def _is_memory(self, node: Node) -> bool:
        """Whether the node is read from memory rather than computed here."""
        if node.data is not None or node.primitive is None:
            return True
        if self._is_member(node):
            return False
        return node in self.fusion.stored or node.primitive.family == "pick"

    def _needs(self, key: tuple[Node, Chain, bool]) -> list[tuple[Node, Chain, bool]]:
        node, chain, row = key
        if self._is_memory(node) or self._is_source(node):
            return []
        if self._is_tile(node):
            return []
        uses = self.fusion.operands[node]
        if node in self.group.reductions | self.group.late and self._is_member(node):
            row = False
        return [self._key(use.through(chain), row) for use in uses]

    def _is_tile(self, node: Node) -> bool:
        return self.group.kind == "gemm" and node is self.group.members[0]

    @staticmethod
    def _is_source(node: Node) -> bool:
        return node.primitive is not None and node.primitive.family == "source"

    def _make(self, key: tuple[Node, Chain, bool]) -> int:
        node, chain, row = key
        if self._is_memory(node):
            place = self.place(node)
            operand = self._operand(place.buffer, place.layout, node, chain, row)
            return self._add(Load(operand, node.dtype))
        if self._is_source(node):
            return self._source(node, chain, row)
        if self._is_tile(node):
            return self._add(Tile(node.dtype))
        args = tuple(self._known[k] for k in self._needs(key))
        primitive = node.primitive
        if primitive.family in ("view", "pick"):
            return args[0]
        if isinstance(primitive, Reduction):
            home = self.fusion.group_of[node]
            if node in home.late:
                return self._add(Accumulate(primitive, args[0], node.dtype))
            if node in home.reductions:
                return self._add(Reduce(primitive, args[0], node.dtype))
            return self._add(Fold(primitive, args, node.dtype))
        assert isinstance(primitive, Elementwise)
        return self._add(Apply(primitive, args, node.dtype))

    def _source(self, node: Node, chain: Chain, row: bool) -> int:
        primitive = node.primitive
        if isinstance(primitive, Full):
            if primitive.is_literal:
                return self._add(Literal.of(primitive.value, node.dtype))
            position = self.argument(node)
            if position not in self.arguments:
                self.arguments.append(position)
            return self._add(Argument(self.arguments.index(position), node.dtype))
        axes = [((n, 0),) for n in node.shape]
        axis = primitive.axis
        axes[axis] = ((node.shape[axis], 1),)
        operand = self._operand(None, Layout(tuple(axes)), node, chain, row)
        return self._add(Index(operand, node.dtype))

    def _add(self, expression: Expression) -> int:
        found = self._values.get(expression)
        if found is None:
            found = self._values[expression] = len(self.values)
            self.values.append(expression)
        return found

    # -- operands ----------------------------------------------------------------------

    def _operand(
        self, buffer: int | None, layout: Layout, node: Node, chain: Chain, row: bool
    ) -> int:
        layout = self._over_root(layout, chain, row, node)
        dtype = node.dtype if buffer is not None else None
        written = None if buffer is not None else node  # a source can be written out
        key = (buffer, layout, dtype)
        found = self._operands.get(key)
        if found is None:
            found = self._operands[key] = len(self.operands)
            blamed = culprit(chain) if chain else written
            small = min(chain, key=lambda view: view.size, default=None)
            self.operands.append(Operand(buffer, layout, dtype, blamed, small))
        return found

    def _over_root(
        self, layout: Layout, chain: Chain, row: bool, node: Node | None = None
    ) -> Layout:
        if not row:
            return seen_as(layout, chain, self.root, node)
        rows = seen_as(layout, chain, self.root[:1], node)
        return Layout((*rows.axes, ((self.root[1], 0),)), rows.offset)

    def target(self, node: Node, row: bool) -> int:
        """The operand to which a stored node is written."""
        place = self.place(node)
        layout = self._over_root(place.layout, (), row)
        blamed = None if place.layout.is_contiguous() else node
        self.operands.append(Operand(place.buffer, layout, node.dtype, blamed))
        return len(self.operands) - 1


def root_of(group: Group) -> Shape:
    """The axes of a group's iteration space: (size,), (rows, inner) or (outer, depth, inner)."""
    if group.columns is not None:
        return group.columns
    if group.rows is None:
        return (group.size,)
    depth = max((reduction_space(n)[1] for n in group.reductions), default=1)
    return (group.rows, depth)


def build_nest(
    fusion: Fusion,
    group: Group,
    place: Callable[[Node], Place],
    argument: Callable[[Node], int],
) -> Nest:
    """The nest of a rows or columns group of which something is stored."""
    stored = [n for n in group.members if n in fusion.stored]
    builder = ExpressionBuilder(fusion, group, place, argument, root_of(group))
    stores: list[tuple[int, int]] = []
    results: list[int] = []
    for node in stored:
        value = builder.value(Use(node, ()))
        is_result = node in group.reductions
        row = is_result or node in group.row_members
        if node in group.late or (is_result and group.closed):
            builder.operands.append(_result_operand(builder, place(node), node, group))
            operand = len(builder.operands) - 1
            results.append(operand)
        else:
            operand = builder.target(node, row)
        stores.append((value, operand))
    nest = oriented(_with_loops(builder, group, stores))
    nest.label = _label(group)
    return nest


def _result_operand(builder: ExpressionBuilder, place: Place, node: Node, group: Group) -> Operand:
    """The target of a reduction over an outer axis: no stride along the reduced one."""
    if node in group.late:
        rows, inner = builder.root
        result = seen_as(place.layout, (), (inner,))
        layout = Layout((((rows, 0),), *result.axes), result.offset)
    elif group.columns is None:
        layout = builder._over_root(place.layout, (), True)
    else:
        outer, depth, inner = group.columns
        result = seen_as(place.layout, (), (outer, inner))
        layout = Layout((result.axes[0], ((depth, 0),), result.axes[1]), result.offset)
    return Operand(place.buffer, layout, node.dtype, None)


def _with_loops(builder: ExpressionBuilder, group: Group, stores: list[tuple[int, int]]) -> Nest:
    nest = nest_over(
        builder.operands, builder.root, builder.values, stores, group.columns is not None
    )
    nest.split, nest.columns, nest.arguments = group.split, group.columns, builder.arguments
    return nest


def nest_over(
    operands: Sequence[Operand],
    root: Shape,
    values: list[Expression],
    stores: list[tuple[int, int]],
    columns: bool = False,
) -> Nest:
    """A nest whose loops suit every operand."""
    layouts = [o.layout for o in operands]
    outer, inner, strides = loops_of(layouts, [o.culprit for o in operands], root, columns)
    accesses = [
        Access(
            -1 if o.buffer is None else o.buffer,
            o.layout.offset,
            tuple(s[:-1]),
            s[-1],
            o.dtype,
        )
        for o, s in zip(operands, strides, strict=True)
    ]
    for operand, access in zip(operands, accesses, strict=True):
        if operand.small is not None and is_gathered_again(access, outer, inner):
            raise Unresolvable(operand.small)
    return Nest(tuple(outer), inner, values, accesses, stores)


def _label(group: Group) -> str:
    names = [n.primitive.name for n in group.members if n.primitive is not None]
    return "+".join(names[:6]) + ("..." if len(names) > 6 else "")
