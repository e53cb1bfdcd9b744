"""Products of two to 16 rows with a transposed bfloat16 matrix, where pairs have dot products.

Nothing is turned: a few columns at a time are multiplied along k by vectors of a few rows, a vector
of sums for each; at the end these are folded, so that each lane holds a column's.
"""

from __future__ import annotations

from functools import partial

from mlx.backend.llvm.gemm.elements import folded
from mlx.backend.llvm.gemm.few_transposed import FewTransposed
from mlx.backend.llvm.gemm.pairs import Pairs, dot_pairs
from mlx.backend.llvm.values import Value, const, i64, vector

_COLUMNS = 4  # at a time,
_ROWS = 4  # and rows of A: their sums stay in registers
_AHEAD = 4096  # bytes along k that are asked for ahead of their use; at most a line


class FewPairs(FewTransposed):
    """The kernel of a ``FewSpec`` whose matrix is transposed, in pairs."""

    held_as = Pairs

    @property
    def high(self) -> int:
        """Rows of A that lie together in scratch, step by step of k."""
        return min(self.spec.rows, _ROWS)

    @property
    def x_step(self) -> int:
        """Bytes from one k to the next there."""
        return self.high * self.held * self.size // self.step

    def _row_of_x(self, row: Value) -> Value:
        """Where a row of A begins in scratch."""
        f = self.f
        block, inside = (f.op(op, row, i64(self.high)) for op in ("udiv", "urem"))
        steps = f.op("udiv", f.add(self.slot("k"), i64(self.step - 1)), i64(self.step))
        far = f.mul(steps, i64(self.high * self.held * self.size))
        return f.gep(f.gep(self.x, f.mul(block, far)), f.mul(inside, i64(self.held * self.size)))

    def _sums(self, matrix: Value, first: Value) -> list[Value]:
        """For each row, the sums of the columns from ``first`` on; behind the last, that again."""
        f = self.f
        last, pitch = f.sub(self.slot("n"), i64(1)), f.mul(self.slot("b_line"), i64(self.b.size))
        self.jump = f.mul(pitch, i64(_COLUMNS))
        groups: list[list[Value]] = []  # for each some columns, for each row
        for start in range(0, self.lanes, _COLUMNS):
            lines = [
                f.gep(matrix, f.mul(f.min(f.add(first, i64(start + c)), last), pitch))
                for c in range(_COLUMNS)
            ]
            groups.append([])
            for row in range(0, self.spec.rows, self.high):
                groups[-1] += self._group(lines, self._row_of_x(i64(row)), asks=row == 0)
        return [folded(f, [group[r] for group in groups], _COLUMNS) for r in range(self.spec.rows)]

    def _group(self, lines: list[Value], x: Value, asks: bool) -> list[Value]:
        """For each of a few rows, the sums of some columns, in as many lanes as fold to them."""
        f = self.f
        zeros = [const(self.type, 0)] * (self.high * _COLUMNS)
        loop = f.loop(i64(0), self.whole, i64(self.step), zeros)
        sums = f.end_loop(loop, self._along(lines, x, loop.index, loop.values, None, asks))
        left = f.sub(self.slot("k"), self.whole)
        rest = partial(self._along, lines, x, self.whole, sums, left, asks)
        sums = f.changed(f.icmp("sgt", left, i64(0)), sums, rest)
        return [folded(f, sums[r * _COLUMNS :][:_COLUMNS], 1) for r in range(self.high)]

    def _along(
        self, lines: list[Value], x: Value, k: Value, sums: list[Value], left: Value | None,
        asks: bool,
    ) -> list[Value]:  # fmt: skip
        """Add the products of one step along k, or of the ``left`` elements there."""
        f = self.f
        words = self._words_at(lines, k, left, asks and left is None, _AHEAD)
        x = f.gep(x, f.mul(k, i64(self.x_step)))
        type = vector(self.lanes, "i32")
        out = []
        for r in range(self.high):
            row = f.load(f.gep(x, i64(r * self.held * self.size)), type, self.size)
            totals = sums[r * len(words) :][: len(words)]
            out += [dot_pairs(f, row, w, t) for w, t in zip(words, totals, strict=True)]
        return out
