"""Kernels that do nothing but move memory or multiply and add: what the machine can do."""

from __future__ import annotations

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import multiply_add
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import const, i64, vector
from mlx.base.frozen import dataclass

CHAINS = 16
"""Sums in registers: enough to hide the latency of a multiply-add, few enough not to spill."""
_LINE = 64
_LINES = 4


@dataclass(frozen=True)
class CopySpec:
    """Consts: source and target (base, offset), then bytes a task, a multiple of 256."""

    key: str = "limits copy"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f = kernel.f
        bytes = kernel.const(4)
        start = f.mul(kernel.task, bytes)
        source, target = (f.gep(kernel.pointer(slot), start) for slot in (0, 2))
        loop = f.loop(i64(0), bytes, i64(_LINE * _LINES))
        type = vector(_LINE, "i8")
        places = [f.add(loop.index, i64(_LINE * i)) for i in range(_LINES)]
        lines = [f.load(f.gep(source, at), type, _LINE) for at in places]
        for at, line in zip(places, lines, strict=True):
            f.store(line, f.gep(target, at), _LINE, nontemporal=True)
        f.end_loop(loop)
        f.ret()


@dataclass(frozen=True)
class MultiplyAddSpec:
    """Chains of float32 multiply-adds in registers.  Consts: where a task leaves its result
    (base, offset), then the length of a chain."""

    key: str = "limits multiply-add"

    def emit(self, module: Module, name: str) -> None:
        kernel, lanes = Kernel(module, name), host().vector_bytes // 4
        f, fused = kernel.f, host().has_fma
        type = vector(lanes, "float")
        target = f.gep(kernel.pointer(0), f.mul(kernel.task, i64(_LINE)))
        factor = f.load(target, type, 4)  # not a constant, lest the chains be computed away
        starts = [const(type, float(chain)) for chain in range(CHAINS)]
        loop = f.loop(i64(0), kernel.const(2), i64(1), starts)
        sums = [multiply_add(f, value, factor, factor, fused) for value in loop.values]
        sums = f.end_loop(loop, sums)
        total = sums[0]
        for value in sums[1:]:
            total = f.add(total, value)
        f.store(total, target, 4)
        f.ret()
