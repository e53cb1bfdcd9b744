"""Scatter: updates combined into an array at indices, in index order on any number of threads.

Loops are of two kinds.  *Parallel* ones (batch axes, and axes of rest that no index moves)
reach disjoint elements in every iteration; tasks share them out, and the inner loop too.
*Serial* ones (the index arrays' own axes, and windows, which may overlap) run in order inside
each task, which walks all indices: a nanosecond each, less than telling them apart would cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import SCATTER, Command, Kernel, Operand
from mlx.backend.llvm.indexing.loops import (
    TASK_ELEMENTS,
    WORD,
    Axis,
    Loop,
    byte_strides,
    merged,
    position_of,
    vector_loop,
    walk,
)
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import Dtype, dtype_named
from mlx.base.frozen import dataclass

COLUMNS = 16
"""The narrowest share of the inner loop a task is given."""
_PER_INDEX = 5


@dataclass(frozen=True)
class ScatterSpec:
    """Combines updates into an array.

    Consts: parallel items, serial items, inner, parallel items a task, inner chunk, inner
    chunks; out, updates (pointers); for each index array pointer, axis size, window width,
    stride in out; sizes of the parallel and of the serial loops; strides of out, updates and
    the index arrays in all of these and in the inner loop.
    """

    mode: str
    dtype: str
    indices: tuple[str, ...]
    parallel: int
    serial: int
    inner: str
    """``unit``, ``same`` or ``strided`` updates along the inner loop; ``one``: no inner loop."""

    @property
    def key(self) -> str:
        return (
            f"scatter {self.mode} {self.dtype} {','.join(self.indices)} "
            f"{self.parallel} {self.serial} {self.inner}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Scatter(self, Kernel(module, name)).emit()


class _Scatter:
    def __init__(self, spec: ScatterSpec, k: Kernel) -> None:
        self.spec = spec
        self.k = k
        self.f = k.f
        self.lanes = 2 if spec.inner == "one" else host().lanes
        self.e = LaneEmitter(k.f, self.lanes)
        self.dtype = dtype_named(spec.dtype)

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        count = len(spec.indices)
        operands, depth = 2 + count, spec.parallel + spec.serial
        slot = 10 + _PER_INDEX * count
        for number in range(slot + depth + operands * (depth + 1)):
            k.const(number)
        pointers = [k.pointer(6), k.pointer(8)]
        pointers += [k.pointer(10 + _PER_INDEX * i) for i in range(count)]
        sizes = [k.const(slot + i) for i in range(depth)]
        slot += depth
        strides = [
            [k.const(slot + operands * i + o) for o in range(operands)] for i in range(depth + 1)
        ]
        self.step = strides.pop()[1]
        block = self._divide_task()
        first = f.mul(block, k.const(3))
        last = f.min(f.add(first, k.const(3)), k.const(0))
        items = f.loop(first, last, i64(1))
        split, zeros = spec.parallel, [i64(0)] * operands
        outer = walk(f, items.index, sizes[:split], strides[:split], zeros)
        serial = f.loop(i64(0), k.const(1), i64(1))
        offsets = walk(f, serial.index, sizes[split:], strides[split:], outer)
        self._item([f.gep(p, o) for p, o in zip(pointers, offsets, strict=True)])
        f.end_loop(serial)
        f.end_loop(items)
        f.ret()

    def _divide_task(self) -> Value:
        """The block of parallel items; sets the columns."""
        k, f = self.k, self.f
        block = f.op("udiv", k.task, k.const(5))
        chunk = f.sub(k.task, f.mul(block, k.const(5)))
        self.start = f.mul(chunk, k.const(4))
        self.stop = f.min(f.add(self.start, k.const(4)), k.const(2))
        return block

    def _item(self, pointers: list[Value]) -> None:
        f, k = self.f, self.k
        out, updates, *indices = pointers
        for i, (name, pointer) in enumerate(zip(self.spec.indices, indices, strict=True)):
            slot, dtype = 12 + _PER_INDEX * i, dtype_named(name)
            axis = Axis(*(k.const(slot + part) for part in range(3)))
            raw = f.load(pointer, f"i{8 * dtype.size}", dtype.size)
            at = position_of(k, SCATTER, raw, axis, dtype.is_signed)
            out = f.gep(out, f.mul(at, axis.stride))
        self._row(out, updates)

    def _row(self, out: Value, updates: Value) -> None:
        if self.spec.inner == "one":
            value = memory.load_splat(self.e, updates, self.dtype)
            if self.spec.mode != "set":
                value = self._combined(memory.load_splat(self.e, out, self.dtype), value)
            memory.store_first(self.e, value, out)
            return
        vector_loop(
            self.f, self.start, self.stop, self.lanes,
            lambda j, mask: self._lanes(out, updates, j, mask),
        )  # fmt: skip

    def _lanes(self, out: Value, updates: Value, j: Value, mask: Value | None) -> None:
        f = self.f
        target = f.gep(out, f.mul(j, i64(self.dtype.size)))
        value = self._updates(updates, j, mask)
        if self.spec.mode != "set":
            value = self._combined(memory.load_unit(self.e, target, self.dtype, mask), value)
        memory.store_unit(self.e, value, target, mask)

    def _updates(self, base: Value, j: Value, mask: Value | None) -> Lane:
        f = self.f
        if self.spec.inner == "same":
            return memory.load_splat(self.e, base, self.dtype)
        if self.spec.inner == "unit":
            address = f.gep(base, f.mul(j, i64(self.dtype.size)))
            return memory.load_unit(self.e, address, self.dtype, mask)
        last = f.sub(self.stop, i64(1))
        addresses = memory.strided_addresses(f, base, j, self.step, self.lanes, last)
        return memory.load_strided(self.e, addresses, self.dtype)

    def _combined(self, old: Lane, new: Lane) -> Lane:
        e = self.e
        combine = {"add": e.add, "prod": e.mul, "max": e.maximum, "min": e.minimum}
        return combine[self.spec.mode](old, new)


class _Loops:
    """The loops of one scatter, sorted into parallel, serial and inner."""

    def __init__(
        self, primitive: Any, out: Operand, updates: Operand, indices: Sequence[Operand]
    ) -> None:
        batch, ndim = primitive.batch, len(indices[0].shape) - primitive.batch
        rest = primitive.rest_axes(len(out.shape))
        windows = set(primitive.axes) if primitive.window is not None else set()
        single = prod(indices[0].shape[batch:]) == 1
        self.strides = byte_strides(out)
        into, of_index = byte_strides(updates), [byte_strides(i) for i in indices]
        none = (0,) * len(indices)
        parallel = [
            Loop(updates.shape[a], (self.strides[a], into[a], *(s[a] for s in of_index)))
            for a in range(batch)
        ]
        serial = [
            Loop(updates.shape[a], (0, into[a], *(s[a] for s in of_index)))
            for a in range(batch, batch + ndim)
        ]
        self.inner: Loop | None = None
        self.divisible = False
        tail: list[Loop] = []
        for position, axis in enumerate(rest, batch + ndim):
            loop = Loop(updates.shape[position], (self.strides[axis], into[position], *none))
            disjoint = single or axis not in windows
            (parallel if disjoint else tail).append(loop)
        self.parallel = merged(parallel)
        self.serial = merged([*serial, *tail])
        size = dtype_named(out.dtype).size
        for group in (self.parallel, self.serial):
            if group and group[-1].strides[0] == size and not any(group[-1].strides[2:]):
                self.inner = group.pop()
                self.divisible = group is self.parallel
                break
        self.empty = 0 in updates.shape


def plan_updates(
    primitive: Any,
    mode: str,
    updates: Operand,
    indices: list[Operand],
    out: Operand,
    workers: int,
) -> list[Command]:
    """The command that combines updates into what ``out`` holds already."""
    loops = _Loops(primitive, out, updates, indices)
    if loops.empty:
        return []
    dtype = dtype_named(out.dtype)
    if mode == "set":
        dtype = WORD[dtype.size]
    widths = primitive.window or (1,) * len(indices)
    inner = loops.inner or Loop(1, (0,) * (2 + len(indices)))
    par, ser = (prod(x.size for x in g) for g in (loops.parallel, loops.serial))
    each, chunk = _tasks(loops, par, ser, inner.size, workers)
    spec = ScatterSpec(
        mode, dtype.name, tuple(i.dtype for i in indices), len(loops.parallel),
        len(loops.serial), _inner_kind(loops.inner, dtype),
    )  # fmt: skip
    chunks = -(-inner.size // chunk)
    consts = [par, ser, inner.size, each, chunk, chunks]
    consts += [*out.pointer.consts, *updates.pointer.consts]
    for operand, axis, width in zip(indices, primitive.axes, widths, strict=True):
        consts += [*operand.pointer.consts, out.shape[axis], width, loops.strides[axis]]
    everything = [*loops.parallel, *loops.serial]
    consts += [loop.size for loop in everything]
    for loop in (*everything, inner):
        consts += loop.strides
    touched = (2 if mode == "set" else 3) * par * ser * inner.size * dtype.size
    touched += sum(prod(i.shape) * dtype_named(i.dtype).size for i in indices)
    return [Command(spec, consts, -(-par // each) * chunks, bytes=touched)]


def _inner_kind(inner: Loop | None, dtype: Dtype) -> str:
    if inner is None:
        return "one"
    step = inner.strides[1]
    return "same" if step == 0 else "unit" if step == dtype.size else "strided"


def _tasks(loops: _Loops, par: int, ser: int, inner: int, workers: int) -> tuple[int, int]:
    """(parallel items a task, inner elements a task)."""
    wanted = max(1, min(par * ser * inner // TASK_ELEMENTS, 4 * workers))
    if par >= wanted:
        return -(-par // wanted), max(inner, 1)
    if not loops.divisible:
        return 1, max(inner, 1)
    pieces = -(-wanted // max(par, 1))
    return 1, max(-(-inner // pieces // COLUMNS) * COLUMNS, COLUMNS)
