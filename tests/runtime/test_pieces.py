"""Regions that are evaluated in pieces."""

from __future__ import annotations

import mlx.core as mx


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
