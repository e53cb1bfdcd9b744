"""Fourier transforms are linear: their derivatives are themselves and their transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from tests.fft.test_values import ONE, operand

F = mx.fft
WINDOW = mx.array(np.hanning(18)[1:-1].astype(np.float32))
FUNCTIONS: dict[str, tuple[Any, np.ndarray]] = {
    **{f"{n} {m}": (lambda x, n=n, m=m: getattr(F, n)(x, m, 0), operand(n, 6, 3))
       for n in ONE for m in (None, 4, 7, 9)},
    **{n: (getattr(F, n), operand(n, 3, 4, 5)) for n in ("fft2", "rfft2", "irfft2", "rfftn")},
    "ifftn": (lambda x: F.ifftn(x, norm="ortho"), operand("ifftn", 3, 4)),
    "shift": (F.fftshift, operand("rfft", 3, 4)),
    "stft": (lambda x: F.stft(x, 16, 5, window=WINDOW), operand("rfft", 2, 40)),
    "istft": (lambda x: F.istft(x, 16, 5, window=WINDOW), operand("fft", 9, 6)),
}  # fmt: skip
each = pytest.mark.parametrize("name", FUNCTIONS)


def inner(a: Any, b: Any) -> float:
    return float(np.sum(np.array(a, np.complex128) * np.conj(np.array(b, np.complex128))).real)


def draw_like(rng: Any, x: np.ndarray) -> np.ndarray:
    real = rng.normal(size=x.shape)
    return (real + 1j * rng.normal(size=x.shape) if x.dtype.kind == "c" else real).astype(x.dtype)


@each
def test_transposes(name: str) -> None:
    """J t is the transform of t, and <J t, c> = <t, J' c>."""
    fn, x = FUNCTIONS[name]
    a = mx.array(x)
    rng = np.random.default_rng(1)
    t = mx.array(draw_like(rng, x))
    (out,), (moved,) = mx.jvp(fn, [a], [t])
    np.testing.assert_allclose(np.array(moved), np.array(fn(t)), rtol=1e-5, atol=1e-5)
    cotangent = mx.array(draw_like(rng, np.array(out)))
    _, (back,) = mx.vjp(fn, [a], [cotangent])
    assert (back.shape, back.dtype) == (a.shape, a.dtype)
    left, right = inner(moved, cotangent), inner(t, back)
    assert abs(left - right) <= 1e-4 * max(1, abs(left))


@each
def test_batches(name: str) -> None:
    fn, x = FUNCTIONS[name]
    xs = mx.stack([mx.array(x) * k for k in (1.0, 2.0, -1.0)])
    want = mx.stack([fn(x) for x in xs])
    np.testing.assert_allclose(np.array(mx.vmap(fn)(xs)), np.array(want), rtol=1e-5, atol=1e-5)
    last = mx.vmap(fn, in_axes=-1)(mx.moveaxis(xs, 0, -1))
    np.testing.assert_allclose(np.array(last), np.array(want), rtol=1e-5, atol=1e-5)


@each
def test_second_order(name: str) -> None:
    """The squared norm of a linear function has a constant second derivative."""
    fn, x = FUNCTIONS[name]
    gradient = mx.grad(lambda x: (mx.abs(fn(x)) ** 2).sum())
    a, t = mx.array(x), mx.array(x[::-1].copy())
    _, (moved,) = mx.jvp(gradient, [a], [t])
    np.testing.assert_allclose(np.array(moved), np.array(gradient(t)), rtol=2e-3, atol=2e-3)


def test_convolution_by_transforms() -> None:
    rng = np.random.default_rng(2)
    x, k = (mx.array(rng.normal(size=32).astype(np.float32)) for _ in range(2))

    def convolved(k: mx.array) -> mx.array:
        return F.irfft(F.rfft(x) * F.rfft(k), 32)

    turned = np.array([[np.array(x)[(i - j) % 32] for j in range(32)] for i in range(32)])
    np.testing.assert_allclose(np.array(convolved(k)), turned @ np.array(k), atol=1e-4)
    gradient = mx.grad(lambda k: (convolved(k) ** 2).sum())(k)
    want = 2 * turned.T @ (turned @ np.array(k))
    np.testing.assert_allclose(np.array(gradient), want, rtol=1e-4, atol=1e-3)
