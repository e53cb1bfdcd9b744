"""Packing the whole of a B that many tasks share: a command before the product."""

from __future__ import annotations

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.operand import batch_offsets
from mlx.backend.llvm.gemm.pack import pack_b
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import i64
from mlx.base.frozen import dataclass

SLOTS = ("n", "k", "b_row", "b_col", "nc", "kc", "n_blocks", "k_blocks", "b_panel", "table",
         "dims")  # fmt: skip


@dataclass(frozen=True)
class PrepackSpec:
    """A task packs one block of columns over one block of k of one batch item.

    Consts: pointers to B and to the packed panels, then SLOTS, then the batch table.
    """

    dtype: str
    layout: str
    tile: Tile

    @property
    def key(self) -> str:
        return f"gemmpack|{self.dtype}|{self.layout}|{self.tile.name}"

    def emit(self, module: Module, name: str) -> None:
        tile, element = self.tile, self.tile.element(self.dtype, right=True)
        pack = pack_b(module, tile, element, self.layout)
        kernel = Kernel(module, name)
        f = kernel.f
        source, target = kernel.pointer(0), kernel.pointer(2)
        slot = {n: kernel.const(4 + position) for position, n in enumerate(SLOTS)}
        row, col = (f.mul(slot[n], i64(element.size)) for n in ("b_row", "b_col"))
        k0 = f.mul(f.op("urem", kernel.task, slot["k_blocks"]), slot["kc"])
        rest = f.op("udiv", kernel.task, slot["k_blocks"])
        col0 = f.mul(f.op("urem", rest, slot["n_blocks"]), slot["nc"])
        batch = f.op("udiv", rest, slot["n_blocks"])
        offsets = batch_offsets(kernel, slot["table"], slot["dims"], batch, 2)
        source = f.gep(f.gep(source, offsets[0]), f.add(f.mul(k0, row), f.mul(col0, col)))
        panel = f.mul(f.op("udiv", col0, i64(tile.cols)), slot["b_panel"])
        inside = f.mul(f.op("udiv", k0, i64(tile.step)), i64(tile.b_row))
        target = f.gep(f.gep(target, offsets[1]), f.add(panel, inside))
        cols = f.min(f.sub(slot["n"], col0), slot["nc"])
        depth = f.min(f.sub(slot["k"], k0), slot["kc"])
        f.call(pack, "void", source, col, row, cols, depth, target, slot["b_panel"])
        f.ret()
