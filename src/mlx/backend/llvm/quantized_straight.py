"""Products of few rows with quantized matrices that are not transposed: a row of words lies along
the results.

A task owns some columns and keeps their sums in the first-level cache, code by code: of 16 units
(a *chunk*) the sums that codes j belong to are a vector.  A few neighbouring rows of words at a
time are dequantized in registers, as ``quantized_matrix`` does it, and added to the sums.  So each
element is one chain of FMAs over k, as in the blocked product of float32.
"""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import Element, first_lanes, multiply_add
from mlx.backend.llvm.gemm.operand import Epilogue, item_of
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_codes import Reader, Row
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_panels import FLOATS, LANES, VECTOR
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.frozen import dataclass

SLOTS = (
    "w_base", "w_offset", "s_base", "s_offset", "b_base", "b_offset", "x_base", "x_offset",
    "scratch_base", "scratch_offset", "scratch_stride", "rows", "outputs", "k", "units", "groups",
    "x_row", "x_k", "w_row", "w_k", "s_row", "s_k", "b_row", "b_k", "block", "blocks", "chunks",
    "table", "dims",
)  # fmt: skip
_SUMS = 16 << 10  # bytes of a task's sums
MOST = 8
"""Rows of x."""


@dataclass(frozen=True)
class StraightSpec:
    """A kernel for at most ``rows`` rows of x of this dtype.

    ``units``: whether words, scales and biases have unit stride along a row of words.
    """

    coding: Coding
    dtype: str
    units: tuple[bool, bool, bool]
    rows: int
    epilogue: Epilogue

    @property
    def key(self) -> str:
        units = "".join("01"[u] for u in self.units)
        return (
            f"quantized_straight {self.coding.key} {self.dtype} {units} {self.rows} "
            f"{self.epilogue.key}"
        )

    together = 4
    """Rows of words that are read at once (measured)."""

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the sums of a chunk."""
        return self.rows * self.coding.codes * VECTOR

    @property
    def widest(self) -> int:
        """Most chunks of a task."""
        return max(1, _SUMS // self.chunk_bytes)

    def emit(self, module: Module, name: str) -> None:
        _Straight(self, Kernel(module, name)).emit()


class _Straight(Reader):
    slots = SLOTS

    def emit(self) -> None:
        f, spec, epilogue = self.f, self.spec, self.spec.epilogue
        *parts, x, scratch = [self.pointer(name) for name in ("w", "s", "b", "x", "scratch")]
        state = epilogue.begin(self.k, len(SLOTS))
        item, block = self.split(self.k.task, self.slot("blocks"))
        matrix, row0, self.rows = item_of(self.k, epilogue, state, item, self.slot("rows"))
        *offsets, at_x = self.batch(matrix, 4)
        self.origins = [f.gep(p, o) for p, o in zip(parts, offsets, strict=True)]
        self._rows_of_x(f.gep(f.gep(x, at_x), f.mul(row0, self.slot("x_row"))))
        context = epilogue.batch(self.k, state, matrix)
        self.sums = f.gep(scratch, f.mul(self.k.worker, self.slot("scratch_stride")))
        self.first = f.mul(block, self.slot("block"))
        self.stop = f.min(f.add(self.first, self.slot("block")), self.slot("chunks"))
        whole = f.op("and", self.slot("k"), i64(-spec.together))
        for start, stop, step in ((i64(0), whole, spec.together), (whole, self.slot("k"), 1)):
            loop = f.loop(start, stop, i64(step))
            self._add(loop.index, step)
            f.end_loop(loop)
        self._finish(context, row0)
        f.ret()

    def _rows_of_x(self, x: Value) -> None:
        """Where each row of x starts; behind the last one, that one again."""
        f, last = self.f, self.f.sub(self.rows, i64(1))
        self.left = [
            f.gep(x, f.mul(f.min(i64(r), last), self.slot("x_row"))) for r in range(self.spec.rows)
        ]

    def _splat(self, k: Value, row: Value) -> Value:
        f, element = self.f, Element(self.spec.dtype, "float32")
        number = f.load(f.gep(row, f.mul(k, self.slot("x_k"))), element.memory, element.size)
        return f.splat(element.widen(f, number), LANES)

    def _add(self, k: Value, together: int) -> None:
        """Add the products with some rows of words to the sums."""
        f = self.f
        fresh = f.icmp("eq", k, i64(0))
        ks = [f.add(k, i64(n)) for n in range(together)]
        rows = [
            Row(*[f.gep(p, f.mul(at, self.slot(name + "_row")))
                  for p, name in zip(self.origins, "wsb", strict=True)])
            for at in ks
        ]  # fmt: skip
        left = [[self._splat(at, row) for row in self.left] for at in ks]
        whole = f.min(f.op("lshr", self.slot("units"), i64(4)), self.stop)
        for start, stop, part in ((self.first, whole, False), (whole, self.stop, True)):
            loop = f.loop(f.max(start, self.first), stop, i64(1))
            self._chunk(rows, left, loop.index, part, fresh)
            f.end_loop(loop)

    def _chunk(
        self, rows: list[Row], left: list[list[Value]], chunk: Value, part: bool, fresh: Value
    ) -> None:
        f, coding = self.f, self.coding
        codes = [self.codes(self.words(row, chunk, part)) for row in rows]
        names = "sb" if coding.biased else "s"
        factors = [[self.factors(row, name, chunk, part) for name in names] for row in rows]
        place = self._place(chunk)
        for j in range(coding.codes):
            right = [self._value(next(c), *of) for c, of in zip(codes, factors, strict=True)]
            for r in range(self.spec.rows):
                at = f.gep(place, i64((j * self.spec.rows + r) * VECTOR))
                total = f.select(fresh, const(FLOATS, 0), f.load(at, FLOATS, VECTOR))
                for numbers, value in zip(left, right, strict=True):
                    total = multiply_add(f, numbers[r], value, total, self.fused)
                f.store(total, at, VECTOR)

    def _value(self, code: Value, scale: Value, bias: Value | None = None) -> Value:
        if bias is None:
            return self.f.mul(code, scale)
        return multiply_add(self.f, code, scale, bias, self.fused)

    def _place(self, chunk: Value) -> Value:
        """Where the sums of a chunk lie."""
        f = self.f
        return f.gep(self.sums, f.mul(f.sub(chunk, self.first), i64(self.spec.chunk_bytes)))

    def _finish(self, context: Any, row0: Value) -> None:
        """Hand sums to the epilogue by vectors of neighbouring columns."""
        f, codes, rows = self.f, self.coding.codes, self.spec.rows
        row = f.loop(i64(0), self.rows, i64(1))
        chunk = f.loop(self.first, self.stop, i64(1))
        place = f.gep(self._place(chunk.index), f.mul(row.index, i64(VECTOR)))
        col0 = f.mul(chunk.index, i64(codes * LANES))
        for start in range(0, codes * LANES, LANES):
            units = [divmod(start + lane, codes) for lane in range(LANES)]
            offsets = [j * rows * VECTOR + 4 * unit for unit, j in units]
            index = lane_consts(vector(LANES, "i64"), offsets)
            addresses = f.emit(
                f"getelementptr i8, ptr {place.ref}, {index.type} {index.ref}", vector(LANES, "ptr")
            )
            col = f.add(col0, i64(start))
            mask = first_lanes(f, f.sub(self.slot("outputs"), col), LANES)
            value = f.gather(addresses, FLOATS, mask, 4)
            self.spec.epilogue.store(self.k, context, value, f.add(row0, row.index), col, mask)
        f.end_loop(chunk)
        f.end_loop(row)
