"""vjp and jvp: lists in, lists out."""

from __future__ import annotations

from typing import Any

import pytest

import mlx.core as mx


def vec(*values: float) -> Any:
    return mx.array(list(values), mx.float32)


def lists(pair: Any) -> Any:
    return tuple([a.tolist() for a in part] for part in pair)


def test_vjp() -> None:
    x, y = vec(1, 2), vec(3, 4)
    assert lists(mx.vjp(lambda a: a * 2, [x], [y])) == ([[2, 4]], [[6, 8]])
    outputs, products = mx.vjp(lambda a, b: (a * b, a + b), (x, y), (vec(1, 1), vec(0, 1)))
    assert lists((outputs, products)) == ([[3, 8], [4, 6]], [[3, 5], [1, 3]])
    assert isinstance(outputs, list) and isinstance(products, list)


def test_jvp() -> None:
    x, y = vec(1, 2), vec(3, 4)
    assert lists(mx.jvp(lambda a: a * a, [x], [y])) == ([[1, 4]], [[6, 16]])
    assert lists(mx.jvp(lambda a, b: [a * b, b], [x, y], [vec(1, 0), vec(0, 1)])) == (
        [[3, 8], [3, 4]],
        [[3, 2], [0, 1]],
    )


def test_outputs_that_do_not_depend() -> None:
    x = vec(1, 2)
    assert lists(mx.jvp(lambda a: mx.zeros((3,)), [x], [x]))[1] == [[0, 0, 0]]
    assert lists(mx.vjp(lambda a: mx.ones((1,)), [x], [vec(1)]))[1] == [[0, 0]]


def test_directions_are_cast() -> None:
    x = vec(1, 2)
    for transform in (mx.jvp, mx.vjp):
        product = transform(lambda a: a * 2, [x], [mx.array([1, 2])])[1][0]
        assert product.dtype == mx.float32 and product.tolist() == [2, 4]


def test_integer_outputs() -> None:
    x = vec(1.5, 2.5)
    outputs, products = mx.jvp(lambda a: a.astype(mx.int32), [x], [x])
    assert outputs[0].tolist() == [1, 2] and products[0].tolist() == [1, 2]
    assert lists(mx.vjp(lambda a: a.astype(mx.int32), [x], [x]))[1] == [[1, 2]]


def test_values_inside() -> None:
    def f(x: Any) -> Any:
        return x * x if x.sum().item() > 0 else -x

    assert lists(mx.jvp(f, [vec(1, 2)], [vec(1, 1)]))[1] == [[2, 4]]
    assert lists(mx.vjp(f, [vec(-1, -2)], [vec(1, 1)]))[1] == [[-1, -1]]


def test_forward_over_reverse() -> None:
    def f(x: Any) -> Any:
        return (x * x * x).sum()

    assert lists(mx.jvp(mx.grad(f), [vec(1, 2)], [vec(1, 10)]))[1] == [[6, 120]]
    assert mx.grad(lambda x: mx.jvp(f, [x], [x])[1][0])(vec(1, 2)).tolist() == [9, 36]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: mx.vjp(lambda a: a, [x], [x, x]), ValueError, r"\(1\).*\(2\)"),
        (lambda x: mx.vjp(lambda a: (a, a), [x], [x]), ValueError, r"\(2\).*\(1\)"),
        (lambda x: mx.vjp(lambda a: a, [x], [vec(1, 2, 3)]), ValueError, r"\(3,\).*\(2,\)"),
        (lambda x: mx.vjp(lambda a: 3, [x], [x]), ValueError, "int"),
        (lambda x: mx.vjp(lambda a: [a, None], [x], [x]), ValueError, "NoneType"),
        (lambda x: mx.vjp(lambda a: a, x, [x]), TypeError, "primals"),
        (lambda x: mx.vjp(lambda a: a, [3.0], [x]), TypeError, "primals"),
        (lambda x: mx.vjp(lambda a: a, [x], x), TypeError, "cotangents"),
        (lambda x: mx.vjp(1, [x], [x]), TypeError, "function"),
        (lambda x: mx.jvp(lambda a: a, [x], [x, x]), ValueError, r"\(1\).*\(2\)"),
        (lambda x: mx.jvp(lambda a: a, [x], [vec(1)]), ValueError, r"\(1,\).*\(2,\)"),
        (lambda x: mx.jvp(lambda a: a, [x], [None]), TypeError, "tangents"),
        (lambda x: mx.jvp(lambda a: a, x, x), TypeError, "primals"),
    ],
)
def test_refusals(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(vec(1, 2))


def test_cotangents_that_are_computed_transposes_are_added() -> None:
    first, second = (mx.arange(6.0).reshape(2, 3) * n for n in (1, 2))
    first, second = first.T, second.T
    mx.eval(first, second)

    def twice(x: mx.array) -> list[mx.array]:
        y = x * 2
        return [y, y]

    _, (found,) = mx.vjp(twice, [mx.ones((3, 2))], [first, second])
    assert mx.array_equal(found, 2 * (first + second)).item()
