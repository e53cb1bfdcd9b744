"""Sorting against NumPy's stable sort: NaN last, signs of zeros kept, threads don't matter."""

import numpy as np
import pytest

from mlx.base import dtype as dt
from mlx.primitives.elementwise import cast
from mlx.primitives.ordering import ArgSort, Sort, SortPart
from mlx.runtime import team
from tests.kernels.arrays import VIEWS, computed, leaf, numbers, wide

SHAPES = [((1,), 0), ((3, 70), 1), ((50, 7), 0), ((17, 33), 1), ((2, 3, 4, 5), 2), ((2, 300), 1)]


def stable_order(x, axis):
    if x.dtype.kind != "c":
        return np.argsort(wide(x), axis, kind="stable")
    nan = np.isnan(x)
    real, imaginary = np.where(nan, 0, x.real), np.where(nan, 0, x.imag)
    return np.lexsort((imaginary, real, nan), axis)


def bits(x):
    """Comparable bit for bit, all NaN alike."""
    if x.dtype.kind in "biu":
        return x
    return np.where(np.isnan(wide(x)), 0, x).astype(x.dtype).view(f"u{x.itemsize}")


def check(x, axis):
    value = computed(x)
    order = stable_order(value, axis)
    assert np.array_equal(computed(ArgSort(axis)(x)), order)
    got, want = computed(Sort(axis)(x)), np.take_along_axis(value, order, axis)
    if value.dtype.kind not in "biu":
        assert np.array_equal(np.isnan(wide(got)), np.isnan(wide(want)))
    assert np.array_equal(bits(got), bits(want))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_every_dtype(dtype):
    rng = np.random.default_rng(0)
    for shape, axis in SHAPES:
        check(leaf(numbers(rng, shape, dtype), dtype), axis)


@pytest.mark.parametrize("dtype", [dt.float32, dt.int64], ids=lambda d: d.name)
def test_whole_range(dtype):
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, 8000 * dtype.size, np.uint8).view(dtype.numpy)
    for size in (20, 500, 8000):
        check(leaf(raw[:size], dtype), 0)


@pytest.mark.parametrize("view", VIEWS)
def test_strided_operands(view):
    x = numbers(np.random.default_rng(2), (4, 5, 37), dt.float32)
    for axis in range(3):
        check(view(leaf(x)), axis)


@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.float64, dt.int16, dt.complex64, dt.uint8], ids=lambda d: d.name
)
@pytest.mark.parametrize("threads", [1, 2])
def test_long_rows(threads, dtype):
    rng = np.random.default_rng(3)
    with team.threads(threads):
        check(leaf(numbers(rng, (70_001,), dtype), dtype), 0)
        check(leaf(numbers(rng, (70_001, 2), dtype), dtype), 0)


def nearly_sorted(dtype, size):
    """Rows sorted, equal, and out of order at one place only; signed zeros and NaN among them."""
    rng = np.random.default_rng(4)
    rows = computed(leaf(numbers(rng, (4, size), dtype), dtype))
    if dtype.is_float:
        rows[:, :90] = np.where(rng.random(90) < 0.5, 0.0, -0.0)
        rows[:, 90:99] = np.nan
    rows = np.take_along_axis(rows, stable_order(rows, 1), 1)
    rows[1] = rows[0, 5]
    rows[2, [size - 2, size - 1]] = rows[2, [0, size // 2]]
    rows[3, [255, 256]] = rows[3, [256, 255]]
    return rows


@pytest.mark.parametrize("size", [300, 66_001])
@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.bfloat16, dt.int64, dt.uint8, dt.complex64], ids=lambda d: d.name
)
def test_sorted_rows(dtype, size):
    rows = nearly_sorted(dtype, size)
    with team.threads(2):
        for row in rows:
            check(leaf(row, dtype), 0)
        check(leaf(np.ascontiguousarray(rows.T), dtype), 0)


@pytest.mark.parametrize("digits", [(0,), (0, 1), (2, 5), (0, 3, 7), (3,), (1, 2, 3), (4, 6, 7)])
def test_keys_of_few_digits(digits):
    """Passes over digits that all keys share are left out."""
    rng = np.random.default_rng(5)
    x = np.zeros(66_001, np.int64)
    for digit in digits:
        x ^= rng.integers(0, 256, x.size) << 8 * digit
    with team.threads(2):
        check(leaf(x), 0)


def patterns(size):
    """Keys that choose bad pivots or fill one bucket."""
    rng = np.random.default_rng(6)
    up = np.arange(size)
    yield rng.permutation(size)
    yield np.where(rng.random(size) < 0.9, 7, rng.integers(0, size, size))
    yield rng.integers(0, 2, size)
    yield up[::-1]
    yield np.minimum(up, up[::-1])
    yield up % 97
    yield np.where(up % 9 == 0, up, -1)
    yield np.concatenate([up[1:], up[:1]])
    yield 1 << rng.integers(0, 15, size)


@pytest.mark.parametrize(
    "dtype", [dt.float32, dt.int16, dt.uint64, dt.bfloat16], ids=lambda d: d.name
)
@pytest.mark.parametrize("size", [255, 513, 5000, 70_003])
def test_patterns(dtype, size):
    with team.threads(2):
        for pattern in patterns(size):
            check(leaf(stored_as(pattern, dtype), dtype), 0)


def stored_as(numbers, dtype):
    return computed(cast(leaf(np.ascontiguousarray(numbers).astype(np.int64)), dtype))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("size", [41, 700, 66_001])
def test_parts(dtype, size):
    x = leaf(numbers(np.random.default_rng(7), (size, 2), dtype), dtype)
    with team.threads(2):
        whole = computed(Sort(0)(x))
        for begin, end in ((0, 1), (size // 2, size // 2 + 2), (size - 40, size), (3, size - 3)):
            part = computed(SortPart(0, (begin, end))(x))
            assert np.array_equal(bits(part), bits(whole[begin:end]))


def test_part_of_sorted_rows():
    rows = nearly_sorted(dt.float32, 66_001)
    for row in (rows, rows[:, :300]):
        whole = computed(Sort(1)(leaf(np.ascontiguousarray(row))))
        part = computed(SortPart(1, (50, 120))(leaf(np.ascontiguousarray(row))))
        assert np.array_equal(bits(part), bits(whole[:, 50:120]))


def test_no_elements():
    assert computed(Sort(0)(leaf(np.zeros((0, 3), np.float32)))).shape == (0, 3)
    assert computed(ArgSort(1)(leaf(np.zeros((2, 0), np.float32)))).shape == (2, 0)
