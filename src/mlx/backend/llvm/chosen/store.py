"""Results of ordered rows, stored where those rows belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel, Pointer
from mlx.backend.llvm.chosen.order import ENTRY
from mlx.backend.llvm.gemm.operand import StoreEpilogue
from mlx.backend.llvm.values import Value, i64


@dataclass(frozen=True, slots=True)
class OrderedStore:
    """An epilogue whose rows are places: ``order`` says which row a place holds.

    ``table`` has an entry for each block; see ``order``.
    """

    inner: StoreEpilogue
    table: Pointer
    order: Pointer

    @property
    def key(self) -> str:
        return f"ordered_{self.inner.key}"

    @property
    def consts(self) -> list[int]:
        return [*self.table.consts, *self.order.consts, *self.inner.consts]

    def begin(self, kernel: Kernel, slot: int) -> tuple[Value, Value, list[Value]]:
        table, order = kernel.pointer(slot), kernel.pointer(slot + 2)
        return table, order, self.inner.begin(kernel, slot + 4)

    def block(self, kernel: Kernel, state: Any, item: Value) -> tuple[Value, Value, Value]:
        """A block's matrix, its first place and its rows; the kernel ends where it has none."""
        f = kernel.f
        entry = f.gep(state[0], f.mul(item, i64(ENTRY)))
        first, rows, matrix = [f.load(f.gep(entry, i64(8 * n)), "i64", 8) for n in range(3)]
        empty, some = f.label("empty"), f.label("some")
        f.branch_if(f.icmp("eq", rows, i64(0)), empty, some)
        f.start(empty)
        f.ret()
        f.start(some)
        return matrix, first, rows

    def batch(self, kernel: Kernel, state: Any, batch_index: Value) -> tuple[Value, list[Value]]:
        _, order, inner = state
        return order, self.inner.batch(kernel, inner, i64(0))

    def store(
        self, kernel: Kernel, context: Any, value: Any, row: Value, col: Value, mask: Value | None
    ) -> None:
        order, inner = context
        at = kernel.f.load(kernel.f.gep(order, row, "i64"), "i64", 8)
        self.inner.store(kernel, inner, value, at, col, mask)
