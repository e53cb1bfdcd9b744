"""Packing: one block of an operand, widened, into the panels that the micro-kernel reads.

Columns or rows past the edge of the operand are filled with whatever is at hand: their
products land in parts of a tile that nobody stores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice

from mlx.backend.llvm.gemm.dots import sum_row
from mlx.backend.llvm.gemm.elements import Element, bytes_ahead, prefetch, transpose
from mlx.backend.llvm.gemm.tile import COLUMN, GENERAL, UNIT_ROW, Tile
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, const, i64, vector

_AHEAD = 8  # rows of B that are asked for ahead of their use
_AHEAD_OF_A = 2  # rows of A
_AHEAD_BYTES = 512  # and bytes along its columns


def pack_a(module: Module, tile: Tile, element: Element, layout: str) -> str:
    """``void pack(ptr source, i64 stride, i64 k_stride, i64 rows, i64 depth, ptr target)``.

    ``stride`` is the bytes between rows; returns the function's name.
    """
    name = f"pack_a_{tile.identity}_{element.name}_{layout}"
    params = ["ptr noalias readonly", "i64", "i64", "i64", "i64", "ptr noalias"]
    write = partial(_a_rows, tile, element, layout)
    if layout == UNIT_ROW:
        is_copied = tile.a_format(layout) == COLUMN
        write = partial(_a_columns if is_copied else _a_turned, tile, element)
    module.routine(name, params, write)
    return name


def _a_rows(tile: Tile, element: Element, layout: str, f: Function) -> None:
    """Copy row by row to a constant pitch."""
    source, stride, k_stride, rows, depth, target = f.params
    lanes, size, step = tile.lanes, tile.itemsize, element.step
    row = f.loop(i64(0), rows, i64(1), [source, target])
    source, target = row.values
    k = f.loop(i64(0), depth, i64(lanes * step))
    left = f.sub(depth, k.index)
    here = f.gep(source, f.mul(k.index, k_stride))
    to = f.gep(target, f.mul(f.op("udiv", k.index, i64(step)), i64(size)))
    if layout != GENERAL:
        prefetch(f, f.gep(here, f.mul(stride, i64(_AHEAD_OF_A))), locality=2)

    def put(whole: bool) -> None:
        count = None if whole else left
        planes = element.along(f, here, k_stride, lanes, count, layout != GENERAL)
        for plane, value in enumerate(planes):
            f.store(value, f.gep(to, i64(plane * (tile.row_pitch // tile.planes) * size)), size)

    whole_or_part(f, f.icmp("sge", left, i64(lanes * step)), put)
    f.end_loop(k)
    f.end_loop(row, [f.gep(source, stride), f.gep(target, i64(tile.row_pitch * size))])
    _correct(f, tile)
    f.ret()


def _correct(f: Function, tile: Tile) -> None:
    """Behind each packed row of A, what makes up for flipped bits of B (see ``dots``)."""
    if tile.dots is None or not tile.dots.correct:
        return
    rows, depth, target = f.params[3:]
    steps = f.op("udiv", f.add(depth, i64(tile.step - 1)), i64(tile.step))
    row = f.loop(i64(0), rows, i64(1), [target])
    (start,) = row.values
    total = sum_row(f, tile.dots, start, steps, tile.lanes)
    f.store(total, f.gep(start, i64(tile.correction)), 4)
    f.end_loop(row, [f.gep(start, i64(tile.row_pitch * tile.itemsize))])


def _a_columns(tile: Tile, element: Element, f: Function) -> None:
    """Copy runs of ``tile.rows`` neighbouring rows, k by k, into every panel.

    Whole vectors are stored: what is too much is overwritten by the next k.
    """
    source, stride, k_stride, rows, depth, target = f.params
    lanes, size = tile.lanes, tile.itemsize
    k = f.loop(i64(0), depth, i64(element.step), [source, target])
    source, target = k.values
    panel = f.loop(i64(0), rows, i64(tile.rows), [target])
    (to,) = panel.values
    left = f.sub(rows, panel.index)
    count = f.min(left, i64(tile.rows))
    starts = range(0, tile.rows, lanes)

    def put(whole: bool) -> None:
        runs = []
        for start in starts:
            at = f.mul(f.add(panel.index, i64(start)), i64(element.size))
            there = None if whole else f.sub(count, i64(start))
            runs.append(
                element.across(f, f.gep(source, at), stride, k_stride, lanes, there,
                               f.sub(depth, k.index), True)
            )  # fmt: skip
        for plane in range(tile.planes):
            for position, run in enumerate(runs):
                offset = (plane * tile.rows + position * lanes) * size
                f.store(run[plane], f.gep(to, i64(offset)), size)

    whole_or_part(f, f.icmp("sge", left, i64(len(starts) * lanes)), put)
    f.end_loop(panel, [f.gep(to, i64(tile.a_panel * size))])
    step = tile.rows * tile.planes * size
    following = f.gep(source, f.mul(k_stride, i64(element.step)))
    f.end_loop(k, [following, f.gep(target, i64(step))])
    f.ret()


def _a_turned(tile: Tile, element: Element, f: Function) -> None:
    """A^T lies row-major, A is packed row by row: square blocks are turned in registers."""
    source, stride, k_stride, rows, depth, target = f.params
    lanes, size, step = tile.lanes, tile.itemsize, element.step
    row = f.loop(i64(0), rows, i64(lanes), [source, target])
    source, target = row.values
    height = f.sub(rows, row.index)
    k = f.loop(i64(0), depth, i64(lanes * step))
    here = f.gep(source, f.mul(k.index, k_stride))
    ahead = [f.sub(f.sub(depth, k.index), i64(n * step)) for n in range(lanes)]

    def load(whole: bool) -> list[list[Value]]:
        return [
            element.across(
                f, f.gep(here, f.mul(k_stride, i64(n * step))), stride, k_stride, lanes,
                None if whole else f.select(f.icmp("sgt", left, i64(0)), height, i64(0)),
                left, True,
            )
            for n, left in enumerate(ahead)
        ]  # fmt: skip

    deep = f.icmp("sge", ahead[0], i64(lanes * step))
    runs = _either(f, f.op("and", deep, f.icmp("sge", height, i64(lanes))), load)
    to = f.gep(target, f.mul(f.op("udiv", k.index, i64(step)), i64(size)))
    for n, value in enumerate(transpose(f, [run[0] for run in runs])):
        f.store(value, f.gep(to, i64(n * tile.row_pitch * size)), size)
    f.end_loop(k)
    moved = [f.gep(source, f.mul(stride, i64(lanes))), i64(lanes * tile.row_pitch * size)]
    f.end_loop(row, [moved[0], f.gep(target, moved[1])])
    _correct(f, tile)
    f.ret()


def pack_b(module: Module, tile: Tile, element: Element, layout: str) -> str:
    """``void pack(ptr source, i64 stride, i64 k_stride, i64 cols, i64 depth, ptr target,
    i64 panel)``; ``stride`` is the bytes between columns, ``panel`` those between panels.
    """
    name = f"pack_b_{tile.identity}_{element.name}_{layout}"
    params = ["ptr noalias readonly", "i64", "i64", "i64", "i64", "ptr noalias", "i64"]
    write = _b_transposed if layout == UNIT_ROW else _b_rows
    module.routine(name, params, partial(write, tile, element, layout))
    return name


def whole_or_part(f: Function, whole: Value, emit: Callable[[bool], None]) -> None:
    """Emit both cases: the common one without masks, the one at the edge with."""
    f.where(whole, lambda: emit(True), lambda: emit(False))


def _b_rows(tile: Tile, element: Element, layout: str, f: Function) -> None:
    source, stride, k_stride, cols, depth, target, pitch = f.params
    lanes, size = tile.lanes, tile.itemsize
    k = f.loop(i64(0), depth, i64(element.step), [source, target])
    source, target = k.values
    panel = f.loop(i64(0), cols, i64(tile.cols), [target])
    (to,) = panel.values
    left = f.sub(cols, panel.index)

    def put(whole: bool) -> None:
        for v in range(tile.vectors):
            at = f.add(panel.index, i64(v * lanes))
            here = f.gep(source, f.mul(at, stride))
            if layout != GENERAL:
                prefetch(f, f.gep(here, f.mul(k_stride, i64(_AHEAD))), locality=2)
            count = None if whole else f.sub(left, i64(v * lanes))
            planes = element.across(f, here, stride, k_stride, lanes, count,
                                    f.sub(depth, k.index), layout != GENERAL)  # fmt: skip
            for plane, value in enumerate(planes):
                f.store(value, f.gep(to, i64((plane * tile.cols + v * lanes) * size)), size)

    whole_or_part(f, f.icmp("sge", left, i64(tile.cols)), put)
    f.end_loop(panel, [f.gep(to, pitch)])
    following = f.gep(source, f.mul(k_stride, i64(element.step)))
    _, end = f.end_loop(k, [following, f.gep(target, i64(tile.b_row))])
    if tile.amx:
        _clear_behind(f, tile, element, end)
    f.ret()


def _clear_behind(f: Function, tile: Tile, element: Element, end: Value) -> None:
    """Zeros in the panels from their ``end`` up to a whole tile's depth."""
    cols, depth, pitch = f.params[3], f.params[4], f.params[6]
    steps = f.op("udiv", f.add(depth, i64(element.step - 1)), i64(element.step))
    behind = f.op("and", f.sub(i64(0), steps), i64(tile.lanes - 1))
    row = f.loop(i64(0), behind, i64(1), [end])
    (target,) = row.values
    panel = f.loop(i64(0), cols, i64(tile.cols), [target])
    (to,) = panel.values
    zero = const(vector(tile.lanes, "i32"), 0)
    for v in range(tile.b_planes * tile.vectors):
        f.store(zero, f.gep(to, i64(v * tile.vector_bytes)), tile.itemsize)
    f.end_loop(panel, [f.gep(to, pitch)])
    f.end_loop(row, [f.gep(target, i64(tile.b_row))])


def _b_transposed(tile: Tile, element: Element, layout: str, f: Function) -> None:
    """B^T lies row-major: square blocks are turned in registers."""
    source, stride, k_stride, cols, depth, target, pitch = f.params
    lanes, size, step = tile.lanes, tile.itemsize, element.step
    last = f.sub(cols, i64(1))
    block = f.loop(i64(0), cols, i64(lanes))
    panel = f.op("udiv", block.index, i64(tile.cols))
    inside = f.op("urem", block.index, i64(tile.cols))
    to = f.gep(f.gep(target, f.mul(panel, pitch)), f.mul(inside, i64(size)))
    columns = [
        f.gep(source, f.mul(f.min(f.add(block.index, i64(i)), last), stride)) for i in range(lanes)
    ]
    k = f.loop(i64(0), depth, i64(lanes * step))
    left = f.sub(depth, k.index)
    offset = f.mul(k.index, i64(element.size))

    addresses = [f.gep(c, offset) for c in columns]
    length, jump = f.mul(depth, i64(element.size)), f.mul(stride, i64(lanes))
    ahead = bytes_ahead(f, offset, length, _AHEAD_BYTES, jump)
    for address in addresses:
        prefetch(f, f.gep(address, ahead), locality=2)
    runs = _load_columns(f, tile, element, addresses, k_stride, left)
    row = f.gep(to, f.mul(f.op("udiv", k.index, i64(step)), i64(tile.b_row)))
    for plane in range(tile.b_planes):
        turned = transpose(f, [run[plane] for run in runs])
        for n, value in enumerate(turned):
            at = n * tile.b_row + plane * tile.cols * size
            f.store(value, f.gep(row, i64(at)), size)
    f.end_loop(k)
    f.end_loop(block)
    f.ret()


def _load_columns(
    f: Function,
    tile: Tile,
    element: Element,
    addresses: list[Value],
    k_stride: Value,
    left: Value,
) -> list[list[Value]]:
    """A run from each address: of all lanes, or of the ``left`` ones that are there."""

    def load(whole: bool) -> list[list[Value]]:
        count = None if whole else left
        return [element.along(f, a, k_stride, tile.lanes, count, True) for a in addresses]

    return _either(f, f.icmp("sge", left, i64(tile.lanes * element.step)), load)


def _either(
    f: Function, whole: Value, load: Callable[[bool], list[list[Value]]]
) -> list[list[Value]]:
    """What ``load`` gives in the common case or at the edge (see ``whole_or_part``)."""
    lengths: list[int] = []

    def flat(all_of_it: bool) -> list[Value]:
        runs = load(all_of_it)
        lengths[:] = map(len, runs)
        return [value for run in runs for value in run]

    values = iter(f.either(whole, lambda: flat(True), lambda: flat(False)))
    return [list(islice(values, length)) for length in lengths]
