"""Training steps in PyTorch: the MLP, the CNN and the GPT."""

from functools import partial

import torch
from torch.nn import functional as F

from ..models import GPT_LAYERS

HEADS = 4


def parameters_of(data, inputs, dtype=torch.float32):
    """Leaves that require gradients, from every array that is not an input."""
    named = {n: torch.from_numpy(v).to(dtype) for n, v in data.items() if n not in inputs}
    return {name: value.requires_grad_() for name, value in named.items()}


def training_step(loss_of, weights, optimizer, jit):
    forward = jit(loss_of)

    def run():
        optimizer.zero_grad()
        loss = forward(weights)
        loss.backward()
        optimizer.step()
        return loss

    return run


def linear(x, weights, name):
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def mlp_step(data, jit):
    weights = parameters_of(data, ("x", "y"))
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"]).long()

    def loss_of(weights):
        h = torch.relu(linear(x, weights, "layers.0"))
        h = torch.relu(linear(h, weights, "layers.1"))
        return F.cross_entropy(linear(h, weights, "layers.2"), y)

    optimizer = torch.optim.Adam(weights.values(), 1e-4, fused=True)
    return training_step(loss_of, weights, optimizer, jit)


def cnn_step(data, jit):
    images = {n: v.transpose(0, 3, 1, 2) if v.ndim == 4 else v for n, v in data.items()}
    weights = parameters_of(images, ("x", "y"))
    x, y = torch.from_numpy(images["x"]), torch.from_numpy(data["y"]).long()

    def loss_of(weights):
        h = x
        for i in range(3):
            kernel, bias = weights[f"convs.{i}.weight"], weights[f"convs.{i}.bias"]
            h = F.max_pool2d(torch.relu(F.conv2d(h, kernel, bias, padding=1)), 2)
        return F.cross_entropy(linear(h.permute(0, 2, 3, 1).flatten(1), weights, "head"), y)

    optimizer = torch.optim.SGD(weights.values(), 1e-3, momentum=0.9, fused=True)
    return training_step(loss_of, weights, optimizer, jit)


def layer_norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def attention(x, weights, block):
    batch, length, width = x.shape
    qkv = linear(x, weights, f"{block}.qkv").view(batch, length, 3, HEADS, width // HEADS)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return linear(mixed.transpose(1, 2).reshape(x.shape), weights, f"{block}.out")


def gpt_logits(weights, tokens):
    x = F.embedding(tokens, weights["embed.weight"]) + weights["position.weight"]
    for i in range(GPT_LAYERS):
        block = f"blocks.{i}"
        x = x + attention(layer_norm(x, weights, f"{block}.norm1"), weights, block)
        h = linear(layer_norm(x, weights, f"{block}.norm2"), weights, f"{block}.up")
        x = x + linear(F.gelu(h, approximate="tanh"), weights, f"{block}.down")
    return layer_norm(x, weights, "norm") @ weights["embed.weight"].T


def gpt_step(data, jit, dtype=torch.float32):
    weights = parameters_of(data, ("tokens",), dtype)
    tokens = torch.from_numpy(data["tokens"]).long()
    x, y = tokens[:, :-1], tokens[:, 1:].reshape(-1)

    def loss_of(weights):
        return F.cross_entropy(gpt_logits(weights, x).flatten(0, 1).float(), y)

    optimizer = torch.optim.AdamW(weights.values(), 1e-4, weight_decay=0.01, fused=True)
    return training_step(loss_of, weights, optimizer, jit)


ROWS = {
    "mlp_step": mlp_step,
    "cnn_step": cnn_step,
    "gpt_step": gpt_step,
    "gpt_step_bf16": partial(gpt_step, dtype=torch.bfloat16),
}
