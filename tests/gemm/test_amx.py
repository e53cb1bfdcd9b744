"""Products on tile registers, under emulation; and that they are what LLVM makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mlx.backend.llvm.gemm import tile
from mlx.backend.llvm.target import host
from tests.gemm.emulation import pretend
from tests.gemm.runner import matmul
from tests.gemm.test_gemm import check, random, stored
from tests.gemm.test_integers import extremes

pytestmark = pytest.mark.skipif(not host().avx512, reason="emulated by AVX-512")
_CACHES = (tile.tile_for, tile.tile_of_product)


@pytest.fixture
def with_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine that has tile registers."""
    pretend(monkeypatch, tile)
    for cache in _CACHES:
        cache.cache_clear()
    yield
    for cache in _CACHES:
        cache.cache_clear()


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt", "gg"])
@pytest.mark.parametrize("of", ["bfloat16", "float16"])
@pytest.mark.usefixtures("with_tiles")
def test_layouts_and_odd_sizes(of: str, layout: str) -> None:
    assert tile.tile_of_product(of, of, "float32").amx
    for m, n, k in [(2, 2, 1), (5, 7, 3), (16, 17, 31), (33, 45, 71), (60, 33, 1100), (32, 64, 64),
                    (700, 70, 96), (20, 300, 513), (600, 530, 301)]:  # fmt: skip
        a, b = random((m, k), of, 1), random((k, n), of, 2)
        for dtype in (of, "float32"):
            out = matmul(stored(a, layout[0]), stored(b, layout[1]), out_dtype=dtype)
            check(out, a, b, dtype)


@pytest.mark.parametrize("of", ["bfloat16", "float16"])
@pytest.mark.usefixtures("with_tiles")
def test_nan_and_infinity_stay_in_their_rows_and_columns(of: str) -> None:
    a, b = random((40, 70), of, 1), random((70, 50), of, 2)
    a[3, 69], b[0, 5], a[7, 2], b[2, 9] = np.nan, np.inf, 0, -np.inf
    a[20, 0], a[21, 0] = 0.5, -1  # in one bfloat16
    with np.errstate(invalid="ignore"):
        exact = a.astype(np.float32) @ b.astype(np.float32)
    out = matmul(a, b).astype(np.float32)
    assert (np.isnan(out) == np.isnan(exact)).all()
    assert (np.isinf(out) == np.isinf(exact)).all()
    assert (np.sign(out)[np.isinf(out)] == np.sign(exact)[np.isinf(out)]).all()
    assert np.isnan(out).sum() < 60 and np.isfinite(out).sum() > 1800


@pytest.mark.usefixtures("with_tiles")
def test_every_float16_number_is_split_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    rest = np.zeros((every.size, 3), np.float16)
    rest[:, 1] = every
    one = np.array([[0, 0], [1, -3], [0, 0]], np.float16)
    out = matmul(rest, one, out_dtype="float32")
    assert (out[:, 0] == every.astype(np.float32)).all()
    assert (out[:, 1] == every.astype(np.float32) * -3).all()
    out = matmul(np.ascontiguousarray(one.T), np.ascontiguousarray(rest.T), out_dtype="float32")
    assert (out[1] == every.astype(np.float32) * -3).all()


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt", "gg"])
@pytest.mark.parametrize("right", ["int8", "uint8"])
@pytest.mark.parametrize("left", ["int8", "uint8"])
@pytest.mark.usefixtures("with_tiles")
def test_bytes_of_every_sign(left: str, right: str, layout: str) -> None:
    assert tile.tile_of_product(left, right, "int32").amx
    for m, n, k in [(1, 70, 33), (2, 3, 4), (16, 17, 31), (33, 45, 71), (60, 33, 2500),
                    (32, 64, 64), (20, 300, 513)]:  # fmt: skip
        a, b = extremes((m, k), left, 1), extremes((k, n), right, 2)
        expected = a.astype(np.int32) @ b.astype(np.int32)
        a, b = stored(a, layout[0]), stored(b, layout[1])
        assert (matmul(a, b, out_dtype="int32", accumulate="int32") == expected).all()


@pytest.mark.usefixtures("with_tiles")
def test_wider_integers_stay_with_vectors() -> None:
    assert not tile.tile_of_product("int16", "int8", "int32").amx
    assert not tile.tile_of_product("int32", "int32", "int32").amx
