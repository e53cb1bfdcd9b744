"""Samples of attention and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.primitives.attention import HIDDEN, Attention, AttentionGradient
from tests.reference.attention import rows_of
from tests.registry.kinds import Sample
from tests.registry.structured import given, numbers

Sizes = tuple[int, int, int, int, int, int]
"""Queries, keys, heads, groups, features of keys and of values."""


def _operands(
    sizes: Sizes, lead: tuple[int, ...], dtype: dt.Dtype, mask: dt.Dtype | None, sinks: bool
) -> tuple[np.ndarray, ...]:
    length, keys, heads, groups, size, value = sizes
    out = [
        numbers(*lead, length, heads, size, dtype=dtype),
        numbers(*lead, keys, groups, size, dtype=dtype, seed=1),
        numbers(*lead, keys, groups, value, dtype=dtype, seed=2),
    ]
    if mask is dt.bool_:
        out.append(numbers(*lead, heads, length, keys, seed=3) > -1)
    elif mask is not None:
        out.append(numbers(*lead, heads, length, keys, dtype=mask, seed=3))
    if sinks:
        out.append(numbers(*lead, heads, dtype=dtype, seed=4))
    return tuple(out)


CASES: tuple[tuple[Sizes, dict[str, Any]], ...] = (
    ((3, 5, 2, 2, 4, 4), {}),
    ((5, 3, 4, 2, 3, 5), {"causal": True, "lead": (2,)}),
    ((3, 5, 4, 2, 3, 5), {"causal": True, "lead": (2,)}),
    ((2, 7, 2, 1, 6, 2), {"mask": dt.bool_, "lead": (2, 1)}),
    ((3, 4, 2, 1, 5, 3), {"mask": dt.float32, "sinks": True}),
    ((4, 4, 1, 1, 2, 2), {"mask": dt.bool_, "causal": True, "sinks": True}),
    ((1, 9, 4, 1, 5, 3), {"sinks": True}),
    ((1, 1, 1, 1, 1, 1), {}),
    ((0, 3, 2, 1, 2, 2), {}),
    ((35, 19, 2, 1, 9, 17), {"dtype": dt.float64, "causal": True}),
    ((4, 18, 1, 1, 33, 3), {"dtype": dt.float16}),
    ((4, 6, 2, 1, 8, 8), {"dtype": dt.bfloat16, "mask": dt.bfloat16}),
)


def _samples() -> list[tuple[Attention, tuple[np.ndarray, ...]]]:
    out = []
    for number, (sizes, options) in enumerate(CASES):
        causal, mask, sinks = (options.get(n) for n in ("causal", "mask", "sinks"))
        primitive = Attention(0.5 - number / 8, bool(causal), mask is not None, bool(sinks))
        dtype, lead = options.get("dtype", dt.float32), options.get("lead", ())
        out.append((primitive, _operands(sizes, lead, dtype, mask, bool(sinks))))
    return out


@given("Attention")
def _attention() -> list[Sample]:
    return [Sample(primitive, operands) for primitive, operands in _samples()]


@given("AttentionGradient")
def _gradient() -> list[Sample]:
    out = []
    for primitive, operands in _samples():
        q, k, v, *extra = operands
        wide = np.float64 if q.dtype == np.float64 else np.float32
        _, level, sums = (
            x.astype(wide) for x in rows_of(primitive, *(x.astype(wide) for x in operands))
        )
        rng = np.random.default_rng(5)
        cotangent = rng.standard_normal((*q.shape[:-1], v.shape[-1])).astype(q.dtype)
        delta = rng.standard_normal(level.shape).astype(wide)
        masks = extra[:1] if primitive.masked else []
        gradient = AttentionGradient(primitive.scale, primitive.causal, primitive.masked)
        if level.size and level.min() <= HIDDEN:
            continue  # a row sees nothing: steps of finite differences are lost in its level
        out.append(Sample(gradient, (q, k, v, cotangent, level, sums, delta, *masks)))
    return out
