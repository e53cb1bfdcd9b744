"""Arrays print as MLX prints them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (3, None, "array(3, dtype=int32)"),
        (1.5, None, "array(1.5, dtype=float32)"),
        ([True, False], None, "array([True, False], dtype=bool)"),
        ([-100], mx.int8, "array([-100], dtype=int8)"),
        ([NAN, INF, -INF, -0.0, 1e-5, 1e10], None,
         "array([nan, inf, -inf, -0, 1e-05, 1e+10], dtype=float32)"),
        ([0.1, 1 / 3, 123456.0, 1234567.0], None,
         "array([0.1, 0.333333, 123456, 1.23457e+06], dtype=float32)"),
        ([0.1, 1 / 3, 65504, 1e-7], mx.float16,
         "array([0.0999756, 0.333252, 65504, 1.19209e-07], dtype=float16)"),
        ([0.1, 3e38], mx.bfloat16, "array([0.100098, 3.00406e+38], dtype=bfloat16)"),
        ([1e300], mx.float64, "array([1e+300], dtype=float64)"),
        ([1 + 2j, 1 - 2j, complex(0, -0.0), complex(1, -INF)], None,
         "array([1+2j, 1-2j, 0+-0j, 1-infj], dtype=complex64)"),
        ([], None, "array([], dtype=float32)"),
        ([[], []], None, "array([[],\n       []], dtype=float32)"),
        (np.zeros((0, 3), np.float32), None, "array([], dtype=float32)"),
    ],
)  # fmt: skip
def test_elements(value: Any, dtype: mx.Dtype | None, text: str) -> None:
    assert repr(mx.array(value, dtype)) == text
    assert str(mx.array(value, dtype)) == text


def test_six_entries_are_shown_in_full_and_seven_are_not() -> None:
    assert repr(mx.arange(6)) == "array([0, 1, 2, 3, 4, 5], dtype=int32)"
    assert repr(mx.arange(7)) == "array([0, 1, 2, ..., 4, 5, 6], dtype=int32)"


def test_several_axes() -> None:
    assert repr(mx.zeros((2, 2, 2))) == (
        "array([[[0, 0],\n        [0, 0]],\n       [[0, 0],\n        [0, 0]]], dtype=float32)"
    )
    assert repr(mx.zeros((7, 1))) == (
        "array([[0],\n       [0],\n       [0],\n       ...,\n"
        "       [0],\n       [0],\n       [0]], dtype=float32)"
    )


def test_options() -> None:
    third = mx.array([1 / 3, 12.5])
    with mx.printoptions(precision=3):
        assert repr(third) == "array([0.333, 12.500], dtype=float32)"
        assert mx.get_printoptions().precision == 3
    assert repr(third) == "array([0.333333, 12.5], dtype=float32)"
    mx.set_printoptions(precision=1)
    assert repr(mx.array(1 / 3 + 2j)) == "array(0.3+2.0j, dtype=complex64)"
    mx.set_printoptions()
    assert mx.get_printoptions().precision == -1
    with pytest.raises(TypeError, match="precision must be an integer"):
        mx.set_printoptions(3.5)


def test_format() -> None:
    assert f"{mx.array(2.5):.2f} {mx.array(5):4d} {mx.array(2.5)}" == "2.50    5 2.5"
    assert f"{mx.array([1])}" == "array([1], dtype=int32)"
    with pytest.raises(TypeError, match="0-dimensional"):
        f"{mx.array([1.5]):.2f}"
