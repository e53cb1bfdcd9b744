"""Panels of a quantized matrix: what the blocked product packs where B is one.

An element is ``code * scale + bias`` in float32 (one FMA; or without bias one product), rounded
to bfloat16 where panels hold pairs of those.  Vectors of a panel run over columns of B.

* ``outputs`` rows (the matrix is transposed in the product): a column of B is a row of words, so
  blocks of words are turned in registers first; then each word of a vector belongs to a column.
* Otherwise a row of B is a row of words: 32 columns are ``bits`` words, and a shuffle gives each
  lane the 32 bits that its code begins in.
"""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import Element, multiply_add, transpose
from mlx.backend.llvm.gemm.pairs import join
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.registers import Registers
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base import dtype as dt

RUN = 32
"""Columns that are unpacked at once where a row of B is a row of words: whole words."""
_WORD = Element("uint32", "int32")


def pack_quantized(module: Module, tile: Tile, coding: Coding) -> str:
    """``void pack(ptr words, i64 far, i64 near, ptr scales, i64 far, i64 near, ptr biases,
    i64 far, i64 near, i64 first, i64 cols, i64 depth, ptr target, i64 panel)``.

    ``far`` and ``near`` are bytes between rows and elements of an operand.  Words begin with the
    block; scales and biases with its first row, and at column 0.  Returns the function's name.
    """
    name = f"pack_quantized_{tile.name}_{coding.key}"
    if not module.has(name):
        operand = ["ptr noalias readonly", "i64", "i64"]
        params = [*operand * 3, "i64", "i64", "i64", "ptr noalias", "i64"]
        form = _Turned if coding.outputs else _Straight
        form(module.function(name, params, internal=True), tile, coding).emit()
    return name


class _Panels:
    """What both layouts share."""

    def __init__(self, f: Function, tile: Tile, coding: Coding) -> None:
        self.f, self.tile, self.coding = f, tile, coding
        self.lanes = tile.lanes
        self.floats = vector(self.lanes, "float")
        self.ints = vector(self.lanes, "i32")
        self.scale = coding.scale
        self.words, self.scales, self.biases = (f.params[n : n + 3] for n in (0, 3, 6))
        self.first, self.cols, self.depth, self.target, self.pitch = f.params[9:]

    def emit(self) -> None:
        raise NotImplementedError

    def values(self, codes: Value, scale: Value, bias: Value) -> Value:
        f, numbers = self.f, self.coding.number(self.f, codes)
        if not self.coding.biased:
            return f.mul(numbers, scale)
        return multiply_add(f, numbers, scale, bias, self.tile.fused)

    def put(self, rows: list[Value], address: Value) -> None:
        """Store rows of one element of a panel along k: one, or a pair."""
        f = self.f
        value = rows[0] if len(rows) == 1 else join(f, *[self._narrow(row) for row in rows])
        f.store(value, address, 4)

    def _narrow(self, value: Value) -> Value:
        f = self.f
        if host().has("avx512bf16"):
            return f.cast("bitcast", f.cast("fptrunc", value, "bfloat"), "i16")
        registers = Registers(f, self.lanes)
        return registers.to_memory(registers.rounded(value, dt.bfloat16))

    def column(self, index: Value) -> Value:
        """Where a column's first element lies in its panel."""
        f, tile = self.f, self.tile
        panel, inside = (f.op(op, index, i64(tile.cols)) for op in ("udiv", "urem"))
        return f.gep(f.gep(self.target, f.mul(panel, self.pitch)), f.mul(inside, i64(4)))


class _Turned(_Panels):
    """A column of B is a row of words."""

    def emit(self) -> None:
        f, coding, lanes = self.f, self.coding, self.lanes
        # of the deepest block, whole vectors of words
        most = self.tile.depth * self.tile.step * coding.bits // 32 // lanes + 1
        self.turned = f.alloca(self.ints, most * lanes)
        last = f.sub(self.cols, i64(1))
        block = f.loop(i64(0), self.cols, i64(lanes))
        columns = [f.min(f.add(block.index, i64(i)), last) for i in range(lanes)]
        self._turn([f.gep(self.words[0], f.mul(c, self.words[1])) for c in columns])
        left = f.sub(self.cols, block.index)
        at = f.add(self.first, block.index)
        places = [
            (f.gep(start, f.mul(at, far)), near) for start, far, near in (self.scales, self.biases)
        ]
        group = f.loop(
            i64(0), self.depth, i64(coding.group),
            [self.turned, self.column(block.index), *[p for p, _ in places]],
        )  # fmt: skip
        turned, target, *at_group = group.values
        fars = (self.scales[1], self.biases[1])
        factors = [
            self.scale.load_strided(f, start, far, lanes, left)[0]
            for start, far in zip(at_group, fars, strict=True)
        ]
        turned, target = self._group(turned, target, factors)
        moved = [f.gep(p, near) for p, (_, near) in zip(at_group, places, strict=True)]
        f.end_loop(group, [turned, target, *moved])
        f.end_loop(block)
        f.ret()

    def _turn(self, columns: list[Value]) -> None:
        """Words of the columns, word by word of all columns."""
        f, lanes, unit = self.f, self.lanes, self.coding.unit
        near = self.words[2]
        count = f.op("lshr", f.mul(self.depth, i64(self.coding.bits)), i64(5))
        loop = f.loop(i64(0), count, i64(lanes))
        left = f.sub(count, loop.index)
        offset = f.mul(loop.index, near)
        runs = [_WORD.along(f, f.gep(c, offset), near, lanes, left, unit)[0] for c in columns]
        to = f.gep(self.turned, f.mul(loop.index, i64(4 * lanes)))
        for n, value in enumerate(transpose(f, runs)):
            f.store(value, f.gep(to, i64(4 * lanes * n)), 4 * lanes)
        f.end_loop(loop)

    def _group(self, turned: Value, target: Value, factors: list[Value]) -> tuple[Value, Value]:
        """Rows of one group; returns where the next one's words and rows begin."""
        f, tile, coding = self.f, self.tile, self.coding
        size, step = 4 * self.lanes, tile.step
        unit = f.loop(i64(0), i64(coding.group), i64(coding.codes), [turned, target])
        here, to = unit.values
        words = [f.load(f.gep(here, i64(w * size)), self.ints, size) for w in range(coding.words)]
        for j in range(0, coding.codes, step):
            rows = [self.values(coding.code(f, words, i), *factors) for i in range(j, j + step)]
            self.put(rows, f.gep(to, i64(j // step * tile.b_row)))
        following = [i64(coding.words * size), i64(coding.codes // step * tile.b_row)]
        here, to = f.end_loop(
            unit, [f.gep(p, by) for p, by in zip((here, to), following, strict=True)]
        )
        return here, to


class _Straight(_Panels):
    """A row of B is a row of words."""

    def emit(self) -> None:
        f, tile, coding = self.f, self.tile, self.coding
        parts = (self.words, self.scales, self.biases)
        k = f.loop(i64(0), self.depth, i64(tile.step), [p[0] for p in parts])
        block = f.loop(i64(0), self.cols, i64(RUN))
        group = f.op("udiv", f.add(self.first, block.index), i64(coding.group))
        word = f.mul(f.op("lshr", block.index, i64(5)), i64(coding.bits))
        inside = [f.mul(n, p[2]) for n, p in zip((word, group, group), parts, strict=True)]
        last, left = f.sub(self.depth, i64(1)), f.sub(self.cols, block.index)
        rows = []
        for r in range(tile.step):  # behind the last row, that one again
            down = f.min(i64(r), f.sub(last, k.index))
            places = [
                f.gep(start, f.add(offset, f.mul(p[1], down)))
                for start, offset, p in zip(k.values, inside, parts, strict=True)
            ]
            rows.append(self._row(places, left))
        down = f.mul(f.op("udiv", k.index, i64(tile.step)), i64(tile.b_row))
        for n, pair in enumerate(zip(*rows, strict=True)):
            column = self.column(f.add(block.index, i64(n * self.lanes)))
            self.put(list(pair), f.gep(column, down))
        f.end_loop(block)
        moved = [
            f.gep(start, f.mul(p[1], i64(tile.step)))
            for start, p in zip(k.values, parts, strict=True)
        ]
        f.end_loop(k, moved)
        f.ret()

    def _row(self, places: list[Value], cols: Value) -> list[Value]:
        """RUN elements of a row, by vectors; only ``cols`` need be there."""
        f, bits, lanes, group = self.f, self.coding.bits, self.lanes, self.coding.group
        words, *rest = places
        count = None if bits == 8 else i64(bits)
        if group < RUN:  # else whole runs are there
            count = f.min(i64(bits), f.op("lshr", f.mul(cols, i64(bits)), i64(5)))
        run = _WORD.along(f, words, self.words[2], 8, count, self.coding.unit)[0]
        factors = []  # of each group
        for start in range(0, RUN, group):
            there = f.icmp("slt", i64(start), cols)
            further = [f.select(there, p[2], i64(0)) for p in (self.scales, self.biases)]
            steps = further if start else [i64(0)] * 2
            found = [self._scalar(f.gep(p, by)) for p, by in zip(rest, steps, strict=True)]
            factors.append([f.splat(value, lanes) for value in found])
        halves = f.bitcast(run, vector(16, "i16"))
        out = []
        for start in range(0, RUN, lanes):
            at = [bits * (start + lane) for lane in range(lanes)]
            picked = f.shuffle(halves, None, [n for b in at for n in (b // 16, (b // 16 + 1) % 16)])
            shifts = lane_consts(self.ints, [b % 16 for b in at])
            shifted = f.op("lshr", f.bitcast(picked, self.ints), shifts)
            codes = f.op("and", shifted, const(self.ints, 2**bits - 1))
            out.append(self.values(codes, *factors[start // group]))
        return out

    def _scalar(self, place: Value) -> Value:
        number = self.f.load(place, self.scale.memory, self.scale.size)
        return self.scale.widen(self.f, number)
