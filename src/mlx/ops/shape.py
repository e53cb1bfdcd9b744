"""Views: the same elements in another arrangement.  None of these copies before it must.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.array import array, wrap
from mlx.base.dtype import Dtype
from mlx.base.errors import AxisError
from mlx.graph.chains import by_shape, by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    Operand,
    array_node,
    axes_of,
    axis_of,
    broadcast_shape,
    can_broadcast,
    dtype_of,
    fitted,
    integer,
    integers,
    node_of,
    sequence,
    shape_of,
)
from mlx.primitives import views
from mlx.primitives.base import picks
from mlx.primitives.custom import Barrier, StopGradient
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Slice

Axes = int | Sequence[int] | None


def astype(a: array, dtype: Dtype, stream: Any = None) -> array:
    """a in another dtype: complex numbers lose their imaginary part, floats their fraction.

    >>> mx.astype(mx.array([1.7, -1.7]), mx.int32)
    array([1, -1], dtype=int32)
    """
    return wrap(cast(node_of("astype", a), dtype_of("astype", dtype)))


def stop_gradient(a: array, /, *, stream: Any = None) -> array:
    """a itself, which derivatives take as constant."""
    return wrap(StopGradient()(node_of("stop_gradient", a)))


def depends(inputs: Any, dependencies: Any) -> Any:
    """Inputs (an array or a list of arrays) that are only available once others are computed.

    >>> mx.depends(mx.array(1), mx.array(2))
    array(1, dtype=int32)
    """
    given, others = (
        [x] if isinstance(x, array) else sequence("depends", "arrays", x)
        for x in (inputs, dependencies)
    )
    nodes = [array_node("depends", x) for x in (*given, *others)]
    out = [wrap(x) for x in picks(Barrier(len(given))(*nodes))]
    return out[0] if isinstance(inputs, array) else out


def contiguous(a: array, /, allow_col_major: bool = False, *, stream: Any = None) -> array:
    """a in row-major order.  (Every array that is exported is; this is a itself.)"""
    return wrap(array_node("contiguous", a))


def reshape(a: array, /, shape: Sequence[int], *, stream: Any = None) -> array:
    """The elements of a in row-major order in another shape, one size of which may be -1.

    Raises ValueError where the number of elements differs.

    >>> mx.reshape(mx.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]], dtype=int32)
    """
    x = a._node if type(a) is array else array_node("reshape", a)
    wanted = integers("reshape", "a size", (shape,) if isinstance(shape, int) else shape)
    return wrap(_arranged(x, wanted))


@by_shape
def _arranged(x: Node, shape: Shape) -> Node:
    """x in a shape with its -1 replaced."""
    size, free = x.size, shape.count(-1)
    if free == 1:
        rest = -prod(shape)
        if rest == 0 or size % rest:
            why = "an empty array" if rest == 0 else f"{size} elements"
            raise ValueError(f"[reshape] Cannot infer the shape of {why} for {shape}.")
        shape = tuple([size // rest if n == -1 else n for n in shape])
    elif free > 1:
        raise ValueError(f"[reshape] Can only infer one dimension, got {shape}.")
    if prod(shape) != size or any(n < 0 for n in shape):
        raise ValueError(f"[reshape] Cannot reshape array of shape {x.shape} into {shape}.")
    return views.reshape(x, shape)


def flatten(a: array, /, start_axis: int = 0, end_axis: int = -1, *, stream: Any = None) -> array:
    """Axes start_axis to end_axis (included) as one.

    >>> mx.flatten(mx.ones((2, 3, 4)), 1).shape
    (2, 12)
    """
    x = a._node if type(a) is array else array_node("flatten", a)
    start, end = (
        integer("flatten", "start_axis", start_axis),
        integer("flatten", "end_axis", end_axis),
    )
    return wrap(_flattened(x, start, end))


@by_shape
def _flattened(x: Node, start_axis: int, end_axis: int) -> Node:
    if x.ndim == 0:
        return views.reshape(x, (1,))
    start, end = max(start_axis, -x.ndim), min(end_axis, x.ndim - 1)
    start, end = start % x.ndim if start < x.ndim else start, end + x.ndim if end < 0 else end
    if start >= x.ndim or end < 0:
        raise AxisError(f"[flatten] Invalid axes {start_axis}, {end_axis} for {x.ndim} dimensions.")
    if start > end:
        raise ValueError("[flatten] start_axis must be less than or equal to end_axis.")
    merged = prod(x.shape[start : end + 1])
    return views.reshape(x, (*x.shape[:start], merged, *x.shape[end + 1 :]))


def unflatten(a: array, /, axis: int, shape: Sequence[int], *, stream: Any = None) -> array:
    """One axis as several; one of their sizes may be -1.

    >>> mx.unflatten(mx.arange(6), 0, (2, -1))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=int32)
    """
    x = a._node if type(a) is array else array_node("unflatten", a)
    return wrap(
        _divided(x, axis_of("unflatten", axis, x.ndim), integers("unflatten", "a size", shape))
    )


@by_shape
def _divided(x: Node, at: int, shape: Shape) -> Node:
    sizes = [*shape]
    if not sizes:
        raise ValueError("[unflatten] Shape to unflatten to cannot be empty.")
    if sizes.count(-1) == 1 and (rest := -prod(sizes)):
        sizes[sizes.index(-1)] = x.shape[at] // rest
    if prod(sizes) != x.shape[at] or any(n < 0 for n in sizes):
        raise ValueError(
            f"[unflatten] Cannot unflatten axis {at} with size {x.shape[at]} into {shape}."
        )
    return views.reshape(x, (*x.shape[:at], *sizes, *x.shape[at + 1 :]))


def squeeze(a: array, /, axis: Axes = None, *, stream: Any = None) -> array:
    """a without axes of size 1: all of them, or those named.

    >>> mx.squeeze(mx.ones((1, 2, 1))).shape
    (2,)
    """
    x = a._node if type(a) is array else array_node("squeeze", a)
    if axis is not None and type(axis) is not int:
        axis = axes_of("squeeze", axis, x.ndim)
    return wrap(_squeezed(x, axis))


@by_shape
def _squeezed(x: Node, axis: int | tuple[int, ...] | None) -> Node:
    if axis is None:
        drop: tuple[int, ...] = tuple(i for i, n in enumerate(x.shape) if n == 1)
    else:
        drop = axes_of("squeeze", axis, x.ndim)
    for at in drop:
        if x.shape[at] != 1:
            raise ValueError(
                f"[squeeze] Cannot squeeze axis {at} with size {x.shape[at]}, not equal to 1."
            )
    return views.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in drop))


def expand_dims(a: array, /, axis: int | Sequence[int], *, stream: Any = None) -> array:
    """a with axes of size 1 at these places of the result.

    >>> mx.expand_dims(mx.ones((2, 3)), (0, 2)).shape
    (1, 2, 1, 3)
    """
    x = a._node if type(a) is array else array_node("expand_dims", a)
    if type(axis) is not int:
        axis = axis if isinstance(axis, int) else integers("expand_dims", "axis", axis)
    return wrap(_expanded(x, axis))


@by_shape
def _expanded(x: Node, axis: int | tuple[int, ...]) -> Node:
    count = 1 if isinstance(axis, int) else len(axis)
    new = axes_of("expand_dims", axis, x.ndim + count)
    sizes = iter(x.shape)
    return views.reshape(x, tuple(1 if i in new else next(sizes) for i in range(x.ndim + count)))


def transpose(a: array, /, axes: Sequence[int] | None = None, *, stream: Any = None) -> array:
    """Axis i of the result is axis axes[i] of a; by default all in reverse order.

    >>> mx.transpose(mx.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    x = a._node if type(a) is array else array_node("transpose", a)
    if axes is None:
        return wrap(_reversed(x))
    if type(axes) in (tuple, list) and _INTEGERS.issuperset(map(type, axes)):
        return wrap(_reordered(x, tuple(axes)))
    return wrap(_transposed(x, _order(x, axes)))


_INTEGERS = frozenset({int})
_transposed = by_shape(views.transpose)


def _order(x: Node, axes: Any) -> tuple[int, ...]:
    order = axes_of("transpose", axes, x.ndim)
    if len(order) != x.ndim:
        raise ValueError(
            f"[transpose] Received {len(order)} axes for array with {x.ndim} dimensions."
        )
    return order


@by_shape
def _reordered(x: Node, axes: tuple[int, ...]) -> Node:
    return views.transpose(x, _order(x, axes))


@by_shape
def _reversed(x: Node) -> Node:
    return views.transpose(x, range(x.ndim)[::-1])


permute_dims = transpose


def swapaxes(a: array, /, axis1: int, axis2: int, *, stream: Any = None) -> array:
    """a with two axes exchanged.

    >>> mx.swapaxes(mx.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = array_node("swapaxes", a)
    i, j = axis_of("swapaxes", axis1, x.ndim), axis_of("swapaxes", axis2, x.ndim)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return wrap(_transposed(x, tuple(order)))


def moveaxis(a: array, /, source: int, destination: int, *, stream: Any = None) -> array:
    """a with one axis moved, the others in their order.

    >>> mx.moveaxis(mx.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = array_node("moveaxis", a)
    i, j = axis_of("moveaxis", source, x.ndim), axis_of("moveaxis", destination, x.ndim)
    return wrap(views.moveaxis(x, i, j))


def matrix_transpose(a: array, /, *, stream: Any = None) -> array:
    """a with its last two axes exchanged."""
    x = array_node("matrix_transpose", a)
    if x.ndim < 2:
        raise ValueError(f"[matrix_transpose] Needs at least 2 dimensions, got shape {x.shape}.")
    return swapaxes(wrap(x), -1, -2)


def broadcast_to(a: Operand, /, shape: int | Sequence[int], *, stream: Any = None) -> array:
    """a stretched to ``shape``.  Raises ValueError where that is not possible.

    >>> mx.broadcast_to(mx.array([1, 2]), (2, 2))
    array([[1, 2],
           [1, 2]], dtype=int32)
    """
    x, sizes = node_of("broadcast_to", a), shape_of("broadcast_to", shape)
    if not can_broadcast(x.shape, sizes):
        raise ValueError(
            f"[broadcast_to] Cannot broadcast array of shape {x.shape} into shape {sizes}."
        )
    return wrap(fitted(x, sizes, x.dtype))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that shapes have in common under broadcasting.

    >>> mx.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    if not shapes:
        raise ValueError("[broadcast_shapes] Must provide at least one shape.")
    return broadcast_shape(*(shape_of("broadcast_shapes", s) for s in shapes))


def broadcast_arrays(*arrays: Operand, stream: Any = None) -> list[array]:
    """Arrays broadcast to their common shape."""
    nodes = [node_of("broadcast_arrays", a) for a in arrays]
    shape = broadcast_shape(*(x.shape for x in nodes))
    return [wrap(fitted(x, shape, x.dtype)) for x in nodes]


def _atleast(name: str, arys: tuple[Any, ...], shaped: Any) -> Any:
    out = []
    for a in arys:
        x = array_node(name, a)
        out.append(wrap(views.reshape(x, shaped(x.shape))))
    return out[0] if len(out) == 1 else out


def atleast_1d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least one axis (one array, or a list for several)."""
    return _atleast("atleast_1d", arys, lambda s: s or (1,))


def atleast_2d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least two axes, new ones in front."""
    return _atleast("atleast_2d", arys, lambda s: (1,) * (2 - len(s)) + s)


def atleast_3d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least three axes: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""
    shapes = {0: lambda s: (1, 1, 1), 1: lambda s: (1, *s, 1), 2: lambda s: (*s, 1)}
    return _atleast("atleast_3d", arys, lambda s: shapes[len(s)](s) if len(s) < 3 else s)


def flip(a: array, /, axis: Axes = None, *, stream: Any = None) -> array:
    """a with the order along some axes, by default all, reversed.

    >>> mx.flip(mx.array([1, 2, 3]))
    array([3, 2, 1], dtype=int32)
    """
    x = array_node("flip", a)
    flipped = set(axes_of("flip", axis, x.ndim)) - {i for i, n in enumerate(x.shape) if n < 2}
    if not flipped:
        return wrap(x)
    starts = tuple(n - 1 if i in flipped else 0 for i, n in enumerate(x.shape))
    steps = tuple(-1 if i in flipped else 1 for i in range(x.ndim))
    return wrap(Slice(starts, steps, x.shape)(x))


@by_shape
def narrow(x: Node, axis: int, start: int, stop: int) -> Node:
    """Elements start to stop (excluded) along an axis."""
    if start == 0 and stop == x.shape[axis]:
        return x
    starts = tuple(start if i == axis else 0 for i in range(x.ndim))
    shape = (*x.shape[:axis], max(stop - start, 0), *x.shape[axis + 1 :])
    return Slice(starts, (1,) * x.ndim, shape)(x)


def diagonal(
    a: array,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    stream: Any = None,
) -> array:
    """The diagonal of two axes, as the last axis of the result.

    >>> mx.diagonal(mx.array([[1, 2], [3, 4]]), 1)
    array([2], dtype=int32)
    """
    x = array_node("diagonal", a)
    if x.ndim < 2:
        raise ValueError(f"[diagonal] Needs at least two dimensions, got shape {x.shape}.")
    i, j = axis_of("diagonal", axis1, x.ndim), axis_of("diagonal", axis2, x.ndim)
    if i == j:
        raise ValueError("[diagonal] axis1 and axis2 cannot be the same axis.")
    return wrap(_diagonal(x, (i, j), integer("diagonal", "offset", offset)))


@by_types(1)
def _diagonal(x: Node, axes: tuple[int, int], offset: int) -> Node:
    """Of two axes: every (columns + 1)-th element of the flattened matrix."""
    x = views.transpose(x, [*(k for k in range(x.ndim) if k not in axes), *axes])
    *lead, rows, columns = x.shape
    first, last = max(-offset, 0), min(rows, columns - offset)
    count = max(last - first, 0)
    if count == 0:
        return narrow(views.reshape(x, (*lead, rows * columns)), len(lead), 0, 0)
    flat = views.reshape(x, (*lead, rows * columns))
    starts = (*[0] * len(lead), first * columns + first + offset)
    return Slice(starts, (*[1] * len(lead), columns + 1), (*lead, count))(flat)
