"""Rounding to bfloat16 in registers: every NaN stays one, every number rounds to even."""

import ml_dtypes
import numpy as np
import pytest

import mlx.core as mx

PATTERNS = np.arange(2**16, dtype=np.uint16)
OPERATIONS = {
    "add": lambda x: x + x,
    "multiply": lambda x: x * 1.5,
    "subtract": lambda x: x - 0.25,
    "chain": lambda x: (x * 3 + x) - x * 2,
    "exp": mx.exp,
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "log": lambda x: mx.log(mx.abs(x)),
    "sin": mx.sin,
    "sqrt": lambda x: mx.sqrt(mx.abs(x)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_nan_stays_nan(name: str) -> None:
    x = mx.view(mx.array(PATTERNS), mx.bfloat16)
    nan = np.isnan(PATTERNS.view(ml_dtypes.bfloat16).astype(np.float32))
    found = np.array(mx.isnan(OPERATIONS[name](x)))
    assert found[nan].all()


def test_any_float32_rounds_to_even_and_nan_stays() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 1 << 16, dtype=np.uint64).astype(np.uint32)
    odd = [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF80FFFF, 0x7F7FFFFF, 0x7F800000, 0x00008000, 1]
    x = np.concatenate([bits, np.array(odd, np.uint32)]).view(np.float32)
    with np.errstate(all="ignore"):
        want = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    for mlx in (lambda a: a.astype(mx.bfloat16), lambda a: a.astype(mx.bfloat16) * 1):
        found = np.array(mlx(mx.array(x)).astype(mx.float32))
        np.testing.assert_array_equal(found, want)


def test_products_round_as_the_exact_product_does() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 2**16, 1 << 15).astype(np.uint16) for _ in range(2))
    x, y = (v.view(ml_dtypes.bfloat16).astype(np.float32) for v in (a, b))
    with np.errstate(all="ignore"):
        want = (x * y).astype(ml_dtypes.bfloat16).astype(np.float32)
    product = mx.view(mx.array(a), mx.bfloat16) * mx.view(mx.array(b), mx.bfloat16)
    np.testing.assert_array_equal(np.array(product.astype(mx.float32)), want)
