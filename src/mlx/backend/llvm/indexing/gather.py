"""Gather: rows or single elements loaded at indices; without indices a strided copy."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import GATHER, SCATTER, Command, Kernel, Operand, Pointer
from mlx.backend.llvm.indexing.checked import CheckedIndices, ramp
from mlx.backend.llvm.indexing.loops import (
    SINGLE_ELEMENTS,
    TASK_ELEMENTS,
    WORD,
    Axis,
    Loop,
    byte_strides,
    merged,
    position_of,
    steps_of,
    tasks_of,
    vector_loop,
    walk,
)
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass


@dataclass(frozen=True)
class GatherSpec:
    """Copies elements, the source's address moved by indices.

    Consts: items, inner, items a task, inner chunk, inner chunks; out, src (pointers); for
    each index array pointer, axis size, window width, stride; sizes of the outer loops; for
    the outer loops and the inner one the strides of out, src and the index arrays.
    """

    size: int
    indices: tuple[str, ...]
    depth: int
    inner: str
    """How the inner loop reads: ``unit`` or ``strided`` elements of src, or ``indexed``;
    ``checked`` reads indices alone, and only if out is src."""
    steps: tuple[str, ...] = ()
    """For ``indexed``: ``unit``, ``same`` or ``strided`` for each index array."""
    code: int = GATHER
    """The error's."""

    @property
    def key(self) -> str:
        steps = ",".join(self.steps)
        return (
            f"gather {self.size} {','.join(self.indices)} {self.depth} {self.inner} {steps} "
            f"{self.code}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Gather(self, Kernel(module, name)).emit()


class _Gather:
    def __init__(self, spec: GatherSpec, k: Kernel) -> None:
        self.spec = spec
        self.k = k
        self.f = k.f
        self.lanes = host().lanes
        self.e = LaneEmitter(k.f, self.lanes)
        self.dtype = WORD[spec.size]

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        count, operands = len(spec.indices), 2 + len(spec.indices)
        slot = 9 + 5 * count
        for number in range(slot + spec.depth + operands * (spec.depth + 1)):
            k.const(number)
        self.pointers = [k.pointer(5), k.pointer(7)]
        self.pointers += [k.pointer(9 + 5 * i) for i in range(count)]
        self.axes = [Axis(*(k.const(9 + 5 * i + part) for part in (2, 3, 4))) for i in range(count)]
        sizes = [k.const(slot + i) for i in range(spec.depth)]
        slot += spec.depth
        strides = [
            [k.const(slot + operands * i + o) for o in range(operands)]
            for i in range(spec.depth + 1)
        ]
        self.steps = strides.pop()
        self.indices = [
            CheckedIndices(k, self.e, spec.code, dtype_named(dtype), axis, step, stride)
            for dtype, axis, step, stride in zip(
                spec.indices, self.axes, spec.steps, self.steps[2:], strict=False
            )
        ]
        if spec.inner == "checked":
            same, differ = f.label("same"), f.label("differ")
            f.branch_if(f.icmp("eq", *self.pointers[:2]), same, differ)
            f.start(differ)
            f.ret()
            f.start(same)
        block = f.op("udiv", k.task, k.const(4))
        chunk = f.sub(k.task, f.mul(block, k.const(4)))
        first = f.mul(block, k.const(2))
        start = f.mul(chunk, k.const(3))
        stop = f.min(f.add(start, k.const(3)), k.const(1))
        last = f.min(f.add(first, k.const(2)), k.const(0))
        items = f.loop(first, last, i64(1))
        offsets = walk(f, items.index, sizes, strides, [i64(0)] * operands)
        self._item([f.gep(p, o) for p, o in zip(self.pointers, offsets, strict=True)], start, stop)
        f.end_loop(items)
        f.ret()

    def _item(self, pointers: list[Value], start: Value, stop: Value) -> None:
        f, spec = self.f, self.spec
        out, src, *indices = pointers
        if spec.inner in ("indexed", "checked"):
            body = self._indexed if spec.inner == "indexed" else self._checked
            vector_loop(
                f, start, stop, self.lanes, lambda j, mask: body(out, src, indices, j, mask)
            )
            return
        for dtype, pointer, axis in zip(spec.indices, indices, self.axes, strict=True):
            index = dtype_named(dtype)
            raw = f.load(pointer, f"i{8 * index.size}", index.size)
            at = position_of(self.k, GATHER, raw, axis, index.is_signed)
            src = f.gep(src, f.mul(at, axis.stride))
        vector_loop(f, start, stop, self.lanes, lambda j, mask: self._copied(out, src, j, mask))

    def _copied(self, out: Value, src: Value, j: Value, mask: Value | None) -> None:
        f, size = self.f, self.spec.size
        target = f.gep(out, f.mul(j, i64(size)))
        if self.spec.inner == "unit":
            x = memory.load_unit(self.e, f.gep(src, f.mul(j, i64(size))), self.dtype, mask)
        else:
            x = self._fetch(
                src, f.mul(ramp(self.f, j, self.lanes), f.splat(self.steps[1], self.lanes)), mask
            )
        memory.store_unit(self.e, x, target, mask)

    def _fetch(self, base: Value, offsets: Value, mask: Value | None) -> Lane:
        f, lanes = self.f, self.lanes
        mask = mask or memory.full_mask(lanes)
        type = vector(lanes, f"i{8 * self.spec.size}")
        addresses = memory.moved(f, base, offsets)
        return Lane(self.dtype, f.gather(addresses, type, mask, self.spec.size))

    def _indexed(
        self, out: Value, src: Value, indices: list[Value], j: Value, mask: Value | None
    ) -> None:
        f, lanes = self.f, self.lanes
        offsets = f.mul(ramp(self.f, j, self.lanes), f.splat(self.steps[1], lanes))
        for found, base in zip(self.indices, indices, strict=True):
            at = found.positions(base, j, mask)
            offsets = f.add(offsets, f.mul(at, f.splat(found.axis.stride, lanes)))
        x = self._fetch(src, offsets, mask)
        target = f.gep(out, f.mul(j, i64(self.spec.size)))
        memory.store_unit(self.e, x, target, mask)

    def _checked(
        self, out: Value, src: Value, indices: list[Value], j: Value, mask: Value | None
    ) -> None:
        for found, base in zip(self.indices, indices, strict=True):
            found.check(base, j, mask)


def plan_gather(
    primitive: Any, src: Operand, indices: list[Operand], out: Operand, workers: int
) -> list[Command]:
    """The command of a Gather."""
    batch, behind = primitive.batch, primitive.behind
    rest = primitive.rest_axes(len(src.shape))
    at, ndim = primitive.position, len(indices[0].shape) - batch - behind
    sources = byte_strides(src)
    from_indices = [byte_strides(i) for i in indices]
    axes: list[tuple[int, tuple[int, ...]]] = [
        (sources[a], tuple(s[a] for s in from_indices)) for a in range(batch)
    ]
    of_rest = [(sources[a], (0,) * len(indices)) for a in rest]
    of_index = [(0, tuple(s[batch + i] for s in from_indices)) for i in range(ndim)]
    axes += of_rest[:at] + of_index + of_rest[at:]
    axes += [(sources[a], tuple(s[a] for s in from_indices)) for a in range(-behind, 0)]
    loops = [
        Loop(n, (o, s, *i)) for n, o, (s, i) in zip(out.shape, byte_strides(out), axes, strict=True)
    ]
    widths = primitive.window or (1,) * len(indices)
    described: list[int] = []
    for operand, axis, width in zip(indices, primitive.axes, widths, strict=True):
        described += [*operand.pointer.consts, src.shape[axis], width, sources[axis]]
    return _commands(loops, src, out, indices, described, workers)


def _commands(
    loops: list[Loop],
    src: Operand,
    out: Operand,
    indices: list[Operand],
    described: list[int],
    workers: int,
    check: int = 0,
) -> list[Command]:
    """A gather, or a check with this status code."""
    if any(loop.size == 0 for loop in loops):
        return []
    size = dtype_named(out.dtype).size
    loops = merged(loops) or [Loop(1, (size, size, *(0 for _ in indices)))]
    *outer, last = loops
    steps: tuple[str, ...] = ()
    if check or any(last.strides[2:]):
        inner = "checked" if check else "indexed"
        steps = steps_of(last.strides[2:], indices)
    else:
        inner = "unit" if last.strides[1] == size else "strided"
    dtypes = tuple(i.dtype for i in indices)
    spec = GatherSpec(size, dtypes, len(outer), inner, steps, check or GATHER)
    items = prod(loop.size for loop in outer)
    least = SINGLE_ELEMENTS if inner == "indexed" else TASK_ELEMENTS
    each, chunk = tasks_of(items, last.size, workers, least)
    chunks = -(-last.size // chunk)
    consts = [items, last.size, each, chunk, chunks, *out.pointer.consts, *src.pointer.consts]
    consts += described
    consts += [loop.size for loop in outer]
    for loop in (*outer, last):
        consts += loop.strides
    touched = 0 if check else 2 * items * last.size * size
    touched += sum(prod(i.shape) * dtype_named(i.dtype).size for i in indices)
    return [Command(spec, consts, -(-items // each) * chunks, bytes=touched)]


def plan_check(
    primitive: Any,
    indices: list[Operand],
    bounds: list[tuple[int, int]],
    ends: tuple[Pointer, ...] | None,
    workers: int,
) -> list[Command]:
    """The commands that end a program where an index is out of bounds; they look only if both
    ``ends`` are one."""
    code = GATHER if primitive.name == "Gather" else SCATTER
    commands: list[Command] = []
    for index, (size, width) in zip(indices, bounds, strict=True):
        strides = byte_strides(index)
        loops = [Loop(n, (0, 0, s)) for n, s in zip(index.shape, strides, strict=True) if s]
        if 0 not in index.shape:
            described = [*index.pointer.consts, size, width, 0]
            src, out = (replace(index, pointer=end) for end in ends or (index.pointer,) * 2)
            commands += _commands(loops, src, out, [index], described, workers, code)
    return commands
