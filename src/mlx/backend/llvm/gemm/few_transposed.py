"""Products of few rows with a matrix whose k lies side by side (``x @ w.T``), at memory bandwidth.

As many columns as a vector has lanes are read along k, a vector of each, and transposed in
registers; sums of all rows stay in registers for all of k.  Nothing of the matrix is packed.
Each element is one chain of FMAs over k, as where columns lie side by side; for bfloat16 by
bfloat16 where the processor has dot products of pairs, see ``few_pairs``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import (
    Element,
    bytes_ahead,
    first_lanes,
    multiply_add,
    prefetch,
    transpose,
)
from mlx.backend.llvm.gemm.operand import batch_offsets, item_of
from mlx.backend.llvm.gemm.unpacked import Unpacked
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector, with_element

_AHEAD = 1024  # bytes along k that are asked for ahead of their use


class FewTransposed(Unpacked):
    """The kernel of a ``FewSpec`` whose matrix is transposed."""

    held_as: type[Element] = Element
    """How A is kept: as it is multiplied, here a widened number."""

    def __init__(self, spec: Any, kernel: Kernel, slots: tuple[str, ...]) -> None:
        super().__init__(spec, kernel, slots)
        self.together = 2 if self.b.size == 2 else 1  # elements that are transposed as one
        self.step = self.lanes * self.together  # along k
        self.left = self.held_as(spec.a_dtype, spec.accumulate)
        self.held = self.step // self.left.step  # words of a row of A in a step

    def emit(self) -> None:
        f, kernel, spec = self.f, self.kernel, self.spec
        a, b, scratch = self.pointers()
        state = spec.epilogue.begin(kernel, len(self.slots))
        self.c = f.gep(scratch, f.mul(kernel.worker, self.slot("scratch_stride")))
        self.x = f.gep(self.c, i64(spec.rows * self.tile.vector_bytes))
        block = f.op("urem", kernel.task, self.slot("blocks"))
        item = f.op("udiv", kernel.task, self.slot("blocks"))
        batch, self.row0, self.rows = item_of(kernel, spec.epilogue, state, item, self.slot("m"))
        first = f.mul(block, self.slot("block"))
        stop = f.min(f.add(first, self.slot("block")), self.slot("n"))
        self.whole = f.sub(self.slot("k"), f.op("urem", self.slot("k"), i64(self.step)))
        offsets = batch_offsets(kernel, self.slot("table"), self.slot("dims"), batch, 2)
        self._pack_rows(f.gep(a, offsets[0]))
        matrix = f.gep(b, offsets[1])
        context = spec.epilogue.batch(kernel, state, batch)
        columns = f.loop(first, stop, i64(self.lanes))
        for r, total in enumerate(self._sums(matrix, columns.index)):
            f.store(total, f.gep(self.c, i64(r * self.tile.vector_bytes)), self.size)
        self._finish(context, columns.index)
        f.end_loop(columns)
        f.ret()

    def _pack_rows(self, a: Value) -> None:
        """Widen A to scratch by steps of k: a run of each row; behind the last one, that again."""
        f, size = self.f, i64(self.a.size)
        pitch, last = f.mul(self.slot("a_row"), size), f.sub(self.rows, i64(1))
        a = f.gep(a, f.mul(self.row0, pitch))
        along = f.mul(self.slot("a_col"), size)
        row = f.loop(i64(0), i64(self.spec.rows), i64(1))
        source = f.gep(a, f.mul(f.min(row.index, last), pitch))
        target = self._row_of_x(row.index)
        k = f.loop(i64(0), self.slot("k"), i64(self.step))
        to = f.gep(target, f.mul(k.index, i64(self.x_step)))
        for n, start in enumerate(range(0, self.step, self.lanes * self.left.step)):
            at = f.add(k.index, i64(start))
            left = f.sub(self.slot("k"), at)
            here = f.gep(source, f.mul(at, along))
            (value,) = self.left.along(f, here, along, self.lanes, left, self.spec.a_unit)
            f.store(value, f.gep(to, i64(n * self.tile.vector_bytes)), self.size)
        f.end_loop(k)
        f.end_loop(row)

    @property
    def x_step(self) -> int:
        """Bytes from one k to the next in A's scratch."""
        return self.spec.rows * self.held * self.size // self.step

    def _row_of_x(self, row: Value) -> Value:
        """Where a row of A begins in scratch."""
        return self.f.gep(self.x, self.f.mul(row, i64(self.held * self.size)))

    def _sums(self, matrix: Value, first: Value) -> list[Value]:
        """For each row, the sums of the columns from ``first`` on; behind the last, that again."""
        f = self.f
        last, pitch = f.sub(self.slot("n"), i64(1)), f.mul(self.slot("b_line"), i64(self.b.size))
        self.jump = f.mul(pitch, i64(self.lanes))
        lines = [
            f.gep(matrix, f.mul(f.min(f.add(first, i64(c)), last), pitch))
            for c in range(self.lanes)
        ]
        zeros = [const(self.type, 0)] * self.spec.rows
        loop = f.loop(i64(0), self.whole, i64(self.step), zeros)
        sums = f.end_loop(loop, self._add(lines, loop.index, loop.values, None))
        left = f.sub(self.slot("k"), self.whole)
        rest = partial(self._add, lines, self.whole, sums, left)
        return f.changed(f.icmp("sgt", left, i64(0)), sums, rest)

    def _add(
        self, lines: list[Value], k: Value, sums: list[Value], left: Value | None
    ) -> list[Value]:
        """Add the products of one step along k, or of the ``left`` elements there."""
        f = self.f
        words = self._words_at(lines, k, left, left is None, _AHEAD)
        x = f.gep(self.x, f.mul(k, i64(self.x_step)))
        turned = [number for word in transpose(f, words) for number in self._widen(word)]
        for at, number in enumerate(turned):
            new = []
            for r, total in enumerate(sums):
                place = f.gep(x, i64((r * self.held + at) * self.size))
                new.append(self._multiply(place, number, total))
            if left is not None:
                some = f.splat(f.icmp("sgt", left, i64(at)), self.lanes)
                new = [f.select(some, n, s) for n, s in zip(new, sums, strict=True)]
            sums = new
        return sums

    def _words_at(
        self, lines: list[Value], k: Value, left: Value | None, asks: bool, most: int
    ) -> list[Value]:
        """What lines of the matrix hold at k; ``asks`` for up to ``most`` bytes further on."""
        f = self.f
        offset = f.mul(k, i64(self.b.size))
        length = f.mul(self.slot("k"), i64(self.b.size))
        ahead = bytes_ahead(f, offset, length, most, self.jump)
        words = []
        for line in lines:
            here = f.gep(line, offset)
            if asks:
                prefetch(f, f.gep(here, ahead), locality=2)
            words.append(self._words(here, left))
        return words

    def _multiply(self, place: Value, number: Value, total: Value) -> Value:
        """``total`` and the products of the element of A at ``place`` with a row of columns."""
        f = self.f
        x = f.splat(f.load(place, self.b.acc, self.size), self.lanes)
        return multiply_add(f, x, number, total, self.tile.fused)

    def _words(self, here: Value, left: Value | None) -> Value:
        """A vector along k; the halves of 32 bits in pairs."""
        bits = self.b.load_bits(self.f, here, self.step, left)
        return self.f.bitcast(bits, vector(self.lanes, "i32")) if self.together == 2 else bits

    def _widen(self, word: Value) -> list[Value]:
        """The elements of a word, in the order of k."""
        f, b = self.f, self.b
        if self.together == 1:
            return [b.widen(f, word)]
        if b.splits:
            halves = (f.op("shl", word, const(word.type, 16)),
                      f.op("and", word, const(word.type, -65536)))  # fmt: skip
            return [f.cast("bitcast", half, "float") for half in halves]
        low, high = word, f.op("lshr", word, const(word.type, 16))
        narrow = [f.cast("trunc", half, f"i{bits_of(b.memory)}") for half in (low, high)]
        return [b.widen(f, f.bitcast(v, with_element(v.type, b.memory))) for v in narrow]

    def _finish(self, context: Any, first: Value) -> None:
        f = self.f
        mask = first_lanes(f, f.sub(self.slot("n"), first), self.lanes)
        row = f.loop(i64(0), self.rows, i64(1))
        at = f.gep(self.c, f.mul(row.index, i64(self.tile.vector_bytes)))
        value = f.load(at, self.type, self.size)
        index = f.add(self.row0, row.index)
        self.spec.epilogue.store(self.kernel, context, value, index, first, mask)
        f.end_loop(row)
