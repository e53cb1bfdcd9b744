"""mx.fast: compositions that models are made of.  They compute in at least float32.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import promote
from mlx.graph.chains import by_types, by_types_of_all
from mlx.graph.node import Node
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


@by_types_of_all
def _normal(nodes: Sequence[Node], name: str, what: tuple[str, ...], eps: float) -> Node:
    """The normalised last axis times ``weight`` plus ``bias``, as far as ``what`` names them,
    in the dtype all of them promote to."""
    x, dtype = nodes[0], nodes[0].dtype
    _check_rank(name, x)
    normal = (_standard if name == "layer_norm" else _unit_square)(widened(x), eps)
    for parameter, node in zip(what, nodes[1:], strict=True):
        _check_parameter(name, parameter, node, x.shape[-1])
        dtype = promote(dtype, node.dtype)
        fit = fitted(cast(node, normal.dtype), x.shape, normal.dtype)
        normal = normal * fit if parameter == "weight" else normal + fit
    return cast(normal, dtype)


def _normalised(name: str, x: array, weight: Any, bias: Any, eps: float) -> array:
    nodes, what = [_float_node(name, x)], list[str]()
    for parameter, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            nodes.append(array_node(name, given))
            what.append(parameter)
    return wrap(_normal(nodes, name, tuple(what), number(name, "eps", eps)))


def layer_norm(
    x: array, weight: array | None, bias: array | None, eps: float, *, stream: Any = None
) -> array:
    """The last axis centred and scaled to variance 1, times ``weight`` plus ``bias``.

    Raises ValueError where a parameter does not have the size of the last axis.

    >>> mx.fast.layer_norm(mx.array([[1.0, 3.0]]), None, None, 0.0)
    array([[-1, 1]], dtype=float32)
    """
    return _normalised("layer_norm", x, weight, bias, eps)


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
    return _normalised("rms_norm", x, weight, None, eps)


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
    start = offset._node if isinstance(offset, array) else full((), dt.float32, float(offset))
    nodes = [node, start] if freqs is None else [node, start, array_node("rope", freqs)]
    speed = None if base is None else float(base)
    return wrap(_encoded(nodes, dims, bool(traditional), speed, float(scale)))


@by_types_of_all
def _encoded(
    nodes: Sequence[Node], dims: int, traditional: bool, base: float | None, scale: float
) -> Node:
    """``rope`` from the positions that the second node says."""
    x, start, *freqs = nodes
    batch, half = _positions(x, start.shape), dims // 2
    table = (*batch, x.shape[-2], half)
    first = broadcast(reshape(cast(start, dt.float32), (*batch, 1, 1)), table)
    position = first + iota(table, len(table) - 2, dt.float32)
    angle = position * scale * fitted(_speeds(half, base, freqs), table, dt.float32)
    if len(table) > 2:
        angle = reshape(angle, (table[0], *[1] * (x.ndim - 3), *table[1:]))
    return _rotated(x, angle, dims, traditional)


def _positions(x: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """() for one offset, (B,) for one a sequence."""
    if shape in ((), (1,)):
        return ()
    if shape != x.shape[:1]:
        raise ValueError(
            f"[rope] offset must be a number or have {x.shape[0]} elements, got shape {shape}."
        )
    return shape


def _speeds(half: int, base: float | None, freqs: Sequence[Node]) -> Node:
    """Radians a position for each pair of features."""
    if base is not None:
        return Exp()(iota((half,), 0, dt.float32) * (-math.log(base) / half))
    (node,) = freqs
    if node.shape != (half,):
        raise ValueError(f"[rope] freqs must have shape ({half},), got {node.shape}.")
    return 1.0 / cast(node, dt.float32)


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
    return wrap(_cross_entropy(x, index))


@by_types(2)
def _cross_entropy(x: Node, index: Node) -> Node:
    wide, last = widened(x), x.ndim - 1
    at = cast(index, dt.int64)
    at = reshape(where(at < full_like(at, 0), at + x.shape[-1], at), (*x.shape[:-1], 1))
    hit = Equal()(iota(x.shape, last, dt.int64), broadcast(at, x.shape))
    chosen = Sum(last)(where(hit, wide, 0))
    return logsumexp_node(wide, (last,), False) - chosen
