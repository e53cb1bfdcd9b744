"""Matrix products, convolutions and attention."""

from functools import partial

import mlx.core as mx
import mlx.nn as nn


def matmul(data, jit, dtype=mx.float32):
    a, b = (mx.array(data[name]).astype(dtype) for name in "ab")
    mx.eval(a, b)
    product = jit(mx.matmul)
    return lambda: product(a, b)


def matmul_int8(data, jit):
    """Exact sums of products of int8; MLX itself has no products of integers."""
    a, b = (mx.array(data[name]) for name in "ab")
    mx.eval(a, b)
    product = jit(lambda a, b: a.astype(mx.int32) @ b.astype(mx.int32))
    return lambda: product(a, b)


def linear_gelu(data, jit):
    x, weight, bias = (mx.array(data[name]) for name in ("x", "weight", "bias"))
    layer = jit(lambda x, weight, bias: nn.gelu_approx(x @ weight.T + bias))
    return lambda: layer(x, weight, bias)


def one_by_one(product, x, weights):
    """The product with each weight, evaluated before the next is asked for."""

    def run():
        outputs = []
        for weight in weights:
            outputs.append(product(x, weight))
            mx.eval(outputs[-1])
        return outputs

    return run


def matvec(data, jit, dtype=mx.float32):
    x = mx.array(data["x"]).astype(dtype)
    weights = []
    for i in range(8):
        weights.append(mx.array(data[f"w{i}"]).astype(dtype))
        mx.eval(weights[-1])
    return one_by_one(jit(mx.matmul), x, weights)


def matvec_quantized(data, jit, bits):
    """The weights stored [out, in], as quantized layers keep them; activations in bf16."""
    x = mx.array(data["x"]).astype(mx.bfloat16)
    weights = []
    for i in range(8):
        weight = mx.array(data[f"w{i}"].T.copy()).astype(mx.bfloat16)
        weights.append(mx.quantize(weight, group_size=64, bits=bits))
        mx.eval(weights[-1])

    def product(x, weight):
        return mx.quantized_matmul(x, *weight, transpose=True, group_size=64, bits=bits)

    return one_by_one(jit(product), x, weights)


def with_gradient(function, jit, operands, out):
    both = jit(lambda *operands: mx.vjp(function, list(operands), [out]))
    return lambda: both(*operands)


def conv2d_grad(data, jit):
    x, w, out = (mx.array(data[name]) for name in ("x", "w", "out"))
    groups = x.shape[-1] // w.shape[-1]
    return with_gradient(lambda x, w: mx.conv2d(x, w, padding=1, groups=groups), jit, [x, w], out)


def conv1d_grad(data, jit):
    x, w, out = (mx.array(data[name]) for name in ("x", "w", "out"))
    return with_gradient(lambda x, w: mx.conv1d(x, w, padding=2), jit, [x, w], out)


def attention_grad(data, jit):
    q, k, v, out = (mx.array(data[name]) for name in ("q", "k", "v", "out"))
    attention = partial(
        mx.fast.scaled_dot_product_attention, scale=q.shape[-1] ** -0.5, mask="causal"
    )
    return with_gradient(attention, jit, [q, k, v], out)


ROWS = {
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_f32_odd": matmul,
    "matmul_f16_2048": partial(matmul, dtype=mx.float16),
    "matmul_bf16_2048": partial(matmul, dtype=mx.bfloat16),
    "matmul_int8_2048": matmul_int8,
    "matmul_512x64x64": matmul,
    "linear_gelu": linear_gelu,
    "matvec_f32": matvec,
    "matvec_bf16": partial(matvec, dtype=mx.bfloat16),
    "matvec_q4": partial(matvec_quantized, bits=4),
    "matvec_q8": partial(matvec_quantized, bits=8),
    "conv2d_grad": conv2d_grad,
    "depthwise_grad": conv2d_grad,
    "conv1d_grad": conv1d_grad,
    "attention_grad": attention_grad,
}
