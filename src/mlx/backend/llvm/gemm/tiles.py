"""From tiles of sums to results: straight from the micro-kernel's registers, or by the epilogue."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes
from mlx.backend.llvm.gemm.micro import micro_kernel
from mlx.backend.llvm.gemm.narrow import narrower
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, i64, vector


class Tiles:
    """What a kernel does with the tiles of its block."""

    spec: Any
    module: Module
    kernel: Kernel
    f: Function
    tile: Tile
    a: Element
    a_format: str

    def has_height(self, height: Value) -> Value:
        """Whether some full-width micro-kernel has exactly this height."""
        f, fits = self.f, Value("false", "i1")
        for rows, vectors in self.tile.variants:
            if vectors == self.tile.vectors:
                fits = f.op("or", fits, f.icmp("eq", height, i64(rows)))
        return fits

    def multiply(
        self, operands: list[Value], c_tile: Value, context: Any,
        at: tuple[Value, Value], size: tuple[Value, Value], chain: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """One tile of C over one block of k, and on the last block what becomes of it.

        ``operands``: those of the micro-kernel up to the depth; ``chain``: whether C holds sums
        of earlier blocks, and whether this is the last one.
        """
        more, last = chain
        dtype, to, pitch, finish = self._target(context, at, size, last)
        self._run_micro(dtype, size, [*operands, c_tile, more, to, pitch, *size])
        if finish is not None:
            self._finish(finish, context, c_tile, at, size)

    def _target(
        self, context: Any, at: tuple[Value, Value], size: tuple[Value, Value], last: Value
    ) -> tuple[str, Value, Value, Value | None]:
        """The dtype of the result, where sums go to (null: they stay), its pitch, and whether the
        tile then waits for the epilogue (None: never)."""
        f, tile, accumulate = self.f, self.tile, self.spec.accumulate
        stay, pitch = Value("null", "ptr"), i64(tile.cols * tile.itemsize)
        find = getattr(self.spec.epilogue, "destination", None)
        dtypes = (accumulate, *(() if tile.amx else narrower(accumulate)))
        places = ((d, find(self.kernel, context, d)) for d in dtypes if find is not None)
        dtype, place = next((found for found in places if found[1]), (accumulate, None))
        if place is None:
            return accumulate, stay, pitch, last
        there, far = place
        itemsize = SIZES[dtype]
        here = f.gep(f.gep(there, f.mul(at[0], far)), f.mul(at[1], i64(itemsize)))
        if tile.amx:  # stores whole tiles alone
            whole = f.op("and", self.has_height(size[0]), f.icmp("eq", size[1], i64(tile.cols)))
            goes = f.op("and", whole, last)
            finish = f.select(whole, Value("false", "i1"), last)
        else:
            goes, finish = last, None
        return dtype, f.select(goes, here, stay), f.select(goes, far, pitch), finish

    def _run_micro(self, dtype: str, size: tuple[Value, Value], args: list[Value]) -> None:
        """Call the smallest micro-kernel that covers the tile."""
        f, tile, (height, width) = self.f, self.tile, size
        done = f.label("multiplied")
        for rows, vectors in tile.variants:
            name = micro_kernel(self.module, tile, self.a_format, rows, vectors, dtype)
            otherwise = f.label("larger")
            fits = f.icmp("sle", height, i64(rows))
            if vectors < tile.vectors:
                narrow = f.icmp("sle", width, i64(vectors * tile.lanes))
                fits = f.op("and", fits, narrow)
            then = f.label("micro")
            f.branch_if(fits, then, otherwise)
            f.start(then)
            f.call(name, "void", *args)
            f.branch(done)
            f.start(otherwise)
        f.branch(done)
        f.start(done)

    def _finish(
        self, finish: Value, context: Any, c_tile: Value, at: tuple[Value, Value],
        size: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """On the last block of k, hand the tile to the epilogue, row by row."""
        f, tile = self.f, self.tile
        (row0, col0), (height, width) = at, size
        then, done = f.label("finish"), f.label("finished")
        f.branch_if(finish, then, done)
        f.start(then)
        whole = f.sub(width, f.op("urem", width, i64(tile.lanes)))
        left = f.sub(width, whole)
        mask = first_lanes(f, left, tile.lanes)
        row = f.loop(i64(0), height, i64(1), [c_tile])
        (source,) = row.values
        index = f.add(row0, row.index)
        col = f.loop(i64(0), whole, i64(tile.lanes))
        self._store(context, source, col.index, index, col0, None)
        f.end_loop(col)
        edge, after = f.label("edge"), f.label("after")
        f.branch_if(f.icmp("sgt", left, i64(0)), edge, after)
        f.start(edge)
        self._store(context, source, whole, index, col0, mask)
        f.branch(after)
        f.start(after)
        f.end_loop(row, [f.gep(source, i64(tile.cols * tile.itemsize))])
        f.branch(done)
        f.start(done)

    def _store(
        self,
        context: Any,
        source: Value,
        offset: Value,
        row: Value,
        col0: Value,
        mask: Value | None,
    ) -> None:
        f, tile = self.f, self.tile
        type = vector(tile.lanes, self.a.acc)
        here = f.gep(source, f.mul(offset, i64(tile.itemsize)))
        plane = tile.rows * tile.cols * tile.itemsize
        values = [
            f.load(f.gep(here, i64(p * plane)), type, tile.lanes * tile.itemsize)
            for p in range(tile.planes)
        ]
        value = tuple(values) if tile.planes == 2 else values[0]
        self.spec.epilogue.store(self.kernel, context, value, row, f.add(col0, offset), mask)
