"""A program bound to new sizes is, command for command, the one that planning them would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.backend.llvm.abi import Command
from mlx.backend.llvm.executable import Executable
from mlx.backend.llvm.jit import counters as kernels
from mlx.runtime import structures
from mlx.runtime.structures import Region, Structure, counters


def described(program: Executable) -> dict[str, Any]:
    """All that decides what a program does."""
    commands = [c for c in program.commands if isinstance(c, Command)]
    found: dict[str, Any] = {
        "kernels": [c.spec.key for c in commands],
        "consts": [list(c.consts) for c in commands],
        "rest": [(c.tasks, c.label, c.bytes, c.flops) for c in commands],
        "small": [getattr(s, "small", None) for s in program.segments],
    }
    for name in ("arena_bytes", "can_fail", "donations", "donors", "leaf_order", "output_bytes"):
        found[name] = getattr(program, name)
    return found | {"results": program.results, "scalars": program.scalar_order}


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every program that isn't planned is compared with one that is."""
    executable = Structure.executable

    def checked(self: Structure, region: Region) -> Executable:
        program = executable(self, region)
        assert described(program) == described(region.planned()), region.shapes
        return program

    monkeypatch.setattr(Structure, "executable", checked)
    monkeypatch.setattr(structures, "PATIENCE", 64)
    for name in counters:
        counters[name] = 0
    yield
    assert not counters["refused"], "a planner does not take sizes that are not known yet"


def rms(x: mx.array) -> mx.array:
    return x * mx.rsqrt((x * x).mean(axis=-1, keepdims=True) + 0.01)


def heads(x: mx.array) -> mx.array:
    """Split the last axis, put the parts in front, and back."""
    a, b, c = x.shape
    y = x.reshape(a, b, 2, c // 2).transpose(0, 2, 1, 3)
    return (y * 0.5).transpose(0, 2, 1, 3).reshape(a, b, c)


def attend(x: mx.array) -> mx.array:
    index = mx.arange(x.shape[1])
    mask = mx.where(index[:, None] < index, -1e9, 0.0)
    return mx.softmax(x @ x.transpose(0, 2, 1) * 0.1 + mask, axis=-1) @ x


def rotated(x: mx.array) -> mx.array:
    return mx.concatenate([x[:, 1:], x[:, :1]], axis=1)


def padded(x: mx.array) -> mx.array:
    return mx.pad(x, ((0, 0), (1, 2), (0, 0)))[:, 2:-1]


def rows(x: mx.array) -> mx.array:
    order = mx.argsort(x[:, :, 0], axis=1)
    return mx.take_along_axis(x, order[:, :, None], axis=1)


STEPS: list[Callable[[mx.array], mx.array]] = [
    lambda x: mx.tanh(x) * 0.7,
    lambda x: x + x.sum(axis=0, keepdims=True) * 0.1,
    lambda x: x - x.mean(axis=1, keepdims=True),
    lambda x: mx.softmax(x, axis=-1) + x,
    lambda x: x[:, ::-1] * 0.5 + x,
    lambda x: mx.cumsum(x, axis=1) * 0.1,
    lambda x: x.reshape(-1)[::-1].reshape(x.shape),
    lambda x: mx.where(mx.argmax(x, axis=1, keepdims=True) > 1, x, -x),
    lambda x: x.astype(mx.bfloat16).astype(mx.float32),
    lambda x: x @ mx.ones((x.shape[-1], 4)) @ mx.ones((4, x.shape[-1])) * 0.1,
    lambda x: x.at[:, 0].add(x[:, -1]),
    lambda x: mx.repeat(x[:, :1], x.shape[1], axis=1) + x,
    rms,
    heads,
    attend,
    rotated,
    padded,
    rows,
]


def program(seed: int, x: mx.array) -> list[mx.array]:
    """A random program, and its gradient for every other seed."""
    rng = np.random.default_rng(seed)
    chosen = [STEPS[i] for i in rng.integers(len(STEPS), size=5)]

    def run(x: mx.array) -> mx.array:
        for step in chosen:
            x = step(x)
        return x

    if seed % 2:
        return [run(x)]
    return list(mx.value_and_grad(lambda x: mx.sin(run(x)).sum())(x))


@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(10):
        a, b, c = rng.integers(1, (5, 40, 9)).tolist()
        mx.eval(program(seed, mx.array(rng.normal(size=(a, b, 2 * c)).astype(np.float32))))
    for length in (41, 50, 64, 65, 300, 301):
        mx.eval(program(seed, mx.ones((3, length, 6)) * 0.1))
    assert counters["templates"] and counters["bound"]


def quantized(n: int) -> mx.array:
    weight = mx.quantize(mx.ones((24, 64)) * 0.1, group_size=32, bits=4)
    return mx.quantized_matmul(mx.ones((n, 64)), *weight, group_size=32, bits=4)


KINDS: dict[str, Callable[[int], Any]] = {
    "sort": lambda n: (mx.sort(mx.ones((3, n))), mx.argsort(mx.ones((n, 300)), axis=1)),
    "selection": lambda n: [
        mx.median(mx.ones((3, n)), axis=1),
        mx.topk(mx.ones((n, 3)), n // 3, axis=0),
        mx.topk(mx.ones((2 * n, 40)), 3),
    ],
    "matrices": lambda n: [mx.linalg.inv(mx.eye(5) + mx.zeros((n, 1, 1))), mx.linalg.lu(mx.eye(n))],
    "scan": lambda n: [mx.cumsum(mx.ones((3, n)), axis=a) for a in (0, 1)],
    "extremes": lambda n: [mx.argmax(mx.ones((3, n, 5)), axis=a) for a in (0, 1, 2)],
    "gather": lambda n: mx.take(mx.ones((n, 5)), mx.arange(n) // 2, axis=0),
    "scatter": lambda n: mx.zeros((n, 5)).at[mx.arange(n) // 2].add(mx.ones((n, 5))),
    "products": lambda n: [mx.ones((n, k)) @ mx.ones((k, m)) for k, m in ((5, 7), (n, 1), (3, n))],
    "batches": lambda n: mx.ones((n, 4, 6)) @ mx.ones((1, 6, n)),
    "half": lambda n: mx.ones((n, 40), dtype=mx.bfloat16) @ mx.ones((40, n), dtype=mx.bfloat16),
    "complex": lambda n: mx.ones((n, 4), dtype=mx.complex64) @ mx.ones((4, n), dtype=mx.complex64),
    "quantized": quantized,
    "attention": lambda n: mx.fast.scaled_dot_product_attention(
        *[mx.ones((1, 4, n, 8))] * 3, scale=0.3, mask="causal"
    ),
    "convolution": lambda n: mx.conv2d(mx.ones((1, n, 9, 3)), mx.ones((4, 3, 3, 3)), padding=1),
    "depthwise": lambda n: mx.conv1d(mx.ones((1, n, 32)), mx.ones((32, 4, 1)), groups=32),
    "strided": lambda n: mx.conv1d(mx.ones((2, n, 5)), mx.ones((7, 3, 5)), stride=2, padding=2),
    "convolution_gradients": lambda n: mx.grad(
        lambda x, w: mx.sin(mx.conv2d(x, w, padding=1)).sum(), argnums=(0, 1)
    )(mx.ones((1, n, 9, 3)), mx.ones((4, 3, 3, 3))),
    "random": lambda n: mx.random.normal((n, 3), key=mx.random.key(n)),
    "hadamard": lambda n: mx.hadamard_transform(mx.ones((n, 3, 64)).swapaxes(0, 1)) + 1,
    "butterflies": lambda n: mx.hadamard_transform(mx.ones((n, 4))),
    "transform": lambda n: mx.fft.fft(mx.ones((3, n))) * 2,
    "transposed": lambda n: (mx.ones((n, 33)).T + 1, mx.ones((33, n)).T * mx.ones((n, 33))),
    "integers": lambda n: mx.arange(n).reshape(1, n).sum() % 7,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_kernel(kind: str) -> None:
    for n in (5, 6, 7, 40, 41, 16, 64, 65, 300, 301, 1, 2):
        if kind != "depthwise" or n >= 4:
            mx.eval(KINDS[kind](n))


@pytest.mark.parametrize("seed", range(4))
def test_values(seed: int) -> None:
    """A bound program gives the bits that evaluating step by step gives."""
    for length in (5, 6, 7, 19, 31):
        x = mx.array(np.random.default_rng(length).normal(size=(2, length, 6)).astype(np.float32))
        whole = [np.array(a) for a in program(2 * seed + 1, x)]
        rng = np.random.default_rng(2 * seed + 1)
        for i in rng.integers(len(STEPS), size=5):
            x = STEPS[i](x)
            mx.eval(x)
        np.testing.assert_array_equal(whole[0], np.array(x))


def test_growing_cache() -> None:
    """Decoding: what grows by one each step compiles nothing, and plans nothing after a while."""
    attention = nn.MultiHeadAttention(16, 2)
    mx.eval(attention.parameters())
    keys = mx.ones((1, 3, 16))
    made = []
    for _ in range(60):
        keys = mx.concatenate([keys, mx.ones((1, 1, 16))], axis=1)
        mx.eval(attention(keys[:, -1:], keys, keys), keys)
        made.append((kernels["compiled"] + kernels["loaded"], counters["templates"]))
    assert made[-1] == made[40]
    assert counters["planned"] < 8 and counters["bound"] > 40  # some lengths equal other sizes


def test_other_sizes_may_change_later() -> None:
    """First one size moves, then another does."""
    shapes = [(40 + i, 6) for i in range(4)] + [(50, 60 + i) for i in range(4)]
    for shape in [*shapes, (1, 10), (2, 0), (0, 2), (61, 62), (70_000, 7)]:
        mx.eval(mx.softmax(mx.ones(shape) @ mx.ones((shape[1], 5)), axis=0))
    assert counters["bound"] >= 4


def test_beyond_the_memory_limit() -> None:
    def run(size: int) -> None:
        mx.eval(mx.ones((size,)) * 0.3 + 1)

    for size in (10, 11, 12):
        run(size)
    with pytest.raises(MemoryError):
        run(1 << 60)
    run(13)
