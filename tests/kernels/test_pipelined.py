"""Rows from memory, with all passes at once, give the bits of rows that are in cache."""

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.backend.llvm.cache_sizes import last_level
from mlx.utils import tree_flatten

Function = Callable[..., object]


def softmax_gradient(x: mx.array, y: mx.array) -> object:
    return mx.vjp(lambda x: mx.softmax(x, axis=-1), [x], [y])


def losses(x: mx.array, y: mx.array) -> object:
    targets = mx.argmax(y, axis=-1)
    return mx.grad(lambda x: nn.losses.cross_entropy(x, targets).sum())(x)


def log_softmax_of_sum(x: mx.array, y: mx.array) -> object:
    return nn.log_softmax(x + y)


def kept_for_two_passes(x: mx.array, y: mx.array) -> object:
    e = mx.exp(x)
    scaled = e / e.sum(-1, keepdims=True)
    return scaled - (scaled * y).max(-1, keepdims=True) + e


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("length", [1000, 2048])
@pytest.mark.parametrize(
    "function", [softmax_gradient, losses, log_softmax_of_sum, kept_for_two_passes]
)
def test_same_bits_as_in_cache(function: Function, length: int, dtype: mx.Dtype) -> None:
    rows = last_level() // (length * dtype.size) + 5
    x, y = (mx.random.normal((rows, length), key=mx.random.key(i)).astype(dtype) for i in (0, 1))
    mx.eval(x, y)
    whole = [np.array(a.astype(mx.float32)) for _, a in tree_flatten(function(x, y))]
    for first in (0, rows // 2, rows - 100):
        part = slice(first, first + 100)
        some = tree_flatten(function(x[part], y[part]))
        for all_rows, (_, a) in zip(whole, some, strict=True):
            np.testing.assert_array_equal(all_rows[part], np.array(a.astype(mx.float32)))
