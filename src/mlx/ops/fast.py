"""mx.fast: compositions that models are made of.  They compute in at least float32.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import promote
from mlx.graph.node import Node
from mlx.ops.chains import by_types
from mlx.ops.operands import array_node, fitted, integer, number
from mlx.ops.reductions import logsumexp_node, mean_node, variance_node, widened
from mlx.ops.shape import narrow
from mlx.primitives.base import full, full_like, iota
from mlx.primitives.elementwise import Equal, cast, where
from mlx.primitives.reductions import Sum, broadcast
from mlx.primitives.transcendental import Cos, Exp, Rsqrt, Sin
from mlx.primitives.views import Concatenate, reshape


def _float_node(name: str, x: Any) -> Node:
    node = array_node(name, x)
    if not node.dtype.is_float:
        raise ValueError(f"[{name}] Needs a floating-point dtype, got {node.dtype.name}.")
    return node


def _check_parameter(name: str, what: str, node: Node, size: int) -> None:
    if node.shape != (size,):
        raise ValueError(
            f"[{name}] {what} must have shape ({size},) as the last axis of x, got {node.shape}."
        )


def _scaled(name: str, x: Node, normal: Node, weight: array | None, bias: array | None) -> array:
    """``normal * weight + bias`` in the dtype all of them promote to."""
    dtype = x.dtype
    parameters = []
    for what, given in (("weight", weight), ("bias", bias)):
        node = None if given is None else array_node(name, given)
        if node is not None:
            _check_parameter(name, what, node, x.shape[-1])
            dtype = promote(dtype, node.dtype)
        parameters.append(node)
    scale, shift = parameters
    if scale is not None:
        normal = normal * fitted(cast(scale, normal.dtype), x.shape, normal.dtype)
    if shift is not None:
        normal = normal + fitted(cast(shift, normal.dtype), x.shape, normal.dtype)
    return wrap(cast(normal, dtype))


def layer_norm(
    x: array, weight: array | None, bias: array | None, eps: float, *, stream: Any = None
) -> array:
    """The last axis centred and scaled to variance 1, times ``weight`` plus ``bias``.

    Raises ValueError where a parameter does not have the size of the last axis.

    >>> mx.fast.layer_norm(mx.array([[1.0, 3.0]]), None, None, 0.0)
    array([[-1, 1]], dtype=float32)
    """
    node = _float_node("layer_norm", x)
    _check_rank("layer_norm", node)
    normal = _standard(widened(node), number("layer_norm", "eps", eps))
    return _scaled("layer_norm", node, normal, weight, bias)


@by_types(1)
def _standard(x: Node, eps: float) -> Node:
    """The last axis with mean 0 and variance 1."""
    last = (x.ndim - 1,)
    centred = x - broadcast(mean_node(x, last, True), x.shape)
    spread = Rsqrt()(variance_node(x, last, True, 0) + eps)
    return centred * broadcast(spread, x.shape)


def rms_norm(x: array, weight: array | None, eps: float, *, stream: Any = None) -> array:
    """The last axis scaled to mean square 1, times ``weight``.

    >>> mx.fast.rms_norm(mx.array([[3.0, 3.0]]), None, 0.0)
    array([[1, 1]], dtype=float32)
    """
    node = _float_node("rms_norm", x)
    _check_rank("rms_norm", node)
    normal = _unit_square(widened(node), number("rms_norm", "eps", eps))
    return _scaled("rms_norm", node, normal, weight, None)


@by_types(1)
def _unit_square(x: Node, eps: float) -> Node:
    """The last axis with mean square 1."""
    spread = Rsqrt()(mean_node(x * x, (x.ndim - 1,), True) + eps)
    return x * broadcast(spread, x.shape)


def _check_rank(name: str, x: Node, least: int = 1) -> None:
    if x.ndim < least:
        raise ValueError(f"[{name}] Needs at least {least} dimensions, got shape {x.shape}.")


def rope(
    a: array,
    dims: int,
    *,
    traditional: bool,
    base: float | None,
    scale: float,
    offset: int | array,
    freqs: array | None = None,
    stream: Any = None,
) -> array:
    """Rotary position encoding of the second to last axis.

    Args:
        a: of shape (B, ..., T, D).
        dims: how many of the D features are rotated; the others stay as they are.
        traditional: rotate neighbouring features, instead of the two halves of ``dims``.
        base: feature pair i turns by ``position * base**(-2 i / dims)``.
        scale: what positions are multiplied by.
        offset: the first position; one number, or one for each of the B sequences.
        freqs: wavelengths (dims / 2 of them) instead of ``base``.

    >>> mx.fast.rope(
    ...     mx.ones((1, 2, 2)), 2, traditional=True, base=1e4, scale=1.0, offset=0, freqs=None
    ... )
    array([[[1, 1],
            [-0.301169, 1.38177]]], dtype=float32)
    """
    node = _float_node("rope", a)
    _check_rank("rope", node, 3)
    dims = integer("rope", "dims", dims)
    if dims % 2 or not 0 < dims <= node.shape[-1]:
        raise ValueError(f"[rope] dims must be even and at most {node.shape[-1]}, got {dims}.")
    if (base is None) == (freqs is None):
        raise ValueError("[rope] Needs either base or freqs.")
    length = node.shape[-2]
    table = (*_positions(node, offset), length, dims // 2)
    position = broadcast(_start(node, offset), table) + iota(table, len(table) - 2, dt.float32)
    angle = position * float(scale) * fitted(_speeds(dims // 2, base, freqs), table, dt.float32)
    if len(table) > 2:
        angle = reshape(angle, (table[0], *[1] * (node.ndim - 3), *table[1:]))
    return wrap(_rotated(node, angle, dims, bool(traditional)))


def _positions(x: Node, offset: Any) -> tuple[int, ...]:
    """() for one offset, (B,) for one a sequence."""
    shape = offset.shape if isinstance(offset, array) else ()
    if shape in ((), (1,)):
        return ()
    if shape != x.shape[:1]:
        raise ValueError(
            f"[rope] offset must be a number or have {x.shape[0]} elements, got shape {shape}."
        )
    return shape


def _start(x: Node, offset: Any) -> Node:
    if not isinstance(offset, array):
        return full((1, 1), dt.float32, float(offset))
    node = cast(offset._node, dt.float32)
    return reshape(node, (*_positions(x, offset), 1, 1))


def _speeds(half: int, base: float | None, freqs: array | None) -> Node:
    """Radians a position for each pair of features."""
    if freqs is None:
        assert base is not None
        return Exp()(iota((half,), 0, dt.float32) * (-math.log(base) / half))
    node = array_node("rope", freqs)
    if node.shape != (half,):
        raise ValueError(f"[rope] freqs must have shape ({half},), got {node.shape}.")
    return 1.0 / cast(node, dt.float32)


@by_types(2)
def _rotated(x: Node, angle: Node, dims: int, traditional: bool) -> Node:
    half, last = dims // 2, x.ndim - 1
    turned = widened(narrow(x, last, 0, dims))
    kind = turned.dtype
    shape = (*x.shape[:-1], half)
    if traditional:
        pairs = reshape(turned, (*shape, 2))
        u, v = (reshape(narrow(pairs, last + 1, i, i + 1), shape) for i in (0, 1))
    else:
        u, v = narrow(turned, last, 0, half), narrow(turned, last, half, dims)
    angle = cast(angle, kind)
    cosine, sine = (broadcast(f()(angle), shape) for f in (Cos, Sin))
    parts = u * cosine - v * sine, u * sine + v * cosine
    if traditional:
        joined = Concatenate(last + 1)(*(reshape(p, (*shape, 1)) for p in parts))
        out = reshape(joined, (*x.shape[:-1], dims))
    else:
        out = Concatenate(last)(*parts)
    out = cast(out, x.dtype)
    if dims == x.shape[-1]:
        return out
    return Concatenate(last)(out, narrow(x, last, dims, x.shape[-1]))


def cross_entropy(logits: array, targets: array, *, stream: Any = None) -> array:
    """-log softmax(logits) at the targets, over the last axis, as float32.

    Raises ValueError where targets lack the shape of logits without the last axis.

    >>> mx.fast.cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
    array([0.693147], dtype=float32)
    """
    x, index = _float_node("cross_entropy", logits), array_node("cross_entropy", targets)
    _check_rank("cross_entropy", x)
    if index.shape != x.shape[:-1] or not index.dtype.is_integer:
        raise ValueError(
            f"[cross_entropy] targets must be integers of shape {x.shape[:-1]}, got "
            f"{index.dtype.name} {index.shape}."
        )
    wide, last = widened(x), x.ndim - 1
    at = cast(index, dt.int64)
    at = reshape(where(at < full_like(at, 0), at + x.shape[-1], at), (*x.shape[:-1], 1))
    hit = Equal()(iota(x.shape, last, dt.int64), broadcast(at, x.shape))
    chosen = Sum(last)(where(hit, wide, 0))
    return wrap(logsumexp_node(wide, (last,), False) - chosen)
