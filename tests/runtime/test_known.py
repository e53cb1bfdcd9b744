"""Regions recognised by code written for them give what a walk gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.runtime import known, team


def often(step: Callable[[], Any], times: int = 3 * known.PATIENCE) -> list[Any]:
    return [step() for _ in range(times)]


@pytest.fixture(autouse=True)
def _afresh() -> None:
    known._known.clear()


def found(record: Callable[[], mx.array]) -> bool:
    """Recorded by a function, since an assertion keeps what it computes on its way."""
    value = record()
    return known.find([value._node]) is not None


def test_a_region_is_known_after_some_meetings() -> None:
    x, y = mx.arange(4.0), mx.ones(4)
    mx.eval(x, y)
    assert not found(lambda: x * 3.5 + y)
    assert set(map(str, often(lambda: (x * 3.5 + y).tolist()))) == {"[1.0, 4.5, 8.0, 11.5]"}
    assert found(lambda: x * 3.5 + y)
    assert found(lambda: x * 7.25 + y) and (x * 7.25 + y).tolist() == [1.0, 8.25, 15.5, 22.75]


def test_what_differs_is_not_taken_for_it() -> None:
    x, y = mx.arange(4.0), mx.ones(4)
    mx.eval(x, y)
    often(lambda: mx.eval(x * 3.5 + y))
    assert not found(lambda: x * 2.0 + y)  # a literal: other code
    assert not found(lambda: x * 3.5 + x)  # one leaf in place of two
    assert not found(lambda: x[:3] * 3.5 + y[:3])
    assert not found(lambda: x * 3.5 + y.astype(mx.float16).astype(mx.float32))
    assert not found(lambda: x + x)
    z = x * 3.5
    assert not found(lambda: z + y)  # what is between is wanted too
    assert (z + y).tolist() == [1.0, 4.5, 8.0, 11.5] and z.tolist() == [0.0, 3.5, 7.0, 10.5]
    with_threads = mx.array([1.0, 2.0, 3.0, 4.0])
    assert ((with_threads * 3.5) + y).tolist() == [4.5, 8.0, 11.5, 15.0]


def test_operands_that_are_one() -> None:
    x = mx.arange(3.0)
    mx.eval(x)
    assert often(lambda: (mx.exp(x) + x * x).tolist())[-1] == (mx.exp(x) + x * x).tolist()
    y = mx.ones(3)
    mx.eval(y)
    np.testing.assert_allclose((mx.exp(x) + y * x).tolist(), np.exp(range(3)) + range(3), rtol=1e-6)


def test_equal_and_different_numbers() -> None:
    x = mx.arange(3.0)
    mx.eval(x)
    often(lambda: mx.eval(x * 3.5 + 7.25))
    assert (x * 3.5 + 3.5).tolist() == [3.5, 7.0, 10.5]
    assert (x * 7.25 + 3.5).tolist() == [3.5, 10.75, 18.0]
    assert (x * float("inf") + 7.25).tolist()[1:] == [float("inf")] * 2


def test_several_roots_and_values_wanted_on_the_way() -> None:
    x, y = mx.arange(3.0), mx.ones(3)
    mx.eval(x, y)

    def step() -> tuple[list[Any], ...]:
        a = x + y
        b, c = a * y, a - x
        mx.eval(b, c)
        return a.tolist(), b.tolist(), c.tolist()

    assert often(step)[-1] == step() == ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])


def test_memory_is_taken_over_only_where_nobody_else_has_it() -> None:
    kept = []
    x = mx.zeros((64, 64))
    mx.eval(x)
    for i in range(4 * known.PATIENCE):
        x[i] = mx.full((64,), float(i + 1))
        mx.eval(x)
        if i % 3 == 0:
            kept.append((i, x + 0.0 if i % 2 else mx.array(x)))
    for i, old in kept:
        assert old[i].tolist() == [float(i + 1)] * 64 and not old[i + 1 :].any().item()
    shared = np.asarray(x.__array_interface__ and mx.array(x))
    assert shared[3, 0] == 4.0


def test_bad_indices_fail_and_leave_the_operands() -> None:
    x = mx.arange(10.0)
    good, bad = mx.array([1, 2]), mx.array([1, 20])
    mx.eval(x, good, bad)
    assert often(lambda: x[good].tolist())[-1] == [1.0, 2.0]
    wrong = x[bad]
    for _ in range(2):
        with pytest.raises(IndexError):
            mx.eval(wrong)
    assert x[good].tolist() == [1.0, 2.0]


def test_inside_transformations() -> None:
    x = mx.array([1.0, 2.0])
    mx.eval(x)
    often(lambda: mx.eval((x * x).sum()))

    def loss(x: mx.array) -> mx.array:
        y = (x * x).sum()
        mx.eval(y)
        return y * 0.5 + y * 0.5

    assert mx.grad(loss)(x).tolist() == [2.0, 4.0]
    w = mx.array([3.0, 4.0])

    def evaluates(x: mx.array) -> mx.array:
        mx.eval((w * w).sum())
        return (x * w).sum()

    assert mx.grad(evaluates)(x).tolist() == [3.0, 4.0]


def test_other_numbers_of_threads() -> None:
    x = mx.arange(8.0)
    mx.eval(x)
    often(lambda: mx.eval(x + x))
    with team.threads(1):
        assert not found(lambda: x + x)
        assert (x + x).tolist() == [2.0 * i for i in range(8)]
