"""Scans along the last axis one element after the other: a row in each lane, in square tiles.

A tile holds as many places of as many rows as a vector has lanes.  It is read by rows, turned,
scanned place by place, turned back and written by rows.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.common import Scan, ScanSpec
from mlx.backend.llvm.staging import transposed
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.frozen import dataclass

SIDE = 8
"""Places and rows of a tile."""


@dataclass(frozen=True)
class LineScanSpec(ScanSpec):
    """Consts: rows, tiles of rows a task, size; operands and result along the axis."""

    def emit(self, module: Module, name: str) -> None:
        LineScan(self, Kernel(module, name)).emit()


class LineScan(Scan):
    """Emission; places are counted in the scan's direction."""

    spec: LineScanSpec

    def __init__(self, spec: LineScanSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel, SIDE)
        self.reverse: bool = spec.primitive.reverse

    def emit(self) -> None:
        k, f = self.k, self.f
        self.rows, each, self.size = (k.const(i) for i in range(3))
        self.code = RowCode(k, 3, self.spec.depth, len(self.spec.units))
        first = f.mul(k.task, f.mul(each, i64(SIDE)))
        last = f.min(f.add(first, f.mul(each, i64(SIDE))), self.rows)
        loop = f.loop(first, last, i64(SIDE))
        self._tiles(loop.index)
        f.end_loop(loop)
        f.ret()

    def _tiles(self, row: Value) -> None:
        """All places of some rows; beyond the last row it is repeated."""
        f = self.f
        last = f.sub(self.rows, i64(1))
        lines = [self.code.row(f.min(f.add(row, i64(i)), last)) for i in range(SIDE)]
        operands = [[line[i] for line in lines] for i in range(len(self.spec.units))]
        whole = f.op("and", self.size, i64(-SIDE))
        carry = self.identity
        for begin, end in ((i64(0), whole), (whole, self.size)):
            loop = f.loop(begin, end, i64(SIDE), carry.parts)
            at, mask = loop.index, None
            if begin is whole:
                mask = self._mask(f.sub(self.size, loop.index))
            if self.reverse:
                at = f.sub(f.sub(self.size, i64(SIDE)), at)
            following = self._tile(operands, at, mask, Lane(self.acc, *loop.values))
            carry = Lane(self.acc, *f.end_loop(loop, following.parts))

    def _mask(self, left: Value) -> Value:
        """The lanes of what is left of a row: the first ones, reversed the last."""
        f = self.f
        if not self.reverse:
            return memory.below(f, left, SIDE)
        missing = memory.below(f, f.sub(i64(SIDE), left), SIDE)
        return f.op("xor", missing, const(missing.type, 1))

    def _tile(
        self, operands: list[list[Value]], at: Value, mask: Value | None, carry: Lane
    ) -> Lane:
        """Scan one tile; the carries behind it.  What places beyond the end hold is not read."""
        read = [self._load(i, pointers, at, mask) for i, pointers in enumerate(operands[:-1])]
        places = list(zip(*read, strict=True))
        results: list[Lane] = [carry] * SIDE
        inclusive, behind = self.spec.primitive.inclusive, carry
        for place in reversed(range(SIDE)) if self.reverse else range(SIDE):
            following = self.combine(behind, *places[place])
            results[place] = following if inclusive else behind
            behind = following
        for pointer, line in zip(operands[-1], self._turned(results), strict=True):
            address = self.f.gep(pointer, self.scaled(at))
            memory.store_unit(self.e, self.narrowed(line), address, mask)
        return behind

    def _turned(self, lanes: list[Lane]) -> list[Lane]:
        parts = [
            transposed(self.f, list(part)) for part in zip(*(x.parts for x in lanes), strict=True)
        ]
        return [Lane(self.acc, *row) for row in zip(*parts, strict=True)]

    def _load(
        self, operand: int, pointers: list[Value], at: Value, mask: Value | None
    ) -> list[Lane]:
        """An operand's places of a tile."""
        f, e = self.f, self.e
        lines = []
        for pointer in pointers:
            if self.spec.units[operand]:
                line = memory.load_unit(e, f.gep(pointer, self.scaled(at)), self.dtype, mask)
            else:
                line = self._gathered(pointer, at, self.code.steps[operand], mask)
            lines.append(Lane(self.acc, *line.parts))
        return self._turned(lines)

    def _gathered(self, pointer: Value, at: Value, step: Value, mask: Value | None) -> Lane:
        """Elements that lie apart; outside a mask the row's first."""
        offsets = self.bytes_to(at, range(SIDE), step, mask)
        return memory.load_strided(self.e, memory.moved(self.f, pointer, offsets), self.dtype)
