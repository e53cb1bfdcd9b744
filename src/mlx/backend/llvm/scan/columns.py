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

AHEAD = 16
"""Rows between a prefetch and its use."""


@dataclass(frozen=True)
class ColumnScanSpec(ScanSpec):
    """Along any axis but the last, vectors along the last of the other loops.

    Consts: columns, columns a block, blocks, size, chunk, chunks, outer rows; operands and
    result along the axis; each one's stride along the columns; base, offset and bytes a worker
    of scratch; base and offset of totals [chunk, row, column].
    """

    stream: bool = False
    single: bool = False
    """Whether all columns are one vector."""

    @property
    def key(self) -> str:
        return f"{super().key} {self.stream} {self.single}"

    def emit(self, module: Module, name: str) -> None:
        ColumnScan(self, Kernel(module, name)).emit()


class ColumnScan(Scan):
    """Emission of one column scan: a row of carries in scratch, and one of offsets, or both in
    registers."""

    spec: ColumnScanSpec

    def __init__(self, spec: ColumnScanSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel, host().lanes * (1 if spec.single else 2))

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
        k0 = f.mul(self.chunk, chunk)
        bounds = k0, f.min(f.add(k0, chunk), size)
        if spec.single:
            self._vector(*bounds, size)
            f.ret()
            return
        memory.each_vector(self.e, self.count, self._begin)
        loop = f.loop(*bounds, i64(1))
        rows = self._rows(loop.index, size)
        memory.each_vector(self.e, self.count, lambda j, mask: self._step(rows, j, mask))
        f.end_loop(loop)
        if spec.mode == TOTALS:
            memory.each_vector(self.e, self.count, self._finish)
        f.ret()

    def _rows(self, at: Value, size: Value) -> list[Value]:
        """Addresses of the operands at a place counted in the scan's direction."""
        f = self.f
        if self.spec.primitive.reverse:
            at = f.sub(f.sub(size, i64(1)), at)
        return [f.gep(p, f.mul(at, s)) for p, s in zip(self.pointers, self.code.steps, strict=True)]

    def _vector(self, begin: Value, end: Value, size: Value) -> None:
        """Scan all columns at once."""
        f, j = self.f, i64(0)
        mask = memory.below(f, self.count, self.e.lanes)
        offset = self._before(j, mask) if self.spec.mode == PART else None
        loop = f.loop(begin, end, i64(1), self.identity.parts)
        rows, carry = self._rows(loop.index, size), Lane(self.acc, *loop.values)
        following = self._following(carry, rows, j, mask)
        if self.spec.mode != TOTALS:
            self._store(self._result(carry, following, offset), rows[-1], j, mask)
        total = Lane(self.acc, *f.end_loop(loop, following.parts))
        if self.spec.mode == TOTALS:
            memory.store_unit(self.e, total, self._total_at(self.chunk, j), mask)

    def _kept(self, area: Value, j: Value) -> Value:
        return self.f.gep(area, self.f.mul(j, i64(self.acc.size)))

    def _total_at(self, chunk: Value, j: Value) -> Value:
        f = self.f
        assert self.totals is not None
        row = f.add(f.mul(chunk, self.rows), self.row)
        return self._kept(self.totals, f.add(f.mul(row, self.columns), f.add(self.j0, j)))

    def _begin(self, j: Value, mask: Value | None) -> None:
        """Carries start from the identity, offsets are the fold of earlier totals."""
        e = self.e
        memory.store_unit(e, self.identity, self._kept(self.carries, j), None)
        if self.spec.mode == PART:
            memory.store_unit(e, self._before(j, mask), self._kept(self.offsets, j), None)

    def _before(self, j: Value, mask: Value | None) -> Lane:
        """The fold of all chunks before this one."""
        f, e = self.f, self.e
        loop = f.loop(i64(0), self.chunk, i64(1), self.identity.parts)
        total = memory.load_unit(e, self._total_at(loop.index, j), self.acc, mask)
        merged = self.combine(Lane(self.acc, *loop.values), total)
        return Lane(self.acc, *f.end_loop(loop, merged.parts))

    def _step(self, rows: list[Value], j: Value, mask: Value | None) -> None:
        e, spec = self.e, self.spec
        place = self._kept(self.carries, j)
        carry = memory.load_unit(e, place, self.acc, None)
        following = self._following(carry, rows, j, mask)
        memory.store_unit(e, following, place, None)
        if spec.mode == TOTALS:
            return
        offset = None
        if spec.mode == PART:
            offset = memory.load_unit(e, self._kept(self.offsets, j), self.acc, None)
        self._store(self._result(carry, following, offset), rows[-1], j, mask)

    def _following(self, carry: Lane, rows: list[Value], j: Value, mask: Value | None) -> Lane:
        values = [self._load(i, row, j, mask) for i, row in enumerate(rows[:-1])]
        return self.combine(carry, *(Lane(self.acc, *value.parts) for value in values))

    def _result(self, carry: Lane, following: Lane, offset: Lane | None) -> Lane:
        y = following if self.spec.primitive.inclusive else carry
        return self.narrowed(y if offset is None else self.combine(offset, y))

    def _finish(self, j: Value, mask: Value | None) -> None:
        total = memory.load_unit(self.e, self._kept(self.carries, j), self.acc, None)
        memory.store_unit(self.e, total, self._total_at(self.chunk, j), mask)

    def _load(self, operand: int, row: Value, j: Value, mask: Value | None) -> Lane:
        f, e = self.f, self.e
        if self.spec.units[operand]:
            here = f.gep(row, self.scaled(j))
            if mask is None:
                self._prefetch(operand, here)
            return memory.load_unit(e, here, self.dtype, mask)
        last = None if mask is None else f.sub(self.count, i64(1))
        stride = self.strides[operand]
        addresses = memory.strided_addresses(f, row, j, stride, e.lanes, last)
        return memory.load_strided(e, addresses, self.dtype)

    def _prefetch(self, operand: int, here: Value) -> None:
        """What this vector meets some rows on, which processors don't foresee over pages."""
        f = self.f
        rows = -AHEAD if self.spec.primitive.reverse else AHEAD
        there = f.gep(here, f.mul(self.code.steps[operand], i64(rows)))
        for offset in range(0, self.e.lanes * self.dtype.size, 64):
            memory.prefetch(f, f.gep(there, i64(offset)))

    def _store(self, y: Lane, row: Value, j: Value, mask: Value | None) -> None:
        f, e = self.f, self.e
        if self.spec.units[-1]:
            stream = self.spec.stream and mask is None
            memory.store_unit(e, y, f.gep(row, self.scaled(j)), mask, stream)
            return
        addresses = memory.strided_addresses(f, row, j, self.strides[-1], e.lanes, None)
        memory.store_strided(e, y, addresses, mask)
