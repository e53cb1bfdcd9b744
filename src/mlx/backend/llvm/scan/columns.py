"""Scans along any axis but the last: vectors across the axis, one element after another."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.common import PART, TOTALS, WHOLE, Scan, ScanSpec
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass

BLOCK, STRIDED_BLOCK = 1024, 64
"""Most columns of a task."""


@dataclass(frozen=True)
class ColumnScanSpec(ScanSpec):
    """Along any axis but the last, vectors along the last of the other loops.

    Consts: columns, columns a block, blocks, size, chunk, chunks, outer rows; operands and
    result along the axis; each one's stride along the columns; base, offset and bytes a worker
    of scratch; base and offset of totals [chunk, row, column].
    """

    def emit(self, module: Module, name: str) -> None:
        ColumnScan(self, Kernel(module, name)).emit()


class ColumnScan(Scan):
    """Emission of one column scan: a row of carries in scratch, and one of offsets."""

    def __init__(self, spec: ColumnScanSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel, 2 * host().lanes)

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        self.columns, block, blocks, size, chunk, chunks, self.rows = (k.const(i) for i in range(7))
        operands = len(spec.units)
        self.code = RowCode(k, 7, spec.depth, operands)
        slot = 7 + self.code.count
        self.strides = [k.const(slot + i) for i in range(operands)]
        slot += operands
        self.carries = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        self.offsets = f.gep(self.carries, i64(BLOCK * self.acc.size))
        self.totals = k.pointer(slot + 3) if spec.mode != WHOLE else None
        rest = f.op("udiv", k.task, chunks)
        self.chunk = f.sub(k.task, f.mul(rest, chunks))
        self.row = f.op("udiv", rest, blocks)
        self.j0 = f.mul(f.sub(rest, f.mul(self.row, blocks)), block)
        self.count = f.min(f.sub(self.columns, self.j0), block)
        self.pointers = [
            f.gep(p, f.mul(self.j0, s))
            for p, s in zip(self.code.row(self.row), self.strides, strict=True)
        ]
        memory.each_vector(self.e, self.count, self._begin)
        k0 = f.mul(self.chunk, chunk)
        loop = f.loop(k0, f.min(f.add(k0, chunk), size), i64(1))
        at = loop.index
        if spec.primitive.reverse:
            at = f.sub(f.sub(size, i64(1)), at)
        rows = [f.gep(p, f.mul(at, s)) for p, s in zip(self.pointers, self.code.steps, strict=True)]
        memory.each_vector(self.e, self.count, lambda j, mask: self._step(rows, j, mask))
        f.end_loop(loop)
        if spec.mode == TOTALS:
            memory.each_vector(self.e, self.count, self._finish)
        f.ret()

    def _kept(self, area: Value, j: Value) -> Value:
        return self.f.gep(area, self.f.mul(j, i64(self.acc.size)))

    def _total_at(self, chunk: Value, j: Value) -> Value:
        f = self.f
        assert self.totals is not None
        row = f.add(f.mul(chunk, self.rows), self.row)
        return self._kept(self.totals, f.add(f.mul(row, self.columns), f.add(self.j0, j)))

    def _begin(self, j: Value, mask: Value | None) -> None:
        """Carries start from the identity, offsets are the fold of earlier totals."""
        f, e = self.f, self.e
        memory.store_unit(e, self.identity, self._kept(self.carries, j), None)
        if self.spec.mode != PART:
            return
        loop = f.loop(i64(0), self.chunk, i64(1), self.identity.parts)
        total = memory.load_unit(e, self._total_at(loop.index, j), self.acc, mask)
        merged = self.combine(Lane(self.acc, *loop.values), total)
        offset = Lane(self.acc, *f.end_loop(loop, merged.parts))
        memory.store_unit(e, offset, self._kept(self.offsets, j), None)

    def _step(self, rows: list[Value], j: Value, mask: Value | None) -> None:
        e, spec = self.e, self.spec
        place = self._kept(self.carries, j)
        carry = memory.load_unit(e, place, self.acc, None)
        values = [
            Lane(self.acc, *self._load(i, rows[i], j, mask).parts) for i in range(len(rows) - 1)
        ]
        following = self.combine(carry, *values)
        memory.store_unit(e, following, place, None)
        if spec.mode == TOTALS:
            return
        y = following if spec.primitive.inclusive else carry
        if spec.mode == PART:
            offset = memory.load_unit(e, self._kept(self.offsets, j), self.acc, None)
            y = self.combine(offset, y)
        self._store(self.narrowed(y), rows[-1], j, mask)

    def _finish(self, j: Value, mask: Value | None) -> None:
        total = memory.load_unit(self.e, self._kept(self.carries, j), self.acc, None)
        memory.store_unit(self.e, total, self._total_at(self.chunk, j), mask)

    def _load(self, operand: int, row: Value, j: Value, mask: Value | None) -> Lane:
        f, e = self.f, self.e
        if self.spec.units[operand]:
            return memory.load_unit(e, f.gep(row, self.scaled(j)), self.dtype, mask)
        last = None if mask is None else f.sub(self.count, i64(1))
        stride = self.strides[operand]
        addresses = memory.strided_addresses(f, row, j, stride, e.lanes, last)
        return memory.load_strided(e, addresses, self.dtype)

    def _store(self, y: Lane, row: Value, j: Value, mask: Value | None) -> None:
        f, e = self.f, self.e
        if self.spec.units[-1]:
            memory.store_unit(e, y, f.gep(row, self.scaled(j)), mask)
            return
        addresses = memory.strided_addresses(f, row, j, self.strides[-1], e.lanes, None)
        memory.store_strided(e, y, addresses, mask)
