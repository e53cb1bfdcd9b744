"""``a[...]`` against NumPy, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

VALUES = np.arange(24).reshape(2, 3, 4)
LINE = np.arange(5)


def converted(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(converted(i) for i in index)
    return mx.array(index) if isinstance(index, np.ndarray) else index


PAIR, COLUMN, THREE = np.array([0, 1]), np.array([[0], [1]]), np.array([-1, 0, 1])
INDICES = [
    0, -1, (0, 1, 2), ..., (..., 0), None, (slice(None), None, 1), (), slice(1, None),
    (slice(1, None), slice(None, None, 2)), slice(None, None, -1), (0, slice(None, None, -2)),
    (slice(5, 1, -1),), slice(10, None), slice(-10, 3), (None, None, None, 0), (0, ..., None),
    PAIR, COLUMN, THREE[:1] * 0, (PAIR, PAIR), (PAIR, slice(None), THREE[:2]),
    (slice(None), PAIR, THREE[:2]), (0, slice(None), PAIR),
    (PAIR, 0), (PAIR[:1], None, PAIR[:1]), (COLUMN, np.array([0, 1, 2])), ([0, 1], slice(1, None)),
    (None, [0, 1], ..., [2, 3]), (slice(None), 0, [0, 1]), ([0], slice(None), 0), (1, [0, 1]),
    ([0, 1], None), (np.array(0), np.array(1)), (np.array(0), slice(None), np.array(1)),
    (slice(None), [0, 1], slice(None), None), (slice(None, None, -1), PAIR, slice(None, None, -2)),
    (..., THREE), (slice(None), COLUMN, 1), [[0, 1], [1, 0]],
    (slice(None), slice(0, 0)), np.zeros(0, int),
    (1, None, PAIR, slice(1, 3)), (slice(0, 1), ..., THREE[None]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_against_numpy(index: Any) -> None:
    expected = VALUES[index]
    found = mx.array(VALUES)[converted(index)]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(found), expected)
    strided = mx.array(np.ascontiguousarray(VALUES.T)).T[converted(index)]
    np.testing.assert_array_equal(np.asarray(strided), expected)


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int8, mx.int16, mx.uint32, mx.int64, mx.uint64])
def test_index_dtypes(dtype: mx.Dtype) -> None:
    assert mx.array(LINE)[mx.array([4, 0], dtype)].tolist() == [4, 0]


def test_random_subscripts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
        values = rng.integers(0, 100, shape)
        size = (int(rng.integers(1, 4)),) * int(rng.integers(0, 3))
        parts: list[Any] = []
        for n in shape[: rng.integers(0, len(shape) + 1)]:
            kind = rng.integers(0, 5)
            if kind == 0:
                parts.append(int(rng.integers(-n, n)))
            elif kind == 1:
                parts.append(rng.integers(-n, n, size))
            elif kind == 2:
                parts.append(None)
                parts.append(slice(None))
            else:
                start, stop = (int(x) for x in rng.integers(-n - 1, n + 2, 2))
                parts.append(slice(start, stop, int(rng.choice([-3, -2, -1, 1, 2]))))
        index = tuple(parts)
        found = mx.array(values)[converted(index)]
        np.testing.assert_array_equal(np.asarray(found), values[index], err_msg=repr(index))


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (5, IndexError, "Index 5 is out of bounds for axis 0 of size 5"),
        (-6, IndexError, "out of bounds"),
        (2**40, IndexError, "out of bounds"),
        ((0, 0), IndexError, "Too many indices"),
        ((0, 0), ValueError, "Too many indices"),
        ((..., ...), ValueError, "single ellipsis"),
        ("a", ValueError, "given type: str"),
        (1.0, ValueError, "given type: float"),
        ([1.5], ValueError, "must be integers, got an array of float32"),
        (range(2), ValueError, "given type: range"),
        (slice(None, None, 0), ValueError, "step"),
        (slice(1.5, None), ValueError, "Slice indices must be integers or None, got float"),
        ([True, False, True, False, True], ValueError, "boolean indices"),
        (True, ValueError, "boolean indices"),
    ],
)
def test_errors(index: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mx.array(LINE)[index]


def test_index_arrays_out_of_bounds() -> None:
    for bad in ([5], [0, -6], list(range(40))):
        a = mx.array(LINE)[mx.array(bad)]
        with pytest.raises(IndexError, match="size 5; valid indices are -5 to 4"):
            mx.eval(a)
        with pytest.raises(IndexError):  # a failed array fails again
            mx.eval(a + 1)
    with pytest.raises(IndexError, match="index 3 "):
        mx.eval(mx.ones((3, 4))[mx.array([0, 3])])
    with pytest.raises(IndexError, match="size 0"):
        mx.eval(mx.zeros((0, 4))[mx.array([0])])


def test_take() -> None:
    a = mx.array(VALUES)
    indices = np.array([[1, -1], [0, 0]])
    for axis in (0, 1, 2, -1, None):
        found = mx.take(a, mx.array(indices), axis=axis)
        np.testing.assert_array_equal(np.asarray(found), np.take(VALUES, indices, axis=axis))
        found = mx.take(a, 1, axis=axis)
        np.testing.assert_array_equal(np.asarray(found), np.take(VALUES, 1, axis=axis))
    with pytest.raises(IndexError, match="size 2"):
        mx.take(a, 2, axis=0)
    with pytest.raises(ValueError, match="integers"):
        mx.take(a, mx.array([0.5]))
    with pytest.raises(ValueError, match="empty axis"):
        mx.take(mx.zeros((0, 3)), mx.array([0]), axis=0)


def test_take_along_axis() -> None:
    rng = np.random.default_rng(1)
    for axis in (0, 1, 2, -1):
        shape = list(VALUES.shape)
        shape[axis] = 5
        indices = rng.integers(-2, 2, shape)
        found = mx.take_along_axis(mx.array(VALUES), mx.array(indices), axis=axis)
        expected = np.take_along_axis(VALUES, indices, axis)
        np.testing.assert_array_equal(np.asarray(found), expected)
    flat = mx.take_along_axis(mx.array(VALUES), mx.array([3, 23]), axis=None)
    assert flat.tolist() == [3, 23]
    with pytest.raises(ValueError, match="dimension 1 does not match"):
        mx.take_along_axis(mx.array(VALUES), mx.array([0]), axis=0)


def test_slice_at_computed_starts() -> None:
    a = mx.array(VALUES)
    found = mx.slice(a, mx.array([1, 0]), (2, 0), (1, 3, 2))
    np.testing.assert_array_equal(np.asarray(found), VALUES[0:1, :, 1:3])
    assert mx.slice(a, mx.array([-1]), (1,), (2, 1, 4)).tolist() == VALUES[:, 2:].tolist()
    with pytest.raises(IndexError, match="window of 2 at 2"):
        mx.eval(mx.slice(a, mx.array([2]), (1,), (2, 2, 4)))
    for starts, axes, sizes, message in [
        ([1], (1,), (2,), "slice size"),
        ([1], (1,), (2, 4, 4), "slice size"),
        ([1, 1], (1, 1), (2, 1, 4), "Repeat"),
        ([1, 1], (1,), (2, 1, 4), "Number of starting indices"),
        ([1.0], (1,), (2, 2, 4), "integers"),
        ([1], (5,), (2, 2, 4), "Invalid axis 5"),
    ]:
        with pytest.raises(ValueError, match=message):
            mx.slice(a, mx.array(starts), axes, sizes)


def test_slices_under_vmap_start_each_on_its_own() -> None:
    a, starts = mx.array(VALUES), mx.array([[0], [2]])
    found = mx.vmap(lambda x, s: mx.slice(x, s, (1,), (3, 2)))(a, starts)
    expected = np.stack([VALUES[0, :, 0:2], VALUES[1, :, 2:4]])
    np.testing.assert_array_equal(np.asarray(found), expected)
