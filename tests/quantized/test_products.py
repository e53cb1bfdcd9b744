"""Products with quantized matrices against float64, their derivatives, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.backend.llvm.gemm import tile


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(parts: Any, **form: Any) -> np.ndarray:
    """The matrix in float64, each element rounded once."""
    wide = [p if p.dtype == mx.uint32 else p.astype(mx.float64) for p in parts]
    return np.array(mx.dequantize(*wide, **form))


SHAPES = [
    (1, 1, 32), (1, 37, 96), (2, 5, 160), (3, 8, 256), (4, 33, 64), (7, 2, 480), (64, 3, 96),
    (193, 9, 128), (1, 2, 8192),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "outputs", "k"), SHAPES)
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_odd_shapes(rows: int, outputs: int, k: int, bits: int) -> None:
    x = normal(rows, k)
    form = {"bits": bits, "group_size": 32}
    parts = mx.quantize(mx.array(normal(outputs, k, seed=1)), **form)
    w = dense(parts, **form)
    got = np.array(mx.quantized_matmul(mx.array(x), *parts, **form))
    assert np.all(np.abs(got - x @ w.T) <= 2e-6 * (np.abs(x) @ np.abs(w).T) + 1e-6)


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize(("rows", "k"), [(1, 5), (13, 385), (40, 900), (600, 33)])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_matrices_that_are_not_transposed(bits: int, rows: int, k: int, group: int) -> None:
    form = {"bits": bits, "group_size": group}
    parts = mx.quantize(mx.array(normal(k, 384, seed=1)), **form)
    x, w = normal(rows, k), dense(parts, **form)
    got = np.array(mx.quantized_matmul(mx.array(x), *parts, transpose=False, **form))
    assert np.all(np.abs(got - x @ w) <= 2e-6 * (np.abs(x) @ np.abs(w)) + 1e-6)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_half_precision_of_many_rows(bits: int, flip: bool) -> None:
    """As exact as a product with the matrix rounded to the dtype of x."""
    parts = mx.quantize(mx.array(normal(256, 320, seed=1)).astype(mx.bfloat16), bits=bits)
    x = mx.array(normal(37, 320 if flip else 256)).astype(mx.bfloat16)
    got = mx.quantized_matmul(x, *parts, transpose=flip, bits=bits)
    w, wide = dense(parts, bits=bits), np.array(x.astype(mx.float64))
    w = w.T if flip else w
    slack = 2**-8 * np.abs(wide @ w) + 2**-8 * np.linalg.norm(wide, axis=1, keepdims=True) * 4
    assert np.all(np.abs(np.array(got.astype(mx.float64)) - wide @ w) <= slack)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("scales", [mx.float32, mx.float16, mx.bfloat16])
def test_sums_are_kept_in_float32(dtype: mx.Dtype, scales: mx.Dtype) -> None:
    """The result is the exact one, rounded to the promoted dtype."""
    x = mx.array(normal(1, 4096)).astype(dtype)
    parts = mx.quantize(mx.array(normal(9, 4096, seed=1)).astype(scales))
    got = mx.quantized_matmul(x, *parts)
    w, wide = dense(parts), np.array(x.astype(mx.float64))
    assert got.dtype is mx.result_type(x, parts[1])
    want = wide @ w.T
    half = {mx.float32: 0, mx.float16: 2**-11, mx.bfloat16: 2**-8}[got.dtype]
    slack = 2e-6 * (np.abs(wide) @ np.abs(w).T)
    assert np.all(np.abs(np.array(got.astype(mx.float64)) - want) <= half * np.abs(want) + slack)


def test_batches_broadcast_and_views() -> None:
    w = mx.array(normal(2, 6, 64, seed=1))
    parts = mx.quantize(w, group_size=32)
    x = mx.array(normal(3, 1, 5, 64))
    want = np.array(x) @ dense(parts, group_size=32).swapaxes(-1, -2)
    got = mx.quantized_matmul(x, *parts, group_size=32)
    np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-4)
    turned = [p[:, ::-1] for p in parts]
    got = mx.quantized_matmul(x[:, :, ::-1], *turned, group_size=32)
    np.testing.assert_allclose(np.array(got), want[:, :, ::-1, ::-1], rtol=1e-4, atol=1e-4)
    vector = mx.quantized_matmul(x[0, 0, 0], *(p[0] for p in parts), group_size=32)
    np.testing.assert_allclose(np.array(vector), want[0, 0, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("bits", [4, 6])
def test_gradients(flip: bool, bits: int) -> None:
    """Those of the written-out product, for every float argument."""
    parts = mx.quantize(mx.array(normal(32, 64, seed=1)), 32, bits)
    x = mx.array(normal(3, 64 if flip else 32))
    c = mx.array(normal(3, 32 if flip else 64, seed=2))

    def quantized(x: mx.array, s: mx.array, b: mx.array) -> mx.array:
        y = mx.quantized_matmul(x, parts[0], s, b, transpose=flip, group_size=32, bits=bits)
        return (y * c).sum()

    def written(x: mx.array, s: mx.array, b: mx.array) -> mx.array:
        w = mx.dequantize(parts[0], s, b, 32, bits)
        return ((x @ (w.T if flip else w)) * c).sum()

    at = (x, *parts[1:])
    pairs = zip(*(mx.grad(f, (0, 1, 2))(*at) for f in (quantized, written)), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(np.array(got), np.array(want), rtol=2e-4, atol=2e-4)


def test_few_rows_and_many_agree_exactly_row_by_row() -> None:
    """The order of a sum does not depend on how many rows are computed together."""
    parts = mx.quantize(mx.array(normal(37, 256, seed=1)))
    x = mx.array(normal(7, 256))
    together = np.array(mx.quantized_matmul(x, *parts))
    alone = [np.array(mx.quantized_matmul(x[i : i + 1], *parts))[0] for i in range(7)]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    ("mode", "bits", "group"),
    [*[("affine", b, g) for b in (2, 3, 4, 5, 6, 8) for g in (32, 128)],
     ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)],
)  # fmt: skip
def test_few_rows_of_matrices_that_are_not_transposed(
    mode: str, bits: int, group: int, rows: int
) -> None:
    """They are dequantized while they are multiplied: the same chains as the blocked product."""
    form: Any = {"bits": bits, "group_size": group, "mode": mode}
    parts = mx.quantize(mx.array(normal(3, 29, 640, seed=1)), **form)
    x = mx.array(normal(3, 32, 29))
    many = mx.quantized_matmul(x, *parts, transpose=False, **form)
    few = mx.quantized_matmul(x[:, :rows], *parts, transpose=False, **form)
    assert mx.array_equal(few, many[:, :rows])
    apart = [mx.stack([p, p], axis=-1)[..., 1] for p in parts]  # views without unit strides
    assert mx.array_equal(mx.quantized_matmul(x[:, :rows], *apart, transpose=False, **form), few)
    chosen = mx.array([2, 0, 2, 1])
    got = mx.gather_qmm(x[:1, :rows], *parts, rhs_indices=chosen, transpose=False, **form)
    for row, at in zip(got, chosen.tolist(), strict=True):
        alone = mx.quantized_matmul(x[0, :rows], *[p[at] for p in parts], transpose=False, **form)
        assert mx.array_equal(row, alone)


def test_chosen_matrices() -> None:
    parts = mx.quantize(mx.array(normal(4, 8, 64, seed=1)))
    x = normal(3, 2, 64)
    left, right = np.array([[0], [2]]), np.array([3, 0, 3])
    got = mx.gather_qmm(mx.array(x), *parts, mx.array(left), mx.array(right))
    want = x[left] @ dense(parts)[right].swapaxes(-1, -2)
    np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-4)


W = mx.quantize(mx.array(normal(8, 64)))
X = mx.array(normal(2, 64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mx.quantize(X, group_size=48), r"\[quantize\] group_size"),
        (lambda: mx.quantize(X, bits=7), r"\[quantize\] bits"),
        (lambda: mx.quantize(X, group_size=0), r"\[quantize\] group_size"),
        (lambda: mx.quantize(X, mode="other"), r"\[quantize\] Invalid quantization mode 'other'"),
        (lambda: mx.quantize(X, mode="mxfp4", bits=8), r"\[quantize\] Mode mxfp4"),
        (lambda: mx.quantize(X[:, :40]), r"\[quantize\] .* divisible by 64"),
        (lambda: mx.quantize(X[0]), r"\[quantize\] Needs 2 dimensions"),
        (lambda: mx.quantize(X.astype(mx.int32)), r"\[quantize\] .* int32"),
        (lambda: mx.dequantize(W[0], W[1]), r"\[dequantize\] Biases are needed"),
        (lambda: mx.dequantize(*W, bits=8), r"\[dequantize\] .* do not fit"),
        (lambda: mx.dequantize(*W, mode="mxfp8"), r"\[dequantize\] Biases must be None"),
        (lambda: mx.quantized_matmul(X, X, *W[1:]), r"\[quantized_matmul\] .* uint32"),
        (lambda: mx.quantized_matmul(X, *W, transpose=False), r"must have 8 elements"),
        (lambda: mx.quantized_matmul(X[:, :32], *W), r"must have 64 elements"),
        (lambda: mx.quantized_matmul(mx.array(1.0), *W), r"must have 64 elements"),
        (lambda: mx.gather_qmm(X[0], *W), r"\[gather_qmm\] x must have 2 dimensions"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_vectors_among_chosen_matrices() -> None:
    a, b = normal(3, 4, 8), normal(5, 8, 6, seed=1)
    index = mx.array([[4, 0], [2, 2]])
    got = mx.gather_mm(mx.array(a[0, 0]), mx.array(b), rhs_indices=index)
    np.testing.assert_allclose(np.array(got), a[0, 0] @ b[np.array(index)], rtol=1e-5, atol=1e-5)
    got = mx.gather_mm(mx.array(a), mx.array(b[0, :, 0]), lhs_indices=mx.array([2, 1]))
    np.testing.assert_allclose(np.array(got), a[[2, 1]] @ b[0, :, 0], rtol=1e-5, atol=1e-5)
    assert mx.gather_mm(mx.array(a[0, 0]), mx.array(b[0, :, 0])).shape == ()


@pytest.mark.parametrize("first_level", [16 << 10, 32 << 10, 48 << 10, 64 << 10, 128 << 10])
def test_blocks_of_k_are_whole_groups(monkeypatch: pytest.MonkeyPatch, first_level: int) -> None:
    """Whatever the first-level cache holds, and with the shapes of tiles of every target."""
    monkeypatch.setattr(tile, "first_level", lambda: first_level)
    for rows, lanes in ((14, 16), (12, 16), (6, 8), (12, 4), (4, 4)):
        for pairs in (False, True):
            form = tile.Tile("float32", lanes, rows, 2, 1, 384, True, 4, pairs=pairs)
            assert form.block_depth * form.step % tile.LARGEST_GROUP == 0


@pytest.mark.parametrize("mode", ["mxfp4", "nvfp4", "mxfp8"])
@pytest.mark.parametrize(
    ("rows", "outputs", "k"), [(1, 37, 96), (2, 5, 160), (7, 8, 640), (40, 33, 928)]
)
@pytest.mark.parametrize("flip", [True, False])
def test_modes_of_small_floats(mode: str, rows: int, outputs: int, k: int, flip: bool) -> None:
    """Sums of exact elements, with few rows and with many."""
    outputs = outputs if flip else 64
    w = mx.array(normal(*((outputs, k) if flip else (k, outputs)), seed=1))
    parts = mx.quantize(w, mode=mode)
    wide = np.array(mx.dequantize(*parts, mode=mode, dtype=mx.float32)).astype(np.float64)
    x, wide = normal(rows, k), wide.T if flip else wide
    got = np.array(mx.quantized_matmul(mx.array(x), *parts, transpose=flip, mode=mode))
    assert np.all(np.abs(got - x @ wide) <= 2e-6 * (np.abs(x) @ np.abs(wide)) + 1e-6)


def test_small_floats_that_are_not_numbers_and_the_smallest_scale() -> None:
    """127 and 255 of E4M3 are NaN; a scale of 0 is 2^-127."""
    codes = np.full((3, 32), 0x38, np.uint8)  # ones
    codes[1, 3], codes[2, 7] = 127, 255
    words, x = mx.array(codes.view(np.uint32)), mx.ones((1, 32))
    got = mx.quantized_matmul(x, words, mx.array(np.uint8([[127], [127], [0]])), mode="mxfp8")
    assert got[0, 0] == 32 and np.isnan(np.array(got[0, 1:])).all()
    got = mx.quantized_matmul(x, words[:1], mx.array(np.uint8([[0]])), mode="mxfp8")
    assert got.item() == 2.0**-122


@pytest.mark.parametrize("mode", ["mxfp4", "mxfp8"])
def test_gradient_through_small_floats(mode: str) -> None:
    parts = mx.quantize(mx.array(normal(6, 64, seed=1)), mode=mode)
    dense = mx.dequantize(*parts, mode=mode, dtype=mx.float32)
    x = mx.array(normal(3, 64))
    got = mx.grad(lambda x: (mx.quantized_matmul(x, *parts, mode=mode) ** 2).sum())(x)
    want = mx.grad(lambda x: ((x @ dense.T) ** 2).sum())(x)
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-4, atol=1e-4)
