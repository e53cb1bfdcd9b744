"""The rows kernel with reductions over the rows among its results.

A task owns a few residues of the row number modulo the lanes of the promised order, and visits
the rows with these residues in turn: each of its rows of accumulators is one lane of the order,
for every place of the inner loop.  A second kernel folds the lanes.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import Structure, accumulator, accumulator_lanes
from mlx.backend.llvm.frame import ROWS, ROWS_PER_TASK
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Accumulate, Expression, Load, Reduce
from mlx.compiler.sizes import least, most

PADDING = 192
"""Bytes between rows of accumulators, off the powers of two that share cache sets."""
PIECE = 8192
"""Bytes of consecutive rows that a task should read in one go."""


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


def residues(inner: int, size: int, period: int, workers: int) -> int:
    """Residues a task: neighbouring rows, as long as every worker has a task."""
    wanted = most(1, least(PIECE // (inner * size), period // workers))
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
        turns = f.loop(first, k.const(ROWS), i64(step))
        stop = f.min(f.add(turns.index, k.const(ROWS_PER_TASK)), k.const(ROWS))
        self._rows_between(turns.index, stop)
        f.end_loop(turns)

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
        (Where rows are reduced too, passes over them leave it the time.)"""
        if self.single_pass:
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
        f = self.f
        last = i64(accumulator_lanes(reduce.dtype) - 1)
        base = self._accumulators(access, f.op("and", self.row, last))
        at = f.gep(base, f.mul(j, i64(lane.dtype.size)))
        total = memory.load_unit(self.e, at, lane.dtype, mask)
        memory.store_unit(self.e, reduce.primitive.combine(self.e, total, lane), at, mask)
