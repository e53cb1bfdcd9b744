"""Attention: MLX's values, masks of all kinds, derivatives, threads, memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from tests.generators.attention_cases import attend, cases

RECORDED = dict(np.load(Path(__file__).with_name("attention.npz")))
ROUNDING = {"float32": 2e-6, "float16": 4e-3, "bfloat16": 4e-2}
attention = mx.fast.scaled_dot_product_attention


@pytest.mark.parametrize("case", cases(), ids="-".join)
def test_as_recorded(case: tuple[str, str, str]) -> None:
    """Values and gradients that MLX itself gave."""
    found, gradients = attend(*case)
    for part, x in zip(("out", "q", "k", "v"), (found, *gradients), strict=True):
        want = RECORDED[" ".join((*case, part))]
        assert x.dtype is getattr(mx, case[2])
        allowed = ROUNDING[case[2]] * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(np.array(x.astype(mx.float32)), want, 0, allowed, err_msg=part)


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def composed(
    q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None = None
) -> mx.array:
    share = q.shape[1] // k.shape[1]
    k, v = mx.repeat(k, share, 1), mx.repeat(v, share, 1)
    scores = scale * q @ k.swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask, scores, -1e30) if mask.dtype == mx.bool_ else scores + mask
    return mx.softmax(scores, axis=-1) @ v


@pytest.mark.parametrize("size", [32, 64, 72, 80, 100, 128, 256])
def test_features(size: int) -> None:
    """Head sizes of models, and values of another size."""
    q, k = normal(1, 4, 37, size), normal(1, 2, 150, size, seed=1)
    v = normal(1, 2, 150, size // 2 + 3, seed=2)
    got = attention(q, k, v, scale=size**-0.5)
    np.testing.assert_allclose(got, composed(q, k, v, size**-0.5), 1e-5, 1e-5)


def test_slices_of_one_projection() -> None:
    """Operands are read where they lie, whatever their strides."""
    whole = normal(2, 40, 3, 4, 16)
    q, k, v = (whole[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    copies = [mx.array(np.array(x)) for x in (q, k, v)]
    got, want = (attention(*x, scale=0.25, mask="causal") for x in ((q, k, v), copies))
    np.testing.assert_array_equal(got, want)
    flipped = attention(q[:, :, ::-1], k[..., ::-1], v, scale=0.25)
    np.testing.assert_allclose(flipped, composed(q[:, :, ::-1], k[..., ::-1], v, 0.25), 1e-5, 1e-5)


def test_values_that_are_not_finite() -> None:
    q, k, v = normal(1, 1, 3, 4), normal(1, 1, 140, 4, seed=1), normal(1, 1, 140, 4, seed=2)
    late = mx.where(mx.arange(140) < 130, float("-inf"), 0.0)  # a whole block of -inf
    got = attention(q, k, v, scale=0.5, mask=late)
    np.testing.assert_allclose(got, composed(q, k[:, :, 130:], v[:, :, 130:], 0.5), 1e-5, 1e-5)
    nothing = attention(q, k, v, scale=0.5, mask=mx.full((3, 140), float("-inf")))
    assert np.isnan(np.array(nothing)).all()
    many = mx.concatenate([q] * 4, axis=2)  # the kernel for more rows
    got = attention(many, k, v, scale=0.5, mask=late)
    np.testing.assert_allclose(got, composed(many, k[:, :, 130:], v[:, :, 130:], 0.5), 1e-5, 1e-5)
    poisoned = attention(q, mx.where(mx.arange(140)[:, None] == 9, float("nan"), k), v, scale=0.5)
    assert np.isnan(np.array(poisoned)).all()


@pytest.mark.parametrize("much", [-1e9, -3e38])
def test_rows_hidden_by_a_large_number(much: float) -> None:
    """Such a row is a mean, and has the gradient of one."""
    q, k, v = (normal(1, 2, 20, 4, seed=s) for s in range(3))
    mask = mx.where(mx.arange(20)[:, None] < 5, much, 0.0)

    def total(fn: Any) -> Any:
        return mx.grad(lambda *x: (fn(*x, scale=0.5, mask=mask) ** 2).sum(), argnums=(0, 1, 2))

    for got, want in zip(total(attention)(q, k, v), total(composed)(q, k, v), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-4)


def test_derivatives_of_masks_and_sinks() -> None:
    q, k, v = (normal(1, 2, 5, 4, seed=s) for s in range(3))
    mask, sinks = normal(5, 5, seed=3), normal(2, seed=4)

    def fused(q: Any, mask: Any, sinks: Any) -> Any:
        return (attention(q, k, v, scale=0.5, mask=mask, sinks=sinks) ** 2).sum()

    def plain(q: Any, mask: Any, sinks: Any) -> Any:
        scores = 0.5 * q @ k.swapaxes(-1, -2) + mask
        sink = mx.broadcast_to(sinks[None, :, None, None], (1, 2, 5, 1))
        weights = mx.softmax(mx.concatenate([scores, sink], axis=-1), axis=-1)
        return ((weights[..., :-1] @ v) ** 2).sum()

    arguments = [q, mask, sinks]
    for argument in range(3):
        found, want = (mx.grad(f, argnums=argument)(*arguments) for f in (fused, plain))
        np.testing.assert_allclose(found, want, 1e-4, 1e-5)
        first = [mx.grad(f, argnums=argument) for f in (fused, plain)]
        again = [mx.grad(lambda *x, g=g: g(*x).square().sum())(*arguments) for g in first]
        np.testing.assert_allclose(*again, 1e-3, 1e-3)
    tangents = [normal(*x.shape, seed=9) for x in arguments]
    (found,), (want,) = (mx.jvp(f, arguments, tangents)[1] for f in (fused, plain))
    np.testing.assert_allclose(found, want, 1e-4, 1e-4)


def test_batched_and_compiled() -> None:
    q, k, v = (normal(3, 2, 2, 9, 4, seed=s) for s in range(3))

    def loss(q: Any, k: Any, v: Any) -> Any:
        return (attention(q, k, v, scale=0.5, mask="causal") ** 2).sum()

    gradient = mx.grad(loss, argnums=(0, 1, 2))
    loop = [gradient(*x) for x in zip(q, k, v, strict=True)]
    for got, want in zip(mx.vmap(gradient)(q, k, v), zip(*loop, strict=True), strict=True):
        np.testing.assert_allclose(got, mx.stack(list(want)), 1e-5, 1e-6)
    shared = mx.vmap(gradient, in_axes=(0, None, None))(q, k[0], v[0])
    np.testing.assert_allclose(shared[1][1], gradient(q[1], k[0], v[0])[1], 1e-5, 1e-6)
    for got, want in zip(mx.compile(gradient)(q[0], k[0], v[0]), loop[0], strict=True):
        np.testing.assert_array_equal(got, want)


def test_results_asked_for_one_by_one() -> None:
    """What one evaluation leaves undone does not read memory that it gave away."""
    arguments = [normal(1, 2, 64, 64, seed=s) for s in range(3)]

    def gradients() -> list[mx.array]:
        cotangent = normal(1, 2, 64, 64, seed=3)
        run = lambda *x: attention(*x, scale=0.125)  # noqa: E731
        return mx.vjp(run, arguments, [cotangent])[1]

    at_once, one_by_one = gradients(), gradients()
    mx.eval(at_once)
    for got, want in zip(one_by_one, at_once, strict=True):
        mx.eval(got)
        np.testing.assert_array_equal(got, want)


_THREADS = """
import hashlib
import numpy as np
import mlx.core as mx
out = hashlib.sha256()
for shape, keys in (((1, 4, 200, 40), 200), ((2, 4, 1, 64), 3000), ((1, 2, 300, 16), 700)):
    q = mx.random.normal(shape, key=mx.random.key(1))
    k, v = (mx.random.normal((shape[0], 2, keys, shape[3]), key=mx.random.key(s)) for s in (2, 3))
    run = lambda *x: mx.fast.scaled_dot_product_attention(*x, scale=0.2, mask="causal")
    for x in (run(q, k, v), *mx.vjp(run, [q, k, v], [q])[1]):
        out.update(np.asarray(x).tobytes())
print(out.hexdigest())
"""


def test_threads_do_not_show() -> None:
    """The same bits on one, two and five threads."""
    found = set()
    for threads in (1, 2, 5):
        done = subprocess.run(
            [sys.executable, "-c", _THREADS],
            env={**os.environ, "MLX_NUM_THREADS": str(threads)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout)
    assert len(found) == 1


def test_memory_is_linear() -> None:
    """Four times the length takes about four times the memory, forward and backward."""

    def peak(length: int) -> int:
        q, k, v = (normal(1, 1, length, 16, seed=s) for s in range(3))
        gradient = mx.grad(
            lambda *x: attention(*x, scale=0.25, mask="causal").sum(), argnums=(0, 1, 2)
        )
        mx.eval(q, k, v)
        gc.collect()  # garbage of other tests that went in between would count as ours
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(gradient(q, k, v))
        return mx.get_peak_memory() - before

    assert peak(8192) <= 4.2 * peak(2048)
    assert peak(8192) < 8192 * 8192 // 4


X = mx.ones((1, 2, 3, 4))


@pytest.mark.parametrize(
    ("what", "run"),
    [
        ("got (2, 3, 4)", lambda: attention(X[0], X[0], X[0], scale=1.0)),
        ("multiple of G", lambda: attention(X, mx.ones((1, 3, 3, 4)), X, scale=1.0)),
        ("Expected q", lambda: attention(X, mx.ones((1, 2, 3, 5)), X, scale=1.0)),
        ("(3, 5) does not broadcast", lambda: attention(
            X, X, X, scale=1.0, mask=mx.zeros((3, 5)))),
        ("Unknown mask 'none'", lambda: attention(X, X, X, scale=1.0, mask="none")),
        ("sinks must have shape (2,)", lambda: attention(X, X, X, scale=1.0, sinks=mx.ones(3))),
        ("mask of dtype float32", lambda: attention(
            *[X.astype(mx.float16)] * 3, scale=1.0, mask=mx.zeros((3, 3)))),
        ("floating-point", lambda: attention(*[X.astype(mx.int32)] * 3, scale=1.0)),
    ],
)  # fmt: skip
def test_errors(what: str, run: Any) -> None:
    with pytest.raises(ValueError, match=r"\[scaled_dot_product_attention\]") as error:
        run()
    assert what in str(error.value)


def test_nothing_to_attend_to() -> None:
    assert attention(X, X[:, :, :0], X[:, :, :0], scale=1.0).tolist() == mx.zeros(X.shape).tolist()
    assert attention(X[:, :, :0], X, X, scale=1.0).shape == (1, 2, 0, 4)


_LEAST = """
import numpy as np
import mlx.core as mx
draw = np.random.default_rng(0).standard_normal
for dtype in (mx.float64, mx.float32):
    for length in (2, 40):
        q, k, v = (mx.array(draw((1, 2, n, s)), dtype=dtype)
                   for n, s in ((length, 20), (130, 20), (130, 33)))
        mask = mx.array(draw((length, 130)), dtype=dtype)
        fused = lambda *x: mx.fast.scaled_dot_product_attention(*x, scale=0.2, mask=mask)
        plain = lambda q, k, v: mx.softmax(0.2 * q @ k.swapaxes(-1, -2) + mask, axis=-1) @ v
        pair = [[f(q, k, v), *mx.vjp(f, [q, k, v], [q @ mx.ones((20, 33), dtype=dtype)])[1]]
                for f in (fused, plain)]
        for got, want in zip(*pair):
            np.testing.assert_allclose(got, want, 1e-5, 1e-4 if dtype == mx.float32 else 1e-12)
"""


def test_code_for_the_least_processor() -> None:
    """Where a tile has more rows than a vector has lanes."""
    done = subprocess.run(
        [sys.executable, "-c", _LEAST],
        env={**os.environ, "MLX_ISA": "baseline"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
