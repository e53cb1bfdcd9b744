"""Products of matrices and tensors.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

from mlx.array import array, wrap
from mlx.base.dtype import PROMOTION, Dtype, promote
from mlx.graph.chains import by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    array_node,
    axes_of,
    axis_of,
    broadcast_shape,
    can_broadcast,
    common,
    fitted,
    sequence,
)
from mlx.primitives.base import full_like
from mlx.primitives.contraction import MatMul
from mlx.primitives.elementwise import Add, Conjugate, Multiply, cast
from mlx.primitives.reductions import Sum
from mlx.primitives.views import Reshape, reshape, transpose

_MATMUL, _ADD, _MULTIPLY = MatMul(), Add(), Multiply()


def matmul(a: array, b: array, /, *, stream: Any = None) -> array:
    """The matrix product of the last two axes; axes before those are broadcast.

    A vector counts as a row on the left and as a column on the right.  Integers wrap around in
    the result's dtype; int8 operands that are cast to int32 first are multiplied as int8, with
    the exact sums.  bool operands give whether any pair of them is true.  Raises ValueError
    where sizes do not fit.

    >>> mx.matmul(mx.array([[1.0, 2.0], [3.0, 4.0]]), mx.array([1.0, 1.0]))
    array([3, 7], dtype=float32)
    """
    x = a._node if type(a) is array else array_node("matmul", a)
    y = b._node if type(b) is array else array_node("matmul", b)
    dtype = x.dtype
    if y.dtype is not dtype:
        dtype = PROMOTION[dtype.index][y.dtype.index]
        x, y = cast(x, dtype), cast(y, dtype)
    return wrap(product(x, y))


def product(x: Node, y: Node) -> Node:
    """matmul of nodes of one dtype."""
    m, n = len(x.shape), len(y.shape)
    if m > 1 and n == 2 and x.shape[-1] == y.shape[0]:
        return _flat_product(x, y)
    if m == 0 or n == 0:
        raise ValueError(
            f"[matmul] Operands must have at least one dimension, got {x.shape} and {y.shape}."
        )
    left = x if m > 1 else reshape(x, (1, x.shape[0]))
    right = y if n > 1 else reshape(y, (y.shape[0], 1))
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            f"[matmul] Last dimension of the first operand with shape {x.shape} must match "
            f"the {'only' if n == 1 else 'second to last'} dimension of the second with shape "
            f"{y.shape}."
        )
    out = _batched(left, right)
    if m > 1 and n > 1:
        return out
    shape = out.shape[:-2] + (out.shape[-2:-1] if m > 1 else ()) + (out.shape[-1:] if n > 1 else ())
    return reshape(out, shape)


def _batched(x: Node, y: Node) -> Node:
    lead_x, lead_y = x.shape[:-2], y.shape[:-2]
    if lead_x == lead_y:
        return _multiply(x, y)
    if not lead_y:
        return _flat_product(x, y)
    lead = broadcast_shape(lead_x, lead_y)
    x = fitted(x, lead + x.shape[-2:], x.dtype)
    return _multiply(x, fitted(y, lead + y.shape[-2:], y.dtype))


def _flat_product(x: Node, y: Node) -> Node:
    """The product with a matrix: one large one in place of many small ones."""
    if len(x.shape) == 2:
        return _multiply(x, y)
    flat, to_flat, shape, back = _flattened(x.shape, y.shape[1])
    rows = Node(to_flat, (x,), flat, x.dtype)
    return Node(back, (_multiply(rows, y),), shape, x.dtype)


@lru_cache(4096)
def _flattened(shape: Shape, columns: int) -> tuple[Shape, Reshape, Shape, Reshape]:
    """The shape of a batch of matrices as one matrix, that of its product, and what makes
    them."""
    flat, out = (prod(shape[:-1]), shape[-1]), (*shape[:-1], columns)
    return flat, Reshape(flat), out, Reshape(out)


def _multiply(x: Node, y: Node) -> Node:
    return Node(_MATMUL, (x, y), (*x.shape[:-1], y.shape[-1]), x.dtype)


def addmm(
    c: array,
    a: array,
    b: array,
    /,
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    stream: Any = None,
) -> array:
    """``alpha * (a @ b) + beta * c``, with c broadcast to the product's shape.

    >>> mx.addmm(mx.array([1.0, 2.0]), mx.ones((1, 3)), mx.ones((3, 2)))
    array([[4, 5]], dtype=float32)
    """
    z, x, y = [array_node("addmm", v) for v in (c, a, b)]
    if alpha == 1 and beta == 1:
        return wrap(_plus_product(z, x, y, 1.0, 1.0))
    return wrap(_scaled_sum(z, x, y, alpha, beta))


def _scaled_sum(z: Node, x: Node, y: Node, alpha: float, beta: float) -> Node:
    dtype = z.dtype
    if x.dtype is not dtype or y.dtype is not dtype:
        dtype = promote(promote(dtype, x.dtype), y.dtype)
        z, x, y = cast(z, dtype), cast(x, dtype), cast(y, dtype)
    for name, factor in (("alpha", alpha), ("beta", beta)):
        if not dtype.is_inexact and factor != int(factor):
            raise ValueError(
                f"[addmm] {name} must be an integer for operands of dtype {dtype.name}, "
                f"got {factor}."
            )
    out = product(x, y)
    if alpha != 1:
        out = _MULTIPLY(out, full_like(out, alpha))
    if beta != 1:
        z = _MULTIPLY(z, full_like(z, beta))
    if not can_broadcast(z.shape, out.shape):
        raise ValueError(f"[addmm] Cannot broadcast c of shape {z.shape} to {out.shape}.")
    return Node(_ADD, (out, fitted(z, out.shape, dtype)), out.shape, dtype)


_plus_product = by_types(3)(_scaled_sum)


def inner(a: array, b: array, /, *, stream: Any = None) -> array:
    """Sums of products over the last axes of both.

    >>> mx.inner(mx.array([1.0, 2.0]), mx.array([3.0, 4.0]))
    array(11, dtype=float32)
    """
    x, y = array_node("inner", a), array_node("inner", b)
    if x.ndim == 0 or y.ndim == 0:
        return wrap(_MULTIPLY(*common("inner", a, b)))
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"[inner] a and b must have the same last dimension, got {x.shape} and {y.shape}."
        )
    return tensordot(a, b, ([-1], [-1]))


def outer(a: array, b: array, /, *, stream: Any = None) -> array:
    """All products of an element of a and one of b, both flattened.

    >>> mx.outer(mx.array([1, 2]), mx.array([3, 4]))
    array([[3, 4],
           [6, 8]], dtype=int32)
    """
    x, y = array_node("outer", a), array_node("outer", b)
    return wrap(_outer_of(x, y))


@by_types(2)
def _outer_of(x: Node, y: Node) -> Node:
    column, row = reshape(x, (x.size, 1)), reshape(y, (1, y.size))
    return _MULTIPLY(*common("outer", wrap(column), wrap(row)))


def kron(a: array, b: array, *, stream: Any = None) -> array:
    """The Kronecker product: copies of b scaled by the elements of a.

    >>> mx.kron(mx.array([1, 10]), mx.array([1, 2]))
    array([1, 2, 10, 20], dtype=int32)
    """
    x, y = array_node("kron", a), array_node("kron", b)
    n = max(x.ndim, y.ndim)
    rows = (1,) * (n - x.ndim) + x.shape
    columns = (1,) * (n - y.ndim) + y.shape
    spread = reshape(x, tuple(v for m in rows for v in (m, 1)))
    block = reshape(y, tuple(v for m in columns for v in (1, m)))
    out = _MULTIPLY(*common("kron", wrap(spread), wrap(block)))
    return wrap(reshape(out, tuple(r * c for r, c in zip(rows, columns, strict=True))))


def vecdot(a: array, b: array, /, *, axis: int = -1, stream: Any = None) -> array:
    """The dot product along an axis, a conjugated.

    >>> mx.vecdot(mx.array([[1, 2], [3, 4]]), mx.array([1, 1]))
    array([3, 7], dtype=int32)
    """
    x, y = common("vecdot", a, b)
    at = axis_of("vecdot", axis, x.ndim)
    if x.dtype.is_complex:
        x = Conjugate()(x)
    return wrap(Sum(at)(_MULTIPLY(x, y)))


def tensordot(
    a: array,
    b: array,
    /,
    axes: int | Sequence[Sequence[int]] = 2,
    *,
    stream: Any = None,
) -> array:
    """Sums of products over axes of a paired with axes of b.

    ``axes`` is a number n (the last n of a with the first n of b) or two lists of axes.

    >>> mx.tensordot(mx.ones((2, 3)), mx.ones((3, 4)), axes=1).shape
    (2, 4)
    """
    x, y = array_node("tensordot", a), array_node("tensordot", b)
    dtype = promote(x.dtype, y.dtype)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ValueError(
                f"[tensordot] Cannot contract {axes} axes of shapes {x.shape} and {y.shape}."
            )
        of_x, of_y = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    else:
        pair = sequence("tensordot", "axes", axes)
        if len(pair) != 2:
            raise ValueError(f"[tensordot] Expected axes of a and axes of b, got {axes}.")
        first, second = pair
        of_x = axes_of("tensordot", first, x.ndim)
        of_y = axes_of("tensordot", second, y.ndim)
    sizes = [x.shape[i] for i in of_x]
    if sizes != [y.shape[i] for i in of_y]:
        raise ValueError(
            f"[tensordot] Contracted axes {of_x} of {x.shape} and {of_y} of {y.shape} differ."
        )
    return wrap(_contracted(x, y, dtype, of_x, of_y))


@by_types(2)
def _contracted(
    x: Node, y: Node, dtype: Dtype, of_x: tuple[int, ...], of_y: tuple[int, ...]
) -> Node:
    return contract(cast(x, dtype), cast(y, dtype), of_x, of_y)


def contract(x: Node, y: Node, of_x: Sequence[int], of_y: Sequence[int]) -> Node:
    """One matrix product that sums over paired axes; free axes of x, then those of y, stay."""
    free_x = [i for i in range(x.ndim) if i not in of_x]
    free_y = [i for i in range(y.ndim) if i not in of_y]
    inner_size = prod(x.shape[i] for i in of_x)
    left = transpose(x, (*free_x, *of_x))
    right = transpose(y, (*of_y, *free_y))
    shape: Shape = tuple([x.shape[i] for i in free_x] + [y.shape[i] for i in free_y])
    rows = prod(x.shape[i] for i in free_x)
    columns = prod(y.shape[i] for i in free_y)
    left, right = reshape(left, (rows, inner_size)), reshape(right, (inner_size, columns))
    if inner_size == 1:
        return reshape(_outer(left, right), shape)
    return reshape(_multiply(left, right), shape)


def _outer(column: Node, row: Node) -> Node:
    shape = (column.shape[0], row.shape[1])
    return _MULTIPLY(fitted(column, shape, column.dtype), fitted(row, shape, row.dtype))
