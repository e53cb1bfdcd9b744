"""Selecting against NumPy's stable sort: any dtype, order of elements, layout and threads."""

import numpy as np
import pytest

import mlx.core as mx
from mlx.base import dtype as dt
from mlx.primitives.ordering import ArgSelect
from mlx.runtime import team
from tests.kernels.arrays import VIEWS, computed, leaf, numbers
from tests.kernels.test_sort import stable_order
from tests.reference import primitives as reference


def check(x, axis, *counts):
    order = stable_order(computed(x), axis)
    n = order.shape[axis]
    for count in counts:
        for largest in (True, False):
            got = computed(ArgSelect(axis, count, largest)(x))
            cut = range(n - count, n) if largest else range(count)
            assert np.array_equal(got, np.sort(np.take(order, cut, axis), axis)), (count, largest)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_every_dtype(dtype):
    rng = np.random.default_rng(0)
    for shape, axis in (((2, 700), 1), ((1030, 3), 0), ((2, 15), 1)):
        check(leaf(numbers(rng, shape, dtype), dtype), axis, 1, 5, 15)


@pytest.mark.parametrize("make", [np.arange, lambda n: -np.arange(n), np.zeros, np.ones])
def test_every_order(make):
    """Buffers fill up often where elements come in the worst order."""
    check(leaf(make(9000).astype(np.float32)), 0, 1, 40, 1500, 9000)
    check(leaf(make(9000).astype(np.uint32)), 0, 40)


def test_all_bits_set():
    check(leaf(np.full(5000, 0xFFFFFFFF, np.uint32)), 0, 40)
    check(leaf(np.full(5000, np.nan, np.float32)), 0, 40)
    x = np.zeros(5000, np.float32)
    x[100:4000:3] = np.nan
    check(leaf(x), 0, 40, 1299, 1301)


@pytest.mark.parametrize("view", VIEWS)
def test_strided_operands(view):
    x = numbers(np.random.default_rng(2), (4, 5, 37), dt.float32)
    for axis in range(3):
        check(view(leaf(x)), axis, 1, 3)


@pytest.mark.parametrize("dtype", [dt.float32, dt.int64, dt.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("threads", [1, 2])
def test_long_rows(threads, dtype):
    rng = np.random.default_rng(3)
    with team.threads(threads):
        check(leaf(numbers(rng, (70_001,), dtype), dtype), 0, 1, 50, 1000)
        check(leaf(numbers(rng, (70_001, 2), dtype), dtype), 0, 7)


@pytest.mark.parametrize("threads", [1, 2])
def test_rest(threads):
    x = leaf(numbers(np.random.default_rng(4), (70_001,), dt.float32))
    with team.threads(threads):
        for largest in (True, False):
            select = ArgSelect(0, 50, largest, rest=True)
            want = reference.REFERENCE["ArgSelect"](select, None, computed(x))
            assert np.array_equal(computed(select(x)), want)


@pytest.mark.parametrize("kth", [0, 3, -1, -20, 150])
def test_partition(kth):
    x = numbers(np.random.default_rng(5), (3, 300), dt.float32)
    for axis, place in ((1, kth), (0, kth % 3)):
        got, order = np.array(mx.partition(mx.array(x), place, axis)), np.sort(x, axis)
        place %= x.shape[axis]
        want, have = (np.moveaxis(a, axis, 0) for a in (order, got))
        assert np.array_equal(have[place], want[place], equal_nan=True)
        assert np.array_equal(np.sort(have[:place], 0), want[:place], equal_nan=True)
        assert np.array_equal(np.sort(have[place:], 0), want[place:], equal_nan=True)
        indices = np.array(mx.argpartition(mx.array(x), place, axis)).astype(np.int64)
        assert np.array_equal(np.take_along_axis(x, indices, axis), got, equal_nan=True)


def test_topk_is_the_end_of_a_sort():
    """Signs of zeros and the derivative included."""
    x = numbers(np.random.default_rng(6), (3, 300), dt.float32)
    a = mx.array(x)
    assert np.array_equal(np.array(mx.topk(a, 20)), np.array(mx.sort(a)[:, -20:]), equal_nan=True)
    y = mx.array(np.linspace(-1, 1, 400, dtype=np.float32)[::-1].reshape(2, 200).copy())
    got = mx.grad(lambda y: (mx.topk(y, 3) * mx.array([1.0, 2.0, 3.0])).sum())(y)
    want = mx.grad(lambda y: (mx.sort(y)[:, -3:] * mx.array([1.0, 2.0, 3.0])).sum())(y)
    assert mx.array_equal(got, want)
