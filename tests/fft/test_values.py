"""mx.fft against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

F = mx.fft
NORMS = ("backward", "ortho", "forward")
ONE = ("fft", "ifft", "rfft", "irfft")
SEVERAL = ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def operand(name: str, *shape: int) -> np.ndarray:
    x = draw(*shape)
    return x.real.copy() if name.startswith("r") else x


def close(got: mx.array, want: np.ndarray) -> None:
    found = np.array(got)
    assert found.shape == want.shape
    assert found.dtype == (np.complex64 if want.dtype.kind == "c" else np.float32)
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("norm", NORMS)
def test_along_an_axis(name: str, norm: str) -> None:
    x = operand(name, 3, 8, 5)
    ours, theirs = getattr(F, name), getattr(np.fft, name)
    for axis in (-1, 0, 1):
        for n in (None, 1, 2, 4, 5, 11, 16):
            close(ours(mx.array(x), n, axis, norm), theirs(x, n, axis, norm))


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("norm", NORMS)
def test_over_axes(name: str, norm: str) -> None:
    x = operand(name, 4, 6, 5)
    ours, theirs = getattr(F, name), getattr(np.fft, name)
    for axes in ((0, 1), (2, 0), (-2, -1)):
        for s in (None, (3, 8), (7, 4)):
            close(ours(mx.array(x), s, axes, norm), theirs(x, s, axes, norm))
    if name.endswith("n"):
        close(ours(mx.array(x), norm=norm), theirs(x, norm=norm))
        close(ours(mx.array(x), (2, 4, 6), (1, 0, 2)), theirs(x, (2, 4, 6), (1, 0, 2)))


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("dtype", ["bool_", "int32", "uint8", "float16", "bfloat16", "float64"])
def test_dtypes(name: str, dtype: str) -> None:
    a = mx.arange(6).astype(getattr(mx, dtype))
    close(getattr(F, name)(a), getattr(np.fft, name)(np.array(a).astype(np.float64)))


def test_sizes() -> None:
    for shape in ((0, 4), (1,), (2, 0, 3), (1, 1)):
        for name in ONE:
            n = 4 if name == "irfft" and shape[-1] == 1 else None
            x = operand(name, *shape)
            close(getattr(F, name)(mx.array(x), n), getattr(np.fft, name)(x, n))
    x = operand("fft", 3, 4)
    np.testing.assert_array_equal(np.array(F.fftn(mx.array(x), axes=[])), x)
    large = operand("rfft", 1 << 15)
    close(F.irfft(F.rfft(mx.array(large))), large)


def test_views_and_fusion() -> None:
    x = draw(6, 8)
    a = mx.array(x)
    close(F.fft(a.T[::-1] * 2), np.fft.fft(x.T[::-1] * 2))
    compiled = mx.compile(lambda a: mx.abs(F.ifft(F.fft(a) * 0.5)))
    np.testing.assert_allclose(np.array(compiled(a)), np.abs(x) / 2, rtol=1e-5, atol=1e-6)


def test_frequencies_and_shifts() -> None:
    for n in (1, 2, 5, 8, 1000):
        for d in (1.0, 0.25, 3.0):
            close(F.fftfreq(n, d), np.fft.fftfreq(n, d))
            close(F.rfftfreq(n, d), np.fft.rfftfreq(n, d))
    x = np.arange(24).reshape(2, 3, 4)
    for axes in (None, [0], [1, 2], [-1]):
        for name in ("fftshift", "ifftshift"):
            got = getattr(F, name)(mx.array(x), axes)
            np.testing.assert_array_equal(np.array(got), getattr(np.fft, name)(x, axes))


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda: F.fft(mx.ones(4), norm="foo"), "norm 'foo'"),
        (lambda: F.fft(mx.ones(4), n=0), "size"),
        (lambda: F.irfft(mx.ones(1)), "size"),
        (lambda: F.fft(mx.ones(4), axis=1), "axis 1"),
        (lambda: F.fft(mx.array(1.0)), "axis -1"),
        (lambda: F.fft2(mx.ones(4)), "axis -2"),
        (lambda: F.fftn(mx.ones((2, 2)), axes=[0, 0]), "Duplicate"),
        (lambda: F.fftn(mx.ones((2, 2)), s=[2]), "axes"),
        (lambda: F.fftn(mx.ones((2, 2)), s=[2], axes=[0, 1]), "number"),
        (lambda: F.fftfreq(0), "at least 1"),
        (lambda: F.rfftfreq(4, 0.0), "must not be 0"),
    ],
)
def test_arguments(call: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        call()
