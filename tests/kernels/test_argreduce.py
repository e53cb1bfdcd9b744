"""Arg-reductions against NumPy: the first extreme element, and the first NaN."""

import numpy as np
import pytest

from mlx.base import dtype as dt
from mlx.primitives.ordering import ArgMax, ArgMin
from mlx.runtime import team
from tests.kernels.arrays import VIEWS, computed, leaf, numbers, wide

SHAPES = [((1,), 0), ((70,), 0), ((7, 300), 1), ((7, 300), 0), ((3, 5, 70), 1), ((3, 1100, 2), 1)]


def check(x, axis):
    """``x`` is a node whose value is known to be right."""
    value = wide(computed(x))
    assert np.array_equal(computed(ArgMax(axis)(x)), np.argmax(value, axis))
    assert np.array_equal(computed(ArgMin(axis)(x)), np.argmin(value, axis))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_every_dtype(dtype):
    rng = np.random.default_rng(0)
    for shape, axis in SHAPES:
        check(leaf(numbers(rng, shape, dtype, special=False), dtype), axis)
    rare = numbers(rng, (90, 33), dtype, special=False)
    if dtype.is_inexact:
        rare[rng.random(rare.shape) < 0.01] = np.nan
    check(leaf(rare, dtype), 0)
    check(leaf(rare, dtype), 1)


@pytest.mark.parametrize("view", VIEWS)
def test_strided_operands(view):
    x = numbers(np.random.default_rng(1), (4, 9, 37), dt.float32)
    for axis in range(3):
        check(view(leaf(x)), axis)


@pytest.mark.parametrize("threads", [1, 2])
def test_few_long_rows_are_divided(threads):
    x = np.random.default_rng(2).integers(0, 1000, 200_000).astype(np.float32)
    late = x.copy()
    late[[150_001, 150_002]] = np.nan
    with team.threads(threads):
        for values in (x, late):
            check(leaf(values), 0)
            check(leaf(np.stack([values, -values])), 1)
            check(leaf(np.stack([values, -values], 1)), 0)


@pytest.mark.parametrize("size", [2, 3, 10, 16, 17, 32, 33])
def test_many_short_rows(size):
    x = np.random.default_rng(3).integers(0, 5, ((1 << 17) // size + 7, size)).astype(np.float32)
    late = x.copy()
    late[::5, -1] = np.nan
    for values in (x, late, x.astype(np.uint8)):
        check(leaf(values), 1)
        check(leaf(values[:100]), 1)
        check(leaf(np.asfortranarray(values)), 1)


def test_an_axis_without_elements_is_refused():
    with pytest.raises(ValueError, match="ArgMax"):
        computed(ArgMax(1)(leaf(np.zeros((3, 0), np.float32))))
    assert computed(ArgMax(1)(leaf(np.zeros((0, 3), np.float32)))).shape == (0,)
