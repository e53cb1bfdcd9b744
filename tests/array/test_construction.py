"""What array() accepts and which dtypes come of it; expected dtypes are MLX's."""

from __future__ import annotations

import array as buffers
from collections import namedtuple
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlx.core as mx


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, mx.int32),
        (2**31, mx.int64),
        (-(2**31), mx.int32),
        (1.5, mx.float32),
        (True, mx.bool_),
        (1j, mx.complex64),
        ([True, 1], mx.int32),
        ([1, 2.5], mx.float32),
        ([1, True, 2j], mx.complex64),
        ([1, 2**40], mx.int64),
        ([], mx.float32),
        ([[], []], mx.float32),
        (np.ones(2), mx.float32),
        (np.ones(2, complex), mx.complex64),
        (np.arange(3), mx.int64),
        (np.float16(2), mx.float16),
        (np.float64(2), mx.float32),
        (np.ones(2, ml_dtypes.bfloat16), mx.bfloat16),
        (np.array([1], ">i4"), mx.int32),
        (b"abc", mx.uint8),
        (buffers.array("d", [1.5]), mx.float32),
    ],
)
def test_natural_dtypes(value: Any, dtype: mx.Dtype) -> None:
    a = mx.array(value)
    assert a.dtype is dtype
    expected = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.array(value)
    assert a.shape == expected.shape
    np.testing.assert_array_equal(np.array(a), expected.astype(dtype.numpy))


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (300, mx.uint8, 44),
        (-1, mx.uint8, 255),
        (1.7, mx.int32, 1),
        (1j, mx.float32, 0),
        ([1.5, 0], mx.bool_, [True, False]),
        (2**63, mx.uint64, 2**63),
        ([2**63], mx.uint64, [2**63]),
        (2**64, mx.float32, 2.0**64),
        (1e300, mx.float64, 1e300),
        (np.array([1.5, -1.5]), mx.int8, [1, -1]),
    ],
)
def test_conversion_to_a_dtype(value: Any, dtype: mx.Dtype, expected: Any) -> None:
    a = mx.array(value, dtype)
    assert a.dtype is dtype
    assert a.tolist() == expected


def test_lists_that_contain_arrays_are_stacked() -> None:
    a = mx.array([mx.array([1, 2]), [3.5, 4]])
    assert a.dtype is mx.float32
    assert a.tolist() == [[1, 2], [3.5, 4]]
    assert mx.array([[mx.array(1), 2], (3, 4)]).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="non-uniform length"):
        mx.array([mx.array([1, 2]), mx.array([1])])


def test_lists_that_contain_arrays_have_gradients() -> None:
    assert mx.grad(lambda x: (mx.array([x, 2.0, x]) * 3).sum())(mx.array(1.0)).item() == 6


def test_named_tuples_are_sequences() -> None:
    assert mx.array(namedtuple("Point", "x y")(1, 2)).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "None"),
        ("a", ValueError, "Invalid type str"),
        ([1, "a"], ValueError, "Invalid type str"),
        ([None], ValueError, "Invalid type NoneType"),
        ({}, ValueError, "Invalid type dict"),
        (range(3), ValueError, "Invalid type range"),
        ([[1, 2], [3]], ValueError, "non-uniform length"),
        ([1, [2]], ValueError, "non-uniform length"),
        (2**63, ValueError, "does not fit int64"),
        ([2**70], ValueError, "does not fit int64"),
        (np.array(["a"]), ValueError, "Cannot convert"),
        (np.array([object()]), ValueError, "Cannot convert"),
    ],
)
def test_what_is_no_array(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mx.array(value)


def test_a_list_that_contains_itself() -> None:
    values: list[Any] = []
    values.append(values)
    with pytest.raises(ValueError, match="nested deeper"):
        mx.array(values)


def test_wrong_dtype_argument() -> None:
    with pytest.raises(TypeError, match="dtype must be a data type"):
        mx.array([1], "float32")


def test_numpy_arrays_are_copied() -> None:
    source = np.zeros(4, np.float32)
    a = mx.array(source) + 1
    source[:] = 7
    assert a.tolist() == [1, 1, 1, 1]


def test_strided_numpy_arrays() -> None:
    source = np.arange(24).reshape(2, 3, 4)
    for view in (source.T, source[::-1], source[:, 1:, ::2], source[..., None]):
        np.testing.assert_array_equal(np.array(mx.array(view)), view)


NUMBERS = [
    [0, 1, 200, -3], [True, False], [True, 3], [1.5, 2, -0.0], [1e39, 2.0], [65504.0, 65520.0, 0.1],
    [2**24 + 1, 2**53 + 1], [2**60, -1], [2**31], [float("nan"), float("-inf")], (1, 2),
    ((1, 2), [3, 4]), [[[1.5], [2.0]], [[0.1], [4.0]]], [[1, 2.5], [True, 0]], [[]], [[[[[1]]]]],
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "dtype", [mx.bool_, mx.uint8, mx.int32, mx.int64, mx.float16, mx.float32, mx.float64]
)
def test_python_numbers_are_converted_as_numpy_converts(value: Any, dtype: mx.Dtype) -> None:
    natural = np.array(value)
    found = np.array(mx.array(value, dtype))
    if natural.dtype.kind == "f" and dtype not in (mx.bool_, mx.float16, mx.float32, mx.float64):
        expected = np.array(mx.array(natural.astype(np.float64), mx.float64).astype(dtype))
    else:
        with np.errstate(all="ignore"):
            expected = natural.astype(found.dtype)
    np.testing.assert_array_equal(found, expected)


def test_values_along_one_axis_come_out_as_numpy_gives_them() -> None:
    for dtype in (mx.bool_, mx.int8, mx.uint64, mx.float16, mx.bfloat16, mx.float32, mx.complex64):
        for size in (0, 1, 5, 3000):
            x = mx.arange(size).astype(dtype)
            values = np.array(x.astype(mx.float32) if dtype is mx.bfloat16 else x).tolist()
            assert x.tolist() == values
            assert [type(v) for v in x.tolist()] == [type(v) for v in values]
