"""Quotients and remainders of integers are exact, at the ends of every range too."""

import numpy as np
import pytest

import mlx.core as mx

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact(dtype: str) -> None:
    rng = np.random.default_rng(0)
    ends = np.iinfo(dtype)
    x, y = rng.integers(ends.min, ends.max, (2, 20000), dtype=dtype, endpoint=True)
    y >>= rng.integers(0, ends.bits, y.size).astype(dtype)  # divisors of every magnitude
    special = np.array([ends.min, ends.min + 1, ends.max, ends.max - 1, 1, 2, 3, 7], dtype)
    more = [a.ravel() for a in np.meshgrid(special, special)]
    x, y = np.concatenate([x, more[0]]), np.concatenate([y, more[1]])
    x, y = x[y != 0], y[y != 0]
    with np.errstate(over="ignore"):
        quotient, rest = x // y, x % y
    a, b = mx.array(x), mx.array(y)
    assert np.array_equal(a // b, quotient)
    assert np.array_equal(a % b, rest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_division_by_zero_does_not_trap(dtype: str) -> None:
    a = mx.arange(-3, 4).astype(getattr(mx, dtype))
    mx.eval(a // mx.zeros_like(a), a % mx.zeros_like(a))
