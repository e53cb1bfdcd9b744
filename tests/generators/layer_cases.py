"""The layers and losses whose values are compared with recorded ones."""

from dataclasses import dataclass, field

import mlx.core as mx
import mlx.nn as nn
from tests.generators.deterministic import array


@dataclass(frozen=True)
class Case:
    name: str
    make: object
    inputs: tuple
    needs: tuple = field(default=())  # functions of mlx.core it takes


def _seq():
    return array(1, 2, 5, 8)


def _image():
    return array(2, 2, 6, 5, 4)


def _volume():
    return array(3, 1, 4, 3, 4, 2)


def _simple():
    plain = (
        "CELU ELU HardShrink HardTanh Hardswish LeakyReLU LogSigmoid LogSoftmax Mish ReLU ReLU2 "
        "ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Tanh PReLU GLU GELU "
        "Identity"
    )
    yield from (f"{name}()" for name in plain.split())
    yield from ("GELU('tanh')", "GELU('fast')", "CELU(2.0)", "ELU(0.5)", "PReLU(8)")
    yield from ("HardShrink(0.1)", "LeakyReLU(0.3)", "Softshrink(0.2)")
    yield from ("Linear(8, 3)", "Linear(8, 3, bias=False)")
    yield from ("LayerNorm(8)", "LayerNorm(8, 1e-3, bias=False)", "LayerNorm(8, affine=False)")
    yield from ("RMSNorm(8)", "GroupNorm(4, 8)", "GroupNorm(4, 8, pytorch_compatible=True)")
    yield from ("InstanceNorm(8)", "InstanceNorm(8, affine=True)")
    yield from ("BatchNorm(8)", "BatchNorm(8, affine=False, momentum=0.3)")
    yield "BatchNorm(8, track_running_stats=False)"
    yield from ("RNN(8, 3)", "RNN(8, 3, bias=False, nonlinearity=nn.relu)")
    yield from ("GRU(8, 3)", "GRU(8, 3, bias=False)", "LSTM(8, 3)", "LSTM(8, 3, bias=False)")
    yield "Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))"
    yield "SinusoidalPositionalEncoding(4)"
    yield "SinusoidalPositionalEncoding(4, 0.01, 2, None, True, True)"
    yield from ("MaxPool1d(2)", "MaxPool1d(2, 3, 1)", "AvgPool1d(3, 1, 1)")
    yield from ("Upsample(2)", "Upsample(1.9)", "Upsample(0.6)", "Upsample(2.5, 'linear')")
    yield from ("Upsample(1.3, 'cubic', True)", "Upsample(0.45, 'cubic', antialias=True)")


def _pools():
    yield "Upsample((2, 1.7), 'cubic')", _image
    yield from ((s, _image) for s in ("MaxPool2d(2)", "MaxPool2d(3, 2, 1)", "AvgPool2d(1)"))
    yield "AvgPool2d((2, 3), (1, 2), 1)", _image
    yield from ((s, _volume) for s in ("MaxPool3d(2)", "AvgPool3d(2, 1)", "MaxPool3d(2, 3, 1)"))


def _convolutions():
    for s in ("Conv1d(8, 4, 3)", "Conv1d(8, 4, 3, 2, 1, 2, 2, False)"):
        yield s, _seq, "conv1d"
    for s in ("Conv2d(4, 6, 3)", "Conv2d(4, 6, (3, 2), (1, 2), (0, 1), 2, 2, False)"):
        yield s, _image, "conv2d"
    yield "Conv3d(2, 3, (2, 1, 2), 2, 1, bias=False)", _volume, "conv3d"
    yield "ConvTranspose1d(8, 3, 3, 2, 1, 1, 1)", _seq, "conv_transpose1d"
    yield "ConvTranspose2d(4, 3, 3, 2, 1, 1, 1)", _image, "conv_transpose2d"
    yield "ConvTranspose3d(2, 3, 2, bias=False)", _volume, "conv_transpose3d"


def _attention():
    x, memory = _seq(), array(4, 2, 3, 8)
    mask = nn.MultiHeadAttention.create_additive_causal_mask(5)
    yield "MultiHeadAttention(8, 2)", (x, x, x)
    yield "MultiHeadAttention(8, 2, bias=True)", (x, x, x, mask)
    yield "MultiHeadAttention(8, 4, value_dims=12, value_output_dims=5)", (x, memory, memory)
    for first in (True, False):
        yield f"TransformerEncoderLayer(8, 2, 16, 0.0, nn.gelu, {first})", (x, mask)
        yield f"TransformerDecoderLayer(8, 2, 16, 0.0, nn.gelu, {first})", (x, memory, mask, None)
    for checkpoint in (True, False):
        settings = f"num_decoder_layers=1, mlp_dims=16, checkpoint={checkpoint}"
        inputs = (memory, x, None, mask, None)
        yield f"Transformer(8, 2, num_encoder_layers=1, {settings})", inputs
    yield "ALiBi()", (array(5, 2, 5, 3, 4),)


def _stateful():
    x, state = _seq(), array(6, 2, 3)
    yield "RNN(8, 3)", (x, state)
    yield "GRU(8, 3)", (x, state)
    yield "LSTM(8, 3)", (x, state, state + 1)
    yield "Bilinear(8, 5, 4)", (x, array(7, 2, 5, 5))
    yield "Embedding(10, 4)", (mx.array([[1, 2, 2], [3, 9, -1]]),)


def _case(text, inputs, needs=()):
    kinds = "x".join(str(tuple(x.shape)) for x in inputs if x is not None)
    return Case(f"{text} {kinds}", lambda: eval("nn." + text, {"nn": nn}), inputs, needs)


def layer_cases():
    cases = [_case(text, (_seq(),)) for text in _simple()]
    cases += [_case(text, (make(),)) for text, make in _pools()]
    cases += [_case(text, (make(),), (needs,)) for text, make, needs in _convolutions()]
    cases += [_case(text, inputs) for text, inputs in _attention()]
    cases += [_case(text, inputs) for text, inputs in _stateful()]
    cases += [_case(text, (_seq(),), ("fast.rope",)) for text in ("RoPE(8)", "RoPE(4, True, 100)")]
    cases.append(_case("BatchNorm(4)", (_image(),)))
    cases.append(_case("InstanceNorm(4)", (_image(),)))
    cases.append(_case("GroupNorm(2, 4)", (_image(),)))
    cases.append(_case("BatchNorm(8)", (array(8, 6, 8),)))
    return cases


def loss_cases():
    """Dictionary from name to a function of predictions of shape (3, 7)."""
    loss = nn.losses
    other = array(11, 3, 7) + 0.3
    labels = mx.array([1, 0, 6])
    probabilities = mx.softmax(other, -1)
    weights = mx.array([1.0, 2.0, 0.5])
    far = other * 2
    return {
        "cross_entropy": lambda a: loss.cross_entropy(a, labels),
        "cross_entropy smooth": lambda a: loss.cross_entropy(a, labels, weights, -1, 0.2),
        "cross_entropy probs": lambda a: loss.cross_entropy(a, probabilities, label_smoothing=0.1),
        "cross_entropy axis": lambda a: loss.cross_entropy(a.T, labels, axis=0),
        "binary": lambda a: loss.binary_cross_entropy(a, probabilities, reduction="none"),
        "binary probs": lambda a: loss.binary_cross_entropy(
            mx.sigmoid(a), probabilities, mx.abs(other), with_logits=False
        ),
        "l1": lambda a: loss.l1_loss(a, other),
        "mse": lambda a: loss.mse_loss(a, other, "sum"),
        "nll": lambda a: loss.nll_loss(a, labels),
        "gaussian": lambda a: loss.gaussian_nll_loss(a, other, mx.square(other)),
        "gaussian full": lambda a: loss.gaussian_nll_loss(
            a, other, mx.square(other), full=True, eps=0.1, reduction="none"
        ),
        "kl_div": lambda a: loss.kl_div_loss(a, other),
        "smooth_l1": lambda a: loss.smooth_l1_loss(a, other, 0.7, "none"),
        "huber": lambda a: loss.huber_loss(a, other, 0.6),
        "log_cosh": lambda a: loss.log_cosh_loss(a, other),
        "hinge": lambda a: loss.hinge_loss(a, mx.sign(other)),
        "triplet": lambda a: loss.triplet_loss(a, other, far, eps=0.1),
        "triplet 3": lambda a: loss.triplet_loss(a, other, far, 0, 3, 5.0),
        "cosine": lambda a: loss.cosine_similarity_loss(a, other),
        "cosine axis": lambda a: loss.cosine_similarity_loss(a, other, axis=0, eps=0.5),
        "margin": lambda a: loss.margin_ranking_loss(a, other, mx.sign(other - 0.4), 0.3),
    }
