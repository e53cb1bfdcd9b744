"""Training step of a GPT: 4 layers, width 256, 4 heads, 8 x 256 tokens, tied embedding."""

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from ..models import GPT_LAYERS
from .networks import load, training_step

HEADS = 4


class Block(nn.Module):
    """Pre-norm attention and perceptron."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def __call__(self, x, mask):
        x = x + self.out(self.attention(self.norm1(x), mask))
        return x + self.down(nn.gelu_approx(self.up(self.norm2(x))))

    def attention(self, x, mask):
        batch, length, width = x.shape
        size = width // HEADS
        split = [
            part.reshape(batch, length, HEADS, size).transpose(0, 2, 1, 3)
            for part in mx.split(self.qkv(x), 3, axis=-1)
        ]
        q, k, v = split
        scores = (q * size**-0.5) @ k.transpose(0, 1, 3, 2) + mask
        mixed = mx.softmax(scores, axis=-1) @ v
        return mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)


class GPT(nn.Module):
    """Tokens [batch, length] to logits."""

    def __init__(self, vocabulary, context, width):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = [Block(width) for _ in range(GPT_LAYERS)]
        self.norm = nn.LayerNorm(width)

    def __call__(self, tokens):
        x = self.embed(tokens) + self.position.weight
        index = mx.arange(tokens.shape[1])
        mask = mx.where(index[:, None] < index, -1e9, 0.0).astype(x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return self.embed.as_linear(self.norm(x))


def loss_of(model, x, y):
    logits = model(x).astype(mx.float32)
    return nn.losses.cross_entropy(logits, y, reduction="mean")


def gpt_step(data, jit, dtype=mx.float32):
    model = GPT(len(data["embed.weight"]), *data["position.weight"].shape)
    load(model, data, dtype)
    tokens = mx.array(data["tokens"])
    batch = [tokens[:, :-1], tokens[:, 1:]]
    optimizer = optim.AdamW(1e-4, weight_decay=0.01, bias_correction=True)
    return training_step(model, optimizer, loss_of, batch, jit)


ROWS = {"gpt_step": gpt_step, "gpt_step_bf16": partial(gpt_step, dtype=mx.bfloat16)}
