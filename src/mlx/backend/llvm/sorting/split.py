"""A long row sorted by many tasks: its words are moved into buckets, which are sorted in cache.

A first look (see ``large``) finds rows that are sorted already, which are copied.  A sample
gives bounds of buckets of about equal size; each chunk counts its words of every bucket, the
counts become places, and the words move there, at once for all buckets.  A bucket is then
sorted by one task.  Only those buckets are that hold wanted places.
"""

from __future__ import annotations

from functools import partial

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Loop, Module
from mlx.backend.llvm.sorting.keep import compressed, mask_bits
from mlx.backend.llvm.sorting.large import FLAGS, NEGATIVE_ZERO, UNSORTED, any_flag, flag
from mlx.backend.llvm.sorting.ordered import Ordered
from mlx.backend.llvm.sorting.quick import BUFFER, FEW, quick_function
from mlx.backend.llvm.sorting.records import Record
from mlx.backend.llvm.sorting.words import Words, budget
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.frozen import dataclass

SAMPLES = 256
"""Words sampled for each bucket."""


def sample_bytes(record: Record, buckets: int) -> int:
    """Of a row's sample and the buffer to sort it."""
    return BUFFER + buckets * SAMPLES * record.size


@dataclass(frozen=True)
class SplitSpec:
    """Consts of all: size, chunk, chunks, first and last place wanted; x and result along the
    axis; base and offset of the counts [row, bucket, chunk], the flags [row, chunk], the bounds
    [row, bucket], the words [row, element] where the result doesn't hold them, and each worker's
    scratch and its bytes.
    """

    record: Record
    depth: int
    unit: bool
    buckets: int

    @property
    def key(self) -> str:
        kind = type(self).__name__
        return f"{kind} {self.record.text} {self.depth} {self.unit:d} {self.buckets}"


class _Split:
    """Emission: what the kernels share.  A task is one of ``each`` parts of a row."""

    def __init__(self, spec: SplitSpec, k: Kernel, each: Value | None = None) -> None:
        f = k.f
        self.spec, self.k, self.f, self.record = spec, k, f, spec.record
        self.n, self.size, self.chunks, self.first, self.last = (k.const(i) for i in range(5))
        self.code = RowCode(k, 5, spec.depth, 2)
        slot = 5 + self.code.count
        counts, flags, bounds, words = (k.pointer(slot + 2 * i) for i in range(4))
        self.scratch = f.gep(k.pointer(slot + 8), f.mul(k.worker, k.const(slot + 10)))
        each = each or self.chunks
        self.row = f.op("udiv", k.task, each)
        self.number = f.sub(k.task, f.mul(self.row, each))
        self.source, target = self.code.row(self.row)
        self.origin = f.gep(target, f.mul(self.first, f.neg(self.code.steps[1])))
        self.words = Words(f, self.record, self.code, spec.unit)
        other = self.words.at(words, f.mul(self.row, self.n))
        self.area = self.words.area(target, other, self.n, self.first, self.last)
        self.bounds = self.words.at(bounds, f.mul(self.row, i64(spec.buckets)))
        self.flags = f.gep(flags, f.mul(f.mul(self.row, self.chunks), i64(FLAGS)))
        table = f.mul(f.mul(self.row, self.chunks), i64(spec.buckets))
        self.counts = f.gep(counts, table, "i64")
        self.needed = f.icmp("ne", any_flag(f, self.flags, self.chunks, UNSORTED), i64(0))
        self.start = f.mul(self.number, self.size)
        self.stop = f.min(f.add(self.start, self.size), self.n)

    def wanted(self, begin: Value, end: Value) -> tuple[Value, Value]:
        """The places of begin to end that are wanted."""
        f = self.f
        begin = f.max(begin, self.first)
        return begin, f.max(begin, f.min(end, self.last))

    def bound(self, bucket: Value) -> Value:
        """The least word of a bucket."""
        return self.f.load(self.words.at(self.bounds, bucket), self.words.word, self.words.size)

    def count_at(self, bucket: int) -> Value:
        """Where this chunk's count or place is."""
        f = self.f
        return f.gep(self.counts, f.add(f.mul(i64(bucket), self.chunks), self.number), "i64")

    def splats(self) -> list[Value]:
        """The bounds of all buckets but the first."""
        numbers = range(1, self.spec.buckets)
        return [self.f.splat(self.bound(i64(number)), self.words.lanes) for number in numbers]

    def parts(self) -> tuple[tuple[Value, Value, bool], ...]:
        """The chunk's whole vectors, and what is left."""
        f = self.f
        size = f.op("and", f.sub(self.stop, self.start), i64(-self.words.lanes))
        whole = f.add(self.start, size)
        return (self.start, whole, False), (whole, self.stop, True)

    def loaded(self, loop: Loop, rest: bool) -> tuple[Value, Value, Value | None]:
        """Elements of a vector, their words, and which of them exist (None: all)."""
        f = self.f
        left = f.sub(self.stop, loop.index) if rest else None
        bits = self.words.elements(self.source, loop.index, left)
        there = None if left is None else memory.below(f, left, self.words.lanes)
        return bits, self.words.made(bits, loop.index), there

    def reached(self, words: Value, bounds: list[Value], there: Value | None) -> list[Value]:
        """Masks of the words that reach each bound."""
        f = self.f
        masks = [f.icmp("uge", words, bound) for bound in bounds]
        return masks if there is None else [f.op("and", mask, there) for mask in masks]

    def put(self, words: Value, mask: Value, size: Value, place: Value) -> None:
        """Store ``size`` words that a mask chooses."""
        f = self.f
        address, some = self.words.at(self.area, place), memory.below(f, size, self.words.lanes)
        f.masked_store(compressed(f, words, mask), address, some, self.words.size)

    def places(self, bucket: Value) -> tuple[Value, Value]:
        """Where a bucket's words begin and end in the row."""
        f = self.f
        last = f.icmp("eq", bucket, i64(self.spec.buckets - 1))
        following = f.select(last, bucket, f.add(bucket, i64(1)))
        begin, end = (
            f.load(f.gep(self.counts, f.mul(b, self.chunks), "i64"), "i64", 8)
            for b in (bucket, following)
        )
        return begin, f.select(last, self.n, end)

    def counted(self, mask: Value) -> Value:
        return self.f.intrinsic("ctpop", mask_bits(self.f, mask, self.words.lanes))


@dataclass(frozen=True)
class SampleSpec(SplitSpec):
    """Finds bounds of a row's buckets."""

    def emit(self, module: Module, name: str) -> None:
        quick = quick_function(module, name, self.record.type, FEW)
        s = _Split(self, Kernel(module, name), i64(1))
        s.f.where(s.needed, lambda: self._sample(s, quick))
        s.f.ret()

    def _sample(self, s: _Split, quick: str) -> None:
        f, record, words = s.f, self.record, s.words
        count = self.buckets * SAMPLES
        sample = f.gep(s.scratch, i64(BUFFER))
        step = f.op("udiv", s.n, i64(count))
        loop = f.loop(i64(0), i64(count), i64(1))
        mixed = f.op("and", f.mul(loop.index, i64(0x9E3779B1)), i64(0xFFFF))
        part = f.op("lshr", f.mul(mixed, step), i64(16))
        at = f.add(f.mul(step, loop.index), part)
        bits = f.load(f.gep(s.source, f.mul(at, words.step)), record.word, record.dtype.size)
        f.store(record.make(f, bits, at), words.at(sample, loop.index), words.size)
        f.end_loop(loop)
        n = i64(count)
        ends = [const(words.word, 0), const(words.word, -1), budget(f, n)]
        f.call(quick, "void", sample, n, *ends, s.scratch, i64(0), n)
        for number in range(self.buckets):
            bound = f.load(words.at(sample, i64(number * SAMPLES)), words.word, words.size)
            least = bound if number else const(words.word, 0)
            f.store(least, words.at(s.bounds, i64(number)), words.size)


@dataclass(frozen=True)
class TallySpec(SplitSpec):
    """Counts a chunk's words of every bucket."""

    def emit(self, module: Module, name: str) -> None:
        s = _Split(self, Kernel(module, name))
        s.f.where(s.needed, lambda: self._tally(s))
        s.f.ret()

    def _tally(self, s: _Split) -> None:
        f, lanes, bounds = s.f, s.words.lanes, s.splats()
        state = [const(f"<{lanes} x i1>", 0), *(i64(0) for _ in bounds)]
        for start, stop, rest in s.parts():
            loop = f.loop(start, stop, i64(lanes), state)
            bits, words, there = s.loaded(loop, rest)
            seen = self.record.is_negative_zero(f, bits)
            seen = seen if there is None else f.op("and", seen, there)
            masks = s.reached(words, bounds, there)
            pairs = zip(loop.values[1:], masks, strict=True)
            sums = [f.add(total, s.counted(mask)) for total, mask in pairs]
            state = f.end_loop(loop, [f.op("or", loop.values[0], seen), *sums])
        none = f.icmp("eq", f.bitcast(state[0], f"i{lanes}"), const(f"i{lanes}", 0))
        negative = f.select(none, i64(0), i64(1))
        f.store(negative, flag(f, s.flags, s.number, NEGATIVE_ZERO), 8)
        sums = [f.sub(s.stop, s.start), *state[1:], i64(0)]
        for bucket in range(self.buckets):
            f.store(f.sub(sums[bucket], sums[bucket + 1]), s.count_at(bucket), 8)


@dataclass(frozen=True)
class DealSpec(SplitSpec):
    """Moves a chunk's words into the buckets that are wanted; copies a sorted row instead."""

    def emit(self, module: Module, name: str) -> None:
        s = _Split(self, Kernel(module, name))
        ordered = Ordered(s.f, self.record, s.code.steps, self.unit)
        s.f.where(
            s.needed,
            lambda: self._deal(s),
            lambda: ordered.write(s.source, s.origin, *s.wanted(s.start, s.stop)),
        )
        s.f.ret()

    def _deal(self, s: _Split) -> None:
        f, lanes, bounds = s.f, s.words.lanes, s.splats()
        state = [f.load(s.count_at(bucket), "i64", 8) for bucket in range(self.buckets)]
        wanted = []
        for bucket in range(self.buckets):
            begin, stop = s.wanted(*s.places(i64(bucket)))
            wanted.append(f.icmp("slt", begin, stop))
        for start, stop, rest in s.parts():
            loop = f.loop(start, stop, i64(lanes), state)
            _, words, there = s.loaded(loop, rest)
            reached = s.reached(words, bounds, there)
            masks = [there or memory.full_mask(lanes), *reached]
            places = []
            for bucket, place in enumerate(loop.values):
                mask = masks[bucket]
                if bucket + 1 < self.buckets:
                    below = f.op("xor", masks[bucket + 1], memory.full_mask(lanes))
                    mask = f.op("and", mask, below)
                size = s.counted(mask)
                f.where(wanted[bucket], partial(s.put, words, mask, size, place))
                places.append(f.add(place, size))
            state = f.end_loop(loop, places)


@dataclass(frozen=True)
class BucketSpec(SplitSpec):
    """Sorts a bucket and writes its results."""

    def emit(self, module: Module, name: str) -> None:
        quick = quick_function(module, name, self.record.type)
        s = _Split(self, Kernel(module, name), i64(self.buckets))
        s.f.where(s.needed, lambda: self._bucket(s, quick))
        s.f.ret()

    def _bucket(self, s: _Split, quick: str) -> None:
        f, words = s.f, s.words
        following = f.add(s.number, i64(1))
        last = f.icmp("eq", following, i64(self.buckets))
        after = f.select(last, s.number, following)
        begin, end = s.places(s.number)
        high = f.select(last, const(words.word, -1), f.sub(s.bound(after), const(words.word, 1)))
        n = f.sub(end, begin)
        first, stop = s.wanted(begin, end)
        place = words.at(s.area, begin)
        ends = [s.bound(s.number), high, budget(f, n), s.scratch, f.sub(first, begin)]

        def sort() -> None:
            f.call(quick, "void", place, n, *ends, f.sub(stop, begin))
            words.write(s.area, s.source, s.origin, first, stop)

        f.where(f.icmp("slt", first, stop), sort)
