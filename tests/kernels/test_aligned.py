"""Rows that begin anywhere in a line, written around the caches, have the bits of rows in cache."""

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.backend.llvm.cache_sizes import last_level
from mlx.utils import tree_flatten

Function = Callable[[mx.array, mx.array], object]


def several_types(x: mx.array, y: mx.array) -> object:
    z = nn.gelu_approx(x + y[:1]) * y
    return z, z > 0, z.astype(mx.float16)


def one_beside_the_other(x: mx.array, y: mx.array) -> object:
    return mx.concatenate([x * 2, y + 1], axis=1)


def normalized(x: mx.array, y: mx.array) -> object:
    return mx.fast.layer_norm(x, mx.ones(x.shape[1:]), None, 1e-5), mx.exp(y) - y.max(-1)[:, None]


def turned(x: mx.array, y: mx.array) -> object:
    return x[:, ::-1] * y, mx.logsumexp(x, axis=-1)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("length", [1537, 4099])
@pytest.mark.parametrize("function", [several_types, one_beside_the_other, normalized, turned])
def test_same_bits_as_in_cache(function: Function, length: int, dtype: mx.Dtype) -> None:
    rows = last_level() // (length * dtype.size) + 5
    x, y = (mx.random.normal((rows, length), key=mx.random.key(i)).astype(dtype) for i in (0, 1))
    mx.eval(x, y)
    whole = [np.array(a.astype(mx.float32)) for _, a in tree_flatten(function(x, y))]
    for first in (0, rows - 100):
        part = slice(first, first + 100)
        below = mx.concatenate([y[:1], y[part]])  # the first row is an operand of its own
        some = tree_flatten(function(mx.concatenate([x[:1], x[part]]), below))
        for all_rows, (_, a) in zip(whole, some, strict=True):
            np.testing.assert_array_equal(all_rows[part], np.array(a.astype(mx.float32))[1:])


@pytest.mark.parametrize("length", [1537, 4099])
def test_gradient_of_a_norm(length: int) -> None:
    """Sums over the rows in the pass that stores: each element counts once."""
    rows = last_level() // (4 * length) + 5
    x, y = (mx.random.normal((rows, length), key=mx.random.key(i)) for i in (0, 1))
    weight, bias = mx.random.normal((2, length), key=mx.random.key(2))
    mx.eval(x, y, weight, bias)

    def norm(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, w, b, 1e-5)

    dx, dw, db = mx.vjp(norm, [x, weight, bias], [y])[1]
    mx.eval(dx, dw, db)
    np.testing.assert_array_equal(np.array(db), np.array(y.sum(0)))
    part = mx.vjp(norm, [x[:100], weight, bias], [y[:100]])[1][0]
    np.testing.assert_array_equal(np.array(dx)[:100], np.array(part))
    ones = mx.vjp(lambda w: norm(x, w, bias), [weight], [y])[1][0]
    np.testing.assert_allclose(np.array(dw), np.array(ones), rtol=2e-4, atol=2e-3)


def test_in_place() -> None:
    x = mx.random.normal((2503, 4099))
    kept = mx.array(np.array(x))
    mx.eval(x, kept)
    scale = mx.arange(4099) * 0.5
    x = x * scale  # nothing else refers to the old value
    mx.eval(x)
    assert np.array_equal(np.array(x), np.array(kept) * np.array(scale))
