"""Products on tile registers, under emulation; and that they are what LLVM makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mlx.backend.llvm import target
from mlx.backend.llvm.gemm import plan, tile
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import Target, host
from tests.gemm import runner
from tests.gemm.emulation import emulated
from tests.gemm.runner import matmul
from tests.gemm.test_gemm import check, random, stored

pytestmark = pytest.mark.skipif(not host().avx512, reason="emulated by AVX-512")
_CACHES = (tile.tile_for, tile.tile_of_product, plan._geometry)


@pytest.fixture
def with_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine that has tile registers."""
    features = host().features + ",+amx-tile,+amx-bf16"
    monkeypatch.setattr(tile, "host", lambda: Target(features, host().triple))
    monkeypatch.setattr(runner, "_libraries", {})
    compile_ir = runner.jit.compile_ir
    monkeypatch.setattr(
        runner.jit, "compile_ir", lambda text, symbols: compile_ir(emulated(text), symbols)
    )
    for cache in _CACHES:
        cache.cache_clear()
    yield
    for cache in _CACHES:
        cache.cache_clear()


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt", "gg"])
@pytest.mark.usefixtures("with_tiles")
def test_layouts_and_odd_sizes(layout: str) -> None:
    assert tile.tile_of_product("bfloat16", "bfloat16", "float32").amx
    for m, n, k in [(2, 2, 1), (5, 7, 3), (16, 17, 31), (33, 45, 71), (60, 33, 1100), (32, 64, 64),
                    (700, 70, 96), (20, 300, 513)]:  # fmt: skip
        a, b = random((m, k), "bfloat16", 1), random((k, n), "bfloat16", 2)
        for dtype in ("bfloat16", "float32"):
            out = matmul(stored(a, layout[0]), stored(b, layout[1]), out_dtype=dtype)
            check(out, a, b, dtype)


@pytest.mark.usefixtures("with_tiles")
def test_nan_stays_in_its_row_and_column() -> None:
    a, b = random((40, 70), "bfloat16", 1), random((70, 50), "bfloat16", 2)
    a[3, 69], b[0, 5] = np.nan, np.inf
    bad = ~np.isfinite(matmul(a, b).astype(np.float32))
    assert bad[3].all() and bad[:, 5].all() and bad.sum() == 40 + 50 - 1
