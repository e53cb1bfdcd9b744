"""The same bytes as another dtype.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node
from mlx.ops.operands import dtype_of, node_of
from mlx.ops.shape import narrow
from mlx.primitives.base import full_like
from mlx.primitives.bitwise import Bitcast, BitwiseOr, LeftShift, RightShift
from mlx.primitives.complex import Complex, Imag, Real
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Concatenate, reshape

_UNSIGNED = {d.size: d for d in (dt.uint8, dt.uint16, dt.uint32, dt.uint64)}


def view(a: array, dtype: Dtype, *, stream: Any = None) -> array:
    """The bytes of a read as another dtype; the last axis takes up a change of size.

    Raises ValueError where the last axis does not have a multiple of the new size in bytes.

    >>> mx.view(mx.array([1.0]), mx.uint8)
    array([0, 0, 128, 63], dtype=uint8)
    """
    x, wanted = node_of("view", a), dtype_of("view", dtype)
    if x.dtype is wanted:
        return wrap(x)
    if x.dtype.size != wanted.size:
        _check_sizes(x, wanted)
    if x.dtype.is_complex:
        x = _interleaved(Real()(x), Imag()(x))
    if wanted.is_complex:
        return wrap(Complex()(*_pairs(_as(x, dt.float32))))
    return wrap(_as(x, wanted))


def _check_sizes(x: Node, wanted: Dtype) -> None:
    if x.ndim == 0:
        raise ValueError(
            f"[view] A scalar of {x.dtype.name} can only be viewed as a dtype of its size."
        )
    if x.shape[-1] * x.dtype.size % wanted.size:
        raise ValueError(
            f"[view] The last axis of {x.shape} {x.dtype.name} has no multiple of the "
            f"{wanted.size} bytes of {wanted.name}."
        )


def _interleaved(*parts: Node) -> Node:
    """Nodes whose elements alternate along the last axis."""
    shape = parts[0].shape
    joined = Concatenate(len(shape))(*(reshape(p, (*shape, 1)) for p in parts))
    return reshape(joined, (*shape[:-1], shape[-1] * len(parts)) if shape else (len(parts),))


def _pairs(x: Node) -> tuple[Node, Node]:
    *lead, n = x.shape
    split = reshape(x, (*lead, n // 2, 2))
    first, second = (narrow(split, x.ndim, i, i + 1) for i in (0, 1))
    return reshape(first, (*lead, n // 2)), reshape(second, (*lead, n // 2))


def _as(x: Node, wanted: Dtype) -> Node:
    """By way of unsigned integers, which are cut or put together by shifts."""
    if x.dtype is wanted:
        return x
    bits = cast(x, dt.uint8) if x.dtype is dt.bool_ else x
    bits = bits if bits.dtype in _UNSIGNED.values() else Bitcast(_UNSIGNED[bits.dtype.size])(bits)
    if bits.dtype.size > wanted.size:
        bits = _cut(bits, _UNSIGNED[wanted.size])
    elif bits.dtype.size < wanted.size:
        bits = _put_together(bits, _UNSIGNED[wanted.size])
    if wanted is bits.dtype:
        return bits
    return cast(bits, wanted) if wanted is dt.bool_ else Bitcast(wanted)(bits)


def _cut(x: Node, to: Dtype) -> Node:
    parts = [
        cast(RightShift()(x, full_like(x, 8 * to.size * i)), to)
        for i in range(x.dtype.size // to.size)
    ]
    return _interleaved(*parts)


def _put_together(x: Node, to: Dtype) -> Node:
    count, width = to.size // x.dtype.size, 8 * x.dtype.size
    *lead, n = x.shape
    split = reshape(x, (*lead, n // count, count))
    parts = [reshape(narrow(split, x.ndim, i, i + 1), (*lead, n // count)) for i in range(count)]
    out = cast(parts[0], to)
    for i, part in enumerate(parts[1:], 1):
        wide = cast(part, to)
        out = BitwiseOr()(out, LeftShift()(wide, full_like(wide, width * i)))
    return out
