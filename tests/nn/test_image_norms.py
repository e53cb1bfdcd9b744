"""Norms of images: their accuracy far from zero, and in half precision."""

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn


def _standardized(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize("case", ["shifted", "corner", "outlier", "constant"])
def test_norms_far_from_zero(case: str) -> None:
    """Means far from zero, and positions that tell nothing about the others, cancel little."""
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 8)).astype(np.float32)
    if case == "shifted":
        x += 1000
    elif case == "corner":
        x += 1000
        x[:, 0], x[:, :, 0] = 0, 0
    elif case == "outlier":
        x[:, 0, 0] = 1000
    else:
        x[:] = 1234.567
    given, grouped = mx.array(x), x.reshape(2, 16, 16, 4, 2)
    for layer, expected in (
        (nn.InstanceNorm(8), _standardized(x, (1, 2))),
        (nn.BatchNorm(8), _standardized(x, (0, 1, 2))),
        (
            nn.GroupNorm(4, 8, pytorch_compatible=True),
            _standardized(grouped, (1, 2, 4)).reshape(x.shape),
        ),
        (nn.GroupNorm(2, 8), _standardized(grouped, (1, 2, 3)).reshape(x.shape)),
    ):
        np.testing.assert_allclose(np.array(layer(given)), expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.InstanceNorm(4), nn.BatchNorm(4)])
def test_norms_round_half_precision_once(layer: nn.Module) -> None:
    x = mx.array(np.random.default_rng(1).standard_normal((3, 5, 5, 4))).astype(mx.bfloat16)
    layer.set_dtype(mx.bfloat16)
    result = layer(x)
    assert result.dtype == mx.bfloat16
    layer.set_dtype(mx.float32)
    exact = layer(x.astype(mx.float32)).astype(mx.bfloat16)
    assert mx.array_equal(result, exact).item()
