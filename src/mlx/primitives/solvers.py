"""Inverses, determinants and solutions of linear systems by LAPACK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.elementwise import Conjugate
from mlx.primitives.library import Library
from mlx.primitives.matrices import adjoint, lower_triangle, multiply, upper_triangle
from mlx.primitives.reductions import Sum, broadcast_axes
from mlx.primitives.views import transpose


@dataclass(frozen=True)
class Inverse(Library):
    """The inverse of square matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

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


@dataclass(frozen=True)
class SolveTriangular(Solver):
    """The solution of triangular systems; the other triangle of a is not read."""

    upper: bool

    def transposed(self) -> Solver:
        return SolveTriangular(not self.upper)

    def structured(self, a: Node) -> Node:
        return upper_triangle(a) if self.upper else lower_triangle(a)


@dataclass(frozen=True)
class Determinant(Library):
    """The determinant of square matrices."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape[:-2], x.dtype

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
