"""Inverses, determinants and solutions of linear systems by LAPACK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.elementwise import Conjugate
from mlx.primitives.library import Library, dtype_of, each_matrix, lapack, routine
from mlx.primitives.matrices import adjoint, lower_triangle, multiply, upper_triangle
from mlx.primitives.reductions import Sum, broadcast_axes
from mlx.primitives.views import transpose


def _solved(name: str, call: Any, arrays: Sequence[np.ndarray], *read: Any) -> Any:
    types = ((arrays[-1].shape, dtype_of(arrays[-1])),)
    try:
        return each_matrix(lambda *m: (call(*m),), types, arrays, *read)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"[linalg::{name}] The matrix is singular: {error}") from None


def factored(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Both triangles of an LU factorization, pivots, and the number of the first zero pivot.

    (SciPy's lu_factor warns of zero pivots, which are no error in a determinant.)
    """
    if not matrix.size:
        return matrix, np.zeros(0, np.int32), 0
    return routine("getrf", matrix.dtype)(matrix)


@dataclass(frozen=True)
class Inverse(Library):
    """The inverse of square matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

    def host(self, *arrays: np.ndarray) -> Any:
        return _solved("inv", lambda m: _by_lu(m, np.eye(len(m), dtype=m.dtype)), arrays)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        back = adjoint(node)
        return [-multiply(back, cotangents[0], back)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [-multiply(node, tangents[0], node)]


class Solver(Library):
    """x with ``a x = b``."""

    def infer(self, a: Node, b: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return b.shape, b.dtype

    def transposed(self) -> Solver:
        """The same for the adjoint of a."""
        return self

    def structured(self, a: Node) -> Node:
        """The part of a that is read."""
        return a

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        of_b = self.transposed()(adjoint(node.inputs[0]), cotangents[0])
        of_a = self.structured(-multiply(of_b, adjoint(node))) if wanted[0] else None
        return [of_a, of_b]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        of_a, change = tangents
        if of_a is not None:
            moved = -multiply(self.structured(of_a), node)
            change = moved if change is None else change + moved
        return [None if change is None else self(node.inputs[0], change)]


@dataclass(frozen=True)
class Solve(Solver):
    """The solution of general square systems."""

    def host(self, *arrays: np.ndarray) -> Any:
        return _solved("solve", _by_lu, arrays)


def _by_lu(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not b.size:
        return np.empty_like(b)
    packed, pivots, zero = factored(a)
    if zero:
        raise np.linalg.LinAlgError(f"pivot {zero} is zero.")
    return routine("getrs", packed.dtype)(packed, pivots, b)[0]


@dataclass(frozen=True)
class SolveTriangular(Solver):
    """The solution of triangular systems; the other triangle of a is not read."""

    upper: bool

    def host(self, *arrays: np.ndarray) -> Any:
        def call(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return lapack().solve_triangular(a, b, lower=not self.upper, check_finite=False)

        return _solved("solve_triangular", call, arrays, np.triu if self.upper else np.tril)

    def transposed(self) -> Solver:
        return SolveTriangular(not self.upper)

    def structured(self, a: Node) -> Node:
        return upper_triangle(a) if self.upper else lower_triangle(a)


@dataclass(frozen=True)
class Determinant(Library):
    """The determinant of square matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape[:-2], x.dtype

    def host(self, *arrays: np.ndarray) -> Any:
        (x,) = arrays
        types = ((x.shape[:-2], dtype_of(x)),)
        return each_matrix(lambda m: (lapack().det(m, check_finite=False),), types, arrays)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        factor = cotangents[0] * _conjugate(node)
        lead = range(node.ndim)
        return [adjoint(Inverse()(x)) * broadcast_axes(factor, x.shape, lead)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        n = x.ndim
        inverse = transpose(Inverse()(x), (*range(n - 2), n - 1, n - 2))
        return [node * Sum(n - 2)(Sum(n - 1)(inverse * tangents[0]))]


def _conjugate(x: Node) -> Node:
    return Conjugate()(x) if x.dtype.is_complex else x
