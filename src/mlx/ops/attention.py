"""mx.fast.scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, promote
from mlx.graph.chains import by_types_of_all
from mlx.graph.node import Node
from mlx.ops.operands import array_node, can_broadcast, fitted
from mlx.primitives.attention import Attention
from mlx.primitives.base import Pick, full
from mlx.primitives.elementwise import cast
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import transpose

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    q: array,
    k: array,
    v: array,
    *,
    scale: float,
    mask: array | str | None = None,
    sinks: array | None = None,
    force_fused: bool = False,
    stream: Any = None,
) -> array:
    """``softmax(scale * q @ k.T + mask) @ v`` for every head.

    Scores are never stored as a whole: memory grows with the length, not with its square.  They
    are computed in float32 at least.  A query that sees no key gets the mean of the values.

    Args:
        q: queries, (B, H, T, D).
        k: keys, (B, G, S, D); H is a multiple of G, neighbouring query heads share one.
        v: values, (B, G, S, E).
        scale: of the scores.
        mask: ``"causal"`` (query i sees keys up to ``S - T + i``), a bool array (True: seen)
            or an array added to the scores; it broadcasts to (B, H, T, S).
        sinks: (H,) scores of one more key for each head, whose value is 0.
        force_fused: accepted; there is no other kind here.

    Raises ValueError for shapes that don't fit, and for a mask or sinks of a wider dtype than
    the result's.

    >>> q = mx.ones((1, 2, 3, 4))
    >>> mx.fast.scaled_dot_product_attention(q, q, q, scale=0.5, mask="causal").shape
    (1, 2, 3, 4)
    """
    nodes = [array_node(_NAME, x) for x in (q, k, v)]
    is_causal = mask is not None and isinstance(mask, str)
    if is_causal and mask != "causal":
        raise ValueError(f"[{_NAME}] Unknown mask {mask!r}: use 'causal' or an array.")
    extra = [None if is_causal else mask, sinks]
    nodes += [array_node(_NAME, x) for x in extra if x is not None]
    settings = is_causal, extra[0] is not None, sinks is not None
    return wrap(_attended(nodes, float(scale), *settings))


@by_types_of_all
def _attended(
    nodes: Sequence[Node], scale: float, causal: bool, has_mask: bool, has_sinks: bool
) -> Node:
    nodes, extra = nodes[:3], list(nodes[3:])
    _check_shapes(*(x.shape for x in nodes))
    dtype = promote(promote(nodes[0].dtype, nodes[1].dtype), nodes[2].dtype)
    if not dtype.is_float:
        raise ValueError(f"[{_NAME}] Needs a floating-point dtype, got {dtype.name}.")
    query, key, value = (transpose(cast(x, dtype), (0, 2, 1, 3)) for x in nodes)
    batch, length, heads, _ = query.shape
    keys = key.shape[1]
    if has_mask:
        extra[0] = _mask(extra[0], (batch, heads, length, keys), dtype)
    if has_sinks:
        extra[-1] = _sinks(extra[-1], (batch, heads), dtype)
    out = (batch, length, heads, value.shape[-1])
    if keys == 0:
        found = full(out, dtype, 0)
    else:
        attention = Attention(scale, causal, has_mask, has_sinks)
        found = Pick(0)(attention(query, key, value, *extra))
    return transpose(found, (0, 2, 1, 3))


def _check_shapes(q: Any, k: Any, v: Any) -> None:
    if not (
        len(q) == len(k) == len(v) == 4
        and q[0] == k[0] == v[0]
        and k[1] == v[1]
        and k[1] > 0
        and q[1] % k[1] == 0
        and k[2] == v[2]
        and q[3] == k[3]
    ):
        raise ValueError(
            f"[{_NAME}] Expected q (B, H, T, D), k (B, G, S, D) and v (B, G, S, E) with H a "
            f"multiple of G, got {q}, {k} and {v}."
        )


def _check_dtype(what: str, node: Node, dtype: Dtype) -> None:
    if promote(node.dtype, dtype) is not dtype:
        raise ValueError(
            f"[{_NAME}] {what} of dtype {node.dtype.name} do not promote to the result's "
            f"{dtype.name}: cast them."
        )


def _mask(node: Node, scores: tuple[int, ...], dtype: Dtype) -> Node:
    """The mask at the scores' shape."""
    if not can_broadcast(node.shape, scores):
        raise ValueError(
            f"[{_NAME}] mask of shape {node.shape} does not broadcast to {scores} (B, H, T, S)."
        )
    if node.dtype is dt.bool_:
        return fitted(node, scores, dt.bool_)
    _check_dtype("mask", node, dtype)
    return fitted(node, scores, dtype)


def _sinks(node: Node, shape: tuple[int, ...], dtype: Dtype) -> Node:
    if node.shape != shape[1:]:
        raise ValueError(
            f"[{_NAME}] sinks must have shape {shape[1:]}, one for each head, got {node.shape}."
        )
    _check_dtype("sinks", node, dtype)
    return broadcast_axes(cast(node, dtype), shape, (1,))
