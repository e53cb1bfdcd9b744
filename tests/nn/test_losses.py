"""Losses and their gradients equal those recorded from MLX."""

import math
from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from tests.generators.deterministic import array, assert_close, flat, load
from tests.generators.layer_cases import loss_cases

RECORDED = load(Path(__file__).with_name("losses.npz"))
CASES = loss_cases()
losses = nn.losses


@pytest.mark.parametrize("name", CASES)
def test_loss_equals_recorded_values(name):
    x = array(12, 3, 7)
    grad = mx.grad(lambda a: CASES[name](a).sum())(x)
    expected = {k: v for k, v in RECORDED.items() if k.startswith(name + "/")}
    assert_close(flat(name, {"value": CASES[name](x), "grad": grad}), expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_keeps_its_dtype_and_value(name, dtype):
    x = array(12, 3, 7).astype(dtype)
    exact = np.array(CASES[name](x.astype(mx.float32)))
    result = CASES[name](x)
    if name.startswith(("cross_entropy axis", "nll")):
        assert result.dtype == dtype
    error = 2e-3 if dtype == mx.float16 else 2e-2
    # Some losses mix in float32 targets and are then float32.
    np.testing.assert_allclose(np.array(result.astype(mx.float32)), exact, error, 4 * error)


def test_dtypes_of_what_half_precision_meets():
    x, p = mx.ones((2, 3), mx.float16), mx.ones((2, 3))
    assert losses.cross_entropy(x, p).dtype == mx.float32
    assert losses.cross_entropy(x, mx.array([0, 1]), weights=mx.ones(2)).dtype == mx.float32
    assert losses.cross_entropy(x, mx.array([0, 1]), weights=mx.array([1, 2])).dtype == mx.float16
    assert losses.binary_cross_entropy(x, p).dtype == mx.float32
    assert losses.binary_cross_entropy(x, p.astype(mx.bool_)).dtype == mx.float16


def test_cross_entropy_of_large_close_logits():
    logits = mx.array([[1000.0, 1000.0], [-1e4, -1e4]])
    result = losses.cross_entropy(logits, mx.array([0, 1]))
    np.testing.assert_allclose(np.array(result), math.log(2), rtol=1e-6)


def test_cross_entropy_of_impossible_classes():
    logits = mx.array([[-math.inf, 0.0]])
    assert losses.cross_entropy(logits, mx.array([1])).item() == 0
    assert losses.cross_entropy(logits, mx.array([0])).item() == math.inf


def test_binary_cross_entropy_limits_logarithms():
    result = losses.binary_cross_entropy(
        mx.array([0.0, 1.0]), mx.array([1.0, 0.0]), with_logits=False, reduction="none"
    )
    assert result.tolist() == [100.0, 100.0]


def test_cross_entropy_of_integer_logits_is_floating():
    loss = losses.cross_entropy(mx.array([[0, 0]]), mx.array([1]))
    assert loss.item() == pytest.approx(math.log(2))


def test_reductions():
    x, y = mx.array([1.0, 2.0]), mx.array([0.0, 0.0])
    assert losses.l1_loss(x, y, "none").tolist() == [1.0, 2.0]
    assert losses.l1_loss(x, y, "mean").item() == 1.5
    assert losses.l1_loss(x, y, "sum").item() == 3.0


TWO, THREE = mx.zeros((2, 3)), mx.zeros((3,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.mse_loss(TWO, TWO, "other"), "Invalid reduction"),
        (lambda: losses.mse_loss(TWO, THREE), r"\(2, 3\) does not match targets shape \(3,\)"),
        (lambda: losses.l1_loss(TWO, THREE), "does not match"),
        (lambda: losses.smooth_l1_loss(TWO, THREE), "does not match"),
        (lambda: losses.binary_cross_entropy(TWO, THREE), "does not match"),
        (lambda: losses.gaussian_nll_loss(TWO, TWO, THREE), "vars"),
        (lambda: losses.cross_entropy(TWO, mx.array([0, 1, 2])), "does not match"),
        (lambda: losses.cross_entropy(TWO, mx.array([0, 1]), label_smoothing=1), "smoothing"),
        (lambda: losses.cross_entropy(TWO, mx.array([0, 1]), weights=THREE), "Weights"),
        (lambda: losses.margin_ranking_loss(TWO, TWO, THREE), "inputs2.shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
