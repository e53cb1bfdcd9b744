"""Codes of rows of words in registers, 16 units at a time, with their scales and biases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import Element, prefetch
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_panels import FLOATS, LANES, VECTOR, WORDS, Named
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.frozen import dataclass

_BYTES = vector(4 * LANES, "i8")


def by_bytes(coding: Coding) -> bool:
    """Whether codes are bytes that permutations of bytes turn to numbers."""
    return coding.bits == 8 and not coding.biased and host().has("avx512vbmi")


@dataclass(frozen=True)
class Row:
    """Where a row of w begins: words, scales, biases."""

    words: Value
    scales: Value
    biases: Value


class Reader(Named):
    """A kernel that reads rows of words.

    Its spec has a ``coding``, ``units`` (whether words, scales and biases have unit stride along a
    row) and ``together`` (rows that are read at once); its slots are named as those of
    ``quantized``.
    """

    def __init__(self, spec: Any, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.spec, self.coding = spec, spec.coding
        self.scale = spec.coding.scale
        self.per = spec.coding.codes
        self.fused = host().has_fma

    def words(self, row: Row, chunk: Value, part: bool) -> list[Value]:
        """The words of 16 units, those that come first in their units first."""
        f, element, each = self.f, Element("uint32", "int32"), self.coding.words
        first = f.mul(chunk, i64(LANES))
        left = f.sub(self.slot("units"), first) if part else None
        step = f.mul(self.slot("w_k"), i64(each))
        address = f.gep(row.words, f.mul(first, step))
        if not self.spec.units[0]:
            starts = [f.gep(address, f.mul(self.slot("w_k"), i64(w))) for w in range(each)]
            some = left or i64(LANES)
            return [element.load_strided(f, at, step, LANES, some)[0] for at in starts]
        ahead = f.mul(self.slot("w_row"), i64(2 * self.spec.together))
        lines = [f.gep(address, i64(VECTOR * w)) for w in range(each)]
        there = f.mul(left, i64(each)) if left is not None else None
        loaded = []
        for w, line in enumerate(lines):
            prefetch(f, f.gep(line, ahead), locality=2)  # the first level is full of x
            count = f.sub(there, i64(LANES * w)) if there is not None else None
            loaded += element.load_run(f, line, LANES, count)
        return _every(f, loaded) if each > 1 else loaded

    def codes(self, words: list[Value]) -> Iterator[Value]:
        """The codes of each unit as floats, lowest first."""
        f, coding = self.f, self.coding
        if by_bytes(coding):
            pairs = self.looked_up(words[0])
            halves = [f.op("shl", p, const(WORDS, 16)) for p in pairs]
            halves += [f.op("and", p, const(WORDS, -65536)) for p in pairs]
            yield from [f.bitcast(value, FLOATS) for value in halves]
            return
        permuted = coding.bits <= 4 and host().avx512
        for j in range(self.per):
            code = coding.code(f, words, j, clean=not permuted)
            if permuted:  # from a table: a permutation reads the low 4 bits of an index only
                name = "llvm.x86.avx512.permvar.sf.512"
                f.module.declare(name, FLOATS, [FLOATS, WORDS])
                yield f.call(name, FLOATS, lane_consts(FLOATS, coding.table), code)
            else:
                yield coding.number(f, code)

    def looked_up(self, words: Value) -> list[Value]:
        """Codes of ``by_bytes`` as pairs of bfloat16: j below j plus half of a unit's.

        Permutations find both bytes of 64 at once.  They read the low 7 bits of an index, so the
        sign is added behind them.
        """
        f, name, half = self.f, "llvm.x86.avx512.vpermi2var.qi.512", self.per // 2
        f.module.declare(name, _BYTES, [_BYTES] * 3)
        codes = f.bitcast(words, _BYTES)
        tables = [
            [lane_consts(_BYTES, part) for part in (table[:64], table[64:])]
            for table in self.coding.bytes_of_table
        ]
        high, low = [f.call(name, _BYTES, t[0], codes, t[1]) for t in tables]
        high = f.op("or", high, f.op("and", codes, const(_BYTES, -128)))
        out = []
        for j in range(half):
            at = [lane * self.per + j + n for lane in range(LANES) for n in (0, half)]
            both = f.shuffle(low, high, [place for n in at for place in (n, 64 + n)])
            out.append(f.bitcast(both, WORDS))
        return out

    def factors(self, row: Row, name: str, chunk: Value, part: bool) -> Value:
        """For each unit of a chunk, the scale (``s``) or bias (``b``) of its group."""
        f, each = self.f, self.coding.group // self.per  # units of a group
        count = max(1, LANES // each)
        shared = max(1, each // LANES)
        first = f.op("udiv", chunk, i64(shared)) if shared > 1 else f.mul(chunk, i64(count))
        left = f.sub(self.slot("groups"), first) if part else None
        start = row.scales if name == "s" else row.biases
        value = self.run(f.gep(start, f.mul(first, self.slot(name + "_k"))), name, count, left)
        return f.shuffle(value, None, [min(lane // each, count - 1) for lane in range(LANES)])

    def run(self, address: Value, name: str, count: int, left: Value | None) -> Value:
        """Scales or biases of neighbouring groups."""
        if self.spec.units["wsb".index(name)]:
            return self.scale.load_run(self.f, address, count, left)[0]
        stride, present = self.slot(name + "_k"), left or i64(count)
        return self.scale.load_strided(self.f, address, stride, count, present)[0]


def _every(f: Function, vectors: list[Value]) -> list[Value]:
    """Lanes of n vectors in a row -> the n vectors of every n-th of them."""
    n, out = len(vectors), []
    for start in range(n):
        sources = [divmod(lane * n + start, LANES) for lane in range(LANES)]
        value = vectors[0]
        for v, other in enumerate(vectors[1:], 1):
            picked = [
                LANES + at if source == v else at if v == 1 else lane
                for lane, (source, at) in enumerate(sources)
            ]
            value = f.shuffle(value, other, picked)
        out.append(value)
    return out
