"""The gated delta rule of linear attention.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import promote
from mlx.graph.node import Node
from mlx.ops.joining import repeat
from mlx.ops.operands import array_node, fitted
from mlx.ops.reductions import widened
from mlx.ops.shape import narrow
from mlx.primitives.base import full
from mlx.primitives.elementwise import cast, where
from mlx.primitives.reductions import Sum
from mlx.primitives.views import Concatenate, reshape

_NAME = "gated_delta_update"


def gated_delta_update(
    q: array,
    k: array,
    v: array,
    gamma: array,
    beta: array,
    initial_state: array | None = None,
    mask: array | None = None,
    stream: Any = None,
) -> tuple[array, array]:
    """A state S (B, H, E, D) that decays and is corrected step by step, and what q reads of it.

    At each of T steps ``S = gamma S``, then ``S += beta (v - S k) k`` and ``out = S q``.

    Args:
        q: queries, (B, T, G, D).
        k: keys, (B, T, G, D).
        v: values, (B, T, H, E); H is a multiple of G.
        gamma: decay, (B, T, H) or (B, T, H, D).
        beta: strength of the correction, (B, T, H).
        initial_state: S before the first step, by default 0.
        mask: (B, T); where it is False the state stays and the output is 0.

    >>> x = mx.ones((1, 3, 2, 4))
    >>> y, state = mx.fast.gated_delta_update(x, x, x, mx.ones((1, 3, 2)), mx.ones((1, 3, 2)))
    >>> y.shape, state.shape
    ((1, 3, 2, 4), (1, 2, 4, 4))
    """
    nodes = [array_node(_NAME, x) for x in (q, k, v, gamma, beta)]
    _check(*(x.shape for x in nodes))
    dtype = promote(nodes[0].dtype, promote(nodes[1].dtype, nodes[2].dtype))
    batch, steps, heads, size = nodes[2].shape
    share = heads // nodes[0].shape[2]
    query, key = (repeat(wrap(x), share, 2)._node if share > 1 else x for x in nodes[:2])
    query, key, value, decay, strength = (
        widened(x) for x in (query, key, nodes[2], nodes[3], nodes[4])
    )
    shape = (batch, heads, size, query.shape[-1])
    state = full(shape, dt.float32, 0)
    if initial_state is not None:
        state = fitted(widened(array_node(_NAME, initial_state)), shape, dt.float32)
    kept = None if mask is None else cast(array_node(_NAME, mask), dt.bool_)
    rows = []
    for t in range(steps):
        at = [_step(x, t) for x in (query, key, value, decay, strength)]
        row, new = _advance(state, *at)
        if kept is not None:
            valid = reshape(narrow(kept, 1, t, t + 1), (batch, 1, 1, 1))
            new = where(fitted(valid, shape, dt.bool_), new, state)
            row = where(fitted(reshape(valid, (batch, 1, 1)), row.shape, dt.bool_), row, 0)
        state = new
        rows.append(reshape(row, (batch, 1, heads, size)))
    out = rows[0] if len(rows) == 1 else Concatenate(1)(*rows)
    return wrap(cast(out, dtype)), wrap(state)


def _check(q: Any, k: Any, v: Any, gamma: Any, beta: Any) -> None:
    if not (
        len(q) == len(v) == 4
        and q == k
        and q[:2] == v[:2]
        and q[1] > 0
        and v[2] % max(q[2], 1) == 0
        and gamma[:2] == q[:2]
        and beta == v[:3]
        and len(gamma) in (3, 4)
    ):
        raise ValueError(
            f"[{_NAME}] Expected q, k (B, T, G, D), v (B, T, H, E), gamma (B, T, H) or "
            f"(B, T, H, D) and beta (B, T, H), got {q}, {k}, {v}, {gamma}, {beta}."
        )


def _step(x: Node, t: int) -> Node:
    return reshape(narrow(x, 1, t, t + 1), (x.shape[0], *x.shape[2:]))


def _advance(
    state: Node, query: Node, key: Node, value: Node, decay: Node, strength: Node
) -> tuple[Node, Node]:
    """The output (B, H, E) and the new state of one step."""
    shape = state.shape

    def rows(x: Node) -> Node:
        return fitted(reshape(x, (*x.shape[:2], 1, x.shape[-1])), shape, state.dtype)

    if decay.ndim == 2:
        decay = reshape(decay, (*decay.shape, 1))
    state = state * rows(decay)
    read = Sum(3)(state * rows(key))
    change = (value - read) * fitted(
        reshape(strength, (*strength.shape, 1)), read.shape, read.dtype
    )
    wide = fitted(reshape(change, (*change.shape, 1)), shape, state.dtype)
    state = state + rows(key) * wide
    return Sum(3)(state * rows(query)), state
