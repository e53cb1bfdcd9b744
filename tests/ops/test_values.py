"""Values of compositions against NumPy: what the registry's tests of primitives don't see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import mlx.core as mx

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4, 5)).astype(np.float32)
M = RNG.normal(size=(4, 5)).astype(np.float32)
V = RNG.normal(size=5).astype(np.float32)
Z = (RNG.normal(size=(2, 6)) + 1j * RNG.normal(size=(2, 6))).astype(np.complex64)
I = RNG.integers(-9, 9, (3, 4))  # noqa: E741
a, m, v, z, i = (mx.array(x) for x in (A, M, V, Z, I))


def close(got: Any, want: Any, tolerance: float = 2e-5) -> None:
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(np.array(got), want, rtol=tolerance, atol=tolerance)


CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "mean": (lambda: mx.mean(a, (0, 2)), lambda: A.mean((0, 2))),
    "var": (lambda: mx.var(a, 1, ddof=1), lambda: A.var(1, ddof=1)),
    "var complex": (lambda: mx.var(z), lambda: Z.var()),
    "std": (lambda: mx.std(a, keepdims=True), lambda: A.std(keepdims=True)),
    "logsumexp": (lambda: mx.logsumexp(a, -1), lambda: scipy.special.logsumexp(A, -1)),
    "softmax": (lambda: mx.softmax(a, (0, 2)), lambda: scipy.special.softmax(A, (0, 2))),
    "median": (lambda: mx.median(a, (0, 2)), lambda: np.median(A, (0, 2))),
    "median odd": (lambda: mx.median(v), lambda: np.median(V)),
    "prod": (lambda: mx.prod(m, 0), lambda: M.prod(0)),
    "trace": (lambda: mx.trace(a, 1, 1, 2), lambda: np.trace(A, 1, 1, 2)),
    "round decimals": (lambda: mx.round(a, 2), lambda: np.round(A, 2)),
    "power of 3": (lambda: a**3, lambda: A**3),
    "reflected power": (lambda: 2.0**a, lambda: 2.0**A),
    "clip": (lambda: mx.clip(a, -0.5, m), lambda: np.clip(A, -0.5, M)),
    "floor divide": (lambda: i // 4, lambda: I // 4),
    "remainder": (lambda: i % -4, lambda: I % -4),
    "arange": (lambda: mx.arange(1, 2, 0.3), lambda: np.arange(1, 2, 0.3)),
    "arange down": (lambda: mx.arange(5, 1, -2), lambda: np.arange(5, 1, -2)),
    "linspace": (lambda: mx.linspace(0, 3, 7), lambda: np.linspace(0, 3, 7)),
    "eye": (lambda: mx.eye(3, 4, -1), lambda: np.eye(3, 4, -1)),
    "tril": (lambda: mx.tril(a, 1), lambda: np.tril(A, 1)),
    "triu": (lambda: mx.triu(a, -1), lambda: np.triu(A, -1)),
    "diag": (lambda: mx.diag(v, -2), lambda: np.diag(V, -2)),
    "diagonal": (lambda: mx.diagonal(a, -1, 2, 0), lambda: np.diagonal(A, -1, 2, 0)),
    "hanning": (lambda: mx.hanning(7), lambda: np.hanning(7)),
    "blackman": (lambda: mx.blackman(6), lambda: np.blackman(6)),
    "bartlett": (lambda: mx.bartlett(5), lambda: np.bartlett(5)),
    "flip": (lambda: mx.flip(a, (0, -1)), lambda: np.flip(A, (0, -1))),
    "roll": (lambda: mx.roll(a, (1, -2), (0, 2)), lambda: np.roll(A, (1, -2), (0, 2))),
    "roll flat": (lambda: mx.roll(a, 7), lambda: np.roll(A, 7)),
    "tile": (lambda: mx.tile(m, (2, 1, 3)), lambda: np.tile(M, (2, 1, 3))),
    "repeat": (lambda: mx.repeat(a, 3, 1), lambda: np.repeat(A, 3, 1)),
    "pad edge": (
        lambda: mx.pad(m, ((1, 2), (0, 3)), "edge"),
        lambda: np.pad(M, ((1, 2), (0, 3)), "edge"),
    ),
    "pad reflect": (lambda: mx.pad(m, 2, "reflect"), lambda: np.pad(M, 2, "reflect")),
    "pad reflect again": (
        lambda: mx.pad(v, (9, 14), "reflect"),
        lambda: np.pad(V, (9, 14), "reflect"),
    ),
    "pad symmetric": (lambda: mx.pad(m, 2, "symmetric"), lambda: np.pad(M, 2, "symmetric")),
    "pad symmetric again": (
        lambda: mx.pad(v, (13, 9), "symmetric"),
        lambda: np.pad(V, (13, 9), "symmetric"),
    ),
    "roll one axis": (lambda: mx.roll(m, (1, 1), 0), lambda: np.roll(M, 2, 0)),
    "logsumexp of nothing": (lambda: mx.logsumexp(a[:0], -1), lambda: A[:0, :, 0]),
    "count_nonzero": (lambda: mx.count_nonzero(i, -1), lambda: np.count_nonzero(I, -1)),
    "pad value": (
        lambda: mx.pad(m, (1, 2), constant_values=7),
        lambda: np.pad(M, (1, 2), constant_values=7),
    ),
    "meshgrid": (lambda: mx.meshgrid(v, m[0])[1], lambda: np.meshgrid(V, M[0])[1]),
    "moveaxis": (lambda: mx.moveaxis(a, 0, -1), lambda: np.moveaxis(A, 0, -1)),
    "unflatten": (lambda: mx.unflatten(m, 0, (2, -1)), lambda: M.reshape(2, 2, 5)),
    "stack": (lambda: mx.stack([m, m + 1], -1), lambda: np.stack([M, M + 1], -1)),
    "split": (lambda: mx.split(a, [1, 3], 2)[1], lambda: np.split(A, [1, 3], 2)[1]),
    "diff": (lambda: mx.diff(a, 2, 1), lambda: np.diff(A, 2, 1)),
    "searchsorted": (
        lambda: mx.searchsorted(mx.sort(v), a),
        lambda: np.searchsorted(np.sort(V), A),
    ),
    "topk": (lambda: mx.topk(a, 2, 1), lambda: np.sort(A, 1)[:, -2:]),
    "matmul batched": (lambda: a @ m.T, lambda: A @ M.T),
    "matmul stretched": (lambda: a[:, None] @ m.T, lambda: A[:, None] @ M.T),
    "vector matrix": (lambda: m[:, 0] @ a, lambda: M[:, 0] @ A),
    "addmm": (lambda: mx.addmm(v, m[:, :4], m, 0.5, 2.0), lambda: 2 * V + 0.5 * M[:, :4] @ M),
    "inner": (lambda: mx.inner(a, m), lambda: np.inner(A, M)),
    "outer": (lambda: mx.outer(v, m), lambda: np.outer(V, M)),
    "kron": (lambda: mx.kron(m, v), lambda: np.kron(M, V)),
    "tensordot": (
        lambda: mx.tensordot(a, m, ([2, 1], [1, 0])),
        lambda: np.tensordot(A, M, ([2, 1], [1, 0])),
    ),
    "vecdot": (lambda: mx.vecdot(z, z), lambda: np.vecdot(Z, Z)),
    "convolve": (lambda: mx.convolve(v, m[0], "same"), lambda: np.convolve(V, M[0], "same")),
    "cross": (lambda: mx.linalg.cross(m[:, :3], m[:, 2:]), lambda: np.cross(M[:, :3], M[:, 2:])),
    "nan_to_num": (
        lambda: mx.nan_to_num(mx.array([np.nan, np.inf, -np.inf]), 1, 2, 3),
        lambda: np.array([1.0, 2, 3]),
    ),
    "as_strided": (
        lambda: mx.as_strided(m, (3, 3), (5, 1), 2),
        lambda: np.lib.stride_tricks.as_strided(M.ravel()[2:], (3, 3), (20, 4)),
    ),
    "cumsum": (
        lambda: mx.cumsum(a, 1, reverse=True, inclusive=False),
        lambda: np.flip(np.cumsum(np.flip(A, 1), 1), 1) - A,
    ),
    "logcumsumexp": (
        lambda: mx.logcumsumexp(v * 50),
        lambda: np.logaddexp.accumulate(V.astype(np.float64) * 50),
    ),
    "fft": (lambda: mx.fft.fft2(a, (4, 6)), lambda: np.fft.fft2(A, (4, 6))),
    "irfft": (lambda: mx.fft.irfft(z, 9, norm="ortho"), lambda: np.fft.irfft(Z, 9, norm="ortho")),
    "norm nuc": (lambda: mx.linalg.norm(m, "nuc"), lambda: np.linalg.norm(M, "nuc")),
    "norm 3": (lambda: mx.linalg.norm(a, 3, 1), lambda: np.linalg.norm(A, 3, 1)),
    "norm rows": (
        lambda: mx.linalg.norm(a, float("inf"), (2, 0)),
        lambda: np.linalg.norm(A, np.inf, (2, 0)),
    ),
    "pinv": (lambda: mx.linalg.pinv(m), lambda: np.linalg.pinv(M)),
}


@pytest.mark.parametrize("name", CASES)
def test_value(name: str) -> None:
    ours, numpys = CASES[name]
    close(ours(), numpys())


@pytest.mark.parametrize(
    "subscripts",
    [
        "ij,jk->ik", "bij,bjk->bik", "ij,jk,kl->il", "i,j->ij", "ii", "iij->j", "ij->ji",
        "...ij,...jk->...ik", "ij,ij->", "ijk,jl->kil", "a,ab,b->", "ij,ik", "ij,j->ij",
        "abc,acd,bd->ab", "ii,jj->ij",
    ],
)  # fmt: skip
def test_einsum(subscripts: str) -> None:
    sizes = dict(zip("ijklabcd", (3, 4, 2, 5, 3, 4, 2, 3), strict=True))
    terms = subscripts.split("->")[0].split(",")
    xs = [
        RNG.normal(size=[sizes[c] for c in t.replace("...", "a")]).astype(np.float32) for t in terms
    ]
    close(mx.einsum(subscripts, *map(mx.array, xs)), np.einsum(subscripts, *xs))


def test_unique() -> None:
    x = RNG.integers(0, 6, 20)
    values, index, inverse, counts = mx.unique(mx.array(x), 8, True, True, True, -1)
    want = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    n = len(want[0])
    for got, expected in zip((values, index, counts), (want[0], want[1], want[3]), strict=True):
        np.testing.assert_array_equal(np.array(got)[:n], expected)
    np.testing.assert_array_equal(np.array(inverse), want[2])
    assert np.array(values)[n:].tolist() == [-1] * (8 - n)


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int16, mx.float32, mx.float64, mx.complex64])
def test_view_is_the_same_bytes(dtype: Any) -> None:
    x = np.arange(16, dtype=np.uint32) * 12345
    got = np.array(mx.view(mx.array(x), dtype))
    assert got.tobytes() == x.tobytes()
    back = mx.view(mx.array(got, dtype), mx.uint32)
    np.testing.assert_array_equal(np.array(back), x)


def test_nan_and_infinity_pass() -> None:
    x = mx.array([1.0, np.nan, -np.inf])
    assert mx.isnan(mx.max(x)).item() and mx.isnan(mx.maximum(x, 0)[1]).item()
    assert mx.argmax(x).item() == 1 and np.isnan(np.array(mx.sort(x))[2])
    assert mx.logsumexp(mx.array([-np.inf, -np.inf])).item() == -np.inf
    assert mx.logsumexp(mx.array([np.inf, 1.0])).item() == np.inf
    assert mx.isclose(mx.array(np.inf), mx.array(np.inf)).item()
    assert mx.array_equal(x, x, equal_nan=True).item() and not mx.array_equal(x, x).item()


def test_in_place_operators_rebind_the_handle() -> None:
    x = mx.array([1, 2])
    same, kept = x, x + 0
    x += 1.5
    assert same is x and x.dtype is mx.float32
    np.testing.assert_array_equal(np.array(same), [2.5, 3.5])
    np.testing.assert_array_equal(np.array(kept), [1, 2])


def test_kinds_of_several_results() -> None:
    assert type(mx.divmod(i, 4)) is list and type(mx.meshgrid(v, v)) is tuple


def test_equality_with_other_things() -> None:
    x = mx.array([1, 2])
    assert (x == "a") is False and (x != [1, 2]) is True
    assert (x == object()) is False and (object() != x) is True
    with pytest.raises(TypeError, match="None"):
        x == None  # noqa: B015, E711


def test_half_precision_accumulates_in_float32() -> None:
    x = np.full(4096, 0.1, np.float16)
    y = mx.array(x)
    assert mx.mean(y).item() == np.float16(x.astype(np.float64).mean())
    assert mx.softmax(y).dtype is mx.float16
    wide = x.astype(np.float64)
    np.testing.assert_allclose(
        np.array(mx.var(y + mx.arange(4096, dtype=mx.float16) * 0.01)),
        (wide + np.arange(4096) * 0.01).var(),
        rtol=2e-3,
    )
