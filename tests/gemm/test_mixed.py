"""Operands that are cast for a product are read as they were before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx


@pytest.mark.parametrize("sizes", [(1, 64, 48), (3, 64, 48), (40, 64, 1), (33, 700, 48)])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision_by_float32_is_a_float32_product(dtype: Any, sizes: Any) -> None:
    m, k, n = sizes
    x, half = mx.random.normal((m, k)), mx.random.normal((k, n)).astype(dtype)
    wide = half.astype(mx.float32)
    other = mx.random.normal((m, k)).astype(dtype)
    other_wide = other.astype(mx.float32)
    mx.eval(x, wide, other, other_wide)
    assert (np.array(x @ half) == np.array(x @ wide)).all()
    assert (np.array(x @ half.T.T) == np.array(x @ wide)).all()
    both = other.astype(mx.float32) @ half.astype(mx.float32)
    assert both.dtype == mx.float32
    assert (np.array(both) == np.array(other_wide @ wide)).all()


def test_no_wide_copy_is_made() -> None:
    x, half = mx.random.normal((8, 64)), mx.random.normal((64, 48)).astype(mx.bfloat16)
    mx.eval(x, half)
    assert len(mx.explain(lambda a, b: a @ b, x, half).kernels) == 1
