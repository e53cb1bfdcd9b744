"""Derivatives of mx.linalg against finite differences; batches against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

LA = mx.linalg
STEP = 1e-6


def draw(*shape: int, seed: int = 0) -> mx.array:
    values = np.random.default_rng(seed).normal(size=shape)
    if len(shape) >= 2:
        values = values + 3 * np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)
    return mx.array(values, mx.float64)


def spd(x: mx.array) -> mx.array:
    return x @ mx.swapaxes(x, -1, -2) + mx.eye(x.shape[-1], dtype=x.dtype)


def symmetric(x: mx.array) -> mx.array:
    return x + mx.swapaxes(x, -1, -2)


B = draw(2, 3, 2, seed=5)
FUNCTIONS: dict[str, Any] = {
    "inv": LA.inv,
    "tri_inv": lambda x: LA.tri_inv(x, upper=True),
    "det": LA.det,
    "slogdet": lambda x: LA.slogdet(x)[1],
    "cholesky": lambda x: LA.cholesky(spd(x)),
    "cholesky upper": lambda x: LA.cholesky(spd(x), upper=True),
    "cholesky_inv": LA.cholesky_inv,
    "solve a": lambda x: LA.solve(x, B),
    "solve b": lambda x: LA.solve(draw(2, 3, 3, seed=4), x),
    "solve both": lambda x: LA.solve(x, x * x),
    "solve_triangular": lambda x: LA.solve_triangular(x, B, upper=True),
    "qr": lambda x: mx.concatenate(LA.qr(x), axis=-2),
    "lu": lambda x: LA.lu(x)[1] + LA.lu(x)[2],
    "lu_factor": lambda x: LA.lu_factor(x)[0],
    "eigvalsh": lambda x: LA.eigvalsh(symmetric(x)),
    "eigh": lambda x: mx.abs(LA.eigh(symmetric(x))[1]),
    "singular values": lambda x: LA.svd(x, compute_uv=False),
    "pinv": LA.pinv,
    "nuc": lambda x: LA.norm(x, "nuc", (-2, -1)),
    "spectral": lambda x: LA.norm(x, 2, (-2, -1)),
    "fro": lambda x: LA.norm(x, "fro", (-2, -1)),
    "norm 3": lambda x: LA.norm(x, 3, -1),
    "norm inf": lambda x: LA.norm(x, np.inf, -1),
    "cross": lambda x: LA.cross(x, x[::-1] * x),
}
SHAPES = {"qr": (4, 3), "pinv": (4, 3), "nuc": (3, 4), "singular values": (2, 4)}
each = pytest.mark.parametrize("name", FUNCTIONS)


def weighted(name: str) -> tuple[Any, mx.array]:
    """A scalar function of all outputs, and a point."""
    fn, shape = FUNCTIONS[name], SHAPES.get(name, (3, 3))
    x = draw(2, *shape)
    weights = mx.array(np.random.default_rng(9).normal(size=fn(x).shape), mx.float64)
    return lambda x: (fn(x) * weights).sum(), x


def difference(fn: Any, x: mx.array, direction: mx.array) -> np.ndarray:
    up, down = np.array(fn(x + STEP * direction)), np.array(fn(x - STEP * direction))
    return (up - down) / (2 * STEP)


@each
def test_first_order(name: str) -> None:
    fn, x = weighted(name)
    t = mx.array(np.random.default_rng(3).normal(size=x.shape), mx.float64)
    want = difference(fn, x, t)
    backward = (mx.grad(fn)(x) * t).sum().item()
    _, (forward,) = mx.jvp(fn, [x], [t])
    np.testing.assert_allclose([backward, forward.item()], [want, want], rtol=1e-5, atol=1e-6)


@each
def test_second_order(name: str) -> None:
    fn, x = weighted(name)
    t = mx.array(np.random.default_rng(3).normal(size=x.shape), mx.float64)
    gradient = mx.grad(fn)
    want = difference(gradient, x, t)
    again = mx.grad(lambda x: (gradient(x) * t).sum())(x)
    np.testing.assert_allclose(np.array(again), want, rtol=1e-4, atol=1e-5)
    _, (forward,) = mx.jvp(gradient, [x], [t])
    np.testing.assert_allclose(np.array(forward), want, rtol=1e-4, atol=1e-5)


@each
def test_batches(name: str) -> None:
    fn = FUNCTIONS[name]
    shape = SHAPES.get(name, (3, 3))
    xs = draw(3, 2, *shape)
    got = mx.vmap(fn)(xs)
    want = mx.stack([fn(x) for x in xs])
    np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-10, atol=1e-10)
    derivative = mx.vmap(mx.grad(lambda x: fn(x).sum()))(xs)
    loop = mx.stack([mx.grad(lambda x: fn(x).sum())(x) for x in xs])
    np.testing.assert_allclose(np.array(derivative), np.array(loop), rtol=1e-9, atol=1e-9)


def test_compiled_gradient() -> None:
    x = draw(2, 3, 3)
    gradient = mx.grad(lambda x: LA.slogdet(spd(x))[1].sum())
    np.testing.assert_array_equal(np.array(mx.compile(gradient)(x)), np.array(gradient(x)))


def test_gradient_of_a_gaussian_likelihood() -> None:
    """What these functions are mostly for: the derivative is known in closed form."""
    x = draw(4, 4)
    y = mx.array(np.random.default_rng(2).normal(size=4), mx.float64)

    def loss(c: mx.array) -> mx.array:
        return 0.5 * LA.slogdet(c)[1] + 0.5 * (y @ LA.solve(c, y))

    covariance = spd(x)
    inverse = np.linalg.inv(np.array(covariance))
    z = inverse @ np.array(y)
    want = 0.5 * inverse - 0.5 * np.outer(z, z)
    np.testing.assert_allclose(np.array(mx.grad(loss)(covariance)), want, rtol=1e-9, atol=1e-12)
