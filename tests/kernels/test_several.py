"""Short rows, several side by side or read as runs, give the bits of few rows, one by one."""

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
from mlx.utils import tree_flatten

Function = Callable[..., object]
FEW = 100
"""Rows for which no kernel of their own is worth its code."""


def softmax(x: mx.array, y: mx.array) -> object:
    return mx.softmax(x, axis=-1) + y


def softmax_gradient(x: mx.array, y: mx.array) -> object:
    return mx.vjp(lambda x: mx.softmax(x, axis=-1), [x], [y])


def layer_norm(x: mx.array, y: mx.array) -> object:
    weight = mx.arange(x.shape[1]).astype(x.dtype)
    return mx.fast.layer_norm(x, weight, None, 1e-5) * y


def level_and_sum(x: mx.array, y: mx.array) -> object:
    return mx.logsumexp(x, axis=-1), (x * y).sum(-1), mx.argmax(x, axis=-1)


def infinite(x: mx.array, y: mx.array) -> object:
    return mx.softmax(mx.where(y > 1, -mx.inf, x), axis=-1)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("length", [4, 8, 12, 16, 17, 33, 64, 130])
@pytest.mark.parametrize(
    "function", [softmax, softmax_gradient, layer_norm, level_and_sum, infinite]
)
def test_same_bits_as_few_rows(function: Function, length: int, dtype: mx.Dtype) -> None:
    rows = (1 << 16) // length + 7
    shape = (rows, length)
    x, y = (mx.random.normal(shape, key=mx.random.key(i)).astype(dtype) for i in (0, 1))
    mx.eval(x, y)
    whole = [np.array(a.astype(mx.float32)) for _, a in tree_flatten(function(x, y))]
    for first in (0, rows // 2, rows - FEW):
        part = slice(first, first + FEW)
        some = tree_flatten(function(x[part], y[part]))
        for all_rows, (_, a) in zip(whole, some, strict=True):
            np.testing.assert_array_equal(all_rows[part], np.array(a.astype(mx.float32)))


def test_rows_apart_and_in_two_loops() -> None:
    wide = mx.random.normal((61, 33, 70), key=mx.random.key(3))
    found = np.array(mx.softmax(wide[:, 2:, 1:34], axis=-1))
    for i in range(0, 61, 7):
        alone = np.array(mx.softmax(wide[i, 2:, 1:34], axis=-1))
        np.testing.assert_array_equal(found[i], alone)
