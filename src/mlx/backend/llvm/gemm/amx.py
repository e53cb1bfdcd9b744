"""The micro-kernel on tile registers (AMX): C += A panel * B panel.

Elements are pairs of bfloat16 or runs of four bytes.  A tile register holds 16 rows of 64 bytes.
Four of them are accumulators, 32 x 32 of C; two take 16 elements of 32 rows of A, two 16 rows of
elements of 32 columns of B (of one plane of it, if it has several): each loaded tile is used
twice or more.  Panels end on whole tiles, filled up with zeros.  Registers are numbered here,
for the compiler's own allocation knows nothing of panels.
"""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import prefetch
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, i64

SIDE = 16
"""Rows of a tile, and its 32-bit elements a row."""
_AHEAD = 2
"""Tiles along k from one to the one that is prefetched with it: a fourth faster (measured)."""
_A, _B = 4, 6  # the first registers of the operands; accumulators are 0 to 3
_BYTES = 64  # a row of a tile
# Palette 1, then from byte 16 on the bytes a row and from byte 48 on the rows of each register.
_CONFIGURATION = [1, *[0] * 15, *[_BYTES, 0] * 8, *[0] * 16, *[SIDE] * 8, *[0] * 8]


def configure(f: Function) -> None:
    """Give every tile register of this thread its full size."""
    table = f.module.table("tile_configuration", "i8", _CONFIGURATION)
    _call(f, "ldtilecfg", [], table)


def release(f: Function) -> None:
    """Let go of the tile registers, so that switching threads need not save them."""
    _call(f, "tilerelease", [])


def _call(f: Function, name: str, registers: list[int], *args: Value) -> None:
    types = [*["i8 immarg"] * len(registers), *[a.type for a in args]]
    f.module.declare(f"llvm.x86.{name}", "void", types)
    listed = [*[f"i8 {r}" for r in registers], *[f"{a.type} {a.ref}" for a in args]]
    f.do(f"call void @llvm.x86.{name}({', '.join(listed)})")


class AmxMicro:
    """Emission of one micro-kernel."""

    def __init__(self, f: Function, dot: str, rows: int, vectors: int, b_row: int = 0) -> None:
        """``b_row``: bytes of a row of a panel of B, of which the next rows are asked for; else B
        has one plane and lies in cache, and its pitch is a parameter."""
        self.f, self.dot, self.panel = f, dot, b_row
        self.high, self.wide = rows // SIDE, vectors
        self.planes = b_row // (2 * _BYTES) or 1

    def emit(self) -> None:
        """C where it lies: ``(a, a_pitch, b, b_pitch, depth, c, c_pitch, more)``."""
        a, a_pitch, b, b_pitch, depth, c, c_pitch, more = self.f.params
        self._multiply((a, a_pitch), (b, b_pitch), depth, (c, c_pitch), more)
        self._store(c, c_pitch)

    def emit_delivering(self) -> None:
        """With the parameters of ``micro``; what goes to the result is whole tiles of sums."""
        f, pitch = self.f, i64(2 * _BYTES)
        a, a_pitch, b, _, depth, c, more, to, to_pitch, _, _ = f.params
        self._multiply((a, a_pitch), (b, i64(self.panel)), depth, (c, pitch), more)
        stay = f.icmp("eq", to, Value("null", "ptr"))
        self._store(f.select(stay, c, to), f.select(stay, pitch, to_pitch))

    def _multiply(
        self, left: tuple[Value, Value], right: tuple[Value, Value], depth: Value,
        c: tuple[Value, Value], more: Value,
    ) -> None:  # fmt: skip
        """Sums in registers, from those of C on where there are ``more``; each matrix with the
        bytes from one row to the next."""
        f, (a, a_pitch), (b, b_row) = self.f, left, right
        self._start(*c, more)
        k = f.loop(i64(0), depth, i64(SIDE), [a, b])
        a, b = k.values
        for i in range(self.high):
            _call(f, "tileloadd64", [_A + i], f.gep(a, f.mul(a_pitch, i64(SIDE * i))), a_pitch)
        for plane in range(self.planes):
            for j in range(self.wide):
                place = f.gep(b, i64((2 * plane + j) * _BYTES))
                _call(f, "tileloadd64", [_B + j], place, b_row)
                self._ask(place)
                for i in range(self.high):
                    _call(f, self.dot, [2 * i + j, _A + i, _B + j])
        f.end_loop(k, [f.gep(a, i64(_BYTES)), f.gep(b, f.mul(b_row, i64(SIDE)))])

    def _store(self, c: Value, pitch: Value) -> None:
        """The sums, to whole tiles."""
        for register, address in self._places(c, pitch):
            _call(self.f, "tilestored64", [register], address, pitch)
        self.f.ret()

    def _ask(self, place: Value) -> None:
        """Memory for a tile further on in the panel."""
        if self.panel:
            for row in range(_AHEAD * SIDE, (_AHEAD + 1) * SIDE):
                prefetch(self.f, self.f.gep(place, i64(row * self.panel)))

    def _places(self, c: Value, pitch: Value) -> list[tuple[int, Value]]:
        """Each accumulator and where it lies."""
        f = self.f
        rows = [f.gep(c, f.mul(pitch, i64(SIDE * i))) for i in range(self.high)]
        return [
            (2 * i + j, f.gep(rows[i], i64(j * _BYTES)))
            for i in range(self.high)
            for j in range(self.wide)
        ]

    def _start(self, c: Value, pitch: Value, more: Value) -> None:
        f = self.f
        resume, fresh, ready = f.label("resume"), f.label("fresh"), f.label("ready")
        f.branch_if(more, resume, fresh)
        f.start(resume)
        places = self._places(c, pitch)
        for register, address in places:
            _call(f, "tileloadd64", [register], address, pitch)
        f.branch(ready)
        f.start(fresh)
        for register, _ in places:
            _call(f, "tilezero", [register])
        f.branch(ready)
        f.start(ready)
