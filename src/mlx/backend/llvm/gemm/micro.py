"""The micro-kernel: one register tile of C += A panel * B panel, over one block of k.

``void micro(ptr a, ptr b, i64 b_pitch, i64 depth, ptr c, i64 c_pitch, i1 more)``: the pitches
are the bytes from one row to the next (so that a row-major B can be read where it lies, and C
written where it shall lie); ``more`` says that the chain of FMAs goes on from what C holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.gemm.elements import llvm_type, multiply_add, prefetch
from mlx.backend.llvm.gemm.tile import ROW, Tile
from mlx.backend.llvm.ir import Function, Module, Value, const, i64, vector

_UNROLL = 2  # of the full tile; the others only see edges


class _Micro:
    def __init__(self, f: Function, tile: Tile, a_format: str, rows: int, vectors: int) -> None:
        self.f, self.tile, self.a_format = f, tile, a_format
        self.rows, self.vectors = rows, vectors
        self.element = llvm_type(tile.accumulate)
        self.type = vector(tile.lanes, self.element)

    def emit(self) -> None:
        f = self.f
        a, b, b_pitch, depth, c, self.c_pitch, more = f.params
        sums = self._start(c, more)
        for position in range(len(sums)):
            prefetch(f, self._c_address(c, position), write=True)
        start = i64(0)
        if (self.rows, self.vectors) == (self.tile.rows, self.tile.vectors):
            stop = f.sub(depth, i64(_UNROLL - 1))
            start, sums, a, b = self._loop(start, stop, _UNROLL, sums, a, b, b_pitch)
        _, sums, _, _ = self._loop(start, depth, 1, sums, a, b, b_pitch)
        for position, value in enumerate(sums):
            f.store(value, self._c_address(c, position), self.tile.itemsize)
        f.ret()

    def _loop(
        self, start: Value, stop: Value, steps: int, sums: list[Value], a: Value, b: Value,
        b_pitch: Value,
    ) -> tuple[Value, list[Value], Value, Value]:  # fmt: skip
        f = self.f
        loop = f.loop(start, stop, i64(steps), [*sums, a, b])
        *sums, a, b = loop.values
        for step in range(steps):
            sums = self._step(sums, a, step, b)
            b = f.gep(b, b_pitch)
        a = f.gep(a, i64(steps * self._a_step))
        *sums, a, b = f.end_loop(loop, [*sums, a, b])
        return loop.index, sums, a, b

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
        start = f.gep(c, f.mul(self.c_pitch, i64(plane * tile.rows + row)))
        return f.gep(start, i64(v * tile.vector_bytes))

    def _start(self, c: Value, more: Value) -> list[Value]:
        f = self.f
        count = self.rows * self.vectors * self.tile.planes
        before, resume, ready = f.block, f.label("resume"), f.label("ready")
        f.branch_if(more, resume, ready)
        f.start(resume)
        size = self.tile.itemsize
        old = [f.load(self._c_address(c, p), self.type, size) for p in range(count)]
        f.branch(ready)
        f.start(ready)
        zero = const(self.type, 0)
        return [f.phi(self.type, [(zero, before), (value, resume)]) for value in old]

    def _a_address(self, a: Value, row: int, plane: int, step: int) -> Value:
        tile = self.tile
        if self.a_format == ROW:
            offset = row * tile.row_pitch + plane * (tile.row_pitch // tile.planes) + step
        else:
            offset = (step * tile.planes + plane) * tile.rows + row
        return self.f.gep(a, i64(offset * tile.itemsize))

    def _step(self, sums: Sequence[Value], a: Value, step: int, b: Value) -> list[Value]:
        """One k: every row's broadcast element times the vectors of one row of B."""
        f, tile = self.f, self.tile
        right = [
            [
                f.load(f.gep(b, i64((p * tile.cols + v * tile.lanes) * tile.itemsize)),
                       self.type, tile.itemsize)
                for v in range(self.vectors)
            ]
            for p in range(tile.planes)
        ]
        out = list(sums)
        for row in range(self.rows):
            left = [
                f.splat(f.load(self._a_address(a, row, p, step), self.element, tile.itemsize),
                        tile.lanes)
                for p in range(tile.planes)
            ]
            for v in range(self.vectors):
                at = row * self.vectors + v
                if tile.planes == 1:
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


def micro_kernel(module: Module, tile: Tile, a_format: str, rows: int, vectors: int) -> str:
    """Write the micro-kernel into the module if it is not there; returns its name."""
    name = f"micro_{tile.accumulate}_{a_format}_{rows}x{vectors}"
    if not module.has(name):
        params = ["ptr noalias readonly", "ptr noalias readonly", "i64", "i64", "ptr noalias",
                  "i64", "i1"]
        f = module.function(name, params, internal=True)
        _Micro(f, tile, a_format, rows, vectors).emit()
    return name
