"""Matrix factorizations by LAPACK, with the derivatives of their factors.

The formulas are those of Giles, "Collected matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008).  Matrices that must be Hermitian count as such:
their tangents are made Hermitian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node, Shape
from mlx.primitives.base import zeros_like
from mlx.primitives.elementwise import cast
from mlx.primitives.indexing import Gather
from mlx.primitives.library import Library, Types, each_matrix, lapack, outputs
from mlx.primitives.matrices import (
    adjoint,
    diagonal,
    gaps,
    hermitian,
    identity_like,
    lower_triangle,
    multiply,
    real_part,
    scale_columns,
    scale_rows,
    strictly_lower,
    upper_triangle,
)
from mlx.primitives.ordering import ArgSort
from mlx.primitives.solvers import Inverse, SolveTriangular


def _known(values: Sequence[Node | None], like: Sequence[Node]) -> list[Node]:
    """Cotangents with zeros for those that are missing."""
    return [zeros_like(x) if v is None else v for v, x in zip(values, like, strict=True)]


class Factorization(Library):
    """Several outputs of one matrix; ``types(x)`` says them."""

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        raise TypeError(f"[{self.name}] declares no types.")

    def infer(self, x: Node) -> tuple[Any, None]:  # type: ignore[override]
        return self.types(x.shape, x.dtype), None

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        raise TypeError(f"[{self.name}] declares no factor.")

    def host(self, *arrays: np.ndarray) -> Any:
        (x,) = arrays
        dtype = dt.from_numpy(x.dtype)
        assert dtype is not None
        return each_matrix(self.factor, self.types(x.shape, dtype), arrays)

    def same(self, node: Node) -> list[Node]:
        """Its outputs, of the input of ``node``."""
        return outputs(self, *node.inputs)


@dataclass(frozen=True)
class Cholesky(Library):
    """The lower triangular factor of Hermitian positive definite matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

    def host(self, *arrays: np.ndarray) -> Any:
        (x,) = arrays
        types = ((x.shape, dt.from_numpy(x.dtype)),)
        try:
            return each_matrix(lambda m: (lapack().cholesky(m, lower=True),), types, arrays)  # type: ignore[arg-type]
        except np.linalg.LinAlgError as error:
            raise ValueError(f"[linalg::cholesky] Not positive definite: {error}.") from None

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        inverse = SolveTriangular(False)(node, identity_like(node))
        half = _halved_lower(multiply(adjoint(node), cotangents[0]))
        return [hermitian(multiply(adjoint(inverse), half, inverse))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        inverse = SolveTriangular(False)(node, identity_like(node))
        inner = multiply(inverse, hermitian(tangents[0]), adjoint(inverse))
        return [multiply(node, _halved_lower(inner))]


def _halved_lower(x: Node) -> Node:
    """The lower triangle with half the diagonal."""
    return (lower_triangle(x) + strictly_lower(x)) * 0.5


@dataclass(frozen=True)
class QR(Factorization):
    """Q with orthonormal columns and upper triangular R of matrices not wider than tall."""

    outputs = 2

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        *lead, _, n = shape
        return (shape, dtype), ((*lead, n, n), dtype)

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        return lapack().qr(matrix, mode="economic")

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        q, r = self.same(node)
        of_q, of_r = _known(cotangents, (q, r))
        inner = multiply(r, adjoint(of_r)) + -multiply(adjoint(of_q), q)
        copied = lower_triangle(inner) + adjoint(strictly_lower(inner))
        return [_divided(of_q + multiply(q, copied), adjoint(r), triangle="lower")]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        q, r = self.same(node)
        change = _divided(tangents[0], r, triangle="upper")
        inner = multiply(adjoint(q), change)
        below = strictly_lower(inner)
        turn = below - adjoint(below)
        return [change + multiply(q, turn - inner), multiply(inner - turn, r)]


def _divided(x: Node, triangular: Node, triangle: str) -> Node:
    """x times the inverse of a triangular matrix (whose adjoint is of the other triangle)."""
    solve = SolveTriangular(triangle == "lower")
    return adjoint(solve(adjoint(triangular), adjoint(x)))


@dataclass(frozen=True)
class LU(Factorization):
    """Packed triangles, pivots and the permutation with ``a = (L U)[permutation]``."""

    outputs = 3

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        *lead, m, n = shape
        return (shape, dtype), ((*lead, min(m, n)), dt.uint32), ((*lead, m), dt.uint32)

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        packed, pivots = lapack().lu_factor(matrix, check_finite=False)
        rows = np.arange(matrix.shape[0])
        for i, p in enumerate(pivots):
            rows[[i, p]] = rows[[p, i]]
        return packed, pivots, np.argsort(rows)

    def _square(self, node: Node) -> list[Node]:
        m, n = node.inputs[0].shape[-2:]
        if m != n:
            raise ValueError(f"[LU] has derivatives for square matrices only, not ({m}, {n}).")
        return self.same(node)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        packed, _, permutation = self._square(node)
        if cotangents[0] is None:
            return [None]
        below = strictly_lower(packed) + identity_like(packed)
        inner = strictly_lower(multiply(adjoint(below), strictly_lower(cotangents[0])))
        inner = inner + upper_triangle(
            multiply(upper_triangle(cotangents[0]), adjoint(upper_triangle(packed)))
        )
        inner = _divided(inner, adjoint(upper_triangle(packed)), triangle="lower")
        out = SolveTriangular(True)(adjoint(below), inner)
        return [_rows(out, permutation)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        packed, _, permutation = self._square(node)
        below, above = _triangles(packed)
        order = _inverse_permutation(permutation)
        inner = SolveTriangular(False)(below, _rows(tangents[0], order))
        inner = _divided(inner, upper_triangle(packed), triangle="upper")
        change = multiply(below, strictly_lower(inner)) + multiply(
            upper_triangle(inner), upper_triangle(packed)
        )
        return [change, None, None]


def _triangles(packed: Node) -> tuple[Node, Node]:
    return strictly_lower(packed) + identity_like(packed), upper_triangle(packed)


def _rows(x: Node, order: Node) -> Node:
    """Rows in another order."""
    batch = x.ndim - 2
    return Gather((batch,), batch=batch)(x, order)


def _inverse_permutation(order: Node) -> Node:
    return ArgSort(order.ndim - 1)(order)


@dataclass(frozen=True)
class Eigh(Factorization):
    """Eigenvalues (ascending) and eigenvectors of Hermitian matrices, given by one triangle."""

    outputs = 2
    lower: bool

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        return (shape[:-1], dt.real_of(dtype)), (shape, dtype)

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        return lapack().eigh(matrix, lower=self.lower)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        values, vectors = self.same(node)
        of_values, of_vectors = _known(cotangents, (values, vectors))
        turn = multiply(adjoint(vectors), of_vectors)
        inner = scale_columns(identity_like(vectors), of_values)
        inner = inner + turn * cast(gaps(values), turn.dtype)
        return [hermitian(multiply(vectors, inner, adjoint(vectors)))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        values, vectors = self.same(node)
        inner = multiply(adjoint(vectors), hermitian(tangents[0]), vectors)
        turn = inner * cast(gaps(values), inner.dtype)
        return [real_part(diagonal(inner)), multiply(vectors, turn)]


@dataclass(frozen=True)
class Eig(Factorization):
    """Eigenvalues and right eigenvectors of unit length of any square matrices."""

    outputs = 2

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        return (shape[:-1], dt.complex64), (shape, dt.complex64)

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        return lapack().eig(matrix)

    def _inverse(self, node: Node) -> tuple[Node, Node]:
        _, vectors = self.same(node)
        return vectors, Inverse()(vectors)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        if cotangents[1] is not None:
            raise ValueError("[Eig] Eigenvectors have no derivative (their phase is arbitrary).")
        vectors, inverse = self._inverse(node)
        out = multiply(scale_columns(adjoint(inverse), cotangents[0]), adjoint(vectors))
        return [cast(out, node.inputs[0].dtype)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        vectors, inverse = self._inverse(node)
        return [diagonal(multiply(inverse, cast(tangents[0], dt.complex64), vectors)), None]


@dataclass(frozen=True)
class SVD(Factorization):
    """U, singular values (descending) and the adjoint of V; ``full`` completes the bases."""

    outputs = 3
    full: bool

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        *lead, m, n = shape
        k = min(m, n)
        left, right = (m, n) if self.full else (k, k)
        return (
            ((*lead, m, left), dtype),
            ((*lead, k), dt.real_of(dtype)),
            ((*lead, right, n), dtype),
        )

    def factor(self, matrix: np.ndarray) -> tuple[Any, ...]:
        return lapack().svd(matrix, full_matrices=self.full)

    def _thin(self, node: Node) -> list[Node]:
        return outputs(SVD(False), *node.inputs)

    def _check(self, node: Node) -> None:
        m, n = node.inputs[0].shape[-2:]
        if (self.full and m != n) or node.inputs[0].dtype.is_complex:
            raise ValueError(
                "[SVD] Singular vectors have derivatives for real square matrices only, not "
                f"for {node.inputs[0].dtype.name} ({m}, {n}); pinv and norm do without."
            )

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        u, sizes, vh = self._thin(node)
        of_u, of_sizes, of_vh = cotangents
        if of_u is None and of_vh is None:
            return [multiply(scale_columns(u, of_sizes), vh)]
        self._check(node)
        of_u, of_sizes, of_vh = _known(cotangents, (u, sizes, vh))
        v, of_v = adjoint(vh), adjoint(of_vh)
        gap, inverse = gaps(sizes * sizes), 1 / sizes
        of_left, of_right = multiply(adjoint(u), of_u), multiply(vh, of_v)
        inner = scale_columns(gap * (of_left - adjoint(of_left)), sizes)
        inner = inner + scale_rows(gap * (of_right - adjoint(of_right)), sizes)
        inner = inner + scale_columns(identity_like(inner), of_sizes)
        out = multiply(u, inner, vh)
        rest_u = scale_columns(of_u - multiply(u, of_left), inverse)
        rest_v = scale_columns(of_v - multiply(v, of_right), inverse)
        return [out + multiply(rest_u, vh) + multiply(u, adjoint(rest_v))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        u, sizes, vh = self._thin(node)
        v, change = adjoint(vh), tangents[0]
        inner = multiply(adjoint(u), change, v)
        of_sizes = real_part(diagonal(inner))
        m, n = node.inputs[0].shape[-2:]
        if (self.full and m != n) or inner.dtype.is_complex:
            return [None, of_sizes, None]
        gap, inverse = gaps(sizes * sizes), 1 / sizes
        back = adjoint(inner)
        turn_u = gap * (scale_columns(inner, sizes) + scale_rows(back, sizes))
        turn_v = gap * (scale_rows(inner, sizes) + scale_columns(back, sizes))
        rest_u = multiply(change, v) - multiply(u, inner)
        rest_v = multiply(adjoint(change), u) - multiply(v, back)
        of_u = multiply(u, turn_u) + scale_columns(rest_u, inverse)
        of_v = multiply(v, turn_v) + scale_columns(rest_v, inverse)
        return [of_u, of_sizes, adjoint(of_v)]
