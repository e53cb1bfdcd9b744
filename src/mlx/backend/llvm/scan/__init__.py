"""Scans: folds along an axis that keep every intermediate result.

The order of a scan depends on shape and dtype only.  The axis is cut into chunks of 65,536; a
chunk is scanned from the identity, and then the fold of all earlier chunks' totals, in their
order, is combined from the left.  Inside a chunk:

* where the axis is the last one, or at most ``FEW`` elements lie behind it
  (:class:`RowScanSpec`; many short rows: :class:`ShortScanSpec`), blocks of 64 bytes of the
  accumulator are scanned by doubling (element i combines with i - 1, then with i - 2, i - 4, ...;
  Hillis and Steele 1986), and combine from the left with the fold of the earlier blocks;
* elsewhere (:class:`ColumnScanSpec`), one element after the other.

Scans of several operands (linear recurrences) go one element after the other without chunks
(:class:`LineScanSpec` along the last axis).
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
from mlx.backend.llvm.scan.lines import SIDE, LineScanSpec
from mlx.backend.llvm.scan.rows import SUPER, RowScanSpec
from mlx.backend.llvm.scan.short import MANY, MOST, ShortScanSpec
from mlx.backend.llvm.target import host
from mlx.base.dtype import dtype_named
from mlx.compiler.nest import CHUNK

FEW = 8
"""Columns of a scan by blocks."""


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
        return _by_blocks(primitive, out.dtype, view, 1, scratch, workers)
    if view.views[-1].step == size:
        return _lines(primitive, out.dtype, view, workers)
    if len(inputs) == 1 and view.depth and view.loops[-1] <= _few(out.dtype):
        columns = int(view.loops[-1])
        if view.views[-1].step == columns * size and view.views[-1].strides[-1] == size:
            return _by_blocks(primitive, out.dtype, view, columns, scratch, workers)
    if not view.depth:
        view = Along((1,), view.size, tuple(View(v.pointer, (0,), v.step) for v in view.views))
    return _columns(primitive, out.dtype, view, scratch, workers)


def _few(dtype: str) -> int:
    return min(FEW, 64 // accumulator(dtype_named(dtype)).size)


def _by_blocks(
    primitive: Any, dtype: str, view: Along, columns: int, scratch: Any, workers: int
) -> list[Command]:
    beside = 0
    if columns > 1:
        view, _, (beside, _) = view.without_last()
    width = dtype_named(dtype).size
    dense = view.views[0].step == columns * width and (columns == 1 or beside == width)
    row = view.size * columns
    if row <= MOST and view.rows * row >= MANY and not dtype_named(dtype).is_complex:
        x, out = view.views
        one = not x.step and not beside and not any(x.strides)
        if out.strides == (row * width,) and (one or (dense and x.strides == out.strides)):
            return _short(primitive, dtype, view, (columns, one), workers)
    return _rows(primitive, dtype, view, (columns, beside, dense), scratch, workers)


def _short(
    primitive: Any, dtype: str, view: Along, form: tuple[int, bool], workers: int
) -> list[Command]:
    columns, one = form
    row = view.size * columns
    group = 64 // accumulator(dtype_named(dtype)).size
    each = row * group * split_rows(-(-view.rows // group), row * group, workers)
    consts = [view.rows * row, each, *(c for v in view.views for c in v.pointer.consts)]
    spec = ShortScanSpec(primitive, dtype, 1, (not one, True), size=int(view.size), columns=columns)
    return [Command(spec, consts, -(-(view.rows * row) // each))]


def _rows(
    primitive: Any,
    dtype: str,
    view: Along,
    beside: tuple[int, int, bool],
    scratch: Any,
    workers: int,
) -> list[Command]:
    rows, size = view.rows, view.size
    columns, stride, dense = beside
    acc, width = accumulator(dtype_named(dtype)), dtype_named(dtype).size
    chunks = -(-size // CHUNK)
    ends = (size * columns * width, *view.views[-1].strides)
    stream = width == acc.size and _streams(rows * size * columns * width, view.views[-1], *ends)

    def spec(mode: str) -> RowScanSpec:
        units = (dense, True)
        return RowScanSpec(primitive, dtype, view.depth, units, mode, chunks > 1, stream, columns)

    if chunks == 1 or rows >= 2 * workers or workers == 1:
        each = split_rows(rows, size * columns, workers)
        consts = [rows, each, size, 0, chunks, chunks, stride, *view.consts]
        return [Command(spec(WHOLE), consts, -(-rows // each))]
    totals = scratch(rows * chunks * columns * acc.size)
    before = scratch(rows * -(-chunks // SUPER) * columns * acc.size)
    commands = []
    for first in range(-SUPER, chunks, SUPER):
        count = min(SUPER, chunks - first) if first >= 0 else 0
        following = max(0, min(SUPER, chunks - first - SUPER))
        consts = [rows, following, size, max(first, 0), count, chunks, stride, *view.consts]
        consts += [*totals.consts, *before.consts]
        commands.append(Command(spec(PART), consts, 2 * rows * max(count, following)))
    return commands


def _lines(primitive: Any, dtype: str, view: Along, workers: int) -> list[Command]:
    tiles = -(-view.rows // SIDE)
    each = split_rows(tiles, view.size * SIDE, workers)
    width = dtype_named(dtype).size
    units = tuple(bool(v.step == width) for v in view.views)
    consts = [view.rows, each, view.size, *view.consts]
    return [Command(LineScanSpec(primitive, dtype, view.depth, units), consts, -(-tiles // each))]


def _streams(nbytes: int, result: View, *offsets: int) -> bool:
    """Whether to write around the caches: a large result, vectors aligned."""
    return caches.overflows(2 * nbytes) and all(
        o % 64 == 0 for o in (result.pointer.offset, *offsets)
    )


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
    out, single = inner.views[-1], columns <= host().lanes
    nbytes = view.rows * view.size * width
    stream = units[-1] and width == acc.size and _streams(nbytes, out, out.step, *out.strides)
    return [
        Command(
            ColumnScanSpec(
                primitive, dtype, inner.depth, units, mode, stream=stream, single=bool(single)
            ),
            consts,
            tasks,
        )
        for mode in modes
    ]
