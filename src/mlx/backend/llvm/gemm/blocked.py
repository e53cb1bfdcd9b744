"""The blocked product: a task owns one block of C and packs what it needs by itself.

For each block of k the task packs its rows of A and its columns of B into the worker's own
scratch (second-level cache) and runs the micro-kernel over all tiles; tiles of C stay in
scratch until the last block of k, whose tiles go through the epilogue.  A B that many tasks
share is packed as a whole by a command of its own.  Each element is one chain of FMAs over k,
whatever the blocks, the tile and the number of workers.
"""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm import amx
from mlx.backend.llvm.gemm.operand import Epilogue, batch_offsets, item_of
from mlx.backend.llvm.gemm.pack import pack_a, pack_b
from mlx.backend.llvm.gemm.tile import UNIT_COL, Tile, tile_of_product
from mlx.backend.llvm.gemm.tiles import Tiles
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, i64
from mlx.base.frozen import dataclass

SLOTS = (
    "a_base", "a_offset", "b_base", "b_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "b_scratch", "c_scratch", "c_stride", "m", "n", "k",
    "a_row", "a_col", "b_row", "b_col", "mc", "nc", "kc", "m_blocks", "n_blocks",
    "first_col", "b_panel", "b_advance", "direct_a", "direct_b", "shared", "shared_base",
    "shared_offset", "table", "dims",
)  # fmt: skip


@dataclass(frozen=True)
class BlockedSpec:
    """A kernel for operands of these dtypes and layouts and this epilogue."""

    a_dtype: str
    a_layout: str
    b_dtype: str
    b_layout: str
    accumulate: str
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return (
            f"gemm|{self.a_dtype}|{self.a_layout}|{self.b_dtype}|{self.b_layout}|"
            f"{self.accumulate}|{self.epilogue.key}"
        )

    def emit(self, module: Module, name: str) -> None:
        Blocked(self, module, name).emit()


@dataclass(frozen=True)
class Depth:
    """One block of k: how deep, whether others came before it, whether it is the last; where
    its operands start."""

    depth: Value
    more: Value
    last: Value
    a: Value
    b: Value
    b_packed: Value
    start: Value


class Blocked(Tiles):
    slots: tuple[str, ...] = SLOTS
    batched = 3
    """Operands with batch strides: A, B and packed panels of B."""
    k: Value
    """How many products make an element of this task's block."""

    def __init__(self, spec: BlockedSpec, module: Module, name: str) -> None:
        self.spec, self.module = spec, module
        self.tile: Tile = tile_of_product(spec.a_dtype, spec.b_dtype, spec.accumulate)
        self.a = self.tile.element(spec.a_dtype)
        self.b = self.tile.element(spec.b_dtype, right=True)
        self.a_format = self.tile.a_format(spec.a_layout)
        self.pack_a = pack_a(module, self.tile, self.a, spec.a_layout)
        self.pack_b = self.packer()
        self.kernel = Kernel(module, name)
        self.f: Function = self.kernel.f

    def packer(self) -> str:
        """The name of the function that packs B."""
        return pack_b(self.module, self.tile, self.b, self.spec.b_layout)

    @property
    def can_read_a(self) -> bool:
        """Whether the micro-kernel could read A where it lies."""
        corrected = self.tile.dots is not None and self.tile.dots.correct != 0
        return self.a.as_it_lies and not corrected and self.spec.a_layout == UNIT_COL

    @property
    def can_read_b(self) -> bool:
        """Whether the micro-kernel could read B where it lies."""
        as_packed = self.b.dtype == self.b.accumulate != "complex64"
        return as_packed and self.spec.b_layout == UNIT_COL

    def slot(self, name: str) -> Value:
        return self.kernel.const(self.slots.index(name))

    @property
    def first_col(self) -> Value:
        """The first column that this command computes."""
        return self.slot("first_col")

    def pointer(self, name: str) -> Value:
        return self.kernel.pointer(self.slots.index(name + "_base"))

    def emit(self) -> None:
        f, kernel = self.f, self.kernel
        for name in self.slots:
            self.slot(name)
        a, b, scratch = (self.pointer(p) for p in ("a", "b", "scratch"))
        scratch = f.gep(scratch, f.mul(kernel.worker, self.slot("scratch_stride")))
        state = self.spec.epilogue.begin(kernel, len(self.slots))
        strides = {
            name: f.mul(self.slot(name), i64((self.a if name[0] == "a" else self.b).size))
            for name in ("a_row", "a_col", "b_row", "b_col")
        }
        batch, row0, rows, col0, cols = self._block(state)
        table, dims = self.slot("table"), self.slot("dims")
        self.offsets = offsets = batch_offsets(kernel, table, dims, batch, self.batched)
        a, b = f.gep(a, offsets[0]), f.gep(b, offsets[1])
        start, self.k = self._along(batch)
        a = f.gep(a, f.add(f.mul(row0, strides["a_row"]), f.mul(start, strides["a_col"])))
        b = f.gep(b, f.mul(start, strides["b_row"]))
        b = f.gep(b, f.mul(col0, strides["b_col"]))
        context = self.spec.epilogue.batch(kernel, state, batch)
        b_packed = self._packed(scratch, offsets[2], col0)
        k, kc = self.k, self.slot("kc")
        at_least_one = f.select(f.icmp("sgt", k, i64(1)), k, i64(1))
        if self.tile.amx:
            amx.configure(f)
        block = f.loop(i64(0), at_least_one, kc, [a, b, b_packed])
        a, b, b_packed = block.values
        depth = f.min(f.sub(k, block.index), kc)
        more = f.icmp("ne", block.index, i64(0))
        last = f.icmp("sge", f.add(block.index, kc), k)
        part = Depth(depth, more, last, a, b, b_packed, block.index)
        self._tiles(part, strides, scratch, context, (row0, rows, col0, cols))
        moved = [
            f.gep(a, f.mul(kc, strides["a_col"])),
            f.gep(b, f.mul(kc, strides["b_row"])),
            f.gep(b_packed, self.slot("b_advance")),
        ]
        f.end_loop(block, moved)
        if self.tile.amx:
            amx.release(f)
        f.ret()

    def _tiles(
        self,
        part: Depth,
        strides: dict[str, Value],
        scratch: Value,
        context: Any,
        block: tuple[Value, Value, Value, Value],
    ) -> None:
        """All tiles of the task's block, over one block of k."""
        f, depth, (row0, rows, col0, cols) = self.f, part.depth, block
        a, b, b_packed = part.a, part.b, part.b_packed
        direct_rows = self._pack_a(a, strides, rows, depth, scratch)
        direct_cols = self._pack_b(part, strides, col0, cols)
        c = f.gep(scratch, self.slot("c_scratch"))
        steps = f.op("udiv", f.add(depth, i64(self.tile.step - 1)), i64(self.tile.step))
        row = f.loop(i64(0), rows, i64(self.tile.rows), [scratch, c])
        a_panel, c_row = row.values
        height = f.min(f.sub(rows, row.index), i64(self.tile.rows))
        left, left_pitch = self._left(a, strides, row.index, direct_rows, a_panel)
        col = f.loop(i64(0), cols, i64(self.tile.cols), [b_packed, c_row])
        b_panel, c_tile = col.values
        width = f.min(f.sub(cols, col.index), i64(self.tile.cols))
        right, pitch = self._right(b, strides, col.index, direct_cols, b_panel)
        at = (f.add(row0, row.index), f.add(col0, col.index))
        operands = [left, left_pitch, right, pitch, steps]
        chain = part.more, part.last
        self.multiply(operands, c_tile, context, at, (height, width), chain)
        next_tile = [f.gep(b_panel, self.slot("b_panel")), f.gep(c_tile, self.slot("c_stride"))]
        _, c_row = f.end_loop(col, next_tile)
        a_next = f.gep(a_panel, i64(self.tile.a_panel * self.tile.itemsize))
        f.end_loop(row, [a_next, c_row])

    def _block(self, state: Any) -> tuple[Value, Value, Value, Value, Value]:
        """The task's batch index, and first row, rows, first column and columns of its block."""
        f = self.f
        n_block = f.op("urem", self.kernel.task, self.slot("n_blocks"))
        rest = f.op("udiv", self.kernel.task, self.slot("n_blocks"))
        m_block = f.op("urem", rest, self.slot("m_blocks"))
        item = f.op("udiv", rest, self.slot("m_blocks"))
        epilogue, before = self.spec.epilogue, f.mul(m_block, self.slot("mc"))
        batch, first, count = item_of(self.kernel, epilogue, state, item, self.slot("m"))
        row0 = f.add(first, before)
        col0 = f.add(f.mul(n_block, self.slot("nc")), self.first_col)
        rows = f.min(f.sub(count, before), self.slot("mc"))
        cols = f.min(f.sub(self.slot("n"), col0), self.slot("nc"))
        return batch, row0, rows, col0, cols

    def _along(self, batch: Value) -> tuple[Value, Value]:
        """Where along k a batch item starts, and its depth."""
        return i64(0), self.slot("k")

    def _packed(self, scratch: Value, item: Value, col0: Value) -> Value:
        """Where this task's panels of B are or will be."""
        f = self.f
        own = f.gep(scratch, self.slot("b_scratch"))
        shared = f.gep(self.pointer("shared"), item)
        panel = f.op("udiv", f.sub(col0, self.first_col), i64(self.tile.cols))
        shared = f.gep(shared, f.mul(panel, self.slot("b_panel")))
        return f.select(f.icmp("ne", self.slot("shared"), i64(0)), shared, own)

    def _pack_a(
        self, a: Value, strides: dict[str, Value], rows: Value, depth: Value, packed: Value
    ) -> Value:
        """Pack A; returns how many rows are read where they lie instead.

        Those are the panels for which there is a micro-kernel of just their height.
        """
        f, tile = self.f, self.tile
        skipped = i64(0)
        if self.can_read_a:
            rest = f.op("urem", rows, i64(tile.rows))
            whole = f.select(self.has_height(rest), rows, f.sub(rows, rest))
            skipped = f.select(f.icmp("ne", self.slot("direct_a"), i64(0)), whole, i64(0))
        panels = f.op("udiv", skipped, i64(tile.rows))
        f.call(
            self.pack_a, "void", f.gep(a, f.mul(skipped, strides["a_row"])), strides["a_row"],
            strides["a_col"], f.sub(rows, skipped), depth,
            f.gep(packed, f.mul(panels, i64(tile.a_panel * tile.itemsize))),
        )  # fmt: skip
        return skipped

    def _left(
        self, a: Value, strides: dict[str, Value], row: Value, direct_rows: Value, panel: Value
    ) -> tuple[Value, Value]:
        """Where a panel of A starts and the bytes between its rows."""
        f, tile = self.f, self.tile
        packed_pitch = i64(tile.row_pitch * tile.itemsize)
        if not self.can_read_a:
            return panel, packed_pitch
        direct = f.icmp("slt", row, direct_rows)
        here = f.gep(a, f.mul(row, strides["a_row"]))
        return f.select(direct, here, panel), f.select(direct, strides["a_row"], packed_pitch)

    def _pack_b(
        self, part: Depth, strides: dict[str, Value], col0: Value, cols: Value
    ) -> Value | None:
        """Pack B if nobody did; returns how many columns are read where they lie instead."""
        f, b, packed = self.f, part.b, part.b_packed
        pitch = self.slot("b_panel")
        skipped, to, start = i64(0), packed, b
        if self.can_read_b:
            whole = f.sub(cols, f.op("urem", cols, i64(self.tile.cols)))
            skipped = f.select(f.icmp("ne", self.slot("direct_b"), i64(0)), whole, i64(0))
            start = f.gep(b, f.mul(skipped, strides["b_col"]))
            to = f.gep(packed, f.mul(f.op("udiv", skipped, i64(self.tile.cols)), pitch))
        pack, done = f.label("pack"), f.label("packed")
        f.branch_if(f.icmp("eq", self.slot("shared"), i64(0)), pack, done)
        f.start(pack)
        f.call(
            self.pack_b,
            "void",
            start,
            strides["b_col"],
            strides["b_row"],
            f.sub(cols, skipped),
            part.depth,
            to,
            pitch,
        )
        f.branch(done)
        f.start(done)
        return skipped if self.can_read_b else None

    def _right(
        self,
        b: Value,
        strides: dict[str, Value],
        col: Value,
        direct_cols: Value | None,
        panel: Value,
    ) -> tuple[Value, Value]:
        """Where a panel of B starts and the bytes between its rows."""
        f, tile = self.f, self.tile
        packed_pitch = i64(tile.b_row)
        if direct_cols is None:
            return panel, packed_pitch
        direct = f.icmp("slt", col, direct_cols)
        here = f.gep(b, f.mul(col, strides["b_col"]))
        return f.select(direct, here, panel), f.select(direct, strides["b_row"], packed_pitch)
