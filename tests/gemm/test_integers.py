"""Products of integers, exactly: every dtype, widened operands, extremes, other instructions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import mlx.core as mx
from mlx.backend.llvm.gemm import tile
from mlx.backend.llvm.target import Target, host
from tests.gemm import runner
from tests.gemm.runner import matmul
from tests.gemm.test_gemm import random, stored

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
NARROW = DTYPES[:5]
SIZES = [(1, 70, 33), (5, 70, 1), (2, 3, 4), (14, 32, 64), (33, 45, 71), (60, 33, 1700),
         (7, 100, 130), (12, 100, 130)]  # fmt: skip


def extremes(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Random numbers, among them the least and the largest."""
    if dtype == "bool":
        return np.random.default_rng(seed).random(shape) < 0.3
    x = random(shape, dtype, seed)
    x.flat[::7], x.flat[3::11] = np.iinfo(dtype).min, np.iinfo(dtype).max
    return x


def laid_out(x: np.ndarray, how: str) -> mx.array:
    return mx.array(x) if how == "n" else mx.array(np.ascontiguousarray(x.T)).T


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_wrap_around_as_numpy_does(dtype: str, layout: str) -> None:
    for m, n, k in SIZES:
        a, b = extremes((m, k), dtype, 1), extremes((k, n), dtype, 2)
        out = np.array(laid_out(a, layout[0]) @ laid_out(b, layout[1]))
        assert out.dtype == np.dtype(dtype)
        assert (out == a @ b).all()


@pytest.mark.parametrize("wide", ["int32", "uint32", "int64"])
@pytest.mark.parametrize("right", NARROW)
@pytest.mark.parametrize("left", NARROW)
def test_widened_operands_have_exact_sums(left: str, right: str, wide: str) -> None:
    to = getattr(mx, wide)
    for (m, n, k), layout in zip(SIZES, ["nn", "nt", "tn", "tt"] * 2, strict=True):
        a, b = extremes((m, k), left, 1), extremes((k, n), right, 2)
        x, y = laid_out(a, layout[0]), laid_out(b, layout[1])
        assert (np.array(x.astype(to) @ y.astype(to)) == a.astype(wide) @ b.astype(wide)).all()


@pytest.mark.parametrize("least", [False, True])
def test_sums_of_extremes(least: bool) -> None:
    a = np.full((5, 40_000), -128 if least else 255, "int8" if least else "uint8")
    for wide in (np.int32, np.int64):
        to = getattr(mx, wide.__name__)
        out = np.array(mx.array(a).astype(to) @ mx.array(a.T).astype(to))
        assert (out == a.astype(wide) @ a.T.astype(wide)).all()


def test_no_wide_copy_is_made_and_scales_join() -> None:
    a, b = mx.array(random((64, 96), "int8", 1)), mx.array(random((96, 48), "int8", 2))
    scale = mx.random.uniform(shape=(64, 1))

    def quantized(a: mx.array, b: mx.array, scale: mx.array) -> mx.array:
        return (a.astype(mx.int32) @ b.astype(mx.int32)).astype(mx.float32) * scale

    mx.eval(a, b, scale)
    assert len(mx.explain(quantized, a, b, scale).kernels) == 1
    sums = np.array(a).astype(np.int32) @ np.array(b).astype(np.int32)
    expected = sums.astype(np.float32) * np.array(scale)
    assert (np.array(quantized(a, b, scale)) == expected).all()


@pytest.mark.parametrize("dtype", [mx.int8, mx.uint8, mx.int16, mx.bool_])
@pytest.mark.parametrize("sizes", [(1, 64, 48), (3, 64, 48), (40, 64, 1), (33, 700, 48)])
def test_integers_by_float32_are_a_float32_product(
    sizes: tuple[int, int, int], dtype: mx.Dtype
) -> None:
    m, k, n = sizes
    x = mx.random.normal((m, k))
    whole = mx.random.randint(0, 2 if dtype == mx.bool_ else 100, (k, n)).astype(dtype)
    wide = whole.astype(mx.float32)
    mx.eval(x, wide, whole)
    expected = np.array(x @ wide)
    assert (np.array(x @ whole.astype(mx.float32)) == expected).all()
    assert (np.array(x @ whole.T.astype(mx.float32).T) == expected).all()


def test_batches_and_their_kin() -> None:
    a, b = extremes((3, 1, 9, 17), "int8", 1), extremes((5, 17, 6), "int8", 2)
    x, y = mx.array(a), mx.array(b)
    assert (np.array(x @ y) == a @ b).all()
    assert (np.array(mx.vmap(lambda m: m @ y)(x)) == a @ b).all()
    small, many = extremes((200, 7, 5), "int32", 3), extremes((200, 5, 9), "int32", 4)
    assert (np.array(mx.array(small) @ mx.array(many)) == small @ many).all()
    m, n = extremes((4, 6), "int32", 5), extremes((6, 3), "int32", 6)
    p, q = mx.array(m), mx.array(n)
    assert (np.array(mx.einsum("ij,jk->ki", p, q)) == (m @ n).T).all()
    assert (np.array(mx.tensordot(p, q, 1)) == m @ n).all()
    assert (np.array(mx.inner(p, q.T)) == m @ n).all()
    c = np.arange(3, dtype=np.int32)
    assert (np.array(mx.addmm(mx.array(c), p, q, alpha=2, beta=3)) == 2 * (m @ n) + 3 * c).all()
    picked = mx.gather_mm(x[:, 0], y, mx.array([2, 0]), mx.array([4, 1]))
    assert (np.array(picked) == a[[2, 0], 0] @ b[[4, 1]]).all()


@pytest.fixture(params=["-avx512vnni", "-avx512f"])
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine that lacks dot products of four, or wide vectors as well."""
    if not host().avx512:
        pytest.skip("there is less to take away")
    features = host().features.replace(request.param.replace("-", "+"), request.param)
    monkeypatch.setattr(tile, "host", lambda: Target(features, host().triple))
    monkeypatch.setattr(runner, "_libraries", {})
    for cache in (tile.tile_for, tile.tile_of_product):
        cache.cache_clear()
    yield
    for cache in (tile.tile_for, tile.tile_of_product):
        cache.cache_clear()


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("int16", "uint8"), ("uint8", "uint8")])
@pytest.mark.usefixtures("without")
def test_other_instructions_give_the_same(dtypes: tuple[str, str]) -> None:
    for m, n, k in SIZES[2:]:
        a, b = extremes((m, k), dtypes[0], 1), extremes((k, n), dtypes[1], 2)
        expected = a.astype(np.int32) @ b.astype(np.int32)
        for layout in ("nn", "tt", "gg"):
            out = matmul(
                stored(a, layout[0]), stored(b, layout[1]), out_dtype="int32", accumulate="int32"
            )
            assert (out == expected).all()
