"""Cases of mx.fast.scaled_dot_product_attention, written for MLX and for us alike."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlx.core as mx

SIZES = {
    "plain": (2, 4, 2, 5, 7, 8, 8),
    "decode": (1, 4, 2, 1, 140, 4, 4),
    "odd": (1, 2, 2, 17, 19, 5, 3),
    "long": (1, 2, 1, 35, 140, 2, 3),
    "more queries than keys": (1, 2, 2, 6, 4, 4, 4),
}
"""Batch, heads, groups, queries, keys, features of keys and of values."""
KINDS = ("none", "causal", "bool", "hidden", "added", "keys", "infinite", "sinks")
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def cases() -> list[tuple[str, str, str]]:
    """(sizes, kind, dtype)"""
    found = [(size, kind, "float32") for size in SIZES for kind in KINDS]
    return found + [("plain", kind, name) for kind in KINDS for name in ("float16", "bfloat16")]


def _mask(kind: str, shape: tuple[int, ...], rng: Any, dtype: mx.Dtype) -> Any:
    batch, heads, length, keys = shape
    if kind in ("causal", "sinks"):
        return "causal"
    if kind == "bool":
        return mx.array(rng.random((length, keys)) < 0.7)
    if kind == "hidden":
        rows = rng.random((batch, 1, length, 1)) < 0.5
        return mx.array(np.broadcast_to(rows, (batch, 1, length, keys)).copy())
    if kind == "added":
        return mx.array(rng.standard_normal((heads, length, keys)).astype(np.float32)).astype(dtype)
    if kind == "keys":
        return mx.array(rng.random((batch, 1, 1, keys)) < 0.8)
    if kind == "infinite":
        mask = np.where(rng.random((length, keys)) < 0.4, -np.inf, 0.0).astype(np.float32)
        mask[:, 0] = 0
        return mx.array(mask).astype(dtype)
    return None


def attend(size: str, kind: str, name: str) -> tuple[mx.array, list[mx.array]]:
    """The result of a case, and the gradients of a weighted sum of it."""
    batch, heads, groups, length, keys, features, value = SIZES[size]
    rng = np.random.default_rng(len(size) + 100 * KINDS.index(kind))
    dtype = DTYPES[name]

    def draw(*shape: int) -> mx.array:
        return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype)

    q = draw(batch, heads, length, features)
    k, v = draw(batch, groups, keys, features), draw(batch, groups, keys, value)
    mask = _mask(kind, (batch, heads, length, keys), rng, dtype)
    sinks = draw(heads) if kind == "sinks" else None
    weights = draw(batch, heads, length, value)

    def run(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(
            q, k, v, scale=features**-0.5, mask=mask, sinks=sinks
        )

    gradient = mx.grad(lambda *x: (run(*x).astype(mx.float32) * weights).sum(), argnums=(0, 1, 2))
    return run(q, k, v), list(gradient(q, k, v))
