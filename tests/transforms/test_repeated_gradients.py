"""Gradients of graphs that were met before: the same, whoever asks for which of them when."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.primitives.segment import Segment
from mlx.transforms import repeated

TIMES = 5


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No gradient is known."""
    repeated._known.clear()


def unknown(fun: Callable[[], Any]) -> Any:
    """What a function gives when nothing is repeated."""
    repeated._known.clear()
    found = fun()
    repeated._known.clear()
    return found


def deep(w: mx.array, x: mx.array, scale: float = 1.5) -> mx.array:
    for _ in range(12):
        x = mx.tanh(x @ w) * scale + x
    return (x * x).mean()


def arrays(seed: int = 0) -> tuple[mx.array, mx.array]:
    keys = mx.random.split(mx.random.key(seed))
    w, x = mx.random.normal((6, 6), key=keys[0]), mx.random.normal((3, 6), key=keys[1])
    mx.eval(w, x)
    return w, x


def is_segment(x: mx.array) -> bool:
    inputs = x._node.inputs
    return bool(inputs) and inputs[0].dtype is None and inputs[0].primitive.family == "segment"


def same(a: Any, b: Any) -> bool:
    return np.array_equal(np.array(a), np.array(b), equal_nan=True)


def repeated_gradients(count: int = TIMES) -> tuple[mx.array, mx.array, mx.array]:
    """Value and gradients at a meeting when they are a segment."""
    w, x = arrays()
    function = mx.value_and_grad(deep, argnums=(0, 1))
    for _ in range(count):
        value, (of_w, of_x) = function(w, x)
        mx.eval(value, of_w, of_x)
    value, (of_w, of_x) = function(w, x)
    assert is_segment(of_w) and is_segment(of_x)
    return value, of_w, of_x


def expected() -> list[mx.array]:
    def once() -> list[mx.array]:
        value, (of_w, of_x) = mx.value_and_grad(deep, argnums=(0, 1))(*arrays())
        mx.eval(value, of_w, of_x)
        return [value, of_w, of_x]

    return unknown(once)


def test_all_at_once() -> None:
    wanted = expected()
    found = repeated_gradients()
    mx.eval(*found)
    assert all(map(same, found, wanted))


def test_a_region_met_before_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    mx.eval(*repeated_gradients(), *repeated_gradients())
    found = repeated_gradients()
    monkeypatch.delattr(Segment, "expand")
    mx.eval(*found)
    assert all(map(same, found, expected()))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_one_before_the_others(first: int) -> None:
    wanted = expected()
    found = repeated_gradients()
    mx.eval(found[first])
    assert all(map(same, found, wanted))


def test_some_are_dropped() -> None:
    wanted = expected()
    for _ in range(3):
        value, of_w, of_x = repeated_gradients()
        del of_w
        mx.eval(of_x)
        assert same(of_x, wanted[2]) and same(value, wanted[0])


def test_used_before_and_behind() -> None:
    value, of_w, of_x = expected()
    wanted = (of_w * of_w).sum() + of_x.sum() * value
    for _ in range(4):
        value, of_w, of_x = repeated_gradients(3)
        assert same((of_w * of_w).sum() + of_x.sum() * value, wanted)


@pytest.mark.parametrize("late", [False, True])
def test_numbers_that_change(late: bool) -> None:
    w, x = arrays()
    function = mx.grad(deep)
    scales = [1.1, 1.2, 1.3, 1.4, 1.5, 2.0, 0.5, 1.0]
    found = []
    for scale in scales:
        found.append(function(w, x, scale) * scale)
        if not late:
            mx.eval(found[-1])
    for scale, one in zip(scales, found, strict=True):
        assert same(one, unknown(lambda scale=scale: np.array(function(w, x, scale) * scale)))


def test_steps_of_training_are_those_of_compiled_ones() -> None:
    def train(compiled: bool) -> list[mx.array]:
        mx.random.seed(3)
        model = nn.Sequential(
            nn.Linear(5, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(),
            nn.Linear(16, 1),
        )  # fmt: skip
        optimizer = optim.AdamW(1e-2)
        x, y = mx.random.normal((8, 5)), mx.random.normal((8, 1))
        gradient = nn.value_and_grad(model, lambda x, y: nn.losses.mse_loss(model(x), y))

        def step(x: mx.array, y: mx.array) -> mx.array:
            loss, grads = gradient(x, y)
            optimizer.update(model, grads)
            return loss

        state = [model.state, optimizer.state]
        call = mx.compile(step, inputs=state, outputs=state) if compiled else step
        losses = []
        for _ in range(8):
            losses.append(call(x, y))
            mx.eval(losses[-1], state)
        return losses

    for a, b in zip(train(False), train(True), strict=True):
        assert same(a, b)


def test_an_intermediate_value_that_is_kept() -> None:
    kept = []

    def function(w: mx.array, x: mx.array) -> mx.array:
        for _ in range(10):
            x = mx.tanh(x @ w)
        kept.append(x)
        return (x * x).sum()

    w, x = arrays()
    for _ in range(TIMES):
        mx.eval(mx.grad(function)(w, x))
    assert all(same(one, kept[0]) for one in kept)


def test_what_is_evaluated_meanwhile() -> None:
    seen = []

    def function(w: mx.array, x: mx.array) -> mx.array:
        y = x
        for i in range(12):
            y = mx.sin(y @ w)
            if i == 6:
                seen.append(y.tolist())
        return y.sum()

    w, x = arrays()
    wanted = unknown(lambda: np.array(mx.grad(function)(w, x)))
    for _ in range(TIMES):
        assert same(mx.grad(function)(w, x), wanted)
    assert all(one == seen[0] for one in seen)


def test_within_other_transformations() -> None:
    w, x = arrays()
    repeated_gradients()

    def slope(w: mx.array) -> mx.array:
        return (mx.grad(deep)(w, x) ** 2).sum()

    wanted = unknown(lambda: np.array(mx.grad(slope)(w)))
    for _ in range(TIMES):
        assert same(mx.grad(slope)(w), wanted)
        assert same(mx.compile(mx.grad(slope))(w), wanted)
    rows = mx.stack([x, 2 * x])
    batched = mx.vmap(mx.grad(deep), in_axes=(None, 0))
    wanted = unknown(lambda: np.array(batched(w, rows)))
    for _ in range(TIMES):
        assert same(batched(w, rows), wanted)


def test_as_a_constant_of_another_gradient() -> None:
    value, of_w, _ = repeated_gradients()
    wanted = expected()[1]
    assert same(mx.grad(lambda y: (y * of_w).sum())(mx.ones((6, 6))), wanted)


def test_an_index_out_of_bounds() -> None:
    table = mx.random.normal((10, 4))
    mx.eval(table)

    def loss(table: mx.array, index: mx.array) -> mx.array:
        x = table[index]
        for _ in range(10):
            x = mx.tanh(x) + x
        return x.sum()

    function = mx.value_and_grad(loss)
    good, bad = mx.array([1, 2, 9]), mx.array([1, 2, 10])
    for evaluate in (mx.eval, mx.async_eval):
        for _ in range(TIMES):
            wanted, gradient = function(table, good)
            evaluate(gradient)
            mx.eval(wanted)
        _, gradient = function(table, bad)
        with pytest.raises(IndexError, match="out of bounds"):
            evaluate(gradient)
            mx.eval(gradient)
        with pytest.raises(IndexError, match="out of bounds"):
            gradient.tolist()
        value, gradient = function(table, good)
        assert same(value, wanted) and gradient.shape == table.shape


def test_evaluated_later() -> None:
    wanted = expected()
    w, x = arrays()
    function = mx.value_and_grad(deep, argnums=(0, 1))
    for _ in range(TIMES):
        value, (of_w, of_x) = function(w, x)
        mx.async_eval(value, of_w, of_x)
        assert all(map(same, [value, of_w, of_x], wanted))


def test_pictures_show_what_it_stands_for() -> None:
    _, of_w, _ = repeated_gradients()
    text = io.StringIO()
    mx.export_to_dot(text, of_w)
    assert "Segment" not in text.getvalue() and text.getvalue().count("MatMul") > 24
    assert same(of_w, expected()[1])


def test_constant_of_an_exported_function(tmp_path: Any) -> None:
    _, of_w, _ = repeated_gradients()
    path = str(tmp_path / "function.mlxfn")
    mx.export_function(path, lambda x: x * of_w, mx.ones((6, 6)))
    (found,) = mx.import_function(path)(mx.ones((6, 6)))
    assert same(found, expected()[1])


def test_a_vector_jacobian_product_of_several_outputs() -> None:
    w, x = arrays()

    def function(w: mx.array, x: mx.array) -> list[mx.array]:
        for _ in range(12):
            x = mx.tanh(x @ w)
        return [x, x * 2, mx.argmax(x, axis=-1), w.T]

    def products() -> list[np.ndarray]:
        like = [mx.ones((3, 6)), mx.ones((3, 6)), mx.zeros((3,), mx.uint32), mx.ones((6, 6))]
        outputs, found = mx.vjp(function, [w, x], like)
        return [np.array(one) for one in (*outputs, *found)]

    wanted = unknown(products)
    for _ in range(TIMES):
        assert all(map(same, products(), wanted))


def test_threads() -> None:
    wanted = expected()
    wrong = []

    def work() -> None:
        for _ in range(30):
            value, (of_w, of_x) = mx.value_and_grad(deep, argnums=(0, 1))(*arrays())
            mx.eval(of_x)
            if not all(map(same, [value, of_w, of_x], wanted)):
                wrong.append(value)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (1, None)])
def test_batches(axes: tuple[int | None, int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    w, x = mx.random.normal((4, 4, 6)), mx.random.normal((4, 4))
    mx.eval(w, x)

    def function(w: mx.array, x: mx.array) -> tuple[mx.array, mx.array]:
        y = x
        for _ in range(12):
            y = mx.sin(y * 1.25 + 0.5) @ mx.cos(w[..., :4]) + x
        return y, w[..., 0] @ y

    batched = mx.vmap(function, in_axes=axes)
    wanted = unknown(lambda: [np.array(one) for one in batched(w, x)])
    for turn in range(TIMES):
        found = batched(w, x)
        assert turn < 3 or all(map(is_segment, found))
        assert all(map(same, found, wanted))


def test_batches_of_broadcasts_and_numbers() -> None:
    x, w = mx.random.normal((3, 6)), mx.random.normal((6, 6))
    mx.eval(x, w)

    def function(x: mx.array, w: mx.array, scale: float) -> mx.array:
        for _ in range(12):
            x = mx.tanh(x @ w * scale + mx.full((6,), scale))
        return x

    for scale in (1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 2.5, 1.0, 1, 1.0, 1):
        for weights in (w, mx.broadcast_to(w, (3, 6, 6)), mx.broadcast_to(w[:1], (3, 6, 6))):
            batched = mx.vmap(
                lambda x, w, scale=scale: function(x, w, scale),
                in_axes=(0, 0 if weights.ndim == 3 else None),
            )
            wanted = unknown(lambda b=batched, v=weights: np.array(b(x, v)))
            assert all(same(batched(x, weights), wanted) for _ in range(3))


def test_tangents() -> None:
    w, x = arrays()

    def tangents() -> list[mx.array]:
        outputs, found = mx.jvp(lambda w, x: [deep(w, x), x**2.5, w], [w, x], [w, x])
        return [*outputs, *found]

    wanted = unknown(lambda: [np.array(one) for one in tangents()])
    for _ in range(TIMES):
        assert all(map(same, tangents(), wanted))
    hessian = mx.vmap(lambda v: mx.jvp(lambda u: mx.grad(deep, 1)(w, u), [x], [v])[1][0])
    rows = mx.stack([x, 2 * x])
    wanted = unknown(lambda: np.array(hessian(rows)))
    assert all(same(hessian(rows), wanted) for _ in range(TIMES))


def test_attention_before_what_can_fail_evaluated_later() -> None:
    x, index = mx.random.normal((1, 1, 5, 8)), mx.array([0, 2, 1])
    mx.eval(x, index)
    kept = []

    def loss(x: mx.array) -> mx.array:
        kept.append(mx.fast.scaled_dot_product_attention(x, x, x, scale=0.5))
        return kept[-1][0, 0][index].square().sum()

    function = mx.value_and_grad(loss)
    wanted = unknown(lambda: np.array(function(x)[1]))
    for _ in range(TIMES):
        value, gradient = function(x)
        mx.async_eval(value, gradient)
        assert same(gradient, wanted) and same(kept[-1], kept[0])
