"""Transforms of sizes with small factors, long and short, along any axis, of any strides."""

from __future__ import annotations

import numpy as np
import pytest

import mlx.core as mx
from mlx.runtime import profile

SIZES = [
    1, 2, 3, 4, 5, 6, 8, 9, 10, 15, 16, 30, 60, 64, 100, 120, 250, 256, 360, 405, 625, 1000, 1024,
    2048, 2187, 4096, 5000, 1 << 15, 3**9, 1 << 17,
]  # fmt: skip
BATCHES = [(3, 8), (17, 30), (16, 64), (33, 2048), (5, 4096), (2, 3, 1024), (20, 405)]
OUTER = [((64, 48), 0), ((4, 600, 5), 1), ((4096, 3), 0), ((2, 360, 33), 1)]
EVERY = [((n,), 0) for n in SIZES] + [(s, len(s) - 1) for s in BATCHES] + OUTER


def _close(found: mx.array, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(found) - expected).max() <= 4e-7 * scale


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(len(shape) + shape[0])
    return rng.standard_normal((*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]


@pytest.mark.parametrize(("shape", "axis"), EVERY)
def test_values(shape: tuple[int, ...], axis: int) -> None:
    x = _numbers(shape)
    wide = x.astype(np.complex128)
    _close(mx.fft.fft(mx.array(x), axis=axis), np.fft.fft(wide, axis=axis))
    _close(mx.fft.ifft(mx.array(x), axis=axis), np.fft.ifft(wide, axis=axis))
    _close(mx.fft.rfft(mx.array(x.real), axis=axis), np.fft.rfft(wide.real, axis=axis))


@pytest.mark.parametrize(
    ("shape", "axes"), [((64, 48), (0, 1)), ((7, 8, 9, 10), (1, 2)), ((256, 256), (0, 1))]
)
def test_several_axes(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = _numbers(shape)
    _close(mx.fft.fftn(mx.array(x), axes=axes), np.fft.fftn(x.astype(np.complex128), axes=axes))


def test_strided_operands() -> None:
    x = _numbers((4, 5, 256))
    turned = mx.array(x).transpose(2, 0, 1)[::2, :, 1:3]
    expected = x.transpose(2, 0, 1)[::2, :, 1:3].astype(np.complex128)
    for axis in range(3):
        _close(mx.fft.fft(turned, axis=axis), np.fft.fft(expected, axis=axis))
        real = mx.fft.rfft(turned.real, axis=axis)
        _close(real, np.fft.rfft(expected.real, axis=axis))


def test_large_prime_factors_go_to_the_library() -> None:
    x = _numbers((3, 7 * 11))
    with profile.recording() as found:
        out = mx.fft.fft(mx.array(x))
        mx.eval(out)
    assert not found.kernels
    _close(out, np.fft.fft(x.astype(np.complex128)))
