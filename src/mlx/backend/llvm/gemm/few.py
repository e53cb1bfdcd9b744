"""Products of two to eight rows with a matrix, at memory bandwidth.

Where k lies side by side in the matrix, see ``few_transposed`` (up to 16 rows).  Here columns do.
The matrix is read where it lies, each row but once: a task owns a block of columns and keeps
its part of C in the first-level cache; a few neighbouring rows of B at a time are added to it.
Each element is one chain of FMAs over k, as in the blocked product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Command, Kernel
from mlx.backend.llvm.gemm.elements import (
    SIZES,
    first_lanes,
    multiply_add,
    prefetch,
    whole_then_edge,
)
from mlx.backend.llvm.gemm.few_pairs import FewPairs
from mlx.backend.llvm.gemm.few_transposed import FewTransposed
from mlx.backend.llvm.gemm.operand import (
    Epilogue,
    Product,
    batch_offsets,
    item_of,
    round_up,
)
from mlx.backend.llvm.gemm.pairs import has_pairs
from mlx.backend.llvm.gemm.tile import UNIT_COL, UNIT_ROW, tile_of_product
from mlx.backend.llvm.gemm.unpacked import Unpacked, is_plain
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64

MOST = 8
"""Rows that count as few."""
SLOTS = (
    "a_base", "a_offset", "b_base", "b_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "m", "n", "k", "a_row", "a_col", "b_line", "block", "blocks", "table",
    "dims",
)  # fmt: skip
_C_BYTES = 16 << 10  # of a task's part of C
_DEEPEST = 1 << 14  # k for which a worker has room to keep its rows of A widened
_LARGE = 1 << 21  # elements of a matrix that is not likely to be in a cache
_NEAR = 1 << 22  # and of one that may well be
_WIDENED = 4  # rows of bfloat16 up to which widening such a matrix is faster than pairing it
_SPLATS = 16  # elements of A in registers


@dataclass(frozen=True)
class FewSpec:
    """A kernel for at most ``rows`` rows."""

    a_dtype: str
    b_dtype: str
    accumulate: str
    rows: int
    transposed: bool
    a_unit: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        form = "gemmfewt" if self.transposed else "gemmfew"
        form += "|unit" if self.a_unit else "|strided"
        return (
            f"{form}|{self.a_dtype}|{self.b_dtype}|{self.accumulate}|{self.rows}|"
            f"{self.epilogue.key}"
        )

    @property
    def pitch(self) -> int:
        """Bytes between rows of C in scratch; odd in cache lines."""
        return _C_BYTES // self.rows + 64

    @property
    def widest(self) -> int:
        """Most columns of a task."""
        return _C_BYTES // self.rows // SIZES[self.accumulate]

    @property
    def pairs(self) -> bool:
        """Whether bfloat16 is multiplied in pairs."""
        halves = self.a_dtype == self.b_dtype == "bfloat16" and self.accumulate == "float32"
        return halves and has_pairs(host())

    def emit(self, module: Module, name: str) -> None:
        if self.transposed:
            form = FewPairs if self.pairs else FewTransposed
            form(self, Kernel(module, name), SLOTS).emit()
        else:
            _Few(self, Kernel(module, name)).emit()


class _Few(Unpacked):
    def __init__(self, spec: FewSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel, SLOTS)
        self.vectors = 2 if self.b.splits and spec.rows <= 4 else 1  # as registers allow
        self.width = i64(self.vectors * self.lanes)

    def emit(self) -> None:
        f, kernel, spec = self.f, self.kernel, self.spec
        a, b, scratch = self.pointers()
        state = spec.epilogue.begin(kernel, len(SLOTS))
        self.c = f.gep(scratch, f.mul(kernel.worker, self.slot("scratch_stride")))
        block = f.op("urem", kernel.task, self.slot("blocks"))
        item = f.op("udiv", kernel.task, self.slot("blocks"))
        batch, self.row0, self.rows = item_of(kernel, spec.epilogue, state, item, self.slot("m"))
        self.first = f.mul(block, self.slot("block"))
        self.count = f.min(f.sub(self.slot("n"), self.first), self.slot("block"))
        self.whole = f.sub(self.count, f.op("urem", self.count, self.width))
        offsets = batch_offsets(kernel, self.slot("table"), self.slot("dims"), batch, 2)
        self.matrix = f.gep(f.gep(b, offsets[1]), f.mul(self.first, i64(self.b.size)))
        self.row_bytes = f.mul(self.slot("b_line"), i64(self.b.size))
        self._rows_of_a(f.gep(a, offsets[0]))
        context = spec.epilogue.batch(kernel, state, batch)
        together = _SPLATS // spec.rows
        whole = f.op("and", self.slot("k"), i64(-together))
        for start, stop, step in ((i64(0), whole, together), (whole, self.slot("k"), 1)):
            loop = f.loop(start, stop, i64(step))
            self._add(loop.index, step)
            f.end_loop(loop)
        self._finish(context)
        f.ret()

    def _rows_of_a(self, a: Value) -> None:
        """Where each row of A starts; behind the last one, that one again."""
        f, size = self.f, i64(self.a.size)
        pitch, last = f.mul(self.slot("a_row"), size), f.sub(self.rows, i64(1))
        a = f.gep(a, f.mul(self.row0, pitch))
        self.a_step = f.mul(self.slot("a_col"), size)
        self.left = [f.gep(a, f.mul(f.min(i64(r), last), pitch)) for r in range(self.spec.rows)]

    def _splats(self, k: Value, row: Value) -> Value:
        f = self.f
        number = f.load(f.gep(row, f.mul(k, self.a_step)), self.a.memory, self.a.size)
        return f.splat(self.a.widen(f, number), self.lanes)

    def _add(self, k: Value, together: int) -> None:
        """Add the products with some rows of B to C."""
        f = self.f
        fresh = f.icmp("eq", k, i64(0))
        ks = [f.add(k, i64(n)) for n in range(together)]
        lines = [f.gep(self.matrix, f.mul(at, self.row_bytes)) for at in ks]
        ahead = f.mul(self.row_bytes, i64(2 * together))
        left = [[self._splats(at, row) for row in self.left] for at in ks]

        def step(col: Value, count: Value | None) -> None:
            places = self._places(col)
            sums = [
                [f.select(fresh, const(self.type, 0), f.load(at, self.type, self.size))
                 for at in row] for row in places
            ]  # fmt: skip
            for line, numbers in zip(lines, left, strict=True):
                here = f.gep(line, f.mul(col, i64(self.b.size)))
                prefetch(f, f.gep(here, ahead), locality=2)
                right = self._right(here, count)
                sums = [
                    [multiply_add(f, a, b, c, self.tile.fused)
                     for b, c in zip(right, row, strict=True)]
                    for a, row in zip(numbers, sums, strict=True)
                ]  # fmt: skip
            for row, values in zip(places, sums, strict=True):
                for at, value in zip(row, values, strict=True):
                    f.store(value, at, self.size)

        whole_then_edge(f, self.whole, self.count, self.width, step)

    def _right(self, here: Value, count: Value | None) -> list[Value]:
        """A step's elements of a row of B, as evens and odds where those widen fastest."""
        if self.vectors == 2:
            return [value for (value,) in self.b.load_split(self.f, here, self.lanes, count)]
        return self.b.load_run(self.f, here, self.lanes, count)

    def _places(self, col: Value) -> list[list[Value]]:
        """Addresses in C, by row and vector of a step."""
        f = self.f
        at = f.gep(self.c, f.mul(col, i64(self.size)))
        return [
            [f.gep(at, i64(r * self.spec.pitch + v * self.tile.vector_bytes))
             for v in range(self.vectors)] for r in range(self.spec.rows)
        ]  # fmt: skip

    def _finish(self, context: Any) -> None:
        f, lanes = self.f, self.lanes
        row = f.loop(i64(0), self.rows, i64(1), [self.c])
        index = f.add(self.row0, row.index)
        (source,) = row.values
        col = f.loop(i64(0), self.count, self.width)
        at = f.gep(source, f.mul(col.index, i64(self.size)))
        values = [
            f.load(f.gep(at, i64(v * self.tile.vector_bytes)), self.type, self.size)
            for v in range(self.vectors)
        ]
        if self.vectors == 2:
            mixed = [n // 2 + n % 2 * lanes for n in range(2 * lanes)]
            values = [
                f.shuffle(values[0], values[1], half) for half in (mixed[:lanes], mixed[lanes:])
            ]
        for v, value in enumerate(values):
            start = f.add(col.index, i64(v * lanes))
            mask = first_lanes(f, f.sub(self.count, start), lanes)
            where = f.add(self.first, start)
            self.spec.epilogue.store(self.kernel, context, value, index, where, mask)
        f.end_loop(col)
        f.end_loop(row, [f.gep(source, i64(self.spec.pitch))])


def is_few(p: Product) -> bool:
    """Whether this is the kernel for a product of these sizes."""
    if p.m < 2 or p.k == 0 or not p.accumulate.startswith(("float", "int")):
        return False
    if p.b.layout == UNIT_COL:
        return p.m <= MOST and (p.accumulate.startswith("float") or is_plain(p))
    halves = p.b.dtype in ("float16", "bfloat16")
    many = is_plain(p) or (halves and _in_pairs(p))
    rows = 2 * MOST if many else MOST if halves else 0
    return p.m <= rows and _along_k(p) and (halves or p.b.dtype == p.accumulate)


def is_better_paired(p: Product) -> bool:
    """Whether the blocked product, though it packs the matrix, beats this kernel by dot products
    of pairs: columns lie side by side, and the matrix may be in a cache."""
    near = p.b.layout == UNIT_COL and p.n * p.k <= _NEAR
    return near and p.m > _WIDENED and _has_pairs(p)


def _in_pairs(p: Product) -> bool:
    """Whether this kernel's dot products beat the blocked product's, which packs the matrix: it
    has to come from memory."""
    return _has_pairs(p) and p.n * p.k >= _LARGE


def _has_pairs(p: Product) -> bool:
    """Whether the blocked product multiplies bfloat16 in pairs, by vectors."""
    tile = tile_of_product(p.a.dtype, p.b.dtype, p.accumulate)
    return tile.pairs and not tile.amx


def _along_k(p: Product) -> bool:
    """Whether a transposed matrix is best read where it lies: k is of middling length."""
    return p.b.layout == UNIT_ROW and p.n >= 2 and 64 <= p.k <= _DEEPEST


def plan_few(p: Product) -> list[Command]:
    """As ``plan_gemm``, where ``is_few``."""
    a, b, m, n, k, items = p.a, p.b, p.m, p.n, p.k, p.items
    transposed, a_unit = b.layout != UNIT_COL, a.layout == UNIT_COL
    heights = (2, 4, MOST, 12, 2 * MOST) if transposed and _has_pairs(p) else (2, 4, MOST, 2 * MOST)
    rows = next(r for r in heights if m <= r)
    spec = FewSpec(a.dtype, b.dtype, p.accumulate, rows, transposed, a_unit, p.epilogue)
    least = max(64, (1 << 19) // (rows * k))
    counted = 1 if p.choices else items  # of those that may be, any number may be empty
    share = max(-(-n * counted // (2 * p.workers)), least)
    blocks = -(-n // min(share, spec.widest))
    if items == 1 and blocks > 1:
        blocks = round_up(blocks, p.workers)
    block = round_up(-(-n // blocks), 32)
    blocks = -(-n // block)
    held = rows * (round_up(k, 64) + 64) * SIZES[p.accumulate] if transposed else rows * spec.pitch
    stride = round_up(held + 256, 4096) + 256
    extra = list(p.epilogue.consts)
    head = [
        *a.pointer.consts, *b.pointer.consts, *p.scratch(stride * p.workers).consts, stride,
        m, n, k, a.row_stride, a.col_stride, b.col_stride if transposed else b.row_stride, block,
        blocks, len(SLOTS) + len(extra), len(p.batch),
    ]  # fmt: skip
    total = items * n * k
    consts, moved = [*head, *extra, *p.table], total * SIZES[b.dtype]
    return [Command(spec, consts, items * blocks, "gemm", moved, 2 * m * total)]
