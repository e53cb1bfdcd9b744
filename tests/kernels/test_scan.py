"""Scans against NumPy's accumulate, and their promise that threads don't matter."""

import numpy as np
import pytest

from mlx.base import dtype as dt
from mlx.primitives.scans import CumMax, CumMin, CumProd, CumSum, LogCumSumExp, Recurrence
from mlx.primitives.views import Transpose
from mlx.runtime import team
from tests.kernels.arrays import VIEWS, computed, leaf, numbers

UFUNC = {
    CumSum: np.add, CumProd: np.multiply, CumMax: np.maximum, CumMin: np.minimum,
    LogCumSumExp: np.logaddexp,
}  # fmt: skip
SHAPES = [((1,), 0), ((3, 70), 1), ((50, 7), 0), ((3, 5, 40), 1), ((2, 3, 4, 5), 2)]
CASES = [
    (make, dtype)
    for make in UFUNC
    for dtype in dt.ALL
    if (make is not LogCumSumExp or dtype.is_float)
    and not (dtype.is_complex and make in (CumMax, CumMin))  # NumPy orders complex otherwise
]
DIRECTIONS = [(reverse, inclusive) for reverse in (False, True) for inclusive in (True, False)]


def accumulated(make, x, axis, reverse, inclusive):
    identity = make(0).identity(dt.from_numpy(x.dtype))
    if x.dtype.kind not in "biu":
        x = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    x = np.moveaxis(x, axis, -1)
    x = x[..., ::-1] if reverse else x
    with np.errstate(invalid="ignore"):
        out = UFUNC[make].accumulate(x, axis=-1, dtype=x.dtype)
    if not inclusive:
        first = np.full((*out.shape[:-1], 1), identity, out.dtype)
        out = np.concatenate([first, out[..., :-1]], -1)
    return np.moveaxis(out[..., ::-1] if reverse else out, -1, axis)


def check(make, x, axis, reverse, inclusive):
    value = computed(x)
    got = computed(make(axis, reverse, inclusive)(x))
    want = accumulated(make, value, axis, reverse, inclusive)
    if not x.dtype.is_inexact:
        assert np.array_equal(got, want)
        return
    tolerance = {"bfloat16": 2e-2, "float16": 3e-3, "float64": 1e-12}.get(x.dtype.name, 3e-5)
    got = got.astype(want.dtype)
    assert np.allclose(got, want, tolerance, 10 * tolerance, equal_nan=True)


@pytest.mark.parametrize("make, dtype", CASES)
def test_every_dtype(make, dtype):
    rng = np.random.default_rng(0)
    for position, (shape, axis) in enumerate(SHAPES):
        x = leaf(numbers(rng, shape, dtype, special=False), dtype)
        check(make, x, axis, *DIRECTIONS[(position + dtype.index) % 4])


@pytest.mark.parametrize("reverse, inclusive", DIRECTIONS)
def test_infinities_and_nan(reverse, inclusive):
    x = leaf(numbers(np.random.default_rng(1), (60, 40), dt.float32))
    for axis in (0, 1):
        check(CumMax, x, axis, reverse, inclusive)
        check(CumMin, x, axis, reverse, inclusive)
        check(CumSum, x, axis, reverse, inclusive)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("reverse", [False, True])
def test_strided_operands(view, reverse):
    x = numbers(np.random.default_rng(2), (4, 5, 37), dt.float32, special=False)
    for axis in range(3):
        check(CumSum, view(leaf(x)), axis, reverse, True)


@pytest.mark.parametrize("shape, axis", [((1_200_007,), 0), ((70_000, 3), 0), ((3, 200_000), 1)])
def test_threads_do_not_matter(shape, axis):
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    for reverse, inclusive in DIRECTIONS:
        found = []
        for threads in (1, 2):
            with team.threads(threads):
                found.append(computed(CumSum(axis, reverse, inclusive)(leaf(x))))
        assert np.array_equal(found[0], found[1])
        want = accumulated(CumSum, x, axis, reverse, inclusive)
        assert np.allclose(found[0], want, 1e-4, 2e-3)


def test_the_order_is_the_documented_one():
    """One chunk of the last axis: blocks of 16, by doubling, from the left."""
    x = np.random.default_rng(4).standard_normal(100).astype(np.float32)
    carry, want = np.float32(0), []
    for start in range(0, 100, 16):
        block = np.zeros(16, np.float32)
        block[: len(x[start : start + 16])] = x[start : start + 16]
        for step in (1, 2, 4, 8):
            block[step:] = block[:-step] + block[step:]
        want += list(carry + block)
        carry = carry + block[-1]
    assert np.array_equal(computed(CumSum(0)(leaf(x))), want[:100])


@pytest.mark.parametrize("shape, axis", [((50,), 0), ((7, 90), 1), ((90, 7), 0), ((10, 20, 3), 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence(shape, axis, reverse):
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, *shape))
    got = np.moveaxis(computed(Recurrence(axis, reverse)(leaf(a), leaf(b))), axis, 0)
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    carry = np.zeros(a.shape[1:])
    for i in range(len(a))[:: -1 if reverse else 1]:
        carry = a[i] * carry + b[i]
        assert np.allclose(got[i], carry, 1e-12, 1e-12)


def test_no_elements():
    assert computed(CumSum(0)(leaf(np.zeros((0, 3), np.float32)))).shape == (0, 3)
    assert computed(CumSum(1)(leaf(np.zeros((2, 0), np.float32)))).shape == (2, 0)


@pytest.mark.parametrize("reverse, inclusive", DIRECTIONS)
@pytest.mark.parametrize(
    "shape, axis",
    [((5003, 7), 1), ((3001, 5, 3), 1), ((2100, 2, 8), 1), ((70_001, 3), 0), ((7, 33, 5), 1),
     ((200, 16), 0), ((200, 20), 0)],
)  # fmt: skip
def test_few_neighbours(shape, axis, reverse, inclusive):
    """Few columns and many short rows, as they lie and turned: the same bits."""
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    for make in (CumSum, CumMax, LogCumSumExp):
        check(make, leaf(x), axis, reverse, inclusive)
        plain = computed(make(axis, reverse, inclusive)(leaf(x)))
        last = leaf(np.ascontiguousarray(np.moveaxis(x, 0, -1)))
        turned = Transpose((x.ndim - 1, *range(x.ndim - 1)))(last)
        assert np.array_equal(computed(make(axis, reverse, inclusive)(turned)), plain)


@pytest.mark.parametrize("shape, axis", [((9, 21), 1), ((21, 9), 0), ((1, 40), 1), ((40, 18), 0)])
@pytest.mark.parametrize("reverse, inclusive", DIRECTIONS)
def test_recurrences(shape, axis, reverse, inclusive):
    rng = np.random.default_rng(6)
    a, b = (rng.standard_normal(shape) for _ in range(2))
    got = computed(Recurrence(axis, reverse, inclusive)(leaf(a), leaf(b)))
    a, b = (np.moveaxis(v, axis, 0) for v in (a, b))
    want, carry = np.empty_like(a), np.zeros(a.shape[1:])
    for i in reversed(range(len(a))) if reverse else range(len(a)):
        following = a[i] * carry + b[i]
        want[i] = following if inclusive else carry
        carry = following
    assert np.allclose(np.moveaxis(got, axis, 0), want, 1e-12, 1e-12)
