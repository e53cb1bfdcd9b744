"""Sums of outer products of the rows that choose a matrix: a product whose k is those rows."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.chosen.order import layout_of
from mlx.backend.llvm.chosen.plan import Ordered, Scratch, ordered_rows
from mlx.backend.llvm.gemm.blocked import SLOTS, Blocked, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix, Product, StoreEpilogue
from mlx.backend.llvm.gemm.plan import BlockedProblem, Strip, geometry
from mlx.backend.llvm.gemm.sums import accumulate_in, as_alike
from mlx.backend.llvm.gemm.tile import tile_of_product
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64

_SLOTS = (*SLOTS, "stops_base", "stops_offset")


class OuterSpec(BlockedSpec):
    """A blocked product of which item c sums from where item c - 1 stopped."""

    @property
    def key(self) -> str:
        return f"chosen outer {super().key}"

    def emit(self, module: Module, name: str) -> None:
        _Outer(self, module, name).emit()


class _Outer(Blocked):
    slots = _SLOTS

    def _along(self, batch: Value) -> tuple[Value, Value]:
        f = self.f
        stop = f.gep(self.pointer("stops"), batch, "i64")
        first = f.icmp("eq", batch, i64(0))
        before = f.gep(stop, f.select(first, i64(0), i64(-1)), "i64")
        start = f.select(first, i64(0), f.load(before, "i64", 8))
        return start, f.sub(f.load(stop, "i64", 8), start)


def plan_outer(
    primitive: Any, inputs: list[Operand], outputs: list[Operand], scratch: Scratch, workers: int
) -> list[Command]:
    """Commands of ChosenOuter."""
    x, y, index = inputs
    (out,) = outputs
    choices, m, n = out.shape
    rows = x.shape[0]
    if not choices * m * n:
        return []
    ordered = Ordered(index, layout_of((), rows, rows, choices), rows, choices, 1, scratch)
    pair = [ordered_rows(ordered, o, scratch, workers) for o in (x, y)]
    a, b = as_alike(pair[0][0].transposed, pair[1][0], out.dtype)
    strides = out.strides
    store = StoreEpilogue(Matrix(out.pointer, out.dtype, strides[:1], *strides[1:]), (choices,))
    accumulate = accumulate_in(out.dtype, x.dtype, y.dtype, rows)
    p = Product(a, b, m, n, rows, (choices,), store, accumulate, scratch, workers)
    tile = tile_of_product(a.dtype, b.dtype, accumulate)
    g = geometry(tile, m, n, rows, choices, workers, share=False)
    head = BlockedProblem(p).head(
        tile, g, scratch(g.scratch * workers), Pointer(0), False, Strip(0, n), False
    )
    extra = list(store.consts)
    consts = [
        *head, len(_SLOTS) + len(extra), 1, *ordered.starts.consts, *extra, choices, 0, 0, 0,
    ]  # fmt: skip
    spec = OuterSpec(a.dtype, a.layout, b.dtype, b.layout, accumulate, store)
    tasks = choices * g.m_blocks * g.n_blocks
    moved = choices * m * n * SIZES[out.dtype]
    product = Command(spec, consts, tasks, "chosen outer", moved, 2 * rows * m * n)
    return [*ordered.commands, *pair[0][1], *pair[1][1], product]
