"""Matrix products, convolutions and attention in PyTorch."""

from functools import partial

import torch
from torch.nn import functional as F

from .torch_common import tensors, with_gradient


def matmul(data, jit, dtype=torch.float32):
    a, b = (t.to(dtype) for t in tensors(data, "a", "b"))
    product = jit(torch.matmul)
    return lambda: product(a, b)


def matmul_int8(data, jit):
    a, b = tensors(data, "a", "b")
    product = jit(torch._int_mm)
    return lambda: product(a, b)


def linear_gelu(data, jit):
    x, weight, bias = tensors(data, "x", "weight", "bias")
    layer = jit(lambda x, w, b: F.gelu(F.linear(x, w, b), approximate="tanh"))
    return lambda: layer(x, weight, bias)


def matvec(data, jit, dtype=torch.float32):
    (x,) = (t.to(dtype) for t in tensors(data, "x"))
    weights = [t.to(dtype) for t in tensors(data, *(f"w{i}" for i in range(8)))]
    product = jit(torch.matmul)
    return lambda: [product(x, weight) for weight in weights]


def conv_grad(data, jit, convolution, padding):
    """Channels stand second in PyTorch; the results are turned back as views."""
    first, last = (0, -1, *range(1, data["x"].ndim - 1)), (0, *range(2, data["x"].ndim), 1)
    x, w, out = (t.permute(first) for t in tensors(data, "x", "w", "out"))
    groups = x.shape[1] // w.shape[1]
    layer = jit(lambda x, w: convolution(x, w, padding=padding, groups=groups))
    run = with_gradient(layer, [x, w], out)
    return lambda: [value.permute(last) for value in run()]


def attention_grad(data, jit):
    q, k, v, out = tensors(data, "q", "k", "v", "out")
    attention = jit(partial(F.scaled_dot_product_attention, is_causal=True))
    return with_gradient(attention, [q, k, v], out)


ROWS = {
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_f32_odd": matmul,
    "matmul_f16_2048": partial(matmul, dtype=torch.float16),
    "matmul_bf16_2048": partial(matmul, dtype=torch.bfloat16),
    "matmul_int8_2048": matmul_int8,
    "matmul_512x64x64": matmul,
    "linear_gelu": linear_gelu,
    "matvec_f32": matvec,
    "matvec_bf16": partial(matvec, dtype=torch.bfloat16),
    "conv2d_grad": partial(conv_grad, convolution=F.conv2d, padding=1),
    "depthwise_grad": partial(conv_grad, convolution=F.conv2d, padding=1),
    "conv1d_grad": partial(conv_grad, convolution=F.conv1d, padding=2),
    "attention_grad": attention_grad,
}
