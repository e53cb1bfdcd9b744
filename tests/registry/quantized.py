"""Samples of products with quantized matrices."""

from __future__ import annotations

import numpy as np

from mlx.base import dtype as dt
from mlx.primitives import quantized
from tests.registry.kinds import Sample
from tests.registry.structured import given, numbers


def _sample(
    bits: int, group: int, rows: int, outputs: int, k: int, dtype: dt.Dtype = dt.float32,
    lead: tuple[int, ...] = (), scales: dt.Dtype | None = None, transposed: bool = True,
) -> Sample:  # fmt: skip
    rng = np.random.default_rng(bits)
    far, near = (outputs, k) if transposed else (k, outputs)
    words = rng.integers(0, 2**32, (*lead, far, near * bits // 32), dtype=np.uint32)
    groups = (*lead, far, near // group)
    return Sample(
        quantized.QuantizedMatMul(group, bits, transposed),
        (
            numbers(*lead, rows, k, dtype=dtype),
            words,
            numbers(*groups, dtype=scales or dtype, seed=1),
            numbers(*groups, dtype=scales or dtype, seed=2),
        ),
    )


def _floating(
    mode: str, rows: int, outputs: int, k: int, dtype: dt.Dtype = dt.float32,
    transposed: bool = True,
) -> Sample:  # fmt: skip
    group, bits = {"mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}[mode]
    rng = np.random.default_rng(rows)
    far, near = (outputs, k) if transposed else (k, outputs)
    words = rng.integers(0, 2**32, (far, near * bits // 32), dtype=np.uint32)
    if bits == 8:
        words &= np.uint32(0xBFBFBFBF)  # no NaN
    low, high = (40, 70) if mode == "nvfp4" else (124, 130)
    scales = rng.integers(low, high, (far, near // group), dtype=np.uint8)
    primitive = quantized.QuantizedMatMul(group, bits, transposed, mode)
    return Sample(primitive, (numbers(rows, k, dtype=dtype), words, scales))


@given("QuantizedMatMul")
def _quantized() -> list[Sample]:
    return [
        _sample(4, 64, 1, 5, 192),
        _sample(4, 32, 2, 3, 160, lead=(2,)),
        _sample(8, 128, 5, 9, 128),
        _sample(8, 32, 3, 2, 96, dt.float16),
        _sample(2, 32, 1, 6, 288, dt.bfloat16),
        _sample(2, 128, 7, 1, 128),
        _sample(4, 128, 1, 4, 256, dt.float32, scales=dt.float16),
        _sample(4, 64, 0, 4, 64),
        _sample(4, 64, 2, 3, 0),
        _sample(3, 32, 2, 5, 64),
        _sample(5, 32, 10, 3, 96, lead=(2,)),
        _sample(4, 64, 12, 35, 128, dt.bfloat16),
        _sample(6, 32, 3, 96, 5, transposed=False),
        _sample(2, 64, 1, 64, 7, dt.float16, lead=(2,), transposed=False),
        _sample(3, 32, 3, 32, 6, dt.bfloat16, transposed=False),
        _sample(4, 32, 2, 32, 0, transposed=False),
        _sample(1, 32, 1, 5, 96),
        _sample(3, 64, 1, 5, 576, dt.bfloat16),
        _sample(6, 128, 4, 7, 640),
        _floating("mxfp4", 1, 7, 160),
        _floating("mxfp4", 3, 5, 96, dt.bfloat16),
        _floating("nvfp4", 2, 5, 144),
        _floating("mxfp8", 1, 6, 96),
        _floating("mxfp8", 20, 33, 64),
        _floating("nvfp4", 18, 5, 48, dt.float16),
        _floating("mxfp4", 4, 64, 6, transposed=False),
    ]
