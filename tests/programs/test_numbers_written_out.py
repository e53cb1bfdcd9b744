"""Numbers that are results themselves: what else needs them reads them when they are there."""

import numpy as np

import mlx.core as mx


def test_a_gradient_step_whose_parts_stay_referenced() -> None:
    x = mx.arange(300).reshape(100, 3) / 300
    y = x @ mx.array([1.0, -2.0, 0.5])
    w, rate = mx.zeros(3), mx.array(0.1)
    loss, slope = mx.value_and_grad(lambda w: ((x @ w - y) ** 2).mean())(w)
    moved = w - rate * slope
    mx.eval(moved)
    a, b = np.array(x, np.float64), np.array(y, np.float64)
    np.testing.assert_allclose(moved, 0.1 * 2 / 100 * a.T @ b, 1e-4)
    np.testing.assert_allclose(loss.item(), (b**2).mean(), 1e-4)


def test_kept_constants_of_an_epilogue() -> None:
    for keep in range(8):
        a, b = mx.ones((40, 30)), mx.ones((30, 20))
        parts = [mx.full((), 3.0), mx.full((), 4.0), mx.full((), 5.0)]
        c = parts[0] * parts[1]
        d = c + parts[2]
        out = (a @ b) * d - c
        wanted = [p for i, p in enumerate([*parts, c, d]) if keep >> i & 1]
        mx.eval(out, *wanted)
        assert np.array_equal(out, np.full((40, 20), 30.0 * 17 - 12))
        assert [p.item() for p in wanted] == [
            v for i, v in enumerate([3.0, 4.0, 5.0, 12.0, 17.0]) if keep >> i & 1
        ]
