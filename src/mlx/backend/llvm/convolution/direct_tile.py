"""A tile of a direct convolution: sums of neighbouring positions in registers over all taps.

At the end of a line, taps that some positions see outside of it have loops without these
positions: for each number of them that is ``missing`` before or behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.backend.llvm.gemm.elements import llvm_type, multiply_add
from mlx.backend.llvm.gemm.pairs import dot_pairs
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

_GROUP = 5  # rows that share a pointer: scaled pitches reach those between


class TileOfPositions:
    """``void tile(ptr x, ptr w, ptr out, i64...)``: the sums of one tile, over all its taps."""

    numbers = ("pitch", "place", "tap", "line", "plane", "planes", "lines", "taps", "channels",
               "head", "w_row", "w_line", "w_plane", "w_group", "at", "delta", "step",
               "size")  # fmt: skip
    """Bytes between positions of the result, and between what positions, taps, lines and planes
    see; how many of these, and channels; bytes between groups, and between rows of weights and
    so on.  To leave positions out: the place in the line that the first one sees, the distances
    of taps and positions, the line's size."""

    def __init__(self, module: Module, spec: Any, rows: int, missing: tuple[int, ...] = ()) -> None:
        self.name = f"tile_{rows}_{len(missing)}"
        self.spec, self.rows, self.missing = spec, rows, missing
        params = ["ptr noalias readonly", "ptr noalias readonly", "ptr noalias"]
        params += ["i64"] * len(self.numbers)
        self.f: Function = module.function(self.name, params, internal=True)
        self.n = dict(zip(self.numbers, self.f.params[3:], strict=True))
        self.element = llvm_type(spec.accumulate)
        self.type = vector(spec.lanes, self.element)
        self.size = 8 if self.element == "double" else 4
        self.packed = "i32" if spec.pairs else self.element

    def emit(self) -> None:
        f, n = self.f, self.n
        x, w, out = f.params[:3]
        count = self.rows * self.spec.heads * self.spec.vectors
        self.scaled = [f.mul(n["place"], i64(r)) for r in range(min(_GROUP, self.rows))]
        w_tap = f.mul(n["w_row"], n["channels"])
        zeros = [const(self.type, 0)] * count
        z = f.loop(i64(0), n["planes"], i64(1), [x, w, *zeros])
        y = f.loop(i64(0), n["lines"], i64(1), z.values)
        tap = f.loop(i64(0), n["taps"], i64(1), [n["at"], *y.values])
        at, here, weights, *sums = tap.values
        sums = self._tap(here, weights, sums, at)
        moved = [f.add(at, n["delta"]), f.gep(here, n["tap"]), f.gep(weights, w_tap)]
        sums = f.end_loop(tap, [*moved, *sums])[3:]
        moved = [f.gep(y.values[0], n["line"]), f.gep(y.values[1], n["w_line"])]
        sums = f.end_loop(y, [*moved, *sums])[2:]
        moved = [f.gep(z.values[0], n["plane"]), f.gep(z.values[1], n["w_plane"])]
        each = self.spec.heads * self.spec.vectors
        for i, value in enumerate(f.end_loop(z, [*moved, *sums])[2:]):
            if i and i % each == 0:
                out = f.gep(out, n["pitch"])
            f.store(value, f.gep(out, i64(i % each * self.spec.lanes * self.size)), self.size)
        f.ret()

    def _tap(self, x: Value, w: Value, sums: list[Value], at: Value) -> list[Value]:
        """One tap, for the positions that see it inside the line."""
        everything = range(self.rows)
        if not self.missing:
            return self._channels(x, w, sums, everything)
        f, n = self.f, self.n
        before = f.op("sdiv", f.sub(f.sub(n["step"], at), i64(1)), n["step"])
        room = f.op("sdiv", f.sub(f.sub(n["size"], i64(1)), at), n["step"])
        behind = f.sub(i64(self.rows - 1), room)
        done, found = f.label("done"), []
        for k in self.missing:
            for number, rows in ((before, everything[k:]), (behind, everything[:-k])):
                here, other = f.label("some"), f.label("other")
                f.branch_if(f.icmp("eq", number, i64(k)), here, other)
                f.start(here)
                found.append((self._channels(x, w, sums, rows), f.block))
                f.branch(done)
                f.start(other)
        found.append((self._channels(x, w, sums, everything), f.block))
        f.branch(done)
        f.start(done)
        return [
            f.phi(self.type, [(values[i], block) for values, block in found])
            for i in range(len(sums))
        ]

    def _channels(self, x: Value, w: Value, sums: list[Value], rows: range) -> list[Value]:
        """Every position's broadcast element times the vectors of one row of weights."""
        f, n, spec = self.f, self.n, self.spec
        starts, panels = [], [w]
        for h in range(spec.heads):
            head = f.gep(x, f.mul(n["head"], i64(h)))
            starts += [f.gep(head, f.mul(n["place"], i64(r))) for r in rows[::_GROUP]]
            if h:
                panels.append(f.gep(panels[-1], n["w_group"]))
        loop = f.loop(i64(0), n["channels"], i64(1), [*panels, *starts, *sums])
        values = loop.values
        panels, rest = values[: spec.heads], values[spec.heads :]
        starts, sums = rest[: len(starts)], rest[len(starts) :]
        out = self._step(panels, starts, sums, rows)
        moved = [f.gep(p, n["w_row"]) for p in panels]
        moved += [f.gep(s, i64(self.size)) for s in starts]
        return f.end_loop(loop, [*moved, *out])[spec.heads + len(starts) :]

    def _step(
        self, panels: Sequence[Value], starts: Sequence[Value], sums: Sequence[Value], rows: range
    ) -> list[Value]:
        f, spec, out = self.f, self.spec, list(sums)
        each, kind = len(starts) // spec.heads, vector(spec.lanes, self.packed)
        align = self.size // 2 if spec.pairs else self.size
        for h, panel in enumerate(panels):
            right = [
                f.load(f.gep(panel, i64(v * spec.lanes * self.size)), kind, self.size)
                for v in range(spec.vectors)
            ]
            for i, r in enumerate(rows):
                address = f.gep(starts[h * each + i // _GROUP], self.scaled[i % _GROUP])
                left = f.splat(f.load(address, self.packed, align), spec.lanes)
                for v in range(spec.vectors):
                    at = (r * spec.heads + h) * spec.vectors + v
                    out[at] = self._add(left, right[v], out[at])
        return out

    def _add(self, a: Value, b: Value, total: Value) -> Value:
        if self.spec.pairs:
            return dot_pairs(self.f, a, b, total)
        return multiply_add(self.f, a, b, total, host().has_fma)
