"""Rows that are sorted already: found by a look that ends at the first pair out of order."""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.sorting.records import Record
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector

BLOCK = 256
"""Elements between two decisions to go on: what a look at a row in no order costs."""


class Ordered:
    """Emission of the look at a row, and of a sorted row's result.

    ``unit``: whether elements lie side by side, in the source and in the result.
    """

    def __init__(self, f: Function, record: Record, steps: Sequence[Value], unit: bool) -> None:
        self.f, self.record, self.steps, self.unit = f, record, steps, unit
        self.lanes = 64 // record.dtype.size

    def holds(self, source: Value, begin: Value, end: Value) -> Value:
        """Whether no element from begin to end is below the one before it."""
        f = self.f
        last = f.sub(end, i64(1))
        outer = f.loop(begin, last, i64(BLOCK), [const("i1", 1)])
        (good,) = outer.values
        block = f.min(f.add(outer.index, i64(BLOCK)), last)
        stop = f.select(good, block, outer.index)
        count = f.sub(stop, outer.index)
        whole = f.add(outer.index, f.op("and", count, i64(-self.lanes)))
        type = vector(self.lanes, "i1")
        loop = f.loop(outer.index, whole, i64(self.lanes), [const(type, 0)])
        (bad,) = f.end_loop(loop, [f.op("or", loop.values[0], self._falls(source, loop.index))])
        none = f.icmp("eq", f.bitcast(bad, f"i{self.lanes}"), const(f"i{self.lanes}", 0))
        loop = f.loop(whole, stop, i64(1), [f.op("and", good, none)])
        rises = f.op("xor", self._falls(source, loop.index, 1), const("i1", 1))
        (good,) = f.end_loop(loop, [f.op("and", loop.values[0], rises)])
        return f.end_loop(outer, [good])[0]

    def _falls(self, source: Value, i: Value, lanes: int = 0) -> Value:
        f, record = self.f, self.record
        here, there = (
            record.key(f, self._load(source, at, lanes or self.lanes))
            for at in (i, f.add(i, i64(1)))
        )
        return f.icmp("ugt", here, there)

    def _load(self, source: Value, i: Value, lanes: int) -> Value:
        f, word, size = self.f, self.record.word, self.record.dtype.size
        step = i64(size) if self.unit else self.steps[0]
        if lanes == 1:
            return f.load(f.gep(source, f.mul(i, step)), word, 1)
        type = vector(lanes, word)
        if self.unit:
            return f.load(f.gep(source, f.mul(i, step)), type, 1)
        addresses = memory.strided_addresses(f, source, i, step, lanes, None)
        return f.gather(addresses, type, memory.full_mask(lanes), 1)

    def write(self, source: Value, target: Value, begin: Value, end: Value) -> None:
        """The result of elements from begin to end: their places, or themselves."""
        f = self.f
        whole = begin
        if self.unit:
            size = f.op("and", f.sub(end, begin), i64(-self.lanes))
            whole = f.add(begin, size)
            self._write(source, target, begin, whole, self.lanes)
        self._write(source, target, whole, end, 1)

    def _write(self, source: Value, target: Value, begin: Value, end: Value, lanes: int) -> None:
        f, record = self.f, self.record
        size = record.result_size
        loop = f.loop(begin, end, i64(lanes))
        place = f.gep(target, f.mul(loop.index, i64(size) if self.unit else self.steps[1]))
        if record.output == "index":
            index = f.cast("trunc", loop.index, "i32")
            if lanes > 1:
                ramp = lane_consts(vector(lanes, "i32"), range(lanes))
                index = f.add(f.splat(index, lanes), ramp)
            f.store(index, place, 4)
        else:
            f.store(self._kept(self._load(source, loop.index, lanes)), place, 1)
        f.end_loop(loop)

    def _kept(self, bits: Value) -> Value:
        """An element's bits as a sort leaves them: all NaNs are one."""
        f, record = self.f, self.record
        if not record.dtype.is_float:
            return bits
        key = record.key(f, bits)
        nan = f.icmp("eq", key, const(key.type, -1))
        return f.select(nan, record.element(f, key), bits)
