"""Fetching the operands of a worker's next task while it works on this one.

It pays for batches of small products: each is over before the hardware notices a stream.
"""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import minimum, prefetch
from mlx.backend.llvm.gemm.pack import GENERAL, UNIT_COL
from mlx.backend.llvm.ir import Function, Module, Value, i64

_LINE = 64


class Ahead:
    """One operand of the next task: ``lines`` runs of ``run`` bytes, ``pitch`` bytes apart."""

    def __init__(
        self, f: Function, layout: str, start: Value, rows: Value, cols: Value,
        row_pitch: Value, col_pitch: Value, size: int,
    ) -> None:  # fmt: skip
        self.f, self.layout, self.start = f, layout, start
        by_rows = layout == UNIT_COL
        self.lines, self.pitch = (rows, row_pitch) if by_rows else (cols, col_pitch)
        self.run = f.mul(cols if by_rows else rows, i64(size))

    def fetch(self, part: Value, parts: Value) -> None:
        """Ask for one of ``parts`` equal shares."""
        if self.layout == GENERAL:
            return
        f = self.f
        share = f.op("udiv", f.add(self.lines, f.sub(parts, i64(1))), parts)
        first = f.mul(part, share)
        last = minimum(f, f.add(first, share), self.lines)
        f.call(_fetch(f.module), "void", self.start, self.pitch, first, last, self.run)


def _fetch(module: Module) -> str:
    """``void fetch(ptr start, i64 pitch, i64 first, i64 last, i64 run)``."""
    name = "gemm_fetch"
    if not module.has(name):
        f = module.function(name, ["ptr", "i64", "i64", "i64", "i64"], internal=True)
        start, pitch, first, last, run = f.params
        line = f.loop(first, last, i64(1))
        here = f.gep(start, f.mul(line.index, pitch))
        at = f.loop(i64(0), run, i64(_LINE))
        prefetch(f, f.gep(here, at.index))
        f.end_loop(at)
        f.end_loop(line)
        f.ret()
    return name
