"""Short-time transforms against a loop over frames, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

F = mx.fft


def signal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def by_loop(x: np.ndarray, n: int, hop: int, window: np.ndarray, mode: str | None) -> np.ndarray:
    if mode is not None:
        x = np.pad(x, n // 2, mode)  # type: ignore[call-overload]
    padded = np.zeros(n)
    left = (n - window.size) // 2
    padded[left : left + window.size] = window
    starts = range(0, x.size - n + 1, hop)
    return np.stack([np.fft.rfft(x[s : s + n] * padded) for s in starts], axis=-1)


@pytest.mark.parametrize("n", [1, 15, 16])
@pytest.mark.parametrize("hop", [None, 3, 16, 20])
@pytest.mark.parametrize("mode", ["reflect", "constant", "edge", None])
def test_frames(n: int, hop: int | None, mode: str | None) -> None:
    x = signal(70)
    options: dict[str, Any] = {"center": False} if mode is None else {"pad_mode": mode}
    for length in (n, max(n // 2, 1)):
        window = np.hamming(length + 2)[1:-1].astype(np.float32)
        got = F.stft(mx.array(x), n, hop, window=mx.array(window), **options)
        want = by_loop(x, n, hop or max(n // 4, 1), window, mode)
        np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-4)
        ones = F.stft(mx.array(x), n, hop, length, **options)
        want = by_loop(x, n, hop or max(n // 4, 1), np.ones(length), mode)
        np.testing.assert_allclose(np.array(ones), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("onesided", [True, False])
def test_there_and_back(norm: str, center: bool, onesided: bool) -> None:
    x = signal(2, 3, 64)
    window = mx.array(np.hanning(18)[1:-1].astype(np.float32))
    options = {"window": window, "norm": norm, "center": center, "onesided": onesided}
    spectra = F.stft(mx.array(x), 16, 4, **options)
    assert spectra.shape[:3] == (2, 3, 9 if onesided else 16)
    back = F.istft(spectra, hop_length=4, **options)
    np.testing.assert_allclose(np.array(back), x, rtol=1e-4, atol=1e-4)


def test_lengths() -> None:
    x = signal(64)
    spectra = F.stft(mx.array(x), 16)
    for length in (0, 10, 64, 100):
        back = np.array(F.istft(spectra, length=length))
        assert back.shape == (length,)
        n = min(length, 64)
        np.testing.assert_allclose(back[:n], x[:n], rtol=1e-4, atol=1e-4)
    assert not np.array(F.istft(spectra, length=100))[72:].any()


def test_complex_signals() -> None:
    x = (signal(64) + 1j * signal(64)[::-1]).astype(np.complex64)
    spectra = F.stft(mx.array(x), 16, center=False)
    assert spectra.shape == (16, 13)
    want = np.fft.fft(x[8:24])
    np.testing.assert_allclose(np.array(spectra)[:, 2], want, rtol=1e-4, atol=1e-4)
    half = F.stft(mx.array(x), 16, onesided=True, center=False)
    np.testing.assert_allclose(np.array(half)[:, 0], np.fft.rfft(x[:16].real), atol=1e-4)


def test_a_window_of_zeros_divides_by_nothing() -> None:
    spectra = F.stft(mx.array(signal(32)), 16, 16, window=mx.zeros(16), center=False)
    back = F.istft(spectra, hop_length=16, window=mx.zeros(16), center=False)
    assert back.tolist() == [0] * 32


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda x: F.stft(mx.array(1.0)), "stft.*at least one dimension"),
        (lambda x: F.stft(x, 0), "stft.*n_fft must be positive"),
        (lambda x: F.stft(x, 16, 0), "stft.*hop_length must be positive"),
        (lambda x: F.stft(x, 16, win_length=0), "stft.*win_length must be positive"),
        (lambda x: F.stft(x, 16, win_length=20), "stft.*20 numbers exceeds n_fft = 16"),
        (lambda x: F.stft(x, 16, window=mx.ones((2, 2))), "stft.*one-dimensional"),
        (lambda x: F.stft(x, 128, center=False), "stft.*64 samples are too few"),
        (lambda x: F.stft(x, 16, norm="foo"), "foo"),
        (lambda x: F.stft(x, 16, pad_mode="foo"), "foo"),
        (lambda x: F.istft(x), "istft.*frequencies and frames"),
        (lambda x: F.istft(F.stft(x, 16), length=-1), "istft.*length"),
        (lambda x: F.istft(F.stft(x, 16), window=mx.ones(17)), "istft.*exceeds"),
        (lambda x: F.istft(mx.zeros((9, 0))), "istft.*no frames"),
        (lambda x: F.istft(F.stft(x, 16), norm="foo"), "foo"),
    ],
)
def test_arguments(call: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        call(mx.array(signal(64)))
