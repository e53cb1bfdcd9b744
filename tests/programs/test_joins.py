"""What is written where a copy of it would lie: the same bits as by a copy, in fewer kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx

DTYPES = (mx.float32, mx.bfloat16, mx.complex64, mx.int32)
SIZES = (
    (2, 3, 17, 16, 5),
    (1, 2, 100, 64, 100),
    (3, 2, 1, 32, 70),
    (2, 2, 4, 64, 64),
    (1, 2, 257, 48, 2100),
    (2, 2, 20, 7, 30),
    (80, 4, 16, 32, 8),
)


def at_once(x: mx.array) -> mx.array:
    return x


def in_steps(x: mx.array) -> mx.array:
    mx.eval(x)
    return x


def rearranged(
    a: mx.array, b: mx.array, c: mx.array, step: Callable[[mx.array], mx.array]
) -> list[mx.array]:
    """Products whose rows or columns are copied apart, alone and into concatenations."""
    batch, heads, length, _ = a.shape
    width = b.shape[-1]

    def merged(x: mx.array) -> mx.array:
        return step(step(x.transpose(0, 2, 1, 3)).reshape(batch, length, heads * width))

    scaled, joined, turned = (step(a @ step(b * n)) for n in (2, 3, 4))
    columns = step(step(turned.transpose(0, 3, 1, 2)).reshape(batch, width, heads * length))
    parts = [merged(joined), c, merged(step(step(a @ b) * 2))]
    return [merged(scaled), columns, step(mx.concatenate(parts, axis=-1))]


def bits(x: mx.array) -> bytes:
    return bytes(memoryview(np.array(x.view(mx.uint8))))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rearranged_products(sizes: tuple[int, ...], dtype: mx.Dtype) -> None:
    batch, heads, length, width, depth = sizes
    rng = np.random.default_rng(0)
    shapes = (
        (batch, heads, length, depth),
        (batch, heads, depth, width),
        (batch, length, heads * width),
    )
    a, b, c = (mx.array(3 * rng.standard_normal(shape)).astype(dtype) for shape in shapes)
    mx.eval(a, b, c)
    for fused, apart in zip(
        rearranged(a, b, c, at_once), rearranged(a, b, c, in_steps), strict=True
    ):
        assert bits(fused) == bits(apart)


@pytest.mark.parametrize("dtype", (mx.float32, mx.bfloat16), ids=str)
@pytest.mark.parametrize("rank", (1, 2, 3, 8, 12))
@pytest.mark.parametrize("rows", (1, 5, 40))
def test_turned_products_of_few_columns(rows: int, rank: int, dtype: mx.Dtype) -> None:
    """The gradients of low-rank factors that are used transposed."""
    keys = mx.random.split(mx.random.key(0), 3)
    x, y, z = (
        mx.random.normal((rows, width), key=key).astype(dtype)
        for width, key in zip((70, rank, 33), keys, strict=True)
    )
    mx.eval(x, y, z)
    for a, b in ((x, y), (y, z)):
        product = a.T @ b
        apart = in_steps(a.T @ b).T
        assert bits(mx.contiguous(product.T)) == bits(mx.contiguous(apart))
        (fused,) = mx.compile(lambda a, b: [(a.T @ b).T + 1])(a, b)
        assert bits(fused) == bits(apart + 1)


def attention(x: mx.array) -> mx.array:
    """Written out by hand, for two heads, of a fused projection."""
    batch, length, width = x.shape
    parts = mx.split(x, 3, axis=-1)
    q, k, v = (p.reshape(batch, length, 2, width // 6).transpose(0, 2, 1, 3) for p in parts)
    weights = mx.softmax(q @ k.transpose(0, 1, 3, 2) * 0.25, axis=-1)
    return (weights @ v).transpose(0, 2, 1, 3).reshape(batch, length, width // 3)


def test_attention_by_hand_copies_nothing() -> None:
    x = mx.random.normal((2, 64, 192))
    kinds = [kernel.kind for kernel in mx.explain(attention, x).kernels]
    assert kinds == ["gemm", "rows", "gemm"]
    gradient = mx.grad(lambda x: mx.square(attention(x)).sum())
    kinds = [kernel.kind for kernel in mx.explain(gradient, x).kernels]
    assert kinds.count("gemm") == 6
    assert len(kinds) <= 9


@pytest.mark.parametrize("parts", [(32, 64, 96), (1, 2, 96), (96, 96), (0, 50, 96)], ids=str)
def test_gradient_of_a_split(parts: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 7, 96)).astype(np.float32)
    starts = (0, *parts[:-1])

    def loss(x: mx.array) -> mx.array:
        slices = [x[..., a:b] for a, b in zip(starts, parts, strict=True)]
        return sum((mx.square(s) * (i + 1)).sum() for i, s in enumerate(slices))

    want = np.zeros_like(x)
    for i, (a, b) in enumerate(zip(starts, parts, strict=True)):
        want[..., a:b] += 2 * (i + 1) * x[..., a:b]
    np.testing.assert_array_equal(np.array(mx.grad(loss)(mx.array(x))), want)


def test_gradient_of_overlapping_slices() -> None:
    x = mx.arange(10.0)
    found = mx.grad(lambda x: mx.square(x[:6]).sum() + (3 * x[4:]).sum())(x)
    assert found.tolist() == [0, 2, 4, 6, 11, 13, 3, 3, 3, 3]
