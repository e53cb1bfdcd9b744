"""Scans along the last axis: vectors along the axis, scanned by doubling."""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.common import TOTALS, WHOLE, Scan, ScanSpec
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass
from mlx.compiler.nest import CHUNK

SUPER = 16
"""Chunks between two passes over them: they stay in the cache from the first to the second."""


@dataclass(frozen=True)
class RowScanSpec(ScanSpec):
    """Along the last axis.

    Consts: rows, rows a task, size, first chunk, chunks of this command, all chunks; x and
    result along the axis; base and offset of totals [row, chunk] and, for each command of
    mode ``part``, of what came before its first chunk [row, command].
    """

    stream: bool = False

    @property
    def key(self) -> str:
        return f"{super().key} {self.stream}"

    def emit(self, module: Module, name: str) -> None:
        RowScan(self, Kernel(module, name)).emit()


class RowScan(Scan):
    """Emission of one row scan."""

    spec: RowScanSpec

    def __init__(self, spec: RowScanSpec, kernel: Kernel) -> None:
        acc = accumulator(dtype_named(spec.dtype))
        super().__init__(spec, kernel, 64 // acc.size)
        self.reverse = spec.primitive.reverse
        self.shifted_in = [self._unseen(p) for p in self.identity.parts]

    def _unseen(self, constant: Value) -> Value:
        """A constant in a register: shifts that are seen to bring in zeros become expand
        instructions, four times as slow as permutations on some processors."""
        f = self.f
        place = f.alloca(constant.type)
        f.store(constant, place, 64)
        return f.emit(f"load volatile {constant.type}, ptr {place.ref}, align 64", constant.type)

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        rows, each, self.size, first, count, chunks = (k.const(i) for i in range(6))
        self.code = RowCode(k, 6, spec.depth, 2)
        if spec.mode == WHOLE:
            row0 = f.mul(k.task, each)
            loop = f.loop(row0, f.min(f.add(row0, each), rows), i64(1))
            self._whole_row(loop.index)
            f.end_loop(loop)
            f.ret()
            return
        slot = 6 + self.code.count
        totals = k.pointer(slot)
        row = f.op("udiv", k.task, count)
        number = f.sub(k.task, f.mul(row, count))
        chunk = f.add(first, number)
        at = f.mul(row, chunks)
        k0 = f.mul(chunk, i64(CHUNK))
        k1 = f.min(f.add(k0, i64(CHUNK)), self.size)
        pointers = self.code.row(row)
        if spec.mode == TOTALS:
            total = self._chunk(pointers, k0, k1, None)
            memory.store_first(self.e, total, self._place(totals, f.add(at, chunk)))
        else:
            before = k.pointer(slot + 2)
            offset = self._offset(f.gep(totals, f.mul(at, i64(self.acc.size))), before, row, chunk)
            total = self.combine(offset, self._chunk(pointers, k0, k1, offset))
            self._leave(total, before, row, number)
        f.ret()

    def _place(self, base: Value, index: Value) -> Value:
        return self.f.gep(base, self.f.mul(index, i64(self.acc.size)))

    def _commands(self, row: Value) -> Value:
        """The index of this row's first entry in ``before``."""
        f = self.f
        chunks = f.add(self.k.const(5), i64(SUPER - 1))
        return f.mul(row, f.op("udiv", chunks, i64(SUPER)))

    def _offset(self, totals: Value, before: Value, row: Value, chunk: Value) -> Lane:
        """The fold of all chunks before this one."""
        f, first = self.f, self.k.const(3)
        index = f.add(self._commands(row), f.op("udiv", first, i64(SUPER)))
        known = memory.load_splat(self.e, self._place(before, index), self.acc)
        at_start = f.icmp("eq", first, i64(0))
        parts = [
            f.select(at_start, p, q) for p, q in zip(self.identity.parts, known.parts, strict=True)
        ]
        loop = f.loop(first, chunk, i64(1), parts)
        total = memory.load_splat(self.e, self._place(totals, loop.index), self.acc)
        merged = self.combine(Lane(self.acc, *loop.values), total)
        return Lane(self.acc, *f.end_loop(loop, merged.parts))

    def _leave(self, total: Lane, before: Value, row: Value, number: Value) -> None:
        """The last chunk of a command leaves the fold so far to the next command."""
        f, k = self.f, self.k
        last, done = f.label("last"), f.label("left")
        following = f.add(f.op("udiv", k.const(3), i64(SUPER)), i64(1))
        index = f.add(self._commands(row), following)
        ends = f.icmp("eq", number, i64(SUPER - 1))
        more = f.icmp("slt", f.mul(following, i64(SUPER)), k.const(5))
        f.branch_if(f.op("and", ends, more), last, done)
        f.start(last)
        memory.store_first(self.e, total, self._place(before, index))
        f.branch(done)
        f.start(done)

    def _whole_row(self, row: Value) -> None:
        f = self.f
        pointers = self.code.row(row)
        if not self.spec.chunked:
            self._chunk(pointers, i64(0), self.size, None)
            return
        loop = f.loop(i64(0), self.size, i64(CHUNK), self.identity.parts)
        offset = Lane(self.acc, *loop.values)
        k1 = f.min(f.add(loop.index, i64(CHUNK)), self.size)
        total = self.combine(offset, self._chunk(pointers, loop.index, k1, offset))
        f.end_loop(loop, total.parts)

    def _chunk(self, pointers: Sequence[Value], k0: Value, k1: Value, offset: Lane | None) -> Lane:
        """Scan elements k0 to k1 (counted in the scan's direction); the chunk's total."""
        f, lanes = self.f, self.e.lanes
        whole = f.add(k0, f.op("and", f.sub(k1, k0), i64(-lanes)))
        carry = self.identity
        for begin, end in ((k0, whole), (whole, k1)):
            loop = f.loop(begin, end, i64(lanes), carry.parts)
            mask = self._mask(f.sub(k1, loop.index)) if begin is whole else None
            carry = Lane(self.acc, *loop.values)
            total = self._block(pointers, loop.index, mask, carry, offset)
            carry = Lane(self.acc, *f.end_loop(loop, self.combine(carry, total).parts))
        return carry

    def _mask(self, count: Value) -> Value:
        """The lanes of ``count`` remaining elements: the first ones, reversed the last."""
        f, lanes = self.f, self.e.lanes
        if not self.reverse:
            return memory.below(f, count, lanes)
        missing = memory.below(f, f.sub(i64(lanes), count), lanes)
        return f.op("xor", missing, const(missing.type, 1))

    def _block(
        self,
        pointers: Sequence[Value],
        k: Value,
        mask: Value | None,
        carry: Lane,
        offset: Lane | None,
    ) -> Lane:
        """Scan one vector, store it unless only totals are wanted; its total in all lanes."""
        f, e = self.f, self.e
        at = f.sub(f.sub(self.size, k), i64(e.lanes)) if self.reverse else k
        x = Lane(self.acc, *self._load(pointers[0], at, mask).parts)
        if mask is not None:
            x = Lane(
                self.acc,
                *[f.select(mask, p, q) for p, q in zip(x.parts, self.identity.parts, strict=True)],
            )
        local, step = x, 1
        while step < e.lanes:
            local = self.combine(self._shifted(local, step), local)
            step *= 2
        last = 0 if self.reverse else e.lanes - 1
        if self.spec.mode != TOTALS:
            y = local if self.spec.primitive.inclusive else self._shifted(local, 1)
            y = self.combine(carry, y)
            if offset is not None:
                y = self.combine(offset, y)
            address = f.gep(pointers[1], self.scaled(at))
            stream = self.spec.stream and mask is None
            memory.store_unit(e, self.narrowed(y), address, mask, stream)
        return Lane(self.acc, *[f.shuffle(p, None, [last] * e.lanes) for p in local.parts])

    def _shifted(self, x: Lane, step: int) -> Lane:
        """Each lane takes the one ``step`` before it; the first ones the identity."""
        lanes = self.e.lanes
        source = [i + step if self.reverse else i - step for i in range(lanes)]
        picked = [s if 0 <= s < lanes else lanes + i for i, s in enumerate(source)]
        return Lane(
            x.dtype,
            *[self.f.shuffle(p, q, picked) for p, q in zip(x.parts, self.shifted_in, strict=True)],
        )

    def _load(self, pointer: Value, at: Value, mask: Value | None) -> Lane:
        f, e = self.f, self.e
        if self.spec.units[0]:
            return memory.load_unit(e, f.gep(pointer, self.scaled(at)), self.dtype, mask)
        indices = f.add(f.splat(at, e.lanes), lane_consts(vector(e.lanes, "i64"), range(e.lanes)))
        if mask is not None:
            indices = f.select(mask, indices, const(indices.type, 0))
        offsets = f.mul(indices, f.splat(self.code.steps[0], e.lanes))
        addresses = f.emit(
            f"getelementptr i8, ptr {pointer.ref}, {offsets.type} {offsets.ref}",
            vector(e.lanes, "ptr"),
        )
        return memory.load_strided(e, addresses, self.dtype)
