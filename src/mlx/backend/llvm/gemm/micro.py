"""The micro-kernel: one register tile of C += A panel * B panel, over one block of k.

``void micro(ptr a, i64 a_pitch, ptr b, i64 b_pitch, i64 depth, ptr c, i1 more, ptr to,
i64 to_pitch, i64 height, i64 width)``: the pitches are the bytes from one row to the next (so that
row-major operands can be read where they lie); ``a_pitch`` is for format ROW only; ``more`` says
that the chain of FMAs goes on from what the tile C in scratch holds.  Sums go to C, or where ``to``
is not null to the result there, rounded to its dtype: as many rows and columns as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mlx.backend.llvm.gemm import amx
from mlx.backend.llvm.gemm.dots import dot_runs
from mlx.backend.llvm.gemm.elements import (
    SIZES,
    first_lanes,
    llvm_type,
    multiply_add,
    prefetch,
)
from mlx.backend.llvm.gemm.narrow import narrowed_row
from mlx.backend.llvm.gemm.pairs import dot_pairs
from mlx.backend.llvm.gemm.tile import ROW, Tile
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, const, i64, lanes_of, vector

_GROUP = 5  # rows of A that share a pointer: scaled pitches reach those between


class _Micro:
    def __init__(
        self, f: Function, tile: Tile, a_format: str, rows: int, vectors: int, stored: str
    ) -> None:
        self.f, self.tile, self.a_format = f, tile, a_format
        self.rows, self.vectors, self.stored = rows, vectors, stored
        self.element = llvm_type(tile.accumulate)
        self.type = vector(tile.lanes, self.element)
        self.packed = "i32" if tile.pairs or tile.dots else self.element

    def emit(self) -> None:
        f = self.f
        a, self.a_pitch, b, b_pitch, depth, c, more, to, to_pitch, height, width = f.params
        sums = self._start(c, more)
        self._ask(c, to, to_pitch)
        groups = self._groups(a)
        if self.tile.dots and self.tile.dots.correct:
            sums = self._corrected(sums, groups)
        sums = self._loop(depth, sums, groups, b, b_pitch)

        def keep() -> None:
            for position, value in enumerate(sums):
                f.store(value, self._c_address(c, position), self.tile.itemsize)

        if self.tile.planes > 1:
            keep()
        else:
            nowhere = f.icmp("eq", to, Value("null", "ptr"))
            f.where(nowhere, keep, lambda: self._deliver(sums, to, to_pitch, height, width))
        f.ret()

    def _ask(self, c: Value, to: Value, pitch: Value) -> None:
        """Have the lines fetched that the next tile of these columns goes to."""
        f, tile = self.f, self.tile
        if tile.planes > 1:
            return
        nowhere = f.icmp("eq", to, Value("null", "ptr"))
        below = f.gep(f.select(nowhere, c, to), f.mul(pitch, i64(self.rows)))
        for row in range(self.rows):
            for v in range(0, self.vectors * tile.lanes * SIZES[self.stored], tile.vector_bytes):
                prefetch(f, f.gep(f.gep(below, f.mul(pitch, i64(row))), i64(v)), write=True)

    def _deliver(
        self, sums: Sequence[Value], to: Value, pitch: Value, height: Value, width: Value
    ) -> None:
        """Store to the result."""
        f, size = self.f, SIZES[self.stored]
        flushed = self.tile.pairs
        lines = [
            narrowed_row(f, sums[r * self.vectors :][: self.vectors], self.stored, flushed)
            for r in range(self.rows)
        ]

        def line(r: int, masked: bool) -> None:
            start, col = f.gep(to, f.mul(pitch, i64(r))), 0
            for value in lines[r]:
                lanes = lanes_of(value.type)
                at = f.gep(start, i64(col * size))
                if masked:
                    mask = first_lanes(f, f.sub(width, i64(col)), lanes)
                    f.masked_store(value, at, mask, size)
                else:
                    f.store(value, at, size)
                col += lanes

        def all_lines() -> None:
            for r in range(self.rows):
                line(r, masked=False)

        def those_there() -> None:
            for r in range(self.rows):
                f.where(f.icmp("sgt", height, i64(r)), partial(line, r, masked=True))

        whole = f.icmp("sge", height, i64(self.rows))
        whole = f.op("and", whole, f.icmp("sge", width, i64(self.vectors * self.tile.lanes)))
        f.where(whole, all_lines, those_there)

    def _corrected(self, sums: list[Value], groups: list[Value]) -> list[Value]:
        """Sums of a row start with what lies behind it in the panel."""
        f, tile = self.f, self.tile
        out = []
        for row in range(self.rows):
            at = f.gep(self._a_address(groups, row, 0), i64(tile.correction))
            number = f.splat(f.load(at, "i32", 4), tile.lanes)
            out += [f.add(s, number) for s in sums[row * self.vectors :][: self.vectors]]
        return out

    def _groups(self, a: Value) -> list[Value]:
        """Pointers into A: one, or one for each group of rows."""
        if self.a_format != ROW:
            return [a]
        f = self.f
        self.a_rows = [f.mul(self.a_pitch, i64(r)) for r in range(min(_GROUP, self.rows))]
        return [f.gep(a, f.mul(self.a_pitch, i64(r))) for r in range(0, self.rows, _GROUP)]

    def _loop(
        self, depth: Value, sums: list[Value], a: list[Value], b: Value, b_pitch: Value
    ) -> list[Value]:
        """Not unrolled: with two steps in one block LLVM's scheduler spills accumulators."""
        f, count = self.f, len(sums)
        loop = f.loop(i64(0), depth, i64(1), [*sums, *a, b])
        sums, a, b = loop.values[:count], loop.values[count:-1], loop.values[-1]
        sums = self._step(sums, a, b)
        a = [f.gep(group, i64(self._a_step)) for group in a]
        return f.end_loop(loop, [*sums, *a, f.gep(b, b_pitch)])[:count]

    @property
    def _a_step(self) -> int:
        """Bytes from one k to the next in the packed panel of A."""
        tile = self.tile
        return tile.itemsize * (1 if self.a_format == ROW else tile.rows * tile.planes)

    def _c_address(self, c: Value, position: int) -> Value:
        """Sums are ordered by plane, row, vector; a tile buffer is plane after plane."""
        f, tile = self.f, self.tile
        plane, rest = divmod(position, self.rows * self.vectors)
        row, v = divmod(rest, self.vectors)
        return f.gep(
            c, i64(((plane * tile.rows + row) * tile.cols + v * tile.lanes) * tile.itemsize)
        )

    def _start(self, c: Value, more: Value) -> list[Value]:
        f = self.f
        count = self.rows * self.vectors * self.tile.planes
        size = self.tile.itemsize

        def old() -> list[Value]:
            return [f.load(self._c_address(c, p), self.type, size) for p in range(count)]

        return f.changed(more, [const(self.type, 0)] * count, old)

    def _a_address(self, a: list[Value], row: int, plane: int) -> Value:
        f, tile = self.f, self.tile
        if self.a_format == ROW:
            start = f.gep(a[row // _GROUP], self.a_rows[row % _GROUP])
            offset = plane * (tile.row_pitch // tile.planes)
        else:
            start, offset = a[0], plane * tile.rows + row
        return f.gep(start, i64(offset * tile.itemsize))

    def _step(self, sums: Sequence[Value], a: list[Value], b: Value) -> list[Value]:
        """One k: every row's broadcast element times the vectors of one row of B."""
        f, tile = self.f, self.tile
        right = [
            [
                f.load(
                    f.gep(b, i64((p * tile.cols + v * tile.lanes) * tile.itemsize)),
                    vector(tile.lanes, self.packed),
                    tile.itemsize,
                )
                for v in range(self.vectors)
            ]
            for p in range(tile.planes)
        ]
        out = list(sums)
        for row in range(self.rows):
            left = [
                f.splat(f.load(self._a_address(a, row, p), self.packed, tile.itemsize), tile.lanes)
                for p in range(tile.planes)
            ]
            for v in range(self.vectors):
                at = row * self.vectors + v
                if tile.dots:
                    out[at] = dot_runs(f, tile.dots, left[0], right[0][v], out[at])
                elif tile.pairs:
                    out[at] = dot_pairs(f, left[0], right[0][v], out[at])
                elif tile.planes == 1:
                    out[at] = multiply_add(f, left[0], right[0][v], out[at], tile.fused)
                else:
                    im = at + self.rows * self.vectors
                    out[at], out[im] = self._complex(left, right, v, out[at], out[im])
        return out

    def _complex(
        self, a: list[Value], b: list[list[Value]], v: int, re: Value, im: Value
    ) -> tuple[Value, Value]:
        f, fused = self.f, self.tile.fused
        re = multiply_add(f, a[0], b[0][v], re, fused)
        im = multiply_add(f, a[0], b[1][v], im, fused)
        re = multiply_add(f, f.neg(a[1]), b[1][v], re, fused)
        im = multiply_add(f, a[1], b[0][v], im, fused)
        return re, im


def micro_kernel(
    module: Module, tile: Tile, a_format: str, rows: int, vectors: int, stored: str
) -> str:
    """Have the module know the micro-kernel for results of dtype ``stored``; returns its name."""
    name = f"micro_{tile.identity}_{a_format}_{rows}x{vectors}_{stored}"
    source = "ptr noalias readonly"
    params = [source, "i64", source, "i64", "i64", "ptr noalias", "i1", "ptr noalias"]
    params += ["i64", "i64", "i64"]
    if not tile.amx:
        write = partial(_write, tile, a_format, rows, vectors, stored)
        module.routine(name, params, write)
    elif not module.has(name):
        dot = tile.dots.form if tile.dots else "tdpbf16ps"
        f = module.function(name, params, internal=True)
        amx.AmxMicro(f, dot, rows, vectors, tile.b_row).emit_delivering()
    return name


def _write(tile: Tile, a_format: str, rows: int, vectors: int, stored: str, f: Function) -> None:
    _Micro(f, tile, a_format, rows, vectors, stored).emit()
