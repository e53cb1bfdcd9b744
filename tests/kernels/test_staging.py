"""Transposed operands of fused kernels, read through staged tiles."""

import numpy as np
import pytest

import mlx.core as mx
from mlx.base import dtype as dt
from mlx.primitives.elementwise import Add
from mlx.primitives.reductions import Max, Sum, broadcast_axes
from mlx.primitives.views import Slice, transpose
from mlx.runtime import team
from tests.kernels.arrays import computed, leaf, numbers


def plus(a, b):
    return Add()(a, b)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(16, 16), (33, 70), (130, 2100)])
def test_a_transposed_operand(dtype, shape):
    rng = np.random.default_rng(0)
    a, b = numbers(rng, shape, dtype, False), numbers(rng, shape[::-1], dtype, False)
    got = computed(plus(transpose(leaf(a, dtype), (1, 0)), leaf(b, dtype)))
    plain = computed(plus(leaf(np.ascontiguousarray(a.T), dtype), leaf(b, dtype)))
    assert np.array_equal(got, plain)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_three_axes(axes):
    a = np.random.default_rng(1).standard_normal((19, 35, 50)).astype(np.float32)
    x = transpose(leaf(a), axes)
    assert np.array_equal(computed(plus(x, x)), 2 * a.transpose(axes))


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_rows_follow_lines_of_memory(axes):
    """Large enough to have its loops in another order; with an operand that lies along the rows."""
    a = np.random.default_rng(5).standard_normal((37, 60, 81)).astype(np.float32)
    b = np.random.default_rng(6).standard_normal([a.shape[i] for i in axes]).astype(np.float32)
    got = computed(plus(transpose(leaf(a), axes), leaf(b)))
    assert np.array_equal(got, a.transpose(axes) + b)


def test_four_axes_reversed():
    a = np.random.default_rng(7).standard_normal((20, 9, 33, 40)).astype(np.float32)
    x = transpose(leaf(a), (3, 2, 1, 0))
    assert np.array_equal(computed(plus(x, x)), 2 * a.T)


@pytest.mark.parametrize("dtype", [dt.int8, dt.float16, dt.float32, dt.int64], ids=str)
@pytest.mark.parametrize("shape", [(300, 4096), (90, 1024)])
def test_lines_that_share_sets_of_the_cache(dtype, shape):
    a = numbers(np.random.default_rng(8), shape, dtype, False)
    x = transpose(leaf(a, dtype), (1, 0))
    plain = leaf(np.ascontiguousarray(a.T), dtype)
    assert np.array_equal(computed(plus(x, x)), computed(plus(plain, plain)))


def test_rows_in_another_order_are_reduced_alike():
    a = np.random.default_rng(9).standard_normal((40, 50, 90)).astype(np.float32)
    x = transpose(leaf(a), (2, 1, 0))
    plain = leaf(np.ascontiguousarray(a.T))
    assert np.array_equal(computed(Sum(2)(x)), computed(Sum(2)(plain)))


def test_a_slice_and_two_operands():
    a, b = np.random.default_rng(2).standard_normal((2, 90, 75)).astype(np.float32)
    part = Slice((3, 5), (1, 1), (80, 61))(leaf(a))
    other = transpose(Slice((2, 70), (1, -1), (80, 61))(leaf(b)), (1, 0))
    got = computed(plus(transpose(part, (1, 0)), other))
    assert np.array_equal(got, a[3:83, 5:66].T + b[2:82, 70:9:-1].T)


@pytest.mark.parametrize("threads", [1, 2])
def test_reductions_keep_their_order(threads):
    a = np.random.default_rng(3).standard_normal((300, 100)).astype(np.float32)

    def normalized(x):
        above = x - broadcast_axes(Max(1)(x), x.shape, (0,))
        return above / broadcast_axes(Sum(1)(above * above), x.shape, (0,))

    with team.threads(threads):
        got = computed(normalized(transpose(leaf(a), (1, 0))))
        plain = computed(normalized(leaf(np.ascontiguousarray(a.T))))
    assert np.array_equal(got, plain)


@pytest.mark.parametrize("length", [2, 8, 9, 12, 15])
@pytest.mark.parametrize("dtype", [dt.int8, dt.bfloat16, dt.float32, dt.int64], ids=str)
def test_short_lines(length, dtype):
    """Too long to be unrolled, too short for a tile; large and small arrays."""
    for shape in ((length, 40, 61), (length, 300, 500)):
        a = numbers(np.random.default_rng(10), shape, dtype, False)
        x, axes = transpose(leaf(a, dtype), (1, 2, 0)), (1, 2, 0)
        plain = leaf(np.ascontiguousarray(a.transpose(axes)), dtype)
        assert np.array_equal(computed(plus(x, x)), computed(plus(plain, plain)))


@pytest.mark.parametrize("step", [17, 400])
def test_a_column_that_all_rows_read(step):
    """Far-apart elements are copied before many rows read them again."""
    a = np.random.default_rng(11).standard_normal((500, step)).astype(np.float32)
    b = np.random.default_rng(12).standard_normal((3, 300, 500)).astype(np.float32)
    column = mx.array(a)[:, 3]
    assert np.array_equal(mx.array(b) + column, b + a[:, 3])
    assert np.array_equal(mx.outer(column, column), np.outer(a[:, 3], a[:, 3]))
    assert np.array_equal((mx.array(b) * column).max(1), (b * a[:, 3]).max(1))
