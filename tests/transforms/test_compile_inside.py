"""Compiled functions inside transformations: what they recorded is recorded again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlx.core as mx

TIMES = 8


def numbers(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def same(a: Any, b: Any) -> bool:
    return np.array_equal(np.array(a), np.array(b), equal_nan=True)


def cell(x: mx.array, h: mx.array, w: mx.array) -> mx.array:
    for _ in range(9):
        h = mx.tanh(h @ w + x) * mx.sigmoid(h)
    return h


INSIDE: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "grad": lambda f: mx.grad(lambda *a: f(*a).sum(), argnums=(0, 1, 2)),
    "nested": lambda f: mx.grad(lambda *a: mx.grad(lambda *b: (f(*b) ** 2).sum())(*a).sum()),
    "vmap": lambda f: mx.vmap(f, in_axes=(0, 0, None)),
    "compile": lambda f: mx.compile(lambda *a: f(*a) * 2),
    "checkpoint": lambda f: mx.grad(lambda *a: mx.checkpoint(f)(*a).sum(), argnums=(0, 2)),
    "jvp": lambda f: lambda *a: mx.jvp(f, list(a), list(a))[1][0],
}


@pytest.mark.parametrize("name", INSIDE)
def test_same_bits(name: str) -> None:
    args = (numbers(3, 4), numbers(3, 4, seed=1), numbers(4, 4, seed=2))
    wanted = INSIDE[name](cell)(*args)
    compiled = mx.compile(cell)
    for _ in range(TIMES):
        found = INSIDE[name](compiled)(*args)
        pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
        assert all(same(a, b) for a, b in pairs)
    assert compiled.traces >= 1


def test_python_runs_once() -> None:
    ran = []

    @mx.compile
    def function(x: mx.array) -> mx.array:
        ran.append(x.shape)
        return cell(x, x, x.T @ x)

    for step in range(TIMES):
        x = numbers(3, 4, seed=step)
        assert same(
            mx.grad(lambda x: function(x).sum())(x), mx.grad(lambda x: cell(x, x, x.T @ x).sum())(x)
        )
    assert len(ran) == 2


def test_a_value_that_is_read() -> None:
    @mx.compile
    def function(x: mx.array) -> mx.array:
        return x * 2 if x.sum().item() > 0 else x * 3

    for value in (1.0, -1.0, 2.0, -2.0):
        assert mx.grad(lambda x: function(x).sum())(mx.array([value])).item() == (
            2 if value > 0 else 3
        )


def test_constants_that_change_at_each_call() -> None:
    ran = []

    @mx.compile
    def function(x: mx.array, scale: float) -> mx.array:
        ran.append(scale)
        return x * scale

    for step in range(30):
        assert mx.grad(lambda x: function(x, step + 0.25))(mx.array(1.0)).item() == step + 0.25  # noqa: B023
    assert len(ran) == 30


def test_errors_are_those_of_the_function() -> None:
    @mx.compile
    def function(x: mx.array) -> mx.array:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        mx.grad(function)(mx.array(1.0))

    @mx.compile
    def other(x: mx.array) -> mx.array:
        return x @ mx.zeros((3, 3))

    for _ in range(3):
        with pytest.raises(ValueError, match="matmul"):
            mx.grad(lambda x: other(x).sum())(mx.zeros((2, 2)))


def test_state_and_random_numbers() -> None:
    def run(decorate: Callable[..., Any]) -> list[np.ndarray]:
        mx.random.seed(5)
        state = {"count": mx.array(0.0), "last": mx.zeros((3,))}

        @decorate
        def function(x: mx.array) -> mx.array:
            noise = mx.random.uniform(shape=(3,))
            state["count"] = state["count"] + 1
            state["last"] = noise
            return (x * noise).sum() * state["count"]

        found = []
        for step in range(TIMES):
            found.append(np.array(mx.grad(function)(numbers(3, seed=step))))
            found += [np.array(state["count"]), np.array(state["last"])]
        return [*found, np.array(mx.random.uniform(shape=(2,)))]

    plain = run(lambda f: f)
    assert all(map(same, run(mx.compile), plain))
    captured = [mx.random.state]
    assert all(map(same, run(partial(mx.compile, inputs=captured, outputs=captured)), plain))


def test_custom_functions_inside() -> None:
    @mx.custom_function
    def tripled(x: mx.array) -> mx.array:
        return x * 3

    @tripled.vjp
    def _(primal: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        return cotangent * 100

    compiled = mx.compile(lambda x: tripled(x) + 1)
    for _ in range(TIMES):
        assert mx.grad(compiled)(mx.array(1.0)).item() == 100
        assert compiled(mx.array(1.0)).item() == 4
