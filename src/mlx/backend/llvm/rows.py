"""The rows kernel: parallel rows, and inside each a sequence of inner passes.

Elementwise maps, inner reductions and all that mixes them are this one kind.  What crosses
passes is a scalar per row, a scratch row in cache, or computed again.

Order of a reduction (design: reproducible): inside a chunk, element k goes to accumulator lane
k mod (128 bytes of lanes); then the upper half of the lanes is folded onto the lower until one
is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from mlx.backend.llvm import ahead, aligned, memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.abreast import steps_abreast
from mlx.backend.llvm.expressions import FULL, ROW, Structure, compute, operands
from mlx.backend.llvm.folding import fold, fold_lanes, identity_lane, regroup
from mlx.backend.llvm.frame import INNER_CHUNKS, OUTER
from mlx.backend.llvm.interleaved import load_reversed
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.row_values import RowValues
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import Dtype, dtype_named
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Argument, Expression, Index, Load, Reduce

MANY_PLACES = 8
"""Elements of runs beyond which values of two registers each are too many for the processor."""

Spans = Mapping[int, tuple[Value, Value]]
"""Of passes: where their whole steps begin and end."""


@dataclass(frozen=True)
class RowsSpec:
    """Generates the kernel of a structure.

    Consts: rows, inner, rows per task, inner chunk, inner chunks a row, then the outer sizes,
    a base index an argument, (base, offset, outer strides, inner stride) an access in bytes,
    and for scratch: base, offset, bytes a worker, bytes a scratch row.
    """

    structure: Structure

    @property
    def key(self) -> str:
        return "rows " + self.structure.text

    @property
    def argument_slot(self) -> int:
        return OUTER + self.structure.depth

    @property
    def access_slot(self) -> int:
        return self.argument_slot + sum(isinstance(e, Argument) for e in self.structure.values)

    @property
    def access_size(self) -> int:
        return 3 + self.structure.depth

    @property
    def scratch_slot(self) -> int:
        return self.access_slot + self.access_size * len(self.structure.accesses)

    @property
    def scratch_rows(self) -> int:
        """Scratch rows of each value that is kept."""
        return 1

    @cached_property
    def lanes(self) -> int:
        """32 where something is reduced (the order's lanes), else two vector registers, or one
        where a register for each element of long runs leaves room for no more."""
        if any(isinstance(e, Reduce) for e in self.structure.values):
            return 32
        return host().lanes if self._has_long_runs() else 2 * host().lanes

    def _has_long_runs(self) -> bool:
        return any(
            a.span > MANY_PLACES and dtype_named(a.dtype).size >= 4 for a in self.structure.accesses
        )

    def emit(self, module: Module, name: str) -> None:
        RowsKernel(self, Kernel(module, name)).emit()


class RowsKernel(RowValues):
    """Emission of one rows kernel."""

    # -- one row -----------------------------------------------------------------------

    def _row(self, pointers: list[Value], row: Value) -> None:
        self.pointers, self.row = pointers, row
        self._ask_for_ends(pointers)
        outside = dict(self.fixed)
        for number in range(self.s.passes):
            self._fill(ROW, number)
            self._sweep([number])
        self._row_results()
        self.fixed = outside

    def _row_results(self) -> None:
        """Store what a row has one of, after all passes."""
        self._fill(ROW, self.s.passes)
        for value, access in self.s.stores:
            if self.s.split and isinstance(self.s.values[value], Reduce):
                continue
            if self.s.accesses[access].kind == "zero":
                memory.store_first(self.e, self.fixed[value], self.pointers[access])

    # -- passes over the inner loop ----------------------------------------------------

    def _enter(self, number: int) -> None:
        """What follows is code of this pass; where passes are in rows of their own, of its row."""

    def _reduces(self, number: int) -> list[int]:
        """The reductions that a pass completes."""
        s = self.s
        return [
            v for v, x in enumerate(s.values) if isinstance(x, Reduce) and s.levels[v] == number + 1
        ]

    def _sweep(self, numbers: Sequence[int]) -> None:
        """One pass, or several at once."""
        f, lanes = self.f, self.spec.lanes
        abreast = steps_abreast(self.s)
        if abreast > 1:
            self._map(abreast)
            return
        reduces = {number: self._reduces(number) for number in numbers}
        starts = [identity_lane(f, self.s.values[v]) for some in reduces.values() for v in some]
        spans = {number: self._span(number, lanes) for number in numbers}
        for number in self.leaders.keys() & spans.keys():
            # First: a pass in another row may keep its values where this one finds its own.
            self._enter(number)
            self._edges(number, *spans[number])
        totals = self._steps(reduces, spans, starts)
        begun = {number: some for number, some in reduces.items() if number not in self.leaders}
        if begun:
            totals = self._tail(begun, spans[next(iter(begun))][1], totals)
        left = iter(totals)
        for number, some in reduces.items():
            self._enter(number)
            for v in some:
                self._finish(v, next(left))

    def _span(self, number: int, elements: int) -> tuple[Value, Value]:
        """Where the whole steps of a pass, of so many elements, begin and end."""
        f, begin = self.f, self.j0
        leader = self.leaders.get(number)
        if leader is not None:
            self._enter(number)
            size = dtype_named(self.s.accesses[leader].dtype).size
            address = f.gep(self.pointers[leader], f.mul(begin, i64(size)))
            begin = f.min(
                f.add(begin, aligned.before_line(f, address, size, self.spec.lanes)), self.j1
            )
        return begin, f.add(begin, f.op("and", f.sub(self.j1, begin), i64(-elements)))

    def _ask_for_ends(self, pointers: list[Value]) -> None:
        """Ask for the lines that a row shares with its neighbours: stores behind one that misses
        would wait, for nothing else asks for them."""
        f = self.f
        for access in self.leaders.values():
            size = dtype_named(self.s.accesses[access].dtype).size
            for j in (self.j0, self.j1):
                memory.prefetch(f, f.gep(pointers[access], f.mul(j, i64(size))))

    def _edges(self, number: int, begin: Value, whole: Value) -> None:
        """Masked steps for what lies before and behind the whole steps of a pass that folds
        nothing: one step of the loop is for what lies before."""
        f, lanes = self.f, self.spec.lanes
        before = f.sub(begin, self.j0)
        ahead_of = f.select(f.icmp("sgt", before, i64(0)), i64(-lanes), i64(0))
        loop = f.loop(f.add(whole, ahead_of), self.j1, i64(lanes))
        first = f.icmp("slt", loop.index, whole)
        at = f.select(first, self.j0, loop.index)
        count = f.select(first, before, f.sub(self.j1, loop.index))
        self._body(number, at, memory.below(f, count, lanes), [], [])
        f.end_loop(loop)

    def _map(self, abreast: int) -> None:
        """The only pass of a map: several steps at once, and what is left in masked ones."""
        f, lanes = self.f, self.spec.lanes
        begin, whole = self._span(0, abreast * lanes)
        loop = f.loop(begin, whole, i64(abreast * lanes))
        self._side_by_side([f.add(loop.index, i64(step * lanes)) for step in range(abreast)])
        f.end_loop(loop)
        self._edges(0, begin, whole)

    def _side_by_side(self, steps: list[Value]) -> None:
        """Steps of a map, each value of all of them in turn."""
        known: list[dict[int, Lane]] = [{} for _ in steps]
        for j in steps:
            self._fetch_share(0, j)
        for v, expression in enumerate(self.s.values):
            if self.s.spaces[v] == FULL:
                for j, mine in zip(steps, known, strict=True):
                    mine[v] = self._full(expression, j, None, mine)
        for j, mine in zip(steps, known, strict=True):
            made = [(mine.get(v) or self.fixed[v], access) for v, access in self.s.stores]
            self._store_all(made, j, None)

    def _steps(self, reduces: dict[int, list[int]], spans: Spans, totals: list[Lane]) -> list[Lane]:
        """Whole steps of the inner loop, for one pass."""
        f = self.f
        ((start, stop),) = (spans[number] for number in reduces)
        flat = [p for lane in totals for p in lane.parts]
        loop = f.loop(start, stop, i64(self.spec.lanes), flat)
        merged = self._bodies(reduces, loop.index, None, regroup(totals, loop.values))
        return regroup(totals, f.end_loop(loop, [p for lane in merged for p in lane.parts]))

    def _tail(self, reduces: dict[int, list[int]], whole: Value, totals: list[Lane]) -> list[Lane]:
        f = self.f

        def merged() -> list[Value]:
            mask = memory.below(f, f.sub(self.j1, whole), self.spec.lanes)
            lanes = self._bodies(reduces, whole, mask, totals)
            return [p for lane in lanes for p in lane.parts]

        parts = [p for lane in totals for p in lane.parts]
        return regroup(totals, f.changed(f.icmp("slt", whole, self.j1), parts, merged))

    def _bodies(
        self, reduces: dict[int, list[int]], j: Value, mask: Value | None, totals: list[Lane]
    ) -> list[Lane]:
        """One step of the inner loop in each pass of a sweep."""
        merged: list[Lane] = []
        for number, some in reduces.items():
            self._enter(number)
            here = totals[len(merged) : len(merged) + len(some)]
            merged += self._body(number, j, mask, some, here)
        return merged

    def _body(
        self, number: int, j: Value, mask: Value | None, reduces: list[int], totals: list[Lane]
    ) -> list[Lane]:
        """One step of a pass: what it stores, keeps and folds."""
        s = self.s
        known: dict[int, Lane] = {}
        if mask is None:
            self._fetch_share(number, j)
        for v in s.scratch:
            if s.levels[v] == number:
                self._spill(v, self._value(v, number, j, mask, known), j)
        made = [
            (self._value(value, number, j, mask, known), access)
            for value, access in s.stores
            if s.accesses[access].kind != "zero" and s.store_pass(value) == number
        ]
        wanted = [e for e in (s.values[v] for v in reduces) if isinstance(e, Reduce)]
        lanes = [self._value(e.operand, number, j, mask, known) for e in wanted]
        self._store_all(made, j, mask)
        triples = zip(wanted, totals, lanes, strict=True)
        return [fold(self.e, e, total, lane, mask) for e, total, lane in triples]

    def _fetch_share(self, number: int, j: Value) -> None:
        """Ask for a pass's share of the lines of the next row."""
        if number not in self.fetching:
            return
        share = slice(self.fetching.index(number), None, len(self.fetching))
        for access, distance in self.distances.items():
            row = self.f.gep(self.pointers[access], distance)
            ahead.fetch(self.f, self.s, access, row, j, self.spec.lanes, share, 2)

    def _value(
        self, v: int, number: int, j: Value, mask: Value | None, known: dict[int, Lane]
    ) -> Lane:
        """A value inside the inner loop, computing what it needs (iterative post-order)."""
        stack = [v]
        while stack:
            top = stack[-1]
            if top in known or top in self.fixed:
                stack.pop()
                continue
            if top in self.s.scratch and self.s.levels[top] < number:
                known[top] = self._unspill(top, j)
                continue
            expression = self.s.values[top]
            missing = [o for o in operands(expression) if o not in known and o not in self.fixed]
            if missing:
                stack += missing
                continue
            known[top] = self._full(expression, j, mask, known)
        return known[v] if v in known else self.fixed[v]

    def _full(
        self, expression: Expression, j: Value, mask: Value | None, known: dict[int, Lane]
    ) -> Lane:
        if isinstance(expression, Load):
            return self._load(expression, j, mask)
        if isinstance(expression, Index):
            return self._index(self.pointers[expression.access], j, expression)
        both = {o: known.get(o) or self.fixed[o] for o in operands(expression)}
        return compute(self.e, expression, both)

    def _load(self, expression: Load, j: Value, mask: Value | None) -> Lane:
        f, access, dtype = self.f, expression.access, expression.dtype
        pointer, kind = self.pointers[access], self.s.accesses[access].kind
        if self.s.accesses[access].far:
            self._ask(expression, j, i64(ahead.ROWS))
        if kind == "unit":
            return memory.load_unit(self.e, f.gep(pointer, _scaled(f, j, dtype)), dtype, mask)
        left = None if mask is None else f.sub(self.j1, j)
        if kind == "interleaved":
            return self.interleaved.load(self.pointers, access, j, left)
        if kind == "reversed":
            start = f.gep(pointer, f.neg(_scaled(f, j, dtype)))
            return load_reversed(self.e, start, dtype, left)
        stride = self._stride(access, self.s.depth)
        last = None if mask is None else f.sub(self.j1, i64(1))
        return memory.load_strided(
            self.e, memory.strided_addresses(f, pointer, j, stride, self.spec.lanes, last), dtype
        )

    def _store_all(self, made: list[tuple[Lane, int]], j: Value, mask: Value | None) -> None:
        """Store results, after all loads: one may lie where an operand did."""
        apart: dict[int, Lane] = {}
        for lane, access in made:
            if self.s.accesses[access].kind == "interleaved":
                apart[access] = lane
            else:
                self._store(lane, access, j, mask)
        left = None if mask is None else self.f.sub(self.j1, j)
        self.interleaved.store(self.pointers, apart, j, left)

    def _store(self, lane: Lane, access: int, j: Value, mask: Value | None) -> None:
        f, pointer = self.f, self.pointers[access]
        kind = self.s.accesses[access].kind
        if kind in ("unit", "stream"):
            address = f.gep(pointer, _scaled(f, j, lane.dtype))
            memory.store_unit(
                self.e, lane, address, mask, kind == "stream", self._near(access, address)
            )
            return
        stride = self._stride(access, self.s.depth)
        addresses = memory.strided_addresses(f, pointer, j, stride, self.spec.lanes, None)
        memory.store_strided(self.e, lane, addresses, mask)

    def _near(self, access: int, address: Value) -> Value | None:
        """Whether a result is stored as usual where it could go around the caches (i1)."""
        near = self.near.get(access)
        leaders = self.leaders.values()
        if not leaders or access in leaders or self.s.accesses[access].kind != "stream":
            return near
        inside = aligned.is_inside(self.f, address)
        return inside if near is None else self.f.op("or", near, inside)

    # -- scratch rows ------------------------------------------------------------------

    def _scratch_at(self, v: int, j: Value, dtype: Dtype) -> Value:
        f = self.f
        row = f.mul(i64(self.s.scratch.index(v)), self.k.const(self.spec.scratch_slot + 3))
        return f.gep(f.gep(self.scratch_area, row), _scaled(f, j, dtype))

    def _spill(self, v: int, lane: Lane, j: Value) -> None:
        """Whole steps always: what a masked store left would not be at hand for the next pass."""
        memory.store_unit(self.e, lane, self._scratch_at(v, j, lane.dtype), None)

    def _unspill(self, v: int, j: Value) -> Lane:
        dtype = self.s.values[v].dtype
        return memory.load_unit(self.e, self._scratch_at(v, j, dtype), dtype, None)

    # -- reductions --------------------------------------------------------------------

    def _finish(self, v: int, total: Lane) -> None:
        expression = self.s.values[v]
        assert isinstance(expression, Reduce)
        single = fold_lanes(self.f, expression.primitive.combine, total)
        parts = [self.f.splat(self.f.extract(p, 0), self.spec.lanes) for p in single.parts]
        lane = Lane(single.dtype, *parts)
        if self.s.split:
            self._store_partial(v, lane)
            return
        if lane.dtype is not expression.dtype:
            lane = self.e.rounded(lane.v, expression.dtype)
        self.fixed[v] = lane

    def _store_partial(self, v: int, lane: Lane) -> None:
        """Split: this chunk's partial result goes to its place [row, chunk]."""
        f = self.f
        at = f.add(f.mul(self.row, self.k.const(INNER_CHUNKS)), self.part)
        for access in [a for value, a in self.s.stores if value == v]:
            pointer = f.gep(self.bases[access], f.mul(at, i64(lane.dtype.size)))
            memory.store_first(self.e, lane, pointer)
        self.fixed[v] = lane


def _scaled(f: Function, j: Value, dtype: Dtype) -> Value:
    return f.mul(j, i64(dtype.size))
