"""Packing the whole of an operand that many tasks share: a command before the product."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.operand import batch_offsets
from mlx.backend.llvm.gemm.pack import pack_a, pack_b
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import i64

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


LEFT_SLOTS = ("m", "k", "a_row", "a_col", "mc", "kc", "m_blocks", "k_blocks", "a_advance", "table",
              "dims")  # fmt: skip


@dataclass(frozen=True)
class PrepackLeftSpec:
    """A task packs one block of rows over one block of k of one batch item; panels of one block
    of k lie together, ``a_advance`` bytes from those of the next.

    Consts: pointers to A and to the packed panels, then LEFT_SLOTS, then the batch table.
    """

    dtype: str
    layout: str
    tile: Tile

    @property
    def key(self) -> str:
        return f"gemmpackleft|{self.dtype}|{self.layout}|{self.tile.name}"

    def emit(self, module: Module, name: str) -> None:
        tile, element = self.tile, self.tile.element(self.dtype)
        pack = pack_a(module, tile, element, self.layout)
        kernel = Kernel(module, name)
        f = kernel.f
        source, target = kernel.pointer(0), kernel.pointer(2)
        slot = {n: kernel.const(4 + position) for position, n in enumerate(LEFT_SLOTS)}
        row, col = (f.mul(slot[n], i64(element.size)) for n in ("a_row", "a_col"))
        k_block = f.op("urem", kernel.task, slot["k_blocks"])
        rest = f.op("udiv", kernel.task, slot["k_blocks"])
        k0 = f.mul(k_block, slot["kc"])
        row0 = f.mul(f.op("urem", rest, slot["m_blocks"]), slot["mc"])
        batch = f.op("udiv", rest, slot["m_blocks"])
        offsets = batch_offsets(kernel, slot["table"], slot["dims"], batch, 2)
        source = f.gep(f.gep(source, offsets[0]), f.add(f.mul(k0, col), f.mul(row0, row)))
        panel = f.mul(f.op("udiv", row0, i64(tile.rows)), i64(tile.a_panel * tile.itemsize))
        inside = f.add(f.mul(k_block, slot["a_advance"]), panel)
        target = f.gep(f.gep(target, offsets[1]), inside)
        rows = f.min(f.sub(slot["m"], row0), slot["mc"])
        depth = f.min(f.sub(slot["k"], k0), slot["kc"])
        f.call(pack, "void", source, row, col, rows, depth, target)
        f.ret()
