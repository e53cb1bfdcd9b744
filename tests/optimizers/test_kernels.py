"""How many kernels an update takes: one a parameter, and one for the scalars they share."""

from __future__ import annotations

from typing import Any

import pytest

import mlx.core as mx
from mlx import optimizers

MAKE = {
    "sgd": lambda: optimizers.SGD(1e-2, momentum=0.9),
    "adam": lambda: optimizers.Adam(1e-3, bias_correction=True),
    "adamw": lambda: optimizers.AdamW(1e-3, bias_correction=True),
    "lion": lambda: optimizers.Lion(1e-3),
    "rmsprop": lambda: optimizers.RMSprop(1e-3),
}


@pytest.mark.parametrize("name", MAKE)
def test_an_update_is_one_kernel_a_parameter(name: str) -> None:
    count = 12
    parameters = {f"p{i}": mx.ones((40, 30 + i)) for i in range(count)}
    gradients = {f"p{i}": mx.ones((40, 30 + i)) for i in range(count)}
    optimizer = MAKE[name]()
    optimizer.init(parameters)
    mx.eval(parameters, gradients, optimizer.state)

    def update(*_: Any) -> Any:
        return optimizer.apply_gradients(gradients, parameters), optimizer.state

    assert len(mx.explain(update).kernels) <= count + 1


def test_scalars_of_equal_numbers_are_computed_once_and_others_are_not() -> None:
    x, step = mx.array([1.0, 2.0, 3.0]), mx.array(3.0)
    mx.eval(x, step)
    for a, b in ((0.9, 0.9), (0.9, 0.8), (0.8, 0.9)):
        result = (x * a**step, x * b**step)
        mx.eval(*result)
        for value, base in zip(result, (a, b), strict=True):
            expected = x * mx.array(base) ** step
            assert (value == expected).all().item()
