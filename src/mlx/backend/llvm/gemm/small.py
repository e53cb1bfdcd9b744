"""Many products of small matrices: several of them are a task, and nothing is packed.

Sums of a few rows stay in registers; the right matrix is read where it lies, a masked vector of
columns at a time (one whose k lies side by side is transposed to scratch before).  Each element
is one chain of FMAs over k, as in the blocked product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Command, Kernel
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes, multiply_add, transpose
from mlx.backend.llvm.gemm.operand import Epilogue, Product, batch_offsets
from mlx.backend.llvm.gemm.tile import UNIT_COL, UNIT_ROW
from mlx.backend.llvm.gemm.unpacked import Unpacked, is_plain
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, const, i64

SLOTS = (
    "a_base", "a_offset", "b_base", "b_offset", "scratch_base", "scratch_offset", "m", "n", "k",
    "a_row", "a_col", "b_line", "together", "items", "table", "dims",
)  # fmt: skip
_ROWS, _COLUMNS, _DEPTH = 16, 32, 64  # that count as small;
_TWICE = 19, 24  # and rows that go by 12, where nothing is widened and little is turned
_ITEMS = 64  # that count as many
_LEAST = 1 << 15  # multiplications of a task
_SUMS = 1024  # bytes of a worker's scratch: a vector for each of the rows,
_PITCH = 320  # and of a line of a transposed matrix
_SCRATCH = _SUMS + _DEPTH * _PITCH


@dataclass(frozen=True)
class SmallSpec:
    """A kernel that sums ``rows`` rows at a time."""

    a_dtype: str
    b_dtype: str
    accumulate: str
    rows: int
    transposed: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        form = "gemmsmallt" if self.transposed else "gemmsmall"
        return (
            f"{form}|{self.a_dtype}|{self.b_dtype}|{self.accumulate}|{self.rows}|"
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
        line = f.mul(self.slot("b_line"), i64(self.b.size))
        self.b_row = i64(_PITCH) if spec.transposed else line
        self.right = Element(spec.accumulate, spec.accumulate) if spec.transposed else self.b
        first = f.mul(kernel.task, self.slot("together"))
        stop = f.min(f.add(first, self.slot("together")), self.slot("items"))
        item = f.loop(first, stop, i64(1))
        offsets = batch_offsets(kernel, self.slot("table"), self.slot("dims"), item.index, 2)
        context = spec.epilogue.batch(kernel, state, item.index)
        right = f.gep(b, offsets[1])
        if spec.transposed:
            right = self._transposed(right, line)
        row = f.loop(i64(0), self.slot("m"), i64(spec.rows))
        col = f.loop(i64(0), self.slot("n"), i64(self.lanes))
        self._block(f.gep(a, offsets[0]), right, row.index, col.index, context)
        f.end_loop(col)
        f.end_loop(row)
        f.end_loop(item)
        f.ret()

    def _transposed(self, b: Value, line: Value) -> Value:
        """The right matrix with columns side by side, in scratch; behind the last column,
        that one again."""
        f, n, lanes = self.f, self.slot("n"), self.lanes
        target = f.gep(self.c, i64(_SUMS))
        col = f.loop(i64(0), n, i64(lanes))
        k = f.loop(i64(0), self.slot("k"), i64(lanes))
        last, left = f.sub(n, i64(1)), f.sub(self.slot("k"), k.index)
        start = f.gep(b, f.mul(k.index, i64(self.b.size)))
        lines = [f.gep(start, f.mul(f.min(f.add(col.index, i64(c)), last), line))
                 for c in range(lanes)]  # fmt: skip
        loaded = [self.b.load_run(f, at, lanes, left)[0] for at in lines]
        to = f.gep(f.gep(target, f.mul(k.index, i64(_PITCH))), f.mul(col.index, i64(self.size)))
        for r, value in enumerate(transpose(f, loaded)):
            f.store(value, f.gep(to, i64(r * _PITCH)), self.size)
        f.end_loop(k)
        f.end_loop(col)
        return target

    def _block(self, a: Value, b: Value, row: Value, col: Value, context: Any) -> None:
        """A vector of columns of some rows; behind the last row, that one again."""
        f = self.f
        count = f.sub(self.slot("n"), col)
        last = f.sub(self.slot("m"), i64(1))
        rows = [
            f.gep(a, f.mul(f.min(f.add(row, i64(r)), last), self.a_row))
            for r in range(self.spec.rows)
        ]
        right = f.gep(b, f.mul(col, i64(self.right.size)))
        k = f.loop(i64(0), self.slot("k"), i64(1), [const(self.type, 0)] * self.spec.rows)
        (numbers,) = self.right.load_run(
            f, f.gep(right, f.mul(k.index, self.b_row)), self.lanes, count
        )
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
    if not is_plain(p) or p.b.layout not in (UNIT_COL, UNIT_ROW) or p.items < _ITEMS:
        return False
    plain = {p.a.dtype, p.b.dtype} == {p.accumulate}
    twice = plain and (p.b.layout == UNIT_COL or p.k <= _DEPTH // 2)
    few = 1 < p.m <= _ROWS or (twice and _TWICE[0] <= p.m <= _TWICE[1])
    return few and 1 < p.n <= _COLUMNS and 0 < p.k <= _DEPTH


def plan_small(p: Product) -> list[Command]:
    """As ``plan_gemm``, where ``is_small``."""
    a, b, m, n, k, items = p.a, p.b, p.m, p.n, p.k, p.items
    rows = 12 if m > _ROWS else 8 if m > 12 else next(r for r in (4, 8, 12) if m <= r)
    transposed = b.layout == UNIT_ROW
    spec = SmallSpec(a.dtype, b.dtype, p.accumulate, rows, transposed, p.epilogue)
    together = min(max(1, _LEAST // (m * n * k)), -(-items // (4 * p.workers)))
    extra = list(p.epilogue.consts)
    head = [
        *a.pointer.consts, *b.pointer.consts, *p.scratch(_SCRATCH * p.workers).consts, m, n, k,
        a.row_stride, a.col_stride, b.col_stride if transposed else b.row_stride, together, items,
        len(SLOTS) + len(extra), len(p.batch),
    ]  # fmt: skip
    total = items * n * k
    moved = total * SIZES[b.dtype] + items * m * k * SIZES[a.dtype]
    consts, tasks = [*head, *extra, *p.table], -(-items // together)
    return [Command(spec, consts, tasks, "gemm", moved, 2 * m * total)]
