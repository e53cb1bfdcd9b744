"""Quantization, 8-bit floats, chosen and masked products, and transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import mlx.core as mx

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def close(got: Any, want: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(np.array(got), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_affine_quantization(bits: int, group: int) -> None:
    """Every element is off by at most half a step, and the larger end by nothing."""
    w = normal(4, 128)
    packed, scales, biases = mx.quantize(mx.array(w), group, bits)
    assert packed.shape == (4, 128 * bits // 32) and packed.dtype is mx.uint32
    back = np.array(mx.dequantize(packed, scales, biases, group, bits)).reshape(4, -1, group)
    step = np.abs(np.array(scales))[..., None]
    grouped = w.reshape(back.shape)
    largest = np.abs(grouped).argmax(-1)[..., None]
    np.testing.assert_allclose(
        np.take_along_axis(back, largest, -1), np.take_along_axis(grouped, largest, -1), rtol=1e-6
    )
    # the rounded scale may not reach the other end: that side is cut off
    reach = back.min(-1, keepdims=True), back.max(-1, keepdims=True)
    inside = (grouped >= reach[0]) & (grouped <= reach[1])
    allowed = np.broadcast_to(0.5 * step + 1e-6, back.shape)
    assert np.all(np.abs(back - grouped)[inside] <= allowed[inside])


def test_packing_is_one_stream_of_bits() -> None:
    """Codes 0..7 in 3 bits, lowest bits first."""
    w = np.tile(np.arange(8, dtype=np.float32), 4)[None]
    packed, scales, biases = mx.quantize(mx.array(w), 32, 3)
    assert (scales.item(), biases.item()) == (-1, 7)
    codes = [7 - int(v) for v in w[0]]
    stream = sum(c << (3 * i) for i, c in enumerate(codes))
    assert packed.tolist() == [[(stream >> (32 * i)) & 0xFFFFFFFF for i in range(3)]]


@pytest.mark.parametrize("mode", ["affine", "mxfp4", "nvfp4", "mxfp8"])
def test_quantized_products(mode: str) -> None:
    x, w = mx.array(normal(3, 64)), mx.array(normal(2, 8, 64))
    parts = mx.quantize(w, mode=mode)
    dense = mx.dequantize(*parts, mode=mode).astype(mx.float32)
    got = mx.quantized_matmul(x, *(p[0] for p in parts), mode=mode)
    close(got, np.array(x) @ np.array(dense[0]).T)
    back = mx.quantized_matmul(got, *(p[0] for p in parts), transpose=False, mode=mode)
    close(back, np.array(got) @ np.array(dense[0]), 1e-4)
    index = mx.array([1, 0, 1])
    chosen = mx.gather_qmm(x[:, None], *parts, rhs_indices=index, mode=mode)
    close(chosen, np.array(x)[:, None] @ np.array(dense)[[1, 0, 1]].swapaxes(1, 2))


@pytest.mark.parametrize(("mode", "largest"), [("mxfp4", 0.3), ("nvfp4", 0.2), ("mxfp8", 0.05)])
def test_floating_modes_are_close(mode: str, largest: float) -> None:
    w = normal(4, 64)
    back = np.array(
        mx.dequantize(*mx.quantize(mx.array(w), mode=mode), mode=mode, dtype=mx.float32)
    )
    assert np.abs(back - w).max() <= largest * np.abs(w).max()


def test_fp8_keeps_its_own_numbers() -> None:
    codes = np.array([c for c in range(256) if c & 127 != 127], np.uint8)
    values = mx.from_fp8(mx.array(codes), mx.float32)
    np.testing.assert_array_equal(np.array(mx.to_fp8(values)), codes)
    assert np.array(values).max() == 448
    x = normal(1000)
    nearest = np.array(values)[np.abs(np.array(values)[:, None] - x).argmin(0)]
    got = np.array(mx.from_fp8(mx.to_fp8(mx.array(x)), mx.float32))
    np.testing.assert_array_equal(np.abs(got - x), np.abs(nearest - x))


@pytest.mark.parametrize("size", [1, 2, 8, 12, 20, 24, 28, 56])
def test_hadamard_is_orthogonal(size: int) -> None:
    matrix = np.array(mx.hadamard_transform(mx.eye(size)))
    close(matrix @ matrix.T, np.eye(size))
    np.testing.assert_allclose(np.abs(matrix), size**-0.5, rtol=1e-5)
    if size & (size - 1) == 0:
        close(matrix * size**0.5, scipy.linalg.hadamard(size))


@pytest.mark.parametrize("size", [2, 8, 16, 64, 2048, 1 << 16])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_hadamard_in_any_layout(size: int, dtype: mx.Dtype) -> None:
    x = np.random.default_rng(size).integers(-3, 4, (3, size)).astype(np.float32)
    want, step = x, 1
    while step < size:
        pairs = want.reshape(-1, 2, step)
        low, high = pairs[:, 0], pairs[:, 1]
        want, step = np.stack([low + high, low - high], 1), 2 * step
    expected = np.array(mx.array(want.reshape(3, size) / 2).astype(dtype).astype(mx.float32))
    for given in (
        mx.array(x),
        mx.contiguous(mx.array(x).T).T,
        mx.array(np.repeat(x, 2, 1))[:, ::2],
    ):
        got = mx.hadamard_transform(given.astype(dtype), 0.5)
        np.testing.assert_array_equal(np.array(got.astype(mx.float32)), expected)
        beside = mx.stack([mx.hadamard_transform(given, 0.5), given], axis=-1)
        np.testing.assert_array_equal(np.array(beside[..., 0]), want.reshape(3, size) / 2)


def test_chosen_and_segmented_products() -> None:
    a, b = normal(3, 2, 4), normal(5, 4, 2)
    got = mx.gather_mm(mx.array(a), mx.array(b), mx.array([[0], [2]]), mx.array([1, 4, 0]))
    close(got, a[[[0], [2]]] @ b[[1, 4, 0]])
    x, y = normal(4, 6), normal(6, 5)
    got = mx.segmented_mm(mx.array(x), mx.array(y), mx.array([[0, 2], [2, 6], [3, 3]]))
    close(got, np.stack([x[:, :2] @ y[:2], x[:, 2:] @ y[2:], np.zeros((4, 5))]))


def test_block_masks() -> None:
    a, b = normal(70, 40), normal(40, 33)
    out = np.array([[True, False], [False, True], [True, True]])
    left, right = normal(3, 2), np.array([[True, False], [True, True]])
    got = mx.block_masked_mm(
        mx.array(a), mx.array(b), 32, mx.array(out), mx.array(left), mx.array(right)
    )

    def spread(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.kron(mask, np.ones((32, 32)))[: shape[0], : shape[1]]

    want = (a * spread(left, a.shape)) @ (b * spread(right, b.shape))
    close(got, want * spread(out, want.shape), 1e-4)


def test_windowed_transform_and_back() -> None:
    x, window = normal(3, 1000), np.hanning(128).astype(np.float32)
    spectra = mx.fft.stft(mx.array(x), 128, 32, window=mx.array(window), center=False)
    frames = np.lib.stride_tricks.sliding_window_view(x, 128, -1)[:, ::32]
    close(spectra, np.fft.rfft(frames * window).swapaxes(1, 2), 1e-3)
    spectra = mx.fft.stft(mx.array(x), 128, 32, window=mx.array(window))
    close(mx.fft.istft(spectra, window=mx.array(window), hop_length=32, length=1000), x, 1e-4)


def test_gated_delta_rule() -> None:
    q, k, v = normal(2, 4, 1, 8), normal(2, 4, 1, 8), normal(2, 4, 2, 3)
    gamma, beta = RNG.uniform(size=(2, 2, 4, 2)).astype(np.float32)
    state, rows = np.zeros((2, 2, 3, 8), np.float32), []
    for t in range(4):
        state = state * gamma[:, t, :, None, None]
        change = (v[:, t] - (state * k[:, t, :, None]).sum(-1)) * beta[:, t, :, None]
        state = state + change[..., None] * k[:, t, :, None]
        rows.append((state * q[:, t, :, None]).sum(-1))
    got = mx.fast.gated_delta_update(*map(mx.array, (q, k, v, gamma, beta)))
    close(got[0], np.stack(rows, 1), 1e-4)
    close(got[1], state, 1e-4)


@pytest.mark.parametrize("options", [
    {}, {"stride": 2}, {"padding": 1, "dilation": 2}, {"groups": 2},
])  # fmt: skip
def test_convolutions_against_scipy(options: dict[str, int]) -> None:
    """conv1d is a correlation at some places; its transpose is its adjoint."""
    groups = options.get("groups", 1)
    x, w = normal(2, 11, 4), normal(6, 3, 4 // groups)
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    dilation = options.get("dilation", 1)
    wide = np.zeros((6, 2 * dilation + 1, 4 // groups), np.float32)
    wide[:, ::dilation] = w
    padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    want = np.zeros((2, padded.shape[1] - 2 * dilation, 6), np.float32)
    for n in range(2):
        for o in range(6):
            first = o // (6 // groups) * (4 // groups)
            for c in range(4 // groups):
                line = padded[n, :, first + c]
                want[n, :, o] += scipy.signal.correlate(line, wide[o, :, c], "valid")
    got = mx.conv1d(mx.array(x), mx.array(w), **options)
    close(got, want[:, ::stride], 1e-4)


def test_transposed_convolution_is_the_adjoint() -> None:
    x, y, w = normal(1, 9, 8, 4), normal(1, 5, 4, 6), normal(6, 3, 2, 4)
    forward = mx.conv2d(mx.array(x), mx.array(w), stride=2, padding=1)
    back = mx.conv_transpose2d(
        mx.array(y), mx.array(w.transpose(3, 1, 2, 0)), 2, 1, output_padding=(0, 0)
    )
    assert forward.shape == (1, 5, 5, 6)
    y = normal(1, 5, 5, 6)
    back = mx.conv_transpose2d(mx.array(y), mx.array(w.transpose(3, 1, 2, 0)), 2, 1)
    assert back.shape == (1, 9, 8, 4)
    left, right = np.sum(np.array(forward) * y), np.sum(x * np.array(back))
    assert abs(left - right) < 1e-3 * abs(left) + 1e-3
