"""Matrices moved between operands and scratch: copies, triangles, transposes, fills."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.staging import transposed
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass

LANES = 16
TILE = 16
"""Rows that a transpose reads side by side."""


@dataclass(frozen=True)
class Matrix:
    """Where a matrix lies: strides in bytes; ``unit`` says that a row's elements are neighbours,
    ``turned`` that a column's are."""

    start: Value
    row: Value
    column: Value
    unit: bool
    turned: bool = False


def exchange(f: Function, a: Value, b: Value, count: Value, step: Value, element: str) -> None:
    """Exchange ``count`` elements at two addresses, each ``step`` bytes behind the one before."""
    size = bits_of(element) // 8
    loop = f.loop(i64(0), count, i64(1))
    offset = f.mul(loop.index, step)
    p, q = f.gep(a, offset), f.gep(b, offset)
    x, y = f.load(p, element, size), f.load(q, element, size)
    f.store(y, p, size)
    f.store(x, q, size)
    f.end_loop(loop)


class Mover:
    """Emission of moves of one dtype."""

    def __init__(self, f: Function, dtype: Dtype) -> None:
        self.f, self.dtype = f, dtype
        self.parts = 2 if dtype.is_complex else 1
        self.scalar = "double" if dtype.size // self.parts == 8 else "float"
        self.bytes = dtype.size // self.parts
        self.zero = const(self.scalar, 0)

    def copy(
        self,
        source: Matrix,
        target: Matrix,
        shape: tuple[Value, Value],
        triangle: str = "",
        conjugate: bool = False,
    ) -> Value:
        """Copy a matrix, or a triangle of it with zeros beside it; a number that is NaN if what
        was copied holds an infinity or NaN."""
        if source.unit and target.unit and not conjugate:
            return self._rows(source, target, shape, triangle)
        if self.parts == 1 and not triangle:
            if source.unit and target.turned:
                return self._turned(source.start, source.row, target.start, target.column, shape)
            if source.turned and target.unit:
                lines = source.start, source.column, target.start, target.row
                return self._turned(*lines, shape[::-1])
        return self._tiles(source, target, shape, triangle, conjugate)

    def _rows(
        self, source: Matrix, target: Matrix, shape: tuple[Value, Value], triangle: str
    ) -> Value:
        f, (m, n) = self.f, shape
        type = vector(LANES, self.scalar)
        size = i64(self.parts)
        loop = f.loop(i64(0), m, i64(1), [const(type, 0)])
        i = loop.index
        start, stop, end = i64(0), f.mul(n, size), f.mul(n, size)
        if triangle == "lower":
            stop = f.mul(f.min(f.add(i, i64(1)), n), size)
        elif triangle == "upper":
            start = f.mul(f.min(i, n), size)
        read = f.gep(source.start, f.mul(i, source.row))
        write = f.gep(target.start, f.mul(i, target.row))
        if triangle:
            for low, high in ((i64(0), start), (stop, end)):
                inner = f.loop(low, high, i64(1))
                f.store(self.zero, f.gep(write, inner.index, self.scalar), self.bytes)
                f.end_loop(inner)
        last = f.sub(stop, i64(LANES - 1))
        inner = f.loop(start, last, i64(LANES), loop.values)
        x = f.load(f.gep(read, inner.index, self.scalar), type, self.bytes)
        f.store(x, f.gep(write, inner.index, self.scalar), self.bytes)
        (seen,) = f.end_loop(inner, [self._seen(inner.values[0], x)])
        inner = f.loop(inner.index, stop, i64(LANES), [seen])
        mask = memory.below(f, f.sub(stop, inner.index), LANES)
        here = f.gep(read, inner.index, self.scalar)
        x = f.masked_load(here, type, mask, self.bytes, const(type, 0))
        f.masked_store(x, f.gep(write, inner.index, self.scalar), mask, self.bytes)
        (seen,) = f.end_loop(inner, [self._seen(inner.values[0], x)])
        return self._total(f.end_loop(loop, [seen])[0])

    def _total(self, seen: Value) -> Value:
        total = self.zero
        for lane in range(LANES):
            total = self.f.add(total, self.f.extract(seen, lane))
        return total

    def _turned(
        self, source: Value, line: Value, target: Value, other: Value, shape: tuple[Value, Value]
    ) -> Value:
        """Lines of the source become what lies across the target's, a square tile at a time."""
        f, (m, n) = self.f, shape
        type = vector(LANES, self.scalar)
        tiles = f.loop(i64(0), m, i64(LANES), [const(type, 0)])
        columns = f.loop(i64(0), n, i64(LANES), tiles.values)
        i, j, (seen,) = tiles.index, columns.index, columns.values
        down, along = (memory.below(f, f.sub(a, b), LANES) for a, b in ((m, i), (n, j)))
        rows = []
        for place, mask in self._lines(source, line, (i, m), j, along):
            rows.append(f.masked_load(place, type, mask, self.bytes, const(type, 0)))
            seen = self._seen(seen, rows[-1])
        places = self._lines(target, other, (j, n), i, down)
        for (place, mask), row in zip(places, transposed(f, rows), strict=True):
            f.masked_store(row, place, mask, self.bytes)
        (seen,) = f.end_loop(columns, [seen])
        return self._total(f.end_loop(tiles, [seen])[0])

    def _lines(
        self, base: Value, line: Value, first: tuple[Value, Value], at: Value, mask: Value
    ) -> list[tuple[Value, Value]]:
        """Where a tile's lines begin, and which of their elements there are."""
        f, (start, stop) = self.f, first
        found = []
        for number in range(LANES):
            i = f.add(start, i64(number))
            there = f.splat(f.icmp("slt", i, stop), LANES)
            place = f.gep(f.gep(base, f.mul(i, line)), f.mul(at, i64(self.bytes)))
            found.append((place, f.op("and", mask, there)))
        return found

    def _tiles(
        self,
        source: Matrix,
        target: Matrix,
        shape: tuple[Value, Value],
        triangle: str,
        conjugate: bool,
    ) -> Value:
        f, (m, n) = self.f, shape
        tiles = f.loop(i64(0), m, i64(TILE), [self.zero])
        stop = f.min(f.add(tiles.index, i64(TILE)), m)
        columns = f.loop(i64(0), n, i64(1), tiles.values)
        j = columns.index
        read = f.gep(source.start, f.mul(j, source.column))
        write = f.gep(target.start, f.mul(j, target.column))
        rows = f.loop(tiles.index, stop, i64(1), columns.values)
        i, seen = rows.index, rows.values[0]
        keep = None
        if triangle:
            keep = f.icmp("sle" if triangle == "lower" else "sge", j, i)
        for part in range(self.parts):
            offset = i64(part * self.bytes)
            here = f.gep(f.gep(read, f.mul(i, source.row)), offset)
            x = f.load(here, self.scalar, self.bytes)
            if keep is not None:
                x = f.select(keep, x, self.zero)
            seen = self._seen(seen, x)
            if conjugate and part:
                x = f.neg(x)
            f.store(x, f.gep(f.gep(write, f.mul(i, target.row)), offset), self.bytes)
        (seen,) = f.end_loop(rows, [seen])
        (seen,) = f.end_loop(columns, [seen])
        return f.end_loop(tiles, [seen])[0]

    def _seen(self, seen: Value, x: Value) -> Value:
        return self.f.add(seen, self.f.mul(x, const(x.type, 0)))

    def fill(self, target: Matrix, shape: tuple[Value, Value], off: float, on: float) -> None:
        """Every element ``off`` the diagonal, and those ``on`` it."""
        f, (m, n) = self.f, shape
        rows = f.loop(i64(0), m, i64(1))
        columns = f.loop(i64(0), n, i64(1))
        equal = f.icmp("eq", rows.index, columns.index)
        here = f.gep(target.start, f.mul(rows.index, target.row))
        here = f.gep(here, f.mul(columns.index, target.column))
        value = f.select(equal, const(self.scalar, on), const(self.scalar, off))
        f.store(value, here, self.bytes)
        if self.parts == 2:
            f.store(self.zero, f.gep(here, i64(self.bytes)), self.bytes)
        f.end_loop(columns)
        f.end_loop(rows)
