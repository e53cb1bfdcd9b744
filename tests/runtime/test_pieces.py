"""Regions that are evaluated in pieces."""

from __future__ import annotations

import mlx.core as mx
from mlx.graph.node import ancestors
from mlx.runtime import cut
from mlx.runtime.execute import counters


def test_outputs_that_a_later_piece_asks_of_a_node_in_an_earlier_one() -> None:
    """The gradient of attention reads statistics that the forward pass has no reader for."""
    queries = mx.random.normal((1, 2, 8, 16), key=mx.random.key(0))

    def loss(x: mx.array) -> mx.array:
        x = mx.fast.scaled_dot_product_attention(x, x, x, scale=0.3)
        for i in range(2500):
            x = x + mx.sin(x) * (1e-5 * i)
        return x.sum()

    value, gradient = mx.value_and_grad(loss)(queries)
    mx.eval(value, gradient)
    expected = mx.compile(mx.grad(loss))(queries)
    assert mx.array_equal(gradient, expected)


def test_a_long_region_that_comes_back_is_evaluated_in_one() -> None:
    """In pieces at first, as one program from the second time on, with the same bits."""

    def run() -> tuple[mx.array, int]:
        x = mx.arange(64, dtype=mx.float32) / 64
        for i in range(3000):
            x = mx.sin(x) * 1.01 + (x if i % 7 else mx.cos(x))
        before = counters["runs"]
        mx.eval(x)
        return x, counters["runs"] - before

    found = [run() for _ in range(3)]
    assert [runs for _, runs in found[1:]] == [1, 1] and found[0][1] > 1
    assert all(mx.array_equal(found[0][0], x) for x, _ in found)


def test_an_unrolled_loop_of_another_length_is_evaluated_in_pieces() -> None:
    """Few different ones, until it has come back often; with the same bits, and whole again where
    only its sizes are others."""
    weight = mx.random.normal((4, 4), key=mx.random.key(3))

    def run(steps: int, rows: int = 2) -> tuple[mx.array, int]:
        x = mx.random.normal((rows, steps, 4), key=mx.random.key(steps))

        def loss(w: mx.array) -> mx.array:
            h, total = mx.zeros((rows, 4)), mx.array(0.0)
            for i in range(steps):
                h = mx.tanh(h @ w + x[:, i]) * mx.sigmoid(x[:, i])
                total = total + (h * h).sum()
            return total

        values = mx.value_and_grad(loss)(weight)
        mx.eval(x)
        before = counters["runs"], counters["programs"]
        mx.eval(values)
        made.append(counters["programs"] - before[1])
        return mx.concatenate([v.reshape(-1) for v in values]), counters["runs"] - before[0]

    made: list[int] = []
    assert [run(40, rows)[1] for rows in (1, 2, 3, 4)] == [1] * 4
    first = [run(steps) for steps in (41, 57, 73)]
    assert all(runs > 2 for _, runs in first) and made[-1] < first[-1][1]
    for _ in range(cut.MEETINGS - 1):
        assert mx.array_equal(run(41)[0], first[0][0])
    value, runs = run(41)
    assert runs == 1 and mx.array_equal(value, first[0][0])


def test_a_compiled_loop_of_another_length_gives_what_it_gives_uncompiled() -> None:
    def loss(w: mx.array, x: mx.array) -> mx.array:
        h, outputs = mx.zeros((2, 4)), []
        for i in range(x.shape[1]):
            h = mx.sigmoid(h @ w + x[:, i]) * mx.cos(h)
            outputs.append(h)
        return mx.stack(outputs).square().sum() + x.shape[1]

    compiled = mx.compile(mx.value_and_grad(loss))
    weight = mx.random.normal((4, 4), key=mx.random.key(3))
    runs = []
    for steps in (40, 40, 47, 61, 47, *[75] * (cut.MEETINGS + 1)):
        x = mx.random.normal((2, steps, 4), key=mx.random.key(steps))
        expected = mx.value_and_grad(loss)(weight, x)
        mx.eval(x, expected)
        before = counters["runs"]
        found = compiled(weight, x)
        mx.eval(found)
        runs.append(counters["runs"] - before)
        assert all(mx.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert min(runs[3:-1]) > 2 and runs[-1] == 1


def test_weights_that_are_turned_at_each_step_sum_their_gradients_as_they_come() -> None:
    x, w = mx.random.normal((3, 4)), mx.random.normal((4, 4))

    def loss(w: mx.array) -> mx.array:
        h = x
        for _ in range(5):
            h = mx.tanh(h @ w.T)
        return h.sum()

    gradient = mx.grad(loss)(w)
    turned = mx.grad(lambda v: loss(v.T))(mx.array(w.T))
    assert mx.allclose(gradient, turned.T, rtol=1e-5)
    kinds = [kernel.kind for kernel in mx.explain(mx.grad(loss), w).kernels]
    assert "staged" not in kinds


def test_what_is_left_of_a_loop_is_no_part_of_what_follows() -> None:
    """So what follows is one piece however often the loop was repeated."""
    tail = [
        mx.tan, mx.exp, mx.log, mx.sqrt, mx.abs, mx.tanh, mx.sigmoid, mx.floor, mx.ceil, mx.square,
        mx.rsqrt, mx.erf, mx.log1p, mx.expm1, mx.sinh, mx.cosh, mx.arctan, mx.arcsinh, mx.negative,
    ]  # fmt: skip
    ends = set()
    for steps in (150, 157, 163):
        x = mx.arange(8, dtype=mx.float32)
        mx.eval(x)
        for _ in range(steps):
            x = mx.sin(x) + mx.cos(x)
        for function in tail:
            x = function(x)
        order = [node for node in ancestors([x._node]) if node.data is None]
        *_, last = (len(piece) for piece in cut.pieces(order, cut.STRETCH))
        ends.add(last)
    assert len(ends) == 1 and last < len(tail) + 3
