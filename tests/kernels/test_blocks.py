"""Copies of short runs: as words, as blocks, or shuffled; exact at every length and dtype."""

import numpy as np
import pytest

import mlx.core as mx
from mlx.backend.llvm import cache_sizes

DTYPES = ("bool", "uint8", "int16", "float16", "int32", "float32", "int64", "complex64")
RUNS = (2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 33, 64, 65, 127, 128, 129)


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", RUNS)
def test_runs(dtype: str, run: int) -> None:
    rows = 40000 // run // 7
    x = numbers((7, rows, run), dtype)
    a = mx.array(x)
    assert np.array_equal(mx.contiguous(a.transpose(1, 0, 2)), x.transpose(1, 0, 2))
    assert np.array_equal(mx.contiguous(a[:, ::-2]), x[:, ::-2])
    assert np.array_equal(mx.contiguous(a[2::3, 1:-1]), x[2::3, 1:-1])
    assert np.array_equal(mx.repeat(a, 3, 1), np.repeat(x, 3, 1))
    y = numbers((7 * rows, run + 41), dtype)
    b = mx.array(y)
    assert np.array_equal(mx.contiguous(b[:, 3 : 3 + run]), y[:, 3 : 3 + run])
    parts = [a.reshape(-1, run), b[:, :5]]
    assert np.array_equal(
        mx.concatenate(parts, 1), np.concatenate([x.reshape(-1, run), y[:, :5]], 1)
    )
    b[:, 7 : 7 + run] = a.reshape(-1, run)
    y[:, 7 : 7 + run] = x.reshape(-1, run)
    assert np.array_equal(b, y)


@pytest.mark.parametrize("dtype", ("uint8", "float32", "int64"))
@pytest.mark.parametrize("run", (2, 8, 11))
def test_windows(dtype: str, run: int) -> None:
    x = numbers((50000,), dtype)
    found = mx.contiguous(mx.as_strided(mx.array(x), (len(x) - run + 1, run), (1, 1)))
    assert np.array_equal(found, np.lib.stride_tricks.sliding_window_view(x, run))


@pytest.mark.parametrize("axes", [(0, 2, 1, 3), (2, 0, 1, 3), (2, 1, 0, 3), (1, 2, 0, 3)])
def test_several_loops(axes: tuple[int, ...]) -> None:
    for shape in ((3, 5, 301, 12), (301, 3, 5, 12), (2, 700, 1, 33), (17, 3, 40, 10)):
        x = numbers(shape, "float32")
        assert np.array_equal(mx.contiguous(mx.array(x).transpose(axes)), x.transpose(axes))


def test_lengths_that_change() -> None:
    """Of programs that are bound to other sizes."""
    step = mx.compile(lambda a: mx.contiguous(a.transpose(1, 0, 2)), shapeless=True)
    for rows in (900, 901, 4, 1700):
        x = numbers((9, rows, 10), "float32")
        assert np.array_equal(mx.contiguous(mx.array(x).transpose(1, 0, 2)), x.transpose(1, 0, 2))
        assert np.array_equal(step(mx.array(x)), x.transpose(1, 0, 2))


@pytest.mark.parametrize("run", (4, 5, 8, 16, 24))
def test_more_than_caches_hold(run: int) -> None:
    length = (cache_sizes.MOST_BYTES >> 3) // run // 64 + 3
    x = np.arange(64 * length * run, dtype=np.float32).reshape(64, length, run)
    a = mx.array(x)
    assert np.array_equal(mx.contiguous(a.transpose(1, 0, 2)), x.transpose(1, 0, 2))
    assert np.array_equal(mx.concatenate([a, a[:, 1:]], 1), np.concatenate([x, x[:, 1:]], 1))
    assert np.array_equal(mx.pad(a, 1), np.pad(x, 1))
