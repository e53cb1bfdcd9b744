"""Eigenvalues of any matrices and singular values, with vectors, by LAPACK.

Their vectors have an arbitrary phase, and in null spaces an arbitrary basis; derivatives move
them as little as possible, which is right for every function that does not depend on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.elementwise import Conjugate, cast
from mlx.primitives.factorizations import Factorization, known
from mlx.primitives.library import Library, Types, outputs
from mlx.primitives.matrices import (
    adjoint,
    diagonal,
    gaps,
    identity_like,
    multiply,
    real_part,
    scale_columns,
    scale_rows,
)
from mlx.primitives.solvers import Inverse
from mlx.primitives.views import Concatenate, Slice


@dataclass(frozen=True)
class Eig(Factorization):
    """Eigenvalues and right eigenvectors of unit length of any square matrices."""

    outputs = 2

    def types(self, shape: Shape, dtype: Dtype) -> Types:
        return (shape[:-1], dt.complex64), (shape, dt.complex64)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        values, vectors = self.same(node)
        of_values, of_vectors = known(cotangents, (values, vectors))
        inner = scale_columns(identity_like(vectors), of_values)
        turn = multiply(adjoint(vectors), _sideways(vectors, of_vectors))
        inner = inner + Conjugate()(gaps(values)) * turn
        out = multiply(adjoint(Inverse()(vectors)), inner, adjoint(vectors))
        return [cast(out, node.inputs[0].dtype)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        values, vectors = self.same(node)
        inner = multiply(Inverse()(vectors), cast(tangents[0], dt.complex64), vectors)
        moved = multiply(vectors, gaps(values) * inner)
        return [diagonal(inner), _sideways(vectors, moved)]


def _sideways(vectors: Node, change: Node) -> Node:
    """The part of each column's change that is orthogonal to the column."""
    along = diagonal(multiply(adjoint(vectors), change))
    return change - scale_columns(vectors, along)


@dataclass(frozen=True)
class Eigvals(Library):
    """The eigenvalues of any square matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape[:-1], dt.complex64

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        _, vectors = outputs(Eig(), x)
        inner = multiply(scale_columns(identity_like(vectors), cotangents[0]), adjoint(vectors))
        return [cast(multiply(adjoint(Inverse()(vectors)), inner), x.dtype)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        _, vectors = outputs(Eig(), *node.inputs)
        change = cast(tangents[0], dt.complex64)
        return [diagonal(multiply(Inverse()(vectors), change, vectors))]


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

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        u, sizes, vh = self.same(node)
        of_u, of_sizes, of_vh = known(cotangents, (u, sizes, vh))
        count = sizes.shape[-1]
        u, of_u = _thin(u, of_u, count)
        v, of_v = _thin(adjoint(vh), adjoint(of_vh), count)
        if cotangents[0] is None and cotangents[2] is None:
            return [multiply(scale_columns(u, of_sizes), adjoint(v))]
        gap, inverse = cast(gaps(sizes * sizes), u.dtype), 1 / sizes
        of_left, of_right = multiply(adjoint(u), of_u), multiply(adjoint(v), of_v)
        inner = scale_columns(gap * (of_left - adjoint(of_left)), sizes)
        inner = inner + scale_rows(gap * (of_right - adjoint(of_right)), sizes)
        inner = inner + scale_columns(identity_like(inner), of_sizes) + _phase(of_left, inverse)
        rest_u = scale_columns(of_u - multiply(u, of_left), inverse)
        rest_v = scale_columns(of_v - multiply(v, of_right), inverse)
        out = multiply(u, inner, adjoint(v))
        return [out + multiply(rest_u, adjoint(v)) + multiply(u, adjoint(rest_v))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        all_u, sizes, all_vh = self.same(node)
        all_v, change, count = adjoint(all_vh), tangents[0], sizes.shape[-1]
        u, v = _columns(all_u, 0, count), _columns(all_v, 0, count)
        inner = multiply(adjoint(u), change, v)
        back, inverse = adjoint(inner), 1 / sizes
        gap = cast(gaps(sizes * sizes), inner.dtype)
        turn_u = gap * (scale_columns(inner, sizes) + scale_rows(back, sizes))
        turn_v = gap * (scale_rows(inner, sizes) + scale_columns(back, sizes))
        rest_u = multiply(change, v) - multiply(u, inner)
        rest_v = multiply(adjoint(change), u) - multiply(v, back)
        of_u = multiply(u, turn_u + _phase(inner, inverse)) + scale_columns(rest_u, inverse)
        of_v = multiply(v, turn_v) + scale_columns(rest_v, inverse)
        of_u, of_v = _completed(all_u, of_u), _completed(all_v, of_v)
        return [of_u, real_part(diagonal(inner)), adjoint(of_v)]


def _phase(x: Node, inverse: Node) -> Node:
    """The imaginary diagonal over the singular values: U takes the whole turn of a phase."""
    return scale_columns(identity_like(x) * (x - adjoint(x)) * 0.5, inverse)


def _columns(x: Node, start: int, stop: int) -> Node:
    if (start, stop) == (0, x.shape[-1]):
        return x
    starts = (*[0] * (x.ndim - 1), start)
    return Slice(starts, (1,) * x.ndim, (*x.shape[:-1], stop - start))(x)


def _thin(basis: Node, cotangent: Node, count: int) -> tuple[Node, Node]:
    """The first columns of a basis, and a cotangent of all as one of those."""
    size = basis.shape[-1]
    if size == count:
        return basis, cotangent
    first, rest = _columns(basis, 0, count), _columns(basis, count, size)
    of_first, of_rest = _columns(cotangent, 0, count), _columns(cotangent, count, size)
    return first, of_first - multiply(rest, adjoint(of_rest), first)


def _completed(basis: Node, change: Node) -> Node:
    """The change of a whole basis from that of its first columns: the rest stays orthogonal."""
    count, size = change.shape[-1], basis.shape[-1]
    if size == count:
        return change
    first, rest = _columns(basis, 0, count), _columns(basis, count, size)
    moved = -multiply(first, adjoint(change), rest)
    return Concatenate(basis.ndim - 1)(change, moved)


@dataclass(frozen=True)
class SingularValues(Library):
    """Singular values (descending)."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return (*x.shape[:-2], min(x.shape[-2:])), dt.real_of(x.dtype)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        u, _, vh = outputs(SVD(False), *node.inputs)
        return [multiply(scale_columns(u, cotangents[0]), vh)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        u, _, vh = outputs(SVD(False), *node.inputs)
        return [real_part(diagonal(multiply(adjoint(u), tangents[0], adjoint(vh))))]
