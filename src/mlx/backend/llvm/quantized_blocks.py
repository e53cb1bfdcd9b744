"""Products with quantized matrices of many rows, or not transposed: the blocked product, whose
panels of B are dequantized as they are packed.

A task packs its own columns for a block of k once, for all its rows.  Panels hold bfloat16 where
x does and the processor multiplies that, else float32; each element of the result is one chain
over k, as in a product with a dense matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.gemm.blocked import SLOTS, Blocked, BlockedSpec, Depth
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, Product, batch_table
from mlx.backend.llvm.gemm.plan import BlockedProblem, Geometry, Strip, geometry
from mlx.backend.llvm.gemm.tile import GENERAL, tile_of_product
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.quantized_matrix import RUN, pack_quantized
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass

PARTS = ("words", "scales", "biases")
QUANTIZED_SLOTS = (
    *SLOTS, "scales_base", "scales_offset", "biases_base", "biases_offset",
    *[f"{part}_{stride}" for part in PARTS for stride in ("far", "near")],
)  # fmt: skip


@dataclass(frozen=True)
class QuantizedSpec(BlockedSpec):
    """A blocked product whose B is quantized; ``b_dtype`` is what panels of it hold."""

    coding: Coding

    @property
    def key(self) -> str:
        return f"{super().key}|{self.coding.key}"

    def emit(self, module: Module, name: str) -> None:
        _Quantized(self, module, name).emit()


class _Quantized(Blocked):
    slots = QUANTIZED_SLOTS
    batched = 5
    spec: QuantizedSpec

    def packer(self) -> str:
        return pack_quantized(self.module, self.tile, self.spec.coding)

    @property
    def can_read_b(self) -> bool:
        return False

    def _pack_b(self, part: Depth, strides: dict[str, Value], col0: Value, cols: Value) -> None:
        f, coding = self.f, self.spec.coding
        word = f.op("lshr", f.mul(part.start if coding.outputs else col0, i64(coding.bits)), i64(5))
        group = f.op("udiv", part.start, i64(coding.group))
        args = []
        for name in PARTS:
            far, near = self.slot(name + "_far"), self.slot(name + "_near")
            if name == "words":
                start, along = part.b, word
                across = col0 if coding.outputs else part.start
                start = f.gep(start, f.add(f.mul(across, far), f.mul(along, near)))
            else:
                start = f.gep(self.pointer(name), self.offsets[PARTS.index(name) + 2])
                step = f.mul(group, near) if coding.outputs else f.mul(part.start, far)
                start = f.gep(start, step)
            args += [start, far, near]
        target = [part.b_packed, self.slot("b_panel")]
        f.call(self.pack_b, "void", *args, col0, cols, part.depth, *target)


@dataclass(frozen=True)
class Blocks:
    """How many blocks of rows there may be, among how many matrices, and their geometry."""

    number: int
    choices: int
    geometry: Geometry


def geometry_of(
    coding: Coding, dtype: str, sizes: tuple[int, int, int], items: int, workers: int
) -> Geometry:
    """Blocks of a product of these sizes (m, n, k)."""
    tile = tile_of_product(dtype, panel_dtype(dtype), "float32")
    step = 1 if coding.outputs else RUN
    return geometry(tile, *sizes, items, workers, step, share=False)


def panel_dtype(dtype: str) -> str:
    """What panels hold where x has this dtype."""
    return "bfloat16" if dtype == "bfloat16" else "float32"


def plan_blocks(
    coding: Coding,
    inputs: list[Operand],
    out: Operand,
    epilogue: Epilogue,
    scratch: Callable[[int], Pointer],
    workers: int,
    blocks: Blocks | None = None,
) -> Command:
    """The command of x times a quantized matrix; with ``blocks`` of rows that choose one."""
    x, *parts = inputs
    *batch, m, n = out.shape
    *x_batch, row, col = x.strides
    if blocks is not None:
        batch, x_batch = [blocks.choices], [0]
    a = Matrix(x.pointer, x.dtype, tuple(x_batch), row, col)
    panels = panel_dtype(x.dtype)
    b = Matrix(parts[0].pointer, panels, (0,) * len(batch), 0, 0)
    k, items = x.shape[-1], prod(batch)
    problem = BlockedProblem(
        Product(a, b, m, n, k, tuple(batch), epilogue, "float32", scratch, workers)
    )
    tile = tile_of_product(x.dtype, panels, "float32")
    g = blocks.geometry if blocks else geometry_of(coding, x.dtype, (m, n, k), items, workers)
    own = scratch(g.scratch * workers)
    strides = [tuple(s * SIZES[o.dtype] for s in o.strides) for o in parts]
    sizes, shifts = list(epilogue.consts), [s[:-2] for s in strides]
    consts = [
        *problem.head(tile, g, own, Pointer(0), False, Strip(0, n)),
        len(QUANTIZED_SLOTS) + len(sizes), len(batch),
        *parts[1].pointer.consts, *parts[2].pointer.consts,
        *[number for s in strides for number in s[-2:]], *sizes,
        *batch_table(batch, [s * SIZES[x.dtype] for s in x_batch], shifts[0], [0] * len(batch),
                     *shifts[1:]),
    ]  # fmt: skip
    spec = QuantizedSpec(x.dtype, a.layout, panels, GENERAL, "float32", epilogue, coding)
    touched = items * sum(prod(o.shape[-2:]) * SIZES[o.dtype] for o in (x, *parts))
    tasks = (blocks.number if blocks else items) * g.m_blocks * g.n_blocks
    return Command(spec, consts, tasks, "quantized gemm", touched, 2 * items * m * n * k)
