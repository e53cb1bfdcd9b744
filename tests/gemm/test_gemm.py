"""Products of every dtype, layout and size against float64, and exactly in the promised order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlx.backend.llvm.abi import Pointer
from mlx.backend.llvm.gemm import Matrix, Product, StoreEpilogue, plan_gemm, tile
from mlx.backend.llvm.gemm.elements import accumulator_of
from mlx.backend.llvm.gemm.tile import tile_of_product
from mlx.backend.llvm.target import host
from tests.gemm.reference import chain, chunked, reduction
from tests.gemm.runner import dtype_of, matmul

FLOATS = ["float32", "float64", "float16", "bfloat16", "complex64"]
INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
LAYOUTS = ["nn", "nt", "tn", "tt"]
# Relative to sum |a||b|: rounding of the result, and of the chain where k is long.
TOLERANCE = {"float32": 2e-6, "float64": 4e-15, "float16": 1e-3, "bfloat16": 8e-3,
             "complex64": 3e-6}  # fmt: skip


def random(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if "int" in dtype:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    values = rng.standard_normal(shape)
    if dtype == "complex64":
        return (values + 1j * rng.standard_normal(shape)).astype(dtype)
    return values.astype(dtype_of(dtype))


def stored(array: np.ndarray, how: str) -> np.ndarray:
    """The same matrix stored row-major ("n"), transposed ("t") or with gaps ("g")."""
    if how == "t":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if how == "g":
        *outer, rows, cols = array.shape
        wide = np.zeros((*outer, rows * 2, cols * 3), array.dtype)
        wide[..., ::2, ::3] = array
        return wide[..., ::2, ::3]
    return np.ascontiguousarray(array)


def check(out: np.ndarray, a: np.ndarray, b: np.ndarray, dtype: str) -> None:
    if "int" in dtype:
        assert (out == np.matmul(a, b, dtype=dtype, casting="unsafe")).all()
        return
    wide = np.complex128 if dtype == "complex64" else np.float64
    left, right = a.astype(wide), b.astype(wide)
    error = np.abs(out.astype(wide) - left @ right)
    bound = TOLERANCE[dtype] * (np.abs(left) @ np.abs(right)) + 1e-30
    assert out.shape == error.shape
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS + INTS)
def test_dtypes_and_layouts(dtype: str, layout: str) -> None:
    for m, n, k in [(2, 2, 1), (5, 7, 3), (31, 45, 71), (60, 33, 900)]:
        a, b = random((m, k), dtype, 1), random((k, n), dtype, 2)
        out = matmul(stored(a, layout[0]), stored(b, layout[1]))
        check(out, a, b, dtype)


@pytest.mark.parametrize("dtype", FLOATS + ["int32"])
def test_general_strides(dtype: str) -> None:
    a, b = random((37, 91), dtype, 1), random((91, 41), dtype, 2)
    expected = matmul(a, b)
    assert (matmul(stored(a, "g"), stored(b, "g")) == expected).all()
    flipped = matmul(np.ascontiguousarray(a[::-1])[::-1], np.ascontiguousarray(b[:, ::-1])[:, ::-1])
    assert (flipped == expected).all()
    assert (matmul(a, b, transpose_out=True) == expected).all()


def test_every_small_size() -> None:
    sizes = [1, 2, 3, 4, 5, 8, 9, 13, 14, 15, 16, 17, 29, 31, 32, 33, 48, 64, 65, 127, 130]
    for m in sizes:
        for n in sizes:
            k = 1 + (m * 7 + n * 3) % 40
            a, b = random((m, k), "float32", m), random((k, n), "float32", n)
            check(matmul(a, b), a, b, "float32")


@pytest.mark.parametrize("dtype", FLOATS + ["int64"])
def test_batches_broadcast(dtype: str) -> None:
    a, b = random((3, 1, 9, 20), dtype, 1), random((4, 20, 18), dtype, 2)
    check(matmul(a, b), a, b, dtype)
    check(matmul(stored(a, "t"), stored(b, "t")), a, b, dtype)
    check(matmul(a[..., :1, :], b), a[..., :1, :], b, dtype)
    check(matmul(a, b[..., :1]), a, b[..., :1], dtype)


@pytest.mark.parametrize("how", ["n", "t", "g"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_b_shared_by_many_blocks(dtype: str, how: str) -> None:
    a = random((2, 800, 801), dtype, 1)
    for b in (random((801, 45), dtype, 2), random((2, 801, 45), dtype, 3)):
        check(matmul(stored(a, how), stored(b, how)), a, b, dtype)
    rows = slice(None, None, 97)
    if dtype == "float32":
        b = random((801, 45), dtype, 2)
        assert (matmul(a[0], b)[rows] == chain(a[0][rows], b)).all()


@pytest.mark.parametrize("how", ["n", "t", "g"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
def test_both_operands_shared_by_many_blocks(dtype: str, how: str) -> None:
    a, b = random((2, 600, 501), dtype, 1), random((501, 610), dtype, 2)
    out = matmul(stored(a, how), stored(b, how))
    check(out, a, b, dtype)
    assert (matmul(stored(a[1], how), stored(b, how), workers=4) == out[1]).all()
    if dtype == "float32":
        rows = slice(None, None, 97)
        assert (out[0][rows] == chain(a[0][rows], b)).all()


def test_shared_b_without_products() -> None:
    assert (matmul(np.zeros((2000, 0), np.float32), np.zeros((0, 40), np.float32)) == 0).all()


@pytest.mark.parametrize("dtype", FLOATS + ["int8"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 40), (40, 1), (1, 1)])
def test_no_products_give_zeros(dtype: str, shape: tuple[int, int]) -> None:
    m, n = shape
    out = matmul(np.zeros((2, m, 0), dtype_of(dtype)), np.zeros((2, 0, n), dtype_of(dtype)))
    assert out.shape == (2, m, n)
    assert (out == 0).all()


@pytest.mark.parametrize("sizes", [(0, 4, (2,)), (4, 0, (2,)), (4, 4, (0,))])
def test_nothing_to_compute(sizes: tuple[int, int, tuple[int, ...]]) -> None:
    m, n, batch = sizes
    x = Matrix(Pointer(1), "float32", (16,), 4, 1)
    args = (x, x, m, n, 4, batch, StoreEpilogue(x, batch), "float32", lambda _: Pointer(2), 1)
    assert plan_gemm(Product(*args)) == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_few_rows_give_the_same_bits_in_both_layouts(dtype: str) -> None:
    for m, n, k in [(2, 33, 64), (3, 100, 77), (8, 65, 1000), (7, 300, 95)]:
        a, b = random((2, m, k), dtype, 1), random((2, k, n), dtype, 2)
        out = matmul(a, stored(b, "t"))
        check(out, a, b, dtype)
        if not tile_of_product(dtype, dtype, accumulator_of(dtype)).amx:  # tiles have their order
            assert (out == matmul(stored(a, "t"), b)).all()
    a, b = random((16, 130), "float32", 1), random((130, 50), "float32", 2)
    for m in (9, 13, 16):
        assert (matmul(a[:m], stored(b, "t")) == chain(a[:m], b)).all()
    for m, n in ((2, 2), (5, 5), (16, 17), (3, 31)):  # few columns as well
        assert (matmul(a[:m], stored(b[:, :n], "t")) == chain(a[:m], b[:, :n])).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_element_is_one_chain(layout: str) -> None:
    for m, n, k in [(2, 2, 5), (19, 37, 100), (6, 70, 700)]:
        a, b = random((m, k), "float32", 3), random((k, n), "float32", 4)
        out = matmul(stored(a, layout[0]), stored(b, layout[1]))
        assert (out == chain(a, b)).all()


@pytest.mark.parametrize("layout", [*LAYOUTS, "gg"])
@pytest.mark.parametrize("size", [(2, 3, 2048), (16, 16, 4100), (5, 40, 2049), (40, 6, 20_000)])
def test_few_elements_of_a_long_product_are_summed_in_chunks(
    layout: str, size: tuple[int, int, int]
) -> None:
    m, n, k = size
    a, b = random((2, m, k), "float32", 3), random((k, n), "float32", 4)
    out = matmul(stored(a, layout[0]), stored(b, layout[1]))
    for item in range(2):
        assert (out[item] == chunked(a[item], b)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_long_products_of_few_elements(dtype: str) -> None:
    for m, n, k in [(3, 5, 2047), (16, 33, 2048), (128, 128, 3000), (129, 128, 2100)]:
        a, b = random((m, k), dtype, 5), random((k, n), dtype, 6)
        check(matmul(a, stored(b, "t")), a, b, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [17, 20, 33, 36, 47])
def test_few_columns_of_many_rows_are_chains(layout: str, n: int) -> None:
    a, b = random((400, 150), "float32", 3), random((150, n), "float32", 4)
    out = matmul(stored(a, layout[0]), stored(b, layout[1]))
    assert (out == chain(a, b)).all()


@pytest.mark.parametrize("m", [2, 4, 7, 8, 9, 16])
def test_bfloat16_of_few_rows_along_k(m: int) -> None:
    for n, k in [(40, 64), (33, 97), (100, 1003), (2100, 1000)]:
        a, b = random((m, k), "bfloat16", 1), random((k, n), "bfloat16", 2)
        out = matmul(a, stored(b, "t"))
        check(out, a, b, "bfloat16")
        assert (out == matmul(stored(a, "t"), stored(b, "t"))).all()


@pytest.mark.parametrize("layout", [*LAYOUTS, "gg"])
@pytest.mark.parametrize("k", [1, 31, 32, 33, 127, 128, 1000, 65536, 65537, 400_000])
def test_vector_products_keep_the_order_of_reductions(layout: str, k: int) -> None:
    outputs = 37 if k < 2000 else 3
    w, x = random((outputs, k), "float32", 5), random((k,), "float32", 6)
    expected = reduction(w, x)
    down = matmul(stored(w, layout[0]), stored(x[:, None], layout[1]))
    along = matmul(stored(x[None, :], layout[0]), stored(np.ascontiguousarray(w.T), layout[1]))
    assert (down[:, 0] == expected).all()
    assert (along[0] == expected).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS + INTS)
def test_vector_products(dtype: str, layout: str) -> None:
    for m, n, k in [
        (1, 1, 1),
        (1, 70, 33),
        (70, 1, 33),
        (1, 600, 10),
        (1, 600, 200),
        (600, 1, 200),
    ]:
        a, b = random((m, k), dtype, 1), random((k, n), dtype, 2)
        check(matmul(stored(a, layout[0]), stored(b, layout[1])), a, b, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_small_products(dtype: str) -> None:
    for m, n, k in [(2, 2, 1), (3, 9, 5), (8, 8, 8), (16, 16, 16), (13, 31, 63)]:
        a, b = random((5, 40, m, k), dtype, 1), random((40, k, n), dtype, 2)
        for left, right in ("nn", "tn", "nt", "tt"):
            out = matmul(stored(a, left), stored(b, right), workers=2)
            check(out, a, b, dtype)
            assert (out[3, 30] == matmul(a[3, 30], b[30])).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_small_vector_products(dtype: str) -> None:
    for k, n in [(16, 16), (5, 40), (33, 2), (1, 3)]:
        a, b = random((601, 1, k), dtype, 1), random((601, k, n), dtype, 2)
        for how in "nt":
            out = matmul(a, stored(b, how), workers=2)
            assert (out[300] == matmul(a[300], stored(b[300], how))).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_workers_change_nothing(dtype: str) -> None:
    for m, n, k in [(120, 200, 300), (1, 900, 70_000 // 50), (300, 1, 500), (1, 2, 140_000)]:
        a, b = random((m, k), dtype, 7), random((k, n), dtype, 8)
        one = matmul(a, b)
        for workers in (2, 3, 16):
            assert (matmul(a, b, workers) == one).all()


def test_results_in_another_dtype() -> None:
    a, b = random((20, 30), "bfloat16", 1), random((30, 40), "bfloat16", 2)
    wide = matmul(a, b, out_dtype="float32")
    check(wide, a, b, "float32")
    assert (matmul(a, b) == wide.astype(a.dtype)).all()


def test_operands_of_different_dtypes() -> None:
    a, b = random((20, 30), "bfloat16", 1), random((30, 40), "float32", 2)
    check(matmul(a, b, out_dtype="float32"), a, b, "float32")


def test_infinity_and_nan_stay_in_their_rows_and_columns() -> None:
    a, b = random((20, 300), "float32", 1), random((300, 40), "float32", 2)
    a[3, 280], b[7, 5] = np.nan, np.inf
    out = matmul(a, b)
    bad = ~np.isfinite(out)
    assert bad[3].all() and bad[:, 5].all()
    assert bad.sum() == 40 + 20 - 1


_DIGEST = """
import hashlib, numpy as np
from tests.gemm.test_gemm import random
from tests.gemm.runner import matmul
digest = hashlib.sha256()
for dtype in DTYPES:
    for m, n, k in [(33, 70, 300), (1, 70, 300), (70, 1, 300), (3, 1, 70000)]:
        a, b = random((m, k), dtype, 1), random((k, n), dtype, 2)
        digest.update(matmul(a, b).tobytes())
        digest.update(matmul(np.asfortranarray(a), np.asfortranarray(b)).tobytes())
print(digest.hexdigest())
"""


_EVERY_DTYPE = """
from tests.gemm.test_gemm import FLOATS, check, random, stored
from tests.gemm.runner import matmul
for dtype in [*FLOATS, "int8", "uint32", "int64"]:
    for m, n, k in [(33, 20, 300), (1, 20, 300), (20, 1, 300)]:
        a, b = random((m, k), dtype, 1), random((k, n), dtype, 2)
        for how in "ntg":
            check(matmul(stored(a, how), stored(b, how)), a, b, dtype)
"""


def run_on(level: str, code: str) -> str:
    """Run Python code in a process that generates for another instruction set."""
    root = Path(__file__).parents[2]
    env = os.environ | {"MLX_ISA": level, "PYTHONPATH": f"{root / 'src'}:{root}"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(not host().has("avx2"), reason="needs a machine with AVX2")
def test_every_dtype_with_avx2() -> None:
    run_on("avx2", _EVERY_DTYPE)


@pytest.mark.skipif(not host().avx512, reason="needs a machine with AVX-512")
def test_avx2_gives_the_bits_of_avx512() -> None:
    dtypes = ["float32", "float64", "complex64"]
    if not host().has("amx-bf16"):  # tile registers add in an order of their own
        dtypes.append("float16")
    code = f"DTYPES = {dtypes}\n{_DIGEST}"
    assert run_on("", code) == run_on("avx2", code)


@pytest.mark.parametrize("kilobytes", [16, 32, 48, 64, 1024])
def test_blocks_of_k_follow_the_first_level_cache(
    kilobytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile, "first_level", lambda: kilobytes << 10)
    for dtype in FLOATS:
        form = tile_of_product(dtype, dtype, accumulator_of(dtype))
        both = (form.rows + form.cols) * form.planes * form.itemsize * form.block_depth
        assert form.block_depth == form.depth or both <= kilobytes << 10
        assert form.depth * 2 // 3 <= form.block_depth <= form.depth
        a, b = random((70, 1000), dtype, 1), random((1000, 130), dtype, 2)
        for shared in (a, np.concatenate([a] * 12)):
            check(matmul(shared, b), shared, b, dtype)
    a, b = random((70, 1000), "float32", 1), random((1000, 130), "float32", 2)
    assert (matmul(a, b) == chain(a, b)).all()
