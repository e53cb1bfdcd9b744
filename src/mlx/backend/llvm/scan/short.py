"""Scans of many short rows: vectors of neighbours, whatever rows they belong to.

A block is as many vectors as a row has elements, so that it holds whole rows and each vector's
lanes have the same places in them in every block.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.blocks import Block, BlockScan
from mlx.backend.llvm.scan.common import ScanSpec
from mlx.backend.llvm.values import i64, lane_consts, vector
from mlx.base.frozen import dataclass

MOST = 16
"""Elements of the longest row, all columns counted: it becomes code."""
MANY = 1 << 14
"""Elements from which rows are many."""


@dataclass(frozen=True)
class ShortScanSpec(ScanSpec):
    """Rows of ``size`` places of ``columns`` elements, all side by side, or x one number.

    Consts: elements, elements a task; base and offset of x and of the result.
    """

    size: int = 1
    columns: int = 1

    @property
    def key(self) -> str:
        return f"{super().key} {self.size} {self.columns}"

    def emit(self, module: Module, name: str) -> None:
        ShortScan(self, Kernel(module, name)).emit()


class ShortScan(BlockScan):
    """Emission: rows of a block are scanned by doubling."""

    spec: ShortScanSpec

    def emit(self) -> None:
        k, f, lanes = self.k, self.f, self.e.lanes
        self.row = self.spec.size * self.spec.columns
        count, each = k.const(0), k.const(1)
        pointers = k.pointer(2), k.pointer(4)
        size, known = self.row * lanes, None
        if not self.spec.units[0]:
            one = memory.load_splat(self.e, pointers[0], self.dtype)
            known = [Lane(self.acc, *one.parts)] * self.row
        first = f.mul(k.task, each)
        last = f.min(f.add(first, each), count)
        whole = f.sub(last, f.op("urem", f.sub(last, first), i64(size)))
        for begin, end in ((first, whole), (whole, last)):
            loop = f.loop(begin, end, i64(size))
            left = f.sub(last, loop.index) if begin is whole else None
            masks = left and [
                memory.below(f, f.sub(left, i64(v * lanes)), lanes) for v in range(self.row)
            ]
            source, target = (f.gep(p, self.scaled(loop.index)) for p in pointers)
            x = known or self.load_block(source, self.row, masks)
            self.store_block(self._scanned(x), target, masks, False)
            f.end_loop(loop)
        f.ret()

    def _scanned(self, x: Block) -> Block:
        step = 1
        while step < self.spec.size:
            x = self.combined(self._within(x, step), x)
            step *= 2
        return x if self.spec.primitive.inclusive else self._within(x, 1)

    def _within(self, x: Block, step: int) -> Block:
        """Shifted by places of a row; the first ones of each row take the identity."""
        lanes, size = self.e.lanes, self.spec.size
        out = []
        for v, lane in enumerate(self.shifted(x, step * self.spec.columns)):
            places = [(v * lanes + i) % self.row // self.spec.columns for i in range(lanes)]
            if self.reverse:
                places = [size - 1 - place for place in places]
            inside = lane_consts(vector(lanes, "i1"), [int(p >= step) for p in places])
            out.append(self.kept(lane, inside))
        return out
