"""The second kernel of sums that are cut into chunks: add the chunks one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import first_lanes, llvm_type
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.tile import tile_for
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, bits_of, const, element_of, i64, vector

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
