"""One node for a graph and its gradient: what else is asked of the graph stays what it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.graph import chains
from mlx.primitives.segment import Joined, Segment
from mlx.transforms import repeated

TIMES = 3 * chains.PATIENCE


@pytest.fixture(autouse=True)
def fresh() -> None:
    repeated._known.clear()
    chains.balance.__init__()  # type: ignore[misc]


def numbers(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def is_joined(x: mx.array) -> bool:
    inputs = x._node.inputs
    if not inputs or not isinstance(inputs[0].primitive, Segment):
        return False
    return isinstance(inputs[0].primitive.repeated, Joined)


def leaves(found: Any) -> list[mx.array]:
    if isinstance(found, (list, tuple)):
        return [leaf for one in found for leaf in leaves(one)]
    return [found]


def check(
    function: Callable[..., Any], *args: mx.array, late: bool = False, joined: bool = True
) -> None:
    """The gradient of ``function`` is the same at each of many meetings, and in the end a part
    of a joined node."""
    take = mx.value_and_grad(function, argnums=tuple(range(len(args))))
    wanted: list[np.ndarray] = []
    for _ in range(TIMES):
        found = leaves(take(*args))
        last = is_joined(found[-1])
        if not late:
            mx.eval(found)
        got = [np.array(one) for one in found]
        wanted = wanted or got
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert last is joined


def layers(w: mx.array, x: mx.array) -> mx.array:
    for _ in range(4):
        x = mx.softmax(mx.fast.layer_norm(x @ w, None, None, 1e-5), axis=-1) + x
    return x


@pytest.mark.parametrize("late", [False, True])
def test_value_and_gradient(late: bool) -> None:
    check(lambda w, x: (layers(w, x) ** 2).mean(), numbers(6, 6), numbers(3, 6), late=late)


def test_a_loop_that_is_recorded_as_a_whole() -> None:
    layer = nn.GRU(4, 5)

    def loss(x: mx.array) -> mx.array:
        return (layer(x) ** 2).sum()

    check(loss, numbers(2, 12, 4))


@pytest.mark.parametrize("late", [False, True])
def test_other_results(late: bool) -> None:
    def loss(w: mx.array, x: mx.array) -> tuple[mx.array, ...]:
        y = layers(w, x)
        z = mx.tanh(y).sum(axis=-1)
        return (z * z).sum(), y, z + 1, mx.argmax(y, axis=-1), w.sum()

    check(loss, numbers(6, 6), numbers(3, 6), late=late)


def test_what_is_kept_elsewhere() -> None:
    kept: list[mx.array] = []

    def loss(w: mx.array, x: mx.array) -> mx.array:
        y = layers(w, x)
        kept.append(y.mean(axis=0) * 0.5)  # reads what the loss reads
        kept.append(y)
        return (y * mx.sin(y)).sum()

    take = mx.grad(loss)
    w, x = numbers(6, 6), numbers(3, 6)
    wanted = [np.array(layers(w, x).mean(axis=0) * 0.5), np.array(layers(w, x))]
    for step in range(TIMES):
        kept.clear()
        gradient = take(w, x)
        if step % 2:
            mx.eval(gradient)
        assert all(np.array_equal(np.array(a), b) for a, b in zip(kept, wanted, strict=True))
    assert is_joined(take(w, x))


def test_statistics_of_a_layer() -> None:
    def trained(known: bool) -> list[np.ndarray]:
        mx.random.seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 1))
        model.train()
        take = nn.value_and_grad(model, lambda x: (model(x) ** 2).mean())
        for step in range(TIMES):
            if not known:
                repeated._known.clear()
            _, grads = take(numbers(16, 4, seed=step))
            mx.eval(grads, model.state)
        norm = model.layers[1]
        return [np.array(norm.running_mean), np.array(norm.running_var)]

    assert all(map(np.array_equal, trained(True), trained(False)))


def test_numbers_that_change() -> None:
    w, x = numbers(6, 6), numbers(3, 6)

    def loss(w: mx.array, scale: float) -> mx.array:
        return (layers(w, x) * scale + scale / 3).sum()

    take = mx.value_and_grad(loss)
    for step in range(TIMES):
        scale = [1.25, 2.5, 0.5, 1.0, 0.0, 7.0][step % 6]
        found = [np.array(one) for one in take(w, scale)]
        before = repeated._known.copy()
        repeated._known.clear()
        wanted = [np.array(one) for one in take(w, scale)]
        repeated._known.update(before)
        assert all(map(np.array_equal, found, wanted))


def test_what_is_computed_meanwhile() -> None:
    def loss(w: mx.array, x: mx.array) -> mx.array:
        y = layers(w, x)
        assert np.isfinite(y.sum().item())
        return (layers(w, y) * y).sum()

    check(loss, numbers(6, 6), numbers(3, 6), joined=False)


def test_random_numbers() -> None:
    def drawn(known: bool) -> list[np.ndarray]:
        mx.random.seed(4)
        dropout = nn.Dropout(0.5)
        take = mx.value_and_grad(lambda w, x: (dropout(layers(w, x)) ** 2).sum())
        found = []
        for _ in range(TIMES):
            if not known:
                repeated._known.clear()
            found += [np.array(one) for one in take(numbers(6, 6), numbers(3, 6))]
        return [*found, np.array(mx.random.uniform(shape=(3,)))]

    assert all(map(np.array_equal, drawn(True), drawn(False)))


def test_custom_functions_and_checkpoints() -> None:
    @mx.custom_function
    def doubled(x: mx.array) -> mx.array:
        return mx.softmax(x, axis=-1) * 2

    @doubled.vjp
    def of_doubled(primal: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        return mx.softmax(cotangent, axis=-1) * 3

    def loss(w: mx.array, x: mx.array) -> mx.array:
        y = mx.checkpoint(layers)(w, layers(w, x))
        return (doubled(layers(w, y)) * y).sum()

    check(loss, numbers(6, 6), numbers(3, 6), joined=False)


def test_gradients_of_gradients() -> None:
    def loss(w: mx.array, x: mx.array) -> mx.array:
        return (layers(w, x) ** 3).mean()

    def slope(w: mx.array, x: mx.array) -> mx.array:
        return (mx.grad(loss)(w, x) ** 2).sum() + (layers(w, x) ** 2).sum()

    check(slope, numbers(6, 6), numbers(3, 6))


def test_threads() -> None:
    def loss(w: mx.array, x: mx.array) -> tuple[mx.array, mx.array]:
        y = layers(w, x)
        return (y**2).mean(), y

    w, x = numbers(6, 6), numbers(3, 6)
    mx.eval(w, x)
    take = mx.value_and_grad(loss)
    wanted = [np.array(one) for one in leaves(take(w, x))]
    wrong = []

    def work() -> None:
        for _ in range(40):
            found = [np.array(one) for one in leaves(take(w, x))]
            if not all(map(np.array_equal, found, wanted)):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
