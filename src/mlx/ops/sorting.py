"""Sorting, selecting, searching.  NaN counts as the largest.

>>> import mlx.core as mx
"""

from __future__ import annotations

from math import nan, prod
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.chains import by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import array_node, axes_of, axis_of, integer
from mlx.ops.reductions import kept, widened
from mlx.ops.shape import narrow
from mlx.primitives.base import full_like
from mlx.primitives.elementwise import NotEqual, cast, where
from mlx.primitives.ordering import ArgSelect, ArgSort, Sort, SortPart, take_along
from mlx.primitives.reductions import Max
from mlx.primitives.views import reshape, transpose

SHORT, MIDDLING = 128, 2048
"""Elements of rows that are sorted whole to be partitioned, and of rows of which a part is sorted
however few elements are wanted."""


def _axis(name: str, a: array, axis: int | None) -> tuple[Node, int]:
    """The node (flattened for axis None) and the axis."""
    x = array_node(name, a)
    if axis is None:
        return reshape(x, (x.size,)), 0
    return x, axis_of(name, axis, x.ndim)


def sort(a: array, /, axis: int | None = -1, *, stream: Any = None) -> array:
    """Ascending along an axis; of the flattened array for None.

    >>> mx.sort(mx.array([3, 1, 2]))
    array([1, 2, 3], dtype=int32)
    """
    x, at = _axis("sort", a, axis)
    return wrap(Sort(at)(x))


def argsort(a: array, /, axis: int | None = -1, *, stream: Any = None) -> array:
    """Indices (uint32) that sort an axis; equal elements stay in their order.

    >>> mx.argsort(mx.array([3, 1, 2]))
    array([1, 2, 0], dtype=uint32)
    """
    x, at = _axis("argsort", a, axis)
    return wrap(ArgSort(at)(x))


def _selects(count: int, size: int) -> bool:
    """Whether to select: faster than sorting where few of many are wanted."""
    return 0 < count <= size // 4 and size > SHORT


def _partition(name: str, a: array, kth: Any, axis: int | None) -> tuple[Node, Node | None, int]:
    """The node, the indices that partition it unless it should be sorted, and the axis."""
    x, at = _axis(name, a, axis)
    size = x.shape[at]
    place = integer(name, "kth", kth)
    if not -size <= place < size:
        raise ValueError(f"[{name}] Invalid kth {kth} for axis {at} of shape {x.shape}.")
    place %= size
    largest = size - place < place + 1
    count = size - place if largest else place + 1
    if not _selects(count, size):
        return x, None, at
    return x, ArgSelect(at, count, largest, rest=True)(x), at


def partition(a: array, /, kth: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """Rearranged so that element kth is in its sorted place, smaller ones before it.

    >>> mx.partition(mx.array([3, 1, 2]), 1)[1]
    array(2, dtype=int32)
    """
    x, indices, at = _partition("partition", a, kth, axis)
    return wrap(Sort(at)(x) if indices is None else take_along(x, indices, at))


def argpartition(a: array, /, kth: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """Indices (uint32) that partition an axis, see :func:`partition`."""
    x, indices, at = _partition("argpartition", a, kth, axis)
    return wrap(ArgSort(at)(x) if indices is None else indices)


def topk(a: array, /, k: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """The k largest elements along an axis, in ascending order.

    Raises ValueError where the axis has fewer than k.

    >>> mx.topk(mx.array([5, 3, 1, 4, 9]), 2)
    array([5, 9], dtype=int32)
    """
    x, at = _axis("topk", a, axis)
    count, size = integer("topk", "k", k), x.shape[at]
    if not 0 <= count <= size:
        raise ValueError(f"[topk] Invalid k={k} for axis {at} of shape {x.shape}.")
    if size > MIDDLING and 0 < count <= size // 64:
        return wrap(Sort(at)(take_along(x, ArgSelect(at, count, True)(x), at)))
    return wrap(_sorted_part(x, at, size - count, size))


def _sorted_part(x: Node, axis: int, begin: int, end: int) -> Node:
    """Elements begin to end of a sorted axis."""
    if end - begin in (0, x.shape[axis]):
        return narrow(Sort(axis)(x), axis, begin, end)
    return SortPart(axis, (begin, end))(x)


def median(a: array, /, axis: Any = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The middle one of the sorted elements, or the mean of the two; NaN if there is one.

    >>> mx.median(mx.array([4, 1, 3, 2]))
    array(2.5, dtype=float32)
    """
    x = array_node("median", a)
    return wrap(_medians(x, axes_of("median", axis, x.ndim), bool(keepdims)))


@by_types(1)
def _medians(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    stay = [i for i in range(x.ndim) if i not in axes]
    lead = tuple(x.shape[i] for i in stay)
    size = prod(x.shape[i] for i in axes)
    if size == 0:
        raise ValueError(f"[median] Cannot reduce an axis of size 0: {x.shape}.")
    rows = reshape(transpose(x, (*stay, *axes)), (*lead, size))
    out = cast(_middle(rows, lead, size), dt.at_least_float(x.dtype))
    return reshape(out, kept(x, axes)) if keepdims else out


def _middle(rows: Node, lead: Shape, size: int) -> Node:
    """The mean of the two middle elements of rows; NaN where any is.

    Widening keeps the order, so that few elements are widened, after a sort of shorter keys.
    """
    axis, first, last = len(lead), (size - 1) // 2, size // 2
    ordered = _sorted_part(rows, axis, first, last + 1)
    low, high = (widened(reshape(narrow(ordered, axis, i, i + 1), lead)) for i in (0, last - first))
    middle = low if size % 2 else (low + high) * 0.5
    if not rows.dtype.is_inexact:
        return middle
    unknown = Max(axis)(NotEqual()(rows, rows))
    return where(unknown, full_like(middle, nan), middle)
