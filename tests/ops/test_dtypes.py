"""Result dtypes and promotion, without evaluating anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from tests.ops.dtypes import BINARY, LETTERS, NAMES, REDUCTIONS, UNARY

DTYPES = [getattr(mx, n) for n in NAMES]
NEEDS_AXIS = ("cummax", "cummin", "logcumsumexp")


def check(call: Callable[[Any], Any], row: str) -> None:
    for dtype, letter in zip(DTYPES, row, strict=True):
        x = mx.zeros((3, 2), dtype)
        if letter == "-":
            with pytest.raises(ValueError, match=dtype.name):
                call(x)
        else:
            assert call(x).dtype is getattr(mx, LETTERS[letter]), dtype


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    check(getattr(mx, name), UNARY[name])


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    check(lambda x: getattr(mx, name)(x, x), BINARY[name])


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str) -> None:
    if name == "count_nonzero":
        check(lambda x: mx.count_nonzero(x, axis=0), REDUCTIONS[name])
    else:
        check(lambda x: getattr(mx, name)(x, 0), REDUCTIONS[name])


def test_promotion_is_symmetric_and_that_of_result_type() -> None:
    for a in DTYPES:
        for b in DTYPES:
            expected = mx.result_type(a, b)
            assert (mx.zeros(2, a) + mx.zeros(2, b)).dtype is expected
            assert mx.where(mx.zeros(2, mx.bool_), mx.zeros(2, b), mx.zeros(2, a)).dtype is expected
            assert mx.concatenate([mx.zeros(2, a), mx.zeros(1, b)]).dtype is expected


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("bool_", True, "bool_"), ("bool_", 2, "int32"), ("bool_", 2.5, "float32"),
        ("uint8", 2, "uint8"), ("uint8", 2.5, "float32"), ("int64", True, "int64"),
        ("float16", 3, "float16"), ("bfloat16", 1e3, "bfloat16"), ("int32", 1j, "complex64"),
        ("float16", np.float32(2), "float16"), ("float64", 1j, "complex64"),
        ("int32", np.int64(2), "int32"),
    ],
)  # fmt: skip
def test_numbers_are_weak(dtype: str, value: Any, expected: str) -> None:
    x = mx.zeros(2, getattr(mx, dtype))
    assert (x + value).dtype is getattr(mx, expected)
    assert (value * x if not isinstance(value, np.generic) else x * value).dtype is getattr(
        mx, expected
    )
    assert mx.maximum(value, x).dtype is getattr(mx, expected)


def test_numpy_numbers() -> None:
    """As sizes, counts and places they are integers, as values they have their dtype."""
    two, x = np.int64(2), mx.arange(4)
    assert mx.tile(x, two).shape == (8,) and mx.pad(x, two).shape == (8,)
    assert mx.pad(x, (np.int32(1), 2)).tolist() == [0, 0, 1, 2, 3, 0, 0]
    assert [part.tolist() for part in mx.split(x, two)] == [[0, 1], [2, 3]]
    assert mx.roll(x, np.int64(1)).tolist() == [3, 0, 1, 2]
    assert mx.expand_dims(x, np.int64(0)).shape == (1, 4) and mx.ones(two).shape == (2,)
    for value in (np.int8(1), np.int64(1), np.float16(1.5), np.float32(1.5)):
        assert mx.full(2, value).dtype == mx.array(value).dtype
        assert mx.full(2, value).tolist() == [value.item()] * 2
    assert mx.full(2, np.float64(1.5)).dtype is mx.float32
    assert mx.full(2, np.float32(1.5), mx.int32).tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [mx.bool_, mx.uint8, mx.int16, mx.float16])
def test_reductions_over_no_axes(dtype: mx.Dtype) -> None:
    """They change nothing."""
    x = mx.array([0, 1, 1], dtype)
    for out in (x.sum(axis=[]), mx.sum(x, axis=()), mx.prod(x, axis=[]), mx.max(x, axis=())):
        assert out.dtype is dtype and out.tolist() == x.tolist()


def test_infinite_parts() -> None:
    x = mx.array([complex(math.inf, 0), complex(0, math.inf), complex(-math.inf, 0), 1j])
    assert mx.isinf(x).tolist() == [True, True, True, False]
    assert mx.isposinf(x).tolist() == [True, False, False, False]
    assert mx.isneginf(x).tolist() == [False, False, True, False]


def test_stronger_operands() -> None:
    assert (mx.array(2) + mx.zeros(2, mx.float16)).dtype is mx.float16
    assert mx.add(1, 2.5).dtype is mx.float32 and mx.add(True, 1).dtype is mx.int32


@pytest.mark.parametrize(
    ("dtype", "beside", "expected"),
    [
        ("float16", "float32", "float16"), ("bfloat16", "float64", "bfloat16"),
        ("int8", "int64", "int8"), ("int32", "bool", "int32"), ("float32", "int64", "float32"),
        ("int32", "float64", "float32"), ("bool_", "int64", "int64"),
        ("float32", "complex128", "complex64"), ("complex64", "float64", "complex64"),
    ],
)  # fmt: skip
def test_numpy_arrays_take_the_dtype_beside_them(dtype: str, beside: str, expected: str) -> None:
    x, y = mx.ones(2, getattr(mx, dtype)), np.array([1, 2]).astype(beside)
    wanted = getattr(mx, expected)
    for out in (x + y, x * y[:1], mx.maximum(y, x), mx.where(True, x, y), mx.subtract(y, x)):
        assert out.dtype is wanted
    assert mx.add(y, y).dtype is mx.array(y).dtype


def test_numpy_arrays_keep_what_a_wider_dtype_holds() -> None:
    found = mx.zeros(1, mx.float64) + np.array([1 / 3])
    assert found.item() == 1 / 3


def test_arange_counts_beyond_32_bits() -> None:
    assert mx.arange(2**31, 2**31 + 2).dtype is mx.int64
    assert mx.arange(stop=3).tolist() == [0, 1, 2]
    assert mx.arange(7.0).dtype is mx.float32 and mx.arange(5).dtype is mx.int32


def test_arange_in_integers() -> None:
    assert mx.arange(-1, 1, 0.3, dtype=mx.int32).tolist() == [-1, 0, 1, 2, 3, 4, 5]
    assert mx.arange(0, 3, 0.5, dtype=mx.int32).tolist() == [0] * 6
    assert mx.arange(-2, 2, dtype=mx.uint8).tolist() == [254, 255, 0, 1]
    assert mx.arange(3, 0, -1, dtype=mx.uint8).tolist() == [3, 2, 1]


def test_numbers_beyond_32_bits() -> None:
    assert mx.full(2, 2**40).dtype is mx.int64
    assert mx.add(2**40, 1).item() == 2**40 + 1


def test_limits() -> None:
    assert (mx.iinfo(mx.uint64).max, mx.iinfo(mx.int8).min) == (2**64 - 1, -128)
    assert mx.finfo(mx.float16).max == 65504 and mx.finfo(mx.complex64).dtype is mx.float32
    assert mx.isdtype(mx.uint8, "unsigned integer") and not mx.isdtype(mx.uint8, mx.int8)
    with pytest.raises(ValueError, match="int8"):
        mx.finfo(mx.int8)
