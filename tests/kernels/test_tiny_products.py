"""Products of many tiny matrices, and of tall ones with tiny ones."""

import numpy as np
import pytest

import mlx.core as mx

MANY = 1 << 17
"""Products of elements from which tiny matrices are multiplied by a map."""
SHAPES = ((1, 1, 1), (3, 3, 1), (1, 3, 3), (3, 3, 3), (4, 4, 4), (2, 8, 1), (2, 5, 3), (1, 8, 8))


def numbers(shape: tuple[int, ...], seed: int, dtype: mx.Dtype) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed)).astype(dtype)


@pytest.mark.parametrize("dtype", ("float32", "float16", "bfloat16"))
@pytest.mark.parametrize("shape", SHAPES)
def test_batches(shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    count = MANY // (m * n * k) + 3
    a, b = (numbers((count, *s), i, getattr(mx, dtype)) for i, s in enumerate([(m, k), (k, n)]))
    want = np.array(a.astype(mx.float32)) @ np.array(b.astype(mx.float32))
    tolerance = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2}[dtype] * k
    for left, right in ((a, b), (mx.contiguous(a.swapaxes(1, 2)).swapaxes(1, 2), b[::-1][::-1])):
        found = (left @ right).astype(mx.float32)
        np.testing.assert_allclose(found, want, tolerance, tolerance)


@pytest.mark.parametrize("n", (1, 3, 8))
@pytest.mark.parametrize("k", (1, 3, 8))
def test_tall_ones_with_an_epilogue(k: int, n: int) -> None:
    a, b = numbers((MANY + 5, k), 1, mx.float32), numbers((k, n), 2, mx.float32)
    bias = numbers((n,), 3, mx.float32)
    want = np.maximum(np.array(a) @ np.array(b) + np.array(bias), 0)
    found = mx.maximum(a @ b + bias, 0)
    np.testing.assert_allclose(found, want, 1e-5, 1e-5)
    assert np.array_equal(
        found, mx.compile(lambda *x: mx.maximum(x[0] @ x[1] + x[2], 0))(a, b, bias)
    )


@pytest.mark.parametrize("dtype", ("float32", "float16", "bfloat16"))
@pytest.mark.parametrize("shape", ((33, 1, 40), (1, 1, 70), (17, 2, 33), (1, 5, 40), (9, 8, 65)))
def test_wide_ones_have_the_bits_of_each_alone(shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    count = MANY // (m * n * k) + 3
    a, b = (numbers((count, *s), i, getattr(mx, dtype)) for i, s in enumerate([(m, k), (k, n)]))
    a = mx.where(a > 1, mx.array(-0.0, a.dtype), a)
    mx.eval(a, b)
    found = a @ b
    for i in (0, 1, count - 1):
        assert np.array_equal(bits(found[i]), bits(a[i] @ b[i]))


def bits(x: mx.array) -> np.ndarray:
    return np.array(x.view(mx.uint16 if x.itemsize == 2 else mx.uint32))


def test_an_operand_is_not_overwritten_while_it_is_read() -> None:
    a = numbers((20000, 3, 3), 1, mx.float32)
    b = numbers((20000, 3, 3), 2, mx.float32)
    want = np.array(a) @ np.array(b) @ np.array(b)
    a = a @ b
    mx.eval(a)
    a = a @ b
    np.testing.assert_allclose(a, want, 1e-4, 1e-4)


def test_gradients_of_rotations() -> None:
    points, turn = numbers((60000, 3), 1, mx.float32), numbers((3, 3), 2, mx.float32)
    grads = mx.grad(lambda p, r: ((p @ r) ** 2).sum(), argnums=(0, 1))(points, turn)
    p, r = np.array(points, np.float64), np.array(turn, np.float64)
    np.testing.assert_allclose(grads[0], 2 * p @ r @ r.T, 1e-4, 1e-4)
    np.testing.assert_allclose(grads[1], 2 * p.T @ p @ r, 1e-4)
