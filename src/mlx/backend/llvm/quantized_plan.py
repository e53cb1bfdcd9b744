"""From operands of products with quantized matrices to commands."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from mlx.backend.llvm import quantized_straight as straight
from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, StoreEpilogue, batch_table, round_up
from mlx.backend.llvm.gemm.pairs import has_pairs
from mlx.backend.llvm.quantized import SLOTS, ProductSpec
from mlx.backend.llvm.quantized_blocks import plan_blocks
from mlx.backend.llvm.quantized_codes import by_bytes
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_panels import LANES, VECTOR, chunk_bytes, pack_rows
from mlx.backend.llvm.target import host


def few_rows(coding: Coding, dtype: str) -> int:
    """Rows of x up to which codes are multiplied in registers, not packed first (measured)."""
    if not coding.outputs:
        return straight.MOST
    slow = coding.words > 1 or coding.mode == "mxfp8"
    return 8 if slow or (coding.bits == 8 and dtype == "bfloat16") else 16


def _shape_of_tile(rows: int, words: int) -> tuple[int, int]:
    """(rows of x, rows of w) that the accumulators of a kernel are for; ``words`` of a unit."""
    if host().avx512:
        return (rows if rows <= 2 else 4), 4 if rows == words == 1 else 2
    return (1, 2) if rows == 1 else (2, 1)


def _storing(out: Operand) -> StoreEpilogue:
    *batch, row, col = out.strides
    place = Matrix(out.pointer, out.dtype, tuple(batch), row, col)
    return StoreEpilogue(place, out.shape[:-2])


def plan_quantized(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of QuantizedMatMul."""
    x, w, scales, *rest = inputs
    biases = rest[0] if rest else scales  # or nothing that is read
    inputs = [x, w, scales, biases]
    (out,) = outputs
    *batch, m, n = out.shape
    items = prod(batch)
    if not items * m * n:
        return []
    epilogue, units = _storing(out), tuple(o.strides[-1] == 1 for o in (w, scales, biases))
    transposed, bits, group = primitive.transposed, primitive.bits, primitive.group
    coding = Coding(bits, group, scales.dtype, transposed, units[0], primitive.mode)
    if not (m <= few_rows(coding, x.dtype) and x.shape[-1]):
        return [plan_blocks(coding, inputs, out, epilogue, scratch, workers)]
    return plan_few_rows(coding, inputs, (*batch, m, n), epilogue, scratch, workers)


def plan_few_rows(
    coding: Coding,
    inputs: list[Operand],
    shape: tuple[int, ...],
    epilogue: Epilogue,
    scratch: Callable[[int], Pointer],
    workers: int,
    choices: int = 0,
) -> list[Command]:
    """Commands of a product of this shape; ``choices`` as in ``gemm.operand.Product``."""
    if not coding.outputs:
        return [_plan_straight(coding, inputs, shape, epilogue, scratch, workers, choices)]
    x, w, scales, biases = inputs
    *batch, m, n = shape
    items = prod(batch)
    units = tuple(o.strides[-1] == 1 for o in (w, scales, biases))
    columns, together = _shape_of_tile(m, coding.words)
    words = w.shape[-1]
    along = words // coding.words
    chunks, panels = -(-along // LANES), -(-m // columns)
    sums = -(-scales.shape[-1] // LANES) * columns * VECTOR
    paired = coding.bits in (1, 2, 4) or by_bytes(coding)
    pairs = x.dtype == "bfloat16" and paired and has_pairs(host())
    panel = chunks * chunk_bytes(columns, coding.codes, pairs) + sums
    packed = scratch(items * panels * panel)
    pack = pack_rows(coding, x, (along, columns, panels * columns, panel), packed, pairs)
    spec = ProductSpec(coding, units, columns, together, pairs, epilogue)  # type: ignore[arg-type]
    counted = 1 if choices else items  # of those that may be, any number may be empty
    block = round_up(max(-(-n * counted // (8 * workers)), 16384 // max(words, 1), 8), together)
    blocks = -(-n // block)
    strides = [tuple(s * SIZES[o.dtype] for s in o.strides) for o in (w, scales, biases)]
    head = [
        *w.pointer.consts, *scales.pointer.consts, *biases.pointer.consts, *packed.consts,
        n, m, panels, panel, along, chunks, scales.shape[-1],
        *[s for of in strides for s in of[-2:]], block, blocks,
    ]  # fmt: skip
    lead = (choices,) if choices else batch
    extra, table = epilogue.consts, batch_table(lead, *[of[:-2] for of in strides])
    consts = [*head, len(SLOTS) + len(extra), len(lead), *extra, *table]
    per_row = words * 4 + scales.shape[-1] * 2 * SIZES[scales.dtype]
    flops = 2 * items * m * n * x.shape[-1]
    product = Command(spec, consts, items * blocks, "quantized", items * n * per_row, flops)
    return [pack, product]


def _plan_straight(
    coding: Coding,
    inputs: list[Operand],
    shape: tuple[int, ...],
    epilogue: Epilogue,
    scratch: Callable[[int], Pointer],
    workers: int,
    choices: int,
) -> Command:
    """The same for a matrix that is not transposed; where rows choose, x holds all of them."""
    x, *parts = inputs
    *batch, m, n = shape
    items, k, (words, groups) = prod(batch), x.shape[-1], [o.shape[-1] for o in parts[:2]]
    units = tuple(o.strides[-1] == 1 for o in parts)
    rows = next(r for r in (1, 2, 4, straight.MOST) if m <= r)
    spec = straight.StraightSpec(coding, x.dtype, units, rows, epilogue)  # type: ignore[arg-type]
    along = words // coding.words
    chunks = -(-along // LANES)
    counted = 1 if choices else items  # of those that may be, any number may be empty
    least_chunks = -(-16384 // (k * LANES * coding.codes))
    share = max(-(-chunks * counted // (2 * workers)), least_chunks)
    blocks = -(-chunks // min(share, spec.widest))
    if items == 1 and blocks > 1:
        blocks = round_up(blocks, workers)
    block = -(-chunks // blocks)
    blocks = -(-chunks // block)
    own = round_up(spec.widest * spec.chunk_bytes, 4096) + 256
    strides = [tuple(s * SIZES[o.dtype] for s in o.strides) for o in (*parts, x)]
    lead = (choices,) if choices else batch
    shifts = [(0,) if choices and o is x else s[:-2]
              for o, s in zip((*parts, x), strides, strict=True)]  # fmt: skip
    consts = [
        *[c for o in (*parts, x) for c in o.pointer.consts], *scratch(own * workers).consts, own,
        m, n, k, along, groups, *strides[-1][-2:], *[s for of in strides[:-1] for s in of[-2:]],
        block, blocks, chunks, len(straight.SLOTS) + len(epilogue.consts), len(lead),
        *epilogue.consts, *batch_table(lead, *shifts),
    ]  # fmt: skip
    touched = items * sum(prod(o.shape[-2:]) * SIZES[o.dtype] for o in parts)
    flops = 2 * items * m * n * k
    return Command(spec, consts, items * blocks, "quantized", touched, flops)
