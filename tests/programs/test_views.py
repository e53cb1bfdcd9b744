"""Chains of views, short folds and joins: planned at once they equal one operation at a time."""

import random
from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
from mlx import nn

SHAPES = (
    (2, 8, 4, 2, 8),
    (4, 6, 8),
    (2, 2, 8, 8),
    (16, 2, 6),
    (3, 4, 4, 2),
    (2, 4, 2, 4, 2),
    (32, 8, 2),
)
LARGE = 20000
MAPS: tuple[Callable[[mx.array], mx.array], ...] = (
    mx.sin,
    mx.abs,
    lambda x: x * 0.5 + 1,
    mx.square,
)


def fold(rng: random.Random, x: mx.array, how: str) -> mx.array:
    axis = rng.randrange(x.ndim)
    short = [i for i, n in enumerate(x.shape) if 1 < n <= 8]
    if rng.random() < 0.5 and short:
        axis = rng.choice(short)
    return getattr(x, how)(axis=axis, keepdims=rng.random() < 0.2)


def reshaped(rng: random.Random, x: mx.array) -> mx.array:
    shape = x.shape
    even = [i for i, n in enumerate(shape) if n % 2 == 0 and n > 2]
    if even and rng.random() < 0.7:
        i = rng.choice(even)
        halves = (shape[i] // 2, 2) if rng.random() < 0.5 else (2, shape[i] // 2)
        return x.reshape(*shape[:i], *halves, *shape[i + 1 :])
    if x.ndim == 1:
        return x * 1.01
    i = rng.randrange(x.ndim - 1)
    return x.reshape(*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :])


def sliced(rng: random.Random, x: mx.array) -> mx.array:
    axis = rng.randrange(x.ndim)
    if x.shape[axis] <= 2:
        return x
    index = [slice(None)] * x.ndim
    index[axis] = slice(rng.randrange(2), None, rng.choice([1, 2, -1]))
    found = x[tuple(index)]
    return found if found.size else x


def widened(rng: random.Random, x: mx.array) -> mx.array:
    if x.size > LARGE:
        return x * 1.01
    how, axis = rng.choice(["broadcast", "join", "repeat"]), rng.randrange(x.ndim)
    if how == "join":
        parts = [x, x * 0.3] if rng.random() < 0.5 else [mx.cos(x), x]
        return mx.concatenate(parts, axis=axis)
    if how == "repeat" or x.ndim >= 6:
        return mx.repeat(x, 2, axis=axis)
    shape = (*x.shape[:axis], rng.choice([2, 3]), *x.shape[axis:])
    return mx.broadcast_to(mx.expand_dims(x, axis), shape)


def step(rng: random.Random, x: mx.array, earlier: list[mx.array]) -> mx.array:
    kind = rng.choice(["fold", "fold", "reshape", "turn", "slice", "map", "wide", "wide", "add"])
    if kind == "fold" and x.ndim > 1:
        return fold(rng, x, rng.choice(["sum", "sum", "max", "mean"]))
    if kind == "reshape" and x.ndim < 6:
        return reshaped(rng, x)
    if kind == "turn":
        return x.transpose(*rng.sample(range(x.ndim), x.ndim))
    if kind == "slice":
        return sliced(rng, x)
    if kind == "map":
        return rng.choice(MAPS)(x)
    if kind == "wide":
        return widened(rng, x)
    same = [y for y in earlier if y.shape == x.shape and y is not x]
    return x + same[0] * 0.5 if same else x * 1.01


def program(seed: int, evaluates: bool, x: mx.array) -> mx.array:
    rng = random.Random(seed)
    made: list[mx.array] = []
    for _ in range(rng.randrange(4, 16)):
        x = step(rng, x, made)
        made.append(x)
        if evaluates:
            mx.eval(x)
    return x


@pytest.mark.parametrize("block", range(8))
def test_chains(block: int) -> None:
    for seed in range(40 * block, 40 * block + 40):
        shape = SHAPES[seed % len(SHAPES)]
        x = mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
        want = program(seed, True, x)
        assert mx.array_equal(program(seed, False, x), want, equal_nan=True), seed
        weights = mx.cos(mx.arange(want.size).astype(mx.float32)).reshape(want.shape)
        mx.eval(weights)

        def loss(x: mx.array, seed: int = seed, weights: mx.array = weights) -> mx.array:
            return (program(seed, False, x) * weights).sum()

        gradient = mx.grad(loss)(x)
        mx.eval(gradient)
        assert gradient.shape == shape, seed


class Residual(nn.Module):
    """A block of a U-net, with an embedding of time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, inputs, pytorch_compatible=True)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(6, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def __call__(self, x: mx.array, t: mx.array) -> mx.array:
        h = self.first(nn.silu(self.norm(x))) + self.time(nn.silu(t))[:, None, None, :]
        return self.second(nn.silu(h)) + self.skip(x)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = Residual(4, 8)
        self.halve = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.middle = Residual(8, 8)
        self.double = nn.Upsample(2)
        self.up = Residual(16, 4)

    def __call__(self, x: mx.array, t: mx.array) -> mx.array:
        wide = self.down(x, t)
        deep = self.middle(self.halve(wide), t)
        return self.up(mx.concatenate([self.double(deep), wide], axis=-1), t)


def test_unet() -> None:
    """The gradient of the upsampling folds every other row of a slice of a join's gradient."""
    model, x, t = UNet(), mx.random.normal((2, 8, 8, 4)), mx.random.normal((2, 6))
    loss, gradients = nn.value_and_grad(model, lambda m: m(x, t).square().mean())(model)
    mx.eval(loss, gradients)
    assert mx.isfinite(loss).item()


@pytest.mark.parametrize("length", [40, 3001])
def test_a_long_chain_that_strides_cannot_say(length: int) -> None:
    """All that must be written out of it is found at once, so that planning it ends."""
    x = mx.arange(6.0).reshape(2, 3)
    want = np.array(x)
    for _ in range(length):
        x, want = x.T.reshape(2, 3), want.T.reshape(2, 3)
    assert np.array_equal(x + 1, want + 1)
