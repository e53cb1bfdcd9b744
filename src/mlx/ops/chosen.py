"""Products of chosen, segmented or masked matrices.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import promote
from mlx.graph.node import Node
from mlx.ops.operands import array_node, broadcast_shape, fitted
from mlx.ops.products import product
from mlx.ops.shape import narrow
from mlx.primitives.base import iota
from mlx.primitives.bitwise import BitwiseAnd
from mlx.primitives.chosen import ChosenMatMul
from mlx.primitives.elementwise import GreaterEqual, Less, cast, where
from mlx.primitives.indexing import Gather
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import reshape


def _operands(name: str, a: array, b: array) -> tuple[Node, Node]:
    x, y = array_node(name, a), array_node(name, b)
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError(f"[{name}] Needs at least 2 dimensions, got {x.shape} and {y.shape}.")
    dtype = promote(x.dtype, y.dtype)
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"[{name}] Inner dimensions of {x.shape} and {y.shape} differ.")
    return cast(x, dtype), cast(y, dtype)


def gather_mm(
    a: array,
    b: array,
    /,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """Products of chosen matrices: ``a[lhs_indices] @ b[rhs_indices]``.

    Indices count the matrices of the flattened batch axes and broadcast against each other;
    by default they run over all of them.  A vector counts as a row on the left and as a column
    on the right.  Rows are ordered by their matrix in any case: the hint ``sorted_indices``
    changes nothing.

    >>> a, b = mx.ones((3, 2, 4)), mx.ones((5, 4, 2))
    >>> mx.gather_mm(a, b, mx.array([0, 2]), mx.array([1, 4])).shape
    (2, 2, 2)
    """
    first, second = array_node("gather_mm", a), array_node("gather_mm", b)
    row, column = first.ndim == 1, second.ndim == 1
    first = reshape(first, (1, *first.shape)) if row else first
    second = reshape(second, (*second.shape, 1)) if column else second
    x, y = _operands("gather_mm", wrap(first), wrap(second))
    left, right = batch_index("gather_mm", lhs_indices), batch_index("gather_mm", rhs_indices)
    shape = index_shape((x, left), (y, right))
    x = chosen(x, left, shape)
    if right is None:
        out = product(x, chosen(y, right, shape))
    else:
        out = product_with_chosen(x, y, fitted(right, shape, right.dtype))
    kept = (() if row else (out.shape[-2],)) + (() if column else (out.shape[-1],))
    return wrap(reshape(out, out.shape[:-2] + kept) if row or column else out)


def product_with_chosen(x: Node, y: Node, index: Node) -> Node:
    """x[..., m, k] times the matrices of y at index[...]."""
    if not x.size or not y.size or x.dtype is dt.bool_:
        return product(x, chosen(y, index, index.shape))
    k, (rows, n) = x.shape[-1], (x.shape[-2], y.shape[-1])
    matrices = reshape(y, (y.size // (k * n), k, n))
    at = checked(index, matrices.shape[0])
    out = ChosenMatMul()(reshape(x, (x.size // k, k)), matrices, at)
    return reshape(out, (*index.shape, rows, n))


def checked(index: Node, size: int) -> Node:
    """Flat indices, counted from the front; one that is out of bounds is an IndexError."""
    return Gather((0,))(iota((size,), 0, dt.int32), reshape(index, (index.size,)))


def batch_index(name: str, indices: array | None) -> Node | None:
    """Indices of matrices; without, all are meant."""
    if indices is None:
        return None
    node = array_node(name, indices)
    if not node.dtype.is_integer:
        raise ValueError(f"[{name}] Indices must be integers, got {node.dtype.name}.")
    return node


def index_shape(*pairs: tuple[Node, Node | None]) -> tuple[int, ...]:
    """What indices of matrices broadcast to."""
    return broadcast_shape(*(x.shape[:-2] if i is None else i.shape for x, i in pairs))


def chosen(x: Node, index: Node | None, shape: tuple[int, ...]) -> Node:
    """Matrices of flattened batch axes by index, for each of ``shape``."""
    if index is None:
        return fitted(x, (*shape, *x.shape[-2:]), x.dtype)
    index = fitted(index, shape, index.dtype)
    return Gather((0,))(reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:])), index)


def segmented_mm(a: array, b: array, /, segments: array, *, stream: Any = None) -> array:
    """Products over slices of the inner axis, one for each (start, stop) in ``segments``.

    >>> mx.segmented_mm(mx.ones((1, 4)), mx.ones((4, 1)), mx.array([[0, 1], [1, 4]])).tolist()
    [[[1.0]], [[3.0]]]
    """
    x, y = _operands("segmented_mm", a, b)
    bounds = array_node("segmented_mm", segments)
    if x.ndim != 2 or y.ndim != 2 or bounds.ndim < 1 or bounds.shape[-1] != 2:
        raise ValueError(
            "[segmented_mm] Expected two matrices and segments (..., 2), got "
            f"{x.shape}, {y.shape} and {bounds.shape}."
        )
    lead, last = bounds.shape[:-1], bounds.ndim - 1
    shape = (*lead, *x.shape)
    start, stop = (
        fitted(reshape(narrow(bounds, last, i, i + 1), (*lead, 1, 1)), shape, bounds.dtype)
        for i in (0, 1)
    )
    at = iota(shape, len(shape) - 1, bounds.dtype)
    inside = BitwiseAnd()(GreaterEqual()(at, start), Less()(at, stop))
    left = where(inside, fitted(x, shape, x.dtype), 0)
    return wrap(product(left, y))


def block_masked_mm(
    a: array,
    b: array,
    /,
    block_size: int = 64,
    mask_out: array | None = None,
    mask_lhs: array | None = None,
    mask_rhs: array | None = None,
    *,
    stream: Any = None,
) -> array:
    """A product with masks (bool, or factors) of one element a block of each matrix.

    Raises ValueError for other block sizes than 32 and 64 and masks that do not fit.

    >>> mask = mx.array([[True, False]])
    >>> mx.block_masked_mm(mx.ones((1, 1)), mx.ones((1, 40)), 32, mask_out=mask).sum()
    array(32, dtype=float32)
    """
    if block_size not in (32, 64):
        raise ValueError(f"[block_masked_mm] block_size must be 32 or 64, got {block_size}.")
    x, y = _operands("block_masked_mm", a, b)
    out = product(_masked(x, mask_lhs, block_size), _masked(y, mask_rhs, block_size))
    return wrap(_masked(out, mask_out, block_size))


def _masked(x: Node, mask: array | None, block: int) -> Node:
    if mask is None:
        return x
    node = array_node("block_masked_mm", mask)
    rows, columns = x.shape[-2:]
    blocks = (-(-rows // block), -(-columns // block))
    if node.shape[-2:] != blocks:
        raise ValueError(f"[block_masked_mm] A mask of {x.shape} has shape (..., {blocks}).")
    lead, n = node.shape[:-2], node.ndim
    wide = (*lead, blocks[0], block, blocks[1], block)
    spread = broadcast_axes(node, wide, [*range(n - 1), n])
    spread = reshape(spread, (*lead, blocks[0] * block, blocks[1] * block))
    spread = narrow(narrow(spread, n - 2, 0, rows), n - 1, 0, columns)
    spread = fitted(spread, x.shape, spread.dtype)
    return where(spread, x, 0) if spread.dtype is dt.bool_ else x * cast(spread, x.dtype)
