"""Composite operations under transformations: batches against loops, gradients against
finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn

INDEX = mx.array([2, 0, 1, 2])
KERNEL = mx.array(np.random.default_rng(5).normal(size=(2, 3, 4)).astype(np.float32))

OPERATIONS: dict[str, Any] = {
    "softmax": lambda x: mx.softmax(x, axis=-1),
    "logsumexp": lambda x: mx.logsumexp(x, axis=0),
    "var": lambda x: mx.var(x, axis=0),
    "layer_norm": lambda x: mx.fast.layer_norm(x, None, None, 1e-5),
    "mean": lambda x: mx.mean(x, axis=(0, 1)),
    "max": lambda x: mx.max(x, axis=1),
    "prod": lambda x: mx.prod(x, axis=0),
    "matmul": lambda x: x @ x.T,
    "einsum": lambda x: mx.einsum("ij,kj->ik", x, x),
    "index": lambda x: x[1] * x[:, ::-1].sum(axis=0),
    "take": lambda x: mx.take(x, INDEX, axis=0),
    "gather": lambda x: x[INDEX, mx.array([0, 1, 1, 3])],
    "assign": lambda x: mx.concatenate([x, x.at[INDEX].add(2 * x[0])]),
    "sort": lambda x: mx.sort(x, axis=1),
    "cumsum": lambda x: mx.cumsum(x, axis=1),
    "where": lambda x: mx.where(x > 0, x * x, -x),
    "split": lambda x: mx.split(x, 2, axis=1)[1],
    "pad": lambda x: mx.pad(x, ((1, 0), (0, 2))),
    "clip": lambda x: mx.clip(x, -0.5, 0.5),
    "gelu": nn.gelu,
    "power": lambda x: mx.abs(x) ** 1.5,
    "cross_entropy": lambda x: nn.losses.cross_entropy(x, mx.array([0, 3, 1])),
    "outer": lambda x: mx.outer(x[0], x[1]),
    "tensordot": lambda x: mx.tensordot(x, KERNEL, axes=[[0, 1], [1, 2]]),
}


def matrix(seed: int, dtype: Any = None) -> Any:
    value = np.random.default_rng(seed).normal(size=(3, 4))
    return mx.array(value.astype(np.float32), dtype)


@pytest.mark.parametrize("name", OPERATIONS)
def test_batch(name: str) -> None:
    f = OPERATIONS[name]
    stacked = mx.stack([matrix(seed) for seed in range(3)])
    loop = np.stack([np.array(f(stacked[i])) for i in range(3)])
    for axis in (0, 1):
        moved = mx.moveaxis(stacked, 0, axis)
        found = np.array(mx.vmap(f, in_axes=axis)(moved))
        np.testing.assert_allclose(found, loop, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradient(name: str) -> None:
    f, x, direction = OPERATIONS[name], matrix(1), matrix(2)

    def loss(x: Any) -> Any:
        y = f(x)
        return (y * mx.sin(mx.arange(y.size).reshape(y.shape) + 1.0)).sum()

    step = 1e-3
    slope = (loss(x + step * direction) - loss(x - step * direction)).item() / (2 * step)
    found = (mx.grad(loss)(x) * direction).sum().item()
    np.testing.assert_allclose(found, slope, rtol=2e-2, atol=2e-2)
    forward = mx.jvp(loss, [x], [direction])[1][0].item()
    np.testing.assert_allclose(forward, found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradient_of_each_example(name: str) -> None:
    """vmap of grad, compiled, against a loop."""

    def loss(x: Any) -> Any:
        return (OPERATIONS[name](x) ** 2).sum()

    stacked = mx.stack([matrix(seed) for seed in range(3)])
    loop = np.stack([np.array(mx.grad(loss)(stacked[i])) for i in range(3)])
    found = np.array(mx.compile(mx.vmap(mx.grad(loss)))(stacked))
    np.testing.assert_allclose(found, loop, rtol=1e-4, atol=1e-4)
