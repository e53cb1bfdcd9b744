"""Eigenvalues and singular values of row-major matrices, with or without their vectors."""

from __future__ import annotations

from math import nan

from mlx.backend.llvm.lapack.frame import Frame
from mlx.backend.llvm.lapack.moves import Matrix, Mover
from mlx.backend.llvm.lapack.routine import BLOCK, Routine, Sizes, finish
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import Dtype, complex64, real_of
from mlx.base.frozen import dataclass
from mlx.compiler.sizes import most


@dataclass(frozen=True)
class EighRoutine(Routine):
    """Eigenvalues of Hermitian matrices, and eigenvectors by divide and conquer."""

    calls = ("syevd",)
    regions, numbers = 5, 3
    failure = "[linalg::eigh] No convergence (info {} of matrix {})."
    lower: bool
    vectors: bool

    @property
    def text(self) -> str:
        return f"eigh {self.lower:d}{self.vectors:d}"

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        square, real = 6 * n + 1 + (2 * n * n if self.vectors else 0), real_of(dtype).size
        work = most(square, (BLOCK + 2) * n)
        whole = 5 * n + 3
        nbytes = [n * n * dtype.size, n * real, work * dtype.size, square * real, 4 * whole]
        return nbytes, [work, square, whole]

    def work(self, m: int, n: int, k: int) -> int:
        return 9 * n * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, values, *vectors), n, one = operands, c.n, i64(1)
        a, sizes = c.packed(0, n), c.packed(1, n, c.reals.dtype)
        seen = c.mover.copy(x, a, (n, n), "lower" if self.lower else "upper")
        complex_ = c.dtype.is_complex

        def factor() -> None:
            work, square, whole = (c.leading(x) for x in c.numbers)
            letters = [c.letter("V" if self.vectors else "N"), c.letter("U" if self.lower else "L")]
            spaces = [c.regions[2], work]
            spaces += [c.regions[3], square] if complex_ else []
            info = c.checked(
                "syevd", *letters, c.integer(n), a.start, c.leading(n), sizes.start,
                *spaces, c.regions[4], whole,
            )  # fmt: skip

            def store() -> None:
                c.reals.copy(sizes, values, (one, n))
                for matrix in vectors:
                    c.mover.copy(c.turned(0, n), matrix, (n, n), conjugate=complex_)

            finish(c, info, store)

        def unknown() -> None:
            c.reals.fill(values, (one, n), nan, nan)
            for matrix in vectors:
                c.mover.fill(matrix, (n, n), nan, nan)

        c.where_finite(seen, factor, unknown)


@dataclass(frozen=True)
class SVDRoutine(Routine):
    """Singular values; ``bases``: with U and the adjoint of V, ``full`` or for these values.

    They are those of the transpose, whose singular vectors are those of the other side.
    """

    calls = ("gesdd",)
    regions, numbers = 7, 3
    failure = "[linalg::svd] No convergence (info {} of matrix {})."
    bases: str

    @property
    def text(self) -> str:
        return f"svd {self.bases}"

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        """``k`` is the number of singular values."""
        large, real = most(m, n), real_of(dtype).size
        work, reals = 11 * k + BLOCK * (m + n) + large, 7 * k
        left, right = {"full": (m, n), "thin": (k, k), "none": (1, 0)}[self.bases]
        if self.bases != "none":
            work += 4 * k * k
            reals += 7 * k * k + 2 * large * k
        nbytes = [m * n * dtype.size, m * left * dtype.size, right * n * dtype.size]
        nbytes += [k * real, work * dtype.size, reals * real if dtype.is_complex else 0, 32 * k]
        return nbytes, [work, left, right]

    def work(self, m: int, n: int, k: int) -> int:
        return (4 if self.bases == "none" else 20) * m * n * k

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, *rest), m, n, k, one = operands, c.m, c.n, c.size, i64(1)
        u, values, vh = rest if len(rest) == 3 else (None, *rest, None)
        _, left, right = c.numbers
        a, s = c.packed(0, n), c.packed(3, k, c.reals.dtype)
        u_own, vh_own = c.packed(1, left), c.packed(2, n)
        seen = c.mover.copy(x, a, (m, n))

        def factor() -> None:
            info = self._call(c, [a, s, u_own, vh_own])

            def store() -> None:
                if u and vh:
                    c.mover.copy(u_own, u, (m, left))
                    c.mover.copy(vh_own, vh, (right, n))
                c.reals.copy(s, values, (one, k))

            finish(c, info, store)

        def unknown() -> None:
            if u and vh:
                c.mover.fill(u, (m, left), nan, nan)
                c.mover.fill(vh, (right, n), nan, nan)
            c.reals.fill(values, (one, k), nan, nan)

        c.where_finite(seen, factor, unknown)

    def _call(self, c: Frame, matrices: list[Matrix]) -> Value:
        a, s, u, vh = matrices
        f = c.f
        work, left, _ = c.numbers
        empty = f.icmp("eq", c.size, i64(0))  # LAPACK leaves bases of nothing as they are

        def identities() -> None:
            c.mover.fill(u, (c.m, left), 0, 1)
            c.mover.fill(vh, (c.numbers[2], c.n), 0, 1)

        if self.bases != "none":
            f.where(empty, identities)
        reals = [c.regions[5]] if c.dtype.is_complex else []
        kind = {"full": "A", "thin": "S", "none": "N"}[self.bases]
        return c.checked(
            "gesdd", c.letter(kind), c.integer(c.n), c.integer(c.m),
            a.start, c.leading(c.n), s.start, vh.start, c.leading(c.n), u.start, c.leading(left),
            c.regions[4], c.leading(work), *reals, c.regions[6],
        )  # fmt: skip


@dataclass(frozen=True)
class EigRoutine(Routine):
    """Eigenvalues, and right eigenvectors, of any matrices, as complex64."""

    calls = ("geev",)
    regions, numbers = 5, 1
    failure = "[linalg::eig] No convergence (info {} of matrix {})."
    vectors: bool

    @property
    def text(self) -> str:
        return f"eig {self.vectors:d}"

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        work = (2 * BLOCK + 4) * n
        square = n * n * dtype.size
        reals = 2 * n * real_of(dtype).size
        return [square, reals, square if self.vectors else 0, work * dtype.size, reals], [work]

    def work(self, m: int, n: int, k: int) -> int:
        return (25 if self.vectors else 10) * n * n * n

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        (x, values, *vectors), n = operands, c.n
        a, found = c.turned(0, n), c.turned(2, n)
        seen = c.mover.copy(x, a, (n, n))
        results = Mover(c.f, complex64)

        def factor() -> None:
            info = self._call(c, a, found)

            def store() -> None:
                if c.dtype.is_complex:
                    c.mover.copy(c.packed(1, n), values, (i64(1), n))
                    for matrix in vectors:
                        c.mover.copy(found, matrix, (n, n))
                else:
                    _store_pairs(c, results, found, values, vectors)

            finish(c, info, store)

        def unknown() -> None:
            results.fill(values, (i64(1), n), nan, nan)
            for matrix in vectors:
                results.fill(matrix, (n, n), nan, nan)

        c.where_finite(seen, factor, unknown)

    def _call(self, c: Frame, a: Matrix, found: Matrix) -> Value:
        lead, spectrum = c.leading(c.n), c.regions[1]
        real = i64(c.reals.bytes)
        values = [spectrum]
        if not c.dtype.is_complex:
            values.append(c.f.gep(spectrum, c.f.mul(c.n, real)))
        work = [c.regions[3], c.leading(c.numbers[0])]
        return c.checked(
            "geev", c.letter("N"), c.letter("V" if self.vectors else "N"), c.integer(c.n),
            a.start, lead, *values, found.start, lead, found.start, lead, *work,
            *([c.regions[4]] if c.dtype.is_complex else []),
        )  # fmt: skip


def _store_pairs(
    c: Frame, results: Mover, found: Matrix, values: Matrix, vectors: list[Matrix]
) -> None:
    """Numbers from real matrices: of a conjugate pair's vectors LAPACK has the real and the
    imaginary part in two columns."""
    f, m, size = c.f, c.mover, i64(c.mover.bytes)
    columns = f.loop(i64(0), c.n, i64(1))
    j = columns.index
    parts = [f.gep(c.regions[1], f.mul(f.add(j, first), size)) for first in (i64(0), c.n)]
    re, im = (f.load(part, m.scalar, m.bytes) for part in parts)
    _store_complex(c, results, f.gep(values.start, f.mul(j, values.column)), re, im)
    first, second = f.fcmp("ogt", im, m.zero), f.fcmp("olt", im, m.zero)
    one = i64(1)
    real = f.sub(j, f.cast("zext", second, "i64"))
    other = f.add(j, f.cast("zext", first, "i64"))
    for matrix in vectors:
        rows = f.loop(i64(0), c.n, one)
        line = f.gep(found.start, f.mul(rows.index, found.row))
        x, y = (
            f.load(f.gep(line, f.mul(at, found.column)), m.scalar, m.bytes) for at in (real, other)
        )
        y = f.select(first, y, f.select(second, f.neg(y), m.zero))
        target = f.gep(matrix.start, f.mul(rows.index, matrix.row))
        _store_complex(c, results, f.gep(target, f.mul(j, matrix.column)), x, y)
        f.end_loop(rows)
    f.end_loop(columns)


def _store_complex(c: Frame, results: Mover, place: Value, re: Value, im: Value) -> None:
    f = c.f
    for offset, part in ((0, re), (results.bytes, im)):
        if part.type == "double":
            part = f.cast("fptrunc", part, "float")
        f.store(part, f.gep(place, i64(offset)), results.bytes)
