"""Reductions over an outer axis: the promised order, at depths around the accumulators' number."""

import numpy as np
import pytest

import mlx.core as mx

COMBINE = {"sum": (np.add, 0), "prod": (np.multiply, 1), "max": (np.maximum, -np.inf)}
DEPTHS = (2, 5, 16, 17, 31, 33, 64, 100, 127, 128, 161, 200, 300)


def in_order(x: np.ndarray, name: str) -> np.ndarray:
    """Element k to accumulator k mod lanes; then the upper half of them onto the lower."""
    combine, identity = COMBINE[name]
    lanes = 128 // x.itemsize
    sums = np.full((lanes, *x.shape[1:]), identity, x.dtype)
    for k, row in enumerate(x):
        sums[k % lanes] = combine(sums[k % lanes], row)
    while lanes > 1:
        lanes //= 2
        sums = combine(sums[:lanes], sums[lanes : 2 * lanes])
    return sums[0]


@pytest.mark.parametrize("name", COMBINE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inner", [40, 700])
def test_the_order_is_the_documented_one(name: str, dtype: str, inner: int) -> None:
    rng = np.random.default_rng(inner)
    for depth in DEPTHS:
        x = rng.standard_normal((3, depth, inner)).astype(dtype)
        with mx.stream(mx.cpu):
            found = getattr(mx, name)(mx.array(x, dtype=getattr(mx, dtype)), axis=1)
            assert np.array_equal(found, np.stack([in_order(part, name) for part in x]))


def test_values_computed_for_several_rows_at_once() -> None:
    """Operands of a row, of a column and of both; a result beside the sum."""
    rng = np.random.default_rng(0)
    x, row, column = (
        rng.standard_normal(s).astype(np.float32) for s in ((170, 90), (90,), (170, 1))
    )
    a, b, c = mx.array(x), mx.array(row), mx.array(column)
    product = a * b + c
    total = product.sum(0)
    mx.eval(product, total)
    want = x * row + column
    assert np.array_equal(product, want)
    assert np.array_equal(total, in_order(want, "sum"))
