"""vmap: axes, trees, shared arguments, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx


def matrix(rows: int = 2, columns: int = 3) -> Any:
    return mx.array(np.arange(rows * columns, dtype=np.float32).reshape(rows, columns))


def test_axes() -> None:
    m = matrix()
    assert mx.vmap(lambda a: a.sum())(m).tolist() == [3, 12]
    for axis in (1, -1):
        assert mx.vmap(lambda a: a.sum(), in_axes=axis)(m).tolist() == [3, 5, 7]
    for axis in (1, -1):
        assert mx.vmap(lambda a: a, out_axes=axis)(m).shape == (3, 2)


def test_shared_arguments() -> None:
    m, row = matrix(), mx.array([1.0, 2.0, 3.0])
    found = mx.vmap(lambda a, b: (a * b).sum(), in_axes=(0, None))(m, row)
    assert found.tolist() == [8, 26]
    captured = mx.vmap(lambda a: (a * row).sum())(m)
    assert captured.tolist() == [8, 26]
    constant = mx.vmap(lambda a, n: a * n, in_axes=(0, None))(m, 2)
    assert constant.tolist() == (np.array(m) * 2).tolist()


def test_trees() -> None:
    m = matrix()

    def f(p: Any, s: Any) -> Any:
        return {"r": p["a"] * s, "q": [p["b"]]}

    found = mx.vmap(f, in_axes=({"a": 0, "b": None}, None))({"a": m, "b": m}, mx.array(2.0))
    assert found["r"].tolist() == (np.array(m) * 2).tolist()
    assert found["q"][0].shape == (2, 2, 3)
    assert mx.vmap(lambda p: p[0], in_axes=([0, None],))([m, m]).tolist() == m.tolist()
    both = mx.vmap(lambda a: (a, a), out_axes=(0, 1))(m)
    assert [x.shape for x in both] == [(2, 3), (3, 2)]
    shared = mx.vmap(lambda a: (a, mx.ones((2,))), out_axes=(0, None))(m)
    assert shared[1].shape == (2,)


def test_result_without_the_axis() -> None:
    assert mx.vmap(lambda a: mx.array(3.0))(matrix()).tolist() == [3, 3]


def test_empty_batch() -> None:
    assert mx.vmap(lambda a: a * 2)(mx.zeros((0, 3))).shape == (0, 3)


def test_products_with_a_shared_matrix() -> None:
    """They are one product of all examples, whichever operand is shared, and agree with a loop."""
    weight = mx.random.normal((5, 7), key=mx.random.key(0))
    columns = mx.random.normal((6, 7, 1), key=mx.random.key(1))
    rows = mx.random.normal((6, 3, 5), key=mx.random.key(2))
    for function, batch in (
        (lambda x: weight @ x, columns),
        (lambda x: weight @ x[:, 0], columns),
        (lambda x: x @ weight, rows),
        (lambda x: x[0] @ weight, rows),
    ):
        found = mx.vmap(function)(batch)
        expected = mx.stack([function(x) for x in batch])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    total = mx.grad(lambda w: mx.vmap(lambda x: w @ x)(columns).sum())(weight)
    np.testing.assert_allclose(total, mx.ones((5, 1)) @ columns.sum(0).T, rtol=1e-5, atol=1e-5)


def test_nested() -> None:
    a, b = mx.array([1.0, 2.0]), mx.array([10.0, 20.0, 30.0])
    table = mx.vmap(lambda x: mx.vmap(lambda y: x * y)(b))(a)
    assert table.tolist() == [[10, 20, 30], [20, 40, 60]]


def test_gradient_of_each_example() -> None:
    w, m = mx.array([1.0, 2.0, 3.0]), matrix()

    def loss(w: Any, x: Any) -> Any:
        return (w * x).sum() ** 2

    each = mx.vmap(mx.grad(loss), in_axes=(None, 0))(w, m)
    loop = [mx.grad(loss)(w, m[i]).tolist() for i in range(2)]
    assert each.tolist() == loop
    total = mx.grad(lambda w: mx.vmap(loss, in_axes=(None, 0))(w, m).sum())(w)
    assert total.tolist() == np.sum(loop, 0).tolist()


def test_jacobian() -> None:
    def f(x: Any) -> Any:
        return mx.stack([x[0] * x[1], x[1] * x[1]])

    x = mx.array([2.0, 3.0])
    rows = mx.vmap(lambda c: mx.vjp(f, [x], [c])[1][0])(mx.eye(2))
    columns = mx.vmap(lambda t: mx.jvp(f, [x], [t])[1][0], out_axes=1)(mx.eye(2))
    assert rows.tolist() == columns.tolist() == [[3, 2], [0, 6]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: mx.vmap(lambda a: a, in_axes=2)(m), IndexError, r"2.*\(2, 3\)"),
        (lambda m: mx.vmap(lambda a: a, in_axes=-3)(m), IndexError, "-3"),
        (lambda m: mx.vmap(lambda a: a, out_axes=3)(m), IndexError, r"3.*\(3,\)"),
        (lambda m: mx.vmap(lambda a: a)(mx.array(1.0)), IndexError, r"\(\)"),
        (lambda m: mx.vmap(lambda a, b: a)(m, mx.zeros((3, 3))), ValueError, "2 and 3"),
        (lambda m: mx.vmap(lambda a: a, in_axes=None)(m), ValueError, "At least one"),
        (lambda m: mx.vmap(lambda a: a, in_axes=(0, 0))(m), ValueError, "in_axes"),
        (lambda m: mx.vmap(lambda a, b: a, in_axes=(0,))(m, m), ValueError, "in_axes"),
        (lambda m: mx.vmap(lambda a: a, in_axes=0.5), ValueError, "0.5"),
        (lambda m: mx.vmap(lambda a: a, out_axes="x"), ValueError, "'x'"),
        (lambda m: mx.vmap(lambda a: (a, a), out_axes=(0, 0, 0))(m), ValueError, "out_axes"),
        (lambda m: mx.vmap(lambda a: a, out_axes=None)(m), ValueError, "out_axes"),
        (lambda m: mx.vmap(lambda a, b: a)(m, 2.0), ValueError, "float"),
        (lambda m: mx.vmap(lambda a: 3)(m), ValueError, "int"),
        (lambda m: mx.vmap(lambda a: a)(a=m), TypeError, "Keyword"),
        (lambda m: mx.vmap(3), TypeError, "int"),
        (lambda m: mx.vmap(lambda a: a if a.sum() > 0 else -a)(m), ValueError, "vmap.*where"),
        (lambda m: mx.vmap(lambda a: a * a.sum().item())(m), ValueError, "vmap"),
        (lambda m: mx.vmap(lambda a: (mx.eval(a), a)[1])(m), ValueError, "vmap"),
        (lambda m: mx.vmap(lambda a: np.array(a) * a)(m), ValueError, "vmap"),
    ],
)
def test_refusals(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(matrix())


def test_leak() -> None:
    kept: list[Any] = []
    mx.vmap(lambda a: (kept.append(a * 2), a)[1])(matrix())
    with pytest.raises(RuntimeError, match="leaked out of vmap"):
        kept[0].tolist()
    with pytest.raises(RuntimeError, match="leaked out of vmap"):
        mx.eval(kept[0] + 1)
