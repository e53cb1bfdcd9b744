"""Rows sorted by vectors, each by one task: elements become words, which are sorted in place.

A word is a record's key, or key and index in 64 bits; words that differ only where elements do
make the sort stable.  The words of a row lie in the result where they fit there.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.sorting.ordered import Ordered
from mlx.backend.llvm.sorting.quick import BUFFER, available, lanes_of_word, quick_function
from mlx.backend.llvm.sorting.records import Record, restore_where
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, bits_of, const, i64, lane_consts, vector
from mlx.base.frozen import dataclass


def word_of(record: Record) -> str | None:
    """The type of a record's words, if this machine sorts such words by vectors."""
    if record.wide or not available(host(), record.type):
        return None
    return record.type


def in_place(record: Record, unit: bool) -> bool:
    """Whether a row's whole result holds its words."""
    return unit and record.output == "value"


def scratch_bytes(record: Record, n: int, held: bool) -> int:
    """Of one worker: the buffer and, unless the result holds them, words."""
    return BUFFER + (0 if held else -(-n * record.size // 64) * 64)


class Words:
    """Emission of the ways between elements and words."""

    def __init__(self, f: Function, record: Record, code: RowCode, unit: bool) -> None:
        self.f, self.record, self.unit = f, record, unit
        self.step, self.out_step = code.steps
        self.word = record.type
        self.lanes, self.size = lanes_of_word(self.word), bits_of(self.word) // 8
        self.type = vector(self.lanes, self.word)

    def at(self, base: Value, index: Value) -> Value:
        return self.f.gep(base, index, self.word)

    def area(self, target: Value, other: Value, n: Value, first: Value, last: Value) -> Value:
        """Where a row's words are: in its result, if that holds all of them."""
        f = self.f
        if not in_place(self.record, self.unit):
            return other
        return f.select(f.icmp("eq", f.sub(last, first), n), target, other)

    def elements(self, source: Value, i: Value, left: Value | None) -> Value:
        """Bits of a vector of elements, of which the first ``left`` exist (None: all)."""
        f, record = self.f, self.record
        type, size = vector(self.lanes, record.word), record.dtype.size
        here = f.gep(source, f.mul(i, self.step))
        if not self.unit:
            last = None if left is None else f.sub(f.add(i, left), i64(1))
            places = memory.strided_addresses(f, source, i, self.step, self.lanes, last)
            return f.gather(places, type, memory.full_mask(self.lanes), size)
        if left is None:
            return f.load(here, type, size)
        return f.masked_load(here, type, memory.below(f, left, self.lanes), size, const(type, 0))

    def made(self, bits: Value, i: Value) -> Value:
        """The words of elements, the first of which is number i."""
        f, record = self.f, self.record
        key = record.key(f, bits)
        if not record.indexed:
            return key
        ramp = lane_consts(self.type, range(self.lanes))
        return record.packed(f, key, f.add(f.splat(i, self.lanes), ramp))

    def fill(self, source: Value, words: Value, n: Value) -> Value:
        """Write a row's words; whether an element was a negative zero."""
        f = self.f
        type = vector(self.lanes, "i1")
        state = [const(type, 0)]
        whole = f.op("and", n, i64(-self.lanes))
        for start, stop in ((i64(0), whole), (whole, n)):
            loop = f.loop(start, stop, i64(self.lanes), state)
            left = None if stop is whole else f.sub(n, loop.index)
            bits = self.elements(source, loop.index, left)
            self.put(self.made(bits, loop.index), self.at(words, loop.index), left)
            seen = self.record.is_negative_zero(f, bits)
            if left is not None:
                seen = f.op("and", seen, memory.below(f, left, self.lanes))
            state = f.end_loop(loop, [f.op("or", loop.values[0], seen)])
        return f.icmp("ne", f.bitcast(state[0], f"i{self.lanes}"), const(f"i{self.lanes}", 0))

    def put(self, values: Value, place: Value, left: Value | None) -> None:
        f = self.f
        size = bits_of(values.type[values.type.index("x ") + 2 : -1]) // 8
        if left is None:
            f.store(values, place, size)
        else:
            f.masked_store(values, place, memory.below(f, left, self.lanes), size)

    def write(self, words: Value, source: Value, target: Value, begin: Value, end: Value) -> None:
        """The results of words from begin to end, at these places of the target."""
        f, record = self.f, self.record
        if not self.unit:
            self._write_each(words, source, target, begin, end)
            return
        whole = f.add(begin, f.op("and", f.sub(end, begin), i64(-self.lanes)))
        for start, stop in ((begin, whole), (whole, end)):
            loop = f.loop(start, stop, i64(self.lanes))
            left = None if stop is whole else f.sub(end, loop.index)
            here = self.at(words, loop.index)
            if left is None:
                found = f.load(here, self.type, self.size)
            else:
                mask = memory.below(f, left, self.lanes)
                found = f.masked_load(here, self.type, mask, self.size, const(self.type, 0))
            if record.output == "index":
                result = f.cast("trunc", found, "i32")
            else:
                result = record.element(f, found)
            place = f.gep(target, f.mul(loop.index, i64(record.result_size)))
            self.put(result, place, left)
            f.end_loop(loop)

    def _write_each(
        self, words: Value, source: Value, target: Value, begin: Value, end: Value
    ) -> None:
        f = self.f
        loop = f.loop(begin, end, i64(1))
        one = f.load(self.at(words, loop.index), self.word, self.size)
        place = f.gep(target, f.mul(loop.index, self.out_step))
        self.record.store(f, one, source, self.step, place)
        f.end_loop(loop)


def budget(f: Function, n: Value) -> Value:
    """Partitions one within the other that are thought to suffice for n keys."""
    zeros = f.emit(f"call i64 @llvm.ctlz.i64(i64 {n.ref}, i1 false)", "i64")
    f.module.declare("llvm.ctlz.i64", "i64", ["i64", "i1"])
    return f.mul(f.sub(i64(64), zeros), i64(2))


@dataclass(frozen=True)
class WordSortSpec:
    """Consts: rows, rows a task, size, first and last place wanted; x and result along the axis;
    base, offset and bytes a worker of scratch."""

    record: Record
    depth: int
    unit: bool
    """Whether elements lie side by side."""

    @property
    def key(self) -> str:
        return f"sort words {self.record.text} {self.depth} {self.unit:d}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, record = k.f, self.record
        quick = quick_function(module, name, record.type)
        rows, each, n, first, last = (k.const(i) for i in range(5))
        code = RowCode(k, 5, self.depth, 2)
        slot = 5 + code.count
        buffer = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        words = Words(f, record, code, self.unit)
        ordered = Ordered(f, record, code.steps, self.unit)
        row0 = f.mul(k.task, each)
        loop = f.loop(row0, f.min(f.add(row0, each), rows), i64(1))
        source, target = code.row(loop.index)
        area = words.area(target, f.gep(buffer, i64(BUFFER)), n, first, last)
        origin = f.gep(target, f.mul(first, f.neg(code.steps[1])))

        def sort() -> None:
            signs = words.fill(source, area, n)
            ends = [const(record.type, 0), const(record.type, -1), budget(f, n)]
            f.call(quick, "void", area, n, *ends, buffer, first, last)
            words.write(area, source, origin, first, last)
            if record.loses_sign:
                restore_where(f, signs, record, n, code.steps, source, target, (first, last))

        f.where(
            ordered.holds(source, i64(0), n),
            lambda: ordered.write(source, origin, first, last),
            sort,
        )
        f.end_loop(loop)
        f.ret()
