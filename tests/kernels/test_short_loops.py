"""Short inner loops, small strides and transposed reductions: exact, at every size and dtype."""

import numpy as np
import pytest

import mlx.core as mx

MANY = 1 << 17
"""Elements from which short loops are unrolled."""
DTYPES = ("bool", "uint8", "int16", "int32", "int64", "float16", "float32", "complex64")
LENGTHS = (1, 2, 15, 16, 17, 31, 33, 64, 100, 1000)


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(len(shape) + sum(shape))
    x = rng.integers(-100, 100, shape)
    return (x + 1j * x[..., ::-1] if dtype == "complex64" else x).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", (-3, -2, -1, 2, 3, 5, 8, 9))
def test_strided_reads(dtype: str, step: int) -> None:
    for length in LENGTHS:
        x = numbers((length * abs(step) - abs(step) + 1,), dtype)
        a = mx.array(x)
        assert np.array_equal(mx.contiguous(a[::step]), x[::step])
        assert np.array_equal(mx.where(a == a, a, a)[::step], x[::step])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", (2, 3, 4, 8, 9))
def test_stack_on_the_last_axis(dtype: str, parts: int) -> None:
    for length in LENGTHS:
        x = numbers((parts, length), dtype)
        a = mx.array(x)
        rows = [a[i] for i in range(parts)]
        assert np.array_equal(mx.stack(rows, -1), np.stack(x, -1))
        assert np.array_equal(mx.stack([r.astype(r.dtype) for r in rows], -1), x.T)
        assert np.array_equal(mx.contiguous(mx.array(x.T.copy()).T), x)


@pytest.mark.parametrize("more", (0, 1, 17))
@pytest.mark.parametrize("inner", (2, 3, 4, 7, 8, 9, 10, 13, 16, 17))
def test_rows_of_a_few_elements_have_the_bits_of_long_rows(inner: int, more: int) -> None:
    """A row alone is a loop; many rows are code without one."""
    rng = np.random.default_rng(inner)
    length = MANY // inner + more
    x = rng.standard_normal((length, inner)).astype(np.float32)

    def program(a: mx.array) -> list[mx.array]:
        y = mx.softmax(a, -1)
        return [y, mx.logsumexp(a, -1), a.sum(-1), (y * a).max(-1, keepdims=True) - a]

    together = program(mx.array(x))
    for i in (*range(40), *range(length - 40, length)):
        for whole, one in zip(together, program(mx.array(x[i])), strict=True):
            assert np.array_equal(np.array(whole)[i], np.array(one))


@pytest.mark.parametrize("dtype", ("float16", "float32", "int32"))
def test_sums_of_transposed_operands_have_the_bits_of_copies(dtype: str) -> None:
    for shape in ((40, 30), (1, 300), (300, 1), (5, 70000), (70000, 3), (3, 70000)):
        a = mx.array(numbers(shape, dtype)) / 7
        copy = mx.contiguous(a.T)
        mx.eval(a, copy)
        for axis in (0, 1):
            assert np.array_equal(a.T.sum(axis), copy.sum(axis))
            assert np.array_equal((a.T * 2).max(axis), (copy * 2).max(axis))


@pytest.mark.parametrize("shape", ((64, 2, 600, 2), (50, 3, 333, 3), (5, 8, 1009, 4)))
def test_pooling_by_reshape(shape: tuple[int, ...]) -> None:
    x = numbers(shape, "float32")
    a = mx.array(x)
    assert np.array_equal(a.max((1, 3)), x.max((1, 3)))
    assert np.array_equal(a.sum((1, 3)), x.sum((1, 3)))
    assert np.array_equal(a.min(1), x.min(1))


@pytest.mark.parametrize("rows", (3, 16, 1100, 6555))
@pytest.mark.parametrize("channels", (2, 3, 4))
def test_channels_first_and_last(rows: int, channels: int) -> None:
    x = numbers((rows, 20, channels), "uint8")
    a = mx.array(x)
    first = a.transpose(2, 0, 1).astype(mx.float32) / 255
    assert np.array_equal(first, x.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    scale = np.arange(1, channels + 1, dtype=np.float32)
    assert np.array_equal(a.astype(mx.float32) * mx.array(scale), x.astype(np.float32) * scale)
    assert np.array_equal(
        mx.contiguous(first.transpose(1, 2, 0)), np.asarray(first).transpose(1, 2, 0)
    )


def test_an_update_in_place_reads_before_it_writes() -> None:
    x = numbers((MANY // 3 + 5, 3), "float32")
    a = mx.array(x)
    a[:, 1] = a[:, 0] + a[:, 2]
    a[:, ::2] *= 2
    x[:, 1] = x[:, 0] + x[:, 2]
    x[:, ::2] *= 2
    assert np.array_equal(a, x)


def test_rows_that_lie_far_apart() -> None:
    x = numbers((100, 64), "float32")
    assert np.array_equal(mx.array(x)[:, :3].sum(1), x[:, :3].sum(1))


@pytest.mark.parametrize("columns", (2, 3, 8))
def test_sums_of_a_few_columns_have_the_bits_of_many(columns: int) -> None:
    for outer, depth in ((1, MANY), (5, MANY // 2 + 3), (700, 100)):
        rng = np.random.default_rng(columns)
        x = rng.standard_normal((outer, depth, columns)).astype(np.float32)
        wide = mx.array(np.concatenate([x, np.zeros((outer, depth, 40), np.float32)], -1))
        for fold in (mx.sum, mx.max):
            few = fold(mx.array(x), 1)
            assert np.array_equal(few, fold(wide, 1)[:, :columns])


def test_broadcast_products_of_short_vectors() -> None:
    x = numbers((MANY // 3, 3), "float32")
    a = mx.array(x)
    assert np.array_equal(a[:, :, None] * a[:, None, :], x[:, :, None] * x[:, None, :])
    assert np.array_equal(mx.tile(a, (1, 3)), np.tile(x, (1, 3)))
    assert np.array_equal(mx.repeat(a, 3, 0), np.repeat(x, 3, 0))
    assert np.array_equal(mx.repeat(a, 5, 1), np.repeat(x, 5, 1))
