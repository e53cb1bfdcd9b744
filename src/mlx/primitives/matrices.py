"""Matrix algebra on nodes, for the rules of factorizations; leading axes are batches."""

from __future__ import annotations

from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.primitives.base import full_like, iota
from mlx.primitives.complex import Real
from mlx.primitives.contraction import MatMul, adjoint
from mlx.primitives.elementwise import Equal, Less, cast, where
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import Slice, reshape

__all__ = [
    "adjoint", "diagonal", "gaps", "hermitian", "identity_like", "lower_triangle", "multiply",
    "real_part", "scale_columns", "scale_rows", "strictly_lower", "upper_triangle",
]  # fmt: skip


def multiply(*factors: Node) -> Node:
    """The product of matrices, from the left."""
    out = factors[0]
    for factor in factors[1:]:
        out = MatMul()(out, factor)
    return out


def _indices(x: Node) -> tuple[Node, Node]:
    return iota(x.shape, x.ndim - 2, dt.int64), iota(x.shape, x.ndim - 1, dt.int64)


def lower_triangle(x: Node) -> Node:
    """x at and below the diagonal."""
    rows, columns = _indices(x)
    return where(columns <= rows, x, 0)


def strictly_lower(x: Node) -> Node:
    rows, columns = _indices(x)
    return where(Less()(columns, rows), x, 0)


def upper_triangle(x: Node) -> Node:
    """x at and above the diagonal."""
    rows, columns = _indices(x)
    return where(rows <= columns, x, 0)


def identity_like(x: Node) -> Node:
    """Ones on the diagonal of the shape of x."""
    return cast(Equal()(*_indices(x)), x.dtype)


def hermitian(x: Node) -> Node:
    """(x + adjoint of x) / 2."""
    return (x + adjoint(x)) * 0.5


def diagonal(x: Node) -> Node:
    """The diagonal of square matrices: every (n + 1)-th element of the flattened ones."""
    *lead, n, _ = x.shape
    starts, steps = (0,) * x.ndim, (*[1] * len(lead), n + 1)
    return Slice(starts[1:], steps, (*lead, n))(reshape(x, (*lead, n * n)))


def real_part(x: Node) -> Node:
    return Real()(x) if x.dtype.is_complex else x


def scale_columns(x: Node, by: Node) -> Node:
    """Column j times by[j]."""
    kept = [a for a in range(x.ndim) if a != x.ndim - 2]
    return x * broadcast_axes(cast(by, x.dtype), x.shape, kept)


def scale_rows(x: Node, by: Node) -> Node:
    """Row i times by[i]."""
    return x * broadcast_axes(cast(by, x.dtype), x.shape, range(x.ndim - 1))


def gaps(values: Node) -> Node:
    """The matrix 1 / (values[j] - values[i]), 0 on the diagonal and where they are equal."""
    shape = (*values.shape, values.shape[-1])
    lead = range(values.ndim - 1)
    columns = broadcast_axes(values, shape, [*lead, values.ndim])
    rows = broadcast_axes(values, shape, [*lead, values.ndim - 1])
    gap = columns - rows
    same = Equal()(gap, full_like(gap, 0))
    return where(same, 0, 1 / where(same, 1, gap))
