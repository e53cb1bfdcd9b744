"""Scans: folds along an axis that keep every intermediate result.

The order of a scan depends on shape and dtype only.  The axis is cut into chunks of 65,536; a
chunk is scanned from the identity, and then the fold of all earlier chunks' totals, in their
order, is combined from the left.  Inside a chunk:

* where the axis is the last one (:class:`RowScanSpec`), blocks of 64 bytes of the accumulator
  are scanned by doubling (element i combines with i - 1, then with i - 2, i - 4, ...;
  Hillis and Steele 1986), and combine from the left with the fold of the earlier blocks;
* elsewhere (:class:`ColumnScanSpec`), one element after the other.

Scans of several operands (linear recurrences) go one element after the other without chunks.
A reversed scan counts blocks and chunks from the end of the axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm import caches
from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.along import Along, View, along, split_rows
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.scan.columns import BLOCK, STRIDED_BLOCK, ColumnScanSpec
from mlx.backend.llvm.scan.common import PART, TOTALS, WHOLE
from mlx.backend.llvm.scan.rows import SUPER, RowScanSpec
from mlx.base.dtype import dtype_named
from mlx.compiler.nest import CHUNK


def plan_scan(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of a scan."""
    (out,) = outputs
    view = along(primitive.axis, [*inputs, out])
    if not view.rows or not view.size:
        return []
    size = dtype_named(out.dtype).size
    if len(inputs) == 1 and view.views[-1].step == size:
        return _rows(primitive, out.dtype, view, scratch, workers)
    if not view.depth:
        view = Along((1,), view.size, tuple(View(v.pointer, (0,), v.step) for v in view.views))
    return _columns(primitive, out.dtype, view, scratch, workers)


def _rows(primitive: Any, dtype: str, view: Along, scratch: Any, workers: int) -> list[Command]:
    rows, size = view.rows, view.size
    acc, width = accumulator(dtype_named(dtype)), dtype_named(dtype).size
    units = tuple(v.step == width for v in view.views)
    chunks = -(-size // CHUNK)
    ends = (size * width, *view.views[-1].strides)
    stream = width == acc.size and _streams(view, width, *ends)

    def spec(mode: str) -> RowScanSpec:
        return RowScanSpec(primitive, dtype, view.depth, units, mode, chunks > 1, stream)

    if chunks == 1 or rows >= 2 * workers or workers == 1:
        each = split_rows(rows, size, workers)
        consts = [rows, each, size, 0, chunks, chunks, *view.consts]
        return [Command(spec(WHOLE), consts, -(-rows // each))]
    totals = scratch(rows * chunks * acc.size)
    before = scratch(rows * -(-chunks // SUPER) * acc.size)
    commands = []
    for first in range(0, chunks, SUPER):
        count = min(SUPER, chunks - first)
        consts = [rows, 1, size, first, count, chunks, *view.consts]
        consts += [*totals.consts, *before.consts]
        commands += [Command(spec(mode), consts, rows * count) for mode in (TOTALS, PART)]
    return commands


def _streams(view: Along, width: int, *offsets: int) -> bool:
    """Whether to write around the caches: a large result, vectors aligned."""
    large = caches.overflows(2 * view.rows * view.size * width)
    return large and all(o % 64 == 0 for o in (view.views[-1].pointer.offset, *offsets))


def _columns(primitive: Any, dtype: str, view: Along, scratch: Any, workers: int) -> list[Command]:
    inner, columns, strides = view.without_last()
    width = dtype_named(dtype).size
    acc = accumulator(dtype_named(dtype))
    units = tuple(s == width for s in strides)
    most = BLOCK if all(units) else STRIDED_BLOCK
    wanted = -(-4 * workers // inner.rows)
    block = min(most, -(-columns // wanted // 64) * 64)
    blocks = -(-columns // block)
    chunk = CHUNK if len(view.views) == 2 else inner.size
    chunks = -(-inner.size // chunk)
    totals = scratch(inner.rows * columns * chunks * acc.size if chunks > 1 else 0)
    each = 2 * BLOCK * acc.size
    consts = [columns, block, blocks, inner.size, chunk, chunks, inner.rows, *inner.consts]
    consts += [*strides, *scratch(each * workers).consts, each, *totals.consts]
    tasks = inner.rows * blocks * chunks
    modes = (TOTALS, PART) if chunks > 1 else (WHOLE,)
    out = inner.views[-1]
    stream = units[-1] and width == acc.size and _streams(view, width, out.step, *out.strides)
    return [
        Command(
            ColumnScanSpec(primitive, dtype, inner.depth, units, mode, stream=stream), consts, tasks
        )
        for mode in modes
    ]
