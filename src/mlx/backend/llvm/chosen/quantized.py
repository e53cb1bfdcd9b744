"""Products of rows with quantized matrices that they choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlx.backend.llvm.abi import Command, Operand
from mlx.backend.llvm.chosen.order import Class, layout_of
from mlx.backend.llvm.chosen.plan import BLOCK, Ordered, Scratch, ordered_rows
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix, StoreEpilogue
from mlx.backend.llvm.gemm.tile import tile_of_product
from mlx.backend.llvm.quantized import few_rows, plan_few_rows
from mlx.backend.llvm.quantized_blocks import Blocks, geometry_of, panel_dtype, plan_blocks
from mlx.backend.llvm.quantized_coding import Coding
from mlx.compiler.sizes import least

_FEW = 1, 4, 16


def plan_chosen_quantized(
    primitive: Any, inputs: list[Operand], outputs: list[Operand], scratch: Scratch, workers: int
) -> list[Command]:
    """Commands of ChosenQuantizedMatMul."""
    x, w, scales, *biases, index = inputs
    (out,) = outputs
    (rows, n), k, choices = out.shape, x.shape[1], w.shape[0]
    if not rows * n:
        return []
    parts = [w, scales, *(biases or [scales])]
    unit = w.strides[-1] == 1
    of = primitive.of
    coding = Coding(of.bits, of.group, scales.dtype, of.transposed, unit, of.mode)
    sizes = least(rows, BLOCK), n, k
    g = geometry_of(coding, x.dtype, sizes, least(choices, rows), workers)
    most = few_rows(coding, x.dtype) if of.transposed and w.shape[-1] else 0
    limits = [r for r in _FEW if r < most] + [most] * (most > 0)
    while len(limits) > 1 and limits[-2] >= rows:
        limits.pop()
    layout = layout_of(limits, g.mc, rows, choices)
    tile = tile_of_product(x.dtype, panel_dtype(x.dtype), "float32")
    ordered = Ordered(index, layout, rows, choices, tile.rows, scratch)
    a, commands = ordered_rows(ordered, x, scratch, workers)
    commands = [*ordered.commands, *commands]
    store = StoreEpilogue(Matrix(out.pointer, out.dtype, (), *out.strides), ())

    def operand(first: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Operand:
        offset = a.pointer.offset + first * k * SIZES[x.dtype]
        return Operand(replace(a.pointer, offset=offset), x.dtype, shape, strides)

    def few(each: Class) -> list[Command]:
        shape = each.blocks, each.limit
        left = operand(each.place, (*shape, k), (each.limit * k, k, 1))
        epilogue = ordered.store(store, each)
        return plan_few_rows(
            coding, [left, *parts], (*shape, n), epilogue, scratch, workers, choices
        )

    for each in layout.few:
        commands += few(each)
    if layout.many.blocks:
        blocks = Blocks(layout.many.blocks, choices, replace(g, m_blocks=1))
        left = operand(0, (rows, k), (k, 1))
        epilogue = ordered.store(store, layout.many)
        commands.append(
            plan_blocks(coding, [left, *parts], out, epilogue, scratch, workers, blocks)
        )
    return commands
