"""Pooling over windows that overlap or leave positions out, against folds of copied windows."""

import itertools

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn

CASES = [
    (nn.MaxPool1d, nn.AvgPool1d, (2, 11, 3), 3, 2, 1),
    (nn.MaxPool1d, nn.AvgPool1d, (1, 9, 2), 2, 3, 0),
    (nn.MaxPool2d, nn.AvgPool2d, (2, 8, 9, 4), 3, 2, 1),
    (nn.MaxPool2d, nn.AvgPool2d, (1, 7, 7, 1), 3, 1, 1),
    (nn.MaxPool2d, nn.AvgPool2d, (1, 7, 10, 2), (2, 4), (3, 1), (0, 2)),
    (nn.MaxPool3d, nn.AvgPool3d, (1, 5, 6, 4, 2), 3, 2, 1),
]


def copied(x: mx.array, layer: nn.Module, fold, padding_value: float) -> mx.array:
    """Each window as a slice of its own, stacked."""
    widths = [(0, 0), *((p, p) for p in layer._padding), (0, 0)]
    x = mx.pad(x, widths, constant_values=padding_value)
    k, s = layer._kernel_size, layer._stride
    counts = [(n - a) // b + 1 for n, a, b in zip(x.shape[1:-1], k, s, strict=True)]
    out = []
    for at in itertools.product(*map(range, counts)):
        index = [slice(i * b, i * b + a) for i, a, b in zip(at, k, s, strict=True)]
        out.append(fold(x[(slice(None), *index)].reshape(x.shape[0], -1, x.shape[-1]), axis=1))
    return mx.stack(out, 1).reshape(x.shape[0], *counts, x.shape[-1])


@pytest.mark.parametrize("levels", (1000, 3))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: tuple, levels: int) -> None:
    """With few levels most windows have equal maxima, which share the cotangent."""
    most, mean, shape, *settings = case
    x = mx.random.randint(0, levels, shape, key=mx.random.key(0)).astype(mx.float32)
    t = mx.random.normal(shape, key=mx.random.key(1))
    for kind, fold, padding in ((most, mx.max, -np.inf), (mean, mx.mean, 0.0)):
        layer = kind(*settings)
        weight = mx.random.normal(layer(x).shape, key=mx.random.key(2))

        def loss(x: mx.array, f=layer, weight=weight) -> mx.array:
            return (f(x) * weight * f(x)).sum()

        def other(x: mx.array, layer=layer, fold=fold, padding=padding) -> mx.array:
            return copied(x, layer, fold, padding)

        np.testing.assert_allclose(layer(x), other(x), 1e-5)
        slope = mx.grad(loss)(x)
        np.testing.assert_allclose(slope, mx.grad(lambda x: loss(x, other))(x), 1e-3, 1e-3)
        _, (along,) = mx.jvp(loss, [x], [t])
        np.testing.assert_allclose(along, (slope * t).sum(), 1e-3, 1e-2)
        again = mx.grad(lambda x: (mx.grad(loss)(x) * t).sum())(x)
        want = mx.grad(lambda x: (mx.grad(lambda y: loss(y, other))(x) * t).sum())(x)
        np.testing.assert_allclose(again, want, 1e-3, 1e-3)

        def square(x: mx.array, layer=layer) -> mx.array:
            return (layer(x) ** 2).sum()

        each = mx.vmap(mx.grad(lambda x, square=square: square(x[None])))(x)
        np.testing.assert_allclose(each, mx.grad(square)(x), 1e-4, 1e-4)
