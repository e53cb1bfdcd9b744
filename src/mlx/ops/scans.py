"""Scans: folds along an axis that keep every intermediate result.

Without an axis the flattened array is scanned.  ``reverse`` starts at the end; a scan that is
not ``inclusive`` leaves the element itself out of its result.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.operands import Operand, axis_of, dtype_of, flag, integer, node_of
from mlx.ops.shape import narrow
from mlx.primitives.elementwise import NotEqual, Subtract, cast
from mlx.primitives.scans import CumMax, CumMin, CumProd, CumSum, LogCumSumExp
from mlx.primitives.views import reshape


def _scan(make: Any, name: str, a: Operand, axis: Any, flags: tuple[bool, bool]) -> array:
    return wrap(_scanned(make, name, node_of(name, a), axis, flags))


def _scanned(make: Any, name: str, x: Node, axis: Any, flags: tuple[bool, bool]) -> Node:
    reverse, inclusive = flags
    if reverse.__class__ is inclusive.__class__ is bool and (axis.__class__ is int or axis is None):
        return _remembered(x, make, name, axis, reverse, inclusive)
    return _made(x, make, name, axis, reverse, inclusive)


def _made(x: Node, make: Any, name: str, axis: Any, reverse: bool, inclusive: bool) -> Node:
    if axis is None:
        x, at = reshape(x, (x.size,)), 0
    else:
        at = axis_of(name, axis, x.ndim)
    return make(at, flag(name, "reverse", reverse), flag(name, "inclusive", inclusive))(x)


_remembered = by_types(1)(_made)


def cumsum(
    a: Operand,
    /,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    dtype: Dtype | None = None,
    stream: Any = None,
) -> array:
    """Sums of all elements up to each.  Booleans are summed as int32.

    >>> mx.cumsum(mx.array([1, 2, 3]))
    array([1, 3, 6], dtype=int32)
    >>> mx.cumsum(mx.array([1, 2, 3]), reverse=True, inclusive=False)
    array([5, 3, 0], dtype=int32)
    """
    x = a._node if type(a) is array else node_of("cumsum", a)
    if dtype is not None or x.dtype is dt.bool_:
        x = cast(x, dt.int32 if dtype is None else dtype_of("cumsum", dtype))
    return wrap(_scanned(CumSum, "cumsum", x, axis, (reverse, inclusive)))


def cumprod(
    a: Operand,
    /,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    dtype: Dtype | None = None,
    stream: Any = None,
) -> array:
    """Products of all elements up to each.

    >>> mx.cumprod(mx.array([1, 2, 3]))
    array([1, 2, 6], dtype=int32)
    """
    x = node_of("cumprod", a)
    if dtype is not None:
        x = cast(x, dtype_of("cumprod", dtype))
    return wrap(_scanned(CumProd, "cumprod", x, axis, (reverse, inclusive)))


cumulative_sum, cumulative_prod = cumsum, cumprod


def cummax(
    a: Operand,
    /,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    stream: Any = None,
) -> array:
    """The largest of all elements up to each; NaN wins.

    >>> mx.cummax(mx.array([1, 3, 2]))
    array([1, 3, 3], dtype=int32)
    """
    return _scan(CumMax, "cummax", a, axis, (reverse, inclusive))


def cummin(
    a: Operand,
    /,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    stream: Any = None,
) -> array:
    """The smallest of all elements up to each; NaN wins.

    >>> mx.cummin(mx.array([3, 1, 2]))
    array([3, 1, 1], dtype=int32)
    """
    return _scan(CumMin, "cummin", a, axis, (reverse, inclusive))


def logcumsumexp(
    a: Operand,
    /,
    axis: int | None = None,
    *,
    reverse: bool = False,
    inclusive: bool = True,
    stream: Any = None,
) -> array:
    """log of the sums of exponentials of all elements up to each, without overflow.

    >>> mx.logcumsumexp(mx.array([0.0, 0.0]))
    array([0, 0.693147], dtype=float32)
    """
    x = node_of("logcumsumexp", a)
    x = cast(x, dt.at_least_float(x.dtype))
    return wrap(_scanned(LogCumSumExp, "logcumsumexp", x, axis, (reverse, inclusive)))


def diff(a: Operand, /, n: int = 1, axis: int = -1, *, stream: Any = None) -> array:
    """Differences of neighbours along an axis, n times over.

    >>> mx.diff(mx.array([1, 4, 9]))
    array([3, 5], dtype=int32)
    """
    x = node_of("diff", a)
    times, at = integer("diff", "n", n), axis_of("diff", axis, x.ndim)
    if times < 0:
        raise ValueError(f"[diff] Order `n` must be non-negative, got {n}.")
    subtract = NotEqual() if x.dtype is dt.bool_ else Subtract()
    for _ in range(times):
        size = x.shape[at]
        if size == 0:
            break
        x = subtract(narrow(x, at, 1, size), narrow(x, at, 0, size - 1))
    return wrap(x)
