"""Many small matrices of real numbers, one in each lane of a vector.

Each matrix goes through the same operations as in ``small``, hence to the same bits; rows are
exchanged by selecting lanes.  A matrix with an infinity or NaN is computed as the identity, and
its results are NaN.
"""

from __future__ import annotations

from collections.abc import Callable

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lapack.frame import noted_failure
from mlx.backend.llvm.lapack.lane_frame import LANES, LaneFrame
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector
from mlx.base.frozen import dataclass
from mlx.compiler.sizes import most

TINY = 16
"""Most rows and columns."""
FEWEST = 8
"""Matrices from which lanes are worth it."""


@dataclass(frozen=True)
class LanesSpec:
    """Consts: matrices, groups a task, m, n, k; where failures are noted; base, offset and bytes
    a worker of scratch; strides along rows and columns of each operand; the operands along the
    batch."""

    routine: str
    scalar: str
    depth: int
    operands: int

    @property
    def key(self) -> str:
        return f"lapack lanes {self.routine} {self.scalar} {self.depth} {self.operands}"

    def emit(self, module: Module, name: str) -> None:
        _ROUTINES[self.routine](self, Kernel(module, name)).emit()


def serves(routine: str, scalar: str, count: int, m: int, n: int, k: int) -> bool:
    """Whether matrices are left to lanes."""
    fits = most(m, most(n, k)) <= TINY and count >= FEWEST
    return bool(fits and routine in _ROUTINES and scalar in ("float", "double"))


def scratch_bytes(scalar: str, m: int, n: int, k: int) -> int:
    """Of one worker: a matrix, one of right sides, and two rows of integers."""
    size = bits_of(scalar) // 8
    return LANES * (size * n * (m + most(k, n)) + 8 * (m + n))


class _Lanes(LaneFrame):
    """Emission of what the routines are made of."""

    def exchange(self, base: Value, lead: Value, i: Value, last: Value, pivot: Value) -> None:
        """In one line, elements i and ``pivot`` (one a lane, at least i) change places."""
        f = self.f
        here = self.at(base, i64(0), i64(0), f.mul(i, lead))
        first = self.load(here)
        loop = f.loop(f.add(i, i64(1)), last, i64(1), [first])
        there = self.at(base, i64(0), i64(0), f.mul(loop.index, lead))
        chosen = f.icmp("eq", pivot, self.splat(loop.index))
        x = self.load(there)
        self.store(f.select(chosen, first, x), there)
        (found,) = f.end_loop(loop, [f.select(chosen, x, loop.values[0])])
        self.store(found, here)

    def splat(self, index: Value) -> Value:
        """An index in all lanes, as i32."""
        return self.f.splat(self.f.cast("trunc", index, "i32"), LANES)

    def factor(self, m: Value) -> Value:
        """LU of column-major matrices with m rows; pivots from 0, and LAPACK's infos."""
        f, n = self.f, self.n
        loop = f.loop(i64(0), f.min(m, n), i64(1), [const(self.integers, 0)])
        k = loop.index
        after = f.add(k, i64(1))
        search = f.loop(k, m, i64(1), [const(self.type, -1), self.splat(k)])
        size = f.fabs(self.load(self.at(self.a, k, m, search.index)))
        more = f.fcmp("ogt", size, search.values[0])
        found = [(size, search.values[0]), (self.splat(search.index), search.values[1])]
        _, pivot = f.end_loop(search, [f.select(more, x, y) for x, y in found])
        f.store(pivot, self.integer_at(self.pivots, k), 64)
        lines = f.loop(i64(0), n, i64(1))
        self.exchange(self.at(self.a, lines.index, m, i64(0)), i64(1), k, m, pivot)
        f.end_loop(lines)
        value = self.load(self.at(self.a, k, m, k))
        info, value = self._checked(f.fcmp("oeq", value, self.zero), value, after, loop.values[0])
        rows = f.loop(after, m, i64(1))
        here = self.at(self.a, k, m, rows.index)
        x = f.fdiv(self.load(here), value)
        self.store(x, here)
        self._subtract(
            x, after, n, lambda j: (self.at(self.a, j, m, k), self.at(self.a, j, m, rows.index))
        )
        f.end_loop(rows)
        return f.end_loop(loop, [info])[0]

    def _checked(self, bad: Value, value: Value, number: Value, info: Value) -> tuple[Value, Value]:
        """Infos with those of bad pivots, which become 1."""
        f = self.f
        first = f.op("and", bad, f.icmp("eq", info, const(self.integers, 0)))
        return f.select(first, self.splat(number), info), f.select(bad, self.one, value)

    def _subtract(
        self,
        factor: Value,
        start: Value,
        stop: Value,
        places: Callable[[Value], tuple[Value, Value]],
    ) -> None:
        """Take multiples of one line from another."""
        f = self.f
        loop = f.loop(start, stop, i64(1))
        source, target = places(loop.index)
        self.store(f.fma(f.neg(factor), self.load(source), self.load(target)), target)
        f.end_loop(loop)

    def substitute(self, count: Value, upper: bool, unit: bool) -> None:
        """Solve a x = y in place, by rows."""
        f, n = self.f, self.n
        columns = f.loop(i64(0), count, i64(1))
        rows = f.loop(i64(0), n, i64(1))
        i = f.sub(f.sub(n, i64(1)), rows.index) if upper else rows.index
        here = self.at(self.y, i, count, columns.index)
        start, stop = (f.add(i, i64(1)), n) if upper else (i64(0), i)
        loop = f.loop(start, stop, i64(1), [self.load(here)])
        factor = f.neg(self.load(self.at(self.a, i, n, loop.index)))
        other = self.load(self.at(self.y, loop.index, count, columns.index))
        (x,) = f.end_loop(loop, [f.fma(factor, other, loop.values[0])])
        if not unit:
            x = f.fdiv(x, self.load(self.at(self.a, i, n, i)))
        self.store(x, here)
        f.end_loop(rows)
        f.end_loop(columns)

    def note(self, info: Value) -> None:
        """Note failures: the first matrix of all tasks is remembered."""
        f = self.f
        wrong = f.op("and", f.icmp("ne", info, const(self.integers, 0)), self.there)
        any_ = f.icmp("ne", f.bitcast(wrong, f"i{LANES}"), const(f"i{LANES}", 0))

        def each() -> None:
            lane = f.loop(i64(0), i64(LANES), i64(1))
            number = f.cast("sext", f.extract(info, lane.index), "i64")
            fine = f.op("xor", f.extract(wrong, lane.index), const("i1", 1))
            number = f.select(fine, i64(0), number)
            noted_failure(f, self.noted, f.add(self.first, lane.index), number)
            f.end_loop(lane)

        f.where(any_, each)


class _Determinant(_Lanes):
    def run(self) -> None:
        f = self.f
        finite = self.read()
        self.factor(self.n)
        wide = vector(LANES, "double")
        loop = f.loop(i64(0), self.n, i64(1), [const(wide, 1)])
        i = loop.index
        x = self.load(self.at(self.a, i, self.n, i))
        x = f.cast("fpext", x, "double") if self.scalar == "float" else x
        pivot = f.load(self.integer_at(self.pivots, i), self.integers, 64)
        x = f.select(f.icmp("ne", pivot, self.splat(i)), f.neg(x), x)
        (product,) = f.end_loop(loop, [f.mul(loop.values[0], x)])
        if self.scalar == "float":
            product = f.cast("fptrunc", product, "float")
        self.write(product, finite, 1, i64(0), i64(0))


class _LU(_Lanes):
    def run(self) -> None:
        f = self.f
        finite = self.read(turned=True)
        self.factor(self.m)
        self.each_element(
            self.m,
            self.n,
            lambda i, j: self.write(self.load(self.at(self.a, j, self.m, i)), finite, 1, i, j),
        )
        rows = f.loop(i64(0), self.m, i64(1))
        f.store(self.splat(rows.index), self.integer_at(self.order, rows.index), 64)
        f.end_loop(rows)
        loop = f.loop(i64(0), f.min(self.m, self.n), i64(1))
        pivot = f.load(self.integer_at(self.pivots, loop.index), self.integers, 64)
        self.scatter(pivot, self.addresses(2, i64(0), loop.index), 4)
        self._moved(loop.index, pivot)
        f.end_loop(loop)
        loop = f.loop(i64(0), self.m, i64(1))
        row = f.load(self.integer_at(self.order, loop.index), self.integers, 64)
        step = f.splat(self.steps[3][1], LANES)
        offsets = f.mul(f.cast("zext", row, "i64"), step)
        places = memory.moved_each(f, self.addresses(3, i64(0), i64(0)), offsets)
        self.scatter(self.splat(loop.index), places, 4)
        f.end_loop(loop)

    def _moved(self, i: Value, pivot: Value) -> None:
        f = self.f
        here = self.integer_at(self.order, i)
        first = f.load(here, self.integers, 64)
        loop = f.loop(f.add(i, i64(1)), self.m, i64(1), [first])
        there = self.integer_at(self.order, loop.index)
        chosen = f.icmp("eq", pivot, self.splat(loop.index))
        x = f.load(there, self.integers, 64)
        f.store(f.select(chosen, first, x), there, 64)
        (found,) = f.end_loop(loop, [f.select(chosen, x, loop.values[0])])
        f.store(found, here, 64)


class _Solve(_Lanes):
    def run(self) -> None:
        f = self.f
        finite = self.read()
        self.note(self.factor(self.n))
        count = self.right()
        for upper in (False, True):
            self.substitute(count, upper, unit=upper)
        loop = f.loop(i64(0), self.n, i64(1))
        i = f.sub(f.sub(self.n, i64(1)), loop.index)
        pivot = f.load(self.integer_at(self.pivots, i), self.integers, 64)
        columns = f.loop(i64(0), count, i64(1))
        self.exchange(self.at(self.y, i64(0), i64(0), columns.index), count, i, self.n, pivot)
        f.end_loop(columns)
        f.end_loop(loop)
        out = self.spec.operands - 1
        self.each_element(
            self.n,
            count,
            lambda i, j: self.write(self.load(self.at(self.y, i, count, j)), finite, out, i, j),
        )

    def right(self) -> Value:
        """Fetch the right sides; how many there are."""
        self.each_element(
            self.n,
            self.sides,
            lambda i, j: self.store(self.fetched(1, i, j), self.at(self.y, i, self.sides, j)),
        )
        return self.sides


class _Inverse(_Solve):
    def right(self) -> Value:
        f = self.f

        def fill(i: Value, j: Value) -> None:
            unit = f.select(f.icmp("eq", i, j), self.one, self.zero)
            self.store(unit, self.at(self.y, i, self.n, j))

        self.each_element(self.n, self.n, fill)
        return self.n


class _Cholesky(_Lanes):
    def run(self) -> None:
        f, n = self.f, self.n
        finite = self.read(turned=True, triangle=True)
        loop = f.loop(i64(0), n, i64(1), [const(self.integers, 0)])
        k = loop.index
        after = f.add(k, i64(1))
        pivot = self.load(self.at(self.a, k, n, k))
        good = f.fcmp("ogt", pivot, self.zero)
        bad = f.op("xor", good, memory.full_mask(LANES))
        info, pivot = self._checked(bad, pivot, after, loop.values[0])
        root = f.sqrt(pivot)
        row = f.loop(k, n, i64(1))
        here = self.at(self.a, k, n, row.index)
        self.store(f.fdiv(self.load(here), root), here)
        f.end_loop(row)
        rows = f.loop(after, n, i64(1))
        i = rows.index
        factor = self.load(self.at(self.a, k, n, i))
        self._subtract(factor, i, n, lambda j: (self.at(self.a, k, n, j), self.at(self.a, i, n, j)))
        f.end_loop(rows)
        self.note(f.end_loop(loop, [info])[0])

        def put(i: Value, j: Value) -> None:
            x = self.load(self.at(self.a, j, n, i))
            self.write(f.select(f.icmp("sle", j, i), x, self.zero), finite, 1, i, j)

        self.each_element(n, n, put)


_ROUTINES: dict[str, type[_Lanes]] = {
    "Determinant": _Determinant,
    "LU": _LU,
    "Solve": _Solve,
    "Inverse": _Inverse,
    "Cholesky": _Cholesky,
}
