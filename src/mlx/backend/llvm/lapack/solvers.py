"""Inverses, determinants and solutions of row-major systems."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

from mlx.backend.llvm.lapack.frame import Frame
from mlx.backend.llvm.lapack.moves import Matrix, exchange
from mlx.backend.llvm.lapack.routine import BLOCK, Routine, Sizes, finish
from mlx.backend.llvm.lapack.small import lu_function, padded, substitute_function
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass


def factored(c: Frame, a: Matrix, shape: tuple[Value, Value], lead: Value, small: Value) -> Value:
    """Factor a column-major matrix, with its pivots in region 1; LAPACK's info."""
    f, (m, n) = c.f, shape

    def call() -> list[Value]:
        rows, columns = c.integer(m), c.integer(n)
        return [c.checked("getrf", rows, columns, a.start, c.leading(lead), c.regions[1])]

    def own() -> list[Value]:
        name = lu_function(f.module, c.mover.scalar)
        return [f.call(name, "i64", a.start, m, n, lead, c.regions[1])]

    return (call() if c.dtype.is_complex else f.either(small, own, call))[0]


def _substituted(c: Frame, a: Matrix, y: Matrix, count: Value, small: Value) -> None:
    """U^T L^T z = y in place, of padded rows."""
    f, n = c.f, c.n
    leads = c.lead(small, n), c.lead(small, count)
    for upper in (False, True):
        name = substitute_function(f.module, c.mover.scalar, upper, unit=upper)
        f.call(name, "void", a.start, n, leads[0], y.start, count, leads[1])


def _reordered(c: Frame, y: Matrix, count: Value) -> None:
    """Undo the exchanges of pivots, the last one first."""
    f = c.f
    loop = f.loop(i64(0), c.n, i64(1))
    i = f.sub(f.sub(c.n, i64(1)), loop.index)
    pivot = f.cast("sext", f.load(f.gep(c.regions[1], i, "i32"), "i32", 4), "i64")
    here, there = (f.gep(y.start, f.mul(r, y.row)) for r in (i, f.sub(pivot, i64(1))))
    words = f.mul(count, i64(c.dtype.size // 4))
    stop = f.select(f.icmp("eq", pivot, f.add(i, i64(1))), i64(0), words)
    exchange(f, here, there, stop, i64(4), "i32")
    f.end_loop(loop)


@dataclass(frozen=True)
class InverseRoutine(Routine):
    """Inverses by LU factorization."""

    calls = ("getrf", "getri")
    regions, numbers = 3, 1
    failure = "[linalg::inv] The matrix is singular: pivot {} of matrix {} is zero."

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [n * padded(n) * dtype.size, 4 * n, BLOCK * n * dtype.size], [BLOCK * n]

    def work(self, m: int, n: int, k: int) -> int:
        return 2 * n * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, out), n = operands, c.n
        small = c.is_small(n)
        lead = c.lead(small, n)
        a, y = c.packed(0, lead), c.packed(2, lead)
        seen = c.mover.copy(x, a, (n, n))

        def large() -> None:
            work = c.leading(c.numbers[0])
            pivots = c.regions[1]
            c.checked("getri", c.integer(n), a.start, c.leading(n), pivots, c.regions[2], work)
            c.mover.copy(a, out, (n, n))

        def own() -> None:
            c.mover.fill(y, (n, n), 0, 1)
            _substituted(c, a, y, n, small)
            _reordered(c, y, n)
            c.mover.copy(y, out, (n, n))

        def invert() -> None:
            info = factored(c, a, (n, n), lead, small)
            finish(c, info, lambda: by_size(c, small, own, large))

        c.where_finite(seen, invert, lambda: c.mover.fill(out, (n, n), nan, nan))


def by_size(c: Frame, small: Value, own: Callable[[], None], large: Callable[[], None]) -> None:
    if c.dtype.is_complex:
        large()
    else:
        c.f.where(small, own, large)


@dataclass(frozen=True)
class DeterminantRoutine(Routine):
    """Determinants by LU factorization."""

    calls = ("getrf",)
    regions = 2

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [n * padded(n) * dtype.size, 4 * n], []

    def work(self, m: int, n: int, k: int) -> int:
        return n * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, out), n, one = operands, c.n, i64(1)
        small = c.is_small(n)
        lead = c.lead(small, n)
        a = c.packed(0, lead)
        seen = c.mover.copy(x, a, (n, n))

        def multiply() -> None:
            factored(c, a, (n, n), lead, small)
            _store_product(c, a, out.start)

        c.where_finite(seen, multiply, lambda: c.mover.fill(out, (one, one), nan, nan))


def _store_product(c: Frame, a: Matrix, target: Value) -> None:
    """The product of a diagonal, negative where an odd number of rows moved, in double precision:
    it may leave float32's range and come back."""
    f, m = c.f, c.mover
    loop = f.loop(i64(0), c.n, i64(1), [const("double", 1), const("double", 0)])
    i, (re, im) = loop.index, loop.values
    here = f.gep(a.start, f.mul(i, f.add(a.row, a.column)))
    pivot = f.load(f.gep(c.regions[1], i, "i32"), "i32", 4)
    moved = f.icmp("ne", f.cast("sext", pivot, "i64"), f.add(i, i64(1)))
    parts = [f.load(f.gep(here, i64(p), m.scalar), m.scalar, m.bytes) for p in range(m.parts)]
    if m.scalar == "float":
        parts = [f.cast("fpext", p, "double") for p in parts]
    parts = [f.select(moved, f.neg(p), p) for p in parts]
    if m.parts == 1:
        following = [f.mul(re, parts[0]), im]
    else:
        x, y = parts
        following = [
            f.sub(f.mul(re, x), f.mul(im, y)),
            f.add(f.mul(re, y), f.mul(im, x)),
        ]
    for p, value in enumerate(f.end_loop(loop, following)[: m.parts]):
        value = f.cast("fptrunc", value, "float") if m.scalar == "float" else value
        f.store(value, f.gep(target, i64(p), m.scalar), m.bytes)


@dataclass(frozen=True)
class SolveRoutine(Routine):
    """x with a x = b: with a^T = P L U, x^T = b^T U^-1 L^-1 P^T."""

    calls = ("getrf", "getrs", "trsm")
    regions = 3
    failure = "[linalg::solve] The matrix is singular: pivot {} of matrix {} is zero."
    vector: bool

    @property
    def text(self) -> str:
        return f"solve {self.vector:d}"

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [n * padded(n) * dtype.size, 4 * n, n * padded(k) * dtype.size], []

    def work(self, m: int, n: int, k: int) -> int:
        return n * n * (n + 2 * k)

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, b, out), n, k = operands, c.n, c.size
        small = c.is_small(n, k)
        lead = c.lead(small, n)
        a, y = c.packed(0, lead), c.packed(2, c.lead(small, k))
        seen = c.mover.copy(x, a, (n, n))

        def own() -> None:
            _substituted(c, a, y, k, small)
            _reordered(c, y, k)

        def solve() -> None:
            info = factored(c, a, (n, n), lead, small)

            def rest() -> None:
                c.mover.copy(b, y, (n, k))
                by_size(c, small, own, lambda: self._call(c, a, y))
                c.mover.copy(y, out, (n, k))

            finish(c, info, rest)

        c.where_finite(seen, solve, lambda: c.mover.fill(out, (n, k), nan, nan))

    def _call(self, c: Frame, a: Matrix, y: Matrix) -> None:
        size, lead, count = c.integer(c.n), c.leading(c.n), c.leading(c.size)
        if self.vector:
            columns = (a.start, lead, c.regions[1], y.start, lead)
            c.checked("getrs", c.letter("T"), size, c.integer(i64(1)), *columns)
            return
        for triangle, diagonal in (("U", "N"), ("L", "U")):
            letters = [c.letter(x) for x in ("R", triangle, "N", diagonal)]
            c.call("trsm", *letters, count, size, c.one(), a.start, lead, y.start, count)
        _reordered(c, y, c.size)


@dataclass(frozen=True)
class TriangularRoutine(Routine):
    """x with a x = b for triangular a: x^T = b^T (a^T)^-1."""

    calls = ("trsm", "trsv")
    regions = 2
    failure = (
        "[linalg::solve_triangular] The matrix is singular: diagonal element {} of matrix {} "
        "is zero."
    )
    upper: bool
    vector: bool

    @property
    def text(self) -> str:
        return f"triangular {self.upper:d} {self.vector:d}"

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [n * padded(n) * dtype.size, n * padded(k) * dtype.size], []

    def work(self, m: int, n: int, k: int) -> int:
        return n * n * k

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, b, out), n, k = operands, c.n, c.size
        small = c.is_small(n, k)
        leads = c.lead(small, n), c.lead(small, k)
        a, y = c.packed(0, leads[0]), c.packed(1, leads[1])
        seen = c.mover.copy(x, a, (n, n), "upper" if self.upper else "lower")

        def own() -> None:
            name = substitute_function(c.f.module, c.mover.scalar, self.upper, unit=False)
            c.f.call(name, "void", a.start, n, leads[0], y.start, k, leads[1])

        def rest() -> None:
            c.mover.copy(b, y, (n, k))
            by_size(c, small, own, lambda: self._call(c, a, y))
            c.mover.copy(y, out, (n, k))

        c.where_finite(
            seen,
            lambda: finish(c, _zero_on_diagonal(c, a), rest),
            lambda: c.mover.fill(out, (n, k), nan, nan),
        )

    def _call(self, c: Frame, a: Matrix, y: Matrix) -> None:
        size, lead = c.integer(c.n), c.leading(c.n)
        triangle = c.letter("L" if self.upper else "U")
        if self.vector:
            letters = [triangle, c.letter("T"), c.letter("N")]
            c.call("trsv", *letters, size, a.start, lead, y.start, c.integer(i64(1)))
            return
        letters, count = [c.letter("R"), triangle, c.letter("N"), c.letter("N")], c.leading(c.size)
        c.call("trsm", *letters, count, size, c.one(), a.start, lead, y.start, count)


def _zero_on_diagonal(c: Frame, a: Matrix) -> Value:
    """The number, from 1, of the first zero; 0 if there is none."""
    f, m = c.f, c.mover
    loop = f.loop(i64(0), c.n, i64(1), [i64(0)])
    here = f.gep(a.start, f.mul(loop.index, f.add(a.row, a.column)))
    zero = const("i1", 1)
    for p in range(m.parts):
        x = f.load(f.gep(here, i64(p), m.scalar), m.scalar, m.bytes)
        zero = f.op("and", zero, f.fcmp("oeq", x, m.zero))
    first = f.op("and", zero, f.icmp("eq", loop.values[0], i64(0)))
    found = f.select(first, f.add(loop.index, i64(1)), loop.values[0])
    return f.end_loop(loop, [found])[0]
