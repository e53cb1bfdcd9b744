"""Resampling: a line of the result is a weighted sum of lines, then of neighbours along it.

Lines are summed into the worker's scratch whole vectors at a time, however many axes say which
lines.  Then each position of the result sums neighbouring ones of that scratch.  Tables of
weights lie among the command's consts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.gemm.elements import multiply_add
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import REGISTER, Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.dtype import Dtype, dtype_named
from mlx.base.frozen import dataclass

UNITS, EACH, BLOCKS, BLOCK, LINE, CHANNELS, SCALE, STEP, TURN = range(9)
X, OUT, AREA, AREA_BYTES, SPANS, LAST, BATCH, LEADING = 9, 11, 13, 15, 16, 17, 18, 19
_WIDE = 4
"""Vectors that are summed side by side."""


@dataclass(frozen=True)
class ResampleSpec:
    """Consts: see the names above; then for each leading axis its positions, the stride in x and
    where its table begins; the tables.

    moved: positions along lines change; whole: channels fill vectors; dense: a line of x is one
    run; apart: its channels don't lie side by side.
    """

    dtype: str
    leading: int
    moved: bool
    whole: bool
    dense: bool
    apart: bool
    scaled: bool
    stream: bool
    near: bool
    """Lines are summed where neighbours are: no bit differs."""
    fold: str = "sum"
    """Or max, which weighs nothing."""

    @property
    def key(self) -> str:
        flags = (
            self.moved,
            self.whole,
            self.dense,
            self.apart,
            self.scaled,
            self.stream,
            self.near,
        )
        return f"resample {self.fold} {self.dtype} {self.leading} {''.join('01'[f] for f in flags)}"

    @property
    def lanes(self) -> int:
        return host().vector_bytes // accumulator(dtype_named(self.dtype)).size

    def area(self, lines: int, span: int, block: int, channels: int) -> int:
        """Bytes of scratch: pairs of a line and its weight, the sum of lines, the result."""
        size = accumulator(dtype_named(self.dtype)).size
        sums = [16 * max(lines, 1)]
        sums += [(n * channels + self.lanes) * size for n in (span, block)]
        return sum(-(-n // 64) * 64 for n in sums)

    def emit(self, module: Module, name: str) -> None:
        _Resampling(self, Kernel(module, name)).emit()


class _Resampling:
    """Emission of one kernel."""

    def __init__(self, spec: ResampleSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.acc = accumulator(self.dtype)
        self.element = REGISTER[self.acc.name]
        self.e = LaneEmitter(self.f, spec.lanes)
        self.type = vector(spec.lanes, self.element)
        self.empty = const(self.type, 0), const(self.type, -0.0)  # -0.0 + x is x

    def emit(self) -> None:
        k, f = self.k, self.f
        for slot in range(LEADING + 3 * self.spec.leading):
            k.const(slot)
        self.x, self.out = k.pointer(X), k.pointer(OUT)
        self.pairs = f.gep(k.pointer(AREA), f.mul(k.worker, k.const(AREA_BYTES)))
        scale = f.bitcast(k.const(SCALE), "double")
        scale = scale if self.acc.size == 8 else f.cast("fptrunc", scale, "float")
        self.scale = f.splat(scale, self.spec.lanes)
        first = f.mul(k.task, k.const(EACH))
        end = f.min(f.add(first, k.const(EACH)), k.const(UNITS))
        units = f.loop(first, end, i64(1))
        row = f.op("udiv", units.index, k.const(BLOCKS))
        part = f.sub(units.index, f.mul(row, k.const(BLOCKS)))
        self._unit(row, part)
        f.end_loop(units)
        f.ret()

    def _unit(self, row: Value, part: Value) -> None:
        """A block of a line."""
        k, f = self.k, self.f
        begin = f.mul(part, k.const(BLOCK))
        end = f.min(f.add(begin, k.const(BLOCK)), k.const(LINE))
        span = f.gep(self._word(k.const(SPANS)), f.mul(part, i64(16)))
        low, high = f.load(span, "i64", 8), f.load(f.gep(span, i64(8)), "i64", 8)
        count = self._lines(row)
        position = f.add(f.mul(row, k.const(LINE)), begin)
        self.target = f.gep(self.out, self._bytes(f.mul(position, k.const(CHANNELS)), self.dtype))
        self.sums = f.gep(self.pairs, self._rounded(f.mul(count, i64(16))))
        length = f.mul(f.sub(high, low), k.const(CHANNELS))
        padded = self._bytes(f.add(length, i64(self.spec.lanes)), self.acc)
        self.results = f.gep(self.sums, self._rounded(padded))
        if not self.spec.near:
            self._sum_lines(count, low, high)
        if self.spec.moved:
            self._along(count, low, begin, end)

    def _word(self, slot: Value) -> Value:
        return self.f.gep(self.k.consts, slot, "i64")

    def _bytes(self, elements: Value, dtype: Dtype) -> Value:
        return self.f.mul(elements, i64(dtype.size))

    def _rounded(self, nbytes: Value) -> Value:
        return self.f.op("and", self.f.add(nbytes, i64(63)), i64(-64))

    def _head(self, start: Value, position: Value) -> tuple[Value, Value, Value]:
        """Of a table: the first element, how many, and the address of the weights."""
        f = self.f
        head = f.gep(start, f.mul(position, i64(24)))
        first, count, at = (f.load(f.gep(head, i64(8 * i)), "i64", 8) for i in range(3))
        return first, count, f.gep(start, at, "i64")

    # -- lines -------------------------------------------------------------------------

    def _lines(self, row: Value) -> Value:
        """Write the addresses of the lines that a row is made of, and their weights; how many."""
        k, f = self.k, self.f
        heads: list[tuple[Value, Value, Value]] = []
        for axis in reversed(range(self.spec.leading)):
            size = k.const(LEADING + 3 * axis)
            rest = f.op("udiv", row, size)
            place = f.sub(row, f.mul(rest, size))
            heads.insert(0, self._head(self._word(k.const(LEADING + 3 * axis + 2)), place))
            row = rest
        base = f.gep(self.x, f.mul(row, k.const(BATCH)))
        return self._pairs(heads, base, const(self.element, 1.0), i64(0))

    def _pairs(self, heads: Sequence[Any], base: Value, weight: Value, at: Value) -> Value:
        k, f = self.k, self.f
        if not heads:
            pair = f.gep(self.pairs, f.mul(at, i64(16)))
            f.store(base, pair, 8)
            f.store(weight, f.gep(pair, i64(8)), 8)
            return f.add(at, i64(1))
        (first, count, weights), *rest = heads
        stride = k.const(LEADING + 3 * (self.spec.leading - len(heads)) + 1)
        loop = f.loop(i64(0), count, i64(1), [at])
        line = f.gep(base, f.mul(f.add(first, loop.index), stride))
        own = f.load(f.gep(weights, loop.index, "i64"), self.element, 8)
        following = self._pairs(rest, line, f.mul(weight, own), loop.values[0])
        return f.end_loop(loop, [following])[0]

    def _sum_lines(self, count: Value, low: Value, high: Value) -> None:
        """The weighted sum of lines, from position ``low`` to ``high``."""
        k, f = self.k, self.f
        channels = k.const(CHANNELS)
        if self.spec.dense:
            offset = self._bytes(f.mul(low, channels), self.dtype)
            self._run(count, f.mul(f.sub(high, low), channels), offset, i64(0))
            return
        places = f.loop(low, high, i64(1))
        at = f.mul(f.sub(places.index, low), channels)
        self._run(count, channels, f.mul(places.index, k.const(STEP)), at)
        f.end_loop(places)

    def _run(self, lines: Value, length: Value, offset: Value, at: Value) -> None:
        """Sum ``length`` elements of all lines, ``offset`` bytes from their beginnings."""

        def body(first: Value, vectors: int, mask: Value | None) -> None:
            places = [self.f.add(first, i64(i * self.e.lanes)) for i in range(vectors)]
            sums = self._summed(lines, offset, places, length, mask)
            for place, s in zip(places, sums, strict=True):
                self._keep(s, self.f.add(at, place), mask)

        self._spans(length, body)

    def _summed(
        self,
        lines: Value,
        offset: Value,
        places: Sequence[Value],
        length: Value,
        mask: Value | None,
    ) -> list[Value]:
        """Vectors of the weighted sum of lines."""
        f, e = self.f, self.e
        loop = f.loop(i64(0), lines, i64(1), [self._start(lines)] * len(places))
        pair = f.gep(self.pairs, f.mul(loop.index, i64(16)))
        line = f.gep(f.load(pair, "ptr", 8), offset)
        weight = f.splat(f.load(f.gep(pair, i64(8)), self.element, 8), e.lanes)
        read = [self._read(line, place, length, mask) for place in places]
        sums = [self._added(s, weight, x) for x, s in zip(read, loop.values, strict=True)]
        return f.end_loop(loop, sums)

    def _start(self, terms: Value) -> Value:
        """What a fold of so many terms starts from."""
        if self.spec.fold == "max":
            return const(self.type, -math.inf)
        return self.f.select(self.f.icmp("eq", terms, i64(0)), *self.empty)

    def _added(self, s: Value, weight: Value, x: Value) -> Value:
        if self.spec.fold == "max":
            return self.e.maximum(Lane(self.acc, s), Lane(self.acc, x)).v
        return multiply_add(self.f, weight, x, s, host().has_fma)

    def _read(self, line: Value, place: Value, length: Value, mask: Value | None) -> Value:
        f, e = self.f, self.e
        if not self.spec.apart:
            return memory.load_unit(
                e, f.gep(line, self._bytes(place, self.dtype)), self.dtype, mask
            ).v
        last = None if mask is None else f.sub(length, i64(1))
        turn = self.k.const(TURN)
        addresses = memory.strided_addresses(f, line, place, turn, e.lanes, last)
        return memory.load_strided(e, addresses, self.dtype).v

    def _keep(self, s: Value, place: Value, mask: Value | None) -> None:
        """A sum of lines: the result, or what neighbours are read from."""
        if self.spec.moved:
            self.f.store(s, self.f.gep(self.sums, self._bytes(place, self.acc)), self.acc.size)
        else:
            self._write(s, place, mask)

    def _spans(self, length: Value, body: Callable[[Value, int, Value | None], None]) -> None:
        """Several vectors at once, single ones, and what is left."""
        f, lanes = self.f, self.e.lanes
        wide = f.op("and", length, i64(-_WIDE * lanes))
        whole = f.op("and", length, i64(-lanes))
        for begin, end, vectors in ((i64(0), wide, _WIDE), (wide, whole, 1), (whole, length, 0)):
            loop = f.loop(begin, end, i64(max(vectors, 1) * lanes))
            mask = None if vectors else memory.below(f, f.sub(length, loop.index), lanes)
            body(loop.index, max(vectors, 1), mask)
            f.end_loop(loop)

    # -- along lines -------------------------------------------------------------------

    def _along(self, lines: Value, low: Value, begin: Value, end: Value) -> None:
        """Positions ``begin`` to ``end`` from sums of lines.

        Where channels don't fill vectors, each position writes a bit too far, and the next over it.
        """
        k, f = self.k, self.f
        start, channels = self._word(k.const(LAST)), k.const(CHANNELS)
        positions = f.loop(begin, end, i64(1))
        first, count, weights = self._head(start, positions.index)
        at = f.mul(f.sub(positions.index, begin), channels)
        if self.spec.near:
            offset = f.mul(first, k.const(STEP))
            self._position((count, weights), at, partial(self._lines_at, lines, offset))
        else:
            source = f.gep(self.sums, self._bytes(f.mul(f.sub(first, low), channels), self.acc))
            self._position((count, weights), at, partial(self._sums_at, source))
        f.end_loop(positions)
        if not self.spec.whole:
            self._copy(f.mul(f.sub(end, begin), channels))

    def _sums_at(self, source: Value, tap: Value, first: Value, vectors: int) -> list[Value]:
        """Sums of lines, so many positions behind the first."""
        f = self.f
        place = f.add(f.mul(tap, self.k.const(CHANNELS)), first)
        here = f.gep(source, self._bytes(place, self.acc))
        step = self.e.lanes * self.acc.size
        places = [f.gep(here, i64(i * step)) for i in range(vectors)]
        return [f.load(place, self.type, self.acc.size) for place in places]

    def _lines_at(
        self, lines: Value, offset: Value, tap: Value, first: Value, vectors: int
    ) -> list[Value]:
        """The same, summed here."""
        f = self.f
        offset = f.add(offset, f.mul(tap, self.k.const(STEP)))
        places = [f.add(first, i64(i * self.e.lanes)) for i in range(vectors)]
        return self._summed(lines, offset, places, i64(0), None)

    def _position(
        self,
        band: tuple[Value, Value],
        at: Value,
        read: Callable[[Value, Value, int], list[Value]],
    ) -> None:
        f, e = self.f, self.e
        count, weights = band

        def body(first: Value, vectors: int, mask: Value | None) -> None:
            loop = f.loop(i64(0), count, i64(1), [self._start(count)] * vectors)
            own = f.load(f.gep(weights, loop.index, "i64"), self.element, 8)
            weight = f.splat(own, e.lanes)
            found = read(loop.index, first, vectors)
            sums = [self._added(s, weight, x) for s, x in zip(loop.values, found, strict=True)]
            for i, s in enumerate(f.end_loop(loop, sums)):
                place = f.add(at, f.add(first, i64(i * e.lanes)))
                if self.spec.whole:
                    self._write(s, place, None)
                else:
                    f.store(s, f.gep(self.results, self._bytes(place, self.acc)), self.acc.size)

        self._spans(self.k.const(CHANNELS), body)

    def _copy(self, length: Value) -> None:
        """What lies in scratch to the result."""
        f = self.f

        def body(first: Value, vectors: int, mask: Value | None) -> None:
            for i in range(vectors):
                place = f.add(first, i64(i * self.e.lanes))
                address = f.gep(self.results, self._bytes(place, self.acc))
                self._write(f.load(address, self.type, self.acc.size), place, mask)

        self._spans(length, body)

    def _write(self, s: Value, place: Value, mask: Value | None) -> None:
        f, e = self.f, self.e
        lane = e.rounded(f.mul(s, self.scale) if self.spec.scaled else s, self.dtype)
        address = f.gep(self.target, self._bytes(place, self.dtype))
        memory.store_unit(e, lane, address, mask, self.spec.stream and mask is None)
