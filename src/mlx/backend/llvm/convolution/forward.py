"""The convolution: a task packs the patches of its positions and multiplies them by panels of
weights that a command before it packed.

Each element is one chain of FMAs over taps and channels, in the order of geometry.runs_of,
whatever the blocks, the tile and the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.convolution.patches import BLOCK, pack_patches, tile_of_patches
from mlx.backend.llvm.gemm import amx
from mlx.backend.llvm.gemm.blocked import Blocked
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.tile import ROW, Tile, tile_for
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64

SLOTS = (
    "x_base", "x_offset", "packed_base", "packed_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "c_scratch", "c_stride", "m", "n", "mc", "nc", "m_blocks", "n_blocks",
    "x_group", "packed_group", "b_panel", "place", "blocks", "k", "kc",
)  # fmt: skip
"""``k`` is the number of blocks of k, each of ``kc`` = 1; ``place`` and ``blocks`` are slots."""
EPILOGUE_SLOT = len(SLOTS)


@dataclass(frozen=True)
class ConvolutionSpec:
    """A kernel for operands of a dtype and an epilogue; ``pairs``: by a tile of pairs."""

    dtype: str
    accumulate: str
    epilogue: Epilogue
    pairs: bool

    @property
    def key(self) -> str:
        pairs = "pairs" if self.pairs else ""
        return f"conv|{self.dtype}|{self.accumulate}|{pairs}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        _Convolution(self, module, name).emit()


class Tiled(Blocked):
    """What kernels over packed patches share with the blocked product: tiles and epilogues."""

    names: tuple[str, ...]
    by_rows: bool
    """Whether tiles are walked row of tiles by row of tiles, or column by column."""

    def __init__(self, spec: Any, module: Module, name: str, tile: Tile, a_format: str) -> None:
        self.spec, self.module, self.tile = spec, module, tile
        self.a = self.b = self.tile.element(spec.dtype)
        self.a_format = a_format
        self.patches = pack_patches(module, self.tile, self.a)
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f

    def slot(self, name: str) -> Value:
        return self.kernel.const(self.names.index(name))

    @property
    def first_col(self) -> Value:
        return i64(0)

    def address(self, name: str) -> Value:
        return self.kernel.pointer(self.names.index(name + "_base"))

    def table(self, name: str) -> Value:
        """The address of a table among the consts."""
        return self.f.gep(self.kernel.consts, self.slot(name), "i64")

    def entry(self, table: Value, index: Value, count: int) -> list[Value]:
        f = self.f
        start = f.gep(table, f.mul(index, i64(count)), "i64")
        return [f.load(f.gep(start, i64(i), "i64"), "i64", 8) for i in range(count)]

    def begin(self) -> tuple[Value, Any]:
        """This worker's scratch, and the epilogue's state."""
        f, kernel = self.f, self.kernel
        for name in self.names:
            self.slot(name)
        self.k = self.slot("k")
        scratch = f.gep(self.address("scratch"), f.mul(kernel.worker, self.slot("scratch_stride")))
        if self.tile.amx:
            amx.configure(f)
        return scratch, self.spec.epilogue.begin(kernel, len(self.names))

    def end(self) -> None:
        """Return from the kernel."""
        if self.tile.amx:
            amx.release(self.f)
        self.f.ret()

    def all_tiles(
        self, scratch: Value, right: tuple[Value, Value, Value], depth: Value, context: Any,
        block: Sequence[Value], chain: tuple[Value, Value],
    ) -> None:  # fmt: skip
        """All tiles of the task's block, over one block of k.

        A lies at the start of scratch; ``right``: where B starts, the bytes between its rows and
        from the columns of one tile to those of the next.
        """
        f, tile, (row0, rows, col0, cols) = self.f, self.tile, block
        b, b_pitch, b_step = right
        along = [(rows, tile.rows, scratch, i64(tile.a_panel * tile.itemsize)),
                 (cols, tile.cols, b, b_step)]  # fmt: skip
        if not self.by_rows:
            along.reverse()
        (count, step, start, outer_move), (count2, step2, start2, inner_move) = along
        outer = f.loop(i64(0), count, i64(step), [start, f.gep(scratch, self.slot("c_scratch"))])
        inner = f.loop(i64(0), count2, i64(step2), [start2, outer.values[1]])
        c_tile = inner.values[1]
        places = [(outer.index, outer.values[0]), (inner.index, inner.values[0])]
        (row, left), (col, panel) = places if self.by_rows else places[::-1]
        height = f.min(f.sub(rows, row), i64(tile.rows))
        width = f.min(f.sub(cols, col), i64(tile.cols))
        at = (f.add(row0, row), f.add(col0, col))
        operands = [left, i64(tile.row_pitch * tile.itemsize), panel, b_pitch, depth]
        self.multiply(operands, c_tile, context, at, (height, width), chain)
        following = f.gep(c_tile, self.slot("c_stride"))
        _, c_row = f.end_loop(inner, [f.gep(inner.values[0], inner_move), following])
        f.end_loop(outer, [f.gep(outer.values[0], outer_move), c_row])


class _Convolution(Tiled):
    names = SLOTS
    by_rows = True

    def __init__(self, spec: ConvolutionSpec, module: Module, name: str) -> None:
        paired = tile_of_patches(spec.dtype, spec.accumulate)
        tile = paired if spec.pairs else tile_for(spec.accumulate)
        super().__init__(spec, module, name, tile, ROW)

    def emit(self) -> None:
        f = self.f
        scratch, state = self.begin()
        group, *block = self._block(state)
        row0, rows, col0, _ = block
        context = self.spec.epilogue.batch(self.kernel, state, group)
        x = f.gep(self.address("x"), f.mul(group, self.slot("x_group")))
        packed = f.gep(self.address("packed"), f.mul(group, self.slot("packed_group")))
        panel = f.op("udiv", col0, i64(self.tile.cols))
        packed = f.gep(packed, f.mul(panel, self.slot("b_panel")))
        loop = f.loop(i64(0), self.slot("k"), i64(1))
        runs, count, start, depth = self.entry(self.table("blocks"), loop.index, BLOCK)
        pitch = i64(self.tile.row_pitch * self.tile.itemsize)
        runs = f.gep(self.kernel.consts, runs, "i64")
        f.call(self.patches, "void", x, self.table("place"), runs, count, row0, rows, scratch,
               pitch)  # fmt: skip
        more = f.icmp("ne", loop.index, i64(0))
        last = f.icmp("eq", f.add(loop.index, i64(1)), self.slot("k"))
        right = f.gep(packed, f.mul(start, i64(self.tile.b_row)))
        panels = (right, i64(self.tile.b_row), self.slot("b_panel"))
        self.all_tiles(scratch, panels, depth, context, block, (more, last))
        f.end_loop(loop)
        self.end()
