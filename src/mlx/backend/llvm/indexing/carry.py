"""What an update starts from: a copy of a whole buffer, unless its memory was taken over."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import caches, memory
from mlx.backend.llvm.abi import Command, Kernel, Pointer
from mlx.backend.llvm.indexing.loops import vector_loop
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value
from mlx.base import dtype as dt


@dataclass(frozen=True)
class CarrySpec:
    """Copies bytes from one address to another.  Consts: bytes, bytes a task, out, source
    (pointers)."""

    stream: bool

    @property
    def key(self) -> str:
        return f"carry {self.stream:d}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, lanes = k.f, host().vector_bytes
        total, each = k.const(0), k.const(1)
        out, source = k.pointer(2), k.pointer(4)
        differ, same = f.label("differ"), f.label("same")
        f.branch_if(f.icmp("eq", out, source), same, differ)
        f.start(same)
        f.ret()
        f.start(differ)
        e = LaneEmitter(f, lanes)
        start = f.mul(k.task, each)
        stop = f.min(f.add(start, each), total)

        def move(j: Value, mask: Value | None) -> None:
            x = memory.load_unit(e, f.gep(source, j), dt.uint8, mask)
            memory.store_unit(e, x, f.gep(out, j), mask, self.stream and mask is None)

        vector_loop(f, start, stop, lanes, move)
        f.ret()


def plan_carry(source: Pointer, out: Pointer, nbytes: int, workers: int) -> list[Command]:
    """The command that makes ``out`` a copy of ``source`` where they differ at run time."""
    if not nbytes:
        return []
    tasks = max(1, min(nbytes >> 16, 4 * workers))
    each = -(-nbytes // tasks // 4096) * 4096 or 4096
    spec = CarrySpec(caches.overflows(2 * nbytes) and out.offset % 64 == 0)
    consts = [nbytes, each, *out.consts, *source.consts]
    count = -(-nbytes // each)
    return [Command(spec, consts, count, bytes=2 * nbytes, between=(source, out))]
