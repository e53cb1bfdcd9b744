"""Matrix factorizations by LAPACK, with the derivatives of their factors.

The formulas are those of Giles, "Collected matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008).  Matrices that must be Hermitian count as such:
their tangents are made Hermitian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import zeros_like
from mlx.primitives.elementwise import cast
from mlx.primitives.indexing import Gather
from mlx.primitives.library import Library, Types, outputs
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
    strictly_lower,
    upper_triangle,
)
from mlx.primitives.ordering import ArgSort
from mlx.primitives.solvers import SolveTriangular


def known(values: Sequence[Node | None], like: Sequence[Node]) -> list[Node]:
    """Cotangents with zeros for those that are missing."""
    return [zeros_like(x) if v is None else v for v, x in zip(values, like, strict=True)]


class Factorization(Library):
    """Several outputs of one matrix; ``types(x)`` says them."""

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        raise TypeError(f"[{self.name}] declares no types.")

    def infer(self, x: Node) -> tuple[Any, None]:  # type: ignore[override]
        return self.types(x.shape, x.dtype), None

    def same(self, node: Node) -> list[Node]:
        """Its outputs, of the input of ``node``."""
        return outputs(self, *node.inputs)


@dataclass(frozen=True)
class Cholesky(Library):
    """The lower triangular factor of Hermitian positive definite matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

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

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        q, r = self.same(node)
        of_q, of_r = known(cotangents, (q, r))
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

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        values, vectors = self.same(node)
        of_values, of_vectors = known(cotangents, (values, vectors))
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
class Eigvalsh(Library):
    """The eigenvalues (ascending) of Hermitian matrices, given by one triangle."""

    lower: bool

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape[:-1], dt.real_of(x.dtype)

    def _vectors(self, node: Node) -> Node:
        return outputs(Eigh(self.lower), *node.inputs)[1]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        vectors = self._vectors(node)
        return [hermitian(multiply(scale_columns(vectors, cotangents[0]), adjoint(vectors)))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        vectors = self._vectors(node)
        inner = multiply(adjoint(vectors), hermitian(tangents[0]), vectors)
        return [real_part(diagonal(inner))]
