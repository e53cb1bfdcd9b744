"""What an update starts from: a copy of a whole buffer, unless its memory was taken over."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import caches, memory
from mlx.backend.llvm.abi import Command, Kernel, Pointer
from mlx.backend.llvm.indexing.loops import vector_loop
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base import dtype as dt
from mlx.compiler.sizes import most


@dataclass(frozen=True)
class CarrySpec:
    """Copies bytes from one address to another.  Consts: bytes, bytes a task, out, source
    (pointers); with ``runs`` also where the first run that needn't be copied starts, from where to
    where the next is, their length, and how many they are."""

    stream: bool
    runs: bool

    @property
    def key(self) -> str:
        return f"carry {self.stream:d}{self.runs:d}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f = k.f
        total, each = k.const(0), k.const(1)
        out, source = k.pointer(2), k.pointer(4)
        differ, same = f.label("differ"), f.label("same")
        f.branch_if(f.icmp("eq", out, source), same, differ)
        f.start(same)
        f.ret()
        f.start(differ)
        start = f.mul(k.task, each)
        stop = f.min(f.add(start, each), total)
        if self.runs:
            self._between_runs(k, start, stop)
        else:
            self._move(k, start, stop)
        f.ret()

    def _move(self, k: Kernel, start: Value, stop: Value) -> None:
        f, lanes = k.f, host().vector_bytes
        out, source = k.pointer(2), k.pointer(4)
        e = LaneEmitter(f, lanes)

        def move(j: Value, mask: Value | None) -> None:
            x = memory.load_unit(e, f.gep(source, j), dt.uint8, mask)
            memory.store_unit(e, x, f.gep(out, j), mask, self.stream and mask is None)

        vector_loop(f, start, stop, lanes, move)

    def _between_runs(self, k: Kernel, start: Value, stop: Value) -> None:
        """What lies in start..stop in front of the runs, between and behind them.

        A whole vector is copied at the end of each piece: the rest of it is written later.
        """
        f, lanes = k.f, host().vector_bytes
        total = k.const(0)
        first, apart, length, count = (k.const(6 + i) for i in range(4))

        def piece(at: Value) -> Value:
            """The last one that starts no later."""
            behind = f.add(f.sub(f.sub(at, first), length), apart)
            return f.min(f.op("udiv", f.max(behind, i64(0)), apart), count)

        last = piece(f.sub(stop, i64(1)))
        loop = f.loop(piece(start), f.add(last, i64(1)), i64(1))
        behind = f.add(first, f.mul(loop.index, apart))
        before = f.add(f.sub(behind, apart), length)
        before = f.select(f.icmp("eq", loop.index, i64(0)), i64(0), before)
        behind = f.select(f.icmp("eq", loop.index, count), total, behind)
        before, behind = f.max(before, start), f.min(behind, stop)
        size = f.op("and", f.add(f.sub(behind, before), i64(lanes - 1)), i64(-lanes))
        self._move(k, before, f.min(f.add(before, size), total))
        f.end_loop(loop)


def plan_carry(
    source: Pointer,
    out: Pointer,
    nbytes: int,
    runs: tuple[int, int, int, int] | None,
    workers: int,
) -> list[Command]:
    """The command that makes ``out`` a copy of ``source`` (but for ``runs``, see CopyStep) where
    they differ at run time."""
    if not nbytes:
        return []
    tasks = max(1, min(nbytes >> 16, 4 * workers))
    each = -(-nbytes // tasks // 4096) * 4096 or 4096
    stream = caches.overflows(2 * nbytes) and out.offset % 64 == 0
    consts = [nbytes, each, *out.consts, *source.consts]
    moved = nbytes
    if runs is not None:
        stream = False
        moved -= runs[2] * runs[3]
        consts += (runs[0], most(runs[1], 1), *runs[2:])
    count = -(-nbytes // each)
    spec = CarrySpec(stream, runs is not None)
    return [Command(spec, consts, count, bytes=2 * moved, between=(source, out))]
