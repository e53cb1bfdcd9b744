"""Factorizations and transforms for the reference evaluator: NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from tests.reference.primitives import reference


@reference("Inverse")
def _inverse(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.linalg.inv(x)


@reference("Determinant")
def _determinant(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.linalg.det(x)


@reference("Solve")
def _solve(p: Any, node: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(a, b)


@reference("SolveTriangular")
def _solve_triangular(p: Any, node: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(np.triu(a) if p.upper else np.tril(a), b)


@reference("Cholesky")
def _cholesky(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(x)


@reference("QR")
def _qr(p: Any, node: Any, x: np.ndarray) -> Any:
    return tuple(np.linalg.qr(x))


@reference("Eigh")
def _eigh(p: Any, node: Any, x: np.ndarray) -> Any:
    return tuple(np.linalg.eigh(x, "L" if p.lower else "U"))


@reference("SVD")
def _svd(p: Any, node: Any, x: np.ndarray) -> Any:
    """By the transpose, which settles the vectors' arbitrary signs as the kernels do."""
    u, sizes, vh = np.linalg.svd(np.swapaxes(x, -1, -2), full_matrices=p.full)
    return np.swapaxes(vh, -1, -2), sizes, np.swapaxes(u, -1, -2)


@reference("LU")
def _lu(p: Any, node: Any, x: np.ndarray) -> Any:
    """Row by row, with the largest element of a column as its pivot."""
    packed = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    m, n = x.shape[-2:]
    pivots = np.zeros((*x.shape[:-2], min(m, n)), np.uint32)
    order = np.broadcast_to(np.arange(m), x.shape[:-1]).copy()
    for at in np.ndindex(*x.shape[:-2]):
        a, rows = packed[at], order[at]
        for i in range(min(m, n)):
            p = i + int(np.argmax(np.abs(a[i:, i].real) + np.abs(a[i:, i].imag)))
            pivots[(*at, i)] = p
            a[[i, p]], rows[[i, p]] = a[[p, i]], rows[[p, i]]
            a[i + 1 :, i] /= a[i, i]
            a[i + 1 :, i + 1 :] -= np.outer(a[i + 1 :, i], a[i, i + 1 :])
    return packed.astype(x.dtype), pivots, np.argsort(order, axis=-1).astype(np.uint32)


@reference("Eigvalsh")
def _eigvalsh(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(x, "L" if p.lower else "U")


@reference("SingularValues")
def _singular_values(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.linalg.svd(x, compute_uv=False)


@reference("Eig")
def _eig(p: Any, node: Any, x: np.ndarray) -> Any:
    return tuple(_complex(part) for part in np.linalg.eig(x))


@reference("Eigvals")
def _eigvals(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return _complex(np.linalg.eigvals(x))


def _complex(x: np.ndarray) -> np.ndarray:
    return x.astype(np.result_type(x, np.complex64))


@reference("Fourier")
def _fourier(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    if p.inverse:
        return np.fft.ifftn(x, axes=p.axes, norm="forward")
    return np.fft.fftn(x, axes=p.axes)


@reference("RealFourier")
def _real_fourier(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.fft.rfft(x, axis=p.axis)


@reference("FourierToReal")
def _fourier_to_real(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.fft.irfft(x, p.n, axis=p.axis, norm="forward")


@reference("Hadamard")
def _hadamard(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    wide = np.float32 if x.dtype.itemsize == 2 else x.dtype
    matrix = scipy.linalg.hadamard(x.shape[-1]).astype(wide) * p.scale
    return (x.astype(wide) @ matrix).astype(x.dtype)
