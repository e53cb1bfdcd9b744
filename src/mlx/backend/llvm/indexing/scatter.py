"""Scatter: updates combined into an array at indices, in index order on any number of threads.

Loops are of two kinds.  *Parallel* ones (batch axes, those behind, and axes of rest that no index
moves) reach disjoint elements in every iteration; tasks share them out, and the inner loop too.
*Serial* ones (the index arrays' own axes, and windows, which may overlap) run in order inside
each task.  Where parallel ones give too few tasks, every task looks at all indices and does what
falls to it: each page of memory has an *owner*, so that what meets at one place stays in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import SCATTER, Kernel
from mlx.backend.llvm.indexing.checked import CheckedIndices, ramp
from mlx.backend.llvm.indexing.loops import (
    Axis,
    position_of,
    vector_loop,
    walk,
)
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.sorting.keep import compressed, mask_bits
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass

PAGE = 12
"""Places are shared out by pages of 2**12 bytes: a processor that reads a line asks for its
neighbours too, which another one must not be writing."""
BLOCK = 128
"""Indices of which a task lists those that it owns."""
_PER_INDEX = 5
_FIRST_INDEX = 12
_GOLDEN = -1640531527  # 2^32 over the golden ratio


@dataclass(frozen=True)
class ScatterSpec:
    """Combines updates into an array.

    Consts: parallel items, outer serial items, last serial loop, inner, parallel items a task,
    inner chunk, inner chunks, owners; out, updates (pointers); for each index array pointer, axis
    size, window width, stride in out; sizes of the parallel and of the outer serial loops;
    strides of out, updates and the index arrays in all of these, in the last serial loop and in
    the inner one.
    """

    mode: str
    dtype: str
    indices: tuple[str, ...]
    parallel: int
    serial: int
    inner: str
    """``unit``, ``same`` or ``strided`` updates along the inner loop; ``one``: no inner loop;
    ``each``: a loop whose elements have indices of their own."""
    steps: tuple[str, ...]
    """How the updates and each index array lie along the last serial loop."""
    result: str = "same"
    """The same of the result: only along a window it moves."""
    owned: bool = False
    """Whether tasks own pages of memory."""
    near: tuple[str, ...] = ()
    """How the updates and each index array lie along a loop of ``each``."""

    @property
    def key(self) -> str:
        return (
            f"scatter {self.mode} {self.dtype} {','.join(self.indices)} "
            f"{self.parallel} {self.serial} {self.inner} {','.join(self.steps)} {self.result} "
            f"{self.owned:d} {','.join(self.near)}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Scatter(self, Kernel(module, name)).emit()


class _Scatter:
    def __init__(self, spec: ScatterSpec, k: Kernel) -> None:
        self.spec = spec
        self.k = k
        self.f = k.f
        self.lanes = host().lanes
        self.e = LaneEmitter(k.f, self.lanes)
        self.narrow = LaneEmitter(k.f, 2)
        self.dtype = dtype_named(spec.dtype)

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        count = len(spec.indices)
        operands, depth = 2 + count, spec.parallel + spec.serial
        slot = _FIRST_INDEX + _PER_INDEX * count
        for number in range(slot + depth + operands * (depth + 2)):
            k.const(number)
        at = [_FIRST_INDEX + _PER_INDEX * i for i in range(count)]
        pointers = [k.pointer(8), k.pointer(10), *(k.pointer(i) for i in at)]
        self.axes = [Axis(*(k.const(i + part) for part in (2, 3, 4))) for i in at]
        sizes = [k.const(slot + i) for i in range(depth)]
        slot += depth
        strides = [
            [k.const(slot + operands * i + o) for o in range(operands)] for i in range(depth + 2)
        ]
        self.step = strides.pop()
        self.serial_step = strides.pop()
        self.found = f.alloca("i64", BLOCK)
        self.listed = f.alloca("i32", BLOCK + self.lanes)
        first, last = self._divide_task()
        items = f.loop(first, last, i64(1))
        split, zeros = spec.parallel, [i64(0)] * operands
        outer = walk(f, items.index, sizes[:split], strides[:split], zeros)
        serial = f.loop(i64(0), k.const(1), i64(1))
        offsets = walk(f, serial.index, sizes[split:], strides[split:], outer)
        self._in_order([f.gep(p, o) for p, o in zip(pointers, offsets, strict=True)])
        f.end_loop(serial)
        f.end_loop(items)
        f.ret()

    def _divide_task(self) -> tuple[Value, Value]:
        """The parallel items; sets the columns and the owner."""
        k, f = self.k, self.f
        rest = f.op("udiv", k.task, k.const(7))
        self.owner = f.sub(k.task, f.mul(rest, k.const(7)))
        block = f.op("udiv", rest, k.const(6))
        chunk = f.sub(rest, f.mul(block, k.const(6)))
        self.start = f.mul(chunk, k.const(5))
        self.stop = f.min(f.add(self.start, k.const(5)), k.const(3))
        first = f.mul(block, k.const(4))
        return first, f.min(f.add(first, k.const(4)), k.const(0))

    def _in_order(self, pointers: list[Value]) -> None:
        """The last serial loop."""
        f, size = self.f, self.k.const(2)
        if self.spec.owned:
            blocks = f.loop(i64(0), size, i64(BLOCK))
            self._owned(pointers, blocks.index, f.min(f.add(blocks.index, i64(BLOCK)), size))
            f.end_loop(blocks)
            return
        if self.spec.inner == "one":
            kinds = self.spec.result, *self.spec.steps
            self._each(pointers, i64(0), size, self.serial_step, kinds)
            return
        loop = f.loop(i64(0), size, i64(1))
        here = [self._moved(p, loop.index, number) for number, p in enumerate(pointers)]
        if self.spec.inner == "each":
            kinds = "strided", *self.spec.near
            self._each(here, self.start, self.stop, self.step, kinds)
        else:
            self._row(*self._target(here))
        f.end_loop(loop)

    def _moved(self, pointer: Value, s: Value, number: int) -> Value:
        """An operand at an index of the last serial loop."""
        f, kinds = self.f, (self.spec.result, *self.spec.steps)
        if kinds[number] == "same":
            return pointer
        if kinds[number] == "unit":
            names = (self.spec.dtype, self.spec.dtype, *self.spec.indices)
            return f.gep(pointer, s, f"[{dtype_named(names[number]).size} x i8]")
        return f.gep(pointer, f.mul(s, self.serial_step[number]))

    def _target(self, pointers: list[Value]) -> tuple[Value, Value]:
        """Where the indices say, and the updates."""
        f, k = self.f, self.k
        out, updates, *indices = pointers
        for name, pointer, axis in zip(self.spec.indices, indices, self.axes, strict=True):
            dtype = dtype_named(name)
            raw = f.load(pointer, f"i{8 * dtype.size}", dtype.size)
            at = position_of(k, SCATTER, raw, axis, dtype.is_signed)
            out = f.gep(out, f.mul(at, axis.stride))
        return out, updates

    def _offsets(
        self,
        indices: Sequence[Value],
        at: Value,
        mask: Value | None,
        strides: Sequence[Value],
        kinds: Sequence[str],
    ) -> Value:
        """Where the next indices say, in bytes of the result."""
        f, lanes = self.f, self.lanes
        offsets = const(vector(lanes, "i64"), 0)
        for axis, name, index, stride, kind in zip(
            self.axes, self.spec.indices, indices, strides[2:], kinds, strict=True
        ):
            dtype = dtype_named(name)
            found = CheckedIndices(self.k, self.e, SCATTER, dtype, axis, kind, stride)
            places = found.positions(index, at, mask)
            offsets = f.add(offsets, f.mul(places, f.splat(axis.stride, lanes)))
        return offsets

    def _each(
        self,
        pointers: Sequence[Value],
        start: Value,
        stop: Value,
        strides: Sequence[Value],
        kinds: Sequence[str],
    ) -> None:
        """Elements one by one along a loop, their indices looked at together."""
        f, lanes = self.f, self.lanes
        out, updates, *indices = pointers

        def some(at: Value, mask: Value | None) -> None:
            offsets = self._offsets(indices, at, mask, strides, kinds[2:])
            if kinds[0] != "same":
                offsets = f.add(offsets, f.mul(ramp(f, at, lanes), f.splat(strides[0], lanes)))
            f.store(offsets, self.found, 64)

            def element(lane: Value) -> None:
                here = self._step(updates, f.add(at, lane), kinds[1], strides[1])
                self._one(f.gep(out, f.load(f.gep(self.found, lane, "i64"), "i64", 8)), here)

            if mask is None and self.spec.mode == "set":
                for lane in range(lanes):
                    element(i64(lane))
                return
            loop = f.loop(i64(0), f.min(f.sub(stop, at), i64(lanes)), i64(1))
            element(loop.index)
            f.end_loop(loop)

        vector_loop(f, start, stop, lanes, some)

    def _step(self, pointer: Value, at: Value, kind: str, stride: Value) -> Value:
        """An update of a loop."""
        if kind == "same":
            return pointer
        if kind == "unit":
            return self.f.gep(pointer, at, f"[{self.dtype.size} x i8]")
        return self.f.gep(pointer, self.f.mul(at, stride))

    def _owned(self, pointers: list[Value], first: Value, last: Value) -> None:
        """Of a block of indices those whose places this task owns: they are listed, then done,
        for a branch on each of them would go wrong every other time."""
        f = self.f
        out, updates, *indices = pointers
        whole = f.add(first, f.op("and", f.sub(last, first), i64(-self.lanes)))
        loop = f.loop(first, whole, i64(self.lanes), [i64(0)])
        count = self._listed(indices, loop.index, None, first, loop.values[0])
        (count,) = f.end_loop(loop, [count])
        mask = memory.below(f, f.sub(last, whole), self.lanes)
        (count,) = f.changed(
            f.icmp("slt", whole, last),
            [count],
            lambda: [self._listed(indices, whole, mask, first, count)],
        )
        loop = f.loop(i64(0), count, i64(1))
        place = f.cast("zext", f.load(f.gep(self.listed, loop.index, "i32"), "i32", 4), "i64")
        offset = f.load(f.gep(self.found, place, "i64"), "i64", 8)
        source = f.gep(updates, f.mul(f.add(first, place), self.serial_step[1]))
        self._row(f.gep(out, offset), source)
        f.end_loop(loop)

    def _listed(
        self, indices: list[Value], s: Value, mask: Value | None, first: Value, count: Value
    ) -> Value:
        """List the indices of a vector whose places this task owns; how many there are now."""
        f, lanes = self.f, self.lanes
        offsets = self._offsets(indices, s, mask, self.serial_step, self.spec.steps[1:])
        here = f.sub(s, first)
        f.store(offsets, f.gep(self.found, here, "i64"), 64)
        mine = self._mine(offsets)
        if mask is not None:
            mine = f.op("and", mine, mask)
        places = f.cast("trunc", ramp(f, here, lanes), "i32")
        f.store(compressed(f, places, mine), f.gep(self.listed, count, "i32"), 4)
        return f.add(count, f.intrinsic("ctpop", mask_bits(f, mine, lanes)))

    def _mine(self, offsets: Value) -> Value:
        """Which places this task owns: pages of memory are spread over the owners by a hash, so
        that indices which prefer a region still are work for all."""
        f, lanes = self.f, self.lanes
        words = vector(lanes, "i32")
        page = f.cast("trunc", f.op("lshr", offsets, const(offsets.type, PAGE)), "i32")
        mixed = f.op("lshr", f.mul(page, const(words, _GOLDEN)), const(words, 16))
        owners, owner = (
            f.splat(f.emit(f"trunc i64 {x.ref} to i32", "i32"), lanes)
            for x in (self.k.const(7), self.owner)
        )
        return f.icmp("eq", f.op("lshr", f.mul(mixed, owners), const(words, 16)), owner)

    def _row(self, out: Value, updates: Value) -> None:
        if self.spec.inner == "one":
            self._one(out, updates)
            return
        vector_loop(
            self.f, self.start, self.stop, self.lanes,
            lambda j, mask: self._lanes(out, updates, j, mask),
        )  # fmt: skip

    def _one(self, out: Value, updates: Value) -> None:
        e = self.narrow
        value = memory.load_splat(e, updates, self.dtype)
        if self.spec.mode != "set":
            value = self._combined(e, memory.load_splat(e, out, self.dtype), value)
        memory.store_first(e, value, out)

    def _lanes(self, out: Value, updates: Value, j: Value, mask: Value | None) -> None:
        f = self.f
        target = f.gep(out, f.mul(j, i64(self.dtype.size)))
        value = self._updates(updates, j, mask)
        if self.spec.mode != "set":
            old = memory.load_unit(self.e, target, self.dtype, mask)
            value = self._combined(self.e, old, value)
        memory.store_unit(self.e, value, target, mask)

    def _updates(self, base: Value, j: Value, mask: Value | None) -> Lane:
        f = self.f
        if self.spec.inner == "same":
            return memory.load_splat(self.e, base, self.dtype)
        if self.spec.inner == "unit":
            address = f.gep(base, f.mul(j, i64(self.dtype.size)))
            return memory.load_unit(self.e, address, self.dtype, mask)
        last = f.sub(self.stop, i64(1))
        addresses = memory.strided_addresses(f, base, j, self.step[1], self.lanes, last)
        return memory.load_strided(self.e, addresses, self.dtype)

    def _combined(self, e: LaneEmitter, old: Lane, new: Lane) -> Lane:
        combine = {"add": e.add, "prod": e.mul, "max": e.maximum, "min": e.minimum}
        return combine[self.spec.mode](old, new)
