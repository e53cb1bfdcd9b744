"""Reading and writing along an axis, and slices whose start is computed.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.array import array, wrap
from mlx.base.errors import AxisError
from mlx.graph.chains import by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    array_node,
    axis_of,
    broadcast_shape,
    can_broadcast,
    integer,
    integers,
    shape_of,
)
from mlx.ops.shape import narrow
from mlx.primitives.elementwise import cast
from mlx.primitives.indexing import Gather, Scatter
from mlx.primitives.ordering import take_along
from mlx.primitives.reductions import broadcast
from mlx.primitives.strided import AsStrided
from mlx.primitives.views import Slice, reshape


def index_node(name: str, indices: Any) -> Node:
    """Indices as a node of an integer dtype.  Raises ValueError for other dtypes."""
    node = indices._node if type(indices) is array else array(indices)._node
    if not node.dtype.is_integer:
        raise ValueError(f"[{name}] Indices must be integers, got {node.dtype.name}.")
    return node


def take(
    a: array, /, indices: int | array, axis: int | None = None, *, stream: Any = None
) -> array:
    """The slices of ``a`` at ``indices`` along ``axis``; of the flattened array without an axis.

    The result has the shape of ``indices`` in place of the axis.  Negative indices count from
    the end.  Raises ValueError where indices are no integers or the axis is empty, and
    IndexError (when evaluated, for an array of them) where one is out of bounds.

    >>> mx.take(mx.array([[1, 2], [3, 4]]), mx.array([1, 0]), axis=1)
    array([[2, 1],
           [4, 3]], dtype=int32)
    """
    x = array_node("take", a)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    at = axis_of("take", axis, x.ndim)
    if isinstance(indices, int) and not isinstance(indices, bool):
        return wrap(_take_one(x, indices, at))
    index = index_node("take", indices)
    if not x.shape[at] and index.size:
        raise ValueError("[take] Cannot do a non-empty take from an empty axis.")
    return wrap(_taken(x, index, at))


@by_types(2)
def _taken(x: Node, index: Node, axis: int) -> Node:
    return Gather((axis,), position=axis)(x, index)


def _take_one(x: Node, index: int, axis: int) -> Node:
    size = x.shape[axis]
    if not -size <= index < size:
        raise IndexError(f"[take] Index {index} is out of bounds for an axis of size {size}.")
    starts = tuple(index % size if a == axis else 0 for a in range(x.ndim))
    sizes = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
    cut = Slice(starts, (1,) * x.ndim, sizes)(x)
    return reshape(cut, (*x.shape[:axis], *x.shape[axis + 1 :]))


def _along(name: str, x: Node, index: Node, axis: int) -> Node:
    """Indices broadcast against all axes but one."""
    if index.ndim != x.ndim:
        raise ValueError(
            f"[{name}] Indices of dimension {index.ndim} does not match array of dimension "
            f"{x.ndim}."
        )
    others = (*x.shape[:axis], index.shape[axis], *x.shape[axis + 1 :])
    shape = broadcast_shape(index.shape, others)
    if shape != others:
        raise ValueError(
            f"[{name}] Indices of shape {index.shape} cannot be broadcast to {others}."
        )
    return broadcast(index, shape)


def take_along_axis(
    a: array, /, indices: array, axis: int | None = -1, *, stream: Any = None
) -> array:
    """Elements of ``a`` at ``indices``, which say for each place where along ``axis`` to read.

    With ``axis=None`` both are flattened.  Other axes of ``indices`` are broadcast.  Raises
    ValueError where ranks differ, and IndexError when evaluated out of bounds.

    >>> mx.take_along_axis(mx.array([[1, 2], [3, 4]]), mx.array([[1], [0]]), axis=1)
    array([[2],
           [3]], dtype=int32)
    """
    x = array_node("take_along_axis", a)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
        node = index_node("take_along_axis", indices)
        indices = wrap(reshape(node, (node.size,)))
    at = axis_of("take_along_axis", axis, x.ndim)
    return wrap(_taken_along(x, index_node("take_along_axis", indices), at))


@by_types(2)
def _taken_along(x: Node, index: Node, axis: int) -> Node:
    return take_along(x, _along("take_along_axis", x, index, axis), axis)


def put_along_axis(
    a: array, /, indices: array, values: array, axis: int | None = None, *, stream: Any = None
) -> array:
    """``a`` with ``values`` written at ``indices`` along ``axis``; of equal indices the last
    stays.

    Without an axis indices refer to the flattened array.  Values are broadcast to the shape of
    the indices and cast.  Raises ValueError where ranks differ or values can't be broadcast.

    >>> mx.put_along_axis(mx.zeros((2, 2)), mx.array([[1], [0]]), mx.array(5.0), axis=1)
    array([[0, 5],
           [5, 0]], dtype=float32)
    """
    name = "put_along_axis"
    x = array_node(name, a)
    shape = x.shape
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
        node = index_node(name, indices)
        indices = wrap(reshape(node, (node.size,)))
    at = axis_of(name, axis, x.ndim)
    out = _put_along(x, index_node(name, indices), array(values)._node, at)
    return wrap(reshape(out, shape))


@by_types(3)
def _put_along(x: Node, index: Node, value: Node, axis: int) -> Node:
    name = "put_along_axis"
    index = _along(name, x, index, axis)
    value = cast(_fit(name, value, index.shape), x.dtype)
    return Scatter((axis,), "set", batch=axis, behind=x.ndim - 1 - axis)(x, value, index)


def _fit(name: str, value: Node, shape: Shape) -> Node:
    """A value broadcast to a shape; leading axes of size one beyond it don't count."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    if not can_broadcast(value.shape, shape):
        raise ValueError(f"[{name}] Cannot broadcast values of shape {value.shape} to {shape}.")
    return broadcast(value, shape)


# -- slices that start where an array says ---------------------------------------------------


def _starts(name: str, x: Node, node: Node, axes: Sequence[int]) -> tuple[list[Node], Shape]:
    """One 0-dimensional start for each axis, and the axes, both by ascending axis."""
    if node.ndim > 1:
        raise ValueError(
            f"[{name}] start_indices must have at most one dimension, got shape {node.shape}."
        )
    found = [_axis(name, axis, x.ndim) for axis in axes]
    if len(set(found)) != len(found):
        raise ValueError(f"[{name}] Repeat axes not allowed, got {tuple(axes)}.")
    if node.size != len(found):
        raise ValueError(
            f"[{name}] Number of starting indices {node.size} does not match number of axes "
            f"{len(found)}."
        )
    parts = [_start_at(node, i) for i in range(node.size)]
    order = sorted(range(len(found)), key=found.__getitem__)
    return [parts[i] for i in order], tuple(found[i] for i in order)


def _start_at(starts: Node, position: int) -> Node:
    """One of several starts, as a node without axes."""
    one = starts if starts.size == 1 else narrow(starts, 0, position, position + 1)
    return reshape(one, ())


def _axis(name: str, axis: Any, ndim: int) -> int:
    axis = integer(name, "an axis", axis)
    if not -ndim <= axis < ndim:
        raise AxisError(f"[{name}] Invalid axis {axis} for array with dimension {ndim}.")
    return axis % ndim


def slice(
    a: array,
    /,
    start_indices: array,
    axes: Sequence[int],
    slice_size: Sequence[int],
    *,
    stream: Any = None,
) -> array:
    """The part of ``a`` of size ``slice_size`` that starts along ``axes`` at computed places.

    Along other axes it starts at 0.  Raises ValueError where sizes exceed the array's, and
    IndexError when evaluated if the part would reach beyond the end.

    >>> mx.slice(mx.arange(6), mx.array([2]), (0,), (3,))
    array([2, 3, 4], dtype=int32)
    """
    x, starts = array_node("slice", a), index_node("slice", start_indices)
    sizes = integers("slice", "a size", slice_size)
    return wrap(_sliced(x, starts, integers("slice", "axes", axes), sizes))


@by_types(2)
def _sliced(x: Node, start: Node, axes: Shape, sizes: Shape) -> Node:
    if len(sizes) != x.ndim:
        raise ValueError(f"[slice] Invalid slice size for array with {x.ndim} dimensions: {sizes}.")
    if any(not 0 <= n <= m for n, m in zip(sizes, x.shape, strict=True)):
        raise ValueError(f"[slice] Invalid slice size {sizes} for array with shape {x.shape}.")
    starts, moved = _starts("slice", x, start, axes)
    fixed = tuple(n if i in moved else sizes[i] for i, n in enumerate(x.shape))
    if fixed != x.shape:
        x = Slice((0,) * x.ndim, (1,) * x.ndim, fixed)(x)
    if not moved:
        return x
    return Gather(moved, window=tuple(sizes[i] for i in moved))(x, *starts)


def slice_update(
    a: array, /, update: array, start_indices: array, axes: Sequence[int], *, stream: Any = None
) -> array:
    """``a`` with ``update`` written where it starts along ``axes`` at computed places.

    The update is broadcast to the array's sizes along other axes and cast to its dtype.
    Raises ValueError where it doesn't fit, IndexError when evaluated if it would reach beyond
    the end.

    >>> mx.slice_update(mx.zeros(4), mx.ones(2), mx.array([1]), (0,))
    array([0, 1, 1, 0], dtype=float32)
    """
    name = "slice_update"
    value = update._node if type(update) is array else array(update)._node
    start = index_node(name, start_indices)
    return wrap(_slice_updated(array_node(name, a), value, start, integers(name, "axes", axes)))


@by_types(3)
def _slice_updated(x: Node, value: Node, start: Node, axes: Shape) -> Node:
    name = "slice_update"
    value = cast(value, x.dtype)
    starts, moved = _starts(name, x, start, axes)
    given = (1,) * (x.ndim - value.ndim) + value.shape
    shape = tuple(given[i] if i in moved else n for i, n in enumerate(x.shape))
    if len(given) != x.ndim or any(n > m for n, m in zip(shape, x.shape, strict=True)):
        raise ValueError(
            f"[{name}] An update of shape {value.shape} does not fit into shape {x.shape}."
        )
    value = _fit(name, value, shape)
    if not moved:
        return value
    window = tuple([shape[i] for i in moved])
    return Node(Scatter(moved, "set", 0, window), (x, value, *starts), x.shape, x.dtype)


def as_strided(
    a: array,
    /,
    shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    offset: int = 0,
    *,
    stream: Any = None,
) -> array:
    """Element (i, j, ...) is element ``offset + i strides[0] + j strides[1] + ...`` of a.

    a is taken in row-major order; strides count elements and default to row-major ones.
    Nothing is copied where a kernel can read by strides.  Raises IndexError for elements out
    of bounds.

    >>> mx.as_strided(mx.arange(6), (2, 2), (1, 2), 1)
    array([[1, 3],
           [2, 4]], dtype=int32)
    """
    x = array_node("as_strided", a)
    sizes = x.shape if shape is None else shape_of("as_strided", shape)
    steps = [prod(sizes[i + 1 :]) for i in range(len(sizes))] if strides is None else strides
    steps = integers("as_strided", "a stride", steps)
    if len(steps) != len(sizes):
        raise ValueError(f"[as_strided] {len(sizes)} sizes, but strides {tuple(steps)}.")
    return wrap(AsStrided(sizes, steps, integer("as_strided", "offset", offset))(x))
