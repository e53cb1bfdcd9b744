"""Samples of factorizations, solvers and Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

import tests.reference.library
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.primitives import factorizations, fourier, hadamard, solvers, spectra
from mlx.primitives.arithmetic import Absolute
from mlx.primitives.base import Primitive, picks
from mlx.primitives.matrices import adjoint, hermitian, identity_like, multiply
from tests.registry.kinds import Sample
from tests.registry.structured import FLOATS, each, given, numbers

__all__ = ["tests"]
DTYPES = (dt.float32, dt.float64, dt.complex64)


def _regular(*shape: int, dtype: Any = dt.float32, seed: int = 0) -> np.ndarray:
    """Matrices with a strong diagonal, whose singular values differ."""
    x = numbers(*shape, dtype=dtype, seed=seed)
    return (x + 5 * np.eye(*shape[-2:]) * np.arange(1, shape[-1] + 1)).astype(dtype.numpy)


def _squares(primitive: Primitive) -> list[Sample]:
    return [Sample(primitive, (_regular(2, 3, 3, dtype=d),)) for d in DTYPES]


@given("Inverse")
def _inverse() -> list[Sample]:
    return _squares(solvers.Inverse())


@given("Determinant")
def _determinant() -> list[Sample]:
    return _squares(solvers.Determinant())


def _systems(primitive: Primitive) -> list[Sample]:
    return [
        Sample(primitive, (_regular(2, 3, 3, dtype=d), numbers(2, 3, 2, dtype=d, seed=1)))
        for d in DTYPES
    ]


@given("Solve")
def _solve() -> list[Sample]:
    return _systems(solvers.Solve())


@given("SolveTriangular")
def _solve_triangular() -> list[Sample]:
    return [s for upper in (False, True) for s in _systems(solvers.SolveTriangular(upper))]


@given("Cholesky")
def _cholesky() -> list[Sample]:
    def record(x: Node) -> list[Node]:
        return [factorizations.Cholesky()(multiply(x, adjoint(x)) + identity_like(x))]

    primitive = factorizations.Cholesky()
    return [Sample(primitive, (_regular(2, 3, 3, dtype=d),), record=record) for d in DTYPES]


@given("QR")
def _qr() -> list[Sample]:
    return [
        Sample(factorizations.QR(), (_regular(2, *shape, dtype=d),))
        for d in (dt.float32, dt.float64)
        for shape in ((3, 3), (4, 2))
    ]


@given("LU")
def _lu() -> list[Sample]:
    return [
        Sample(factorizations.LU(), (_regular(2, 3, 3, dtype=d)[:, ::-1].copy(),))
        for d in (dt.float32, dt.float64)
    ]


@given("Eigh")
def _eigh() -> list[Sample]:
    """Eigenvectors of complex matrices have any phase: only their moduli are compared."""

    def record(primitive: Primitive) -> Any:
        def apply(x: Node) -> list[Node]:
            values, vectors = picks(primitive(hermitian(x)))
            return [values, Absolute()(vectors)]

        return apply

    return [
        Sample(factorizations.Eigh(low), (_regular(2, 3, 3, dtype=d),), record=record(p))
        for d in DTYPES
        for low in (True, False)
        for p in (factorizations.Eigh(low),)
    ]


@given("Eig")
def _eig() -> list[Sample]:
    def record(x: Node) -> list[Node]:
        values, vectors = picks(spectra.Eig()(x))
        return [values, Absolute()(vectors)]

    return [
        Sample(spectra.Eig(), (_regular(3, 3, dtype=d),), record=record)
        for d in (dt.float32, dt.complex64)
    ]


@given("Eigvalsh")
def _eigvalsh() -> list[Sample]:
    def record(primitive: Primitive) -> Any:
        return lambda x: [primitive(hermitian(x))]

    return [
        Sample(p, (_regular(2, 3, 3, dtype=d),), record=record(p))
        for d in DTYPES
        for p in (factorizations.Eigvalsh(True), factorizations.Eigvalsh(False))
    ]


@given("Eigvals")
def _eigvals() -> list[Sample]:
    return [
        Sample(spectra.Eigvals(), (_regular(3, 3, dtype=d),)) for d in (dt.float32, dt.complex64)
    ]


@given("SingularValues")
def _singular_values() -> list[Sample]:
    values = spectra.SingularValues()
    return [
        *(Sample(values, (_regular(2, 3, 3, dtype=d),)) for d in DTYPES),
        *(Sample(values, (_regular(2, *s, dtype=dt.float32),)) for s in ((4, 2), (2, 4))),
    ]


@given("SVD")
def _svd() -> list[Sample]:
    thin, full = spectra.SVD(False), spectra.SVD(True)

    def moduli(x: Node) -> list[Node]:
        u, sizes, vh = picks(thin(x))
        return [Absolute()(u), sizes, multiply(u, vh)]

    return [
        *(Sample(p, (_regular(2, 3, 3, dtype=dt.float64),)) for p in (thin, full)),
        *(Sample(thin, (_regular(2, *s, dtype=dt.float32),)) for s in ((4, 2), (2, 4))),
        *(Sample(full, (_regular(*s, dtype=dt.float32),)) for s in ((3, 2), (2, 3))),
        Sample(thin, (_regular(3, 2, dtype=dt.complex64),), record=moduli),
    ]


@given("Fourier")
def _fourier() -> list[Sample]:
    return [
        s
        for axes in ((1,), (0, 2))
        for inverse in (False, True)
        for s in each(fourier.Fourier(axes, inverse), 3, 4, 5, dtypes=(dt.complex64, dt.float32))
    ]


@given("RealFourier")
def _real_fourier() -> list[Sample]:
    return [s for n in (1, 5, 6) for s in each(fourier.RealFourier(1), 2, n, 3)]


@given("FourierToReal")
def _fourier_to_real() -> list[Sample]:
    return [
        s
        for n in (1, 5, 6)
        for s in each(fourier.FourierToReal(0, n), n // 2 + 1, 3, dtypes=(dt.complex64,))
    ]


@given("Hadamard")
def _hadamard() -> list[Sample]:
    half = hadamard.Hadamard(0.5)
    return [
        *(s for n in (1, 4, 16, 64) for s in each(half, 3, n, dtypes=FLOATS)),
        *each(half, 2, 3, 512),
        *each(half, 0, 8),
        *each(half, 8),
    ]
