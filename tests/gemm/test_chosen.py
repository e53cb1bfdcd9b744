"""Products of rows with the matrices that they choose, against a product for each row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx

SIZES = [
    (1, 1, 64, 40, 4),
    (7, 1, 100, 50, 3),
    (40, 2, 128, 65, 5),
    (5, 20, 64, 64, 9),
    (600, 1, 500, 33, 2),
    (300, 1, 65, 130, 40),
    (70, 1, 2100, 3, 3),
    (9, 1, 3, 1, 2),
]


def uneven(items: int, choices: int) -> np.ndarray:
    """Some matrices are chosen often, others never."""
    return np.minimum(np.random.default_rng(items).geometric(0.4, items) - 1, choices - 1)


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def small(*shape: int, seed: int = 0) -> np.ndarray:
    """Integers whose sums of products are exact in every order."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize(("items", "rows", "k", "n", "choices"), SIZES)
@pytest.mark.parametrize("flip", [False, True])
def test_rows_are_those_of_a_product(
    items: int, rows: int, k: int, n: int, choices: int, flip: bool
) -> None:
    """In every bit, of a product in which k is one chain."""
    x, index = normal(items, rows, k), uneven(items, choices)
    w = normal(choices, n, k, seed=1).swapaxes(1, 2) if flip else normal(choices, k, n, seed=1)
    got = np.array(mx.gather_mm(x, w, rhs_indices=mx.array(index)))
    beside = normal(130, k, seed=2)  # so many rows that k is not divided
    wide = mx.concatenate([w, mx.broadcast_to(w[..., :1], (choices, k, 200))], axis=-1)
    for item in {0, items // 2, items - 1}:
        together = mx.concatenate([x[item], beside]) @ wide[int(index[item])]
        np.testing.assert_array_equal(got[item], np.array(together[:rows, :n]))


@pytest.mark.parametrize(("items", "rows", "k", "n", "choices"), SIZES)
@pytest.mark.parametrize(
    "dtype", [mx.bfloat16, mx.float16, mx.float64, mx.complex64, mx.int8, mx.int32, mx.bool_]
)
@pytest.mark.parametrize("flip", [False, True])
def test_other_dtypes(
    items: int, rows: int, k: int, n: int, choices: int, dtype: mx.Dtype, flip: bool
) -> None:
    device = mx.cpu
    with mx.stream(device):
        x = mx.array(small(items, rows, k)).astype(dtype)
        w = mx.array(small(choices, *((n, k) if flip else (k, n)), seed=1)).astype(dtype)
        w = w.swapaxes(1, 2) if flip else w
        index = uneven(items, choices)
        got = mx.gather_mm(x, w, rhs_indices=mx.array(index))
        assert got.dtype is dtype
        wide = np.float32 if dtype is not mx.complex64 else np.complex64
        left, right = (np.array(v.astype(mx.float32)) for v in (x, w))
        exact = mx.array((left @ right[index]).astype(wide)).astype(mx.float32)
        want = exact.astype(mx.int32).astype(dtype) if dtype is mx.int8 else exact.astype(dtype)
        assert mx.array_equal(got, want)


@pytest.mark.parametrize(
    "turn", [lambda x: x, lambda x: mx.contiguous(x.swapaxes(0, 1)).swapaxes(0, 1)]
)
def test_batches_and_both_indices(turn: Callable[[mx.array], mx.array]) -> None:
    x, w = normal(2, 3, 4, 8), normal(5, 2, 8, 6, seed=1)
    left, right = np.array([[5], [0], [-1]]), np.array([[9, -10, 3, 3]])
    got = mx.gather_mm(turn(x), turn(w), mx.array(left), mx.array(right))
    flat, matrices = np.array(x).reshape(6, 4, 8), np.array(w).reshape(10, 8, 6)
    np.testing.assert_allclose(np.array(got), flat[left] @ matrices[right], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        np.array(mx.gather_mm(x, w[:3, 0], rhs_indices=mx.array([1, 0, 2]))),
        np.array(x) @ np.array(w)[[1, 0, 2], 0], rtol=1e-5, atol=1e-5,
    )  # fmt: skip
    assert mx.gather_mm(x, w, rhs_indices=mx.zeros((0, 2, 3), mx.int32)).shape == (0, 2, 3, 4, 6)


@pytest.mark.parametrize("index", [[0, 3], [-4, 0]])
def test_an_index_out_of_bounds_raises(index: list[int]) -> None:
    x, w = mx.ones((2, 1, 4)), mx.ones((3, 4, 5))
    with pytest.raises(IndexError):
        mx.eval(mx.gather_mm(x, w, rhs_indices=mx.array(index)))
    parts = mx.quantize(mx.ones((3, 5, 64)))
    with pytest.raises(IndexError):
        mx.eval(mx.gather_qmm(mx.ones((2, 1, 64)), *parts, rhs_indices=mx.array(index)))


@pytest.mark.parametrize(("items", "rows", "k", "n", "choices"), SIZES)
def test_gradients(items: int, rows: int, k: int, n: int, choices: int) -> None:
    x, w, c = small(items, rows, k), small(choices, k, n, seed=1), small(items, rows, n, seed=2)
    index = uneven(items, choices)

    def total(x: mx.array, w: mx.array) -> mx.array:
        return (mx.gather_mm(x, w, rhs_indices=mx.array(index)) * mx.array(c)).sum()

    of_x, of_w = mx.grad(total, (0, 1))(mx.array(x), mx.array(w))
    np.testing.assert_array_equal(np.array(of_x), c @ w[index].swapaxes(1, 2))
    want = np.zeros_like(w)
    np.add.at(want, index, x.swapaxes(1, 2) @ c)
    np.testing.assert_array_equal(np.array(of_w), want)


@pytest.mark.parametrize("shared", [False, True])
def test_batched(shared: bool) -> None:
    x, w = normal(3, 6, 1, 20), normal(3, 4, 20, 8, seed=1)
    index = mx.array(np.random.default_rng(0).integers(-4, 4, (3, 6)))
    w = w[0] if shared else w

    def one(x: mx.array, w: mx.array, index: mx.array) -> mx.array:
        return mx.gather_mm(x, w, rhs_indices=index)

    got = mx.vmap(one, in_axes=(0, None if shared else 0, 0))(x, w, index)
    want = mx.stack([one(x[i], w if shared else w[i], index[i]) for i in range(3)])
    assert mx.array_equal(got, want)


@pytest.mark.parametrize(
    ("mode", "bits"),
    [("affine", b) for b in (2, 3, 4, 5, 6, 8)] + [("mxfp4", 4), ("nvfp4", 4), ("mxfp8", 8)],
)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("items", [3, 40, 300])
def test_quantized(mode: str, bits: int, dtype: mx.Dtype, flip: bool, items: int) -> None:
    w = normal(5, 64, 96) if flip else normal(5, 96, 64)
    form = {"mode": mode, "bits": bits, "group_size": 16 if mode == "nvfp4" else 32}
    parts = mx.quantize(w, **form)
    index, x = uneven(items, 5), mx.array(small(items, 1, 96)).astype(dtype)
    dense = np.array(mx.dequantize(*parts, **form).astype(mx.float32))[index]
    want = np.array(x.astype(mx.float32)) @ (dense.swapaxes(1, 2) if flip else dense)
    got = mx.gather_qmm(x, *parts, rhs_indices=mx.array(index), transpose=flip, **form)
    limit = 1e-5 if dtype is mx.float32 else 1e-2
    error = np.abs(np.array(got.astype(mx.float32)) - want).max()
    assert error <= limit * max(1, np.abs(want).max())
