"""Reductions over axes.  ``axis`` is None (all), a number or several; ``keepdims`` keeps size 1.

An axis out of range raises an exception that is a ValueError and an IndexError; one named
twice a ValueError.

>>> import mlx.core as mx
"""

from __future__ import annotations

from builtins import max as builtin_max
from collections.abc import Callable, Sequence
from math import prod as product
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.chains import by_shape, by_types
from mlx.graph.node import Node
from mlx.ops.operands import Operand, axes_of, axis_of, dtype_of, node_of, number
from mlx.ops.shape import diagonal
from mlx.primitives import reductions, views
from mlx.primitives.arithmetic import Absolute
from mlx.primitives.base import full_like
from mlx.primitives.custom import StopGradient
from mlx.primitives.elementwise import Equal, cast, where
from mlx.primitives.ordering import ArgMax, ArgMin
from mlx.primitives.products import Prod
from mlx.primitives.reductions import Max, Min, Sum, broadcast, reduce_axes
from mlx.primitives.transcendental import Exp, Log, Sqrt

Axes = int | Sequence[int] | None
_SUMS = {
    dt.bool_: dt.int32, dt.int8: dt.int32, dt.int16: dt.int32,
    dt.uint8: dt.uint32, dt.uint16: dt.uint32,
}  # fmt: skip


def kept(x: Node, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of x with these axes reduced to size 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


@by_shape
def _reduced(x: Node, make: Any, axes: tuple[int, ...], keepdims: bool) -> Node:
    out = reduce_axes(make, x, axes)
    return views.reshape(out, kept(x, axes)) if keepdims else out


def _reduce(make: Any, x: Node, axes: Sequence[int], keepdims: bool) -> Node:
    return _reduced(x, make, tuple(axes), bool(keepdims))


@by_shape
def _along(x: Node, name: str, make: Any, axis: int | None, keepdims: bool) -> Node:
    return _reduce(make, x, axes_of(name, axis, x.ndim), keepdims)


def _reduce_by(name: str, make: Any, x: Node, axis: Axes, keepdims: bool) -> Node:
    """Reduce over axes as users give them."""
    if type(axis) is int or axis is None:
        return _along(x, name, make, axis, bool(keepdims))
    return _reduce(make, x, axes_of(name, axis, x.ndim), keepdims)


def _simple(
    name: str, make: Callable[[int], reductions.Reduction]
) -> Callable[[Operand, Axes, bool], array]:
    def record(a: Operand, axis: Axes, keepdims: bool) -> array:
        x = a._node if type(a) is array else node_of(name, a)
        if x.dtype in _SUMS and not (isinstance(axis, (list, tuple)) and not axis):
            x = cast(x, _SUMS[x.dtype])
        return wrap(_reduce_by(name, make, x, axis, keepdims))

    return record


_sum = _simple("sum", Sum)
_prod = _simple("prod", Prod)


def sum(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The sum.  Narrow integers and booleans are summed as 32-bit integers.

    >>> mx.sum(mx.array([[1, 2], [3, 4]]), axis=0)
    array([4, 6], dtype=int32)
    """
    return _sum(a, axis, keepdims)


def prod(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The product.  Narrow integers and booleans are multiplied as 32-bit integers.

    >>> mx.prod(mx.array([[1, 2], [3, 4]]), axis=0)
    array([3, 8], dtype=int32)
    """
    return _prod(a, axis, keepdims)


def _extremum(name: str, make: Any, a: Operand, axis: Axes, keepdims: bool) -> array:
    x = a._node if type(a) is array else node_of(name, a)
    if 0 in x.shape:
        for i in axes_of(name, axis, x.ndim):
            if x.shape[i] == 0:
                raise ValueError(f"[{name}] Cannot reduce over axis {i} with size 0: {x.shape}.")
    return wrap(_reduce_by(name, make, x, axis, keepdims))


def max(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The largest element; NaN wins.  Raises ValueError for an axis of size 0.

    >>> mx.max(mx.array([[1, 5], [3, 4]]), axis=1)
    array([5, 4], dtype=int32)
    """
    return _extremum("max", Max, a, axis, keepdims)


def min(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The smallest element; NaN wins.  Raises ValueError for an axis of size 0.

    >>> mx.min(mx.array([[1, 5], [3, 4]]), axis=1)
    array([1, 3], dtype=int32)
    """
    return _extremum("min", Min, a, axis, keepdims)


def minmax(
    a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None
) -> tuple[array, array]:
    """The smallest and the largest element.

    >>> mx.minmax(mx.array([3, 1, 2]))
    (array(1, dtype=int32), array(3, dtype=int32))
    """
    return min(a, axis, keepdims), max(a, axis, keepdims)


def _logical(name: str, make: Any, a: Operand, axis: Axes, keepdims: bool) -> array:
    x = node_of(name, a)
    return wrap(_reduce(make, cast(x, dt.bool_), axes_of(name, axis, x.ndim), keepdims))


def any(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """Whether some element is nonzero.

    >>> mx.any(mx.array([[0, 0], [0, 4]]), axis=1)
    array([False, True], dtype=bool)
    """
    return _logical("any", Max, a, axis, keepdims)


def all(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """Whether every element is nonzero.

    >>> mx.all(mx.array([[0, 1], [3, 4]]), axis=1)
    array([False, True], dtype=bool)
    """
    return _logical("all", Min, a, axis, keepdims)


def count_nonzero(
    a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None
) -> array:
    """The number of nonzero elements, as int32.

    >>> mx.count_nonzero(mx.array([0, 3, 4]))
    array(2, dtype=int32)
    """
    x = node_of("count_nonzero", a)
    return _sum(wrap(cast(cast(x, dt.bool_), dt.int32)), axis, keepdims)


def widened(x: Node) -> Node:
    """x in a dtype to compute in: at least float32, so that half precision rounds once."""
    dtype = dt.at_least_float(x.dtype)
    return cast(x, dt.float32 if dtype.size == 2 else dtype)


@by_types(1)
def mean_node(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """The mean of a widened node."""
    count = product(x.shape[i] for i in axes)
    total = _reduce(Sum, x, axes, keepdims)
    return total / float(count)


def mean(a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The mean, in floating point; NaN of nothing.

    >>> mx.mean(mx.array([[1, 2], [3, 5]]), axis=1)
    array([1.5, 4], dtype=float32)
    """
    x = node_of("mean", a)
    out = mean_node(widened(x), axes_of("mean", axis, x.ndim), keepdims)
    return wrap(cast(out, dt.at_least_float(x.dtype)))


@by_types(1)
def variance_node(x: Node, axes: tuple[int, ...], keepdims: bool, ddof: float) -> Node:
    """The variance of a widened node, in two passes."""
    centred = x - broadcast(mean_node(x, axes, True), x.shape)
    size = Absolute()(centred) if x.dtype.is_complex else centred
    total = _reduce(Sum, size * size, axes, keepdims)
    count = product(x.shape[i] for i in axes)
    return total / builtin_max(count - ddof, 0.0)


def _spread(name: str, a: Operand, axis: Axes, keepdims: bool, ddof: float, root: bool) -> array:
    x, less = node_of(name, a), number(name, "ddof", ddof)
    out = variance_node(widened(x), axes_of(name, axis, x.ndim), keepdims, less)
    return wrap(cast(Sqrt()(out) if root else out, dt.real_of(dt.at_least_float(x.dtype))))


def var(
    a: Operand,
    /,
    axis: Axes = None,
    keepdims: bool = False,
    ddof: int = 0,
    *,
    correction: float | None = None,
    stream: Any = None,
) -> array:
    """The variance: squared distances from the mean, summed and divided by ``n - ddof``.

    >>> mx.var(mx.array([1.0, 2, 3, 4]))
    array(1.25, dtype=float32)
    """
    return _spread("var", a, axis, keepdims, ddof if correction is None else correction, False)


def std(
    a: Operand,
    /,
    axis: Axes = None,
    keepdims: bool = False,
    ddof: int = 0,
    *,
    correction: float | None = None,
    stream: Any = None,
) -> array:
    """The square root of the variance.

    >>> mx.std(mx.array([1.0, 3.0]))
    array(1, dtype=float32)
    """
    return _spread("std", a, axis, keepdims, ddof if correction is None else correction, True)


def _pivot(x: Node, axes: Sequence[int]) -> Node:
    """The largest element, as a constant, 0 instead of infinities: to subtract in exponents."""
    largest = StopGradient()(_reduce(Max, x, axes, True))
    if x.dtype.is_complex:
        return largest
    return where(Equal()(largest - largest, full_like(largest, 0)), largest, 0)


@by_types(1)
def logsumexp_node(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """log of the sum of exponentials of a widened node."""
    pivot = _pivot(x, axes)
    total = _reduce(Sum, Exp()(x - broadcast(pivot, x.shape)), axes, keepdims)
    return Log()(total) + views.reshape(pivot, total.shape)


def logsumexp(
    a: Operand, /, axis: Axes = None, keepdims: bool = False, *, stream: Any = None
) -> array:
    """log(sum(exp(a))) without overflow.  Raises ValueError where an axis is empty.

    >>> mx.logsumexp(mx.array([0.0, 0.0]))
    array(0.693147, dtype=float32)
    """
    x = node_of("logsumexp", a)
    axes = axes_of("logsumexp", axis, x.ndim)
    if product(x.shape[i] for i in axes) == 0:
        raise ValueError(f"[logsumexp] Received an empty array of shape {x.shape}.")
    out = logsumexp_node(widened(x), axes, keepdims)
    return wrap(cast(out, dt.at_least_float(x.dtype)))


@by_types(1)
def softmax_node(x: Node, axes: tuple[int, ...]) -> Node:
    """Softmax of a widened node."""
    if x.size == 0:
        return x
    largest = StopGradient()(_reduce(Max, x, axes, True))
    weight = Exp()(x - broadcast(largest, x.shape))
    total = _reduce(Sum, weight, axes, True)
    return weight * broadcast(full_like(total, 1) / total, x.shape)


def softmax(
    a: Operand, /, axis: Axes = None, *, precise: bool = False, stream: Any = None
) -> array:
    """exp(a) / sum(exp(a)) along axes, by default all.

    It is always computed in at least float32, so ``precise`` changes nothing.

    >>> mx.softmax(mx.array([0.0, 0.0]))
    array([0.5, 0.5], dtype=float32)
    """
    x = node_of("softmax", a)
    out = softmax_node(widened(x), axes_of("softmax", axis, x.ndim))
    return wrap(cast(out, dt.at_least_float(x.dtype)))


def _position(name: str, make: Any, a: Operand, axis: int | None, keepdims: bool) -> array:
    x = node_of(name, a)
    if x.size == 0:
        raise ValueError(f"[{name}] Cannot reduce an empty array of shape {x.shape}.")
    at = 0 if axis is None else axis_of(name, axis, x.ndim)
    flat = views.reshape(x, (x.size,)) if axis is None else x
    out = make(at)(flat)
    if keepdims:
        out = views.reshape(out, kept(x, range(x.ndim) if axis is None else [at]))
    return wrap(out)


def argmax(
    a: Operand, /, axis: int | None = None, keepdims: bool = False, *, stream: Any = None
) -> array:
    """The index (uint32) of the first largest element; of the first NaN if there is one.

    >>> mx.argmax(mx.array([1, 7, 7]))
    array(1, dtype=uint32)
    """
    return _position("argmax", ArgMax, a, axis, keepdims)


def argmin(
    a: Operand, /, axis: int | None = None, keepdims: bool = False, *, stream: Any = None
) -> array:
    """The index (uint32) of the first smallest element; of the first NaN if there is one.

    >>> mx.argmin(mx.array([3, 1, 1]))
    array(1, dtype=uint32)
    """
    return _position("argmin", ArgMin, a, axis, keepdims)


def trace(
    a: array,
    /,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Dtype | None = None,
    *,
    stream: Any = None,
) -> array:
    """The sum of the diagonal of two axes.

    >>> mx.trace(mx.array([[1, 2], [3, 4]]))
    array(5, dtype=int32)
    """
    line = diagonal(a, offset, axis1, axis2)._node
    if dtype is None:
        return _sum(wrap(line), -1, False)
    wanted = dtype_of("trace", dtype)
    return wrap(cast(_sum(wrap(cast(line, wanted)), -1, False)._node, wanted))
