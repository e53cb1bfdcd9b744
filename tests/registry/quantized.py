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
    ]
