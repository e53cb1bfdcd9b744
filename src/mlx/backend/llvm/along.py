"""Operands seen along one axis: rows of it, found by the loops over all other axes.

Scans, sorts and arg-reductions work on rows; what they need of shapes and strides is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.backend.llvm.abi import Kernel, Operand, Pointer
from mlx.backend.llvm.values import Value
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass


@dataclass(frozen=True)
class View:
    """One operand in bytes: where it lies, its stride along each loop and along the axis."""

    pointer: Pointer
    strides: tuple[int, ...]
    step: int

    @property
    def consts(self) -> list[int]:
        return [*self.pointer.consts, *self.strides, self.step]


@dataclass(frozen=True)
class Along:
    """Rows of ``size`` elements along an axis; ``loops`` are the sizes of the other axes,
    merged where every operand allows it, outermost first."""

    loops: tuple[int, ...]
    size: int
    views: tuple[View, ...]

    @property
    def rows(self) -> int:
        return prod(self.loops)

    @property
    def depth(self) -> int:
        return len(self.loops)

    @property
    def consts(self) -> list[int]:
        """What :class:`RowCode` reads."""
        return [*self.loops, *(c for view in self.views for c in view.consts)]

    def without_last(self) -> tuple[Along, int, tuple[int, ...]]:
        """The same less its last loop, and that loop's size and strides."""
        views = tuple(View(v.pointer, v.strides[:-1], v.step) for v in self.views)
        return (
            Along(self.loops[:-1], self.size, views),
            self.loops[-1],
            tuple(v.strides[-1] for v in self.views),
        )


def along(axis: int, full: Sequence[Operand], reduced: Sequence[Operand] = ()) -> Along:
    """See operands along ``axis``; ``reduced`` ones lack it."""
    shape = full[0].shape
    loops: list[int] = []
    strides: list[list[int]] = []
    for dim, size in enumerate(shape):
        if dim == axis or size == 1:
            continue
        here = [o.strides[dim] * _size(o) for o in full]
        here += [o.strides[dim - (dim > axis)] * _size(o) for o in reduced]
        if loops and all(a == b * size for a, b in zip(strides[-1], here, strict=True)):
            loops[-1] *= size
            strides[-1] = here
        else:
            loops.append(size)
            strides.append(here)
    steps = [o.strides[axis] * _size(o) for o in full] + [0] * len(reduced)
    views = tuple(
        View(o.pointer, tuple(s[i] for s in strides), steps[i])
        for i, o in enumerate((*full, *reduced))
    )
    return Along(tuple(loops), shape[axis], views)


def _size(operand: Operand) -> int:
    return dtype_named(operand.dtype).size


class RowCode:
    """Emission: pointers to a row's first elements, and steps along the axis."""

    def __init__(self, k: Kernel, slot: int, depth: int, operands: int) -> None:
        self.k = k
        self.depth = depth
        self.slot = slot
        self.count = depth + operands * (3 + depth)
        for position in range(self.count):
            k.const(slot + position)  # loaded at the entry, which dominates every use
        self.bases = [k.pointer(self._view(i)) for i in range(operands)]
        self.steps = [k.const(self._view(i) + 2 + depth) for i in range(operands)]

    def _view(self, operand: int) -> int:
        return self.slot + self.depth + operand * (3 + self.depth)

    def row(self, number: Value) -> list[Value]:
        """The address of row ``number`` of every operand."""
        f, k = self.k.f, self.k
        pointers = list(self.bases)
        rest = number
        for dim in reversed(range(self.depth)):
            digit = rest
            if dim:
                size = k.const(self.slot + dim)
                quotient = f.op("udiv", rest, size)
                digit, rest = f.sub(rest, f.mul(quotient, size)), quotient
            for i, pointer in enumerate(pointers):
                offset = f.mul(digit, k.const(self._view(i) + 2 + dim))
                pointers[i] = f.gep(pointer, offset)
        return pointers


def split_rows(rows: int, size: int, workers: int, least: int = 16384) -> int:
    """Rows of one task: at least ``least`` elements, at most 16 tasks a worker."""
    wanted = max(1, min(rows * max(size, 1) // least, 16 * workers))
    return -(-rows // wanted)
