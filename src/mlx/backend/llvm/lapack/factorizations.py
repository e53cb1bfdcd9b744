"""Triangular and orthogonal factorizations of row-major matrices."""

from __future__ import annotations

from math import nan

from mlx.backend.llvm.lapack.frame import Frame
from mlx.backend.llvm.lapack.moves import Matrix, exchange
from mlx.backend.llvm.lapack.routine import BLOCK, Routine, Sizes, finish
from mlx.backend.llvm.lapack.small import cholesky_function, padded
from mlx.backend.llvm.lapack.solvers import by_size, factored
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass


@dataclass(frozen=True)
class CholeskyRoutine(Routine):
    """The lower factor, which is the upper one of the transpose."""

    calls = ("potrf",)
    failure = (
        "[linalg::cholesky] Not positive definite: the leading minor of order {} of matrix {}."
    )

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [n * padded(n) * dtype.size], []

    def work(self, m: int, n: int, k: int) -> int:
        return n * n * n // 3

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, out), n = operands, c.n
        small = c.is_small(n)

        def large() -> None:
            a = c.packed(0, n)

            def factor() -> None:
                info = c.checked("potrf", c.letter("U"), c.integer(n), a.start, c.leading(n))
                finish(c, info, lambda: c.mover.copy(a, out, (n, n)))

            c.where_finite(c.mover.copy(x, a, (n, n), "lower"), factor, unknown)

        def own() -> None:
            lead = c.lead(small, n)
            a, name = c.turned(0, lead), cholesky_function(c.f.module, c.mover.scalar)

            def factor() -> None:
                info = c.f.call(name, "i64", a.start, n, lead)
                finish(c, info, lambda: c.mover.copy(a, out, (n, n), "lower"))

            c.where_finite(c.mover.copy(x, a, (n, n), "lower"), factor, unknown)

        def unknown() -> None:
            c.mover.fill(out, (n, n), nan, nan)

        by_size(c, small, own, large)


@dataclass(frozen=True)
class QRRoutine(Routine):
    """Q and R by Householder's reflections."""

    calls = ("geqrf", "orgqr")
    regions, numbers = 3, 1
    failure = "[linalg::qr] LAPACK failed (info {} of matrix {})."

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [m * n * dtype.size, n * dtype.size, BLOCK * n * dtype.size], [BLOCK * n]

    def work(self, m: int, n: int, k: int) -> int:
        return 4 * m * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, q, r), m, n = operands, c.m, c.n
        a = c.turned(0, m)
        seen = c.mover.copy(x, a, (m, n))

        def factor() -> None:
            rows, columns, lead = c.integer(m), c.integer(n), c.leading(m)
            rest = (a.start, lead, c.regions[1], c.regions[2], c.leading(c.numbers[0]))
            c.note(c.checked("geqrf", rows, columns, *rest))
            c.mover.copy(a, r, (n, n), "upper")
            c.note(c.checked("orgqr", rows, columns, columns, *rest))
            c.mover.copy(a, q, (m, n))

        def unknown() -> None:
            c.mover.fill(q, (m, n), nan, nan)
            c.mover.fill(r, (n, n), nan, nan)

        c.where_finite(seen, factor, unknown)


@dataclass(frozen=True)
class LURoutine(Routine):
    """Both triangles, pivots and the permutation with a = (L U)[permutation]."""

    calls = ("getrf",)
    regions = 3

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        return [padded(m) * n * dtype.size, 4 * m, 4 * m], []

    def work(self, m: int, n: int, k: int) -> int:
        return m * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, packed, pivots, permutation), m, n = operands, c.m, c.n
        small = c.is_small(m, n)
        lead = c.lead(small, m)
        a, k = c.turned(0, lead), c.f.min(m, n)
        seen = c.mover.copy(x, a, (m, n))
        _count_up(c, c.regions[1], i64(4), k, 1)
        _count_up(c, c.regions[2], i64(4), m, 0)

        def factor() -> None:
            factored(c, a, (m, n), lead, small)
            c.mover.copy(a, packed, (m, n))

        c.where_finite(seen, factor, lambda: c.mover.fill(packed, (m, n), nan, nan))
        self._order(c, k, pivots, permutation)

    def _order(self, c: Frame, k: Value, pivots: Matrix, permutation: Matrix) -> None:
        """Store the pivots from 0, and where their exchanges bring each row."""
        f, rows = c.f, c.regions[2]
        loop = f.loop(i64(0), k, i64(1))
        pivot = f.load(f.gep(c.regions[1], loop.index, "i32"), "i32", 4)
        pivot = f.sub(pivot, const("i32", 1))
        f.store(pivot, f.gep(pivots.start, f.mul(loop.index, pivots.column)), 4)
        p, q = (f.gep(rows, i, "i32") for i in (loop.index, f.cast("sext", pivot, "i64")))
        exchange(f, p, q, i64(1), i64(0), "i32")
        f.end_loop(loop)
        loop = f.loop(i64(0), c.m, i64(1))
        row = f.cast("sext", f.load(f.gep(rows, loop.index, "i32"), "i32", 4), "i64")
        place = f.gep(permutation.start, f.mul(row, permutation.column))
        f.store(f.cast("trunc", loop.index, "i32"), place, 4)
        f.end_loop(loop)


def _count_up(c: Frame, start: Value, step: Value, count: Value, first: int) -> None:
    f = c.f
    loop = f.loop(i64(0), count, i64(1))
    number = f.cast("trunc", f.add(loop.index, i64(first)), "i32")
    f.store(number, f.gep(start, f.mul(loop.index, step)), 4)
    f.end_loop(loop)
