"""grad and value_and_grad: what they take, return and refuse."""

from __future__ import annotations

import threading
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.graph import trace


def vec(*values: float) -> Any:
    return mx.array(list(values), mx.float32)


def product(x: Any, y: Any) -> Any:
    return (x * y).sum()


def test_first_argument_by_default() -> None:
    assert mx.grad(product)(vec(1, 2), vec(3, 4)).tolist() == [3, 4]


def test_argnums() -> None:
    x, y = vec(1, 2), vec(3, 4)
    assert mx.grad(product, argnums=1)(x, y).tolist() == [1, 2]
    first, second = mx.grad(product, argnums=(1, 0))(x, y)  # in the order of the arguments
    assert (first.tolist(), second.tolist()) == ([3, 4], [1, 2])
    assert mx.grad(product, argnums=[0])(x, y).tolist() == [3, 4]


def test_argnames() -> None:
    x, y = vec(1, 2), vec(3, 4)
    nothing, named = mx.grad(product, argnames="y")(x, y=y)
    assert nothing is None and named["y"].tolist() == [1, 2]
    first, named = mx.grad(product, argnums=0, argnames=["y"])(x, y=y)
    assert first.tolist() == [3, 4] and list(named) == ["y"]


def test_trees() -> None:
    params = {"w": [vec(1, 2), (vec(3, 4),)], "unused": mx.zeros((2, 3), mx.float16)}

    def loss(p: Any, n: int) -> Any:
        return (p["w"][0] * p["w"][1][0]).sum() * n

    value, gradient = mx.value_and_grad(loss)(params, 2)
    assert value.item() == 22
    assert gradient["w"][0].tolist() == [6, 8] and gradient["w"][1][0].tolist() == [2, 4]
    zeros = gradient["unused"]
    assert zeros.shape == (2, 3) and zeros.dtype == mx.float16 and not zeros.sum().item()


def test_containers_keep_their_type() -> None:
    pair = namedtuple("pair", "a b")

    def loss(p: Any) -> Any:
        assert type(p) is pair
        return (p.a * p.b).sum()

    assert mx.grad(loss)(pair(vec(1), vec(2))).a.tolist() == [2]
    seen: list[type] = []
    mx.grad(lambda p: (seen.append(type(p)), p["a"].sum())[1])(OrderedDict(a=vec(1)))
    assert seen == [OrderedDict]


def test_auxiliary_outputs() -> None:
    def loss(x: Any) -> Any:
        return x.sum(), x * 2, "text", [3]

    (value, double, text, numbers), gradient = mx.value_and_grad(loss)(vec(1, 2))
    assert (value.item(), double.tolist(), text, numbers) == (3, [2, 4], "text", [3])
    assert gradient.tolist() == [1, 1]


def test_control_flow_on_values() -> None:
    def f(x: Any) -> Any:
        total = x
        while total.item() < 100:
            total = total * x
        return total if total > 0 else -total

    value, slope = mx.value_and_grad(f)(mx.array(3.0))
    assert value.item() == 243 and slope.item() == 5 * 81


def test_evaluation_inside_keeps_history_until_the_end() -> None:
    kept = []

    def f(x: Any) -> Any:
        y = x * x
        mx.eval(y)
        kept.append(y)
        return (y * x).sum()

    assert mx.grad(f)(vec(2, 3)).tolist() == [12, 27]
    assert kept[0]._node.inputs == ()


def test_higher_orders() -> None:
    def f(x: Any) -> Any:
        return x * x * x * x

    x = mx.array(2.0)
    assert mx.grad(mx.grad(f))(x).item() == 48
    assert mx.grad(mx.grad(mx.grad(f)))(x).item() == 48
    assert mx.grad(mx.grad(mx.grad(mx.grad(f))))(x).item() == 24


def test_inner_gradient_sees_outer_variables() -> None:
    def outer(x: Any) -> Any:
        return x * mx.grad(lambda y: x * y * y)(x)  # 2 x^3 as a function of x

    assert mx.grad(outer)(mx.array(3.0)).item() == 54


def test_levels_are_not_confused() -> None:
    def f(x: Any) -> Any:
        return mx.grad(lambda y: x)(x) + x  # the inner derivative is 0

    assert mx.grad(f)(mx.array(3.0)).item() == 1


def test_stop_gradient() -> None:
    x = vec(2, 3)
    assert mx.grad(lambda a: (a * mx.stop_gradient(a)).sum())(x).tolist() == [2, 3]
    assert mx.jvp(lambda a: a * mx.stop_gradient(a), [x], [vec(1, 1)])[1][0].tolist() == [2, 3]


def test_same_array_twice() -> None:
    x = vec(1, 2)
    both = mx.grad(product, argnums=(0, 1))(x, x)
    assert [g.tolist() for g in both] == [[1, 2], [1, 2]]


def test_changes_inside_stay_inside() -> None:
    def f(x: Any) -> Any:
        y = x
        y += 1
        return (y * y).sum()

    x = vec(1, 2)
    assert mx.grad(f)(x).tolist() == [4, 6] and x.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: mx.grad(lambda a: a)(x), ValueError, "scalar"),
        (lambda x: mx.grad(lambda a: a.sum().reshape(1, 1))(x), ValueError, r"\(1, 1\)"),
        (lambda x: mx.grad(lambda a: 3.0)(x), ValueError, "float"),
        (lambda x: mx.grad(lambda a: None)(x), ValueError, "NoneType"),
        (lambda x: mx.grad(lambda a: (a.sum(), 1))(x), ValueError, "tuple"),
        (lambda x: mx.value_and_grad(lambda a: [a.sum()])(x), ValueError, "list"),
        (lambda x: mx.value_and_grad(lambda a: ())(x), ValueError, "empty tuple"),
        (lambda x: mx.value_and_grad(lambda a: (1.0, a.sum()))(x), ValueError, "float"),
        (lambda x: mx.value_and_grad(lambda a: (a, a.sum()))(x), ValueError, r"\(2,\)"),
        (lambda x: mx.grad(product, argnums=1)(x), ValueError, "only 1 positional"),
        (lambda x: mx.grad(product, argnums=-1), ValueError, "negative argument index -1"),
        (lambda x: mx.grad(product, argnums=[0, 0]), ValueError, "Duplicate argument index 0"),
        (lambda x: mx.grad(product, argnums=[]), ValueError, "no argument"),
        (lambda x: mx.grad(product, argnums=1.5), TypeError, "argnums"),
        (lambda x: mx.grad(product, argnames=3), TypeError, "argnames"),
        (lambda x: mx.grad(product, argnames="z")(x, y=x), ValueError, "'z'.*y"),
        (lambda x: mx.grad(product, argnames="y")(x, x), ValueError, "'y'"),
        (lambda x: mx.grad(lambda a: x.sum())(3.0), ValueError, "float"),
        (lambda x: mx.grad(lambda a: x.sum())({"a": x, "b": "s"}), ValueError, "str"),
        (lambda x: mx.grad(lambda a: x.sum())({}), ValueError, "no arrays"),
        (lambda x: mx.grad(3), TypeError, r"\[grad\].*int"),
    ],
)
def test_refusals(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(vec(1, 2))
    assert not trace.active() and not trace.any_open()


def test_exceptions_leave_nothing_behind() -> None:
    def bad(x: Any) -> Any:
        raise KeyError("inside")

    for transform in (mx.grad, mx.compile, mx.vmap, mx.checkpoint, mx.value_and_grad):
        with pytest.raises(KeyError):
            transform(lambda x: mx.grad(bad)(x))(vec(1))
        assert not trace.active() and not trace.any_open()


def test_threads_are_independent() -> None:
    failures: list[Any] = []

    def work(seed: int) -> None:
        for i in range(20):
            x = mx.array(float(seed + i))
            slope = mx.grad(lambda a: mx.grad(lambda b: b * b * b)(a) * a)(x).item()
            if slope != 9 * (seed + i) ** 2:
                failures.append((seed, i, slope))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def chain(length: int) -> Any:
    def f(x: Any) -> Any:
        y = x
        for _ in range(length):
            y = y * 0.5 + x
        return y

    return mx.value_and_grad(f)(mx.array(1.0))


def test_long_chain() -> None:
    """No recursion anywhere, in recording, walking and freeing."""
    value, slope = chain(200)
    assert np.isclose(value.item(), 2) and np.isclose(slope.item(), 2)
    chain(100_000)


def test_integers_among_floats() -> None:
    tree = {"w": vec(1, 2), "steps": mx.array([3, 4])}
    gradient = mx.grad(lambda p: (p["w"] * p["steps"]).sum())(tree)
    assert gradient["w"].tolist() == [3, 4]
    assert gradient["steps"].dtype == mx.int32 and gradient["steps"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda x: (x * x).sum(), [2, 4, 6]),
        (lambda x: (x * 2.5).sum(), [2, 2, 2]),
        (lambda x: (x**2).sum(), [2, 4, 6]),
        (lambda x: (2**x).sum(), [1, 2, 5]),
        (lambda x: (x // 2).sum(), [0, 0, 0]),
        (lambda x: (x / 2).sum(), [0, 0, 0]),
        (lambda x: (x % 2).sum(), [1, 1, 1]),
        (lambda x: (x & 3).sum(), [0, 0, 0]),
        (lambda x: mx.max(x), [0, 0, 1]),
        (lambda x: mx.prod(x), [6, 3, 2]),
        (lambda x: mx.cumprod(x).sum(), [9, 4, 2]),
        (lambda x: mx.cummax(x).sum(), [1, 1, 1]),
        (lambda x: mx.sort(x)[0], [1, 0, 0]),
        (lambda x: x[mx.array([0, 0])].sum(), [2, 0, 0]),
        (lambda x: x.at[0].add(x[1]).sum(), [1, 2, 1]),
        (lambda x: x.at[0].multiply(x[1]).sum(), [2, 2, 1]),
        (lambda x: mx.where(x > 1, x, 0).sum(), [0, 1, 1]),
        (lambda x: x.all(), [0, 0, 0]),
        (lambda x: mx.array(3), [0, 0, 0]),
    ],
)
def test_integers(loss: Any, expected: list[int]) -> None:
    """Derivatives have the dtype of what they belong to, and are rounded to it."""
    gradient = mx.grad(loss)(mx.array([1, 2, 3]))
    assert gradient.dtype == mx.int32 and gradient.tolist() == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda x: x.astype(mx.int32).sum(), [1, 1, 1]),
        (lambda x: (x.astype(mx.int32) * x).sum(), [2, -4, 6]),
        (lambda x: (x.astype(mx.bool_) * x).sum(), [2, 2, 2]),
        (lambda x: (x.astype(mx.int32) << 1).sum(), [0, 0, 0]),
        (lambda x: (x > 0).sum(), [0, 0, 0]),
        (lambda x: (x > 0).any(), [0, 0, 0]),
        (lambda x: mx.argmax(x), [0, 0, 0]),
        (lambda x: mx.argsort(x)[0] * 1.0, [0, 0, 0]),
        (lambda x: mx.floor(x).sum(), [0, 0, 0]),
        (lambda x: mx.stop_gradient(x).astype(mx.int32).sum(), [0, 0, 0]),
    ],
)
def test_through_integers(loss: Any, expected: list[float]) -> None:
    """Casts pass derivatives; comparisons, positions and bits don't."""
    gradient = mx.grad(loss)(vec(1.5, -2.25, 3.75))
    assert gradient.dtype == mx.float32 and gradient.tolist() == expected


def test_products_with_integers() -> None:
    x, i = vec(1.5, -2.25), mx.array([1, 2])
    assert mx.jvp(lambda a: a * a, [i], [i])[1][0].tolist() == [2, 8]
    assert mx.jvp(lambda a: a.astype(mx.int32), [x], [x])[1][0].tolist() == [1, -2]
    assert mx.vjp(lambda a: a.astype(mx.int32), [x], [i])[1][0].tolist() == [1, 2]
    assert mx.grad(mx.grad(lambda a: a * a * a))(mx.array(3)).item() == 18
    assert mx.vmap(mx.grad(lambda a: a * a))(i).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("scan", "options", "values", "expected"),
    [
        (mx.cummax, {}, (2, 2, 3, 3), [1, 10, 100, 1000]),
        (mx.cummax, {"reverse": True}, (3, 1, 3, 2), [1, 0, 110, 1000]),
        (mx.cummin, {"inclusive": False}, (1, 2, 1, 2), [110, 0, 1000, 0]),
    ],
)
def test_cumulative_extrema_give_to_the_last_of_equals(
    scan: Any, options: Any, values: Any, expected: Any
) -> None:
    weights = vec(1, 10, 100, 1000)
    gradient = mx.grad(lambda x: (scan(x, **options) * weights).sum())(vec(*values))
    assert gradient.tolist() == expected
