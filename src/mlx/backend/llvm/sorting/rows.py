"""Rows sorted each by one task: radix sort, least significant digit first, in scratch.
A row that is sorted already is copied."""

from __future__ import annotations

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.sorting.ordered import Ordered
from mlx.backend.llvm.sorting.records import Record, restore_where
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.frozen import dataclass

DIGIT = 8
BUCKETS = 1 << DIGIT
COUNTS = BUCKETS * 8
"""Bytes of one digit's table: i64 counts, then offsets."""


def scratch_bytes(record: Record, n: int) -> int:
    """Of one worker: two rows of records and the tables of all digits."""
    return 2 * (-(-n * record.size // 64) * 64) + record.dtype.size * COUNTS


@dataclass(frozen=True)
class RowSortSpec:
    """Consts: rows, rows a task, size, first and last place wanted; x and result along the axis;
    base, offset and bytes a worker of scratch."""

    record: Record
    depth: int
    unit: bool
    """Whether elements lie side by side."""

    @property
    def key(self) -> str:
        return f"sort rows {self.record.text} {self.depth} {self.unit:d}"

    def emit(self, module: Module, name: str) -> None:
        _RowSort(self, Kernel(module, name)).emit()


class _RowSort:
    """Emission of one kernel."""

    def __init__(self, spec: RowSortSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f, self.record = spec, kernel, kernel.f, spec.record
        self.digits = spec.record.dtype.size

    def emit(self) -> None:
        k, f = self.k, self.f
        rows, each, self.n = (k.const(i) for i in range(3))
        self.part = k.const(3), k.const(4)
        code = RowCode(k, 5, self.spec.depth, 2)
        slot = 5 + code.count
        self.tables = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        first = f.gep(self.tables, i64(self.digits * COUNTS))
        row_bytes = f.op("and", f.add(f.mul(self.n, i64(self.record.size)), i64(63)), i64(-64))
        second = f.gep(first, row_bytes)
        self.step, self.out_step = code.steps
        row0 = f.mul(k.task, each)
        loop = f.loop(row0, f.min(f.add(row0, each), rows), i64(1))
        source, target = code.row(loop.index)
        ordered = Ordered(f, self.record, code.steps, self.spec.unit)

        def sort() -> None:
            signs = self._fill(source, first)
            self._write(self._sort(first, second), source, target)
            if self.record.loses_sign:
                steps = code.steps
                restore_where(f, signs, self.record, self.n, steps, source, target, self.part)

        def copy() -> None:
            begin, end = self.part
            ordered.write(source, f.gep(target, f.mul(begin, f.neg(self.out_step))), begin, end)

        f.where(ordered.holds(source, i64(0), self.n), copy, sort)
        f.end_loop(loop)
        f.ret()

    def _fill(self, source: Value, to: Value) -> Value:
        """Records of a row, and counts of all digits; whether there was a negative zero."""
        f, record = self.f, self.record
        clear_table(f, self.tables, self.digits * COUNTS)
        loop = f.loop(i64(0), self.n, i64(1), [const("i1", 0)])
        bits = f.load(f.gep(source, f.mul(loop.index, self.step)), record.word, 1)
        made = record.make(f, bits, loop.index)
        f.store(made, record_at(f, record, to, loop.index), 1)
        for digit in range(self.digits):
            bucket = record.digit(f, made, i64(DIGIT * digit), DIGIT)
            count(f, f.gep(self.tables, i64(digit * COUNTS)), bucket)
        seen = f.op("or", loop.values[0], record.is_negative_zero(f, bits))
        return f.end_loop(loop, [seen])[0]

    def _sort(self, first: Value, second: Value) -> Value:
        """Move records between two rows, digit by digit; where they end up."""
        f, record = self.f, self.record
        loop = f.loop(i64(0), i64(self.digits), i64(1), [first, second])
        source, target = loop.values
        table = f.gep(self.tables, f.mul(loop.index, i64(COUNTS)))
        shift = f.mul(loop.index, i64(DIGIT))
        any_bucket = record.digit(f, f.load(source, record.type, 1), shift, DIGIT)
        alike = f.icmp("eq", f.load(f.gep(table, any_bucket, "i64"), "i64", 8), self.n)
        before = f.block
        move, done = f.label("move"), f.label("moved")
        f.branch_if(alike, done, move)
        f.start(move)
        sums = f.loop(i64(0), i64(BUCKETS), i64(1), [i64(0)])
        place = f.gep(table, sums.index, "i64")
        here = f.load(place, "i64", 8)
        f.store(sums.values[0], place, 8)
        f.end_loop(sums, [f.add(sums.values[0], here)])
        each = f.loop(i64(0), self.n, i64(1))
        one = f.load(record_at(f, record, source, each.index), record.type, 1)
        at = count(f, table, record.digit(f, one, shift, DIGIT))
        f.store(one, record_at(f, record, target, at), 1)
        f.end_loop(each)
        after = f.block
        f.branch(done)
        f.start(done)
        ends = [
            f.phi("ptr", [(a, before), (b, after)]) for a, b in ((source, target), (target, source))
        ]
        return f.end_loop(loop, ends)[0]

    def _write(self, records: Value, source: Value, target: Value) -> None:
        f, record = self.f, self.record
        first, last = self.part
        loop = f.loop(first, last, i64(1))
        one = f.load(record_at(f, record, records, loop.index), record.type, 1)
        place = f.gep(target, f.mul(f.sub(loop.index, first), self.out_step))
        record.store(f, one, source, self.step, place)
        f.end_loop(loop)


def record_at(f: Function, record: Record, base: Value, index: Value) -> Value:
    return f.gep(base, f.mul(index, i64(record.size)))


def clear_table(f: Function, table: Value, nbytes: int) -> None:
    loop = f.loop(i64(0), i64(nbytes), i64(64))
    f.store(const("<8 x i64>", 0), f.gep(table, loop.index), 8)
    f.end_loop(loop)


def count(f: Function, table: Value, bucket: Value) -> Value:
    """Add one to a bucket's entry; what it was before."""
    place = f.gep(table, bucket, "i64")
    value = f.load(place, "i64", 8)
    f.store(f.add(value, i64(1)), place, 8)
    return value
