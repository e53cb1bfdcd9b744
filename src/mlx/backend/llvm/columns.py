"""The columns kernel: reductions over an outer axis, with fused producers.

The last outer loop of the structure is the reduced one.  Each task owns a block of columns (and
a chunk of the reduced axis) and keeps, in its worker's scratch, as many rows of accumulators as
the promised order has lanes: element k is added to row k mod lanes, then the upper half of the
rows is folded onto the lower until one is left.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import (
    CONST,
    ROW,
    Structure,
    accumulator,
    accumulator_lanes,
)
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.compiler.nest import CHUNK, Accumulate, Load, Reduce
from mlx.compiler.sizes import least, most

BLOCK = 512
"""At most so many columns a task: 32 accumulator rows of them stay in the second-level cache."""
NARROW, SHALLOW = 128, 128
"""The same where so few rows are reduced that folding their accumulators, in the first cache then,
takes as long."""
AHEAD = 8
"""Rows of the reduced axis to fetch ahead."""
WIDEST = 32
"""Columns of a vector, at most."""
TOGETHER, LIGHT = 4, 8
"""Rows that are added to an accumulator while it is in a register, where no more values than
those are computed; else the arithmetic takes longer than the accumulator's way."""
Row = tuple[list[Value], dict[int, Lane]]
"""Where a row of each operand lies, and what is the same for all its columns."""
OUTERS, INNER, DEPTH, INNER_BLOCKS, CHUNKS = range(5)


@dataclass(frozen=True)
class ColumnsSpec(RowsSpec):
    """Consts: number of outer indices, inner size, reduced size, inner blocks, chunks of the
    reduced axis; then the sizes of all outer loops, arguments, accesses and scratch (base,
    offset, bytes a worker, columns a task) as for rows.  ``whole``: a task has all columns."""

    whole: bool = False

    @property
    def key(self) -> str:
        return "columns " + "whole " * self.whole + self.structure.text

    @property
    def lanes(self) -> int:
        return min(2 * host().lanes, WIDEST)

    def emit(self, module: Module, name: str) -> None:
        _Columns(self, Kernel(module, name)).emit()


def scratch_bytes(structure: Structure, block: int) -> int:
    """Accumulators of one worker."""
    total = 0
    for e in structure.values:
        if isinstance(e, Reduce):
            total += accumulator_lanes(e.dtype) * block * accumulator(e.dtype).size
    return total


def block_of(inner: int, depth: int, others: int, workers: int) -> int:
    """Columns a task, where there are so many tasks a block: two tasks a worker, or one where
    the parts of a row that a task reads would be shorter than 128 elements."""
    narrow = least(_share(inner, -(-workers // others)), 128)
    widest = NARROW if depth < SHALLOW else BLOCK
    return least(most(narrow, _share(inner, -(-2 * workers // others))), widest)


def _share(inner: int, parts: int) -> int:
    """One of so many parts in whole vectors."""
    return -(-inner // (parts * WIDEST)) * WIDEST


class _Columns(RowsKernel):
    """Emission of one columns kernel."""

    spec: ColumnsSpec

    def emit(self) -> None:
        k, f, spec, s = self.k, self.f, self.spec, self.s
        for slot in range(spec.scratch_slot + 4):
            k.const(slot)
        self.bases = [
            k.pointer(spec.access_slot + spec.access_size * a) for a in range(len(s.accesses))
        ]
        self.block = k.const(spec.scratch_slot + 3)
        area = k.pointer(spec.scratch_slot)
        self.area = f.gep(area, f.mul(k.worker, k.const(spec.scratch_slot + 2)))
        self.reduces = [v for v, e in enumerate(s.values) if isinstance(e, Reduce)]
        self.period = min(accumulator_lanes(s.values[v].dtype) for v in self.reduces)
        self._divide_task()
        self._fill(CONST, 0)
        self._prepare_steps()
        self._clear()
        outer = self.bases
        rest = self.outer_index
        for dim in reversed(range(s.depth - 1)):
            size = k.const(5 + dim)
            quotient = f.op("udiv", rest, size)
            outer = self._moved(outer, dim, f.sub(rest, f.mul(quotient, size)))
            rest = quotient
        self._depth(outer)
        for position, v in enumerate(self.reduces):
            self._fold_rows(position, v)
            for access in [a for value, a in s.stores if value == v]:
                self._write(position, v, access, outer)
        f.ret()

    def _divide_task(self) -> None:
        k, f = self.k, self.f
        rest = f.op("udiv", k.task, k.const(CHUNKS))
        self.chunk = f.sub(k.task, f.mul(rest, k.const(CHUNKS)))
        self.outer_index = f.op("udiv", rest, k.const(INNER_BLOCKS))
        block = f.sub(rest, f.mul(self.outer_index, k.const(INNER_BLOCKS)))
        self.j0 = f.mul(block, self.block)
        self.j1 = f.min(f.add(self.j0, self.block), k.const(INNER))
        self.k0 = f.mul(self.chunk, i64(CHUNK))
        self.k1 = f.min(f.add(self.k0, i64(CHUNK)), k.const(DEPTH))

    # -- accumulators ------------------------------------------------------------------

    def _base_of(self, position: int) -> Value:
        """Accumulators of one reduction."""
        before = 0
        for v in self.reduces[:position]:
            e = self.s.values[v]
            before += accumulator_lanes(e.dtype) * accumulator(e.dtype).size
        return self.f.gep(self.area, self.f.mul(self.block, i64(before)))

    def _clear(self) -> None:
        """Start those accumulators at the identity that the first rows don't."""
        f = self.f
        for position, v in enumerate(self.reduces):
            expression = self.s.values[v]
            assert isinstance(expression, Reduce)
            acc, rows = accumulator(expression.dtype), accumulator_lanes(expression.dtype)
            if rows == self.period:
                continue
            neutral = self.e.const(expression.primitive.identity(acc), acc)
            base = self._base_of(position)
            loop = f.loop(i64(0), f.mul(self.block, i64(rows)), i64(self.spec.lanes))
            memory.store_unit(self.e, neutral, f.gep(base, f.mul(loop.index, i64(acc.size))), None)
            f.end_loop(loop)

    def _depth(self, outer: list[Value]) -> None:
        """The reduced axis: the first rows start accumulators, then several rows of the same
        accumulator go together, then those left."""
        f = self.f
        step = self.period * TOGETHER
        first = f.min(f.add(self.k0, i64(self.period)), self.k1)
        rows = f.loop(self.k0, first, i64(1))
        self._rows_step(outer, [rows.index], True)
        f.end_loop(rows)
        if len(self.s.values) <= LIGHT and self._is_uniform():
            whole = f.op("udiv", f.sub(self.k1, first), i64(step))
            behind = f.add(first, f.mul(whole, i64(step)))
            turns = f.loop(first, behind, i64(step))
            stop = f.add(turns.index, i64(self.period))
            rows = f.loop(turns.index, stop, i64(1))
            more = [f.add(rows.index, i64(self.period * i)) for i in range(TOGETHER)]
            self._rows_step(outer, more, False)
            f.end_loop(rows)
            f.end_loop(turns)
            first = behind
        rows = f.loop(first, self.k1, i64(1))
        self._rows_step(outer, [rows.index], False)
        f.end_loop(rows)

    def _is_uniform(self) -> bool:
        return all(accumulator_lanes(self.s.values[v].dtype) == self.period for v in self.reduces)

    def _rows_step(self, outer: list[Value], indices: list[Value], fresh: bool) -> None:
        """A few indices of the reduced axis that share accumulators: all columns of the block."""
        f, lanes = self.f, self.spec.lanes
        outside, rows = dict(self.fixed), []
        for index in indices:
            self.pointers, self.fixed = self._moved(outer, self.s.depth - 1, index), dict(outside)
            self._fill(ROW, 0)
            rows.append((self.pointers, self.fixed))
        whole = f.add(self.j0, f.op("and", f.sub(self.j1, self.j0), i64(-lanes)))
        loop = f.loop(self.j0, whole, i64(lanes))
        self._columns_body(rows, loop.index, None, indices[0], fresh)
        f.end_loop(loop)

        def tail() -> None:
            mask = memory.below(f, f.sub(self.j1, whole), lanes)
            self._columns_body(rows, whole, mask, indices[0], fresh)

        f.where(f.icmp("slt", whole, self.j1), tail)
        self.fixed = outside

    def _load(self, expression: Load, j: Value, mask: Value | None) -> Lane:
        """Parts of rows are too far apart for the hardware to fetch ahead: the code asks for it."""
        if not self.spec.whole:
            self._ask(expression, j, i64(AHEAD))
        return super()._load(expression, j, mask)

    def _columns_body(
        self, rows: list[Row], j: Value, mask: Value | None, k_index: Value, fresh: bool
    ) -> None:
        totals: dict[int, Lane] = {}
        for self.pointers, self.fixed in rows:
            known: dict[int, Lane] = {}
            made = [
                (self._value(value, 0, j, mask, known), access)
                for value, access in self.s.stores
                if value not in self.reduces
            ]
            self._store_all(made, j, mask)
            for position, v in enumerate(self.reduces):
                expression = self.s.values[v]
                assert isinstance(expression, Reduce)
                lane = self._value(expression.operand, 0, j, mask, known)
                if v not in totals:
                    totals[v] = self._started(position, expression, j, k_index, fresh)
                lane = Lane(totals[v].dtype, *lane.parts)
                totals[v] = expression.primitive.combine(self.e, totals[v], lane)
        for position, v in enumerate(self.reduces):
            address = self._place(position, totals[v].dtype, j, k_index)
            memory.store_unit(self.e, totals[v], address, None)

    def _started(
        self, position: int, expression: Reduce, j: Value, k_index: Value, fresh: bool
    ) -> Lane:
        """An accumulator before a row is added."""
        acc = accumulator(expression.dtype)
        if fresh and accumulator_lanes(expression.dtype) == self.period:
            return self.e.const(expression.primitive.identity(acc), acc)
        return memory.load_unit(self.e, self._place(position, acc, j, k_index), acc, None)

    def _place(self, position: int, acc: Dtype, j: Value, k_index: Value) -> Value:
        """Where the accumulators of a row and columns lie."""
        f = self.f
        rows = accumulator_lanes(self.s.values[self.reduces[position]].dtype)
        row = f.op("and", f.sub(k_index, self.k0), i64(rows - 1))
        at = f.add(f.mul(row, self.block), f.sub(j, self.j0))
        return f.gep(self._base_of(position), f.mul(at, i64(acc.size)))

    def _fold_rows(self, position: int, v: int) -> None:
        """Accumulators that no row started hold the identity, which would change nothing."""
        f, expression = self.f, self.s.values[v]
        assert isinstance(expression, Reduce)
        acc = accumulator(expression.dtype)
        base = self._base_of(position)
        rows = accumulator_lanes(expression.dtype)
        started = f.sub(self.k1, self.k0) if rows == self.period else i64(rows)
        half = rows // 2
        while half:
            upper = f.sub(f.min(started, i64(2 * half)), i64(half))
            loop = f.loop(i64(0), f.mul(self.block, upper), i64(self.spec.lanes))
            low = f.gep(base, f.mul(loop.index, i64(acc.size)))
            high = f.gep(low, f.mul(self.block, i64(half * acc.size)))
            a = memory.load_unit(self.e, low, acc, None)
            b = memory.load_unit(self.e, high, acc, None)
            memory.store_unit(self.e, expression.primitive.combine(self.e, a, b), low, None)
            f.end_loop(loop)
            half //= 2

    def _write(self, position: int, v: int, access: int, outer: list[Value]) -> None:
        """The result, or for a split nest this chunk's part at [chunk, outer, column]."""
        f, expression, lanes = self.f, self.s.values[v], self.spec.lanes
        assert isinstance(expression, Reduce)
        acc = accumulator(expression.dtype)
        pointer = outer[access]
        if self.s.split:
            at = f.add(f.mul(self.chunk, self.k.const(OUTERS)), self.outer_index)
            pointer = f.gep(
                self.bases[access], f.mul(f.mul(at, self.k.const(INNER)), i64(acc.size))
            )
        out = acc if self.s.split else expression.dtype
        loop = f.loop(self.j0, self.j1, i64(lanes))
        at = f.mul(f.sub(loop.index, self.j0), i64(acc.size))
        lane = memory.load_unit(self.e, f.gep(self._base_of(position), at), acc, None)
        if out is not acc:
            lane = self.e.rounded(lane.v, out)
        mask = memory.below(f, f.sub(self.j1, loop.index), lanes)
        address = f.gep(pointer, f.mul(loop.index, i64(out.size)))
        memory.store_unit(self.e, lane, address, mask)
        f.end_loop(loop)


@dataclass(frozen=True)
class CombineSpec:
    """Folds partial results in place, upper half onto lower, and stores the first; ``unit``
    where the elements of a part lie side by side, so that vectors of them are folded.

    Consts: elements, parts, elements a task, element stride and part stride of the partial
    results (bytes), their base and offset, base and offset of the result.
    """

    primitive: str
    dtype: str
    reduce: Reduce | Accumulate
    unit: bool

    @property
    def key(self) -> str:
        return f"combine {self.primitive} {self.dtype}" + " unit" * self.unit

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, e = k.f, LaneEmitter(k.f, 2 * host().lanes if self.unit else 2)
        elements, parts, each, step, gap = (k.const(i) for i in range(5))
        source, target = k.pointer(5), k.pointer(7)
        acc = accumulator(self.reduce.dtype)
        start = f.mul(k.task, each)
        stop = f.min(f.add(start, each), elements)
        outer = f.loop(start, stop, i64(e.lanes if self.unit else 1))
        mask = memory.below(f, f.sub(stop, outer.index), e.lanes) if self.unit else None
        base = f.gep(source, f.mul(outer.index, step))
        before = f.block
        head, body, done = f.label("fold"), f.label("foldbody"), f.label("folddone")
        f.branch(head)
        f.start(head)
        mark = len(f.lines)
        n = f.emit(f"phi i64 [ {parts.ref}, %{before} ], @LATCH@", "i64")
        f.branch_if(f.icmp("sgt", n, i64(1)), body, done)
        f.start(body)
        half = f.op("lshr", f.add(n, i64(1)), i64(1))
        loop = f.loop(i64(0), f.sub(n, half), i64(1))
        low = f.gep(base, f.mul(loop.index, gap))
        high = f.gep(base, f.mul(f.add(loop.index, half), gap))
        a, b = self._load(e, low, acc, mask), self._load(e, high, acc, mask)
        self._store(e, self.reduce.primitive.combine(e, a, b), low, mask)
        f.end_loop(loop)
        f.lines[mark] = f.lines[mark].replace("@LATCH@", f"[ {half.ref}, %{f.block} ]")
        f.branch(head)
        f.start(done)
        total = self._load(e, base, acc, mask)
        if acc is not self.reduce.dtype:
            total = e.rounded(total.v, self.reduce.dtype)
        size = i64(self.reduce.dtype.size)
        self._store(e, total, f.gep(target, f.mul(outer.index, size)), mask)
        f.end_loop(outer)
        f.ret()

    def _load(self, e: LaneEmitter, address: Value, dtype: Dtype, mask: Value | None) -> Lane:
        if mask is None:
            return memory.load_splat(e, address, dtype)
        return memory.load_unit(e, address, dtype, mask)

    def _store(self, e: LaneEmitter, x: Lane, address: Value, mask: Value | None) -> None:
        if mask is None:
            memory.store_first(e, x, address)
        else:
            memory.store_unit(e, x, address, mask)
