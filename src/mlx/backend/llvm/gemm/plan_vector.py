"""The commands of a matrix-vector product (M = 1 or N = 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import combine, vector
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, Product, batch_table, round_up
from mlx.backend.llvm.gemm.tile import UNIT_ROW, tile_for


def plan_vector(p: Product) -> list[Command]:
    """As ``plan_gemm``, for M = 1 or N = 1."""
    left = p.m == 1
    w, x, outputs = (p.b.transposed, p.a.transposed, p.n) if left else (p.a, p.b, p.m)
    row, epilogue = left, p.epilogue
    if not row and hasattr(epilogue, "swapped"):
        row, epilogue = True, epilogue.swapped()
    place = _Vector(w, x, left, row, outputs, p.k, p.batch, p.accumulate, p.workers)
    if p.k <= vector.CHUNK:
        return [place.product(epilogue, p.scratch, 1, row)]
    return place.in_chunks(epilogue, p.scratch)


@dataclass(frozen=True, slots=True)
class _Vector:
    """One matrix-vector problem: ``w`` has a row for each output, ``x`` is a column."""

    w: Matrix
    x: Matrix
    x_left: bool
    row: bool
    outputs: int
    k: int
    batch: tuple[int, ...]
    accumulate: str
    workers: int

    def _block(self, items: int) -> int:
        """Outputs of a task: enough tasks for all workers, yet no tiny ones."""
        # The column-major form reads rows of a block: the longer, the better memory streams.
        tasks, least = (2, 256) if self.w.layout == UNIT_ROW else (4, 32)
        share = -(-self.outputs * items // (tasks * self.workers))
        least = max(least, 16_384 // max(self.k, 1))
        block = min(max(share, least), vector.MAX_BLOCK)
        blocks = -(-self.outputs // block)
        if self.w.layout == UNIT_ROW:  # few large tasks: as many for each worker
            blocks = round_up(blocks * items, min(self.workers, blocks)) // items
        return round_up(-(-self.outputs // blocks), 32)

    def _together(self, items: int) -> int:
        """Items of a task where a task has all outputs of an item: more where those are few."""
        least = max(1, 16_384 // max(self.outputs * self.k, 1))
        return min(least, -(-items // (4 * self.workers)))

    def product(
        self, epilogue: Epilogue, scratch: Callable[[int], Pointer], chunks: int, row: bool
    ) -> Command:
        """The first kernel; several chunks are the innermost batch dimension."""
        w, x = self.w, self.x
        spec = vector.VectorSpec(
            w.dtype, w.layout, x.dtype, x.row_stride == 1, self.accumulate, self.x_left,
            row, epilogue,
        )  # fmt: skip
        batch, w_strides, x_strides = self.batch, w.batch_strides, x.batch_strides
        if chunks > 1:
            batch = (*batch, chunks)
            w_strides = (*w_strides, w.col_stride * vector.CHUNK)
            x_strides = (*x_strides, x.row_stride * vector.CHUNK)
        items = prod(batch)
        block = self._block(items)
        blocks = -(-self.outputs // block)
        together = self._together(items) if blocks == 1 else 1
        w_size, x_size = SIZES[w.dtype], SIZES[x.dtype]
        table = batch_table(batch, [s * w_size for s in w_strides], [s * x_size for s in x_strides])
        extra = list(epilogue.consts)
        stride = round_up(spec.scratch_bytes(), 64)
        head = [
            *w.pointer.consts, *x.pointer.consts, *scratch(stride * self.workers).consts, stride,
            self.outputs, self.k, chunks, w.row_stride, w.col_stride, x.row_stride, block, blocks,
            len(vector.SLOTS) + len(extra), len(batch), together, items,
        ]  # fmt: skip
        tasks = -(-items // together) * blocks
        total = prod(self.batch) * self.outputs * self.k
        return Command(spec, [*head, *extra, *table], tasks, "gemv", total * w_size, 2 * total)

    def in_chunks(self, epilogue: Epilogue, scratch: Callable[[int], Pointer]) -> list[Command]:
        """Sums of chunks to scratch, then added pairwise by a second kernel."""
        tile = tile_for(self.accumulate)
        chunks, items = -(-self.k // vector.CHUNK), prod(self.batch)
        pitch = round_up(self.outputs, tile.lanes)
        place = scratch(items * chunks * pitch * SIZES[self.accumulate])
        sums = combine.SumsEpilogue(place, pitch)
        block = round_up(min(self.outputs, 256), tile.lanes)
        blocks = -(-self.outputs // block)
        head = [
            *place.consts,
            self.outputs,
            pitch,
            chunks,
            (chunks - 1).bit_length(),
            block,
            blocks,
        ]
        spec = combine.CombineSpec(self.accumulate, self.row, epilogue)
        second = Command(spec, [*head, *epilogue.consts], items * blocks, "gemv")
        return [self.product(sums, scratch, chunks, True), second]
