"""The rows kernel where rows come from memory: all passes at once, each in a row of its own.

The last pass stores a row while the one before computes the next row and the first reads another
one, so that memory reads, memory writes and arithmetic never wait for each other.  What passes
know of a row (its reductions, its scratch) travels with it; no result changes.

A row enters the first pass one turn after the row before it; a task's first and last turns have
rows for some passes only, which then run one after the other.
"""

from __future__ import annotations

from functools import partial

from mlx.backend.llvm import ahead
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import ROW, Structure
from mlx.backend.llvm.folding import regroup
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec, Spans
from mlx.backend.llvm.values import Value, const, element_of, i64
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Accumulate
from mlx.compiler.sizes import Number, most

PASSES = range(2, 6)
"""So many passes: more need more registers than there are."""
AHEAD = 4096
"""Bytes that memory is asked for ahead, in the pass that computes most: requests in one go wait."""
LONGEST = 1 << 18
"""Bytes of a row (of one operand) beyond which several of them would not stay in cache."""
ROWS_EACH = 8
"""Rows of a task for each pass, at least: the first and last ones run alone."""
BLOCK = 128
"""Elements that a pass computes before the next pass has its turn.  Each pass is a block ahead of
the one before it: where rows are a multiple of 4 KiB, what it stores would else look like what
the others are about to load (a single step of each in turn took twice as long)."""
TASKS_EACH = 4
"""Tasks of a worker, at least, so that workers finish together."""


def can_pipeline(s: Structure, inner: Number) -> bool:
    """Whether passes can be in different rows, and memory would wait for arithmetic otherwise:
    results that leave the caches, and values costly enough to be kept between passes.  (Without
    these, as in log_softmax and layer_norm, it took a tenth longer.)"""
    kinds = [access.kind for access in s.accesses]
    is_plain = not s.split and s.depth > 0 and {"interleaved", "staged"}.isdisjoint(kinds)
    if not is_plain or s.passes not in PASSES or "stream" not in kinds:
        return False
    if any(isinstance(e, Accumulate) for e in s.values) or not s.scratch:
        return False
    size = max(dtype_named(a.dtype).size for a in s.accesses if a.dtype != "index")
    return bool(inner > BLOCK * s.passes) and bool(inner * size <= LONGEST)


def rows_each(s: Structure, rows: Number, each: Number, workers: int) -> Number:
    """Rows of a task: more than ``each`` where so few would hardly be in several passes."""
    tasks = most(TASKS_EACH * workers, rows // (ROWS_EACH * s.passes))
    return most(each, -(-rows // tasks))


@dataclass(frozen=True)
class PipelinedSpec(RowsSpec):
    """Consts as for rows."""

    @property
    def key(self) -> str:
        return "pipelined " + self.structure.text

    @property
    def scratch_rows(self) -> int:
        """Rows of each kept value that are under way at once."""
        s = self.structure
        return max([s.passes - 1 - s.levels[v] for v in s.scratch], default=1)

    def emit(self, module: Module, name: str) -> None:
        _Pipelined(self, Kernel(module, name)).emit()


class _Stage:
    """Where a pass is: its row, and the values of that row."""

    __slots__ = ("area", "fixed", "pointers", "row")

    row: Value
    pointers: list[Value]
    fixed: dict[int, Lane]
    area: Value


class _Pipelined(RowsKernel):
    """Emission of one such kernel."""

    spec: PipelinedSpec

    def _prepare_steps(self) -> None:
        super()._prepare_steps()
        self.fetching = []
        self.asking = ahead.busiest_pass(self.s)
        self.first_reads = ahead.first_reads(self.s)
        self.last = self.s.passes - 1
        self.carried = [v for number in range(self.last) for v in self._reduces(number)]
        self.stages = [_Stage() for _ in range(self.s.passes)]
        if self.s.scratch:
            self.areas = self.scratch_area

    # -- turns -------------------------------------------------------------------------

    def _run(self, pointers: list[Value], first: Value, count: Value, row: Value) -> None:
        f, outside = self.f, self.fixed
        turns = f.add(count, i64(self.last))
        starts = [p for v in self.carried for p in self._nothing(v) for _ in self._users(v)]
        loop = f.loop(i64(0), turns, i64(1), starts)
        self._arrive(loop.index, pointers, first, loop.values)
        full = f.icmp("slt", loop.index, count)
        full = f.op("and", full, f.icmp("sge", loop.index, i64(self.last)))
        made = f.either(full, self._together, lambda: self._singly(count))
        f.end_loop(loop, self._passed_on(loop.values, made))
        self.fixed = outside

    def _users(self, v: int) -> range:
        """The passes that may need the result of a reduction, each a turn after the other."""
        return range(self.s.levels[v], self.s.passes)

    def _nothing(self, v: int) -> list[Value]:
        parts = self.e.const(0, self.s.values[v].dtype).parts
        return [const(element_of(p.type), 0) for p in parts]

    def _passed_on(self, values: list[Value], made: list[Value]) -> list[Value]:
        """What is carried to the next turn: new results first, older ones a pass further."""
        out: list[Value] = []
        results = iter(made)
        for v in self.carried:
            for _ in self._nothing(v):
                older = values[len(out) : len(out) + len(self._users(v)) - 1]
                out += [next(results), *older]
        return out

    def _arrive(
        self, turn: Value, pointers: list[Value], first: Value, values: list[Value]
    ) -> None:
        """The row of each pass in this turn, and what earlier passes know of it."""
        f = self.f
        for number, stage in enumerate(self.stages):
            stage.row = f.sub(turn, i64(number))
            at = f.add(first, stage.row)
            stage.pointers = self._moved(pointers, self.s.depth - 1, at)
            stage.fixed = dict(self.fixed)
            if self.s.scratch:
                slot = f.op("urem", stage.row, i64(self.spec.scratch_rows))
                each = f.op("udiv", self._worker_bytes(), i64(self.spec.scratch_rows))
                stage.area = f.gep(self.areas, f.mul(slot, each))
        self._ask_for_ends(self.stages[0].pointers)
        begin = 0
        for v in self.carried:
            kept = [values[begin + i :: len(self._users(v))] for i in range(len(self._users(v)))]
            width = len(self._nothing(v))
            for number, parts in zip(self._users(v), kept, strict=True):
                splats = [f.splat(p, self.spec.lanes) for p in parts[:width]]
                self.stages[number].fixed[v] = Lane(self.s.values[v].dtype, *splats)
            begin += width * len(self._users(v))

    def _worker_bytes(self) -> Value:
        return self.k.const(self.spec.scratch_slot + 2)

    # -- passes ------------------------------------------------------------------------

    def _enter(self, number: int) -> None:
        stage = self.stages[number]
        self.pointers, self.fixed, self.row = stage.pointers, stage.fixed, stage.row
        if self.s.scratch:
            self.scratch_area = stage.area

    def _passes(self, numbers: list[int]) -> list[Value]:
        """Passes at once, each in its row; the results of their reductions."""
        before = [dict(stage.fixed) for stage in self.stages]
        for number in numbers:
            self._enter(number)
            self._fill(ROW, number)
        self._sweep(numbers)
        if self.last in numbers:
            self._enter(self.last)
            self._row_results()
        found = [
            self.f.extract(part, 0)
            for number in sorted(numbers)
            if number != self.last
            for v in self._reduces(number)
            for part in self.stages[number].fixed[v].parts
        ]
        for stage, fixed in zip(self.stages, before, strict=True):
            stage.fixed = fixed
        return found

    def _together(self) -> list[Value]:
        """All passes.  The last comes first: it reads kept values where new ones are kept."""
        return self._passes(list(reversed(range(self.s.passes))))

    def _steps(self, reduces: dict[int, list[int]], spans: Spans, totals: list[Lane]) -> list[Lane]:
        """Of several passes, a block of each in turn."""
        if len(reduces) == 1:
            return super()._steps(reduces, spans, totals)
        f = self.f
        flat = [p for lane in totals for p in lane.parts]
        loop = f.loop(i64(-BLOCK * self.last), f.sub(self.j1, self.j0), i64(BLOCK), flat)
        left, merged = regroup(totals, loop.values), list[Lane]()
        for number, some in reduces.items():
            self._enter(number)
            start, stop = spans[number]
            low = f.add(start, f.add(loop.index, i64(BLOCK * number)))
            high = f.min(f.add(low, i64(BLOCK)), stop)
            here, left = left[: len(some)], left[len(some) :]
            merged += super()._steps({number: some}, {number: (f.max(low, start), high)}, here)
        return regroup(totals, f.end_loop(loop, [p for lane in merged for p in lane.parts]))

    def _singly(self, count: Value) -> list[Value]:
        """The passes that have a row in this turn."""
        f, made = self.f, dict[int, list[Value]]()
        for number in reversed(range(self.s.passes)):
            active = f.icmp("ult", self.stages[number].row, count)
            mine = self._reduces(number) if number != self.last else []
            nothing = [p for v in mine for p in self._nothing(v)]
            made[number] = f.changed(active, nothing, partial(self._passes, [number]))
        return [value for number in sorted(made) for value in made[number]]

    def _body(
        self, number: int, j: Value, mask: Value | None, reduces: list[int], totals: list[Lane]
    ) -> list[Lane]:
        if mask is None and number == self.asking:
            for access, first in self.first_reads.items():
                at = self.f.gep(self.stages[first].pointers[access], i64(AHEAD))
                ahead.fetch(self.f, self.s, access, at, j, self.spec.lanes)
        return super()._body(number, j, mask, reduces, totals)
