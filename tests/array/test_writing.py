"""``a[...] = v``, ``a.at[...]`` and their kin against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from tests.array.test_reading import INDICES, LINE, VALUES, converted


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_against_numpy(index: Any) -> None:
    shape = VALUES[index].shape
    for value in (np.array(-1), -np.arange(1, 1 + int(np.prod(shape))).reshape(shape)):
        expected = VALUES.copy()
        expected[index] = value
        a = mx.array(VALUES)
        before = a * 1
        a[converted(index)] = mx.array(value)
        np.testing.assert_array_equal(np.asarray(a), expected)
        np.testing.assert_array_equal(np.asarray(before), VALUES)


@pytest.mark.parametrize(
    ("index", "value", "expected"),
    [
        (0, 1.7, [1, 1, 2, 3, 4]),
        (0, True, [1, 1, 2, 3, 4]),
        (slice(1, 3), [8, 9], [0, 8, 9, 3, 4]),
        ([0, 0], mx.array([1, 2]), [2, 1, 2, 3, 4]),
        (slice(None), mx.array([[5, 6, 7, 8, 9]]), [5, 6, 7, 8, 9]),
        (slice(None, None, -2), mx.array([7, 8, 9]), [9, 1, 8, 3, 7]),
        ([], 1, [0, 1, 2, 3, 4]),
    ],
)
def test_values(index: Any, value: Any, expected: list[int]) -> None:
    a = mx.array(LINE)
    a[index] = value
    assert a.dtype is mx.int64 and a.tolist() == expected


def test_masks() -> None:
    a = mx.array(LINE)
    a[a > 2] = 0
    assert a.tolist() == [0, 1, 2, 0, 0]
    mask = mx.array([True, False, True, False, True])
    a[mask] = mx.array([7, 8, 9])
    assert a.tolist() == [7, 1, 8, 0, 9]
    b = mx.array(VALUES)
    b[mx.array([[True, False, False], [False, False, True]])] = mx.array([[1, 2, 3, 4]] * 2)
    expected = VALUES.copy()
    expected[0, 0] = expected[1, 2] = [1, 2, 3, 4]
    np.testing.assert_array_equal(np.asarray(b), expected)
    a[True] = 3
    assert a.tolist() == [3] * 5
    a[mask] = mx.array([1, 2])
    with pytest.raises(IndexError):
        mx.eval(a)


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (5, 1, IndexError, "out of bounds"),
        ("a", 1, ValueError, "given type: str"),
        (0, None, TypeError, "got None"),
        (0, "a", ValueError, "Invalid type str"),
        (slice(1, 3), mx.array([1, 2, 3]), ValueError, "broadcast"),
        (mx.array([True, False]), 1, ValueError, "boolean mask should have the same shape"),
        ((None, mx.array([True] * 5)), 1, ValueError, "only index"),
    ],
)
def test_errors(index: Any, value: Any, error: type[Exception], message: str) -> None:
    a = mx.array(LINE)
    with pytest.raises(error, match=message):
        a[index] = value
    assert a.tolist() == LINE.tolist()


def test_index_out_of_bounds_leaves_others_alone() -> None:
    a = mx.array(LINE)
    b = a * 2
    a[mx.array([9])] = 1
    with pytest.raises(IndexError, match=r"\[scatter\] index 9"):
        mx.eval(a)
    assert b.tolist() == (LINE * 2).tolist()


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize(
    ("name", "ufunc", "value"),
    [
        ("add", np.add, 3.0),
        ("subtract", np.subtract, 3.0),
        ("multiply", np.multiply, 2.0),
        ("divide", np.divide, 2.0),
        ("maximum", np.maximum, 7.0),
        ("minimum", np.minimum, 7.0),
    ],
)
def test_at(index: Any, name: str, ufunc: Any, value: float) -> None:
    a = mx.array(VALUES).astype(mx.float32)
    found = getattr(a.at[converted(index)], name)(value)
    expected = VALUES.astype(np.float32)
    ufunc.at(expected, index, value)
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.asarray(a), VALUES)


def test_at_counts_repeated_indices() -> None:
    a = mx.zeros(3, mx.int32)
    assert a.at[[0, 0, 2]].add(mx.array([1, 2, 3])).tolist() == [3, 0, 3]
    a[[0, 0]] += 1
    assert a.tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="Must give indices"):
        a.at.add(1)
    with pytest.raises(ValueError, match="Boolean masks"):
        a.at[a > 0].add(1)


def test_integers_divide_exactly() -> None:
    assert mx.array([7, -7, 9]).at[mx.array([0, 1, 1])].divide(2).tolist() == [3, -1, 9]


def test_put_along_axis() -> None:
    rng = np.random.default_rng(0)
    for axis in (0, 1, 2, -1):
        shape = list(VALUES.shape)
        shape[axis] = 2
        indices = np.argsort(rng.random(VALUES.shape), axis)
        indices = np.take(indices, [0, 1], axis)
        values = rng.integers(0, 9, shape)
        expected = VALUES.copy()
        np.put_along_axis(expected, indices, values, axis)
        found = mx.put_along_axis(mx.array(VALUES), mx.array(indices), mx.array(values), axis=axis)
        np.testing.assert_array_equal(np.asarray(found), expected)
    flat = mx.put_along_axis(mx.array(LINE), mx.array([1, 1]), mx.array([7.9, 8.9]), axis=None)
    assert flat.tolist() == [0, 8, 2, 3, 4]


def test_slice_update() -> None:
    a = mx.array(VALUES)
    found = mx.slice_update(a, mx.zeros((2, 1, 2)), mx.array([2, 1]), (2, 1))
    expected = VALUES.copy()
    expected[:, 1:2, 2:4] = 0
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert found.dtype is mx.int64
    scalar = mx.slice_update(a, mx.array(5), mx.array([1]), (1,))
    expected = VALUES.copy()
    expected[:, 1] = 5
    np.testing.assert_array_equal(np.asarray(scalar), expected)
    with pytest.raises(IndexError, match="window of 2 at 2"):
        mx.eval(mx.slice_update(a, mx.zeros((2, 2, 4)), mx.array([2]), (1,)))
    with pytest.raises(ValueError, match="broadcast"):
        mx.slice_update(a, mx.zeros((5, 1, 4)), mx.array([1]), (1,))


def test_gradients_of_writes() -> None:
    def loss(x: mx.array, v: mx.array) -> mx.array:
        x = x * 1
        x[mx.array([0, 2, 2])] = v
        return (x * mx.array([1.0, 2.0, 3.0, 4.0])).sum()

    of_x, of_v = mx.grad(loss, argnums=(0, 1))(mx.ones(4), mx.array([5.0, 6.0, 7.0]))
    assert of_x.tolist() == [0, 2, 0, 4]
    assert of_v.tolist() == [1, 0, 3]  # the second is overwritten by the third


def test_embedding_gradients_add_up() -> None:
    w = mx.ones((3, 2), mx.bfloat16)
    grad = mx.grad(lambda w: w[mx.array([0, 0, 2])].sum())(w)
    assert grad.dtype is mx.bfloat16 and grad.tolist() == [[2, 2], [0, 0], [1, 1]]
