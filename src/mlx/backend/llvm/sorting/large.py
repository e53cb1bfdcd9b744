"""A long row of keys that vectors don't sort: every pass of the radix sort in parallel.

A first look finds rows that are sorted already, which are copied.  A pass counts the digits of
each chunk, turns the counts of all chunks into places (digit by digit, and chunk by chunk within
one), and moves each chunk's records there.  The first pass reads the elements, the last one
writes the result.  Passes between them whose digit is the same in all keys are left out, in
pairs: the records end in the buffer where they would have ended.
"""

from __future__ import annotations

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.sorting.ordered import Ordered
from mlx.backend.llvm.sorting.records import Record, restore_where
from mlx.backend.llvm.sorting.rows import clear_table, count, record_at
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.frozen import dataclass

FLAGS = 24
"""Bytes of a chunk's flags: whether it is unsorted, whether it has a negative zero, and the bits
in which keys differ from the row's first."""
UNSORTED, NEGATIVE_ZERO, DIFFERENT = range(3)


def flag(f: Function, flags: Value, number: Value, which: int) -> Value:
    return f.gep(f.gep(flags, f.mul(number, i64(FLAGS))), i64(8 * which))


def any_flag(f: Function, flags: Value, chunks: Value, which: int) -> Value:
    """A flag of all chunks of a row together."""
    loop = f.loop(i64(0), chunks, i64(1), [i64(0)])
    one = f.load(flag(f, flags, loop.index, which), "i64", 8)
    return f.end_loop(loop, [f.op("or", loop.values[0], one)])[0]


@dataclass(frozen=True)
class LookSpec:
    """Looks whether a chunk is sorted, up to the next one's first element.  Consts: size, chunk,
    chunks; x and result along the axis; base and offset of the flags [row, chunk]."""

    record: Record
    depth: int
    unit: bool

    @property
    def key(self) -> str:
        return f"sort look {self.record.text} {self.depth} {self.unit:d}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f = k.f
        n, chunk, chunks = (k.const(i) for i in range(3))
        code = RowCode(k, 3, self.depth, 2)
        flags = k.pointer(3 + code.count)
        row = f.op("udiv", k.task, chunks)
        start = f.mul(f.sub(k.task, f.mul(row, chunks)), chunk)
        stop = f.min(f.add(f.add(start, chunk), i64(1)), n)
        source, _ = code.row(row)
        good = Ordered(f, self.record, code.steps, self.unit).holds(source, start, stop)
        bad = f.cast("zext", f.op("xor", good, const("i1", 1)), "i64")
        f.store(bad, flag(f, flags, k.task, UNSORTED), 8)
        f.ret()


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
    unit: bool

    @property
    def key(self) -> str:
        ends = f"{self.first:d}{self.last:d}{self.unit:d}"
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
        self.flags = f.gep(flags, f.mul(f.mul(self.row, self.chunks), i64(FLAGS)))
        self.source, self.target = self.code.row(self.row)
        self.unsorted = f.icmp("ne", any_flag(f, self.flags, self.chunks, UNSORTED), i64(0))
        self.needed, swapped = self.unsorted, const("i1", 0)
        if not spec.first:
            skipped, swapped = self._skipped()
            if not spec.last:
                needed = f.op("xor", skipped, const("i1", 1))
                self.needed = f.op("and", self.unsorted, needed)
        self.read = f.gep(f.select(swapped, write, read), begin)
        self.write = f.gep(f.select(swapped, read, write), begin)

    def _skipped(self) -> tuple[Value, Value]:
        """Whether this pass is left out, and whether an odd number of earlier ones were."""
        f, bits = self.f, self.spec.bits
        different = any_flag(f, self.flags, self.chunks, DIFFERENT)
        alike = i64(0)
        for number in range(1, -(-self.record.key_bits // bits) - 1):
            digit = f.op("and", f.op("lshr", different, i64(number * bits)), i64((1 << bits) - 1))
            same = f.cast("zext", f.icmp("eq", digit, i64(0)), "i64")
            alike = f.op("or", alike, f.op("shl", same, i64(number)))
        odd = f.op("and", f.intrinsic("ctpop", alike), i64(1))
        fewer = f.op("and", alike, f.sub(alike, i64(1)))
        alike = f.select(f.icmp("ne", odd, i64(0)), fewer, alike)
        here = f.op("shl", i64(1), f.op("udiv", self.shift, i64(bits)))
        before = f.intrinsic("ctpop", f.op("and", alike, f.sub(here, i64(1))))
        swapped = f.icmp("ne", f.op("and", before, i64(1)), i64(0))
        return f.icmp("ne", f.op("and", alike, here), i64(0)), swapped

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
        p.f.where(p.needed, lambda: self._count(p))
        p.f.ret()

    def _count(self, p: _Pass) -> None:
        f, record = p.f, self.record
        clear_table(f, p.table, p.buckets * 8)
        top = p.load(i64(0))[1]
        loop = f.loop(p.start, p.stop, i64(1), [const("i1", 0), const(record.word, 0)])
        one, bits = p.load(loop.index)
        count(f, p.table, record.digit(f, one, p.shift, self.bits))
        seen, different = loop.values
        if bits is not None and top is not None:
            other = f.op("xor", record.key(f, bits), record.key(f, top))
            different = f.op("or", different, other)
            if record.loses_sign:
                seen = f.op("or", seen, record.is_negative_zero(f, bits))
        seen, different = f.end_loop(loop, [seen, different])
        if self.first:
            for value, which in ((seen, NEGATIVE_ZERO), (different, DIFFERENT)):
                wide = value if value.type == "i64" else f.cast("zext", value, "i64")
                f.store(wide, flag(f, p.flags, p.chunk, which), 8)
        each, here, there = p.each_bucket()
        f.store(f.load(here, "i64", 8), there, 8)
        f.end_loop(each)  # type: ignore[arg-type]


@dataclass(frozen=True)
class MoveSpec(_PassSpec):
    """Moves a chunk's records to their places; the last one copies a sorted row instead."""

    def emit(self, module: Module, name: str) -> None:
        p = _Pass(self, Kernel(module, name))
        ordered = Ordered(p.f, self.record, p.code.steps, self.unit)
        p.f.where(
            p.needed,
            lambda: self._move(p),
            (lambda: ordered.write(p.source, p.target, p.start, p.stop)) if self.last else None,
        )
        p.f.ret()

    def _move(self, p: _Pass) -> None:
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


@dataclass(frozen=True)
class PlaceSpec:
    """Turns a row's counts into places.  Consts: entries a row, chunks; base and offset of counts
    and of the flags."""

    key = "sort places"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, entries, chunks = k.f, k.const(0), k.const(1)
        base = f.gep(k.pointer(2), f.mul(k.task, entries), "i64")
        flags = f.gep(k.pointer(4), f.mul(f.mul(k.task, chunks), i64(FLAGS)))
        sorted_ = f.icmp("eq", any_flag(f, flags, chunks, UNSORTED), i64(0))
        loop = f.loop(i64(0), f.select(sorted_, i64(0), entries), i64(1), [i64(0)])
        place = f.gep(base, loop.index, "i64")
        here = f.load(place, "i64", 8)
        f.store(loop.values[0], place, 8)
        f.end_loop(loop, [f.add(loop.values[0], here)])
        f.ret()


@dataclass(frozen=True)
class SignSpec:
    """Restores a row's negative zeros where any chunk saw one.  Consts: size, chunks, first and
    last place wanted; x and result along the axis; base and offset of the flags."""

    record: Record
    depth: int

    @property
    def key(self) -> str:
        return f"sort signs {self.record.text} {self.depth}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f = k.f
        n, chunks, first, last = (k.const(i) for i in range(4))
        code = RowCode(k, 4, self.depth, 2)
        flags = f.gep(k.pointer(4 + code.count), f.mul(f.mul(k.task, chunks), i64(FLAGS)))
        source, target = code.row(k.task)
        bad, seen = (any_flag(f, flags, chunks, which) for which in (UNSORTED, NEGATIVE_ZERO))
        wanted = f.op("and", f.icmp("ne", bad, i64(0)), f.icmp("ne", seen, i64(0)))
        restore_where(f, wanted, self.record, n, code.steps, source, target, (first, last))
        f.ret()
