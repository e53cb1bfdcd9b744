"""Derivative rules that are worked out once: what is repeated is what the rule records anew."""

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
from mlx.transforms import derivatives

FUNCTIONS: dict[str, Callable[[mx.array, mx.array], mx.array]] = {
    "same operand twice": lambda x, y: (x * x + y * x).sum(),
    "powers": lambda x, y: (x**2 + x**3.5 + x**y).sum(),
    "products": lambda x, y: mx.tanh(x @ y.T).sum(),
    "slices": lambda x, y: (x[1:] * y[:-1] + x[:-1]).max(axis=0).sum(),
    "rows": lambda x, y: (x[mx.array([2, 0, 0])] - mx.softmax(y, axis=0)[:3]).square().sum(),
    "joined": lambda x, y: mx.concatenate([x, y.reshape(-1, 3), x], axis=0).prod(axis=1).sum(),
    "mixed dtypes": lambda x, y: (x.astype(mx.float16) * y).astype(mx.float32).sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_repeated_rules_record_the_same(name: str) -> None:
    gradient = mx.grad(FUNCTIONS[name], argnums=(0, 1))
    for turn in range(12):
        x, y = (mx.abs(mx.random.normal((4, 3), key=mx.random.key(turn + i))) for i in (0, 50))
        repeated = [np.array(g) for g in gradient(x, y)]
        kept = dict(derivatives._rules)
        derivatives._rules.clear()
        anew = [np.array(g) for g in gradient(x, y)]
        derivatives._rules.update(kept)
        for a, b in zip(repeated, anew, strict=True):
            np.testing.assert_array_equal(a, b)
