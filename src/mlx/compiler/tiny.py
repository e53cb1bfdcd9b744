"""Many products of tiny matrices, of a tall one with a tiny one, or outer products, as one map.

A tile of a product kernel holds many rows and columns; of a 3 by 3 matrix most of it is empty.
Here a vector runs over the matrices (or rows), and rows, columns and depth become code.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from mlx.compiler.loops import merge_loops
from mlx.compiler.nest import Access, Apply, Dot, Expression, Fold, Load, Nest, Tile
from mlx.compiler.orient import SHORT, without_short_loops
from mlx.compiler.runs import MANY
from mlx.compiler.steps import GemmStep, Strided

_NEAR = 16 << 10
"""Bytes of a right operand that is read again for each row."""


def tiny_product(step: GemmStep) -> Nest | None:
    """The map that computes a contraction, where that is what it is best computed by."""
    *_, rows, columns = step.shape
    if step.primitive.form != "matrix" or not step.a.dtype.is_float:
        return None
    if not 1 <= step.depth <= SHORT or prod(step.shape) * step.depth < MANY:
        return None
    if columns > SHORT and not _streams(step, rows, columns):
        return None
    operands = _operands(step.a, step.depth, -1), _operands(step.b, step.depth, -2)
    nest = _nest(step, [*operands[0], *operands[1]])
    if nest.inner <= SHORT:
        nest = without_short_loops(nest)
    return nest if nest.inner > SHORT else None


def _streams(step: GemmStep, rows: int, columns: int) -> bool:
    """Whether a product with wide rows (an outer product, or the sum of a few) takes as long as
    writing it does: each row of the result reads all of the right operand, which has to lie in the
    first-level cache, and by whole vectors.

    That of one row is summed in another order, unless nothing is summed.
    """
    depth, size = step.depth, step.a.dtype.size
    if depth > 1 and rows == 1:
        return False
    beside = step.b.strides[-1] == 1
    if depth <= 2:  # columns that lie apart are copied first, but only for a large result
        return depth == 1 or beside or prod(step.shape) >= MANY
    return size >= 4 and beside and depth * columns * size <= _NEAR


def _operands(x: Strided, depth: int, along: int) -> list[Access]:
    """An access over [batch..., row, column] for each element along the depth."""
    *batch, _, _ = x.strides
    row, column = (x.strides[-2], 0) if along == -1 else (0, x.strides[-1])
    step = x.strides[along]
    return [
        Access(x.buffer, x.offset + i * step, (*batch, row), column, x.dtype) for i in range(depth)
    ]


def _nest(step: GemmStep, operands: list[Access]) -> Nest:
    """The product and its epilogue over merged loops."""
    accesses = [*step.accesses, *operands]
    first = len(step.accesses)
    dtypes = [step.a.dtype] * step.depth + [step.b.dtype] * step.depth
    loads = [Load(first + i, dtype) for i, dtype in enumerate(dtypes)]
    tile = next(e.dtype for e in step.values if isinstance(e, Tile))
    values: list[Expression] = [*loads, Dot(tuple(range(len(loads))), tile)]
    shift = len(loads)
    at: list[int] = []
    for e in step.values:
        if isinstance(e, Tile):
            at.append(shift)
            continue
        at.append(len(values))
        if isinstance(e, Apply | Fold):
            e = replace(e, operands=tuple(at[o] for o in e.operands))
        values.append(e)
    strides = [[*a.outer, a.inner] for a in accesses]
    loops = merge_loops(list(step.shape), [list(by) for by in zip(*strides, strict=True)])
    merged = [
        Access(a.buffer, a.offset, tuple(by[n] for _, by in loops[:-1]), loops[-1][1][n], a.dtype)
        for n, a in enumerate(accesses)
    ]
    stores = [(at[value], access) for value, access in step.stores]
    outer = tuple(n for n, _ in loops[:-1])
    return Nest(outer, loops[-1][0], values, merged, stores, arguments=step.arguments)
