"""The micro-kernel: one register tile of C += A panel * B panel, over one block of k.

``void micro(ptr a, ptr b, i64 b_pitch, i64 depth, ptr c, i1 more)``: ``b_pitch`` is the bytes
from one row of B to the next (so that a row-major B can be read where it lies), ``c`` a tile
buffer, ``more`` says that the chain of FMAs goes on from what the buffer holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.gemm.elements import llvm_type, multiply_add
from mlx.backend.llvm.gemm.tile import ROW, Tile
from mlx.backend.llvm.ir import Function, Module, Value, const, i64, vector

_UNROLL = 4


class _Micro:
    def __init__(self, f: Function, tile: Tile, a_format: str, rows: int, vectors: int) -> None:
        self.f, self.tile, self.a_format = f, tile, a_format
        self.rows, self.vectors = rows, vectors
        self.element = llvm_type(tile.accumulate)
        self.type = vector(tile.lanes, self.element)

    def emit(self) -> None:
        f = self.f
        a, b, b_pitch, depth, c, more = f.params
        sums = self._start(c, more)
        main_stop = f.sub(depth, i64(_UNROLL - 1))
        loop = f.loop(i64(0), main_stop, i64(_UNROLL), [*sums, a, b])
        *sums, a_now, b_now = loop.values
        for step in range(_UNROLL):
            sums = self._step(sums, a_now, step, b_now)
            b_now = f.gep(b_now, b_pitch)
        a_next = f.gep(a_now, i64(_UNROLL * self._a_step))
        *sums, a_now, b_now = f.end_loop(loop, [*sums, a_next, b_now])
        rest = f.loop(loop.index, depth, i64(1), [*sums, a_now, b_now])
        *sums, a_now, b_now = rest.values
        sums = self._step(sums, a_now, 0, b_now)
        following = [*sums, f.gep(a_now, i64(self._a_step)), f.gep(b_now, b_pitch)]
        *sums, _, _ = f.end_loop(rest, following)
        for position, value in enumerate(sums):
            f.store(value, self._c_address(c, position), self.tile.lanes * self.tile.itemsize)
        f.ret()

    @property
    def _a_step(self) -> int:
        """Bytes from one k to the next in the packed panel of A."""
        tile = self.tile
        return tile.itemsize * (1 if self.a_format == ROW else tile.rows * tile.planes)

    def _c_address(self, c: Value, position: int) -> Value:
        """Sums are ordered by plane, row, vector; a tile buffer is plane after plane."""
        tile = self.tile
        plane, rest = divmod(position, self.rows * self.vectors)
        row, v = divmod(rest, self.vectors)
        offset = (plane * tile.rows + row) * tile.cols + v * tile.lanes
        return self.f.gep(c, i64(offset * tile.itemsize))

    def _start(self, c: Value, more: Value) -> list[Value]:
        f = self.f
        count = self.rows * self.vectors * self.tile.planes
        before, resume, ready = f.block, f.label("resume"), f.label("ready")
        f.branch_if(more, resume, ready)
        f.start(resume)
        align = self.tile.lanes * self.tile.itemsize
        old = [f.load(self._c_address(c, p), self.type, align) for p in range(count)]
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
                  "i1"]
        f = module.function(name, params, internal=True)
        _Micro(f, tile, a_format, rows, vectors).emit()
    return name
