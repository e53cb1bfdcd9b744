"""The correlation (gradient of the weights): patches are the right operand, positions are summed.

The positions are cut into chunks whose number depends on sizes alone.  Each element of a chunk
is one chain of FMAs; a second kernel adds the chunks one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.convolution.forward import Tiled
from mlx.backend.llvm.convolution.patches import BLOCK
from mlx.backend.llvm.gemm.elements import first_lanes, llvm_type
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.pack import pack_a
from mlx.backend.llvm.gemm.tile import tile_for
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, bits_of, const, element_of, i64, vector

SLOTS = (
    "x_base", "x_offset", "y_base", "y_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "b_scratch", "c_scratch", "c_stride", "m", "mc", "m_blocks", "n_blocks",
    "x_group", "y_group", "y_row", "y_place", "pitch", "places", "chunks", "place",
    "blocks", "k", "kc",
)  # fmt: skip
"""``k`` is the size of a chunk, ``kc`` that of its blocks; ``place`` and ``blocks`` are slots."""


@dataclass(frozen=True)
class CorrelationSpec:
    """A kernel for operands of a dtype, a layout of y as (O, positions), and an epilogue."""

    dtype: str
    layout: str
    accumulate: str
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return f"correlate|{self.dtype}|{self.layout}|{self.accumulate}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        _Correlation(self, module, name).emit()


class _Correlation(Tiled):
    names = SLOTS

    def __init__(self, spec: CorrelationSpec, module: Module, name: str) -> None:
        super().__init__(spec, module, name, tile_for(spec.accumulate).a_format(spec.layout))
        self.pack_a = pack_a(module, self.tile, self.a, spec.layout)

    def emit(self) -> None:
        f = self.f
        scratch, state = self.begin()
        task = self.kernel.task
        parts = []
        for name in ("n_blocks", "m_blocks", "chunks"):
            parts.append(f.op("urem", task, self.slot(name)))
            task = f.op("udiv", task, self.slot(name))
        n_block, m_block, chunk = parts
        index = f.add(f.mul(task, self.slot("chunks")), chunk)
        context = self.spec.epilogue.batch(self.kernel, state, index)
        runs, count, col0, cols = self.entry(self.table("blocks"), n_block, BLOCK)
        runs = f.gep(self.kernel.consts, runs, "i64")
        row0 = f.mul(m_block, self.slot("mc"))
        rows = f.min(f.sub(self.slot("m"), row0), self.slot("mc"))
        x = f.gep(self.address("x"), f.mul(task, self.slot("x_group")))
        y = f.gep(self.address("y"), f.mul(task, self.slot("y_group")))
        y = f.gep(y, f.mul(row0, self.slot("y_row")))
        first = f.mul(chunk, self.slot("k"))
        end = f.min(f.add(first, self.slot("k")), self.slot("places"))
        b = f.gep(scratch, self.slot("b_scratch"))
        at_least_one = f.select(f.icmp("sgt", end, first), end, f.add(first, i64(1)))
        loop = f.loop(first, at_least_one, self.slot("kc"))
        depth = f.min(f.sub(end, loop.index), self.slot("kc"))
        f.call(self.patches, "void", x, self.table("place"), runs, count, loop.index, depth, b,
               self.slot("pitch"))  # fmt: skip
        source = f.gep(y, f.mul(loop.index, self.slot("y_place")))
        f.call(self.pack_a, "void", source, self.slot("y_row"), self.slot("y_place"), rows, depth,
               scratch)  # fmt: skip
        more = f.icmp("ne", loop.index, first)
        last = f.icmp("sge", f.add(loop.index, self.slot("kc")), end)
        block = (row0, rows, col0, cols)
        self._all_tiles(scratch, b, depth, context, block, (more, last))
        f.end_loop(loop)
        f.ret()

    def _all_tiles(
        self, scratch: Value, b: Value, depth: Value, context: Any,
        block: tuple[Value, Value, Value, Value], chain: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """All tiles of the task's block, over one block of positions."""
        f, tile, (row0, rows, col0, cols) = self.f, self.tile, block
        more, last = chain
        left_pitch = i64(tile.row_pitch * tile.itemsize)
        c = f.gep(scratch, self.slot("c_scratch"))
        col = f.loop(i64(0), cols, i64(tile.cols), [b, c])
        right, c_col = col.values
        width = f.min(f.sub(cols, col.index), i64(tile.cols))
        row = f.loop(i64(0), rows, i64(tile.rows), [scratch, c_col])
        left, c_tile = row.values
        height = f.min(f.sub(rows, row.index), i64(tile.rows))
        at = (f.add(row0, row.index), f.add(col0, col.index))
        target, c_pitch, finish = self._target(context, at, height, width, c_tile, last)
        args = [left, left_pitch, right, self.slot("pitch"), depth, target, c_pitch, more]
        self._run_micro(height, width, args)
        self._finish(finish, context, c_tile, at, height, width)
        following = f.gep(left, i64(tile.a_panel * tile.itemsize))
        _, c_col = f.end_loop(row, [following, f.gep(c_tile, self.slot("c_stride"))])
        f.end_loop(col, [f.gep(right, i64(tile.b_row)), c_col])


SUM_SLOTS = ("sums_base", "sums_offset", "chunks", "m", "n", "pitch", "step")


@dataclass(frozen=True)
class ChunkSumSpec:
    """Adds chunks that lie as [group, chunk, row, column]; a task is one row of one group.

    ``pitch`` and ``step`` are the bytes between rows and between chunks.
    """

    accumulate: str
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return f"chunksum|{self.accumulate}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        tile, kernel = tile_for(self.accumulate), Kernel(module, name)
        f, size = kernel.f, tile.itemsize
        type = vector(tile.lanes, llvm_type(self.accumulate))
        chunks, m, n, pitch, step = map(kernel.const, range(2, len(SUM_SLOTS)))
        state = self.epilogue.begin(kernel, len(SUM_SLOTS))
        row = f.op("urem", kernel.task, m)
        group = f.op("udiv", kernel.task, m)
        context = self.epilogue.batch(kernel, state, group)
        first = f.gep(kernel.pointer(0), f.mul(f.mul(group, chunks), step))
        first = f.gep(first, f.mul(row, pitch))
        whole = f.op("and", n, i64(-tile.lanes))
        for begin, end in ((i64(0), whole), (whole, n)):
            col = f.loop(begin, end, i64(tile.lanes))
            mask = None if begin is not whole else first_lanes(f, f.sub(n, col.index), tile.lanes)
            here = f.gep(first, f.mul(col.index, i64(size)))
            total = _load(f, here, type, mask)
            loop = f.loop(i64(1), chunks, i64(1), [total, f.gep(here, step)])
            total, here = loop.values
            added = f.add(total, _load(f, here, type, mask))
            total, _ = f.end_loop(loop, [added, f.gep(here, step)])
            self.epilogue.store(kernel, context, total, row, col.index, mask)
            f.end_loop(col)
        f.ret()


def _load(f: Function, at: Value, type: str, mask: Value | None) -> Value:
    size = bits_of(element_of(type)) // 8
    if mask is None:
        return f.load(at, type, size)
    return f.masked_load(at, type, mask, size, const(type, 0))
