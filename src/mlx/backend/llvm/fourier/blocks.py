"""Moving 16 rows of complex numbers to and from scratch, where they lie in lanes."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.dtype import complex64, float32

LANES, SIDE = 16, 8
NUMBER = 2 * LANES * 4
_FLOATS, _WORDS = vector(2 * SIDE, "float"), vector(SIDE, "i64")


class Block:
    """``count`` (at most 16) rows ``stride`` apart, whose elements are ``step`` apart; ``real``
    ones have no imaginary parts."""

    def __init__(
        self,
        f: Function,
        way: str,
        base: Value,
        stride: Value,
        step: Value,
        count: Value,
        real: bool = False,
    ) -> None:
        self.f, self.way, self.base, self.real = f, way, base, real
        self.stride, self.step, self.count = stride, step, count
        self.e = LaneEmitter(f, LANES)

    def load(self, n: Value, to: Value) -> None:
        """The first n elements of each row."""
        if self.way == "rows":
            self._load_rows(n, to)
            return
        f = self.f
        loop = f.loop(i64(0), n, i64(1))
        here = f.gep(self.base, f.mul(loop.index, self.step))
        dtype = float32 if self.real else complex64
        if self.way == "unit":
            x = memory.load_unit(self.e, here, dtype, memory.below(f, self.count, LANES))
        else:
            x = memory.load_strided(self.e, self._addresses(here), dtype)
        self._keep(x.v, x.im or const(x.v.type, 0), to, loop.index)
        f.end_loop(loop)

    def store(self, n: Value, last: Value, source: Value) -> None:
        """The first n elements of each row; the last one only of the first ``last`` rows."""
        if self.way == "rows":
            self._store_rows(n, source)
            return
        f = self.f
        fewer = f.min(self.count, last)
        loop = f.loop(i64(0), n, i64(1))
        is_last = f.icmp("eq", loop.index, f.sub(n, i64(1)))
        mask = memory.below(f, f.select(is_last, fewer, self.count), LANES)
        here = f.gep(self.base, f.mul(loop.index, self.step))
        x = Lane(complex64, *self._kept(source, loop.index))
        if self.way == "unit":
            memory.store_unit(self.e, x, here, mask)
        else:
            memory.store_strided(self.e, x, self._addresses(here), mask)
        f.end_loop(loop)

    def _addresses(self, here: Value) -> Value:
        last = self.f.sub(self.count, i64(1))
        return memory.strided_addresses(self.f, here, i64(0), self.stride, LANES, last)

    def _kept(self, base: Value, index: Value) -> tuple[Value, Value]:
        f = self.f
        here = f.gep(base, f.mul(index, i64(NUMBER)))
        type = vector(LANES, "float")
        return f.load(here, type, 64), f.load(f.gep(here, i64(NUMBER // 2)), type, 64)

    def _keep(self, re: Value, im: Value, base: Value, index: Value) -> None:
        f = self.f
        here = f.gep(base, f.mul(index, i64(NUMBER)))
        f.store(re, here, 64)
        f.store(im, f.gep(here, i64(NUMBER // 2)), 64)

    # -- rows whose elements lie side by side: squares of 8 by 8 are transposed -------------

    def _row(self, number: int, first: Value) -> Value:
        """Where 8 elements of a row are; rows that don't exist repeat the last."""
        f = self.f
        row = f.min(i64(number), f.sub(self.count, i64(1)))
        offset = f.mul(first, i64(4 if self.real else 8))
        return f.gep(f.gep(self.base, f.mul(row, self.stride)), offset)

    def _load_rows(self, n: Value, to: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), n, i64(SIDE))
        mask = memory.below(f, f.sub(n, loop.index), SIDE)
        type = vector(SIDE, "i32") if self.real else _WORDS
        rows = [
            f.masked_load(self._row(r, loop.index), type, mask, 4, const(type, 0))
            for r in range(LANES)
        ]
        if self.real:
            rows = [f.cast("zext", row, "i64") for row in rows]  # zeros for imaginary parts
        halves = [_transposed(f, rows[:SIDE]), _transposed(f, rows[SIDE:])]
        for j, (low, high) in enumerate(zip(*halves, strict=True)):
            a, b = f.bitcast(low, _FLOATS), f.bitcast(high, _FLOATS)
            re = f.shuffle(a, b, range(0, 2 * LANES, 2))
            im = f.shuffle(a, b, range(1, 2 * LANES, 2))
            self._keep(re, im, to, f.add(loop.index, i64(j)))
        f.end_loop(loop)

    def _store_rows(self, n: Value, source: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), n, i64(SIDE))
        halves: list[list[Value]] = [[], []]
        for j in range(SIDE):
            re, im = self._kept(source, f.add(loop.index, i64(j)))
            for at, half in zip((0, SIDE), halves, strict=True):
                order = [at + i // 2 + (i % 2) * LANES for i in range(2 * SIDE)]
                half.append(f.bitcast(f.shuffle(re, im, order), _WORDS))
        rows = [row for half in halves for row in _transposed(f, half)]
        left = f.sub(n, loop.index)
        for r, row in enumerate(rows):
            exists = f.icmp("slt", i64(r), self.count)
            mask = memory.below(f, f.select(exists, left, i64(0)), SIDE)
            f.masked_store(row, self._row(r, loop.index), mask, 4)
        f.end_loop(loop)


def _transposed(f: Function, rows: list[Value]) -> list[Value]:
    """8 vectors of 8: squares of 1, 2, then 4 elements across the diagonal change places."""
    for width in (1, 2, 4):
        out = list(rows)
        for r in range(SIDE):
            if r & width:
                continue
            low, high = rows[r], rows[r + width]
            upper = [c if not c & width else SIDE + c - width for c in range(SIDE)]
            lower = [c + width if not c & width else SIDE + c for c in range(SIDE)]
            out[r], out[r + width] = f.shuffle(low, high, upper), f.shuffle(low, high, lower)
        rows = out
    return rows
