"""How the loops of a scatter are told apart and shared out: see ``scatter``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand
from mlx.backend.llvm.indexing.loops import (
    SINGLE_ELEMENTS,
    TASK_ELEMENTS,
    WORD,
    Loop,
    byte_strides,
    merged,
    steps_of,
)
from mlx.backend.llvm.indexing.scatter import ScatterSpec
from mlx.base.dtype import Dtype, dtype_named

OWNED = 1 << 22
"""Bytes of a result from which tasks own parts of it: updates wait for memory then, so that
looking at all indices costs little beside them."""
COLUMNS = 16
"""The narrowest share of the inner loop a task is given."""
NARROW = 256
"""Bytes of such a share below which tasks rather own whole rows."""


class _Loops:
    """The loops of one scatter, sorted into parallel, serial and inner."""

    def __init__(
        self, primitive: Any, out: Operand, updates: Operand, indices: Sequence[Operand]
    ) -> None:
        batch, behind = primitive.batch, primitive.behind
        first = len(indices[0].shape) - behind
        rest = primitive.rest_axes(len(out.shape))
        windows = set(primitive.axes) if primitive.window is not None else set()
        single = prod(indices[0].shape[batch:first]) == 1
        self.strides = byte_strides(out)
        into, of_index = byte_strides(updates), [byte_strides(i) for i in indices]
        none = (0,) * len(indices)
        parallel = [
            Loop(updates.shape[a], (self.strides[a], into[a], *(s[a] for s in of_index)))
            for a in range(batch)
        ]
        serial = [
            Loop(updates.shape[a], (0, into[a], *(s[a] for s in of_index)))
            for a in range(batch, first)
        ]
        tail: list[Loop] = []
        for position, axis in enumerate(rest, first):
            loop = Loop(updates.shape[position], (self.strides[axis], into[position], *none))
            disjoint = single or axis not in windows
            (parallel if disjoint else tail).append(loop)
        parallel += [
            Loop(updates.shape[a], (self.strides[a], into[a], *(s[a] for s in of_index)))
            for a in range(-behind, 0)
        ]
        self.parallel = merged(parallel)
        self.serial = merged([*serial, *tail])
        self.size = dtype_named(out.dtype).size
        self.divisible = False
        self.inner = self._inner()
        self.last = self.serial.pop() if self.serial else Loop(1, (0,) * (2 + len(indices)))
        waits = prod(out.shape) * self.size >= OWNED
        self.ownable = bool(waits and any(self.last.strides[2:]) and not tail)
        self.empty = 0 in updates.shape

    def _inner(self) -> Loop | None:
        """The loop along neighbours in memory, if there is one."""
        near = [bool(g) and g[-1].strides[0] == self.size for g in (self.parallel, self.serial)]
        if near[0]:
            self.divisible = True
            return self.parallel.pop()
        if near[1] and not any(self.serial[-1].strides[2:]):
            return self.serial.pop()
        return None


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
    kind = _inner_kind(loops.inner, dtype)
    every = par * ser * loops.last.size * inner.size
    each, chunk, owners = _tasks(loops, par, every, inner.size, kind, workers)
    result, *steps = steps_of(loops.last.strides, [out, updates, *indices])
    near = steps_of(inner.strides, [out, updates, *indices])[1:] if kind == "each" else ()
    spec = ScatterSpec(
        mode, dtype.name, tuple(i.dtype for i in indices), len(loops.parallel),
        len(loops.serial), kind, tuple(steps), result, owners > 1, near,
    )  # fmt: skip
    chunks = -(-inner.size // chunk)
    consts = [par, ser, loops.last.size, inner.size, each, chunk, chunks, owners]
    consts += [*out.pointer.consts, *updates.pointer.consts]
    for operand, axis, width in zip(indices, primitive.axes, widths, strict=True):
        consts += [*operand.pointer.consts, out.shape[axis], width, loops.strides[axis]]
    everything = [*loops.parallel, *loops.serial]
    consts += [loop.size for loop in everything]
    for loop in (*everything, loops.last, inner):
        consts += loop.strides
    touched = (2 if mode == "set" else 3) * prod(updates.shape) * dtype.size
    touched += sum(prod(i.shape) * dtype_named(i.dtype).size for i in indices)
    return [Command(spec, consts, -(-par // each) * chunks * owners, bytes=touched)]


def _inner_kind(inner: Loop | None, dtype: Dtype) -> str:
    if inner is None:
        return "one"
    if any(inner.strides[2:]):
        return "each"
    step = inner.strides[1]
    return "same" if step == 0 else "unit" if step == dtype.size else "strided"


def _tasks(
    loops: _Loops, par: int, every: int, inner: int, kind: str, workers: int
) -> tuple[int, int, int]:
    """(parallel items a task, inner elements a task, owners of pages)."""
    task = SINGLE_ELEMENTS if kind in ("one", "each") else TASK_ELEMENTS
    wanted = max(1, min(every // task, 4 * workers))
    if par >= wanted:
        return -(-par // wanted), max(inner, 1), 1
    pieces = -(-wanted // max(par, 1))
    chunk = max(-(-inner // pieces // COLUMNS) * COLUMNS, COLUMNS)
    if loops.divisible and chunk * loops.size >= NARROW:
        return 1, chunk, 1
    owners = min(pieces, every // TASK_ELEMENTS, workers) if loops.ownable else 1
    return 1, max(inner, 1), max(owners, 1)
