"""The contraction family: what a matrix product of packed panels computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.elementwise import Conjugate
from mlx.primitives.reductions import Broadcast
from mlx.primitives.views import reshape, transpose


class Contraction(Primitive):
    """Sums of products of two operands; what follows it may work on tiles of its result."""

    family = "contraction"
    shared = True
    reads_narrow: ClassVar[bool] = False
    """Whether a kernel may read operands as they were before an exact cast."""
    form: ClassVar[str]
    """Which kernels compute it: matrix, convolution or correlation."""

    def tiling(self, node: Node) -> tuple[Shape, tuple[int, ...]]:
        """How the result is made of matrices: another shape of its elements in row-major order,
        and which axes of that are (batch..., row, column)."""
        raise TypeError(f"[{self.name}] declares no tiling.")

    def depth(self, node: Node) -> int:
        """How many products make one element."""
        raise TypeError(f"[{self.name}] declares no depth.")

    def reads(self, position: int, shape: Shape, strides: tuple[int, ...]) -> bool:
        """Whether its kernel takes an operand with these strides where it lies."""
        return True


@dataclass(frozen=True)
class MatMul(Contraction):
    """``a[..., m, k] @ b[..., k, n]`` with equal leading (batch) axes and dtypes."""

    by_types = True
    form = "matrix"
    reads_narrow = True

    def tiling(self, node: Node) -> tuple[Shape, tuple[int, ...]]:
        return node.shape, tuple(range(node.ndim))

    def depth(self, node: Node) -> int:
        return node.inputs[0].shape[-1]

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
        """A matrix that all examples share is multiplied once: by rows of all of them."""
        if a.ndim == 3 and size > 1:
            (_, m, k), n = a.shape, b.shape[-1]
            if (right := _shared(b)) is not None:
                return reshape(self(reshape(a, (size * m, k)), right), (size, m, n))
            if n == 1 and (left := _shared(a)) is not None:
                rows = self(reshape(b, (size, k)), transpose(left, (1, 0)))
                return reshape(rows, (size, m, 1))
        return self(a, b)


def _shared(x: Node) -> Node | None:
    """What is the same for all examples of a batch, as one of them has it; else None."""
    primitive = x.primitive
    if type(primitive) is Broadcast and primitive.axes == tuple(range(1, x.ndim)) and x.inputs:
        source = x.inputs[0]
        return source if source.shape == x.shape[1:] else None
    return None


def adjoint(x: Node) -> Node:
    """The last two axes swapped, and conjugated where complex."""
    n = x.ndim
    x = transpose(x, (*range(n - 2), n - 1, n - 2))
    return Conjugate()(x) if x.dtype.is_complex else x
