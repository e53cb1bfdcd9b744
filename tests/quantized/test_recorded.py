"""Quantization gives the bits that MLX recorded; products agree to rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx

RECORDED = dict(np.load(Path(__file__).with_name("recorded.npz")))
CASES = sorted({key.rsplit(" ", 1)[0] for key in RECORDED if key.endswith("packed")})


def options(case: str) -> tuple[mx.Dtype, dict]:
    mode, name, bits, group = case.split()
    return getattr(mx, name), {"mode": mode, "bits": int(bits), "group_size": int(group)}


def stored(x: mx.array) -> np.ndarray:
    return np.array(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x)


def given(case: str, dtype: mx.Dtype) -> list[mx.array]:
    """The recorded parts as arrays."""
    found = [RECORDED.get(f"{case} {part}") for part in ("packed", "scales", "biases")]
    arrays = [mx.array(a) for a in found if a is not None]
    return [a.view(mx.bfloat16) if a.dtype == mx.uint16 else a for a in arrays]


@pytest.mark.parametrize("case", CASES)
def test_bits(case: str) -> None:
    dtype, form = options(case)
    parts = mx.quantize(mx.array(RECORDED["w"]).astype(dtype), **form)
    for name, part in zip(("packed", "scales", "biases"), parts, strict=False):
        np.testing.assert_array_equal(stored(part), RECORDED[f"{case} {name}"], err_msg=name)
    dense = mx.dequantize(*given(case, dtype), **form)
    np.testing.assert_array_equal(stored(dense), RECORDED[f"{case} dense"])


@pytest.mark.parametrize("case", CASES)
def test_products(case: str) -> None:
    dtype, form = options(case)
    x = mx.array(RECORDED["x"]).astype(dtype)
    got = mx.quantized_matmul(x, *given(case, dtype), **form)
    assert got.dtype is dtype
    want = RECORDED[f"{case} product"]
    rounding = {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 1.6e-2}[dtype]
    dense = np.array(mx.dequantize(*given(case, dtype), **form).astype(mx.float32))
    sizes = np.abs(RECORDED["x"]) @ np.abs(dense).T  # what rounding is relative to
    error = np.abs(np.array(got.astype(mx.float32)) - want)
    assert np.all(error <= rounding * np.maximum(sizes, 1e-6))


def test_eight_bit_floats() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(np.array(mx.to_fp8(mx.array(halves))), RECORDED["halves as fp8"])
    codes = mx.arange(256).astype(mx.uint8)
    got = np.array(mx.from_fp8(codes, mx.float32))
    np.testing.assert_array_equal(got, RECORDED["fp8 as float32"])
    assert mx.from_fp8(codes).dtype is mx.bfloat16
