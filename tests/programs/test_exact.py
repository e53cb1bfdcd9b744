"""The same bits however a program is evaluated: fused, in steps, on several threads, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mlx.api.compile import compile as mx_compile
from mlx.array import wrap
from mlx.base.dtype import Dtype, bfloat16, float16, float32, float64
from mlx.graph.node import Node, ancestors
from mlx.primitives import base, contraction, elementwise, reductions, scans, views
from mlx.primitives import transcendental as functions
from mlx.runtime import team
from mlx.runtime.evaluate import evaluate
from mlx.transforms.derivatives import vjp
from tests.reference.evaluate import evaluate as reference
from tests.reference.evaluate import leaf, stored

ROWS, COLUMNS = 13, 150


def _row_mean(x: Node) -> Node:
    return reductions.broadcast_axes(reductions.Sum(1)(x) * (1 / COLUMNS), x.shape, (0,))


def _column_sum(x: Node) -> Node:
    return reductions.broadcast_axes(reductions.Sum(0)(x) * 0.1, x.shape, (1,))


def _normalized(x: Node) -> Node:
    centred = x - _row_mean(x)
    return centred / functions.Sqrt()(_row_mean(centred * centred) + 0.01)


def _softmax(x: Node) -> Node:
    top = reductions.broadcast_axes(reductions.Max(1)(x), x.shape, (0,))
    above = functions.Exp()(x - top)
    return above / reductions.broadcast_axes(reductions.Sum(1)(above), x.shape, (0,))


def _turned(x: Node) -> Node:
    return views.reshape(views.transpose(x, (1, 0)), x.shape)


def _halves(x: Node) -> Node:
    half = COLUMNS // 2
    left = views.Slice((0, 0), (1, 2), (ROWS, half))(x)
    right = views.Slice((ROWS - 1, COLUMNS - 1), (-1, -2), (ROWS, half))(x)
    return views.Concatenate(1)(left * 0.5, functions.Tanh()(right))


def _gram(x: Node) -> Node:
    product = contraction.MatMul()(x, views.transpose(x, (1, 0)))
    return contraction.MatMul()(product * 0.01, x)


def _narrow(x: Node) -> Node:
    low = elementwise.cast(x, bfloat16)
    return elementwise.cast(low * low + 1, x.dtype)


UNARY: list[Callable[[Node], Node]] = [
    lambda x: functions.Sin()(x),
    lambda x: functions.Exp()(x * 0.25),
    lambda x: functions.Sigmoid()(x),
    lambda x: functions.Log()(x * x + 1),
    lambda x: elementwise.where(x > base.full_like(x, 0.1), x * 0.5, -x),
    lambda x: scans.CumSum(1)(x) * 0.1,
    _row_mean,
    _column_sum,
    _normalized,
    _softmax,
    _turned,
    _halves,
    _gram,
    _narrow,
]
BINARY: list[Callable[[Node, Node], Node]] = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b * 0.3,
    lambda a, b: a / (b * b + 1),
]


def program(seed: int, length: int, x: Node) -> list[Node]:
    """A random program and the gradient of its sum."""
    rng = np.random.default_rng(seed)
    values = [x]
    for _ in range(length):
        recent = [values[max(0, len(values) - 1 - int(rng.integers(3)))] for _ in range(2)]
        if rng.random() < 0.7:
            values.append(UNARY[rng.integers(len(UNARY))](recent[0]))
        else:
            values.append(BINARY[rng.integers(len(BINARY))](*recent))
    out = values[-1]
    cotangent = functions.Cos()(out)
    return [out, *[g for g in vjp([out], [x], [cotangent], 0) if g is not None]]


def operand(seed: int, dtype: Dtype) -> Node:
    return leaf(np.random.default_rng(seed).normal(size=(ROWS, COLUMNS)), dtype)


def fused(seed: int, dtype: Dtype) -> list[np.ndarray]:
    made = program(seed, 6, operand(seed, dtype))
    evaluate(made)
    return [stored(node) for node in made]


def equal_bits(got: list[np.ndarray], want: list[np.ndarray], label: Any) -> None:
    for g, w in zip(got, want, strict=True):
        unequal = (g != w) & ~((g != g) & (w != w))
        assert not unequal.any(), f"{label}: {unequal.sum()} of {g.size} differ"


CASES = [(seed, dtype) for dtype in (float32, float64, float16) for seed in range(8)]
IDS = [f"{dtype.name}-{seed}" for seed, dtype in CASES]


@pytest.mark.parametrize("seed", range(16))
def test_values(seed: int) -> None:
    """What all of these agree on is right."""
    made = program(seed, 6, operand(seed, float64))
    wanted = reference(made)
    for got, want in zip(fused(seed, float64), wanted, strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("shape", [(6, 8), (3, 70_000)])
@pytest.mark.parametrize("axis", [0, 1])
def test_equal_reductions(shape: tuple[int, int], axis: int) -> None:
    """The same sum recorded twice, both of them results or needed by others."""
    x = leaf(np.random.default_rng(0).normal(size=shape), float32)
    kept = [1 - axis]
    first, second = reductions.Sum(axis)(x), reductions.Sum(axis)(x)
    centred = x - reductions.broadcast_axes(second * (1 / shape[axis]), shape, kept)
    made = [first, reductions.Sum(axis)(centred * centred), second]
    wanted = reference(made, wide=True)
    evaluate(made)
    for node, want in zip(made, wanted, strict=True):
        np.testing.assert_allclose(stored(node), want, rtol=1e-4, atol=1e-2)


@pytest.fixture
def threads() -> Iterator[None]:
    before = team.num_threads()
    yield
    team.set_num_threads(before)


@pytest.mark.parametrize(("seed", "dtype"), CASES, ids=IDS)
def test_steps(seed: int, dtype: Dtype) -> None:
    """Evaluated after every operation."""
    made = program(seed, 6, operand(seed, dtype))
    for node in ancestors(made):
        if node.dtype is not None:
            evaluate([node])
    equal_bits(fused(seed, dtype), [stored(node) for node in made], (seed, dtype))


@pytest.mark.parametrize(("seed", "dtype"), CASES, ids=IDS)
def test_threads(seed: int, dtype: Dtype, threads: None) -> None:
    """On one thread and on three."""
    team.set_num_threads(1)
    alone = fused(seed, dtype)
    team.set_num_threads(3)
    equal_bits(fused(seed, dtype), alone, (seed, dtype))


@pytest.mark.parametrize(("seed", "dtype"), CASES, ids=IDS)
def test_compiled(seed: int, dtype: Dtype) -> None:
    """Compiled, in the first call and later."""
    step = mx_compile(lambda x: [wrap(n) for n in program(seed, 6, x._node)])
    x = wrap(operand(seed, dtype))
    for _ in range(2):
        nodes = [h._node for h in step(x)]
        evaluate(nodes)
        equal_bits([stored(n) for n in nodes], fused(seed, dtype), (seed, dtype))
