"""The contraction family: matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.elementwise import Conjugate
from mlx.primitives.views import transpose


@dataclass(frozen=True)
class MatMul(Primitive):
    """``a[..., m, k] @ b[..., k, n]`` with equal leading (batch) axes and dtypes."""

    family = "contraction"
    shared = True

    def infer(self, a: Node, b: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        if a.dtype is not b.dtype or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"[matmul] operands do not fit: {[a, b]}.")
        return (*a.shape[:-1], b.shape[-1]), a.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        a, b = node.inputs
        (cotangent,) = cotangents
        for_a = self(cotangent, adjoint(b)) if wanted[0] else None
        for_b = self(adjoint(a), cotangent) if wanted[1] else None
        return [for_a, for_b]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        a, b = node.inputs
        left = None if tangents[0] is None else self(tangents[0], b)
        right = None if tangents[1] is None else self(a, tangents[1])
        if left is None or right is None:
            return [right if left is None else left]
        return [left + right]

    def vmap(self, size: int, a: Node, b: Node) -> Node:  # type: ignore[override]
        return self(a, b)


def adjoint(x: Node) -> Node:
    """The last two axes swapped, and conjugated where complex."""
    n = x.ndim
    x = transpose(x, (*range(n - 2), n - 1, n - 2))
    return Conjugate()(x) if x.dtype.is_complex else x
