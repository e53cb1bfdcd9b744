"""Moving blocks between operands and scratch: widen and copy rows, transpose, narrow and store."""

from __future__ import annotations

from mlx.backend.llvm.attention.tile import Tile
from mlx.backend.llvm.gemm.elements import first_lanes, transpose
from mlx.backend.llvm.gemm.pack import whole_or_part
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.memory import store_unit
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import i64
from mlx.base.dtype import dtype_named


def copy_rows(module: Module, tile: Tile, dtype: str, unit: bool) -> str:
    """``void copy(ptr source, i64 row, i64 col, i64 rows, i64 cols, ptr target, i64 pitch)``:
    rows of an operand as accumulators, ``pitch`` bytes apart, zeros up to a whole vector.
    """
    element = tile.loads(dtype)
    name = f"copy_{element.dtype}_{'unit' if unit else 'any'}"
    if not module.has(name):
        params = ["ptr noalias readonly", "i64", "i64", "i64", "i64", "ptr noalias", "i64"]
        f = module.function(name, params, internal=True)
        source, row, col, rows, cols, target, pitch = f.params
        lines = f.loop(i64(0), rows, i64(1), [source, target])
        line, to = lines.values
        loop = f.loop(i64(0), cols, i64(tile.lanes))
        left = f.sub(cols, loop.index)
        here = f.gep(line, f.mul(loop.index, i64(element.size) if unit else col))
        place = f.gep(to, f.mul(loop.index, i64(tile.itemsize)))

        def put(whole: bool) -> None:
            count = None if whole else left
            (value,) = element.along(f, here, col, tile.lanes, count, unit)
            f.store(value, place, tile.itemsize)

        whole_or_part(f, f.icmp("sge", left, i64(tile.lanes)), put)
        f.end_loop(loop)
        f.end_loop(lines, [f.gep(line, row), f.gep(to, pitch)])
        f.ret()
    return name


def turn(module: Module, tile: Tile) -> str:
    """``void turn(ptr source, i64 pitch, i64 rows, i64 cols, ptr target, i64 to_pitch, scale)``:
    the transpose of a block in scratch, times a number; both sides have room for whole vectors.
    """
    name = "turn"
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
        block = [f.load(f.gep(here, f.mul(pitch, i64(n))), tile.type, size) for n in range(lanes)]
        for n, value in enumerate(transpose(f, block)):
            f.store(f.mul(value, factor), f.gep(there, f.mul(to_pitch, i64(n))), size)
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
