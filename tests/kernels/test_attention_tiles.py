"""Attention on tile registers, under emulation, against float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mlx.backend.llvm.abi import Operand
from mlx.backend.llvm.attention import plan_attention, tile
from mlx.backend.llvm.target import host
from mlx.primitives.attention import Attention, AttentionGradient
from tests.gemm.emulation import pretend
from tests.gemm.runner import Bases, run
from tests.reference.attention import rows_of
from tests.reference.primitives import REFERENCE

pytestmark = pytest.mark.skipif(not host().avx512, reason="emulated by AVX-512")
SIZES = [
    (40, 70, 2, 1, 64, 64, False),
    (33, 150, 1, 1, 80, 33, False),
    (150, 150, 2, 2, 32, 32, True),
    (65, 300, 3, 1, 5, 7, True),
    (20, 18, 1, 1, 128, 100, False),
]


@pytest.fixture(autouse=True)
def with_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine that has tile registers."""
    pretend(monkeypatch, tile)
    tile.tile_for.cache_clear()
    yield
    tile.tile_for.cache_clear()


def computed(primitive: Any, arrays: list[np.ndarray], shapes: list[Any]) -> list[np.ndarray]:
    """Results of a primitive by its kernels alone; ``shapes`` with their dtypes."""
    bases = Bases()

    def operand(array: np.ndarray) -> Operand:
        strides = tuple(s // array.itemsize for s in array.strides)
        return Operand(bases.pointer(array), array.dtype.name, array.shape, strides)

    out = [np.full(shape, 77, dtype) for shape, dtype in shapes]
    inputs, outputs = [operand(a) for a in arrays], [operand(a) for a in out]
    run(plan_attention(primitive, inputs, outputs, bases.scratch, 1), bases)
    return out


def close(got: np.ndarray, want: np.ndarray) -> bool:
    """Whether the error is that of results and weights rounded to bfloat16."""
    gap = got.astype(np.float64) - want
    return bool(np.sqrt(np.mean(gap**2)) < 5e-3 * np.sqrt(np.mean(want**2)))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_forward_and_gradients(sizes: tuple[int, ...]) -> None:
    length, keys, heads, groups, size, value, causal = sizes
    rng, half = np.random.default_rng(1), ml_dtypes.bfloat16
    shapes = [(length, heads, size), (keys, groups, size), (keys, groups, value)]
    q, k, v = (rng.standard_normal(s).astype(half) for s in shapes)
    primitive = Attention(size**-0.5, bool(causal))
    assert tile.tile_for("bfloat16").amx
    out_shape, numbers = (length, heads, value), ((heads, length), np.float32)
    out, level, sums = computed(primitive, [q, k, v], [(out_shape, half), numbers, numbers])
    exact = [x.astype(np.float64) for x in (q, k, v)]
    want, high, logs = rows_of(primitive, *exact)
    assert close(out, want)
    np.testing.assert_allclose(level + sums, high + logs, 0, 2e-2)
    cotangent = rng.standard_normal(out_shape).astype(half)
    delta = np.einsum("the,the->ht", cotangent.astype(np.float32), out.astype(np.float32))
    given = [q, k, v, cotangent, level, sums, delta]
    gradient = AttentionGradient(primitive.scale, primitive.causal)
    found = computed(gradient, given, [(s, half) for s in shapes])
    wanted = REFERENCE["AttentionGradient"](gradient, None, *(x.astype(np.float64) for x in given))
    for name, x, y in zip("qkv", found, wanted, strict=True):
        assert close(x, y), name
