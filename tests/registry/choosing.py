"""Samples of products with chosen matrices."""

from __future__ import annotations

import numpy as np

from mlx.base import dtype as dt
from mlx.primitives import chosen, quantized
from tests.registry.kinds import Sample
from tests.registry.structured import given, numbers


def _index(items: int, choices: int) -> np.ndarray:
    return np.random.default_rng(items).integers(0, choices, items).astype(np.int32)


@given("ChosenMatMul")
def _products() -> list[Sample]:
    def sample(
        items: int, each: int, k: int, n: int, choices: int, dtype: dt.Dtype = dt.float32
    ) -> Sample:
        x = numbers(items * each, k, dtype=dtype)
        w = numbers(choices, k, n, dtype=dtype, seed=1)
        return Sample(chosen.ChosenMatMul(), (x, w, _index(items, choices)))

    return [
        sample(1, 1, 5, 3, 2),
        sample(6, 1, 7, 9, 4),
        sample(40, 1, 16, 5, 3),
        sample(5, 3, 6, 33, 9, dt.bfloat16),
        sample(9, 2, 8, 4, 2, dt.float16),
        sample(4, 2, 3, 5, 3, dt.float64),
        sample(4, 2, 3, 5, 3, dt.complex64),
        sample(30, 1, 3, 5, 3, dt.int32),
        sample(3, 2, 0, 4, 2),
        sample(3, 2, 4, 0, 2),
    ]


@given("ChosenOuter")
def _outer() -> list[Sample]:
    def sample(
        items: int, each: int, k: int, n: int, choices: int, dtype: dt.Dtype = dt.float32
    ) -> Sample:
        x = numbers(items * each, k, dtype=dtype)
        y = numbers(items * each, n, dtype=dtype, seed=1)
        return Sample(chosen.ChosenOuter(choices), (x, y, _index(items, choices)))

    return [
        sample(1, 1, 5, 3, 2),
        sample(6, 1, 7, 9, 4),
        sample(40, 1, 16, 5, 3),
        sample(5, 3, 6, 33, 9, dt.bfloat16),
        sample(4, 2, 3, 5, 3, dt.complex64),
        sample(30, 1, 3, 5, 3, dt.int32),
        sample(3, 1, 0, 5, 3),
    ]


@given("ChosenQuantizedMatMul")
def _quantized() -> list[Sample]:
    def sample(
        items: int, each: int, n: int, k: int, choices: int,
        dtype: dt.Dtype = dt.float32, bits: int = 4, transposed: bool = True,
    ) -> Sample:  # fmt: skip
        far, near = (n, k) if transposed else (k, n)
        rng = np.random.default_rng(bits)
        words = rng.integers(0, 2**32, (choices, far, near * bits // 32), dtype=np.uint32)
        groups = choices, far, near // 32
        scales, biases = (numbers(*groups, dtype=dtype, seed=s) for s in (1, 2))
        x = numbers(items * each, k, dtype=dtype)
        of = quantized.QuantizedMatMul(32, bits, transposed)
        index = _index(items, choices)
        return Sample(chosen.ChosenQuantizedMatMul(of), (x, words, scales, biases, index))

    return [
        sample(1, 1, 5, 64, 3),
        sample(6, 2, 7, 96, 4, bits=3),
        sample(60, 1, 9, 32, 2, dt.bfloat16),
        sample(7, 1, 64, 6, 3, dt.float16, transposed=False),
    ]
