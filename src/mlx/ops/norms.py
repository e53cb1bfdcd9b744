"""Norms of vectors and matrices.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.ops.linalg import svd
from mlx.ops.operands import array_node, axes_of, number
from mlx.ops.reductions import kept
from mlx.primitives.arithmetic import Absolute, Power
from mlx.primitives.base import full_like
from mlx.primitives.elementwise import NotEqual, cast
from mlx.primitives.reductions import Max, Min, Sum, reduce_axes
from mlx.primitives.transcendental import Sqrt
from mlx.primitives.views import moveaxis, reshape

Order = int | float | str | None


def norm(
    a: array,
    /,
    ord: Order = None,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    stream: Any = None,
) -> array:
    """A norm over one axis (of vectors) or two (of matrices).

    Without ``ord`` it is the root of the sum of squares over all axes given.  For vectors
    ``ord`` is any number (0 counts nonzero elements); for matrices 1, -1, 2, -2, infinite,
    ``"fro"`` or ``"nuc"``.  Raises ValueError for others and for more than two axes.

    >>> mx.linalg.norm(mx.array([3.0, 4.0]))
    array(5, dtype=float32)
    """
    x = array_node("linalg::norm", a)
    x = cast(x, dt.at_least_float(x.dtype))
    axes = axes_of("linalg::norm", axis, x.ndim)
    if ord is not None and not isinstance(ord, str):
        ord = number("linalg::norm", "ord", ord)
    if ord is None:
        out = Sqrt()(reduce_axes(Sum, _squared(x), axes))
    elif len(axes) == 1:
        out = _vector(x, ord, axes[0])
    elif len(axes) == 2:
        out = _matrix(x, ord, axes)
    else:
        raise ValueError(f"[linalg::norm] ord={ord!r} needs one or two axes, got {axes}.")
    return wrap(reshape(out, kept(x, axes)) if keepdims else out)


def _squared(x: Node) -> Node:
    size = Absolute()(x) if x.dtype.is_complex else x
    return size * size


def _vector(x: Node, order: Any, axis: int) -> Node:
    if isinstance(order, str):
        raise ValueError(f"[linalg::norm] ord {order!r} is for matrices; vectors need a number.")
    size = Absolute()(x)
    if math.isinf(order):
        return (Max if order > 0 else Min)(axis)(size)
    if order == 0:
        return Sum(axis)(cast(NotEqual()(x, full_like(x, 0)), size.dtype))
    if order == 1:
        return Sum(axis)(size)
    if order == 2:
        return Sqrt()(Sum(axis)(size * size))
    total = Sum(axis)(Power()(size, full_like(size, float(order))))
    return Power()(total, full_like(total, 1.0 / order))


def _matrix(x: Node, order: Any, axes: Sequence[int]) -> Node:
    rows, columns = axes
    if order in ("fro", "f"):
        return Sqrt()(reduce_axes(Sum, _squared(x), axes))
    if order in (2, -2, "nuc"):
        last = x.ndim - 1
        moved = moveaxis(moveaxis(x, rows, last), columns - (columns > rows), last)
        sizes = svd(wrap(moved), compute_uv=False)._node
        make = {2: Max, -2: Min, "nuc": Sum}[order]
        return make(sizes.ndim - 1)(sizes)
    if isinstance(order, str) or not (abs(order) == 1 or math.isinf(order)):
        raise ValueError(f"[linalg::norm] Invalid ord {order!r} for matrices.")
    summed, over = (rows, columns) if abs(order) == 1 else (columns, rows)
    total = Sum(summed)(Absolute()(x))
    return (Max if order > 0 else Min)(over - (over > summed))(total)


def matrix_norm(
    a: array,
    /,
    ord: Order = None,
    axis: Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    stream: Any = None,
) -> array:
    """:func:`norm` of the last two axes (or two others)."""
    return norm(a, ord, (-2, -1) if axis is None else axis, keepdims)
