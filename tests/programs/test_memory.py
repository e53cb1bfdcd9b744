"""What a training step keeps between its passes, and after them."""

from __future__ import annotations

import gc

import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

ROWS, WIDTH = 512, 1024
ARRAY = 4 * ROWS * WIDTH


def peak_of(function, *arrays) -> int:
    """The most memory in use while a function's results are computed, over what is before."""
    mx.eval(function(*arrays))
    gc.collect()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(function(*arrays))
    return mx.get_peak_memory() - before


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_approx", "silu", "sigmoid", "leaky_relu"])
def test_an_activation_keeps_its_operand_and_its_result(name):
    """In the epilogue of a product, with a product behind it: nothing else is kept for the
    gradient, however many steps it is computed in."""
    activation = getattr(nn, name)
    x = mx.random.normal((ROWS, 64))
    first = mx.random.normal((64, WIDTH))
    second = mx.random.normal((WIDTH, 64))

    def loss(first, second):
        return (activation(x @ first) @ second).square().sum()

    peak = peak_of(mx.grad(loss, argnums=(0, 1)), first, second)
    # operand, result, their cotangent; the rest is packing, and arrays with a side of 64
    assert peak < 5 * ARRAY


def test_a_mask_is_kept_as_one_byte_an_element():
    x = mx.random.normal((ROWS, 64))
    weight = mx.random.normal((64, WIDTH))

    def loss(weight):
        y = x @ weight
        return mx.where(y > 0, y, 0).sum()

    assert peak_of(mx.grad(loss), weight) < 2.5 * ARRAY


def test_a_first_update_keeps_no_more_than_the_next():
    """Running means are parameters, but nothing that an update needs: computing them ahead of
    the step kept every value of the forward pass."""
    mx.random.seed(0)
    model = nn.Sequential(
        *(layer for _ in range(4) for layer in (nn.Linear(256, 256), nn.BatchNorm(256), nn.ReLU()))
    )
    optimizer = optim.SGD(1e-3, momentum=0.9)
    x = mx.random.normal((2048, 256))
    step = nn.value_and_grad(model, lambda model: model(x).square().mean())
    mx.eval(model.parameters(), x)
    peaks = []
    for _ in range(3):
        mx.reset_peak_memory()
        _, gradients = step(model)
        optimizer.update(model, gradients)
        del gradients
        mx.eval(model.parameters(), optimizer.state)
        peaks.append(mx.get_peak_memory())
    assert peaks[0] < 1.2 * peaks[-1]
