"""Products of rows with quantized matrices that they choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.chosen.order import Class, Layout, layout_of
from mlx.backend.llvm.chosen.plan import BLOCK, Ordered, Scratch, ordered_rows
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix, StoreEpilogue
from mlx.backend.llvm.gemm.plan import Geometry
from mlx.backend.llvm.gemm.tile import tile_of_product
from mlx.backend.llvm.quantized_blocks import Blocks, geometry_of, panel_dtype, plan_blocks
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_plan import few_rows, plan_few_rows
from mlx.compiler.sizes import least

_FEW = 1, 4


def plan_chosen_quantized(
    primitive: Any, inputs: list[Operand], outputs: list[Operand], scratch: Scratch, workers: int
) -> list[Command]:
    """Commands of ChosenQuantizedMatMul."""
    x, w, scales, *biases, index = inputs
    (out,) = outputs
    if 0 in out.shape:
        return []
    of, unit = primitive.of, w.strides[-1] == 1
    coding = Coding(of.bits, of.group, scales.dtype, of.transposed, unit, of.mode)
    products = _Products(coding, x, [w, scales, *(biases or [scales])], out, scratch, workers)
    ordered = Ordered(index, products.layout, x.shape[0], w.shape[0], products.even, scratch)
    rows, copies = ordered_rows(ordered, x, scratch, workers)
    return [*ordered.commands, *copies, *products.commands(ordered, rows.pointer)]


class _Products:
    """A product for each class of blocks."""

    def __init__(
        self, coding: Coding, x: Operand, parts: list[Operand], out: Operand, scratch: Scratch,
        workers: int,
    ) -> None:  # fmt: skip
        self.coding, self.x, self.parts, self.out = coding, x, parts, out
        self.scratch, self.workers = scratch, workers
        (rows, k), self.choices = x.shape, parts[0].shape[0]
        sizes = least(rows, BLOCK), out.shape[1], k
        self.geometry: Geometry = geometry_of(
            coding, x.dtype, sizes, least(self.choices, rows), workers
        )
        self.layout: Layout = layout_of(self._limits(rows), self.geometry.mc, rows, self.choices)
        self.even = tile_of_product(x.dtype, panel_dtype(x.dtype), "float32").rows

    def _limits(self, rows: int) -> list[int]:
        if not self.x.shape[-1]:
            return []
        limits = [*_FEW, few_rows(self.coding, self.x.dtype)]
        while len(limits) > 1 and limits[-2] >= rows:
            limits.pop()
        return limits

    def commands(self, ordered: Ordered, rows: Pointer) -> list[Command]:
        """``rows``: where x lies in that order."""
        out = [c for each in self.layout.few for c in self._few(ordered, rows, each)]
        many = self.layout.many
        if many.blocks:
            left = replace(self.x, pointer=rows, strides=(self.x.shape[1], 1))
            blocks = Blocks(many.blocks, self.choices, replace(self.geometry, m_blocks=1))
            out.append(plan_blocks(
                self.coding, [left, *self.parts], self.out, ordered.store(self._store, many),
                self.scratch, self.workers, blocks,
            ))  # fmt: skip
        return out

    def _few(self, ordered: Ordered, rows: Pointer, each: Class) -> list[Command]:
        k, n = self.x.shape[1], self.out.shape[1]
        shape = each.blocks, each.limit
        if self.coding.outputs:
            start = Pointer(rows.base, rows.offset + each.place * k * SIZES[self.x.dtype])
            left = Operand(start, self.x.dtype, (*shape, k), (each.limit * k, k, 1))
        else:
            left = Operand(rows, self.x.dtype, (self.x.shape[0], k), (k, 1))
        return plan_few_rows(
            self.coding, [left, *self.parts], (*shape, n), ordered.store(self._store, each),
            self.scratch, self.workers, self.choices,
        )  # fmt: skip

    @property
    def _store(self) -> StoreEpilogue:
        out = self.out
        return StoreEpilogue(Matrix(out.pointer, out.dtype, (), *out.strides), ())
