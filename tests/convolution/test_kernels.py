"""Convolutions in the promised order, on every machine, fused and in little memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.backend.llvm.target import host
from tests.gemm.reference import chain
from tests.generators.convolution_cases import CASES
from tests.processes import output_of

DIGESTS = """
import hashlib
import numpy as np
import mlx.core as mx
from tests.generators.convolution_cases import CASES, results

more = {
    "many positions": ((9, 24, 25, 3), (33, 3, 3, 3), {"padding": 1}),
    "many lines": ((6, 40, 41, 24), (24, 3, 3, 1), {"padding": 1, "groups": 24}),
    "small groups": ((2, 20, 21, 36), (36, 3, 3, 4), {"padding": 2, "groups": 9, "stride": 2}),
    "sums over lines": ((3, 24, 25, 5), (48, 3, 5, 5), {"padding": 2, "stride": (1, 2)}),
    "long lines": ((1, 1500, 6), (16, 4, 3), {"padding": 3, "kernel_dilation": 2, "groups": 2}),
    "blocks": ((2, 5, 6, 40), (5, 4, 4, 40), {"padding": 3, "input_dilation": 4}),
    "deep": ((2, 9, 9, 450), (40, 3, 3, 450), {"padding": 1}),
    "padding": ((3, 5, 6, 140), (40, 3, 3, 140), {"padding": (2, 1), "kernel_dilation": (2, 1)}),
    "more padding": ((2, 1, 2, 30), (20, 4, 3, 30), {"padding": 3}),
    "columns": ((2, 40, 70), (3, 10, 70), {"input_dilation": 5, "padding": 9}),
    "short lines": ((2, 17, 17, 64), (64, 1, 7, 64), {"padding": (0, 3)}),
    "one tap": ((2, 9, 9, 512), (512, 1, 1, 512), {"stride": 2}),
}
CASES.update(more)
for name, (shape, kernel, options) in CASES.items():
    found = [np.array(value).tobytes() for value in results(name).values()]
    half = mx.conv_general(mx.ones(shape, mx.float16) / 3, mx.ones(kernel, mx.float16), **options)
    found.append(np.array(half).tobytes())
    print(name, *[hashlib.md5(x).hexdigest() for x in found])
"""


@pytest.fixture(scope="module")
def expected() -> str:
    return output_of(DIGESTS, MLX_NUM_THREADS="1")


@pytest.mark.parametrize("threads", ["2", "5"])
def test_threads(expected: str, threads: str) -> None:
    assert output_of(DIGESTS, MLX_NUM_THREADS=threads) == expected


@pytest.mark.skipif(not host().has("avx2"), reason="needs a machine with AVX2")
def test_instruction_sets(expected: str) -> None:
    assert output_of(DIGESTS, MLX_ISA="avx2") == expected


@pytest.mark.parametrize("outputs", [1, 3, 8, 9])
@pytest.mark.parametrize("kernel,spread", [(4, 2), (3, 3), (6, 3), (5, 1), (10, 5)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_phases_of_few_outputs(outputs: int, kernel: int, spread: int, padding: int) -> None:
    """A transposed convolution is the gradient of what it transposes."""
    x, w = mx.array(normal(0, 2, 7, 6, 5)), mx.array(normal(1, outputs, kernel, kernel, 5))
    got = mx.conv_transpose2d(x, w, stride=spread, padding=padding)
    turned = w.transpose(3, 1, 2, 0)
    start = mx.zeros(got.shape)
    run = partial(mx.conv2d, stride=spread, padding=padding)
    _, (want,) = mx.vjp(lambda y: run(y, turned), [start], [x])
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-5, atol=1e-5)
    spaced = np.zeros((2, 6 * spread + 1, 5 * spread + 1, 5), np.float32)
    spaced[:, ::spread, ::spread] = np.array(x)
    edge = kernel - 1 - padding
    again = mx.conv2d(mx.array(spaced), w[:, ::-1, ::-1], padding=edge)
    np.testing.assert_allclose(np.array(got), np.array(again), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels,width", [(1, 10), (3, 7), (3, 32), (16, 9), (20, 15)])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_weights_of_odd_lines(channels: int, width: int, stride: int) -> None:
    shape = (9, 33, width, channels)
    w = mx.zeros((16, 3, 3, channels), mx.bfloat16)
    x = mx.array(normal(0, *shape)).astype(mx.bfloat16)

    def run(x: Any, w: Any) -> Any:
        return mx.conv2d(x, w, stride=stride, padding=1)

    y = mx.array(normal(1, *run(x, w).shape)).astype(mx.bfloat16)
    _, (got,) = mx.vjp(lambda w: run(x, w), [w], [y])
    wide = [value.astype(mx.float32) for value in (x, w, y)]
    _, (want,) = mx.vjp(lambda w: run(wide[0], w), [wide[1]], [wide[2]])
    error = np.array(got.astype(mx.float32)) - np.array(want)
    assert np.abs(error).max() < 2**-7 * np.abs(np.array(want)).max()


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def patches(x: np.ndarray, k: int, pad: int) -> np.ndarray:
    """[positions, taps, channels] of a square kernel."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))
    return np.moveaxis(seen, 3, -1).reshape(-1, k * k, x.shape[-1])


@pytest.mark.parametrize("channels,outputs", [(3, 33), (64, 5), (140, 20)])
def test_one_chain_over_taps_and_channels(channels: int, outputs: int) -> None:
    x, w = normal(0, 2, 6, 7, channels), normal(1, outputs, 3, 3, channels)
    want = chain(patches(x, 3, 1).reshape(-1, 9 * channels), w.reshape(outputs, -1).T)
    got = np.array(mx.conv2d(mx.array(x), mx.array(w), padding=1)).reshape(-1, outputs)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("each", [1, 2, 4, 8])
def test_groups_of_any_kernel_have_the_same_chain(each: int) -> None:
    x, w = normal(0, 1, 6, 20, 5 * each), normal(1, 5 * each, 3, 3, each)
    seen = patches(x, 3, 1)
    got = np.array(mx.conv2d(mx.array(x), mx.array(w), padding=1, groups=5))
    for group in range(5):
        own = slice(group * each, (group + 1) * each)
        want = chain(seen[:, :, own].reshape(-1, 9 * each), w[own].reshape(each, -1).T)
        np.testing.assert_array_equal(got[..., own].reshape(-1, each), want)


@pytest.mark.parametrize("channels", [8, 130])
def test_gradient_of_weights_is_one_chain_over_positions(channels: int) -> None:
    x, y = normal(0, 2, 6, 7, channels), normal(1, 2, 6, 7, 10)
    zero = mx.zeros((10, 3, 3, channels))
    _, (got,) = mx.vjp(lambda w: mx.conv2d(mx.array(x), w, padding=1), [zero], [mx.array(y)])
    want = chain(y.reshape(-1, 10).T, patches(x, 3, 1).reshape(-1, 9 * channels))
    np.testing.assert_array_equal(np.array(got).reshape(10, -1), want)


@pytest.mark.parametrize("channels,outputs", [(1, 32), (3, 64), (16, 24), (5, 16)])
def test_sums_over_lines_are_chains_over_the_positions_of_a_chunk(
    channels: int, outputs: int
) -> None:
    """Five chunks of whole lines, which are added in turn."""
    x, y = normal(0, 2, 20, 32, channels), normal(1, 2, 20, 32, outputs)
    zero = mx.zeros((outputs, 3, 3, channels))
    _, (got,) = mx.vjp(lambda w: mx.conv2d(mx.array(x), w, padding=1), [zero], [mx.array(y)])
    left, right = y.reshape(-1, outputs).T, patches(x, 3, 1).reshape(1280, -1)
    parts = [slice(start, start + 8 * 32) for start in range(0, 1280, 8 * 32)]
    want, *others = [chain(left[:, part], right[part]) for part in parts]
    for other in others:
        want = want + other
    np.testing.assert_array_equal(np.array(got).reshape(outputs, -1), want)


@pytest.mark.parametrize("padding", [0, 1, 3, 5])
@pytest.mark.parametrize("outputs", [1, 3, 40])
def test_blocks_that_do_not_overlap(outputs: int, padding: int) -> None:
    """The transpose of a convolution whose stride is its kernel, beside zeros written out."""
    x, w = mx.array(normal(0, 2, 5, 6, 8)), mx.array(normal(1, outputs, 5, 4, 8))
    options = {"padding": (padding, 2), "input_dilation": (5, 4)}
    spread = mx.zeros((2, 21, 21, 8))
    spread[:, ::5, ::4] = x
    want = mx.conv_general(mx.contiguous(spread), w, padding=(padding, 2))
    np.testing.assert_allclose(mx.conv_general(x, w, **options), want, rtol=1e-5, atol=1e-5)


def test_a_patch_embedding_has_a_gradient_of_one_product() -> None:
    w = mx.array(normal(0, 24, 16, 16, 3))

    def gradient(cotangent: mx.array) -> mx.array:
        made = partial(mx.conv2d, stride=16)
        return mx.vjp(lambda x: made(x, w), [mx.zeros((1, 35, 33, 3))], [cotangent])[1][0]

    cotangent = mx.array(normal(1, 1, 2, 2, 24))
    found = gradient(cotangent)
    blocks = np.einsum("nyxo,oijc->nyixjc", np.array(cotangent), np.array(w))
    want = np.zeros((1, 35, 33, 3), np.float32)
    want[:, :32, :32] = blocks.reshape(1, 32, 32, 3)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    assert str(mx.explain(gradient, cotangent)).count("gemm") <= 4


@pytest.mark.parametrize("channels", [1, 3, 8, 33, 450])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"kernel_dilation": 2}, {"input_dilation": 2}, {"stride": 3}],
    ids=str,
)
def test_bfloat16_loses_no_more_than_its_results_do(channels: int, options: Any) -> None:
    """Odd numbers of channels, taps and positions too: pairs end in zeros."""
    x, w = (
        mx.array(normal(n, *shape)).astype(mx.bfloat16)
        for n, shape in enumerate(((3, 9, 11, channels), (5, 3, 3, channels)))
    )

    def run(dtype: mx.Dtype) -> list[np.ndarray]:
        fused = partial(mx.conv_general, padding=2, **options)
        arguments = [x.astype(dtype), w.astype(dtype)]
        shape = fused(*arguments).shape
        cotangent = mx.array(normal(2, *shape)).astype(mx.bfloat16).astype(dtype)
        (out,), gradients = mx.vjp(fused, arguments, [cotangent])
        return [np.array(a.astype(mx.float32)) for a in (out, *gradients)]

    for got, want in zip(run(mx.bfloat16), run(mx.float32), strict=True):
        assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 2**-8


@pytest.mark.parametrize("name", CASES)
def test_what_follows_is_fused_to_the_same_bits(name: str) -> None:
    shape, kernel, options = CASES[name]
    x, w, b = (mx.array(normal(n, *s)) for n, s in enumerate((shape, kernel, kernel[:1])))

    def run(x: Any, w: Any, b: Any) -> Any:
        return nn.relu(mx.conv_general(x, w, **options) + b) * 0.3

    plain = mx.conv_general(x, w, **options)
    mx.eval(plain)
    apart = nn.relu(plain + b) * 0.3
    labels = [row.label for row in mx.explain(run, x, w, b).kernels]
    np.testing.assert_array_equal(np.array(run(x, w, b)), np.array(apart))
    if name != "2d spread":  # phases of few outputs are columns of one kernel, then views
        assert not any("Maximum" in label and "Conv" not in label for label in labels), labels


@pytest.mark.parametrize("groups", [1, 16])
def test_no_columns_are_written_out(groups: int) -> None:
    x = mx.array(normal(0, 4, 128, 128, 16))
    w = mx.array(normal(1, 16, 5, 5, 16 // groups))
    mx.eval(x, w)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    run = mx.grad(lambda x, w: mx.conv2d(x, w, padding=2, groups=groups).square().sum(), (0, 1))
    mx.eval(run(x, w))
    assert mx.get_peak_memory() - before < 6 * x.nbytes


@pytest.mark.parametrize("channels,outputs", [(3, 40), (40, 40), (40, 3)])
def test_gradient_where_no_tap_was(channels: int, outputs: int) -> None:
    x, w = mx.array(normal(0, 2, 8, 8, channels)), mx.array(normal(1, outputs, 1, 1, channels))
    y = mx.array(normal(2, 2, 3, 3, outputs))
    _, (got,) = mx.vjp(lambda x: mx.conv2d(x, w, stride=3), [x], [y])
    want = np.zeros(x.shape, np.float32)
    want[:, ::3, ::3] = np.array(y) @ np.array(w).reshape(outputs, channels)
    np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-5)


def test_infinity_stays_in_its_place() -> None:
    x = normal(0, 1, 9, 9, 8)
    x[0, 4, 4, 0] = np.inf
    w = mx.array(abs(normal(1, 8, 3, 3, 4)))
    out = np.array(mx.conv2d(mx.array(x), w, padding=1, groups=2))
    touched = np.zeros(out.shape, bool)
    touched[0, 3:6, 3:6, :4] = True
    np.testing.assert_array_equal(np.isfinite(out), ~touched)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"padded input cannot be smaller than \(5, 5\)"):
        mx.conv2d(mx.ones((1, 3, 3, 1)), mx.ones((1, 5, 5, 1)))
    with pytest.raises(ValueError, match="do not fit 3 groups"):
        mx.conv2d(mx.ones((1, 3, 3, 4)), mx.ones((1, 3, 3, 4)), groups=3)


def test_complex_numbers() -> None:
    x = normal(0, 1, 6, 4) + 1j * normal(1, 1, 6, 4)
    w = normal(2, 5, 3, 4) + 1j * normal(3, 5, 3, 4)
    got = np.array(mx.conv1d(mx.array(x), mx.array(w)))
    want = np.stack([np.einsum("ntc,otc->no", x[:, p : p + 3], w) for p in range(4)], 1)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)


@pytest.mark.parametrize(
    "shape,kernel,options",
    [
        ((2, 7, 7, 40), (40, 3, 3, 40), {"padding": 1}),
        ((2, 9, 14, 35), (64, 5, 3, 35), {"padding": (2, 1)}),
        ((3, 8, 28, 33), (32, 3, 3, 33), {"padding": 4, "dilation": 4}),
        ((2, 8, 27, 33), (32, 3, 3, 33), {"padding": 1, "stride": 2}),
        ((1, 20, 3, 40), (64, 3, 5, 40), {"padding": 4}),
    ],
)
def test_ends_of_lines(shape: Any, kernel: Any, options: Any) -> None:
    """Positions that miss a tap: the same bits as with zeros written around the input."""
    x, w = mx.array(normal(0, *shape)), mx.array(normal(1, *kernel))
    pad = options.pop("padding")
    pads = pad if isinstance(pad, tuple) else (pad, pad)
    around = mx.pad(x, [(0, 0), *((p, p) for p in pads), (0, 0)])
    want = mx.conv2d(mx.contiguous(around), w, **options)
    assert mx.array_equal(mx.conv2d(x, w, padding=pad, **options), want)


@pytest.mark.parametrize("each", [1, 4, 8])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 3}, {"dilation": 2}])
def test_gradient_of_the_weights_of_small_groups(each: int, options: Any) -> None:
    """One chain over positions whose taps are code, or in sets; zeros around change nothing."""
    x, w = normal(0, 2, 9, 15, 5 * each), normal(1, 5 * each, 3, 3, each)
    around = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))

    def gradient(x: np.ndarray, padding: int) -> mx.array:
        def made(w: mx.array) -> mx.array:
            return mx.conv2d(mx.array(x), w, groups=5, padding=padding, **options)

        out = made(mx.array(w))
        return mx.vjp(made, [mx.array(w)], [mx.cos(mx.arange(out.size)).reshape(out.shape)])[1][0]

    assert mx.array_equal(gradient(x, 2), gradient(around, 0))
