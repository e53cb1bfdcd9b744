"""The frame of a rows kernel: its tasks, the rows of each, and where every operand's row begins."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm import ahead, aligned, caches
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import CONST, FULL
from mlx.backend.llvm.interleaved import Interleaved
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.positions import lane_steps
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, i64
from mlx.compiler.nest import Index, Load

ROWS, INNER, ROWS_PER_TASK, INNER_CHUNK, INNER_CHUNKS = range(5)
OUTER = 5


class Frame:
    """Emission of what is around a row; ``_row`` is the rest."""

    def __init__(self, spec: Any, kernel: Kernel) -> None:
        self.spec = spec
        self.s = spec.structure
        self.k = kernel
        self.f: Function = kernel.f
        self.e = LaneEmitter(self.f, spec.lanes)
        self.fixed: dict[int, Lane] = {}  # const and row values, valid where we are
        self.interleaved = Interleaved(self.e, self.s.accesses)
        self.leaders = aligned.leaders(self.s)
        self.near: dict[int, Value] = {}  # results that may lie where operands were just read

    def _row(self, pointers: list[Value], row: Value) -> None:
        raise NotImplementedError

    def _fill(self, space: int, level: int) -> None:
        raise NotImplementedError

    # -- the frame: tasks and rows -----------------------------------------------------

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        for slot in range(spec.scratch_slot + (4 if self.s.scratch else 0)):
            k.const(slot)
        self.bases = [
            k.pointer(spec.access_slot + spec.access_size * a) for a in range(len(self.s.accesses))
        ]
        if self.s.scratch:
            area = k.pointer(spec.scratch_slot)
            self.scratch_area = f.gep(area, f.mul(k.worker, k.const(spec.scratch_slot + 2)))
        block = f.op("udiv", k.task, k.const(INNER_CHUNKS))
        self.part = f.sub(k.task, f.mul(block, k.const(INNER_CHUNKS)))
        self.row0 = f.mul(block, k.const(ROWS_PER_TASK))
        self.j0 = f.mul(self.part, k.const(INNER_CHUNK))
        self.j1 = f.min(f.add(self.j0, k.const(INNER_CHUNK)), k.const(INNER))
        self.near = caches.taken_over(f, self.s, self.bases)
        self._fill(CONST, 0)
        self._prepare_steps()
        self._rows_of_task()
        f.ret()

    following = 1
    """How many rows away the one is that a task visits next, or soon."""

    pointers: list[Value]
    """Where each operand's row starts."""

    def _ask(self, load: Load, j: Value, rows: Value) -> None:
        """Ask for what a step of the inner loop reads of an operand, so many rows on."""
        access = self.s.accesses[load.access]
        if access.kind == "unit" and access.moves[-1]:
            step = self.f.mul(self._stride(load.access, self.s.depth - 1), rows)
            row = self.f.gep(self.pointers[load.access], step)
            ahead.fetch(self.f, self.s, load.access, row, j, self.spec.lanes)

    def _prepare_steps(self) -> None:
        """What the inner loop adds: distances to rows ahead, and the lanes of positions."""
        f, s, k = self.f, self.s, self.k
        self.fetching = ahead.fetching_passes(s)
        self.distances: dict[int, Value] = {}
        for access in ahead.fetched(s):
            step = f.mul(self._stride(access, s.depth - 1), i64(self.following))
            self.distances[access] = ahead.distance(f, s, access, k.const(INNER), step)
        self.steps = {
            e: lane_steps(self.e, self._stride(e.access, s.depth), e.dtype)
            for v, e in enumerate(s.values)
            if isinstance(e, Index) and s.spaces[v] == FULL
        }

    def _rows_of_task(self) -> None:
        f, k = self.f, self.k
        row1 = f.min(f.add(self.row0, k.const(ROWS_PER_TASK)), k.const(ROWS))
        self._rows_between(self.row0, row1)

    def _rows_between(self, row0: Value, row1: Value) -> None:
        if self.s.depth == 0:
            self._row(self.bases, i64(0))
        elif self.s.depth == 1:
            self._run(self.bases, row0, self.f.sub(row1, row0), row0)
        else:
            self._runs(row0, row1)

    def _stride(self, access: int, dim: int) -> Value:
        """Bytes; the inner stride is the last one."""
        return self.k.const(self.spec.access_slot + self.spec.access_size * access + 2 + dim)

    def _moved(self, pointers: list[Value], dim: int, index: Value) -> list[Value]:
        """Pointers advanced along one outer loop."""
        f, out = self.f, []
        for a, pointer in enumerate(pointers):
            if self.s.accesses[a].moves[dim]:
                pointer = f.gep(pointer, f.mul(index, self._stride(a, dim)))
            out.append(pointer)
        return out

    def _runs(self, row0: Value, row1: Value) -> None:
        """Rows in runs along the last outer loop: one division a run."""
        f, k, depth = self.f, self.k, self.s.depth
        last_size = k.const(OUTER + depth - 1)
        before = f.block
        head, body, done = f.label("run"), f.label("runbody"), f.label("rundone")
        f.branch(head)
        f.start(head)
        mark = len(f.lines)
        row = f.emit(f"phi i64 [ {row0.ref}, %{before} ], @LATCH@", "i64")
        f.branch_if(f.icmp("slt", row, row1), body, done)
        f.start(body)
        rest, pointers = row, self.bases
        digits: list[Value] = []
        for dim in reversed(range(depth)):
            size = k.const(OUTER + dim)
            quotient = f.op("udiv", rest, size) if dim else rest
            digit = f.sub(rest, f.mul(quotient, size)) if dim else rest
            digits.insert(0, digit)
            rest = quotient
        for dim in range(depth - 1):
            pointers = self._moved(pointers, dim, digits[dim])
        count = f.min(f.sub(last_size, digits[-1]), f.sub(row1, row))
        self._run(pointers, digits[-1], count, row)
        following = f.add(row, count)
        f.lines[mark] = f.lines[mark].replace("@LATCH@", f"[ {following.ref}, %{f.block} ]")
        f.branch(head)
        f.start(done)

    def _run(self, pointers: list[Value], first: Value, count: Value, row: Value) -> None:
        """Rows ``row`` and following, at places ``first`` and following of the last loop."""
        f = self.f
        loop = f.loop(i64(0), count, i64(1))
        at = f.add(first, loop.index)
        self._row(self._moved(pointers, self.s.depth - 1, at), f.add(row, loop.index))
        f.end_loop(loop)
