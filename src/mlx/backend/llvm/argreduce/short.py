"""Arg-reductions along rows of a few elements: a vector runs over the rows."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.argreduce.kernels import INDEX, ArgSpec, Best, index_splat, lanes_for
from mlx.backend.llvm.interleaved import Runs
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass

FEW, RUN = 32, 16
"""Elements of a row up to which it is not worth a vector of its own, and those up to which it
is worth code of its own."""


@dataclass(frozen=True)
class ShortArgSpec(ArgSpec):
    """Consts: rows, rows a task, size; base, offset, row stride and step of x, then those of
    the result, whose rows lie together.  ``run``: the size, where rows are read whole, one after
    the other."""

    run: int = 0

    @property
    def key(self) -> str:
        return f"{super().key} {self.run}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, e = k.f, LaneEmitter(k.f, lanes_for(dtype_named(self.dtype)))
        rows, each, size = (k.const(i) for i in range(3))
        source, target = k.pointer(3), k.pointer(7)
        apart, step = k.const(5), k.const(6)
        row0 = f.mul(k.task, each)
        end = f.min(f.add(row0, each), rows)
        block = f.loop(row0, end, i64(e.lanes))
        if self.run:
            best = self._whole(e, f.gep(source, f.mul(block.index, apart)), f.sub(end, block.index))
        else:
            column = _Column(e, self.dtype, source, block.index, apart, f.sub(end, i64(1)))
            best = column.best(self, step, size)
        mask = memory.below(f, f.sub(end, block.index), e.lanes)
        memory.store_unit(e, Lane(INDEX, best.index), f.gep(target, block.index, "i32"), mask)
        f.end_loop(block)
        f.ret()

    def _whole(self, e: LaneEmitter, address: Value, left: Value) -> Best:
        """The bests of rows that lie one after the other; ``left`` of them."""
        runs = Runs(e, dtype_named(self.dtype), self.run, self.run, left)
        elements = runs.elements(runs.load(address))
        best = Best(elements[0], index_splat(e.f, i64(0), e.lanes))
        for at in range(1, self.run):
            new = Best(elements[at], index_splat(e.f, i64(at), e.lanes))
            best = self.newer(e, best, new, None)
        return best


@dataclass(frozen=True)
class _Column:
    """An element of each row of a block; rows beyond the last repeat it."""

    e: LaneEmitter
    dtype: str
    source: Value
    row: Value
    apart: Value
    last: Value

    def load(self, at: Value, step: Value) -> Best:
        f, e = self.e.f, self.e
        column = f.gep(self.source, f.mul(at, step))
        addresses = memory.strided_addresses(f, column, self.row, self.apart, e.lanes, self.last)
        value = memory.load_strided(e, addresses, dtype_named(self.dtype))
        return Best(value, index_splat(f, at, e.lanes))

    def best(self, spec: ArgSpec, step: Value, size: Value) -> Best:
        f = self.e.f
        best = self.load(i64(0), step)
        loop = f.loop(i64(1), size, i64(1), best.flat)
        new = self.load(loop.index, step)
        merged = spec.newer(self.e, best.regrouped(loop.values), new, None)
        return best.regrouped(f.end_loop(loop, merged.flat))
