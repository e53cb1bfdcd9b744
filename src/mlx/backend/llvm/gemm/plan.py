"""From operands to commands: which kernel, which blocks, how much scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from mlx.backend.llvm.abi import Command, KernelSpec, Pointer
from mlx.backend.llvm.gemm import prepack
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.few import is_few, plan_few
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, batch_table, round_up
from mlx.backend.llvm.gemm.plan_vector import plan_vector
from mlx.backend.llvm.gemm.tile import Tile, tile_of_product

_ROWS, _COLS = 256, 256
_LEAST = 1 << 20  # multiplications of a task: about 20 us
_SHARED_FROM = 3  # tasks that read the same columns of B: from here on it is packed but once
_PACK_COLS = 256
_MOST_SHARED = 1 << 24  # bytes of an A that is packed but once
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
    if is_few(b, m, n, k, accumulate):
        return plan_few(a, b, m, n, k, batch, epilogue, accumulate, scratch, workers)
    return _Blocked(a, b, m, n, k, batch, accumulate, workers).commands(epilogue, scratch)


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
class _Geometry:
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
    packed_left: int
    """Bytes of A packed, of one block of k."""
    packed_item: int
    """Bytes of one B packed."""


@lru_cache(maxsize=4096)
def _geometry(tile: Tile, m: int, n: int, k: int, items: int, workers: int) -> _Geometry:
    mc, nc = _blocks(tile, m, n, k, items, workers)
    kc = min(tile.depth * tile.step, max(k, 1))
    m_blocks, n_blocks = -(-m // mc), -(-n // nc)
    shared = m_blocks >= _SHARED_FROM
    steps = -(-(k if shared else kc) // tile.step)
    b_panel = max(round_up(steps, tile.lanes), tile.lanes) * tile.b_row
    a_elements = -(-mc // tile.rows) * tile.a_panel + tile.lanes
    a_bytes = round_up(a_elements * tile.itemsize, 64)
    b_bytes = 0 if shared else -(-nc // tile.cols) * b_panel
    c_tile = tile.c_tile * tile.itemsize
    tiles = 1 if k <= kc else -(-mc // tile.rows) * -(-nc // tile.cols)
    return _Geometry(
        mc, nc, kc, m_blocks, n_blocks, shared, b_panel,
        b_scratch=a_bytes,
        c_scratch=a_bytes + b_bytes,
        c_stride=0 if k <= kc else c_tile,
        scratch=round_up(a_bytes + b_bytes + tiles * c_tile, 4096) + 256,
        packed_left=m_blocks * -(-mc // tile.rows) * tile.a_panel * tile.itemsize,
        packed_item=-(-n // tile.cols) * b_panel,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Packed:
    """Where an operand lies packed (if ``items``), and its batch strides there in bytes."""

    place: Pointer
    strides: list[int]
    items: int = 0


@dataclass(frozen=True, slots=True)
class _Blocked:
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
        g = _geometry(tile, self.m, self.n, self.k, items, self.workers)
        before: list[Command] = []
        left = right = _Packed(Pointer(0), [0] * len(self.batch))
        if self._shares_a(tile, g):
            left = self._place(self.a, g.packed_left * max(-(-self.k // g.kc), 1), scratch)
            before.append(self._pack_left(tile, g, left))
        if g.shared:
            right = self._place(self.b, g.packed_item, scratch)
            before.append(self._pack(tile, g.b_panel, right))
        return [*before, self._product(tile, g, items, left, right, epilogue, scratch)]

    def _shares_a(self, tile: Tile, g: _Geometry) -> bool:
        """Whether A is packed but once; not a large one, for that takes as much memory again."""
        small = self.m * self.k * tile.itemsize // tile.step <= _MOST_SHARED
        return g.shared and g.n_blocks >= _SHARED_FROM and small and not self._direct_a(tile)

    def _place(self, operand: Matrix, item: int, scratch: Callable[[int], Pointer]) -> _Packed:
        """Memory for a packed operand; its batch strides in bytes, 0 where it is broadcast."""
        strides, items = [], 1
        for size, step in zip(reversed(self.batch), reversed(operand.batch_strides), strict=True):
            strides.append(items * item if step else 0)
            items *= size if step else 1
        return _Packed(scratch(items * item), strides[::-1], items)

    def _direct_b(self, tile: Tile, mc: int) -> bool:
        """Whether B is better read where it lies: small and dense, or near and for few rows.

        From memory, whole rows stream better than the columns of a panel do.
        """
        size = SIZES[self.b.dtype]
        if self.k * abs(self.b.row_stride) * size <= _SMALL:
            return mc <= 8 * tile.rows
        return mc <= 2 * tile.rows and self.k * self.n * size <= _NEAR

    def _direct_a(self, tile: Tile) -> bool:
        """Whether A is better read where it lies; rows must not fall on the same cache lines."""
        pitch = abs(self.a.row_stride) * SIZES[self.a.dtype]
        dense = self.m * pitch <= _SMALL and pitch % 2048 != 0
        return dense and self.k % tile.k_unit == 0

    def _pack(self, tile: Tile, b_panel: int, packed: _Packed) -> Command:
        b, kc = self.b, tile.depth * tile.step
        n_blocks, k_blocks = -(-self.n // _PACK_COLS), max(-(-self.k // kc), 1)
        head = [
            *b.pointer.consts, *packed.place.consts, self.n, self.k, b.row_stride, b.col_stride,
            _PACK_COLS, kc, n_blocks, k_blocks, b_panel,
        ]  # fmt: skip
        spec = prepack.PrepackSpec(b.dtype, b.layout, tile)
        return self._packing(spec, head, b, packed, n_blocks * k_blocks, self.n)

    def _pack_left(self, tile: Tile, g: _Geometry, packed: _Packed) -> Command:
        a, k_blocks = self.a, max(-(-self.k // g.kc), 1)
        head = [
            *a.pointer.consts, *packed.place.consts, self.m, self.k, a.row_stride, a.col_stride,
            g.mc, g.kc, g.m_blocks, k_blocks, g.packed_left,
        ]  # fmt: skip
        spec = prepack.PrepackLeftSpec(a.dtype, a.layout, tile)
        return self._packing(spec, head, a, packed, g.m_blocks * k_blocks, self.m)

    def _packing(
        self, spec: KernelSpec, head: list[int], of: Matrix, packed: _Packed, tasks: int,
        lines: int,
    ) -> Command:  # fmt: skip
        """The command of a spec: ``head``, and the batch table behind it."""
        size = SIZES[of.dtype]
        kept = [i for i, stride in enumerate(packed.strides) if stride]
        table = batch_table(
            [self.batch[i] for i in kept],
            [of.batch_strides[i] * size for i in kept],
            [packed.strides[i] for i in kept],
        )
        return Command(
            spec,
            [*head, len(head) + 2, len(kept), *table],
            packed.items * tasks,
            "gemm pack",
            packed.items * lines * self.k * size * 2,
        )

    def _product(
        self, tile: Tile, g: _Geometry, items: int, left: _Packed, right: _Packed,
        epilogue: Epilogue, scratch: Callable[[int], Pointer],
    ) -> Command:  # fmt: skip
        """``left`` and ``right``: operands that lie packed already."""
        a, b, m, n, k = self.a, self.b, self.m, self.n, self.k
        a_size, b_size = SIZES[a.dtype], SIZES[b.dtype]
        extra = list(epilogue.consts)
        # In the order of SLOTS.
        head = [
            *a.pointer.consts, *b.pointer.consts, *scratch(g.scratch * self.workers).consts,
            g.scratch, g.b_scratch, g.c_scratch, g.c_stride, m, n, k,
            a.row_stride, a.col_stride, b.row_stride, b.col_stride, g.mc, g.nc, g.kc,
            g.m_blocks, g.n_blocks, g.b_panel, tile.depth * tile.b_row if g.shared else 0,
            int(self._direct_a(tile)), int(not g.shared and self._direct_b(tile, g.mc)),
            int(g.shared), *right.place.consts, int(left.items > 0), *left.place.consts,
            g.packed_left if left.items else 0, len(SLOTS) + len(extra), len(self.batch),
        ]  # fmt: skip
        table = batch_table(
            self.batch,
            [s * a_size for s in a.batch_strides],
            [s * b_size for s in b.batch_strides],
            right.strides,
            left.strides,
        )
        return Command(
            BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, self.accumulate, epilogue),
            [*head, *extra, *table],
            items * g.m_blocks * g.n_blocks,
            "gemm",
            items * (m * k * a_size + k * n * b_size),
            2 * items * m * n * k * (4 if tile.planes == 2 else 1),
        )
