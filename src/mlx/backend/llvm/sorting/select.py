"""The largest or smallest elements of rows, in one pass over each.

A buffer holds the candidates met so far.  When it is full, the best are kept (see ``keep``), and
the worst of these is the threshold that later elements must exceed: of n elements in random
order few do.  The cost is linear in n whatever the order.

Of equal elements a sort puts the later one higher.  A row is therefore visited backwards for its
largest elements and forwards for its smallest (whose keys are inverted): the earlier visited of
equal ones is the better, so equality never passes the threshold, and order in the buffer decides
ties.  A long row is divided among tasks, whose chosen ones a second kernel selects from.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.sorting.keep import LANES, compressed, keep_function, mask_bits
from mlx.backend.llvm.sorting.records import Record
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector

WHOLE, PART, MERGE = "whole", "part", "merge"
"""What a kernel does: whole rows; chunks of them, into scratch; what was chosen of all chunks."""

BLOCK = 4
"""Vectors between two looks at whether any element passes."""


def word_of(record: Record) -> str:
    """The type of keys in a buffer."""
    return "i64" if record.key_bits == 64 else "i32"


def capacity(count: int) -> int:
    """Candidates of a full buffer: many times ``count`` where that is small."""
    return 4 * count + 512


def plane_bytes(record: Record, count: int) -> int:
    """Of a buffer's keys; its indices take no more.  A block and two vectors may go beyond."""
    return (capacity(count) + 128) * (8 if word_of(record) == "i64" else 4)


@dataclass(frozen=True)
class SelectSpec:
    """Consts: rows, rows a task, size, count, capacity, elements a chunk, chunks, candidates of
    a row; x and result along the axis; base, offset and bytes a worker of scratch, bytes of its
    keys; base and offset of candidates' keys [row, candidate] and of their indices.
    """

    record: Record
    depth: int
    largest: bool
    unit: bool
    """Whether elements lie side by side."""
    rest: bool
    """Whether all other elements are written too."""
    stage: str = WHOLE

    @property
    def key(self) -> str:
        flags = f"{self.largest:d}{self.unit:d}{self.rest:d}"
        return f"select {self.record.text} {self.depth} {flags} {self.stage}"

    def emit(self, module: Module, name: str) -> None:
        keep = keep_function(module, name, word_of(self.record))
        _Select(self, Kernel(module, name), keep).emit()


class _Select:
    """Emission of one kernel.  ``v`` counts elements in the order they are visited."""

    def __init__(self, spec: SelectSpec, kernel: Kernel, keep: str) -> None:
        k, f = kernel, kernel.f
        self.spec, self.k, self.f, self.keep, self.record = spec, k, f, keep, spec.record
        self.word = word_of(spec.record)
        self.lanes = LANES[self.word]
        self.rows, self.each, self.n, self.count, self.most = (k.const(i) for i in range(5))
        self.chunk, self.chunks, self.candidates = (k.const(i) for i in range(5, 8))
        self.code = RowCode(k, 8, spec.depth, 2)
        slot = 8 + self.code.count
        self.keys = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        self.indices = f.gep(self.keys, k.const(slot + 3))
        self.chosen = [] if spec.stage == WHOLE else [k.pointer(slot + 4), k.pointer(slot + 6)]

    def emit(self) -> None:
        f, k, stage = self.f, self.k, self.spec.stage
        if stage == PART:
            row = f.op("udiv", k.task, self.chunks)
            number = f.sub(k.task, f.mul(row, self.chunks))
            begin = f.mul(number, self.chunk)
            source, _ = self.code.row(row)
            self._visit(source, begin, f.min(f.add(begin, self.chunk), self.n))
            first = f.mul(row, self.candidates)
            self._hand_on(f.add(first, f.mul(number, self.count)), f.sub(self.n, begin))
        else:
            row0 = f.mul(k.task, self.each)
            loop = f.loop(row0, f.min(f.add(row0, self.each), self.rows), i64(1))
            self._row(loop.index)
            f.end_loop(loop)
        f.ret()

    def _row(self, row: Value) -> None:
        f = self.f
        source, target = self.code.row(row)
        if self.spec.stage == MERGE:
            first = f.mul(row, self.candidates)
            pairs = zip(self.chosen, (self.word, "i32"), strict=True)
            self.listed = [f.gep(base, first, word) for base, word in pairs]
            self._visit(source, i64(0), self.candidates)
        else:
            self._visit(source, i64(0), self.n)
        if self.spec.rest:
            self._write_rest(target)
            self._write_bounded(target)
        else:
            self._write(target)

    # -- reading -----------------------------------------------------------------------

    def _visit(self, source: Value, begin: Value, end: Value) -> None:
        """Leave the best of elements begin to end in the buffer."""
        f, lanes = self.f, self.lanes
        one = i64(-lanes)
        size = f.sub(end, begin)
        inner = f.add(begin, f.op("and", size, i64(-BLOCK * lanes)))
        whole = f.add(begin, f.op("and", size, one))
        state = [i64(0), const(self.word, 0), const("i1", 1)]
        for start, stop, vectors in ((begin, inner, BLOCK), (inner, whole, 1), (whole, end, 1)):
            loop = f.loop(start, stop, i64(vectors * lanes), state)
            last = f.sub(end, i64(1)) if start is whole else None
            state = f.end_loop(loop, self._step(source, loop.index, vectors, last, loop.values))
        m, least, _ = state
        trim, done = f.label("trim"), f.label("trimmed")
        f.branch_if(f.icmp("sgt", m, self.count), trim, done)
        f.start(trim)
        self._kept(m, least)
        f.branch(done)
        f.start(done)

    def _kept(self, m: Value, least: Value) -> Value:
        return self.f.call(self.keep, self.word, self.keys, self.indices, m, self.count, least)

    def _step(
        self, source: Value, v: Value, vectors: int, last: Value | None, state: list[Value]
    ) -> list[Value]:
        """Take some vectors: the next count of candidates, threshold, and whether all pass."""
        f, lanes = self.f, self.lanes
        m, least, everything = state
        bound, always = f.splat(least, lanes), f.splat(everything, lanes)
        places = [f.add(v, i64(i * lanes)) for i in range(vectors)]
        keys = [self._load(source, place, last) for place in places]
        masks = [f.op("or", f.icmp("ugt", key, bound), always) for key in keys]
        if last is not None:
            left = f.sub(f.add(last, i64(1)), v)
            masks = [f.op("and", mask, memory.below(f, left, lanes)) for mask in masks]
        passing = masks[0]
        for mask in masks[1:]:
            passing = f.op("or", passing, mask)
        before = f.block
        some, full, done = (f.label(hint) for hint in ("some", "full", "seen"))
        f.branch_if(f.icmp("ne", mask_bits(f, passing, lanes), i64(0)), some, done)
        f.start(some)
        end = m
        for place, key, mask in zip(places, keys, masks, strict=True):
            end = self._append(end, key, self._index(place, last), mask)
        f.branch_if(f.icmp("sgt", end, self.most), full, done)
        f.start(full)
        threshold = self._kept(end, least)
        f.branch(done)
        f.start(done)
        return [
            f.phi("i64", [(m, before), (end, some), (self.count, full)]),
            f.phi(self.word, [(least, before), (least, some), (threshold, full)]),
            f.phi("i1", [(everything, before), (everything, some), (const("i1", 0), full)]),
        ]

    def _append(self, end: Value, key: Value, index: Value, mask: Value) -> Value:
        f = self.f
        f.store(compressed(f, key, mask), f.gep(self.keys, end, self.word), 4)
        f.store(compressed(f, index, mask), f.gep(self.indices, end, "i32"), 4)
        return f.add(end, f.intrinsic("ctpop", mask_bits(f, mask, self.lanes)))

    def _load(self, source: Value, v: Value, last: Value | None) -> Value:
        """Keys of a vector, in the order visited; beyond ``last`` any."""
        f, record, lanes = self.f, self.record, self.lanes
        if self.spec.stage == MERGE:
            return self._fetch(
                self.listed[0], self.word, i64(4 if self.word == "i32" else 8), v, last
            )
        size = i64(record.dtype.size)
        word, step = record.word, size if self.spec.unit else self.code.steps[0]
        if not self.spec.largest:
            bits = self._fetch(source, word, step, v, last, self.spec.unit)
        elif self.spec.unit and last is None:
            low = f.sub(f.sub(self.n, i64(lanes)), v)
            bits = f.load(f.gep(source, f.mul(low, size)), vector(lanes, word), self._align)
            bits = f.shuffle(bits, None, range(lanes - 1, -1, -1))
        else:
            top = f.gep(source, f.mul(f.sub(self.n, i64(1)), step))
            bits = self._fetch(top, word, f.sub(i64(0), step), v, last, False)
        key = record.key(f, bits)
        if not self.spec.largest:
            key = f.op("xor", key, const(key.type, -1))
        return f.cast("zext", key, self.word) if word != self.word else key

    @property
    def _align(self) -> int:
        return 4 if self.record.dtype.is_complex else self.record.dtype.size

    def _fetch(
        self, base: Value, word: str, step: Value, v: Value, last: Value | None, unit: bool = True
    ) -> Value:
        f, lanes = self.f, self.lanes
        align = self._align if word == self.record.word else int(word[1:]) // 8
        type = vector(lanes, word)
        if unit and last is None:
            return f.load(f.gep(base, f.mul(v, step)), type, align)
        addresses = memory.strided_addresses(f, base, v, step, lanes, last)
        return f.gather(addresses, type, memory.full_mask(lanes), align)

    def _index(self, v: Value, last: Value | None) -> Value:
        """Where the elements of a vector come from."""
        f, lanes = self.f, self.lanes
        if self.spec.stage == MERGE:
            return self._fetch(self.listed[1], "i32", i64(4), v, last)
        ramp = lane_consts(vector(lanes, "i32"), range(lanes))
        if self.spec.largest:
            top = f.sub(f.sub(self.n, i64(1)), v)
            return f.sub(f.splat(f.cast("trunc", top, "i32"), lanes), ramp)
        return f.add(f.splat(f.cast("trunc", v, "i32"), lanes), ramp)

    # -- writing -----------------------------------------------------------------------

    def _index_at(self, position: Value) -> Value:
        return self.f.load(self.f.gep(self.indices, position, "i32"), "i32", 4)

    def _put(self, target: Value, position: Value, index: Value) -> None:
        f = self.f
        f.store(index, f.gep(target, f.mul(position, self.code.steps[1])), 4)

    def _hand_on(self, first: Value, left: Value) -> None:
        """Copy the chosen ones to the row's candidates; a short last chunk has fewer."""
        f = self.f
        loop = f.loop(i64(0), f.min(self.count, left), i64(1))
        for area, there, word in zip(
            (self.keys, self.indices), self.chosen, (self.word, "i32"), strict=True
        ):
            value = f.load(f.gep(area, loop.index, word), word, 4)
            f.store(value, f.gep(there, f.add(first, loop.index), word), 4)
        f.end_loop(loop)

    def _ascending(self, position: Value) -> Value:
        """Where in the buffer the index is that comes at a position in ascending order."""
        f = self.f
        return f.sub(f.sub(self.count, i64(1)), position) if self.spec.largest else position

    def _write(self, target: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), self.count, i64(1))
        self._put(target, loop.index, self._index_at(self._ascending(loop.index)))
        f.end_loop(loop)

    def _write_rest(self, target: Value) -> None:
        """All that were not chosen: the gaps between those that were."""
        f = self.f
        start = i64(0) if self.spec.largest else self.count
        loop = f.loop(i64(0), self.count, i64(1), [i64(0), start])
        index = f.cast("zext", self._index_at(self._ascending(loop.index)), "i64")
        begin, place = loop.values
        place = self._gap(target, begin, index, place)
        begin, place = f.end_loop(loop, [f.add(index, i64(1)), place])
        self._gap(target, begin, self.n, place)

    def _gap(self, target: Value, begin: Value, end: Value, place: Value) -> Value:
        f = self.f
        loop = f.loop(begin, end, i64(1), [place])
        self._put(target, loop.values[0], f.cast("trunc", loop.index, "i32"))
        return f.end_loop(loop, [f.add(loop.values[0], i64(1))])[0]

    def _write_bounded(self, target: Value) -> None:
        """The chosen ones, the worst of them next to the rest: that is its place when sorted."""
        f = self.f
        loop = f.loop(i64(0), self.count, i64(1), [i64(0), const(self.word, -1)])
        worst, least = loop.values
        key = f.load(f.gep(self.keys, loop.index, self.word), self.word, 4)
        worse = f.icmp("ule", key, least)
        worst, _ = f.end_loop(
            loop, [f.select(worse, loop.index, worst), f.select(worse, key, least)]
        )
        one = i64(-1 if self.spec.largest else 1)
        start = f.sub(self.n, i64(1)) if self.spec.largest else i64(0)
        loop = f.loop(i64(0), self.count, i64(1), [start])
        self._put(target, loop.values[0], self._index_at(loop.index))
        following = f.add(loop.values[0], one)
        same = f.icmp("eq", loop.index, worst)
        (place,) = f.end_loop(loop, [f.select(same, loop.values[0], following)])
        self._put(target, place, self._index_at(worst))
