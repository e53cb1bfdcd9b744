"""Scans: folds along an axis that keep every intermediate result.

The order of a scan depends on shape and dtype only.  The axis is cut into chunks of 65,536; a
chunk is scanned from the identity, and then the fold of all earlier chunks' totals, in their
order, is combined from the left.  Inside a chunk:

* where the axis is the last one (:class:`RowScanSpec`), blocks of 64 bytes of the accumulator
  are scanned by doubling (element i combines with i - 1, then with i - 2, i - 4, ...;
  Hillis and Steele 1986), and combine from the left with the fold of the earlier blocks;
* elsewhere (:class:`ColumnScanSpec`), one element after the other.

Scans of several operands (linear recurrences) go one element after the other without chunks.
A reversed scan counts blocks and chunks from the end of the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.along import Along, RowCode, View, along, split_rows
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.dtype import dtype_named
from mlx.compiler.nest import CHUNK

WHOLE, TOTALS, PART = "whole", "totals", "part"
"""What a kernel does: whole rows; the totals of chunks; chunks whose totals are known."""
STREAM_BYTES = 24 << 20
SUPER = 16
"""Chunks between two passes over them: they stay in the cache from the first to the second."""
BLOCK, STRIDED_BLOCK = 1024, 64
"""Most columns of a task."""


@dataclass(frozen=True)
class _ScanSpec:
    primitive: Any
    dtype: str
    depth: int
    units: tuple[bool, ...]
    """Which operands, the result last, have unit stride along the vectors."""
    mode: str = WHOLE
    chunked: bool = False

    @property
    def key(self) -> str:
        p = self.primitive
        units = "".join("01"[u] for u in self.units)
        return (
            f"{type(self).__name__} {p.name} {p.reverse} {p.inclusive} {self.dtype} "
            f"{self.depth} {units} {self.mode} {self.chunked}"
        )


@dataclass(frozen=True)
class RowScanSpec(_ScanSpec):
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
        _RowScan(self, Kernel(module, name)).emit()


class _Scan:
    """What both kernels share: dtypes, the operation, its identity."""

    def __init__(self, spec: _ScanSpec, kernel: Kernel, lanes: int) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.acc = accumulator(self.dtype)
        self.e = LaneEmitter(self.f, lanes)
        self.identity = self.e.const(spec.primitive.identity(self.acc), self.acc)

    def combine(self, carry: Lane, *values: Lane) -> Lane:
        return self.spec.primitive.combine(self.e, carry, *values)

    def scaled(self, index: Value) -> Value:
        return self.f.mul(index, i64(self.dtype.size))

    def narrowed(self, y: Lane) -> Lane:
        return y if self.acc is self.dtype else self.e.rounded(y.v, self.dtype)


class _RowScan(_Scan):
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


@dataclass(frozen=True)
class ColumnScanSpec(_ScanSpec):
    """Along any axis but the last, vectors along the last of the other loops.

    Consts: columns, columns a block, blocks, size, chunk, chunks, outer rows; operands and
    result along the axis; each one's stride along the columns; base, offset and bytes a worker
    of scratch; base and offset of totals [chunk, row, column].
    """

    def emit(self, module: Module, name: str) -> None:
        _ColumnScan(self, Kernel(module, name)).emit()


class _ColumnScan(_Scan):
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
        self._every_column(self._begin)
        k0 = f.mul(self.chunk, chunk)
        loop = f.loop(k0, f.min(f.add(k0, chunk), size), i64(1))
        at = loop.index
        if spec.primitive.reverse:
            at = f.sub(f.sub(size, i64(1)), at)
        rows = [f.gep(p, f.mul(at, s)) for p, s in zip(self.pointers, self.code.steps, strict=True)]
        self._every_column(lambda j, mask: self._step(rows, j, mask))
        f.end_loop(loop)
        if spec.mode == TOTALS:
            self._every_column(self._finish)
        f.ret()

    def _every_column(self, body: Callable[[Value, Value | None], None]) -> None:
        """Run ``body(column, mask)`` over the block."""
        f, lanes = self.f, self.e.lanes
        whole = f.op("and", self.count, i64(-lanes))
        for begin, end in ((i64(0), whole), (whole, self.count)):
            loop = f.loop(begin, end, i64(lanes))
            masked = begin is whole
            mask = memory.below(f, f.sub(self.count, loop.index), lanes) if masked else None
            body(loop.index, mask)
            f.end_loop(loop)

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


# -- planning --------------------------------------------------------------------------


def plan_scan(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of a scan."""
    (out,) = outputs
    view = along(primitive.axis, [*inputs, out])
    if not view.rows or not view.size:
        return []
    size = dtype_named(out.dtype).size
    if len(inputs) == 1 and view.views[-1].step == size:
        return _rows(primitive, out.dtype, view, scratch, workers)
    if not view.depth:
        view = Along((1,), view.size, tuple(View(v.pointer, (0,), v.step) for v in view.views))
    return _columns(primitive, out.dtype, view, scratch, workers)


def _rows(primitive: Any, dtype: str, view: Along, scratch: Any, workers: int) -> list[Command]:
    rows, size = view.rows, view.size
    acc, width = accumulator(dtype_named(dtype)), dtype_named(dtype).size
    units = tuple(v.step == width for v in view.views)
    chunks = -(-size // CHUNK)
    stream = _streams(view, width) and width == acc.size

    def spec(mode: str) -> RowScanSpec:
        return RowScanSpec(primitive, dtype, view.depth, units, mode, chunks > 1, stream)

    if chunks == 1 or rows >= 2 * workers or workers == 1:
        each = split_rows(rows, size, workers)
        consts = [rows, each, size, 0, chunks, chunks, *view.consts]
        return [Command(spec(WHOLE), consts, -(-rows // each))]
    totals = scratch(rows * chunks * acc.size)
    before = scratch(rows * -(-chunks // SUPER) * acc.size)
    commands = []
    for first in range(0, chunks, SUPER):
        count = min(SUPER, chunks - first)
        consts = [rows, 1, size, first, count, chunks, *view.consts]
        consts += [*totals.consts, *before.consts]
        commands += [Command(spec(mode), consts, rows * count) for mode in (TOTALS, PART)]
    return commands


def _streams(view: Along, width: int) -> bool:
    """Whether to write around the caches: a large result, aligned rows."""
    out = view.views[-1]
    offsets = (out.pointer.offset, view.size * width, *out.strides)
    large = view.rows * view.size * width >= STREAM_BYTES
    return large and all(o % 64 == 0 for o in offsets)


def _columns(primitive: Any, dtype: str, view: Along, scratch: Any, workers: int) -> list[Command]:
    inner, columns, strides = view.without_last()
    width = dtype_named(dtype).size
    acc = accumulator(dtype_named(dtype))
    units = tuple(s == width for s in strides)
    most = BLOCK if all(units) else STRIDED_BLOCK
    wanted = -(-4 * workers // inner.rows)
    block = min(most, -(-columns // wanted // 64) * 64)
    blocks = -(-columns // block)
    chunk = CHUNK if len(view.views) == 2 else inner.size
    chunks = -(-inner.size // chunk)
    totals = scratch(inner.rows * columns * chunks * acc.size if chunks > 1 else 0)
    each = 2 * BLOCK * acc.size
    consts = [columns, block, blocks, inner.size, chunk, chunks, inner.rows, *inner.consts]
    consts += [*strides, *scratch(each * workers).consts, each, *totals.consts]
    tasks = inner.rows * blocks * chunks
    modes = (TOTALS, PART) if chunks > 1 else (WHOLE,)
    return [
        Command(ColumnScanSpec(primitive, dtype, inner.depth, units, mode), consts, tasks)
        for mode in modes
    ]
