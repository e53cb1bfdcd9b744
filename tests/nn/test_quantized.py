"""Quantized layers compute what their dequantized weights say; `quantize` replaces layers."""

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from tests.generators.deterministic import array

pytestmark = pytest.mark.skipif(
    not hasattr(mx, "quantized_matmul"), reason="mlx.core has no quantized_matmul yet"
)


def dequantized(layer):
    return mx.dequantize(
        layer.weight, layer.scales, layer.biases, group_size=layer.group_size, bits=layer.bits
    )


@pytest.mark.parametrize(("group_size", "bits"), [(None, None), (32, 8)])
def test_linear(group_size, bits):
    plain = nn.Linear(64, 32)
    layer = plain.to_quantized(group_size, bits)
    x = array(1, 3, 64)
    expected = x @ dequantized(layer).T + plain.bias
    np.testing.assert_allclose(np.array(layer(x)), np.array(expected), rtol=1e-4, atol=1e-4)
    shown = f"group_size={group_size or 64}, bits={bits or 4}, mode=affine"
    assert repr(layer) == f"QuantizedLinear(input_dims=64, output_dims=32, bias=True, {shown})"


def test_embedding():
    layer = nn.Embedding(10, 64).to_quantized()
    rows = layer(mx.array([[1, 2], [3, 9]]))
    table = dequantized(layer)
    np.testing.assert_allclose(np.array(rows[1, 1]), np.array(table[9]), rtol=1e-5)
    x = array(2, 3, 64)
    np.testing.assert_allclose(
        np.array(layer.as_linear(x)), np.array(x @ table.T), rtol=1e-4, atol=1e-4
    )


def test_is_frozen_but_for_the_bias_of_a_trained_layer():
    assert tree_flatten(nn.QuantizedLinear(64, 64).trainable_parameters()) == []
    assert tree_flatten(nn.QuantizedEmbedding(4, 64).trainable_parameters()) == []
    converted = nn.QuantizedLinear.from_linear(nn.Linear(64, 64))
    assert list(converted.trainable_parameters()) == ["bias"]


def test_converting_draws_as_a_new_layer_does():
    """What is drawn afterwards, as by LoRA's layers, is then the same as in MLX."""
    linear, embedding = nn.Linear(64, 64), nn.Embedding(4, 64)
    mx.random.seed(3)
    _, second, third = (mx.random.uniform().item() for _ in range(3))
    for convert, expected in (
        (linear.to_quantized, second),
        (embedding.to_quantized, second),
        (lambda: nn.QQLinear.from_linear(nn.Linear(64, 64, bias=False)), third),
    ):
        mx.random.seed(3)
        convert()
        assert mx.random.uniform().item() == expected


def net():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Embedding(4, 64))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_quantize_replaces_what_can_be():
    model = net()
    assert nn.quantize(model) is None
    assert kinds(model) == ["QuantizedLinear", "ReLU", "QuantizedEmbedding"]


def test_quantize_selects():
    model, seen = net(), []

    def select(path, layer):
        seen.append(path)
        return {"bits": 8, "group_size": 32} if path == "layers.0" else False

    nn.quantize(model, class_predicate=select)
    assert seen == ["layers.0", "layers.1", "layers.2"]
    assert kinds(model) == ["QuantizedLinear", "ReLU", "Embedding"]
    assert (model.layers[0].bits, model.layers[0].group_size) == (8, 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.quantize(net(), class_predicate=lambda *_: True), "Unable to quantize"),
        (lambda: nn.quantize(net(), class_predicate=lambda *_: 3), "bool or a dictionary"),
        (lambda: nn.Linear(64, 64).to_quantized(mode="other"), "Invalid mode 'other'"),
        (lambda: nn.Linear(64, 64).to_quantized(quantize_input=True), "'nvfp4' and 'mxfp8'"),
        (lambda: nn.Embedding(4, 64).to_quantized(quantize_input=True), "not supported"),
        (lambda: nn.Linear(3, 3).to_quantized(), r"\w+"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_qq_linear_follows_the_mode():
    with pytest.raises(NotImplementedError, match="bias"):
        nn.QQLinear.from_linear(nn.Linear(64, 64))
    layer = nn.QQLinear.from_linear(nn.Linear(64, 32, bias=False))
    assert sorted(layer) == ["weight"]
    layer.eval()
    assert sorted(layer) == ["scales", "weight"]
    shown = "QQLinear(input_dims=64, output_dims=32, group_size=16, bits=4, mode=nvfp4)"
    assert repr(layer) == shown
    layer.train()
    assert sorted(layer) == ["weight"] and layer.weight.shape == (32, 64)
