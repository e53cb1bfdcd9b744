"""The correlation (gradient of the weights): patches are the right operand, positions are summed.

The positions are cut into chunks whose number depends on sizes alone.  Each element of a chunk
is one chain of FMAs; a second kernel adds the chunks one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx.backend.llvm.convolution.forward import Tiled
from mlx.backend.llvm.convolution.patches import BLOCK, tile_of_patches
from mlx.backend.llvm.convolution.stretches import STRETCH, Stretch, following_stretch
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.pack import pack_a, pack_b
from mlx.backend.llvm.gemm.tile import ROW, UNIT_COL
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64

SLOTS = (
    "x_base", "x_offset", "y_base", "y_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "b_scratch", "c_scratch", "c_stride", "m", "mc", "m_blocks", "n_blocks",
    "x_group", "y_group", "y_row", "y_place", "pitch", "places", "chunks", "place",
    "blocks", "k", "kc", "patches", "b_panel", "stretches",
)  # fmt: skip
"""``k`` is the size of a chunk, ``kc`` that of its blocks; ``place`` and ``blocks`` are slots.
``patches``: where in scratch these lie, which with pairs are then packed into panels;
``stretches``: the slot of a table of each block's positions (see ``stretches``)."""


@dataclass(frozen=True)
class CorrelationSpec:
    """A kernel for operands of a dtype, a layout of y as (O, positions), and an epilogue."""

    dtype: str
    layout: str
    accumulate: str
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return f"correlate|{self.dtype}|{self.layout}|{self.accumulate}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        _Correlation(self, module, name).emit()


class _Correlation(Tiled):
    names = SLOTS
    by_rows = False

    def __init__(self, spec: CorrelationSpec, module: Module, name: str) -> None:
        tile = tile_of_patches(spec.dtype, spec.accumulate)
        super().__init__(spec, module, name, tile, tile.a_format(spec.layout))
        self.pack_a = pack_a(module, self.tile, self.a, spec.layout)
        self.pack_b = pack_b(module, self.tile, self.b, UNIT_COL) if self.tile.pairs else ""

    def emit(self) -> None:
        f = self.f
        scratch, state = self.begin()
        task = self.kernel.task
        parts = []
        for name in ("n_blocks", "m_blocks", "chunks"):
            parts.append(f.op("urem", task, self.slot(name)))
            task = f.op("udiv", task, self.slot(name))
        n_block, m_block, chunk = parts
        index = f.add(f.mul(task, self.slot("chunks")), chunk)
        context = self.spec.epilogue.batch(self.kernel, state, index)
        runs, count, col0, cols = self.entry(self.table("blocks"), n_block, BLOCK)
        runs = f.gep(self.kernel.consts, runs, "i64")
        row0 = f.mul(m_block, self.slot("mc"))
        rows = f.min(f.sub(self.slot("m"), row0), self.slot("mc"))
        x = f.gep(self.address("x"), f.mul(task, self.slot("x_group")))
        y = f.gep(self.address("y"), f.mul(task, self.slot("y_group")))
        y = f.gep(y, f.mul(row0, self.slot("y_row")))
        first = f.mul(chunk, self.slot("k"))
        end = f.min(f.add(first, self.slot("k")), self.slot("places"))
        at_least_one = f.select(f.icmp("sgt", end, first), end, f.add(first, i64(1)))
        stretch = Stretch(*self.entry(self.table("stretches"), n_block, STRETCH))
        loop = f.loop(first, at_least_one, self.slot("kc"))
        patches, pitch = f.gep(scratch, self.slot("patches")), self.slot("pitch")
        left = y, rows, scratch
        depth, following = self._gather(loop.index, end, stretch, (x, runs, count, patches), left)
        right = (patches, pitch, self.slot("b_panel"))
        if self.pack_b:
            b = f.gep(scratch, self.slot("b_scratch"))
            f.call(self.pack_b, "void", patches, i64(self.b.size), pitch, cols, depth, b,
                   self.slot("b_panel"))  # fmt: skip
            right = (b, i64(self.tile.b_row), self.slot("b_panel"))
        more = f.icmp("ne", loop.index, first)
        last = f.icmp("sge", following, end)
        steps = f.op("udiv", f.add(depth, i64(self.tile.step - 1)), i64(self.tile.step))
        self.all_tiles(scratch, right, steps, context, (row0, rows, col0, cols), (more, last))
        loop.step = f.sub(following, loop.index)
        f.end_loop(loop)
        self.end()

    def _gather(
        self, first: Value, end: Value, stretch: Stretch, right: Sequence[Value],
        left: Sequence[Value],
    ) -> tuple[Value, Value]:  # fmt: skip
        """Pack a block of positions from ``first`` on, those that see something; returns their
        number and the position behind."""
        f, kc, place = self.f, self.slot("kc"), self.slot("y_place")
        (x, runs, count, patches), (y, rows, scratch) = right, left
        loop = f.loop(first, end, i64(1), [first, i64(0)])
        filled = loop.values[1]
        at, number, behind = following_stretch(f, stretch, loop.index, end, f.sub(kc, filled))

        def pack() -> None:
            to = f.gep(patches, f.mul(filled, self.slot("pitch")))
            f.call(self.patches, "void", x, self.table("place"), runs, count, at, number, to,
                   self.slot("pitch"))  # fmt: skip
            source = f.gep(y, f.mul(at, place))
            f.call(self.pack_a, "void", source, self.slot("y_row"), place, rows, number,
                   f.gep(scratch, self._packed_before(filled)))  # fmt: skip

        f.where(f.icmp("sgt", number, i64(0)), pack)
        filled = f.add(filled, number)
        more = f.icmp("slt", filled, kc)
        loop.step = f.sub(f.select(more, behind, end), loop.index)
        following, filled = f.end_loop(loop, [behind, filled])
        return filled, f.max(following, f.add(first, i64(1)))

    def _packed_before(self, count: Value) -> Value:
        """Bytes of so many packed positions of y."""
        tile = self.tile
        each = tile.itemsize * (1 if self.a_format == ROW else tile.rows * tile.planes)
        return self.f.mul(self.f.op("udiv", count, i64(tile.step)), i64(each))
