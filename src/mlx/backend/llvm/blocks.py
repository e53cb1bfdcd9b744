"""The kernel of a copy of many short runs: each in one register, or in two that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.backend.llvm import caches
from mlx.backend.llvm.abi import Command, Kernel
from mlx.backend.llvm.indexing.loops import walk
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.moves import TASK_BYTES, Piece
from mlx.backend.llvm.values import Value, i64, vector
from mlx.base.frozen import dataclass
from mlx.compiler.sizes import least, most

ABREAST = 4
"""Runs that are moved side by side."""
_WIDEST = 64


@dataclass(frozen=True)
class BlocksSpec:
    """Consts: rows of runs, runs a row, rows a task, runs of a chunk, chunks; result and source
    (pointers); sizes of the outer loops; the strides of both in them and along a row."""

    nbytes: int
    depth: int
    stream: bool
    """Whether results lie side by side and go around the caches."""

    @property
    def key(self) -> str:
        return f"blocks {self.nbytes} {self.depth} {self.stream:d}"

    def emit(self, module: Module, name: str) -> None:
        _Blocks(self, Kernel(module, name)).emit()


class _Blocks:
    def __init__(self, spec: BlocksSpec, k: Kernel) -> None:
        self.k = k
        self.depth = spec.depth
        self.stream = spec.stream
        self.width = width = min(1 << (spec.nbytes.bit_length() - 1), _WIDEST)
        self.type = vector(width // 8, "i64") if width > 8 else f"i{8 * width}"
        self.places = sorted({0, spec.nbytes - width})

    def emit(self) -> None:
        k, f = self.k, self.k.f
        pointers = [k.pointer(5), k.pointer(7)]
        slot = 9 + self.depth
        sizes = [k.const(9 + i) for i in range(self.depth)]
        strides = [[k.const(slot + 2 * i + o) for o in range(2)] for i in range(self.depth + 1)]
        self.steps = strides.pop()
        block = f.op("udiv", k.task, k.const(4))
        start = f.mul(f.sub(k.task, f.mul(block, k.const(4))), k.const(3))
        stop = f.min(f.add(start, k.const(3)), k.const(1))
        whole = f.add(start, f.op("and", f.sub(stop, start), i64(-ABREAST)))
        first = f.mul(block, k.const(2))
        rows = f.loop(first, f.min(f.add(first, k.const(2)), k.const(0)), i64(1))
        offsets = walk(f, rows.index, sizes, strides, [i64(0)] * 2)
        here = [f.gep(p, o) for p, o in zip(pointers, offsets, strict=True)]
        for begin, end, count in ((start, whole, ABREAST), (whole, stop, 1)):
            loop = f.loop(begin, end, i64(count))
            self._move([f.add(loop.index, i64(i)) for i in range(count)], *here)
            f.end_loop(loop)
        f.end_loop(rows)
        f.ret()

    def _move(self, runs: Sequence[Value], out: Value, source: Value) -> None:
        f = self.k.f
        moved = []
        for run in runs:
            to, start = (
                f.gep(p, f.mul(run, s)) for p, s in zip((out, source), self.steps, strict=True)
            )
            for place in self.places:
                moved.append(
                    (f.load(f.gep(start, i64(place)), self.type, 1), f.gep(to, i64(place)))
                )
        for value, to in moved:
            f.store(value, to, self.width if self.stream else 1, self.stream)


def plan_blocks(piece: Piece, workers: int) -> Command:
    """The command that copies runs of one length that is part of the code."""
    nbytes = int(piece.run)
    *outer, last = piece.loops
    assert piece.source is not None
    rows = prod(n for n, _, _ in outer)
    wanted = most(1, least(rows * last[0] * nbytes // TASK_BYTES, 16 * workers))
    each = -(-rows // wanted)
    chunk = -(-last[0] // -(-wanted // rows) // ABREAST) * ABREAST
    chunks = -(-last[0] // chunk)
    consts = [rows, last[0], each, chunk, chunks, *piece.out.consts, *piece.source.consts]
    consts += [n for n, _, _ in outer]
    for _, *strides in piece.loops:
        consts += strides
    tasks = -(-rows // each) * chunks
    spec = BlocksSpec(nbytes, len(outer), _streams(piece, nbytes))
    return Command(spec, consts, tasks, bytes=2 * rows * last[0] * nbytes)


def _streams(piece: Piece, nbytes: int) -> bool:
    """Whether to write around the caches: more than they hold, in registers one after another."""
    strides = [into for _, into, _ in piece.loops]
    return (
        nbytes in (16, 32, 64)
        and caches.overflows(2 * piece.nbytes)
        and strides[-1] == nbytes
        and all(n % nbytes == 0 for n in (piece.out.offset, *strides))
    )
