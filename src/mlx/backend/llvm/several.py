"""The rows kernel where rows are short: several of them side by side.

A short row waits for itself: each of its passes for the fold of the one before, and a processor
looks little more than such a row ahead.  Rows side by side, pass by pass, don't wait for each
other; each keeps its own order, so no bit depends on it.
"""

from __future__ import annotations

from math import prod

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import ROW, Structure
from mlx.backend.llvm.folding import identity_lane
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Nest, Reduce
from mlx.compiler.runs import MANY

TOGETHER = {256: 4, 512: 2}
"""Rows side by side, by the bytes of a row (of its widest operand) up to which they pay: longer
ones wait for memory, which is fetched for one row after the other at its best."""
MOST_VALUES = 48
"""Of a kernel: each is code for every row."""
_PLAIN = {"unit", "stream", "zero"}


def rows_together(s: Structure, nest: Nest) -> int:
    """How many rows go side by side: more than one where they are reduced and then passed over
    again, short, and so many that they are worth the code."""
    reduces = any(isinstance(e, Reduce) for e in s.values)
    if s.split or not s.depth or not reduces or s.passes < 2 or len(s.values) > MOST_VALUES:
        return 1
    if any(a.kind not in _PLAIN or a.anywhere for a in s.accesses):
        return 1
    if prod(nest.outer) * nest.inner < MANY:
        return 1
    size = max(a.dtype.size for a in nest.accesses if a.dtype is not None)
    return next((n for most, n in TOGETHER.items() if nest.inner * size <= most), 1)


@dataclass(frozen=True)
class SeveralSpec(RowsSpec):
    """Consts as for rows."""

    together: int

    @property
    def key(self) -> str:
        return f"rows several {self.together} {self.structure.text}"

    @property
    def scratch_rows(self) -> int:
        return self.together

    def emit(self, module: Module, name: str) -> None:
        _Several(self, Kernel(module, name)).emit()


class _Place:
    """One of the rows side by side: where it lies, what is known of it, and what it keeps."""

    def __init__(
        self, pointers: list[Value], row: Value, fixed: dict[int, Lane], area: Value | None
    ) -> None:
        self.pointers = pointers
        self.row = row
        self.fixed = fixed
        self.area = area


class _Several(RowsKernel):
    """Emission of one such kernel."""

    spec: SeveralSpec

    def _prepare_steps(self) -> None:
        self.following = self.spec.together
        super()._prepare_steps()
        self.places: list[_Place] = []

    def _run(self, pointers: list[Value], first: Value, count: Value, row: Value) -> None:
        """Groups of rows, then those left one by one."""
        f, together = self.f, self.spec.together
        whole = f.op("and", count, i64(-together))
        loop = f.loop(i64(0), whole, i64(together))
        self._group([
            (self._moved(pointers, self.s.depth - 1, f.add(first, at)), f.add(row, at))
            for at in (f.add(loop.index, i64(i)) for i in range(together))
        ])  # fmt: skip
        f.end_loop(loop)
        left = f.add(row, whole)
        super()._run(pointers, f.add(first, whole), f.sub(count, whole), left)

    def _group(self, rows: list[tuple[list[Value], Value]]) -> None:
        outside = dict(self.fixed), getattr(self, "scratch_area", None)
        self.places = [
            _Place(pointers, row, dict(self.fixed), self._area(number))
            for number, (pointers, row) in enumerate(rows)
        ]
        for number in range(self.s.passes):
            for place in self.places:
                self._visit(place)
                self._fill(ROW, number)
            self._pass(number)
        for place in self.places:
            self._visit(place)
            self._row_results()
        self.places, self.fixed = [], outside[0]
        if outside[1] is not None:
            self.scratch_area = outside[1]

    def _area(self, number: int) -> Value | None:
        """Where a row of the group keeps its values."""
        if not self.s.scratch:
            return None
        f = self.f
        each = f.op("udiv", self.k.const(self.spec.scratch_slot + 2), i64(self.spec.together))
        return f.gep(self.scratch_area, f.mul(each, i64(number)))

    def _visit(self, place: _Place) -> None:
        """What follows is code of this row."""
        self.pointers, self.row, self.fixed = place.pointers, place.row, place.fixed
        if place.area is not None:
            self.scratch_area = place.area

    def _pass(self, number: int) -> None:
        """One pass of all rows: each step for all of them."""
        some = self._reduces(number)
        starts = [identity_lane(self.f, self.s.values[v]) for _ in self.places for v in some]
        span = self._span(number, self.spec.lanes)
        totals = self._steps({number: some}, {number: span}, starts)
        totals = self._tail({number: some}, span[1], totals)
        for at, place in enumerate(self.places):
            self._visit(place)
            for v, total in zip(some, totals[at * len(some) :], strict=False):
                self._finish(v, total)

    def _bodies(
        self, reduces: dict[int, list[int]], j: Value, mask: Value | None, totals: list[Lane]
    ) -> list[Lane]:
        ((number, some),) = reduces.items()
        if not self.places:
            return super()._bodies(reduces, j, mask, totals)
        merged: list[Lane] = []
        for at, place in enumerate(self.places):
            self._visit(place)
            here = totals[at * len(some) : (at + 1) * len(some)]
            merged += self._body(number, j, mask, some, here)
        return merged
