"""Arg-reductions: where along an axis the extreme element is.

The result does not depend on any order: of equal elements the first counts, and of NaN the
first NaN.  So lanes, chunks and columns may each keep a best of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.along import Along, along, split_rows
from mlx.backend.llvm.argreduce.kernels import (
    BLOCK,
    INDEX,
    ColumnArgSpec,
    CombineArgSpec,
    RowArgSpec,
)
from mlx.backend.llvm.argreduce.short import FEW, RUN, ShortArgSpec
from mlx.base.dtype import dtype_named
from mlx.compiler.orient import MANY

LEAST_CHUNK = 16384


def plan_argreduce(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of ArgMax or ArgMin.  Raises ValueError for an axis without elements."""
    (x,), (out,) = inputs, outputs
    view = along(primitive.axis, [x], [out])
    if not view.rows:
        return []
    if not view.size:
        raise ValueError(f"[{primitive.name}] an axis of size 0 has no extreme; shape {x.shape}.")
    size = dtype_named(x.dtype).size
    if view.views[0].step != size and view.depth:
        inner, columns, strides = view.without_last()
        if strides == (size, INDEX.size):
            return _columns(primitive, x.dtype, inner, columns, out, scratch, workers)
    return _rows(primitive, x.dtype, view, out, scratch, workers)


def _chunks(size: int, tasks: int, workers: int) -> tuple[int, int]:
    """(elements of a chunk, chunks): the axis is divided only where tasks are too few."""
    wanted = -(-4 * workers // tasks)
    chunk = max(LEAST_CHUNK, -(-size // wanted // 64) * 64)
    if tasks >= 2 * workers or workers == 1 or chunk >= size:
        return size, 1
    return chunk, -(-size // chunk)


def _rows(
    primitive: Any, dtype: str, view: Along, out: Operand, scratch: Any, workers: int
) -> list[Command]:
    rows, size = view.rows, view.size
    if size <= FEW and view.depth == 1 and view.views[1].strides == (INDEX.size,):
        each = split_rows(rows, size, workers)
        consts = [rows, each, size, *(c for v in view.views for c in v.consts)]
        run = _run(view, dtype)
        return [Command(ShortArgSpec(primitive, dtype, 1, run=run), consts, -(-rows // each))]
    chunk, chunks = _chunks(size, rows, workers)
    each = 1 if chunks > 1 else split_rows(rows, size, workers)
    unit = view.views[0].step == dtype_named(dtype).size
    spec = RowArgSpec(primitive, dtype, view.depth, chunks > 1, unit)
    consts = [rows, each, size, chunk, chunks, *view.consts]
    commands = [Command(spec, consts, -(-rows // each) * chunks)]
    if chunks > 1:
        commands.append(_combine(primitive, dtype, rows, (chunks, chunks, 1), out, scratch))
        consts += [*commands[-1].consts[5:9], rows]
    return commands


def _run(view: Along, dtype: str) -> int:
    """The size, if many rows of it lie one after the other."""
    width = dtype_named(dtype).size
    (apart,) = view.views[0].strides
    if view.views[0].step != width or apart != view.size * width:
        return 0
    return int(view.size) if view.size <= RUN and view.rows * view.size >= MANY else 0


def _columns(
    primitive: Any,
    dtype: str,
    view: Along,
    columns: int,
    out: Operand,
    scratch: Any,
    workers: int,
) -> list[Command]:
    blocks = -(-columns // BLOCK)
    tasks = view.rows * blocks
    chunk, chunks = _chunks(view.size, tasks, workers)
    spec = ColumnArgSpec(primitive, dtype, view.depth, chunks > 1)
    bytes_each = BLOCK * (dtype_named(dtype).size + INDEX.size)
    consts = [columns, blocks, view.size, chunk, chunks, *view.consts]
    consts += [*scratch(bytes_each * workers).consts, bytes_each]
    commands = [Command(spec, consts, tasks * chunks)]
    if chunks > 1:
        results = view.rows * columns
        commands.append(_combine(primitive, dtype, results, (chunks, 1, results), out, scratch))
        consts += [*commands[-1].consts[5:9], view.rows]
    return commands


def _combine(
    primitive: Any, dtype: str, results: int, parts: tuple[int, ...], out: Operand, scratch: Any
) -> Command:
    """The fold of chunks' bests; ``parts``: how many, and the steps of results and of chunks."""
    chunks = parts[0]
    values = scratch(results * chunks * dtype_named(dtype).size)
    indices = scratch(results * chunks * INDEX.size)
    each = max(1, 4096 // chunks)
    consts = [
        results,
        chunks,
        each,
        *parts[1:],
        *values.consts,
        *indices.consts,
        *out.pointer.consts,
    ]
    spec = CombineArgSpec(primitive, dtype, 0)
    return Command(spec, consts, -(-results // each), "combine")
