"""The second kernel of sums that are cut into chunks: add the chunks one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.tile import tile_for
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import i64

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
        f, size = kernel.f, SIZES[self.accumulate]
        element = Element(self.accumulate, self.accumulate)
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
            left = f.sub(n, col.index) if begin is whole else None
            mask = None if left is None else first_lanes(f, left, tile.lanes)
            here = f.gep(first, f.mul(col.index, i64(size)))
            sums = element.load_run(f, here, tile.lanes, left)
            loop = f.loop(i64(1), chunks, i64(1), [*sums, f.gep(here, step)])
            *sums, here = loop.values
            more = element.load_run(f, here, tile.lanes, left)
            added = [f.add(s, x) for s, x in zip(sums, more, strict=True)]
            *sums, _ = f.end_loop(loop, [*added, f.gep(here, step)])
            total = tuple(sums) if len(sums) == 2 else sums[0]
            self.epilogue.store(kernel, context, total, row, col.index, mask)
            f.end_loop(col)
        f.ret()
