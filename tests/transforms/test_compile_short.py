"""Short compiled functions between other operations."""

from __future__ import annotations

import mlx.core as mx
from mlx.runtime.execute import counters


@mx.compile
def gated(x: mx.array, gate: mx.array) -> tuple[mx.array, mx.array]:
    return x * mx.sigmoid(gate), gate


def test_they_join_what_is_around_them() -> None:
    x, w = mx.random.normal((4, 8), key=mx.random.key(0)), mx.eye(8) * 0.5
    mx.eval(x, w)
    first, same = gated(x, x)
    mx.eval(first)
    runs = counters["runs"]
    y, gate = gated(x @ w, x + 1)
    mx.eval(y * 2, gate)
    assert counters["runs"] == runs + 1
    expected = x @ w * mx.sigmoid(x + 1) * 2
    assert mx.array_equal(y * 2, expected) and mx.array_equal(gate, x + 1)
    assert mx.array_equal(same, x)


def test_constants_of_the_trace_stay() -> None:
    table = mx.compile(lambda x: x + mx.arange(3) * 2.5)
    x = mx.zeros((3,))
    assert table(x).tolist() == table(x + 1 - 1).tolist() == [0.0, 2.5, 5.0]
