"""Results written around the caches, and in the memory of an operand."""

from __future__ import annotations

import numpy as np
import pytest

import mlx.core as mx
from mlx.backend.llvm import cache_sizes

LENGTH = (cache_sizes.MOST_BYTES >> 3) + 77


@pytest.mark.parametrize("dtype", (mx.float32, mx.float16, mx.int32))
def test_results_are_the_same_in_place_and_apart(dtype: mx.Dtype) -> None:
    length = LENGTH * 4 // dtype.size
    start = (mx.arange(length) % 1000).astype(dtype)
    kept = mx.contiguous(start) + 0
    mx.eval(start, kept)
    apart = [kept * 2 + 1, kept - 3]
    mx.eval(apart)
    start, other = start * 2 + 1, start - 3  # nothing else refers to the old value
    mx.eval(start, other)
    expected = np.array(kept)
    for found in (start, apart[0]):
        assert np.array_equal(np.array(found), expected * 2 + 1)
    for found in (other, apart[1]):
        assert np.array_equal(np.array(found), expected - 3)


def test_some_results_in_place_and_others_apart() -> None:
    x, y = mx.arange(LENGTH).astype(mx.float32), mx.ones((LENGTH,))
    mx.eval(x, y)
    old = np.array(x, copy=True)
    x, apart = x + y, x * 2 - y
    mx.eval(x, apart)
    assert np.array_equal(np.array(x), old + 1)
    assert np.array_equal(np.array(apart), old * 2 - 1)


def test_rows_with_a_reduction_in_place() -> None:
    x = mx.random.normal((2048, 4096))
    kept = mx.array(np.array(x))
    mx.eval(x, kept)
    x = x - x.max(-1, keepdims=True)
    mx.eval(x)
    assert np.array_equal(np.array(x), np.array(kept - kept.max(-1, keepdims=True)))


@pytest.mark.parametrize(("text", "size"), (("32K\n", 1 << 15), ("8M", 1 << 23), ("512", 512)))
def test_sizes_of_caches(text: str, size: int) -> None:
    assert cache_sizes._bytes(text) == size
    assert 0 < cache_sizes.first_level() <= cache_sizes.last_level() <= cache_sizes.MOST_BYTES
