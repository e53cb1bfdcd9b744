"""What failed raises again where it is used, changes nothing else, and later work goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.runtime import execute
from mlx.utils import tree_flatten

SIZES = (10, 300_000)
"""One that is computed at once, one that async_eval really puts off."""


def out_of_bounds(size: int) -> mx.array:
    """Not evaluated yet: reads an element that is not there."""
    index = np.zeros(size, np.int32)
    index[size // 2] = size + 5
    return mx.ones((size,))[mx.array(index)] * 2


USES: list[Callable[[mx.array], Any]] = [
    mx.eval,
    lambda x: mx.eval(x + 1),
    lambda x: x.sum().item(),
    lambda x: x.tolist(),
    np.array,
    repr,
    lambda x: mx.eval(x[1:]),
    lambda x: mx.eval(x.reshape(-1, 1)),
    lambda x: mx.eval(mx.fft.fft(x)),
    lambda x: mx.eval(mx.compile(lambda y: y * 2)(x)),
    lambda x: mx.eval(mx.grad(lambda y: (y * y).sum())(x)),
    lambda x: mx.eval(mx.sort(x)),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("size", SIZES)
def test_each_use_raises(size: int, use: Callable[[mx.array], Any]) -> None:
    x = out_of_bounds(size)
    for _ in range(2):
        with pytest.raises(IndexError, match=r"out of bounds for an axis of size"):
            use(x)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("size", SIZES)
def test_each_use_raises_after_async_eval(size: int, use: Callable[[mx.array], Any]) -> None:
    x, good = out_of_bounds(size), mx.zeros((size,)) + 1
    try:
        mx.async_eval(x)
    except IndexError:
        assert size == SIZES[0]
    for _ in range(2):
        with pytest.raises(IndexError, match=r"out of bounds for an axis of size"):
            use(x)
    assert good.sum().item() == size


@pytest.mark.parametrize("size", SIZES)
def test_what_was_computed_beside_it_survives(size: int) -> None:
    mx.random.seed(5)
    layer, x = nn.Embedding(4, 3), out_of_bounds(size)
    with pytest.raises(IndexError, match="out of bounds"):
        mx.eval(layer(mx.array([1, 7])), x, layer.weight)
    kept, drawn = layer.weight.tolist(), mx.random.uniform().item()
    mx.random.seed(5)
    assert nn.Embedding(4, 3).weight.tolist() == kept
    assert mx.random.uniform().item() == drawn
    for failed in (layer(mx.array([7])), x):
        with pytest.raises(IndexError, match="out of bounds"):
            mx.eval(failed)


@pytest.mark.parametrize("size", SIZES)
def test_what_depends_on_it_fails_too(size: int) -> None:
    x = out_of_bounds(size)
    chain = [x + 1]
    for _ in range(20):
        with contextlib.suppress(IndexError):  # when it is known by then
            mx.async_eval(chain[-1])
        chain.append(chain[-1] * 2)
    for one in (chain[-1], chain[3], chain[0], x):
        with pytest.raises(IndexError):
            mx.eval(one)


def test_operands_of_a_failed_update_keep_their_value() -> None:
    """Their memory is not taken by results that depend on something that failed."""
    n = SIZES[1]
    weight = mx.arange(n).astype(mx.float32)
    mx.eval(weight)
    kept = weight * 1
    mx.eval(kept)
    gradient = out_of_bounds(n)
    mx.async_eval(gradient)
    new = weight - gradient
    with pytest.raises(IndexError):
        mx.eval(new)
    assert np.array_equal(np.array(weight), np.array(kept))


def test_an_exception_keeps_no_array_alive() -> None:
    mx.eval(mx.ones((4,)))
    before = mx.get_active_memory()
    x = out_of_bounds(100_000)
    for _ in range(20):
        with pytest.raises(IndexError):
            mx.eval(x)
    del x
    assert mx.get_active_memory() <= before


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval])
@pytest.mark.parametrize("size", SIZES)
def test_failure_spares_what_does_not_depend_on_it(
    size: int, evaluate: Callable[..., None]
) -> None:
    """The random key above all; and what failing and sound results have in common."""
    mx.random.seed(3)
    expected = [mx.random.uniform(shape=(size,)), mx.random.uniform(shape=(4,))]
    mx.eval(expected)
    mx.random.seed(3)
    noise = mx.random.uniform(shape=(size,))
    shared = mx.exp(noise)
    bad, sound = out_of_bounds(size) * shared + noise, mx.sqrt(shared)
    with contextlib.suppress(IndexError):
        evaluate(bad, sound, mx.random.state)
    for _ in range(2):
        with pytest.raises(IndexError):
            mx.eval(bad)
    assert mx.array_equal(noise, expected[0]).item()
    assert mx.array_equal(sound, mx.sqrt(mx.exp(expected[0]))).item()
    assert mx.array_equal(mx.random.uniform(shape=(4,)), expected[1]).item()


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval])
def test_failed_step_leaves_the_random_key(evaluate: Callable[..., None]) -> None:
    """A training step with dropout, never compiled."""
    mx.random.seed(1)
    model, optimizer = Model(3000, 64), optim.Adam(1e-2)
    dropout = nn.Dropout(0.5)
    gradient_of = nn.value_and_grad(model, lambda ids: (dropout(model(ids)) ** 2).mean())
    state = [model.state, optimizer.state, mx.random.state]

    def step(first: int) -> None:
        loss, gradients = gradient_of(mx.arange(first, first + 3000))
        optimizer.update(model, gradients)
        evaluate(loss, state)

    step(0)
    mx.eval(state)
    with pytest.raises(IndexError):
        step(1)
        step(0)
        mx.eval(model.parameters())
    assert np.array(mx.random.uniform(shape=(3,))).shape == (3,)


@pytest.mark.parametrize("again", [10, 30])
def test_repeated_failures_plan_nothing_new(again: int) -> None:
    """The random key is computed with each, so that the next finds a program that is known."""

    def attempt() -> None:
        noise = mx.random.normal((40, 3))
        with pytest.raises(IndexError):
            mx.eval(noise.sum(), mx.take(noise, mx.array([40]), axis=0))

    for _ in range(3):
        attempt()
    planned = execute.counters["programs"]
    for _ in range(again):
        attempt()
    assert execute.counters["programs"] == planned


def test_kept_failure_keeps_no_intermediates() -> None:
    """What is computed with a failure is what something refers to, not all of its region."""
    mx.eval(mx.random.state)
    failures = []
    before = mx.get_active_memory()
    noise = mx.random.normal((400, 1000))
    try:
        mx.eval(noise.sum(), mx.take(noise, mx.array([400]), axis=0))
    except IndexError as error:
        failures.append(error)
    assert len(failures) == 1
    assert mx.get_active_memory() - before < 2.5 * noise.nbytes


class Model(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.out = nn.Linear(width, 1)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.out(nn.relu(self.table(ids)))


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval])
@pytest.mark.parametrize("rows", [20, 3000])
def test_compiled_training_step(rows: int, evaluate: Callable[..., None]) -> None:
    """A bad index leaves parameters and the optimizer's state as they were, bit for bit."""
    mx.random.seed(1)
    model, optimizer = Model(rows, 64), optim.Adam(1e-2)
    state = [model.state, optimizer.state, mx.random.state]
    gradient_of = nn.value_and_grad(model, lambda ids: (model(ids) ** 2).mean())

    def step(ids: mx.array) -> mx.array:
        loss, gradients = gradient_of(ids)
        optimizer.update(model, gradients)
        return loss

    compiled = mx.compile(step, inputs=state, outputs=state)

    def values() -> list[bytes]:
        leaves = [model.parameters(), optimizer.state, mx.random.state]
        return [np.array(x).tobytes() for _, x in tree_flatten(leaves)]

    good = mx.array(np.arange(rows, dtype=np.int32))
    bad = mx.array(np.arange(1, rows + 1, dtype=np.int32))
    for _ in range(2):
        evaluate(compiled(good), state)
    reference = values()
    for steps in ([bad], [bad, good, good], [bad, bad]):
        losses = []
        with pytest.raises(IndexError):
            for ids in steps:
                losses.append(compiled(ids))
                evaluate(losses[-1], state)
            mx.eval(losses, state)
        assert values() == reference
    first = compiled(good)
    evaluate(first, state)
    after = values()
    assert after != reference and int(optimizer.step.item()) == 3
    assert np.isfinite(first.item())
