"""Factorizations and transforms for the reference evaluator: NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    return tuple(np.linalg.svd(x, full_matrices=p.full))


@reference("LU", "Eig")
def _by_host(p: Any, node: Any, x: np.ndarray) -> Any:
    return p.host(x)


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
