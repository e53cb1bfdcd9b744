"""The kernel of copies of runs of neighbours, and of runs of zeros: any number of them, such as
the parts of a concatenation, at once.  Stores begin with lines of memory where runs are long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass as plain
from math import prod

from mlx.backend.llvm.abi import Command, Kernel, Pointer
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.frozen import dataclass
from mlx.compiler.blocks import LOOPS
from mlx.compiler.nest import Access, Nest
from mlx.compiler.sizes import Number, least, most

TASK_BYTES = 1 << 15
"""Written by a task, about."""
PIECE = 12 + 3 * LOOPS
"""Consts of a piece."""
FIRST, SHARES, ROWS, RUN, ROWS_EACH, CHUNK, CHUNKS = range(7)
OUT, SOURCE, ZEROS = 7, 9, 11
_SIZES, _INTO, _FROM = 12, 12 + LOOPS, 12 + 2 * LOOPS
_ABREAST = 4
Read = Callable[[Value, Value | None], Value]


@plain(slots=True)
class Piece:
    """Runs of so many bytes in loops; ``source`` None: zeros.  Each loop has its size and the
    strides of the result and the source in bytes."""

    run: Number
    loops: Sequence[tuple[Number, Number, Number]]
    out: Pointer
    source: Pointer | None

    @property
    def nbytes(self) -> Number:
        return self.run * prod(n for n, _, _ in self.loops)


@dataclass(frozen=True)
class MovesSpec:
    """Consts: how many pieces and tasks, and of each piece its first share (of all) and how many
    it has, rows, bytes of a run, rows a share, bytes of a chunk, chunks, result and source
    (pointers), whether it is zeros, sizes of the loops, strides of the result, strides of the
    source.  Tasks take shares in turn."""

    @property
    def key(self) -> str:
        return "moves"

    def emit(self, module: Module, name: str) -> None:
        _Moves(Kernel(module, name)).emit()


class _Moves:
    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.f = k.f
        self.width = host().vector_bytes
        self.type = vector(self.width, "i8")

    def emit(self) -> None:
        k, f = self.k, self.f
        tasks = k.const(1)
        pieces = f.loop(i64(0), k.const(0), i64(1))
        self.piece = f.gep(k.consts, f.add(f.mul(pieces.index, i64(PIECE)), i64(2)), "i64")
        ahead = f.sub(k.task, f.op("urem", self._const(FIRST), tasks))
        ahead = f.select(f.icmp("slt", ahead, i64(0)), f.add(ahead, tasks), ahead)
        shares = f.loop(ahead, self._const(SHARES), tasks)
        self._share(shares.index)
        f.end_loop(shares)
        f.end_loop(pieces)
        f.ret()

    def _const(self, slot: int) -> Value:
        return self.f.load(self.f.gep(self.piece, i64(slot), "i64"), "i64", 8)

    def _pointer(self, slot: int) -> Value:
        f = self.f
        base = f.load(f.gep(self.k.bases, self._const(slot), "i64"), "ptr", 8)
        return f.gep(base, self._const(slot + 1))

    def _share(self, number: Value) -> None:
        f = self.f
        block = f.op("udiv", number, self._const(CHUNKS))
        part = f.sub(number, f.mul(block, self._const(CHUNKS)))
        start = f.mul(part, self._const(CHUNK))
        count = f.min(self._const(CHUNK), f.sub(self._const(RUN), start))
        row0 = f.mul(block, self._const(ROWS_EACH))
        row1 = f.min(f.add(row0, self._const(ROWS_EACH)), self._const(ROWS))
        out, source = (f.gep(self._pointer(slot), start) for slot in (OUT, SOURCE))
        self.mask = self._below(count)
        zero = const(self.type, 0)

        def moved(address: Value, mask: Value | None) -> Value:
            if mask is None:
                return f.load(address, self.type, 1)
            return f.masked_load(address, self.type, mask, 1, zero)

        f.where(
            f.icmp("ne", self._const(ZEROS), i64(0)),
            lambda: self._rows(row0, row1, out, source, count, lambda _, mask: zero),
            lambda: self._rows(row0, row1, out, source, count, moved),
        )

    def _below(self, count: Value) -> Value:
        """The lanes of a run that is shorter than a register."""
        f, word = self.f, f"i{self.width}"
        bits = f.emit(f"trunc i64 {count.ref} to {word}", word) if self.width < 64 else count
        some = f.sub(f.op("shl", const(word, 1), bits), const(word, 1))
        return f.bitcast(some, vector(self.width, "i1"))

    def _rows(
        self, row0: Value, row1: Value, out: Value, source: Value, count: Value, read: Read
    ) -> None:
        """Rows in lines along the last loop: divisions for each of these alone."""
        f = self.f
        sizes, into, start = (
            [self._const(first + i) for i in range(LOOPS)] for first in (_SIZES, _INTO, _FROM)
        )
        *outer, size = sizes
        ends = f.op("udiv", f.sub(row1, i64(1)), size)
        lines = f.loop(f.op("udiv", row0, size), f.add(ends, i64(1)), i64(1))
        here, rest = [out, source], lines.index
        for dim in reversed(range(LOOPS - 1)):
            whole = f.op("udiv", rest, outer[dim]) if dim else i64(0)
            digit = f.sub(rest, f.mul(whole, outer[dim])) if dim else rest
            strides = into[dim], start[dim]
            here = [f.gep(p, f.mul(digit, s)) for p, s in zip(here, strides, strict=True)]
            rest = whole
        before = f.mul(lines.index, size)
        first = f.max(f.sub(row0, before), i64(0))
        rows = f.loop(first, f.min(f.sub(row1, before), size), i64(1))
        strides = into[-1], start[-1]
        run = [f.gep(p, f.mul(rows.index, s)) for p, s in zip(here, strides, strict=True)]
        f.where(
            f.icmp("slt", count, i64(self.width)),
            lambda: f.masked_store(read(run[1], self.mask), run[0], self.mask, 1),
            lambda: self._run(run[0], run[1], count, read),
        )
        f.end_loop(rows)
        f.end_loop(lines)

    def _run(self, out: Value, source: Value, count: Value, read: Read) -> None:
        """A run of at least one register: its first and its last one may overlap others."""
        f, width = self.f, self.width

        def move(at: Value, registers: int, align: int) -> None:
            places = [f.add(at, i64(width * i)) for i in range(registers)]
            values = [read(f.gep(source, place), None) for place in places]
            for place, value in zip(places, values, strict=True):
                f.store(value, f.gep(out, place), align)

        move(i64(0), 1, 1)
        address = f.emit(f"ptrtoint ptr {out.ref} to i64", "i64")
        begin = f.sub(i64(width), f.op("and", address, i64(width - 1)))
        left = f.max(f.sub(count, begin), i64(0))
        many = f.add(begin, f.op("and", left, i64(-width * _ABREAST)))
        whole = f.add(begin, f.op("and", left, i64(-width)))
        for start, stop, registers in ((begin, many, _ABREAST), (many, whole, 1)):
            loop = f.loop(start, stop, i64(width * registers))
            move(loop.index, registers, width)
            f.end_loop(loop)
        move(f.sub(count, i64(width)), 1, 1)


def piece_of(nest: Nest, place: Callable[[Access], Pointer]) -> Piece:
    """What a nest that only moves runs does."""
    ((_, target),) = nest.stores
    out = nest.accesses[target]
    size = out.dtype.size  # type: ignore[union-attr]
    source = nest.accesses[1 - target] if len(nest.accesses) > 1 else None
    steps = out.outer if source is None else source.outer
    loops = [
        (n, into * size, step * size)
        for n, into, step in zip(nest.outer, out.outer, steps, strict=True)
    ]
    start = None if source is None else place(source)
    return Piece(nest.inner * size, loops, place(out), start)


def plan_moves(pieces: Sequence[Piece], workers: int) -> Command:
    """The command that makes all pieces."""
    total = sum(piece.nbytes for piece in pieces)
    share = most(TASK_BYTES, total // (8 * workers))
    consts: list[Number] = []
    first: Number = 0
    for piece in pieces:
        rows = prod(n for n, _, _ in piece.loops)
        wanted = most(1, piece.nbytes // share)
        each = -(-rows // wanted)
        chunk = -(-piece.run // -(-wanted // rows) // 64) * 64
        chunks = -(-piece.run // chunk)
        shares = -(-rows // each) * chunks
        source = Pointer(0) if piece.source is None else piece.source
        consts += [first, shares, rows, piece.run, each, chunk, chunks]
        consts += [*piece.out.consts, *source.consts, int(piece.source is None)]
        loops = [(1, 0, 0)] * (LOOPS - len(piece.loops)) + list(piece.loops)
        for numbers in zip(*loops, strict=True):
            consts += numbers
        first = first + shares
    read = sum(piece.nbytes for piece in pieces if piece.source is not None)
    tasks = least(first, most(1, total // TASK_BYTES))
    return Command(MovesSpec(), [len(pieces), tasks, *consts], tasks, bytes=total + read)
