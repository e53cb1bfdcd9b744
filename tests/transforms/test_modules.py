"""Transformations of functions that use modules and optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx import optimizers
from mlx.utils import tree_flatten

BOTH = pytest.mark.parametrize("wrap", [lambda f: f, mx.compile], ids=["plain", "compiled"])


def network() -> Any:
    mx.random.seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.Linear(8, 2))


def train(wrap: Any, optimizer: Any, explicit: bool = False) -> Any:
    """Losses, parameters and state of a few training steps."""
    model = network()
    mx.eval(model.parameters())
    loss_and_grad = nn.value_and_grad(model, lambda x, y: ((model(x) - y) ** 2).mean())

    def step(x: Any, y: Any) -> Any:
        loss, gradient = loss_and_grad(x, y)
        optimizer.update(model, gradient)
        return loss

    state = [model.state, optimizer.state, mx.random.state]
    step = mx.compile(step, inputs=state, outputs=state) if explicit else wrap(step)
    mx.random.seed(2)
    losses = []
    for i in range(5):
        x = mx.array(np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32))
        losses.append(step(x, x[:, :2]).item())
    values = {k: np.array(v).tolist() for k, v in tree_flatten(model.parameters())}
    values |= {k: np.array(v).tolist() for k, v in tree_flatten(optimizer.state)}
    return losses, values, step


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.AdamW])
def test_training_compiled_equals_plain(make: Any, explicit: bool) -> None:
    """With dropout, batch statistics, and state that the first update makes."""
    plain = train(lambda f: f, make(learning_rate=0.1))
    compiled = train(mx.compile, make(learning_rate=0.1), explicit)
    assert compiled[0] == plain[0] and compiled[1] == plain[1]
    assert compiled[2].traces <= 2


def test_dropout_differs_per_call() -> None:
    layer = nn.Dropout(0.5)
    compiled = mx.compile(lambda x: layer(x))
    x = mx.ones((64,))
    mx.random.seed(0)
    found = [compiled(x).tolist() for _ in range(3)]
    mx.random.seed(0)
    assert found == [layer(x).tolist() for _ in range(3)] and found[0] != found[1]
    layer.eval()
    assert compiled(x).tolist() == x.tolist()


def test_replaced_weights_and_layers_are_seen() -> None:
    model = nn.Linear(2, 2)
    compiled = mx.compile(lambda x: model(x))
    x = mx.ones((1, 2))
    assert compiled(x).tolist() == model(x).tolist()
    model.weight = mx.zeros((2, 2))
    assert compiled(x).tolist() == model(x).tolist()
    model.update({"bias": mx.array([5.0, 6.0])})
    assert compiled(x).tolist() == [[5, 6]]
    model = nn.Linear(2, 3)
    assert compiled(x).shape == (1, 3)


@BOTH
def test_modules_as_arguments(wrap: Any) -> None:
    model, x = nn.Linear(2, 2), mx.ones((1, 2))
    assert wrap(lambda m, a: m(a))(model, x).tolist() == model(x).tolist()
    gradient = wrap(mx.grad(lambda m: m(x).sum()))(model)
    assert gradient["weight"].tolist() == [[1, 1], [1, 1]] and gradient["bias"].tolist() == [1, 1]
    assert model.weight.shape == (2, 2)


def test_no_placeholder_stays_in_a_module() -> None:
    model = nn.BatchNorm(3)

    def bad(x: Any) -> Any:
        model(x)
        raise KeyError

    before = model.running_mean.tolist()
    for transform in (mx.compile, mx.vmap):
        with pytest.raises(KeyError):
            transform(bad)(mx.ones((4, 2, 3)))
        if transform is mx.compile:
            assert model.running_mean.tolist() == before
