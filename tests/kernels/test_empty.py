"""Reductions of nothing are their identity, and are written: whatever the memory held before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

SHAPES = [(0, 3), (2, 0, 4), (0, 0), (0, 70), (3, 0, 5), (0, 1), (4, 0), (0, 3, 4)]
DTYPES = [mx.float32, mx.bfloat16, mx.int32, mx.bool_, mx.complex64]


def spoil() -> None:
    """Leave numbers in memory that will be used again."""
    mx.eval([mx.full((n,), float("nan")) for n in (3, 4, 16, 64, 256, 1024, 4096)])
    mx.eval(mx.full((300, 70), float("nan")).sum(0))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions(shape: tuple[int, ...], dtype: mx.Dtype) -> None:
    for name in ("sum", "prod", "all", "any"):
        for axis in (*range(len(shape)), None, (0, 1)):
            spoil()
            found = getattr(mx, name)(mx.exp(mx.zeros(shape)).astype(dtype), axis=axis)
            want = getattr(np, name)(np.zeros(shape), axis=axis)
            assert found.shape == want.shape
            assert np.array_equal(np.array(found.astype(mx.float32)), want)


LAYERS: list[Callable[[], Any]] = [
    lambda: nn.Linear(8, 3),
    lambda: nn.LayerNorm(8),
    lambda: nn.RMSNorm(8),
    lambda: nn.GroupNorm(2, 8),
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch", [0, 1])
def test_gradients_of_no_batch_are_zero(layer: Callable[[], Any], batch: int) -> None:
    model, x = layer(), mx.ones((batch, 5, 8))[:0]
    spoil()
    _, gradients = nn.value_and_grad(model, lambda x: (model(x) * 3).sum())(x)
    for _, gradient in tree_flatten(gradients):
        assert not np.array(gradient).any()


def test_columns_of_rows_that_are_reduced_too() -> None:
    spoil()
    y = mx.softmax(mx.zeros((0, 700)), axis=-1)
    assert not np.array(y.sum(0)).any()
    assert not np.array((y * 2).sum(0)).any()
