"""Many products of small matrices: several of them are a task, and nothing is packed.

Sums of a few rows stay in registers; the right matrix is read where it lies, a masked vector of
columns at a time.  Each element is one chain of FMAs over k, as in the blocked product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Command, Kernel
from mlx.backend.llvm.gemm.elements import SIZES, first_lanes, multiply_add
from mlx.backend.llvm.gemm.operand import Epilogue, Product, batch_offsets
from mlx.backend.llvm.gemm.tile import UNIT_COL
from mlx.backend.llvm.gemm.unpacked import Unpacked, is_plain
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, const, i64

SLOTS = (
    "a_base", "a_offset", "b_base", "b_offset", "scratch_base", "scratch_offset", "m", "n", "k",
    "a_row", "a_col", "b_row", "together", "items", "table", "dims",
)  # fmt: skip
_ROWS, _COLUMNS, _DEPTH = 16, 32, 64  # that count as small
_ITEMS = 64  # that count as many
_LEAST = 1 << 15  # multiplications of a task
_SCRATCH = 1024  # bytes of a worker: a vector for each of the rows


@dataclass(frozen=True)
class SmallSpec:
    """A kernel that sums ``rows`` rows at a time."""

    a_dtype: str
    b_dtype: str
    accumulate: str
    rows: int
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return (
            f"gemmsmall|{self.a_dtype}|{self.b_dtype}|{self.accumulate}|{self.rows}|"
            f"{self.epilogue.key}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Small(self, Kernel(module, name), SLOTS).emit()


class _Small(Unpacked):
    spec: SmallSpec

    def emit(self) -> None:
        f, kernel, spec = self.f, self.kernel, self.spec
        a, b, scratch = self.pointers()
        state = spec.epilogue.begin(kernel, len(SLOTS))
        self.c = f.gep(scratch, f.mul(kernel.worker, i64(_SCRATCH)))
        self.a_row, self.a_col = (f.mul(self.slot(s), i64(self.a.size)) for s in ("a_row", "a_col"))
        self.b_row = f.mul(self.slot("b_row"), i64(self.b.size))
        first = f.mul(kernel.task, self.slot("together"))
        stop = f.min(f.add(first, self.slot("together")), self.slot("items"))
        item = f.loop(first, stop, i64(1))
        offsets = batch_offsets(kernel, self.slot("table"), self.slot("dims"), item.index, 2)
        context = spec.epilogue.batch(kernel, state, item.index)
        row = f.loop(i64(0), self.slot("m"), i64(spec.rows))
        col = f.loop(i64(0), self.slot("n"), i64(self.lanes))
        self._block(f.gep(a, offsets[0]), f.gep(b, offsets[1]), row.index, col.index, context)
        f.end_loop(col)
        f.end_loop(row)
        f.end_loop(item)
        f.ret()

    def _block(self, a: Value, b: Value, row: Value, col: Value, context: Any) -> None:
        """A vector of columns of some rows; behind the last row, that one again."""
        f = self.f
        count = f.sub(self.slot("n"), col)
        last = f.sub(self.slot("m"), i64(1))
        rows = [
            f.gep(a, f.mul(f.min(f.add(row, i64(r)), last), self.a_row))
            for r in range(self.spec.rows)
        ]
        right = f.gep(b, f.mul(col, i64(self.b.size)))
        k = f.loop(i64(0), self.slot("k"), i64(1), [const(self.type, 0)] * self.spec.rows)
        (numbers,) = self.b.load_run(f, f.gep(right, f.mul(k.index, self.b_row)), self.lanes, count)
        along = f.mul(k.index, self.a_col)
        sums = []
        for source, total in zip(rows, k.values, strict=True):
            number = self.a.widen(f, f.load(f.gep(source, along), self.a.memory, self.a.size))
            left = f.splat(number, self.lanes)
            sums.append(multiply_add(f, left, numbers, total, self.tile.fused))
        for r, total in enumerate(f.end_loop(k, sums)):
            f.store(total, f.gep(self.c, i64(r * self.tile.vector_bytes)), self.size)
        self._finish(row, col, first_lanes(f, count, self.lanes), context)

    def _finish(self, row: Value, col: Value, mask: Value, context: Any) -> None:
        f = self.f
        height = f.min(f.sub(self.slot("m"), row), i64(self.spec.rows))
        r = f.loop(i64(0), height, i64(1))
        at = f.gep(self.c, f.mul(r.index, i64(self.tile.vector_bytes)))
        value = f.load(at, self.type, self.size)
        self.spec.epilogue.store(self.kernel, context, value, f.add(row, r.index), col, mask)
        f.end_loop(r)


def is_small(p: Product) -> bool:
    """Whether this is the kernel for a product of these sizes."""
    if not is_plain(p) or p.b.layout != UNIT_COL or p.items < _ITEMS:
        return False
    return 1 < p.m <= _ROWS and 1 < p.n <= _COLUMNS and 0 < p.k <= _DEPTH


def plan_small(p: Product) -> list[Command]:
    """As ``plan_gemm``, where ``is_small``."""
    a, b, m, n, k, items = p.a, p.b, p.m, p.n, p.k, p.items
    rows = 8 if m > 12 else next(r for r in (4, 8, 12) if m <= r)
    spec = SmallSpec(a.dtype, b.dtype, p.accumulate, rows, p.epilogue)
    together = min(max(1, _LEAST // (m * n * k)), -(-items // (4 * p.workers)))
    extra = list(p.epilogue.consts)
    head = [
        *a.pointer.consts, *b.pointer.consts, *p.scratch(_SCRATCH * p.workers).consts, m, n, k,
        a.row_stride, a.col_stride, b.row_stride, together, items, len(SLOTS) + len(extra),
        len(p.batch),
    ]  # fmt: skip
    total = items * n * k
    moved = total * SIZES[b.dtype] + items * m * k * SIZES[a.dtype]
    consts, tasks = [*head, *extra, *p.table], -(-items // together)
    return [Command(spec, consts, tasks, "gemm", moved, 2 * m * total)]
