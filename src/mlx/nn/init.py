"""Initializers: each returns a function from an array to a new array of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import mlx.core as mx

Initializer = Callable[..., mx.array]


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Fill with `value`.

    >>> nn.init.constant(0.5)(mx.zeros((2,))).tolist()
    [0.5, 0.5]
    """
    return lambda a: mx.full(a.shape, value, dtype=dtype)


def normal(mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Draw from a normal distribution.

    >>> nn.init.normal()(mx.zeros((2, 3))).shape
    (2, 3)
    """
    return lambda a: mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)


def uniform(low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Draw uniformly from ``[low, high)``.

    >>> nn.init.uniform()(mx.zeros((2, 3))).shape
    (2, 3)
    """
    return lambda a: mx.random.uniform(low, high, a.shape, dtype=dtype)


def identity(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Return the identity matrix; ValueError unless the array is a square matrix.

    >>> nn.init.identity()(mx.zeros((2, 2))).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2 or a.shape[0] != a.shape[1]:
            raise ValueError(f"The input array must be a square matrix but got shape {a.shape}.")
        return mx.eye(a.shape[0], dtype=dtype)

    return initializer


def _fans(x: mx.array) -> tuple[int, int]:
    """Return the inputs and outputs of a unit of a weight ``(out, ..., in)``."""
    if x.ndim < 2:
        raise ValueError(
            "Glorot / He initialization requires at least 2 dimensional input but input with "
            f"{x.ndim} dimensions."
        )
    positions = math.prod(x.shape[1:-1])
    return x.shape[-1] * positions, x.shape[0] * positions


def _fan(x: mx.array, mode: str) -> int:
    fan_in, fan_out = _fans(x)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Invalid mode: {mode}. Valid modes are: fan_in, fan_out")
    return fan_in if mode == "fan_in" else fan_out


def glorot_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``.

    Source: Glorot and Bengio 2010. Raises ValueError for fewer than 2 dimensions.

    >>> nn.init.glorot_normal()(mx.zeros((2, 3)), gain=2.0).shape
    (2, 3)
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        std = gain * math.sqrt(2.0 / sum(_fans(a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Uniform in +-``gain * sqrt(6 / (fan_in + fan_out))``.

    Source: Glorot and Bengio 2010. Raises ValueError for fewer than 2 dimensions.

    >>> nn.init.glorot_uniform()(mx.zeros((2, 3))).shape
    (2, 3)
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(6.0 / sum(_fans(a)))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


Mode = Literal["fan_in", "fan_out"]


def he_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with standard deviation ``gain / sqrt(fan)``, `mode` "fan_in" or "fan_out".

    Source: He et al. 2015. Raises ValueError for fewer than 2 dimensions or another mode.

    >>> nn.init.he_normal()(mx.zeros((2, 3)), mode="fan_out").shape
    (2, 3)
    """

    def initializer(a: mx.array, mode: Mode = "fan_in", gain: float = 1.0) -> mx.array:
        std = gain / math.sqrt(_fan(a, mode))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def he_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Uniform in +-``gain * sqrt(3 / fan)``, `mode` "fan_in" or "fan_out".

    Source: He et al. 2015. Raises ValueError for fewer than 2 dimensions or another mode.

    >>> nn.init.he_uniform()(mx.zeros((2, 3)), gain=2.0).shape
    (2, 3)
    """

    def initializer(a: mx.array, mode: Mode = "fan_in", gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(3.0 / _fan(a, mode))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Initializer:
    """Normal with the share `sparsity` of each row, at random places, set to 0.

    Raises ValueError unless the array is a matrix.

    >>> nn.init.sparse(0.5)(mx.zeros((2, 4))).shape
    (2, 4)
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError("Only tensors with 2 dimensions are supported")
        rows, cols = a.shape
        zeros = math.ceil(sparsity * cols)
        order = mx.argsort(mx.random.uniform(shape=a.shape), axis=1)
        values = mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)
        values[mx.arange(rows).reshape(rows, 1), order[:, :zeros]] = 0
        return values

    return initializer


def orthogonal(gain: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Orthonormal rows or columns (whichever are fewer), times `gain`.

    Source: Saxe et al. 2014. Raises ValueError unless the array is a matrix.

    >>> q = nn.init.orthogonal()(mx.zeros((3, 3)))
    >>> mx.allclose(q @ q.T, mx.eye(3), atol=1e-5).item()
    True
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(
                f"Orthogonal initialization requires a 2D array but got a {a.ndim}D array."
            )
        rows, cols = a.shape
        size = max(rows, cols)
        options: Any = {"stream": mx.cpu}
        q, r = mx.linalg.qr(mx.random.normal((size, size)), **options)
        q = q * mx.sign(mx.diag(r))
        return (gain * q[:rows, :cols]).astype(dtype)

    return initializer
