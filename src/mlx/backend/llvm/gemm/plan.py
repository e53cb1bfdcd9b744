"""From operands to commands: which kernel, which blocks, how much scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import prepack
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.few import is_few, plan_few
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, batch_table, round_up
from mlx.backend.llvm.gemm.plan_vector import plan_vector
from mlx.backend.llvm.gemm.small import is_small, plan_small
from mlx.backend.llvm.gemm.tile import Tile, tile_of_product

_ROWS, _COLS = 256, 256
_LEAST = 1 << 20  # multiplications of a task: about 20 us
_SHARED_FROM = 3  # tasks that read the same columns of B: from here on it is packed but once
_PACK_COLS = 256
_SMALL = 1 << 17  # bytes of an operand that stays in the second-level cache
_NEAR = 1 << 22  # and of one that is likely to be in some cache


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
    if m == 1 or n == 1:
        return plan_vector(a, b, m, n, k, batch, epilogue, accumulate, scratch, workers)
    if is_small(a, b, m, n, k, prod(batch), accumulate):
        return plan_small(a, b, m, n, k, batch, epilogue, accumulate, scratch, workers)
    if is_few(a, b, m, n, k, accumulate):
        return plan_few(a, b, m, n, k, batch, epilogue, accumulate, scratch, workers)
    return BlockedProblem(a, b, m, n, k, batch, accumulate, workers).commands(epilogue, scratch)


def _blocks(tile: Tile, m: int, n: int, k: int, items: int, workers: int) -> tuple[int, int]:
    """Rows and columns of a task's block of C: four tasks a worker, unless they get too small."""

    def even(size: int, limit: int, step: int) -> int:
        return round_up(-(-size // -(-size // limit)), step)

    mc, nc = even(m, _ROWS, tile.rows), even(n, _COLS, tile.cols)
    wanted = 4 * workers if workers > 1 else 1
    while items * -(-m // mc) * -(-n // nc) < wanted and mc * nc * k >= 2 * _LEAST:
        if mc >= nc and mc > 2 * tile.rows:
            mc = round_up(mc // 2, tile.rows)
        elif nc > 2 * tile.cols:
            nc = round_up(nc // 2, tile.cols)
        else:
            break
    return mc, nc


@dataclass(frozen=True, slots=True)
class Geometry:
    """What follows from sizes alone: blocks, and bytes of panels and of a worker's scratch."""

    mc: int
    nc: int
    kc: int
    m_blocks: int
    n_blocks: int
    shared: bool
    b_panel: int
    b_scratch: int
    c_scratch: int
    c_stride: int
    scratch: int
    packed_item: int


def geometry(
    tile: Tile, m: int, n: int, k: int, items: int, workers: int, step: int = 1, share: bool = True
) -> Geometry:
    """``step``: columns of a block are a multiple of it; ``share``: B may be packed but once."""
    mc, nc = _blocks(tile, m, n, k, items, workers)
    nc = round_up(nc, step)
    kc = min(tile.block_depth * tile.step, max(k, 1))
    m_blocks, n_blocks = -(-m // mc), -(-n // nc)
    shared = share and m_blocks >= _SHARED_FROM
    steps = -(-(k if shared else kc) // tile.step)
    b_panel = max(round_up(steps, tile.lanes), tile.lanes) * tile.b_row
    a_elements = -(-mc // tile.rows) * tile.a_panel + tile.lanes
    a_bytes = round_up(a_elements * tile.itemsize, 64)
    b_bytes = 0 if shared else -(-nc // tile.cols) * b_panel
    c_tile = tile.c_tile * tile.itemsize
    tiles = 1 if k <= kc else -(-mc // tile.rows) * -(-nc // tile.cols)
    return Geometry(
        mc, nc, kc, m_blocks, n_blocks, shared, b_panel,
        b_scratch=a_bytes,
        c_scratch=a_bytes + b_bytes,
        c_stride=0 if k <= kc else c_tile,
        scratch=round_up(a_bytes + b_bytes + tiles * c_tile, 4096) + 256,
        packed_item=-(-n // tile.cols) * b_panel,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BlockedProblem:
    a: Matrix
    b: Matrix
    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    accumulate: str
    workers: int

    def commands(self, epilogue: Epilogue, scratch: Callable[[int], Pointer]) -> list[Command]:
        tile = tile_of_product(self.a.dtype, self.b.dtype, self.accumulate)
        items = prod(self.batch)
        g = geometry(tile, self.m, self.n, self.k, items, self.workers)
        if not g.shared:
            none = [0] * len(self.batch)
            return [self._product(tile, g, items, Pointer(0), none, epilogue, scratch)]
        strides, packed_items = self._packed_strides(g.packed_item)
        place = scratch(packed_items * g.packed_item)
        product = self._product(tile, g, items, place, strides, epilogue, scratch)
        return [self._pack(tile, g.b_panel, strides, packed_items, place), product]

    def _direct_b(self, tile: Tile, mc: int) -> bool:
        """Whether B is better read where it lies: small and dense, or near and for few rows.

        From memory, whole rows stream better than the columns of a panel do.
        """
        size = SIZES[self.b.dtype]
        if self.k * abs(self.b.row_stride) * size <= _SMALL:
            return mc <= 8 * tile.rows
        return mc <= 4 * tile.rows and self.k * self.n * size <= _NEAR

    def _direct_a(self, tile: Tile) -> bool:
        """Whether A is better read where it lies: it is small, or one panel of columns reads it
        but once; and its rows don't fall on the same cache lines."""
        pitch = abs(self.a.row_stride) * SIZES[self.a.dtype]
        small = self.m * pitch <= 2 * _SMALL and pitch % 2048 != 0
        once = self.n <= tile.cols and pitch % 4096 != 0
        return (small or once) and self.k % tile.k_unit == 0

    def _packed_strides(self, item_bytes: int) -> tuple[list[int], int]:
        """Batch strides of the packed B in bytes (0 where B is broadcast), and its items."""
        strides, items = [], 1
        for size, stride in zip(reversed(self.batch), reversed(self.b.batch_strides), strict=True):
            strides.append(items * item_bytes if stride else 0)
            items *= size if stride else 1
        return strides[::-1], items

    def _pack(
        self, tile: Tile, b_panel: int, strides: list[int], items: int, place: Pointer
    ) -> Command:
        b, size, kc = self.b, SIZES[self.b.dtype], tile.block_depth * tile.step
        n_blocks, k_blocks = -(-self.n // _PACK_COLS), max(-(-self.k // kc), 1)
        kept = [i for i, stride in enumerate(strides) if stride]
        table = batch_table(
            [self.batch[i] for i in kept],
            [b.batch_strides[i] * size for i in kept],
            [strides[i] for i in kept],
        )
        head = [
            *b.pointer.consts, *place.consts, self.n, self.k, b.row_stride, b.col_stride,
            _PACK_COLS, kc, n_blocks, k_blocks, b_panel, 4 + len(prepack.SLOTS), len(kept),
        ]  # fmt: skip
        return Command(
            prepack.PrepackSpec(b.dtype, b.layout, tile),
            [*head, *table],
            items * n_blocks * k_blocks,
            "gemm pack",
            items * self.n * self.k * size * 2,
        )

    def head(
        self, tile: Tile, g: Geometry, place: Pointer, direct_b: bool,
        scratch: Callable[[int], Pointer],
    ) -> list[int]:  # fmt: skip
        """The consts up to the batch table's, in the order of SLOTS."""
        a, b = self.a, self.b
        return [
            *a.pointer.consts, *b.pointer.consts, *scratch(g.scratch * self.workers).consts,
            g.scratch, g.b_scratch, g.c_scratch, g.c_stride, self.m, self.n, self.k,
            a.row_stride, a.col_stride, b.row_stride, b.col_stride, g.mc, g.nc, g.kc,
            g.m_blocks, g.n_blocks, g.b_panel, tile.block_depth * tile.b_row if g.shared else 0,
            int(self._direct_a(tile)), int(direct_b), int(g.shared), *place.consts,
        ]  # fmt: skip

    def _product(
        self, tile: Tile, g: Geometry, items: int, place: Pointer, packed: list[int],
        epilogue: Epilogue, scratch: Callable[[int], Pointer],
    ) -> Command:  # fmt: skip
        """``place`` and ``packed``: where a shared B lies packed, and its batch strides there."""
        a, b, m, n, k = self.a, self.b, self.m, self.n, self.k
        a_size, b_size = SIZES[a.dtype], SIZES[b.dtype]
        extra = list(epilogue.consts)
        direct_b = not g.shared and self._direct_b(tile, g.mc)
        head = [
            *self.head(tile, g, place, direct_b, scratch), len(SLOTS) + len(extra), len(self.batch)
        ]  # fmt: skip
        table = batch_table(
            self.batch,
            [s * a_size for s in a.batch_strides],
            [s * b_size for s in b.batch_strides],
            packed,
        )
        return Command(
            BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, self.accumulate, epilogue),
            [*head, *extra, *table],
            items * g.m_blocks * g.n_blocks,
            "gemm",
            items * (m * k * a_size + k * n * b_size),
            2 * items * m * n * k * (4 if tile.planes == 2 else 1),
        )
