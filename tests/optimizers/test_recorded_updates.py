"""Updates that are recorded as a whole: the same bits as parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten

STEPS = 6
MAKERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda: optim.SGD(0.1),
    "nesterov": lambda: optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: optim.Adam(optim.cosine_decay(0.1, 4), bias_correction=True),
    "adamw": lambda: optim.AdamW(0.1),
    "adamax": lambda: optim.Adamax(0.1),
    "rmsprop": lambda: optim.RMSprop(0.1),
    "adagrad": lambda: optim.Adagrad(0.1),
    "adadelta": lambda: optim.AdaDelta(0.1),
    "lion": lambda: optim.Lion(0.1, weight_decay=0.1),
    "muon": lambda: optim.Muon(0.1),
    "adafactor": lambda: optim.Adafactor(beta_1=0.5, weight_decay=0.1),
}


def start(seed: int = 0) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    shapes = [(3, 4), (4,), (), (2, 3, 2)]
    made = [mx.array(numbers.standard_normal(shape).astype(np.float32)) for shape in shapes]
    return {"a": made[:2], "b": {"c": made[2]}, "half": made[3].astype(mx.float16)}


def singly(optimizer: optim.Optimizer) -> optim.Optimizer:
    """The optimizer as an instance of a subclass, of which nothing is known."""
    kind = type(optimizer)
    optimizer.__class__ = type("Mine", (kind,), {})
    return optimizer


def trained(optimizer: optim.Optimizer, change: Callable[..., Any] = lambda *_: None) -> list[Any]:
    parameters = start()
    for step in range(STEPS):
        change(optimizer, step)
        parameters = optimizer.apply_gradients(start(step + 1), parameters)
        mx.eval(parameters, optimizer.state)
    return [np.array(x) for _, x in tree_flatten([parameters, optimizer.state])]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_same_bits(name: str) -> None:
    assert same(trained(MAKERS[name]()), trained(singly(MAKERS[name]())))


def test_settings_that_change() -> None:
    def change(optimizer: Any, step: int) -> None:
        if step == 4:
            optimizer.betas[0], optimizer.eps = 0.5, 1e-3
            optimizer.learning_rate = 0.5

    assert same(trained(MAKERS["adamw"](), change), trained(singly(MAKERS["adamw"]()), change))


def test_a_setting_that_is_an_array() -> None:
    def change(optimizer: Any, step: int) -> None:
        optimizer.weight_decay = mx.array(0.01 * step)

    assert same(trained(MAKERS["adamw"](), change), trained(singly(MAKERS["adamw"]()), change))


def test_a_subclass_is_asked_each_time() -> None:
    class Counting(optim.Adam):
        calls = 0

        def apply_single(self, gradient: Any, parameter: Any, state: Any) -> Any:
            self.calls += 1
            return super().apply_single(gradient * self.calls, parameter, state)

    optimizer = Counting(0.1)
    trained(optimizer)
    assert optimizer.calls == 4 * STEPS


def test_steps_that_are_never_computed_one_by_one() -> None:
    def run(optimizer: optim.Optimizer) -> list[Any]:
        parameters = start()
        for step in range(STEPS):
            parameters = optimizer.apply_gradients(start(step), parameters)
        first = np.array(parameters["b"]["c"])
        rest = [np.array(x) for _, x in tree_flatten([parameters, optimizer.state])]
        return [first, *rest]

    assert same(run(MAKERS["adamw"]()), run(singly(MAKERS["adamw"]())))


def test_inside_transformations() -> None:
    optimizer, plain = MAKERS["adamw"](), singly(MAKERS["adamw"]())

    def gradient(of: optim.Optimizer) -> mx.array:
        of.init(start())
        mx.eval(of.state)

        def loss(x: mx.array) -> mx.array:
            tree = start()
            gradients = {**tree, "b": {"c": x}}
            return of.apply_gradients(gradients, tree)["b"]["c"].sum()

        return mx.grad(loss)(mx.array(0.3))

    trained(optimizer)  # known
    trained(plain)
    assert gradient(optimizer).item() == gradient(plain).item()
