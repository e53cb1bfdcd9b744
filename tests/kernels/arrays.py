"""Arrays for tests of kernels, and what reads them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlx.base.dtype import Dtype, bool_
from mlx.graph.node import Node
from mlx.primitives.views import Slice, transpose
from mlx.runtime.evaluate import evaluate
from tests.reference.evaluate import leaf, stored

View = Callable[[Node], Node]


def backwards(x: Node) -> Node:
    """Every axis reversed, every second element of the last."""
    starts = tuple(n - 1 for n in x.shape)
    steps = (-1,) * (x.ndim - 1) + (-2,)
    return Slice(starts, steps, (*x.shape[:-1], (x.shape[-1] + 1) // 2))(x)


VIEWS: list[View] = [
    lambda x: transpose(x, (2, 1, 0)),
    lambda x: transpose(x, (0, 2, 1)),
    backwards,
]


def computed(node: Node) -> np.ndarray:
    evaluate([node])
    return stored(node)


def numbers(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: Dtype, special: bool = True
) -> np.ndarray:
    """Few different numbers, so that some are equal; floats with -0, infinities and NaN."""
    values = rng.integers(0, 60, shape)
    if dtype is bool_:
        return values > 20
    if dtype.is_complex:
        values = rng.integers(-2, 3, shape) + 1j * rng.integers(-2, 3, shape)
    elif dtype.is_float:
        values = rng.integers(-3, 4, shape) * rng.choice([-1.0, 1.0], shape)
    elif dtype.is_signed:
        values = values - 30
    out = np.asarray(values).astype(dtype.numpy)
    if special and dtype.is_inexact:
        for number in (np.nan, np.inf, -np.inf):
            out[rng.random(shape) < 0.07] = number
    return out


def wide(x: np.ndarray) -> np.ndarray:
    """Half precision as float32, which NumPy can order."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


__all__ = ["VIEWS", "computed", "leaf", "numbers", "wide"]
