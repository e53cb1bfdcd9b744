"""Searching in sorted arrays, and what follows from it.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.ops.operands import Operand, array_node, integer, node_of, scalar_node
from mlx.ops.shape import narrow
from mlx.primitives.base import full_like, iota
from mlx.primitives.bitwise import BitwiseAnd, BitwiseInvert, BitwiseOr, RightShift
from mlx.primitives.elementwise import Equal, Less, LessEqual, NotEqual, cast, where
from mlx.primitives.indexing import Gather
from mlx.primitives.ordering import ArgSort
from mlx.primitives.reductions import broadcast
from mlx.primitives.scans import CumSum
from mlx.primitives.views import Concatenate, reshape


def searchsorted(
    sorted_sequence: array, values: array, /, side: str = "left", *, stream: Any = None
) -> array:
    """The index (uint32) at which each value would have to be inserted to keep the order.

    ``side="left"`` puts it before equal elements, ``"right"`` behind them.  NaN counts as the
    largest.  Raises ValueError unless the sequence has one axis.

    >>> mx.searchsorted(mx.array([1, 3, 5]), mx.array([0, 3, 6]))
    array([0, 1, 3], dtype=uint32)
    """
    line, wanted = array_node("searchsorted", sorted_sequence), array_node("searchsorted", values)
    if line.ndim != 1:
        raise ValueError(f"[searchsorted] The sequence must have 1 dimension, got {line.shape}.")
    if side not in ("left", "right"):
        raise ValueError(f"[searchsorted] side must be left or right, got {side!r}.")
    dtype = dt.promote(line.dtype, wanted.dtype)
    found = search(cast(line, dtype), cast(wanted, dtype), side == "right")
    return wrap(cast(found, dt.uint32))


def search(line: Node, values: Node, right: bool) -> Node:
    """searchsorted of nodes of one dtype: bisection, all values at once."""
    size = line.size
    low = full_like(cast(values, dt.int64), 0)
    if size == 0:
        return low
    high = full_like(low, size)
    for _ in range(size.bit_length()):
        open_ = Less()(low, high)
        middle = RightShift()(low + high, full_like(low, 1))
        probe = where(open_, middle, 0)
        element = Gather((0,))(line, probe)
        beyond = _not_above(element, values) if right else _below(element, values)
        low, high = (
            where(BitwiseAnd()(open_, beyond), middle + 1, low),
            where(BitwiseAnd()(open_, BitwiseInvert()(beyond)), middle, high),
        )
    return low


def _below(a: Node, b: Node) -> Node:
    """a < b, NaN being the largest."""
    if not a.dtype.is_inexact:
        return Less()(a, b)
    return BitwiseOr()(Less()(a, b), BitwiseAnd()(Equal()(a, a), NotEqual()(b, b)))


def _not_above(a: Node, b: Node) -> Node:
    """a <= b, NaN being the largest."""
    if not a.dtype.is_inexact:
        return LessEqual()(a, b)
    return BitwiseOr()(LessEqual()(a, b), NotEqual()(b, b))


def unique(
    a: array,
    /,
    size: int,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    fill_value: Operand | None = None,
    *,
    stream: Any = None,
) -> Any:
    """The first ``size`` of the sorted distinct elements.

    Where there are fewer, ``fill_value`` (by default the smallest) fills up.  Also, where
    asked for: the index of the first occurrence of each, for every element of a the index of
    its value, and how often each occurs.  Raises ValueError for an empty array without a fill
    value.

    >>> mx.unique(mx.array([3, 1, 3]), 4)
    array([1, 3, 1, 1], dtype=int32)
    """
    x = array_node("unique", a)
    count = integer("unique", "size", size)
    if count < 0:
        raise ValueError(f"[unique] size must be non-negative, got {count}.")
    if x.size == 0 and count and fill_value is None:
        raise ValueError("[unique] An empty array needs a fill_value.")
    found = _unique(reshape(x, (x.size,)), count, fill_value)
    values, index, inverse, counts = found
    out = [wrap(values)]
    out += [wrap(index)] if return_index else []
    out += [wrap(reshape(inverse, x.shape))] if return_inverse else []
    out += [wrap(counts)] if return_counts else []
    return out[0] if len(out) == 1 else tuple(out)


def _unique(x: Node, count: int, fill: Operand | None) -> tuple[Node, Node, Node, Node]:
    if x.size == 0:
        return _nothing(x, count, fill)
    order = ArgSort(0)(x)
    line = Gather((0,))(x, order)
    fresh = _first_of_runs(line)
    rank = CumSum(0)(cast(fresh, dt.int64))
    # run number k starts at the first place where k + 1 runs have begun
    starts = search(rank, iota((count + 1,), 0, dt.int64) + 1, right=False)
    start, stop = narrow(starts, 0, 0, count), narrow(starts, 0, 1, count + 1)
    known = Less()(start, full_like(start, x.size))
    place = where(known, start, 0)
    values, index = Gather((0,))(line, place), Gather((0,))(order, place)
    if fill is not None:
        values = where(known, values, broadcast(_fill(fill, x), values.shape))
    back = Gather((0,))(rank, ArgSort(0)(order))
    return values, index, cast(back - 1, dt.uint32), cast(stop - start, dt.int32)


def _fill(fill: Operand, x: Node) -> Node:
    return cast(node_of("unique", fill), x.dtype)


def _nothing(x: Node, count: int, fill: Operand | None) -> tuple[Node, Node, Node, Node]:
    values = broadcast(_fill(0 if fill is None else fill, x), (count,))
    none = scalar_node((count,), dt.uint32, 0)
    return values, none, scalar_node((0,), dt.uint32, 0), scalar_node((count,), dt.int32, 0)


def _first_of_runs(line: Node) -> Node:
    """Whether an element differs from the one before it; NaNs are alike."""
    size = line.size
    now, before = narrow(line, 0, 1, size), narrow(line, 0, 0, size - 1)
    differs = NotEqual()(now, before)
    if line.dtype.is_inexact:
        differs = BitwiseAnd()(differs, BitwiseOr()(Equal()(now, now), Equal()(before, before)))
    if size == 1:
        return scalar_node((1,), dt.bool_, True)
    return Concatenate(0)(scalar_node((1,), dt.bool_, True), differs)
