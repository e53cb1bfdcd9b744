"""What must not compile again: later steps, other lengths, other numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx import optimizers
from mlx.backend.llvm.jit import counters


def made() -> int:
    """Kernels compiled or loaded so far."""
    return counters["compiled"] + counters["loaded"]


@pytest.mark.parametrize("compiled", [False, True])
def test_later_steps_compile_nothing(compiled: bool) -> None:
    model = nn.Sequential(nn.Linear(13, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 3))
    optimizer = optimizers.AdamW(1e-3)
    loss_and_grad = nn.value_and_grad(model, lambda x, y: ((model(x) - y) ** 2).mean())

    def step(x: Any, y: Any) -> Any:
        loss, gradient = loss_and_grad(x, y)
        optimizer.update(model, gradient)
        return loss

    state = [model.state, optimizer.state]
    call = mx.compile(step, inputs=state, outputs=state) if compiled else step
    counts = []
    for i in range(4):
        x = mx.array(np.random.default_rng(i).normal(size=(17, 13)).astype(np.float32))
        mx.eval(call(x, x[:, :3]), model.parameters(), optimizer.state)
        counts.append(made())
    assert counts[1:] == counts[:1] * 3


def test_other_lengths_compile_nothing_after_one_of_each_class() -> None:
    attention = nn.MultiHeadAttention(16, 2)
    norm = nn.RMSNorm(16)

    def run(length: int) -> None:
        x = mx.ones((2, length, 16)) * 0.1
        y = norm(x)
        mask = nn.MultiHeadAttention.create_additive_causal_mask(length)
        mx.eval(attention(y, y, y, mask).sum())

    edges = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 257]
    for length in edges:
        run(length)
    before = made()
    for length in np.random.default_rng(0).permutation(np.arange(1, 258))[:60].tolist():
        run(length)
    assert made() == before


def test_other_numbers_compile_nothing() -> None:
    x = mx.ones((40,))
    mx.eval(x)
    mx.eval(x * 0.3 + 7.0)
    before = made()
    for rate in (0.1, 0.01, 1e-5):
        mx.eval(x * rate + rate)
    assert made() == before
