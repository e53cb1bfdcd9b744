"""New arrays: constants, ranges, triangles, windows.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy_kinds
from mlx.graph.chains import by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    Operand,
    Scalar,
    array_node,
    can_broadcast,
    default_dtype,
    dtype_of,
    fitted,
    integer,
    number,
    operand,
    scalar_node,
    shape_of,
    wrapped,
)
from mlx.primitives.arithmetic import Absolute
from mlx.primitives.base import full as full_node
from mlx.primitives.base import iota
from mlx.primitives.elementwise import Equal, cast, where
from mlx.primitives.transcendental import Cos

Sizes = int | Sequence[int]
_REAL = frozenset({int, float})
_INT32 = range(-(2**31), 2**31)


def asarray(a: Any, dtype: Dtype | None = None, *, copy: bool | None = None) -> array:
    """An array of anything that array() takes; an array of that dtype itself.

    With ``copy=False`` it raises ValueError where a conversion is needed.

    >>> mx.asarray([1, 2])
    array([1, 2], dtype=int32)
    """
    if isinstance(a, array) and dtype in (None, a.dtype):
        return wrap(a._node) if copy else a
    if copy is False:
        raise ValueError("[asarray] A conversion is needed, which copy=False forbids.")
    return array(a, dtype)


def full(shape: Sizes, vals: Operand, dtype: Dtype | None = None, *, stream: Any = None) -> array:
    """An array of ``shape`` filled with a number or with an array broadcast to it.

    >>> mx.full((2, 2), 7)
    array([[7, 7],
           [7, 7]], dtype=int32)
    """
    sizes = shape_of("full", shape)
    if type(vals) in _REAL and isinstance(dtype, Dtype):
        return wrap(_constant(sizes, dtype, vals))
    value = array(vals)._node if isinstance(vals, numpy_kinds.generic) else operand("full", vals)
    if not isinstance(value, Node):
        dtype = default_dtype(value) if dtype is None else dtype_of("full", dtype)
        return wrap(_constant(sizes, dtype, value))
    if not can_broadcast(value.shape, sizes):
        raise ValueError(f"[full] Cannot broadcast values of shape {value.shape} to {sizes}.")
    return wrap(fitted(value, sizes, value.dtype if dtype is None else dtype_of("full", dtype)))


def _constant(shape: Shape, dtype: Dtype, value: Scalar) -> Node:
    """A number that is converted rather than checked: full((2,), 1.5, mx.int32) holds 1."""
    if dtype.is_integer and not isinstance(value, int):
        value = int(value.real)
    if isinstance(value, complex) and not dtype.is_complex:
        value = value.real
    return scalar_node(shape, dtype, value)


def zeros(shape: Sizes, dtype: Dtype | None = dt.float32, *, stream: Any = None) -> array:
    """An array of zeros.

    >>> mx.zeros((2, 3))
    array([[0, 0, 0],
           [0, 0, 0]], dtype=float32)
    """
    return full(shape, 0, dt.float32 if dtype is None else dtype)


def ones(shape: Sizes, dtype: Dtype | None = dt.float32, *, stream: Any = None) -> array:
    """An array of ones.

    >>> mx.ones(3)
    array([1, 1, 1], dtype=float32)
    """
    return full(shape, 1, dt.float32 if dtype is None else dtype)


empty = zeros


def full_like(
    a: array, /, vals: Operand, dtype: Dtype | None = None, *, stream: Any = None
) -> array:
    """An array of the shape of ``a``, and its dtype unless another is given.

    >>> mx.full_like(mx.array([1.0, 2.0]), 7)
    array([7, 7], dtype=float32)
    """
    like = array_node("full_like", a)
    return full(like.shape, vals, like.dtype if dtype is None else dtype)


def zeros_like(a: array, /, dtype: Dtype | None = None, *, stream: Any = None) -> array:
    """Zeros of the shape of ``a``, and its dtype unless another is given."""
    return full_like(a, 0, dtype)


def ones_like(a: array, /, dtype: Dtype | None = None, *, stream: Any = None) -> array:
    """Ones of the shape of ``a``, and its dtype unless another is given."""
    return full_like(a, 1, dtype)


empty_like = zeros_like


def arange(
    start: Scalar | None = None,
    stop: Scalar | None = None,
    step: Scalar | None = None,
    dtype: Dtype | None = None,
    *,
    stream: Any = None,
) -> array:
    """``start, start + step, ...`` up to, not including, ``stop``.

    With one number, that is ``stop`` and ``start`` is 0.  Raises ValueError where ``step`` is
    0, for booleans, and for ends that are not finite.

    >>> mx.arange(4)
    array([0, 1, 2, 3], dtype=int32)
    >>> mx.arange(1, 2, 0.25)
    array([1, 1.25, 1.5, 1.75], dtype=float32)
    """
    if start is None and stop is None:
        raise TypeError("[arange] Expected at least one number: where to stop.")
    first, last = (0, start) if stop is None else (0 if start is None else start, stop)
    by = 1 if step is None else step
    numbers: Any = (first, last, by)
    if not _REAL.issuperset(map(type, numbers)):
        numbers = [_plain_number(x) for x in numbers]
    kinds = set(map(type, numbers))
    if complex in kinds:
        raise TypeError(f"[arange] Needs real numbers, got {tuple(numbers)}.")
    if bool in kinds or dtype is dt.bool_:
        raise ValueError("[arange] bool is not supported.")
    if dtype is None:
        if float in kinds:
            dtype = dt.float32
        else:
            is_narrow = min(numbers) in _INT32 and max(numbers) in _INT32
            dtype = dt.int32 if is_narrow else dt.int64
    return wrap(_ramp(*numbers, dtype_of("arange", dtype)))


def _plain_number(x: Any) -> Scalar:
    """A number, or an array of one, as one of Python's four types."""
    value = operand("arange", x)
    found: Any = wrap(value).item() if isinstance(value, Node) else value
    kinds: tuple[Any, ...] = (bool, int, float, complex)
    return next(kind(found) for kind in kinds if isinstance(found, kind))


@by_types(0)
def _ramp(start: Any, stop: Any, step: Any, dtype: Dtype) -> Node:
    if step == 0 or not math.isfinite(start) or not math.isfinite(step) or math.isnan(stop):
        raise ValueError(
            f"[arange] step must be nonzero and all numbers finite, got {(start, stop, step)}."
        )
    if math.isinf(stop):
        raise ValueError("[arange] Cannot compute the length of an endless range.")
    if all(isinstance(x, int) for x in (start, stop, step)):
        count = len(range(start, stop, step))
    else:
        count = max(math.ceil((stop - start) / step), 0)
    if dtype.is_integer:
        start, step = int(start), int(start + step) - int(start)
        start, step = wrapped(start, dtype), wrapped(step, dtype)
    index = iota((count,), 0, _counting(dtype))
    out = cast(index, dtype)
    if step != 1:
        out = out * scalar_node((count,), dtype, step)
    return out if start == 0 else out + scalar_node((count,), dtype, start)


def _counting(dtype: Dtype) -> Dtype:
    """A dtype that counts exactly: a narrow float would stop at 2^11 or 2^24."""
    return dtype if dtype.size >= 4 and not dtype.is_inexact else dt.int64


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: Dtype | None = dt.float32,
    stream: Any = None,
) -> array:
    """``num`` evenly spaced numbers from ``start`` to ``stop``.

    >>> mx.linspace(0, 1, 5)
    array([0, 0.25, 0.5, 0.75, 1], dtype=float32)
    """
    num = integer("linspace", "num", num)
    if not isinstance(endpoint, bool):
        raise TypeError(f"[linspace] endpoint must be a bool (dtype follows it), got {endpoint!r}.")
    if num < 0:
        raise ValueError(f"[linspace] num must be non-negative, got {num}.")
    dtype = dt.float32 if dtype is None else dtype_of("linspace", dtype)
    wide = dt.float64 if dtype is dt.float64 else dt.float32
    first, last = number("linspace", "start", start), number("linspace", "stop", stop)
    ends = [scalar_node((num,), wide, end) for end in (first, last)]
    return wrap(_spaced(*ends, (num - 1) if endpoint else num, dtype))


@by_types(2)
def _spaced(first: Node, last: Node, parts: int, dtype: Dtype) -> Node:
    """Points that share the way between two ends, which are given for each."""
    index = cast(iota(first.shape, 0, dt.int32), first.dtype)
    share = index / full_node(index.shape, index.dtype, float(parts)) if parts > 0 else index * 0.0
    return cast(share * last + (1 - share) * first, dtype)


def tri(
    n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: Any = None
) -> array:
    """Ones at and below the k-th diagonal of an (n, m) matrix.

    >>> mx.tri(2, 3, 1)
    array([[1, 1, 0],
           [1, 1, 1]], dtype=float32)
    """
    shape, k = shape_of("tri", (n, n if m is None else m)), integer("tri", "k", k)
    return wrap(_ones_below(shape, k, dt.float32 if dtype is None else dtype_of("tri", dtype)))


@by_types(0)
def _ones_below(shape: Shape, k: int, dtype: Dtype) -> Node:
    return cast(_below(shape, k), dtype)


def _below(shape: Shape, k: int) -> Node:
    """Whether an element lies at or below the k-th diagonal of the last two axes."""
    ndim, dtype = len(shape), _positions(shape[-2:], k)
    return iota(shape, ndim - 1, dtype) <= iota(shape, ndim - 2, dtype) + k


def _positions(shape: Shape, k: int) -> Dtype:
    """The dtype of row and column numbers, k added: twice as many in a register where they are
    small."""
    return dt.int32 if max(shape, default=0) + abs(k) < 1 << 31 else dt.int64


def eye(
    n: int,
    m: int | None = None,
    k: int = 0,
    dtype: Dtype | None = dt.float32,
    *,
    stream: Any = None,
) -> array:
    """Ones on the k-th diagonal of an (n, m) matrix of zeros.

    >>> mx.eye(2, 3, 1)
    array([[0, 1, 0],
           [0, 0, 1]], dtype=float32)
    """
    shape, k = shape_of("eye", (n, n if m is None else m)), integer("eye", "k", k)
    return wrap(_ones_at(shape, k, dt.float32 if dtype is None else dtype_of("eye", dtype)))


@by_types(0)
def _ones_at(shape: Shape, k: int, dtype: Dtype) -> Node:
    numbers = _positions(shape, k)
    rows, columns = iota(shape, 0, numbers), iota(shape, 1, numbers)
    return cast(Equal()(columns, rows + k), dtype)


def identity(n: int, dtype: Dtype | None = dt.float32, *, stream: Any = None) -> array:
    """The identity matrix of size n."""
    return eye(n, dtype=dtype)


def _matrix(name: str, x: Any) -> Node:
    node = array_node(name, x)
    if node.ndim < 2:
        raise ValueError(f"[{name}] Needs at least 2 dimensions, got shape {node.shape}.")
    return node


def tril(x: array, k: int = 0, *, stream: Any = None) -> array:
    """x at and below the k-th diagonal of its last two axes, 0 elsewhere.

    >>> mx.tril(mx.ones((2, 2)))
    array([[1, 0],
           [1, 1]], dtype=float32)
    """
    return wrap(_lower(_matrix("tril", x), integer("tril", "k", k)))


@by_types(1)
def _lower(x: Node, k: int) -> Node:
    return where(_below(x.shape, k), x, 0)


def triu(x: array, k: int = 0, *, stream: Any = None) -> array:
    """x at and above the k-th diagonal of its last two axes, 0 elsewhere.

    >>> mx.triu(mx.ones((2, 2)))
    array([[1, 1],
           [0, 1]], dtype=float32)
    """
    return wrap(_upper(_matrix("triu", x), integer("triu", "k", k)))


@by_types(1)
def _upper(x: Node, k: int) -> Node:
    return where(_below(x.shape, k - 1), 0, x)


def _window(name: str, size: int, *terms: float) -> array:
    """A sum of cosines over the window: ``sum(terms[i] * cos(2 pi i t))``, t from 0 to 1."""
    size = integer(name, "M", size)
    if size < 1:
        return zeros(0)
    if size == 1:
        return ones(1)
    angle = cast(iota((size,), 0, dt.int64), dt.float64) * (2 * math.pi / (size - 1))
    total = full_node((size,), dt.float64, terms[0])
    for i, c in enumerate(terms[1:], 1):
        total = total + Cos()(angle * float(i)) * c
    return wrap(cast(total, dt.float32))


def hanning(M: int, *, stream: Any = None) -> array:
    """The Hanning window of M points.

    >>> mx.hanning(5)
    array([0, 0.5, 1, 0.5, 0], dtype=float32)
    """
    return _window("hanning", M, 0.5, -0.5)


def hamming(M: int, *, stream: Any = None) -> array:
    """The Hamming window of M points."""
    return _window("hamming", M, 0.54, -0.46)


def blackman(M: int, *, stream: Any = None) -> array:
    """The Blackman window of M points."""
    return _window("blackman", M, 0.42, -0.5, 0.08)


def bartlett(M: int, *, stream: Any = None) -> array:
    """The triangular window of M points, 0 at its ends."""
    size = integer("bartlett", "M", M)
    if size <= 1:
        return _window("bartlett", size)
    half = (size - 1) / 2
    away = Absolute()(cast(iota((size,), 0, dt.int64), dt.float64) - half)
    return wrap(cast(1 - away / half, dt.float32))
