"""The GPT: pre-norm transformer blocks over bytes, with linear position biases (ALiBi).

Each position's embedding also looks up its last two, three, four bytes in hashed tables. These
hold most of the parameters, cost next to no arithmetic, and spare the first layers from learning
what an n-gram table knows at once.
"""

import mlx.core as mx
import mlx.nn as nn

from .settings import Settings

MULTIPLIER = 0x9E3779B1  # Knuth's multiplicative hashing: 2^32 over the golden ratio


class Attention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def __call__(self, x: mx.array, bias: mx.array) -> mx.array:
        batch, length, width = x.shape
        heads = self.into(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = (heads[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = (q * (width // self.heads) ** -0.5) @ k.transpose(0, 1, 3, 2) + bias
        mixed = mx.softmax(scores, axis=-1) @ v
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(batch, length, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each added to the residual stream."""

    def __init__(self, settings: Settings):
        super().__init__()
        width = settings.width
        self.norm1 = nn.RMSNorm(width)
        self.attention = Attention(width, settings.heads)
        self.norm2 = nn.RMSNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(settings.dropout)
        # A block starts as the identity, so that a large learning rate is safe from the start.
        for layer in (self.attention.out, self.down):
            layer.weight = mx.zeros_like(layer.weight)

    def __call__(self, x: mx.array, bias: mx.array) -> mx.array:
        x = x + self.dropout(self.attention(self.norm1(x), bias))
        return x + self.dropout(self.down(nn.gelu_approx(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """Logits of the next byte, [batch, length, 256], for bytes [batch, length]."""

    def __init__(self, settings: Settings):
        super().__init__()
        width = settings.width
        self.bytes = nn.Embedding(256, width)
        self.ngrams = [nn.Embedding(settings.rows, width) for _ in range(settings.tables)]
        self.blocks = [Block(settings) for _ in range(settings.layers)]
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 256, bias=False)
        for table in (self.bytes, *self.ngrams):
            table.weight = mx.random.normal(table.weight.shape) * 0.1
        self.head.weight = mx.zeros_like(self.head.weight)
        self._bias = position_bias(settings.context, settings.heads)

    def __call__(self, x: mx.array) -> mx.array:
        length = x.shape[1]
        y = self.embed(x)
        for block in self.blocks:
            y = block(y, self._bias[:, :length, :length])
        return self.head(self.norm(y))

    def embed(self, x: mx.array) -> mx.array:
        """The sum of what the last byte, the last two bytes, the last three, ... stand for."""
        previous = history = x.astype(mx.uint32)
        y = self.bytes(previous)
        for table in self.ngrams:
            previous = mx.pad(previous[:, :-1], ((0, 0), (1, 0)))
            history = history * MULTIPLIER + previous
            y = y + table((history * MULTIPLIER >> 16) % table.weight.shape[0])
        return y


def position_bias(length: int, heads: int) -> mx.array:
    """[heads, length, length]: -slope * distance for the past, a large negative for the future.

    The slopes 1, 1/4, 1/16, ... let some heads see little but their neighbours.
    Press, Smith, Lewis: Train Short, Test Long (2022).
    """
    index = mx.arange(length)
    distance = (index[:, None] - index).astype(mx.float32)
    slopes = mx.array([4.0**-head for head in range(heads)])
    return mx.where(distance < 0, -1e9, -distance * slopes[:, None, None])


def training_flops_per_byte(model: GPT, settings: Settings) -> int:
    """Multiplications and additions of forward and backward: 6 a weight, 12 a score and width."""
    matrices = [model.head.weight]
    for block in model.blocks:
        attention = block.attention
        matrices += [attention.into.weight, attention.out.weight, block.up.weight]
        matrices += [block.down.weight]
    scores = 12 * settings.layers * settings.context * settings.width
    return 6 * sum(m.size for m in matrices) + scores
