"""Loops over operands with strides, and what gather and scatter share in emitting them.

All axes become loops, outermost first, each with a stride (in bytes) for every operand; what
an operand does not depend on has stride 0 there.  Neighbouring loops that every operand walks
as one are merged, so few are left.  The code depends on the number of loops and on dtypes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel, Operand
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, i64
from mlx.base import dtype as dt
from mlx.base.dtype import dtype_named

TASK_ELEMENTS, SINGLE_ELEMENTS = 16384, 4096
"""Of a task: where whole rows are moved, and where each element has an index."""
WORD = {1: dt.uint8, 2: dt.uint16, 4: dt.uint32, 8: dt.uint64}
"""Elements that are only moved, by size."""


@dataclass(slots=True)
class Loop:
    """One loop: its size and the stride of each operand."""

    size: int
    strides: tuple[int, ...]


def merged(loops: Sequence[Loop]) -> list[Loop]:
    """Without loops of size 1, and neighbours joined where all operands allow."""
    out: list[Loop] = []
    for loop in loops:
        if loop.size == 1:
            continue
        if out and all(
            a == b * loop.size for a, b in zip(out[-1].strides, loop.strides, strict=True)
        ):
            out[-1] = Loop(out[-1].size * loop.size, loop.strides)
        else:
            out.append(Loop(loop.size, loop.strides))
    return out


def byte_strides(operand: Operand) -> list[int]:
    size = dtype_named(operand.dtype).size
    return [s * size for s in operand.strides]


def steps_of(strides: Sequence[int], operands: Sequence[Operand]) -> tuple[str, ...]:
    """How operands lie along a loop: ``same``, ``unit`` or ``strided``."""
    return tuple(
        "same" if s == 0 else "unit" if s == dtype_named(o.dtype).size else "strided"
        for s, o in zip(strides, operands, strict=True)
    )


def tasks_of(items: int, inner: int, workers: int, least: int) -> tuple[int, int]:
    """(items a task, inner elements a task): a few tasks a worker, none of many fewer elements
    than ``least``."""
    wanted = max(1, min(items * inner // least, 8 * workers))
    if items >= wanted:
        return -(-items // wanted), max(inner, 1)
    pieces = -(-wanted // items)
    return 1, max(-(-inner // pieces // 1024) * 1024, 1024)


def walk(
    f: Function,
    item: Value,
    sizes: Sequence[Value],
    strides: Sequence[Sequence[Value]],
    starts: Sequence[Value],
) -> list[Value]:
    """Offsets of each operand at a flat position of nested loops: ``strides[loop][operand]``."""
    offsets = list(starts)
    for position in reversed(range(len(sizes))):
        if position:
            rest = f.op("udiv", item, sizes[position])
            index = f.sub(item, f.mul(rest, sizes[position]))
            item = rest
        else:
            index = item
        offsets = [
            f.add(o, f.mul(index, s)) for o, s in zip(offsets, strides[position], strict=True)
        ]
    return offsets


@dataclass(frozen=True, slots=True)
class Axis:
    """The consts of an indexed axis: its size, the window's width, the indexed stride."""

    size: Value
    width: Value
    stride: Value


def position_of(k: Kernel, code: int, raw: Value, axis: Axis, signed: bool) -> Value:
    """A scalar index checked and counted from the front; the kernel ends where it is bad."""
    f = k.f
    wide = f.cast("sext" if signed else "zext", raw, "i64") if raw.type != "i64" else raw
    index = wide
    if signed:
        index = f.select(f.icmp("slt", wide, i64(0)), f.add(wide, axis.size), wide)
    limit = f.add(f.sub(axis.size, axis.width), i64(1))
    stop_unless(k, code, f.icmp("ult", index, limit), lambda: wide, axis)
    return index


def stop_unless(
    k: Kernel, code: int, good: Value, culprit: Callable[[], Value], axis: Axis
) -> None:
    f = k.f
    bad, fine = f.label("bad"), f.label("fine")
    f.branch_if(good, fine, bad)
    f.start(bad)
    k.fail(i64(code), culprit(), axis.size, axis.width)
    f.ret()
    f.start(fine)


def vector_loop(
    f: Function, start: Value, stop: Value, lanes: int, body: Callable[[Value, Value | None], None]
) -> None:
    """``body(first, mask)`` for every ``lanes`` of start..stop; mask None for whole vectors."""
    whole = f.add(start, f.op("and", f.sub(stop, start), i64(-lanes)))
    loop = f.loop(start, whole, i64(lanes))
    body(loop.index, None)
    f.end_loop(loop)
    tail = f.icmp("slt", whole, stop)
    f.where(tail, lambda: body(whole, memory.below(f, f.sub(stop, whole), lanes)))
