"""The rows kernel with reductions over the rows among its results.

A task owns a few residues of the row number modulo the lanes of the promised order, and visits
the rows with these residues in turn: each of its rows of accumulators is one lane of the order,
for every place of the inner loop.  A second kernel folds the lanes.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.columns import Row
from mlx.backend.llvm.expressions import ROW, Structure, accumulator, accumulator_lanes
from mlx.backend.llvm.frame import ROWS, ROWS_PER_TASK
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Accumulate, Expression, Load, Nest, Reduce
from mlx.compiler.sizes import least, most

PADDING = 192
"""Bytes between rows of accumulators, off the powers of two that share cache sets."""
PIECE, PIECES = 1 << 13, 1 << 17
"""Bytes of consecutive rows that a task should read in one go, of each of several runs of rows."""
TOGETHER, LIGHT = 4, 8
"""Rows that are added to an accumulator while it is in a register, where no more values than
those are computed."""


def late_stores(structure: Structure) -> list[tuple[Accumulate, int]]:
    """The reductions over the rows, and their accesses."""
    pairs = [(structure.values[v], access) for v, access in structure.stores]
    return [(e, access) for e, access in pairs if isinstance(e, Accumulate)]


def period(structure: Structure) -> int:
    """The modulus of row numbers that tasks share out."""
    return min(accumulator_lanes(e.dtype) for e, _ in late_stores(structure))


def row_bytes(inner: int, reduce: Accumulate) -> int:
    """Of a row of accumulators: whole vectors."""
    return -(-inner // 32) * 32 * accumulator(reduce.dtype).size + PADDING


def is_light(structure: Structure) -> bool:
    """Whether rows that share accumulators are added together."""
    values, sums = structure.values, [e for e, _ in late_stores(structure)]
    alone = len(sums) == len(structure.stores) and structure.depth == 1
    same = len({accumulator_lanes(e.dtype) for e in sums}) == 1
    return (
        alone and same and len(values) <= LIGHT and not any(isinstance(e, Reduce) for e in values)
    )


def residues(nest: Nest, structure: Structure, workers: int) -> int:
    """Residues a task: neighbouring rows, as long as every worker has a task, or two tasks where
    these rows are long."""
    row = nest.inner * max(a.dtype.size for a in nest.accesses if a.dtype is not None)
    piece, tasks = (PIECES, 2 * workers) if is_light(structure) else (PIECE, workers)
    wanted = most(1, least(piece // row, period(structure) // tasks))
    return 1 << (int(wanted).bit_length() - 1)


@dataclass(frozen=True)
class LateSpec(RowsSpec):
    """Consts as for rows, where rows a task are residues a task; behind them base and offset of
    the accumulators, and bytes of a row of them, for each reduction over the rows."""

    @property
    def key(self) -> str:
        return "late " + self.structure.text

    @property
    def late_slot(self) -> int:
        return self.scratch_slot + (4 if self.structure.scratch else 0)

    def emit(self, module: Module, name: str) -> None:
        _Late(self, Kernel(module, name)).emit()


class _Late(RowsKernel):
    """Emission of one such kernel."""

    spec: LateSpec

    def emit(self) -> None:
        k = self.k
        self.following = period(self.s)
        self.light = is_light(self.s)
        self.single_pass = not any(isinstance(e, Reduce) for e in self.s.values)
        self.late = {access: e for e, access in late_stores(self.s)}
        self.areas: dict[int, tuple[Value, Value]] = {}
        for number, access in enumerate(self.late):
            slot = self.spec.late_slot + 3 * number
            self.areas[access] = k.pointer(slot), k.const(slot + 2)
        super().emit()

    def _rows_of_task(self) -> None:
        f, k = self.f, self.k
        step = period(self.s)
        first = f.mul(k.task, k.const(ROWS_PER_TASK))
        behind = f.add(first, k.const(ROWS_PER_TASK))
        self._clear(first, behind, step)
        if self.light:
            first = self._runs_together(first, step)
        turns = f.loop(first, k.const(ROWS), i64(step))
        stop = f.min(f.add(turns.index, k.const(ROWS_PER_TASK)), k.const(ROWS))
        self._rows_between(turns.index, stop)
        f.end_loop(turns)

    def _runs_together(self, first: Value, step: int) -> Value:
        """Turns of several runs of rows at once; where those that are left begin."""
        f, k, far = self.f, self.k, step * TOGETHER
        whole = f.mul(f.op("udiv", k.const(ROWS), i64(far)), i64(far))
        turns = f.loop(first, whole, i64(far))
        rows = f.loop(turns.index, f.add(turns.index, k.const(ROWS_PER_TASK)), i64(1))
        self._rows_together([f.add(rows.index, i64(step * i)) for i in range(TOGETHER)])
        f.end_loop(rows)
        f.end_loop(turns)
        return f.add(first, whole)

    def _rows_together(self, rows: list[Value]) -> None:
        """Rows that share accumulators, which are read and written once for all of them."""
        f, lanes = self.f, self.spec.lanes
        outside, places = dict(self.fixed), []
        for self.row in rows:
            self.pointers, self.fixed = self._moved(self.bases, 0, self.row), dict(outside)
            self._fill(ROW, 0)
            places.append((self.pointers, self.fixed))
        whole = f.add(self.j0, f.op("and", f.sub(self.j1, self.j0), i64(-lanes)))
        loop = f.loop(self.j0, whole, i64(lanes))
        self._add(places, loop.index, None)
        f.end_loop(loop)
        mask = memory.below(f, f.sub(self.j1, whole), lanes)
        f.where(f.icmp("slt", whole, self.j1), lambda: self._add(places, whole, mask))
        self.fixed = outside

    def _add(self, places: list[Row], j: Value, mask: Value | None) -> None:
        """A step of all these rows."""
        totals: dict[int, tuple[Value, Lane]] = {}
        for self.pointers, self.fixed in places:
            known: dict[int, Lane] = {}
            made = [(self._value(v, 0, j, mask, known), access) for v, access in self.s.stores]
            self._store_all([m for m in made if m[1] not in self.late], j, mask)
            for lane, access in made:
                if access not in self.late:
                    continue
                at, total = totals.get(access) or self._total(access, j, mask)
                total = self.late[access].primitive.combine(self.e, total, lane)
                totals[access] = at, total
        for at, total in totals.values():
            memory.store_unit(self.e, total, at, mask)

    def _total(self, access: int, j: Value, mask: Value | None) -> tuple[Value, Lane]:
        """Where the accumulators of this row and step lie, and what they hold."""
        f, reduce = self.f, self.late[access]
        acc = accumulator(reduce.dtype)
        last = i64(accumulator_lanes(reduce.dtype) - 1)
        base = self._accumulators(access, f.op("and", self.row, last))
        at = f.gep(base, f.mul(j, i64(acc.size)))
        return at, memory.load_unit(self.e, at, acc, mask)

    def _clear(self, first: Value, behind: Value, step: int) -> None:
        """Start this task's accumulators at the identity."""
        f = self.f
        for access, reduce in self.late.items():
            acc = accumulator(reduce.dtype)
            neutral = self.e.const(reduce.primitive.identity(acc), acc)
            for more in range(0, accumulator_lanes(reduce.dtype), step):
                row = f.loop(f.add(first, i64(more)), f.add(behind, i64(more)), i64(1))
                base = self._accumulators(access, row.index)
                loop = f.loop(self.j0, self.j1, i64(self.spec.lanes))
                at = f.gep(base, f.mul(loop.index, i64(acc.size)))
                memory.store_unit(self.e, neutral, at, None)
                f.end_loop(loop)
                f.end_loop(row)

    def _accumulators(self, access: int, lane: Value) -> Value:
        area, step = self.areas[access]
        return self.f.gep(area, self.f.mul(lane, step))

    def _load(self, expression: Load, j: Value, mask: Value | None) -> Lane:
        """Asks for the rows of the next turn, which lie too far ahead for the hardware to.
        (Where rows are reduced too, passes over them leave it the time; several runs of rows at
        once are read as fast as memory goes.)"""
        if self.single_pass and not self.light:
            self._ask(expression, j, i64(self.following))
        return super()._load(expression, j, mask)

    def _full(
        self, expression: Expression, j: Value, mask: Value | None, known: dict[int, Lane]
    ) -> Lane:
        """Of a reduction over the rows: the element that this row adds."""
        if isinstance(expression, Accumulate):
            operand = expression.operand
            lane = known.get(operand) or self.fixed[operand]
            return Lane(accumulator(expression.dtype), *lane.parts)
        return super()._full(expression, j, mask, known)

    def _store(self, lane: Lane, access: int, j: Value, mask: Value | None) -> None:
        reduce = self.late.get(access)
        if reduce is None:
            super()._store(lane, access, j, mask)
            return
        at, total = self._total(access, j, mask)
        memory.store_unit(self.e, reduce.primitive.combine(self.e, total, lane), at, mask)
