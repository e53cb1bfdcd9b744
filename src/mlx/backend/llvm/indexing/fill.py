"""Zeros: what scattered sums start from."""

from __future__ import annotations

from math import prod

from mlx.backend.llvm import caches, memory
from mlx.backend.llvm.abi import Command, Kernel, Operand
from mlx.backend.llvm.indexing.loops import vector_loop
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, vector
from mlx.base import dtype as dt
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass


@dataclass(frozen=True)
class FillSpec:
    """Zeros.  Consts: bytes, bytes a task, out (pointer)."""

    stream: bool

    @property
    def key(self) -> str:
        return f"zeros {self.stream:d}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, lanes = k.f, host().vector_bytes
        total, each = k.const(0), k.const(1)
        out = k.pointer(2)
        e = LaneEmitter(f, lanes)
        start = f.mul(k.task, each)
        stop = f.min(f.add(start, each), total)
        zero = Lane(dt.uint8, const(vector(lanes, "i8"), 0))

        def clear(j: Value, mask: Value | None) -> None:
            memory.store_unit(e, zero, f.gep(out, j), mask, self.stream and mask is None)

        vector_loop(f, start, stop, lanes, clear)
        f.ret()


def plan_zeros(out: Operand, workers: int) -> list[Command]:
    nbytes = prod(out.shape) * dtype_named(out.dtype).size
    if not nbytes:
        return []
    tasks = max(1, min(nbytes >> 16, 8 * workers))
    each = -(-nbytes // tasks // 4096) * 4096 or 4096
    consts = [nbytes, each, *out.pointer.consts]
    spec = FillSpec(caches.overflows(nbytes) and out.pointer.offset % 64 == 0)
    return [Command(spec, consts, -(-nbytes // each), "zeros", nbytes)]
