"""Sequences of every length in random order: `python -m benchmarks.lengths`.

After one of each size class nothing may be compiled any more.
"""

import argparse
import random
import sys
import time

import mlx.core as mx
import mlx.nn as nn

from .counters import kernels_compiled

LONGEST = 257
CLASSES = (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)


class Net(nn.Module):
    """An embedding, one attention and a head: every kind of kernel whose sizes depend on length."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, 256)

    def __call__(self, tokens: mx.array) -> mx.array:
        x = self.embed(tokens)
        q, k, v = mx.split(self.qkv(self.norm(x)), 3, axis=-1)
        index = mx.arange(tokens.shape[1])
        mask = mx.where(index[:, None] < index, -1e9, 0.0)
        x = x + mx.softmax(q @ k.transpose(0, 2, 1) * 0.125 + mask, axis=-1) @ v
        return self.head(x)


def main() -> int:
    """Exit status 1 if a length after the warm-up compiled anything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lengths", description=__doc__)
    parser.parse_args()
    model = Net()

    def loss_of(tokens: mx.array) -> mx.array:
        return nn.losses.cross_entropy(model(tokens), tokens, reduction="mean")

    loss_and_grad = nn.value_and_grad(model, loss_of)

    def step(length: int) -> float:
        start = time.perf_counter()
        mx.eval(loss_and_grad(mx.zeros((2, length), dtype=mx.int32)))
        return 1e3 * (time.perf_counter() - start)

    first = [step(length) for length in CLASSES]
    before = kernels_compiled()
    lengths = list(range(1, LONGEST + 1))
    random.Random(0).shuffle(lengths)
    times = sorted(step(length) for length in lengths)
    compiled = kernels_compiled() - before
    print(f"{len(CLASSES)} size classes, {before} kernels compiled, slowest {max(first):.0f} ms")
    print(f"lengths 1 to {LONGEST}: {compiled} kernels compiled; target 0")
    print(f"median {times[len(times) // 2]:.1f} ms, slowest {times[-1]:.1f} ms")
    return int(compiled > 0)


if __name__ == "__main__":
    sys.exit(main())
