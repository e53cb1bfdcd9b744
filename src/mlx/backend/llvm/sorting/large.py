"""A long row sorted by many tasks: every pass of the radix sort in parallel.

A pass counts the digits of each chunk, turns the counts of all chunks into places (digit by
digit, and chunk by chunk within one), and moves each chunk's records there.  The first pass
reads the elements, the last one writes the result.
"""

from __future__ import annotations

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.sorting.records import Record, restore_where
from mlx.backend.llvm.sorting.rows import clear_table, count, record_at
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.frozen import dataclass


@dataclass(frozen=True)
class _PassSpec:
    """Consts of both kinds: size, chunk, chunks, shift; x and result along the axis; base and
    offset of the counts [row, digit, chunk], of the records read and of those written (both
    [row, element]), of the flags [row, chunk], and base, offset and bytes a worker of scratch.
    """

    record: Record
    depth: int
    bits: int
    first: bool
    last: bool

    @property
    def key(self) -> str:
        ends = f"{self.first:d}{self.last:d}"
        return f"{type(self).__name__} {self.record.text} {self.depth} {self.bits} {ends}"


class _Pass:
    """Emission: the frame of one task, a chunk of a row."""

    def __init__(self, spec: _PassSpec, kernel: Kernel) -> None:
        k, f = kernel, kernel.f
        self.spec, self.k, self.f, self.record = spec, k, f, spec.record
        self.buckets = 1 << spec.bits
        self.n, chunk, self.chunks, self.shift = (k.const(i) for i in range(4))
        self.code = RowCode(k, 4, spec.depth, 2)
        slot = 4 + self.code.count
        counts, read, write, flags = (k.pointer(slot + 2 * i) for i in range(4))
        self.table = f.gep(k.pointer(slot + 8), f.mul(k.worker, k.const(slot + 10)))
        self.row = f.op("udiv", k.task, self.chunks)
        self.chunk = f.sub(k.task, f.mul(self.row, self.chunks))
        self.start = f.mul(self.chunk, chunk)
        self.stop = f.min(f.add(self.start, chunk), self.n)
        table = f.mul(f.mul(self.row, self.chunks), i64(self.buckets))
        self.counts = f.gep(counts, f.add(table, self.chunk), "i64")
        begin = f.mul(f.mul(self.row, self.n), i64(self.record.size))
        self.read, self.write = f.gep(read, begin), f.gep(write, begin)
        self.flag = f.gep(flags, k.task, "i64")
        self.source, self.target = self.code.row(self.row)

    def each_bucket(self) -> tuple[object, Value, Value]:
        """An open loop over this chunk's counts: the loop, places in the table and in counts."""
        f = self.f
        loop = f.loop(i64(0), i64(self.buckets), i64(1))
        here = f.gep(self.table, loop.index, "i64")
        return loop, here, f.gep(self.counts, f.mul(loop.index, self.chunks), "i64")

    def load(self, i: Value) -> tuple[Value, Value | None]:
        """Record number i, and the bits of the element it was made from."""
        f, record = self.f, self.record
        if not self.spec.first:
            return f.load(record_at(f, record, self.read, i), record.type, 1), None
        at = f.gep(self.source, f.mul(i, self.code.steps[0]))
        bits = f.load(at, record.word, 1)
        return record.make(f, bits, i), bits


@dataclass(frozen=True)
class CountSpec(_PassSpec):
    """Counts the digits of a chunk."""

    def emit(self, module: Module, name: str) -> None:
        p = _Pass(self, Kernel(module, name))
        f, record = p.f, self.record
        clear_table(f, p.table, p.buckets * 8)
        loop = f.loop(p.start, p.stop, i64(1), [const("i1", 0)])
        one, bits = p.load(loop.index)
        count(f, p.table, record.digit(f, one, p.shift, self.bits))
        seen = loop.values[0]
        if bits is not None and record.loses_sign:
            seen = f.op("or", seen, record.is_negative_zero(f, bits))
        (seen,) = f.end_loop(loop, [seen])
        if self.first:
            f.store(f.cast("zext", seen, "i64"), p.flag, 8)
        each, here, there = p.each_bucket()
        f.store(f.load(here, "i64", 8), there, 8)
        f.end_loop(each)  # type: ignore[arg-type]
        f.ret()


@dataclass(frozen=True)
class MoveSpec(_PassSpec):
    """Moves a chunk's records to their places."""

    def emit(self, module: Module, name: str) -> None:
        p = _Pass(self, Kernel(module, name))
        f, record = p.f, self.record
        each, here, there = p.each_bucket()
        f.store(f.load(there, "i64", 8), here, 8)
        f.end_loop(each)  # type: ignore[arg-type]
        loop = f.loop(p.start, p.stop, i64(1))
        one, _ = p.load(loop.index)
        at = count(f, p.table, record.digit(f, one, p.shift, self.bits))
        if self.last:
            place = f.gep(p.target, f.mul(at, p.code.steps[1]))
            record.store(f, one, p.source, p.code.steps[0], place)
        else:
            f.store(one, record_at(f, record, p.write, at), 1)
        f.end_loop(loop)
        f.ret()


@dataclass(frozen=True)
class PlaceSpec:
    """Turns a row's counts into places.  Consts: entries a row; base and offset of counts."""

    key = "sort places"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, entries = k.f, k.const(0)
        base = f.gep(k.pointer(1), f.mul(k.task, entries), "i64")
        loop = f.loop(i64(0), entries, i64(1), [i64(0)])
        place = f.gep(base, loop.index, "i64")
        here = f.load(place, "i64", 8)
        f.store(loop.values[0], place, 8)
        f.end_loop(loop, [f.add(loop.values[0], here)])
        f.ret()


@dataclass(frozen=True)
class SignSpec:
    """Restores a row's negative zeros where any chunk saw one.  Consts: size, chunks; x and
    result along the axis; base and offset of the flags."""

    record: Record
    depth: int

    @property
    def key(self) -> str:
        return f"sort signs {self.record.text} {self.depth}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f = k.f
        n, chunks = k.const(0), k.const(1)
        code = RowCode(k, 2, self.depth, 2)
        flags = f.gep(k.pointer(2 + code.count), f.mul(k.task, chunks), "i64")
        source, target = code.row(k.task)
        loop = f.loop(i64(0), chunks, i64(1), [i64(0)])
        flag = f.load(f.gep(flags, loop.index, "i64"), "i64", 8)
        (seen,) = f.end_loop(loop, [f.op("or", loop.values[0], flag)])
        restore_where(f, f.icmp("ne", seen, i64(0)), self.record, n, code.steps, source, target)
        f.ret()
