"""Moving blocks between operands and scratch: widen and copy rows, transpose, narrow and store."""

from __future__ import annotations

from collections.abc import Callable

from mlx.backend.llvm.attention.tile import Tile
from mlx.backend.llvm.gemm.elements import first_lanes, transpose
from mlx.backend.llvm.gemm.pack import whole_or_part
from mlx.backend.llvm.gemm.pairs import Pairs
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.memory import store_unit
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, i64, vector
from mlx.base.dtype import dtype_named


def copy_rows(module: Module, tile: Tile, dtype: str, unit: bool, raw: bool = False) -> str:
    """``void copy(ptr source, i64 row, i64 col, i64 rows, i64 cols, ptr target, i64 pitch)``:
    rows of an operand as accumulators, ``pitch`` bytes apart, zeros up to a whole vector.

    ``raw``: as they lie in memory instead, so that two neighbours make a pair.
    """
    element = tile.loads(dtype)
    name = f"copy_{element.dtype}_{'unit' if unit else 'any'}{'_raw' if raw else ''}"

    def load(f: Function, at: Value, col: Value, count: Value | None, _: Value) -> Value:
        if not raw:
            return element.along(f, at, col, tile.lanes, count, unit)[0]
        if unit:
            return element.load_bits(f, at, tile.lanes, count)
        return element.gather_bits(f, at, col, tile.lanes, count or i64(tile.lanes))

    if not module.has(name):
        _emit_rows(module, name, tile, 1, (element.size if unit else 0,
                   element.size if raw else tile.itemsize), load)  # fmt: skip
    return name


def pair_rows(module: Module, tile: Tile, unit: bool) -> str:
    """A function like ``copy_rows``: row n has pairs of bfloat16 from rows 2 n and 2 n + 1.

    A last row without another has zeros beside it.
    """
    element = Pairs("bfloat16", tile.accumulate)
    name = f"pair_{'unit' if unit else 'any'}"

    def load(f: Function, at: Value, col: Value, count: Value | None, left: Value) -> Value:
        row = f.params[1]
        return element.across(f, at, col, row, tile.lanes, count, left, unit)[0]

    if not module.has(name):
        _emit_rows(module, name, tile, 2, (element.size if unit else 0, tile.itemsize), load)
    return name


def _emit_rows(
    module: Module, name: str, tile: Tile, step: int, sizes: tuple[int, int],
    load: Callable[[Function, Value, Value, Value | None, Value], Value],
) -> None:  # fmt: skip
    """A function that makes a row of every ``step`` rows; ``load(f, address, col, count, left)``
    gives a vector, ``left`` being the rows that there are from here on.

    ``sizes``: bytes from one element to the next of the source (0: ``col``) and of the target.
    """
    params = ["ptr noalias readonly", "i64", "i64", "i64", "i64", "ptr noalias", "i64"]
    f = module.function(name, params, internal=True)
    source, row, col, rows, cols, target, pitch = f.params
    lines = f.loop(i64(0), rows, i64(step), [source, target])
    line, to = lines.values
    below = f.sub(rows, lines.index)
    loop = f.loop(i64(0), cols, i64(tile.lanes))
    left = f.sub(cols, loop.index)
    here = f.gep(line, f.mul(loop.index, i64(sizes[0]) if sizes[0] else col))
    place = f.gep(to, f.mul(loop.index, i64(sizes[1])))

    def put(whole: bool) -> None:
        f.store(load(f, here, col, None if whole else left, below), place, sizes[1])

    whole_or_part(f, f.icmp("sge", left, i64(tile.lanes)), put)
    f.end_loop(loop)
    f.end_loop(lines, [f.gep(line, f.mul(row, i64(step))), f.gep(to, pitch)])
    f.ret()


def turn(module: Module, tile: Tile, pairs: bool = False) -> str:
    """``void turn(ptr source, i64 pitch, i64 rows, i64 cols, ptr target, i64 to_pitch, scale)``:
    the transpose of a block in scratch, times a number; both sides have room for whole vectors.

    ``pairs``: of a block of pairs, which are left as they are.
    """
    name = "turn_pairs" if pairs else "turn"
    type = vector(tile.lanes, "i32") if pairs else tile.type
    if not module.has(name):
        params = ["ptr noalias readonly", "i64", "i64", "i64", "ptr noalias", "i64", tile.element]
        f = module.function(name, params, internal=True)
        source, pitch, rows, cols, target, to_pitch, scale = f.params
        lanes, size = tile.lanes, tile.itemsize
        factor = f.splat(scale, lanes)
        row = f.loop(i64(0), rows, i64(lanes))
        col = f.loop(i64(0), cols, i64(lanes))
        here = f.gep(source, f.add(f.mul(row.index, pitch), f.mul(col.index, i64(size))))
        there = f.gep(target, f.add(f.mul(col.index, to_pitch), f.mul(row.index, i64(size))))
        block = [f.load(f.gep(here, f.mul(pitch, i64(n))), type, size) for n in range(lanes)]
        for n, value in enumerate(transpose(f, block)):
            turned = value if pairs else f.mul(value, factor)
            f.store(turned, f.gep(there, f.mul(to_pitch, i64(n))), size)
        f.end_loop(col)
        f.end_loop(row)
        f.ret()
    return name


def store_rows(module: Module, tile: Tile, dtype: str) -> str:
    """``void put(ptr source, i64 pitch, i64 rows, i64 cols, ptr target, i64 row, scale)``: rows
    of accumulators, times a number, as rows of neighbours of a result.
    """
    name = f"store_{dtype}"
    if not module.has(name):
        params = ["ptr noalias readonly", "i64", "i64", "i64", "ptr noalias", "i64", tile.element]
        f = module.function(name, params, internal=True)
        source, pitch, rows, cols, target, row, scale = f.params
        to_dtype, factor = dtype_named(dtype), f.splat(scale, tile.lanes)
        emitter = LaneEmitter(f, tile.lanes)
        lines = f.loop(i64(0), rows, i64(1), [source, target])
        line, to = lines.values
        loop = f.loop(i64(0), cols, i64(tile.lanes))
        left = f.sub(cols, loop.index)
        value = f.load(f.gep(line, f.mul(loop.index, i64(tile.itemsize))), tile.type, tile.itemsize)
        wide = Lane(dtype_named(tile.accumulate), f.mul(value, factor))
        narrow = emitter.cast(wide, to_dtype)
        place = f.gep(to, f.mul(loop.index, i64(to_dtype.size)))

        def put(whole: bool) -> None:
            mask = None if whole else first_lanes(f, left, tile.lanes)
            store_unit(emitter, narrow, place, mask)

        whole_or_part(f, f.icmp("sge", left, i64(tile.lanes)), put)
        f.end_loop(loop)
        f.end_loop(lines, [f.gep(line, pitch), f.gep(to, row)])
        f.ret()
    return name
