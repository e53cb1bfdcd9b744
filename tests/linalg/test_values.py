"""mx.linalg against NumPy and SciPy, over dtypes, batches and degenerate sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

LA = mx.linalg
TOLERANCE = {np.float32: 2e-4, np.float64: 1e-10, np.complex64: 2e-4}
DTYPES = list(TOLERANCE)
BATCHES = [(), (3,), (2, 2), (0,)]
SIZES = [0, 1, 2, 5]


def draw(dtype: Any, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if dtype is np.complex64 else x).astype(dtype)


def regular(dtype: Any, batch: tuple[int, ...], n: int) -> np.ndarray:
    """Well-conditioned square matrices."""
    return (draw(dtype, *batch, n, n) + 4 * np.eye(n)).astype(dtype)


def positive(dtype: Any, batch: tuple[int, ...], n: int) -> np.ndarray:
    x = draw(dtype, *batch, n, n)
    return (x @ adjoint(x) + np.eye(n)).astype(dtype)


def adjoint(x: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(x, -1, -2))


def to_mx(x: np.ndarray) -> mx.array:
    """float64 stays what it is."""
    return mx.array(x, {np.float64: mx.float64}.get(x.dtype.type))


def close(got: mx.array, want: Any, dtype: Any) -> None:
    found, want = np.array(got), np.asarray(want)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


over = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)


@over
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_square(dtype: Any, batch: tuple[int, ...]) -> None:
    for n in SIZES:
        x = regular(dtype, batch, n)
        a = to_mx(x)
        close(LA.inv(a), np.linalg.inv(x), dtype)
        close(LA.det(a) / 4.0**n, np.linalg.det(x) / 4.0**n, dtype)
        for got, want in zip(LA.slogdet(a), np.linalg.slogdet(x), strict=True):
            close(got, want, dtype)
        for upper in (False, True):
            triangle = np.triu(x) if upper else np.tril(x)
            close(LA.tri_inv(a, upper), np.linalg.inv(triangle), dtype)
        p = positive(dtype, batch, n)
        factor = np.linalg.cholesky(p)
        close(LA.cholesky(to_mx(p)), factor, dtype)
        close(LA.cholesky(to_mx(p), upper=True), adjoint(factor), dtype)
        for upper in (False, True):
            given = adjoint(factor) if upper else factor
            close(LA.cholesky_inv(to_mx(given), upper), np.linalg.inv(p), dtype)


@over
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_systems(dtype: Any, batch: tuple[int, ...]) -> None:
    for n in SIZES:
        x, b = regular(dtype, batch, n), draw(dtype, *batch, n, 3, seed=1)
        close(LA.solve(to_mx(x), to_mx(b)), np.linalg.solve(x, b), dtype)
        for upper in (False, True):
            triangle = np.triu(x) if upper else np.tril(x)
            got = LA.solve_triangular(to_mx(x), to_mx(b), upper=upper)
            close(got, np.linalg.solve(triangle, b), dtype)


def test_vectors_and_broadcast_systems() -> None:
    x, b = regular(np.float32, (), 3), draw(np.float32, 3, seed=1)
    close(LA.solve(to_mx(x), to_mx(b)), np.linalg.solve(x, b), np.float32)
    many = draw(np.float32, 4, 3, 2)
    close(LA.solve(to_mx(x), to_mx(many)), np.linalg.solve(x, many), np.float32)
    wide = LA.solve(to_mx(x), mx.array(b, mx.float64))
    assert wide.dtype == mx.float64


@over
@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 5), (1, 1), (2, 4, 3), (2, 3, 4), (0, 2, 2)])
def test_factors(dtype: Any, shape: tuple[int, ...]) -> None:
    """The factors have their form, and their product is the matrix."""
    x = draw(dtype, *shape)
    a = to_mx(x)
    q, r = (np.array(v) for v in LA.qr(a))
    close(to_mx(q @ r), x, dtype)
    k = min(shape[-2:])
    close(to_mx(adjoint(q) @ q), np.broadcast_to(np.eye(k), (*shape[:-2], k, k)), dtype)
    assert not np.tril(r, -1).any()

    u, s, vh = (np.array(v) for v in LA.svd(a))
    assert u.shape[-1] == shape[-2] and vh.shape[-2] == shape[-1]
    close(to_mx(s), np.linalg.svd(x, compute_uv=False), dtype)
    close(LA.svd(a, compute_uv=False), s, dtype)
    close(to_mx(u[..., :k] * s[..., None, :] @ vh[..., :k, :]), x, dtype)
    close(LA.pinv(a), np.linalg.pinv(x), dtype)

    p, low, high = (np.array(v) for v in LA.lu(a))
    assert p.dtype == np.uint32
    product = np.take_along_axis(low @ high, p[..., None].astype(np.int64), -2)
    close(to_mx(product), x, dtype)
    assert not np.triu(low, 1).any() and not np.tril(high, -1).any()
    packed, pivots = LA.lu_factor(a)
    assert pivots.dtype == mx.uint32 and pivots.shape == (*shape[:-2], k)
    close(packed, _packed(low, high, shape), dtype)


def _packed(low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, low.dtype)
    k = min(shape[-2:])
    out[..., :, :k] += np.tril(low, -1)
    out[..., :k, :] += high
    return out


@over
def test_spectra(dtype: Any) -> None:
    for batch in BATCHES:
        for n in SIZES:
            x = positive(dtype, batch, n)
            for triangle in "LU":
                half = np.tril(x) if triangle == "L" else np.triu(x)
                values, vectors = LA.eigh(to_mx(half.astype(dtype)), triangle)
                close(values, np.linalg.eigvalsh(x), dtype)
                close(LA.eigvalsh(to_mx(x), triangle), np.linalg.eigvalsh(x), dtype)
                v = np.array(vectors)
                close(to_mx(v * np.array(values)[..., None, :] @ adjoint(v)), x, dtype)
            x = draw(dtype, *batch, n, n)
            values, vectors = (np.array(v) for v in LA.eig(to_mx(x)))
            assert values.dtype == vectors.dtype == np.complex64
            np.testing.assert_allclose(x @ vectors, vectors * values[..., None, :], atol=1e-4)
            sizes = np.linalg.norm(vectors, axis=-2)
            np.testing.assert_allclose(sizes, np.ones_like(sizes), atol=1e-5)
            np.testing.assert_array_equal(np.array(LA.eigvals(to_mx(x))), values)


@over
@pytest.mark.parametrize("order", [None, 0, 1, 2, 3, 0.5, -1, -2, np.inf, -np.inf])
def test_vector_norms(dtype: Any, order: Any) -> None:
    x = draw(dtype, 3, 4)
    x[1, 2] = 0
    x = x if order is None or order >= 0 else x + 3
    for axis in (0, 1, -1):
        for keep in (False, True):
            want = np.linalg.norm(x, order, axis, keep)
            close(LA.norm(to_mx(x), order, axis, keep), want, dtype)


@over
@pytest.mark.parametrize("order", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norms(dtype: Any, order: Any) -> None:
    x = draw(dtype, 2, 3, 4)
    for axes in ((0, 1), (2, 0), (-1, -2), (1, 2)):
        for keep in (False, True):
            want = np.linalg.norm(x, order, axes, keep)
            close(LA.norm(to_mx(x), order, axes, keep), want, dtype)
    close(LA.matrix_norm(to_mx(x), order), np.linalg.norm(x, order, (-2, -1)), dtype)


def test_norm_of_everything_and_of_integers() -> None:
    x = draw(np.float32, 2, 3, 4)
    close(LA.norm(to_mx(x)), np.linalg.norm(x.ravel()), np.float32)
    assert LA.norm(to_mx(x), keepdims=True).shape == (1, 1, 1)
    found = LA.norm(mx.array([3, 4]))
    assert found.dtype == mx.float32 and found.item() == 5
    assert LA.norm(mx.zeros((0,))).item() == 0


@over
def test_cross(dtype: Any) -> None:
    for m in (2, 3):
        for n in (2, 3):
            x, y = draw(dtype, 4, m), draw(dtype, 4, n, seed=1)
            lifted = [np.pad(v, ((0, 0), (0, 3 - v.shape[1]))) for v in (x, y)]
            close(LA.cross(to_mx(x), to_mx(y)), np.cross(*lifted), dtype)
    x, y = draw(dtype, 3, 5), draw(dtype, 3, 1)
    close(LA.cross(to_mx(x), to_mx(y), axis=0), np.cross(x, y, axis=0), dtype)


def test_half_precision_and_integer_determinants() -> None:
    x = mx.array([[4.0, 1.0], [1.0, 3.0]])
    for dtype in (mx.float16, mx.bfloat16):
        assert LA.det(x.astype(dtype)).dtype == dtype
        assert abs(LA.det(x.astype(dtype)).item() - 11) < 0.1
        assert [v.dtype for v in LA.slogdet(x.astype(dtype))] == [dtype, dtype]
    assert LA.det(mx.array([[1, 2], [3, 4]])).dtype == mx.float32
    signs = LA.slogdet(mx.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (signs[0].item(), signs[1].item()) == (-1, 0)


def test_a_transposed_operand() -> None:
    """Operands that are views."""
    x = regular(np.float32, (2,), 4)
    a = mx.swapaxes(to_mx(x), -1, -2)[::-1]
    close(LA.inv(a), np.linalg.inv(np.swapaxes(x, -1, -2)[::-1]), np.float32)


def test_between_kernels() -> None:
    """A library call between fused kernels, plain and compiled."""
    x = to_mx(positive(np.float32, (3,), 4))

    def fn(x: mx.array) -> mx.array:
        factor = LA.cholesky(mx.exp(mx.log(mx.abs(x)) * 1.0) * 0 + x * 2)
        return mx.tanh(factor).sum() + LA.norm(factor)

    factor = np.linalg.cholesky(np.array(x) * 2)
    want = np.tanh(factor).sum() + np.linalg.norm(factor.ravel())
    assert abs(fn(x).item() - want) < 1e-3
    assert mx.compile(fn)(x).item() == fn(x).item()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_small_matrices_have_the_bits_of_one(dtype, n):
    """A batch takes a matrix in each lane, a lone matrix does not."""
    x, s, b = regular(dtype, (19,), n), positive(dtype, (19,), n), draw(dtype, 19, n, 3)
    x[4, 0, 0] = np.nan
    for operation, operands in (
        (LA.inv, (x,)),
        (LA.det, (x,)),
        (LA.lu, (x,)),
        (LA.lu, (np.concatenate([x, 2 * x + 1], -1)[..., :16],)),
        (LA.lu, (np.concatenate([x, 2 * x + 1], -2)[..., :16, :],)),
        (LA.cholesky, (s,)),
        (LA.solve, (x, b)),
        (LA.solve, (np.swapaxes(x, -1, -2), b[..., 0:1])),
    ):
        many = _listed(operation(*map(to_mx, operands)))
        for i in range(19):
            for got, want in zip(
                many, _listed(operation(*(to_mx(o[i]) for o in operands))), strict=True
            ):
                assert np.array_equal(np.array(got)[i], np.array(want), equal_nan=True)


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def test_first_failure_of_many():
    x = np.tile(np.eye(3, dtype=np.float32), (40, 1, 1))
    x[17, 2, 2] = x[30, 0, 0] = 0
    with pytest.raises(ValueError, match="pivot 3 of matrix 17"):
        mx.eval(LA.inv(to_mx(x)))
    with pytest.raises(ValueError, match="order 3 of matrix 17"):
        mx.eval(LA.cholesky(to_mx(x)))
