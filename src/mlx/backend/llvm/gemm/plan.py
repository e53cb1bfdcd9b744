"""From operands to commands: which kernel, which blocks, how much scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import combine, vector
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, batch_table
from mlx.backend.llvm.gemm.pack import UNIT_ROW
from mlx.backend.llvm.gemm.tile import Tile, tile_for

_ROWS, _COLS = 256, 256


def plan_gemm(
    a: Matrix,
    b: Matrix,
    m: int,
    n: int,
    k: int,
    batch: tuple[int, ...],
    epilogue: Epilogue,
    accumulate: str,
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The commands that compute ``a @ b`` ([batch, m, k] by [batch, k, n]) through ``epilogue``.

    ``scratch(nbytes)`` gives 64-byte aligned memory that lives as long as the commands.  The
    result doesn't depend on ``workers``.
    """
    if not (m and n and prod(batch)):
        return []
    if m > 1 and n > 1:
        return [_blocked(a, b, m, n, k, batch, epilogue, accumulate, scratch, workers)]
    w, x, outputs = (b.transposed, a.transposed, n) if m == 1 else (a, b, m)
    row = m == 1
    if not row and hasattr(epilogue, "swapped"):
        row, epilogue = True, epilogue.swapped()
    place = _Vector(w, x, m == 1, row, outputs, k, batch, accumulate, workers)
    if k <= vector.CHUNK:
        return [place.product(epilogue, scratch, 1, row)]
    return place.in_chunks(epilogue, scratch)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


@lru_cache(maxsize=4096)
def _blocks(
    tile: Tile, m: int, n: int, items: int, workers: int
) -> tuple[int, int]:
    """Rows and columns of a task's block of C."""

    def even(size: int, limit: int, step: int) -> int:
        return _round_up(-(-size // -(-size // limit)), step)

    mc, nc = even(m, _ROWS, tile.rows), even(n, _COLS, tile.cols)
    while items * -(-m // mc) * -(-n // nc) < 4 * workers:
        if mc >= nc and mc > 2 * tile.rows:
            mc = _round_up(mc // 2, tile.rows)
        elif nc > 2 * tile.cols:
            nc = _round_up(nc // 2, tile.cols)
        else:
            break
    return mc, nc


def _blocked(
    a: Matrix, b: Matrix, m: int, n: int, k: int, batch: tuple[int, ...], epilogue: Epilogue,
    accumulate: str, scratch: Callable[[int], Pointer], workers: int,
) -> Command:  # fmt: skip
    tile = tile_for(accumulate)
    spec = BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, accumulate, epilogue)
    items = prod(batch)
    mc, nc = _blocks(tile, m, n, items, workers)
    kc = min(tile.depth, max(k, 1))
    size = tile.itemsize
    b_panel = _round_up(kc, tile.lanes) * tile.cols * tile.planes * size
    a_bytes = _round_up((-(-mc // tile.rows) * tile.a_panel + tile.lanes) * size, 64)
    b_bytes = _round_up(-(-nc // tile.cols) * b_panel, 64)
    single = k <= kc
    tiles = 1 if single else -(-mc // tile.rows) * -(-nc // tile.cols)
    stride = _round_up(a_bytes + b_bytes + tiles * tile.c_tile * size, 4096) + 256
    values = {
        "scratch_stride": stride, "b_scratch": a_bytes, "c_scratch": a_bytes + b_bytes,
        "c_stride": 0 if single else tile.c_tile * size, "m": m, "n": n, "k": k,
        "a_row": a.row_stride, "a_col": a.col_stride, "b_row": b.row_stride,
        "b_col": b.col_stride, "mc": mc, "nc": nc, "kc": kc, "m_blocks": -(-m // mc),
        "n_blocks": -(-n // nc), "b_panel": b_panel, "direct": int(mc <= 4 * tile.rows),
        "dims": len(batch),
    }  # fmt: skip
    places = [*a.pointer.consts, *b.pointer.consts, *scratch(stride * workers).consts]
    values |= dict(zip(SLOTS, places, strict=False))
    extra = list(epilogue.consts)
    values["table"] = len(SLOTS) + len(extra)
    table = batch_table(
        batch,
        [s * SIZES[a.dtype] for s in a.batch_strides],
        [s * SIZES[b.dtype] for s in b.batch_strides],
    )
    return Command(
        spec,
        [*(values[name] for name in SLOTS), *extra, *table],
        items * values["m_blocks"] * values["n_blocks"],
        "gemm",
        items * (m * k * SIZES[a.dtype] + k * n * SIZES[b.dtype]),
        2 * items * m * n * k * (4 if tile.planes == 2 else 1),
    )


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
        return min(_round_up(max(share, least), 32), vector.MAX_BLOCK)

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
        w_size, x_size = SIZES[w.dtype], SIZES[x.dtype]
        table = batch_table(
            batch, [s * w_size for s in w_strides], [s * x_size for s in x_strides]
        )
        extra = list(epilogue.consts)
        stride = _round_up(spec.scratch_bytes(), 64)
        head = [
            *w.pointer.consts, *x.pointer.consts, *scratch(stride * self.workers).consts, stride,
            self.outputs, self.k, chunks, w.row_stride, w.col_stride, x.row_stride, block, blocks,
            len(vector.SLOTS) + len(extra), len(batch),
        ]  # fmt: skip
        total = prod(self.batch) * self.outputs * self.k
        return Command(
            spec, [*head, *extra, *table], items * blocks, "gemv", total * w_size, 2 * total
        )

    def in_chunks(self, epilogue: Epilogue, scratch: Callable[[int], Pointer]) -> list[Command]:
        """Sums of chunks to scratch, then added pairwise by a second kernel."""
        tile = tile_for(self.accumulate)
        chunks, items = -(-self.k // vector.CHUNK), prod(self.batch)
        pitch = _round_up(self.outputs, tile.lanes)
        place = scratch(items * chunks * pitch * SIZES[self.accumulate])
        sums = combine.SumsEpilogue(place, pitch)
        block = _round_up(min(self.outputs, 256), tile.lanes)
        blocks = -(-self.outputs // block)
        head = [*place.consts, self.outputs, pitch, chunks, (chunks - 1).bit_length(), block,
                blocks]
        spec = combine.CombineSpec(self.accumulate, self.row, epilogue)
        second = Command(spec, [*head, *epilogue.consts], items * blocks, "gemv")
        return [self.product(sums, scratch, chunks, True), second]
