"""Copies of long runs, several at once: exact at any size, dtype and number of loops."""

import numpy as np
import pytest

import mlx.core as mx

DTYPES = ("bool", "float16", "int32", "int64")
SHAPES = ((1, 1), (3, 70), (5, 64), (40, 129), (33, 1000), (300, 331), (2, 70001), (900, 257))


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_two_axes(dtype: str, shape: tuple[int, int]) -> None:
    x, y = numbers(shape, dtype), numbers(shape, dtype)[::-1].copy()
    a, b = mx.array(x), mx.array(y)
    for axis in (0, 1):
        assert np.array_equal(mx.concatenate([a, b, a], axis), np.concatenate([x, y, x], axis))
        assert np.array_equal(mx.stack([a, b], axis), np.stack([x, y], axis))
        for by in (1, 5, -3):
            assert np.array_equal(mx.roll(a, by, axis), np.roll(x, by, axis))
    assert np.array_equal(mx.roll(a, 7), np.roll(x, 7))
    assert np.array_equal(mx.roll(a, (3, 2), (0, 1)), np.roll(x, (3, 2), (0, 1)))
    for widths in ((1, 1), [(0, 0), (0, 3)], [(2, 0), (0, 0)], [(0, 5), (70, 1)], [(1, 0), (0, 2)]):
        assert np.array_equal(mx.pad(a, widths), np.pad(x, widths))
    for where in (np.s_[1:], np.s_[:, 1:], np.s_[::2], np.s_[::-1], np.s_[1:-1, 2:-3]):
        assert np.array_equal(mx.contiguous(a[where]), x[where])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((2, 3, 5, 40), (2, 1, 30, 300), (7, 5, 3, 200), (1, 64, 9, 90)))
def test_four_axes(dtype: str, shape: tuple[int, ...]) -> None:
    x = numbers(shape, dtype)
    a = mx.array(x)
    for widths in ((0, 0, 1, 1), (1, 0, 0, 2), (2, 1, 3, 0), (0, 3, 0, 0)):
        pairs = [(w, w // 2) for w in widths]
        assert np.array_equal(mx.pad(a, pairs), np.pad(x, pairs))
    for axis in range(4):
        assert np.array_equal(mx.concatenate([a, a], axis), np.concatenate([x, x], axis))
        assert np.array_equal(mx.roll(a, 1, axis), np.roll(x, 1, axis))
    for axes in ((0, 2, 1, 3), (2, 0, 1, 3), (2, 1, 0, 3)):
        assert np.array_equal(mx.contiguous(a.transpose(axes)), x.transpose(axes))


def test_no_elements() -> None:
    for shape in ((0, 4), (4, 0), (3, 0, 2)):
        x = np.zeros(shape, np.float32)
        a = mx.array(x)
        assert np.array_equal(mx.pad(a, 2), np.pad(x, 2))
        assert np.array_equal(mx.concatenate([a, a], 1), np.concatenate([x, x], 1))


def test_lengths_that_change() -> None:
    """Of programs that are bound to other sizes."""
    for rows in (3, 4, 200, 5, 0, 700):
        x = numbers((rows, 150), "float32")
        a = mx.array(x)
        assert np.array_equal(mx.pad(a, [(1, 2), (3, 4)]), np.pad(x, [(1, 2), (3, 4)]))
        assert np.array_equal(mx.concatenate([a, a + 1], 1), np.concatenate([x, x + 1], 1))
        assert np.array_equal(mx.roll(a, 2, 1), np.roll(x, 2, 1))


def test_an_operand_that_is_overwritten() -> None:
    """What takes the memory of its operand, or is read where it is written."""
    x = numbers((500, 300), "float32")
    a = mx.array(x)
    for _ in range(3):
        a = mx.roll(a + 1, 3, 1)
        x = np.roll(x + 1, 3, 1)
        a = mx.concatenate([a[1:], a[:1]], 0)
        x = np.concatenate([x[1:], x[:1]], 0)
        mx.eval(a)
    assert np.array_equal(a, x)
