"""Resampling: against positions one by one, every thread count's bits, sizes, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from tests.processes import output_of

PROGRAM = """
import mlx.core as mx, mlx.nn as nn, numpy as np
for channels in (1, 3, 16, 70):
    for dtype in (mx.float32, mx.bfloat16):
        x = mx.random.normal((2, 13, 10, channels), key=mx.random.key(channels)).astype(dtype)
        for layer in (
            nn.Upsample((2, 1.5), "linear"), nn.Upsample(0.4, "cubic", antialias=True),
            nn.Upsample(1.7), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1),
        ):
            y = layer(x)
            c = mx.random.normal(y.shape, key=mx.random.key(1)).astype(y.dtype)
            (g,) = mx.vjp(layer, [x], [c])[1]
            for found in (y, g):
                print(np.array(found.astype(mx.float32)).tobytes().hex())
"""


def test_bits_do_not_depend_on_threads_or_instructions() -> None:
    plain = output_of(PROGRAM)
    for settings in ({"MLX_NUM_THREADS": "1"}, {"MLX_ISA": "avx2"}):
        assert output_of(PROGRAM, **settings) == plain, settings
    assert output_of(PROGRAM, MLX_ISA="baseline").count("\n") == plain.count("\n")


@pytest.mark.parametrize("size", (1, 2, 5, 7))
@pytest.mark.parametrize("target", (1, 3, 8, 21))
def test_linear_weighs_two_neighbours(size: int, target: int) -> None:
    x = np.random.default_rng(size).standard_normal((2, size, 3)).astype(np.float32)
    step, origin = size / target, (size / target - 1) / 2
    y = mx.fast.resample(mx.array(x), [("linear", target, step, origin, 1.0)])
    for i in range(target):
        at = min(max(i * step + origin, 0.0), size - 1.0)
        low = min(int(at), max(size - 2, 0))
        want = x[:, low] * (1 - at + low) + x[:, min(low + 1, size - 1)] * (at - low)
        np.testing.assert_allclose(np.array(y[:, i]), want, 1e-5, 1e-5)


def test_nearest_copies_bits() -> None:
    """Also of -0.0, infinities and NaN; elements that nothing repeats have no gradient."""
    values = [-0.0, np.inf, -np.inf, np.nan, 1.0]
    x = mx.array(values).reshape(1, 5, 1)
    y = np.array(nn.Upsample(1.6)(x)).ravel()
    assert np.signbit(y[0]) and np.isnan(y).any() and set(y[~np.isnan(y)]) <= set(values)
    skipped = mx.grad(lambda x: nn.Upsample(0.4)(x).sum())(mx.ones((1, 5, 1)))
    assert sorted(skipped.flatten().tolist()) == [0, 0, 0, 1, 1]


def test_nearest_keeps_integers_and_complex_numbers() -> None:
    for dtype in (mx.int32, mx.complex64):
        x = mx.arange(6).reshape(1, 3, 2).astype(dtype)
        for scale in (2, 1.5):
            y = nn.Upsample(scale)(x)
            want = nn.Upsample(scale)(x.astype(mx.float32))
            assert y.dtype == dtype and mx.array_equal(y, want.astype(dtype))


def test_new_batches_need_no_new_kernels() -> None:
    layer = nn.Upsample(2, "cubic")
    whole = mx.random.normal((7, 6, 5, 4))
    for count in (1, 2, 5, 7):
        part = mx.contiguous(whole[:count])
        assert mx.array_equal(layer(part), layer(whole)[:count])
        assert mx.array_equal(nn.MaxPool2d(3, 2, 1)(part), nn.MaxPool2d(3, 2, 1)(whole)[:count])


def test_repeats_sum_in_one_kernel() -> None:
    """The gradient of repeats along several axes, of few and of many channels."""
    for channels in (1, 3, 64):
        c = mx.random.normal((2, 12, 8, channels))
        (g,) = mx.vjp(nn.Upsample(2), [mx.zeros((2, 6, 4, channels))], [c])[1]
        wide = c.reshape(2, 6, 2, 4, 2, channels)
        np.testing.assert_allclose(g, wide.sum((2, 4)), 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((2, 3, 4), mx.float32, [("other", 3, 1.0, 0.0, 1.0)]),
        ((2, 3, 4), mx.float32, []),
        ((2, 3, 4), mx.int32, [("linear", 3, 1.0, 0.0, 1.0)]),
        ((2, 3, 4), mx.float32, [("linear", -1, 1.0, 0.0, 1.0)]),
        ((2, 3, 4), mx.float32, [("linear", 3)]),
    ],
)
def test_bad_input_is_named(shape: tuple, dtype: mx.Dtype, axes: list) -> None:
    with pytest.raises(ValueError, match="resample"):
        mx.fast.resample(mx.zeros(shape, dtype), axes)


def test_windows_must_be_windows() -> None:
    with pytest.raises(ValueError, match="WindowMax"):
        mx.fast.resample_max(mx.zeros((1, 4, 2)), [("linear", 4, 1.0, 0.0, 1.0)])
    with pytest.raises(ValueError, match="WindowMax"):
        mx.fast.resample_max(mx.zeros((1, 4, 2)), [("window", 4, 0.5, 0.0, 2.0)])
