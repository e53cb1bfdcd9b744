"""Products with quantized matrices, dequantized in registers.

``y[m, n] = sum over k of x[m, k] * w[n, k]`` where a row of w is *units* of packed codes: words,
or the fewest words that hold whole codes (3 words are 32 codes of 3 bits).  16 units are a
*chunk*.  x is first laid out in panels: for each chunk and each position j of a code in its unit,
the 16 elements of x that meet the codes j of the 16 units; behind them the sums of x over groups.
So a row of w is read once, as it lies.

The order of a sum depends on k, bits and group only: lane l takes units l, 16 + l, ...; of a
unit the sum t of x times code, one FMA a code in their order, then ``sum = fma(t, scale, sum)``.
After the units it takes groups l, 16 + l, ...: ``sum = fma(x over the group, bias, sum)``.
Then the upper half of the lanes is added to the lower half until one is left.  It is the same
on every target with FMA and on any number of threads; but a bfloat16 x meets codes of 2 or 4
bits and E4M3 in pairs where the processor has the dot product of those (see ``gemm.pairs``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import (
    first_lanes,
    multiply_add,
)
from mlx.backend.llvm.gemm.operand import (
    Epilogue,
    item_of,
)
from mlx.backend.llvm.gemm.pairs import dot_pairs
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_codes import Reader, Row, by_bytes
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_panels import (
    FLOATS,
    LANES,
    VECTOR,
    WORDS,
    chunk_bytes,
)
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.frozen import dataclass

_HALVES = vector(2 * LANES, "i16")
SLOTS = (
    "w_base", "w_offset", "s_base", "s_offset", "b_base", "b_offset", "x_base", "x_offset",
    "outputs", "rows", "panels", "panel", "units", "chunks", "groups", "w_row", "w_k", "s_row",
    "s_k", "b_row", "b_k", "block", "blocks", "table", "dims",
)  # fmt: skip


@dataclass(frozen=True)
class ProductSpec:
    """Rows of w times panels of ``columns`` rows of x, ``together`` rows of w at a time.

    ``units``: whether words, scales and biases have unit stride along k.
    """

    coding: Coding
    units: tuple[bool, bool, bool]
    columns: int
    together: int
    pairs: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        kind = "pairs " if self.pairs else ""
        units = "".join("01"[u] for u in self.units)
        return (
            f"quantized {self.coding.key} {units} {self.columns} "
            f"{self.together} {kind}{self.epilogue.key}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Product(self, Kernel(module, name)).emit()


class _Product(Reader):
    slots = SLOTS

    def __init__(self, spec: ProductSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel)
        self.chunk = i64(chunk_bytes(spec.columns, self.per, spec.pairs))

    def emit(self) -> None:
        f, spec, epilogue = self.f, self.spec, self.spec.epilogue
        starts = [self.pointer(name) for name in "wsb"]
        x = self.pointer("x")
        state = epilogue.begin(self.k, len(SLOTS))
        item, block = self.split(self.k.task, self.slot("blocks"))
        matrix, self.row0, self.rows = item_of(self.k, epilogue, state, item, self.slot("rows"))
        self.origins = [f.gep(p, o) for p, o in zip(starts, self.batch(matrix, 3), strict=True)]
        self.context = epilogue.batch(self.k, state, matrix)
        panels = f.gep(x, f.mul(f.mul(item, self.slot("panels")), self.slot("panel")))
        first = f.mul(block, self.slot("block"))
        last = f.min(f.add(first, self.slot("block")), self.slot("outputs"))
        loop = f.loop(first, last, i64(spec.together))
        rows = [self._row(f.add(loop.index, i64(r)), last) for r in range(spec.together)]
        filled = f.op("udiv", f.add(self.rows, i64(spec.columns - 1)), i64(spec.columns))
        inner = f.loop(i64(0), filled, i64(1))
        sums = self._dot(rows, f.gep(panels, f.mul(inner.index, self.slot("panel"))))
        self._store(sums, f.mul(inner.index, i64(spec.columns)), loop.index, last)
        f.end_loop(inner)
        f.end_loop(loop)
        f.ret()

    def _row(self, number: Value, end: Value) -> Row:
        """A row of w; behind the last one, that one again."""
        f = self.f
        number = f.min(number, f.sub(end, i64(1)))
        return Row(*[
            f.gep(origin, f.mul(number, self.slot(name + "_row")))
            for origin, name in zip(self.origins, "wsb", strict=True)
        ])  # fmt: skip

    def _dot(self, rows: list[Row], panel: Value) -> list[Value]:
        """For each row, then each column, the sum."""
        f = self.f
        sums = [const(FLOATS, 0)] * (len(rows) * self.spec.columns)
        whole = f.op("lshr", self.slot("units"), i64(4))
        for start, stop, part in ((i64(0), whole, False), (whole, self.slot("chunks"), True)):
            loop = f.loop(start, stop, i64(1), sums)
            sums = f.end_loop(loop, self._chunk(rows, panel, loop.index, loop.values, part))
        if not self.coding.biased:
            return [self._fold(s) for s in sums]
        behind = f.gep(panel, f.mul(self.slot("chunks"), self.chunk))
        loop = f.loop(i64(0), self.slot("groups"), i64(LANES), sums)
        sums = f.end_loop(loop, self._biases(rows, behind, loop.index, loop.values))
        return [self._fold(s) for s in sums]

    def _chunk(
        self, rows: list[Row], panel: Value, chunk: Value, sums: list[Value], part: bool
    ) -> list[Value]:
        """A vector of units of each row; ``part``: only the units that are there."""
        f, columns = self.f, self.spec.columns
        x = f.gep(panel, f.mul(chunk, self.chunk))
        words = [self.words(row, chunk, part) for row in rows]
        if self.spec.pairs:
            totals = self._in_pairs([only for (only,) in words], x)
        else:
            totals = self._one_by_one([self.codes(w) for w in words], x)
        scales = [self.factors(row, "s", chunk, part) for row in rows]
        return [
            multiply_add(f, t, scales[at // columns], sums[at], self.fused)
            for at, t in enumerate(totals)
        ]

    def _one_by_one(self, words: list[Iterator[Value]], x: Value) -> list[Value]:
        """For each row, then each column: the sums of x times code within units."""
        f = self.f
        totals: list[Value] = []
        for j in range(self.per):
            xs = self._load_x(x, j)
            codes = [next(w) for w in words]
            products = [(x, c) for c in codes for x in xs]
            if j == 0:
                totals = [f.mul(*p) for p in products]
            else:
                totals = [
                    multiply_add(f, *p, t, self.fused)
                    for p, t in zip(products, totals, strict=True)
                ]
        return totals

    def _in_pairs(self, words: list[Value], x: Value) -> list[Value]:
        """The same for codes of 1, 2, 4 or (E4M3) 8 bits, two at a time."""
        f = self.f
        codes = [
            iter(self.looked_up(word)) if by_bytes(self.coding) else self._permuted(word)
            for word in words
        ]
        totals = [const(FLOATS, 0)] * (len(words) * self.spec.columns)
        for j in range(self.per // 2):
            xs = [f.bitcast(value, WORDS) for value in self._load_x(x, j)]
            for r, code in enumerate([next(each) for each in codes]):
                for c, value in enumerate(xs):
                    at = r * self.spec.columns + c
                    totals[at] = dot_pairs(f, value, code, totals[at])
        return totals

    def _permuted(self, word: Value) -> Iterator[Value]:
        """Pairs of codes of at most 4 bits.

        Of a 16-bit index a permutation reads the low 5 bits: a code, and bits that the table
        makes irrelevant.
        """
        f, bits, name = self.f, self.coding.bits, "llvm.x86.avx512.permvar.hi.512"
        f.module.declare(name, _HALVES, [_HALVES, _HALVES])
        table = lane_consts(_HALVES, [_bfloat16_bits(n) for n in self.coding.table * 2])
        for j in range(self.per // 2):
            shifted = f.op("lshr", word, const(WORDS, bits * j)) if j else word
            yield f.bitcast(f.call(name, _HALVES, table, f.bitcast(shifted, _HALVES)), WORDS)

    def _biases(self, rows: list[Row], x: Value, group: Value, sums: list[Value]) -> list[Value]:
        f, columns = self.f, self.spec.columns
        xs = self._load_x(f.gep(x, f.mul(group, i64(4 * columns))), 0)
        left, stride, out = f.sub(self.slot("groups"), group), self.slot("b_k"), []
        for r, row in enumerate(rows):
            bias = self.run(f.gep(row.biases, f.mul(group, stride)), "b", LANES, left)
            for c in range(columns):
                out.append(multiply_add(f, xs[c], bias, sums[r * columns + c], self.fused))
        return out

    def _load_x(self, address: Value, j: int) -> list[Value]:
        f, columns = self.f, self.spec.columns
        return [
            f.load(f.gep(address, i64((j * columns + c) * VECTOR)), FLOATS, VECTOR)
            for c in range(columns)
        ]

    def _fold(self, value: Value) -> Value:
        """The sum of the lanes, in lane 0 of four."""
        f, width = self.f, LANES
        while width > 1:
            width //= 2
            upper = f.shuffle(value, None, [width + i % width for i in range(max(width, 4))])
            lower = f.shuffle(value, None, range(max(width, 4)))
            value = f.add(lower, upper)
        return value

    def _store(self, sums: list[Value], row: Value, col: Value, end: Value) -> None:
        f, columns = self.f, self.spec.columns
        left = f.min(f.sub(end, col), i64(len(sums) // columns))
        there = first_lanes(f, left, 4)
        for c in range(columns):
            values = sums[c::columns]
            line = values[0]
            for r, value in enumerate(values[1:], 1):
                line = f.insert(line, f.extract(value, 0), r)
            at = f.add(row, i64(c))
            exists = f.splat(f.icmp("slt", at, self.rows), 4)
            mask = f.op("and", there, exists) if columns > 1 else there
            place = f.add(self.row0, f.min(at, f.sub(self.rows, i64(1))))
            self.spec.epilogue.store(self.k, self.context, line, place, col, mask)


def _bfloat16_bits(number: float) -> int:
    """A number of few bits as bfloat16."""
    return struct.unpack("<I", struct.pack("<f", number))[0] >> 16
