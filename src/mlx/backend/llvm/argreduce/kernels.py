"""The kernels of arg-reductions: along rows, along columns, and over the bests of chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, lane_consts
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, dtype_named
from mlx.base.frozen import dataclass

BLOCK = 1024
"""Columns of a task: their best values and indices stay in the first-level cache."""
AHEAD = 8
"""Rows to fetch ahead where they are far apart."""
INDEX = dt.uint32


def lanes_for(dtype: Dtype) -> int:
    return 4 * host().lanes // (2 if dtype.size == 8 else 1)


@dataclass(frozen=True)
class Best:
    """A running best: values and their indices, lane by lane."""

    value: Lane
    index: Value

    @property
    def flat(self) -> list[Value]:
        return [*self.value.parts, self.index]

    def regrouped(self, flat: list[Value]) -> Best:
        return Best(Lane(self.value.dtype, *flat[:-1]), flat[-1])


@dataclass(frozen=True)
class ArgSpec:
    """What decides the code of an arg-reduction kernel; ``partial``: of one chunk of the axis."""

    primitive: Any
    dtype: str
    depth: int
    partial: bool = False

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def key(self) -> str:
        return f"{self.name} {self.primitive.name} {self.dtype} {self.depth} {self.partial}"

    def newer(self, e: LaneEmitter, best: Best, new: Best, mask: Value | None) -> Best:
        """Take in elements that come later."""
        f = e.f
        wins = self.primitive.replaces(e, new.value, best.value)
        if mask is not None:
            wins = Lane(dt.bool_, f.op("and", wins.v, mask))
        value = e.select(wins, new.value, best.value)
        return Best(value, f.select(wins.v, new.index, best.index))

    def either(self, e: LaneEmitter, a: Best, b: Best) -> Best:
        """The better of two; where neither is, that with the smaller index."""
        f = e.f
        b_wins = self.primitive.replaces(e, b.value, a.value).v
        a_wins = self.primitive.replaces(e, a.value, b.value).v
        earlier = f.icmp("ult", b.index, a.index)
        tie = f.op("and", f.op("xor", a_wins, const(a_wins.type, 1)), earlier)
        take = f.op("or", b_wins, tie)
        value = e.select(Lane(dt.bool_, take), b.value, a.value)
        return Best(value, f.select(take, b.index, a.index))


@dataclass(frozen=True)
class RowArgSpec(ArgSpec):
    """Consts: rows, rows a task, size, chunk, chunks a row; x and result along the axis;
    with ``partial`` base and offset of the chunks' values and of their indices."""

    unit: bool = True

    @property
    def key(self) -> str:
        return f"{super().key} {self.unit}"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f = k.f
        rows, each, size, chunk, chunks = (k.const(i) for i in range(5))
        code = RowCode(k, 5, self.depth, 2)
        store = _partials(k, 5 + code.count) if self.partial else None
        block = f.op("udiv", k.task, chunks)
        part = f.sub(k.task, f.mul(block, chunks))
        k0 = f.mul(part, chunk)
        k1 = f.min(f.add(k0, chunk), size)
        row0 = f.mul(block, each)
        loop = f.loop(row0, f.min(f.add(row0, each), rows), i64(1))
        source, target = code.row(loop.index)
        best = self._row(f, source, code.steps[0], k0, k1)
        e = LaneEmitter(f, 2)
        if store:
            store(e, best, f.add(f.mul(loop.index, chunks), part), None)
        else:
            memory.store_first(e, Lane(INDEX, best.index), target)
        f.end_loop(loop)
        f.ret()

    def _row(self, f: Function, source: Value, step: Value, k0: Value, k1: Value) -> Best:
        dtype = dtype_named(self.dtype)
        lanes = lanes_for(dtype)
        e = LaneEmitter(f, lanes)
        first = memory.load_splat(e, f.gep(source, f.mul(k0, step)), dtype)
        start = Best(first, index_splat(f, k0, lanes))
        whole = f.add(k0, f.op("and", f.sub(k1, k0), i64(-lanes)))
        best = start
        for begin, end, masked in ((k0, whole, False), (whole, k1, True)):
            loop = f.loop(begin, end, i64(lanes), best.flat)
            mask = memory.below(f, f.sub(k1, loop.index), lanes) if masked else None
            x = self._load(e, source, step, loop.index, k1, mask)
            new = Best(x, index_splat(f, loop.index, lanes))
            merged = self.newer(e, best.regrouped(loop.values), new, mask)
            best = best.regrouped(f.end_loop(loop, merged.flat))
        ramp = lane_consts(best.index.type, range(lanes))
        return self._fold(f, Best(best.value, f.add(best.index, ramp)))

    def _load(
        self, e: LaneEmitter, source: Value, step: Value, j: Value, k1: Value, mask: Value | None
    ) -> Lane:
        f, dtype = e.f, dtype_named(self.dtype)
        if self.unit:
            return memory.load_unit(e, f.gep(source, f.mul(j, i64(dtype.size))), dtype, mask)
        last = None if mask is None else f.sub(k1, i64(1))
        addresses = memory.strided_addresses(f, source, j, step, e.lanes, last)
        return memory.load_strided(e, addresses, dtype)

    def _fold(self, f: Function, best: Best) -> Best:
        """The upper half of the lanes onto the lower, until one is left (in lane 0 of two)."""
        width = lanes_for(dtype_named(self.dtype))
        while width > 1:
            half = width // 2
            keep = max(half, 2)
            low, high = (
                best.regrouped(
                    [f.shuffle(p, None, [at + i % half for i in range(keep)]) for p in best.flat]
                )
                for at in (0, half)
            )
            best = self.either(LaneEmitter(f, keep), low, high)
            width = half
        return best


@dataclass(frozen=True)
class ColumnArgSpec(ArgSpec):
    """Along an outer axis, where neighbouring columns lie together in x and in the result.

    Consts: columns, blocks of columns, size, chunk, chunks; x and result along the axis; base,
    offset and bytes a worker of scratch; with ``partial`` as for rows.
    """

    def emit(self, module: Module, name: str) -> None:
        _Columns(self, Kernel(module, name)).emit()


class _Columns:
    """Emission: each task keeps a block's best values and indices in scratch."""

    def __init__(self, spec: ColumnArgSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.e = LaneEmitter(self.f, lanes_for(self.dtype))

    def emit(self) -> None:
        k, f = self.k, self.f
        columns, blocks, size, chunk, chunks = (k.const(i) for i in range(5))
        code = RowCode(k, 5, self.spec.depth, 2)
        slot = 5 + code.count
        area = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        store = _partials(k, slot + 3) if self.spec.partial else None
        rest = f.op("udiv", k.task, chunks)
        part = f.sub(k.task, f.mul(rest, chunks))
        outer = f.op("udiv", rest, blocks)
        j0 = f.mul(f.sub(rest, f.mul(outer, blocks)), i64(BLOCK))
        self.count = f.min(f.sub(columns, j0), i64(BLOCK))
        k0 = f.mul(part, chunk)
        k1 = f.min(f.add(k0, chunk), size)
        source, target = code.row(outer)
        self.source = f.gep(source, f.mul(j0, i64(self.dtype.size)))
        self.step = code.steps[0]
        self.values, self.indices = area, f.gep(area, i64(BLOCK * self.dtype.size))
        memory.each_vector(self.e, self.count, lambda j, mask: self._begin(k0, j, mask))
        loop = f.loop(f.add(k0, i64(1)), k1, i64(1))
        memory.each_vector(self.e, self.count, lambda j, mask: self._take(loop.index, j, mask))
        f.end_loop(loop)

        def finish(j: Value, mask: Value | None) -> None:
            best = self._best(j)
            at = f.add(j0, j)
            if store:
                row = f.add(f.mul(part, k.const(5 + code.count + 3 + 4)), outer)
                store(self.e, best, f.add(f.mul(row, columns), at), mask)
            else:
                lane = Lane(INDEX, best.index)
                memory.store_unit(self.e, lane, f.gep(target, at, "i32"), mask)

        memory.each_vector(self.e, self.count, finish)
        f.ret()

    def _load(self, row: Value, j: Value, mask: Value | None) -> Lane:
        f, size = self.f, i64(self.dtype.size)
        here = f.gep(f.gep(self.source, f.mul(row, self.step)), f.mul(j, size))
        for line in range(0, self.e.lanes * self.dtype.size, 64):
            ahead = f.add(f.mul(self.step, i64(AHEAD)), i64(line))
            memory.prefetch(f, f.gep(here, ahead))
        return memory.load_unit(self.e, here, self.dtype, mask)

    def _places(self, j: Value) -> tuple[Value, Value]:
        f = self.f
        return f.gep(self.values, f.mul(j, i64(self.dtype.size))), f.gep(self.indices, j, "i32")

    def _best(self, j: Value) -> Best:
        value, index = self._places(j)
        lane = memory.load_unit(self.e, index, INDEX, None)
        return Best(memory.load_unit(self.e, value, self.dtype, None), lane.v)

    def _keep(self, best: Best, j: Value) -> None:
        value, index = self._places(j)
        memory.store_unit(self.e, best.value, value, None)
        memory.store_unit(self.e, Lane(INDEX, best.index), index, None)

    def _begin(self, k0: Value, j: Value, mask: Value | None) -> None:
        x = self._load(k0, j, mask)
        self._keep(Best(x, index_splat(self.f, k0, self.e.lanes)), j)

    def _take(self, row: Value, j: Value, mask: Value | None) -> None:
        new = Best(self._load(row, j, mask), index_splat(self.f, row, self.e.lanes))
        self._keep(self.spec.newer(self.e, self._best(j), new, None), j)


@dataclass(frozen=True)
class CombineArgSpec(ArgSpec):
    """Chunks' bests, in order, to results.  Consts: results, chunks, results a task, distance
    of two results and of two chunks in elements; base and offset of values, indices, result."""

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, e, dtype = k.f, LaneEmitter(k.f, 2), dtype_named(self.dtype)
        results, chunks, each, step, gap = (k.const(i) for i in range(5))
        values, indices, target = k.pointer(5), k.pointer(7), k.pointer(9)

        def load(at: Value) -> Best:
            value = memory.load_splat(e, f.gep(values, f.mul(at, i64(dtype.size))), dtype)
            return Best(value, memory.load_splat(e, f.gep(indices, at, "i32"), INDEX).v)

        row0 = f.mul(k.task, each)
        outer = f.loop(row0, f.min(f.add(row0, each), results), i64(1))
        base = f.mul(outer.index, step)
        best = load(base)
        loop = f.loop(i64(1), chunks, i64(1), best.flat)
        new = load(f.add(base, f.mul(loop.index, gap)))
        merged = self.newer(e, best.regrouped(loop.values), new, None)
        best = best.regrouped(f.end_loop(loop, merged.flat))
        memory.store_first(e, Lane(INDEX, best.index), f.gep(target, outer.index, "i32"))
        f.end_loop(outer)
        f.ret()


def index_splat(f: Function, index: Value, lanes: int) -> Value:
    return f.splat(f.emit(f"trunc i64 {index.ref} to i32", "i32"), lanes)


def _partials(k: Kernel, slot: int) -> Callable[[LaneEmitter, Best, Value, Value | None], None]:
    """A function that stores a chunk's bests: one lane for two-lane emitters, else all."""
    f = k.f
    values, indices = k.pointer(slot), k.pointer(slot + 2)
    k.const(slot + 4)

    def store(e: LaneEmitter, best: Best, at: Value, mask: Value | None) -> None:
        value = f.gep(values, f.mul(at, i64(best.value.dtype.size)))
        index = f.gep(indices, at, "i32")
        for lane, address in ((best.value, value), (Lane(INDEX, best.index), index)):
            if e.lanes == 2:
                memory.store_first(e, lane, address)
            else:
                memory.store_unit(e, lane, address, mask)

    return store
