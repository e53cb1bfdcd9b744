"""From operands to commands: which kernel, which blocks, how much scratch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import prepack
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, batch_table, round_up
from mlx.backend.llvm.gemm.plan_vector import plan_vector
from mlx.backend.llvm.gemm.tile import Tile, tile_of_product

_ROWS, _COLS = 256, 256
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
    return _Blocked(a, b, m, n, k, batch, accumulate, workers).commands(epilogue, scratch)


@lru_cache(maxsize=4096)
def _blocks(tile: Tile, m: int, n: int, items: int, workers: int) -> tuple[int, int]:
    """Rows and columns of a task's block of C."""

    def even(size: int, limit: int, step: int) -> int:
        return round_up(-(-size // -(-size // limit)), step)

    mc, nc = even(m, _ROWS, tile.rows), even(n, _COLS, tile.cols)
    while items * -(-m // mc) * -(-n // nc) < 4 * workers:
        if mc >= nc and mc > 2 * tile.rows:
            mc = round_up(mc // 2, tile.rows)
        elif nc > 2 * tile.cols:
            nc = round_up(nc // 2, tile.cols)
        else:
            break
    return mc, nc


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

    def commands(
        self, epilogue: Epilogue, scratch: Callable[[int], Pointer]
    ) -> list[Command]:
        tile = tile_of_product(self.a.dtype, self.b.dtype, self.accumulate)
        mc, nc = _blocks(tile, self.m, self.n, prod(self.batch), self.workers)
        steps = max(round_up(-(-self.k // tile.step), tile.lanes), tile.lanes)
        if -(-self.m // mc) < _SHARED_FROM:
            b_panel = min(steps, round_up(tile.depth, tile.lanes)) * tile.b_row
            local = {"b_panel": b_panel, "direct_b": int(self._direct_b(tile, mc))}
            return [self._product(tile, mc, nc, local, [0] * len(self.batch), epilogue, scratch)]
        b_panel = steps * tile.b_row
        strides, items = self._packed_strides(-(-self.n // tile.cols) * b_panel)
        place = scratch(max(items * -(-self.n // tile.cols) * b_panel, 64))
        shared = {
            "b_panel": b_panel, "b_advance": tile.depth * tile.b_row, "shared": 1,
            "shared_base": place.base, "shared_offset": place.offset,
        }  # fmt: skip
        pack = self._pack(tile, b_panel, strides, items, place)
        return [pack, self._product(tile, mc, nc, shared, strides, epilogue, scratch)]

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
        return dense and self.k % tile.step == 0

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
        b, size = self.b, SIZES[self.b.dtype]
        kc = tile.depth * tile.step
        n_blocks, k_blocks = -(-self.n // _PACK_COLS), -(-self.k // kc)
        kept = [i for i, stride in enumerate(strides) if stride]
        table = batch_table(
            [self.batch[i] for i in kept],
            [b.batch_strides[i] * size for i in kept],
            [strides[i] for i in kept],
        )
        head = [
            *b.pointer.consts, *place.consts, self.n, self.k, b.row_stride, b.col_stride,
            _PACK_COLS, kc, n_blocks, k_blocks, b_panel, 4 + len(prepack.SLOTS),
            len(kept),
        ]  # fmt: skip
        return Command(
            prepack.PrepackSpec(b.dtype, b.layout, tile),
            [*head, *table],
            items * n_blocks * k_blocks,
            "gemm pack",
            items * self.n * self.k * size * 2,
        )

    def _product(
        self, tile: Tile, mc: int, nc: int, how: dict[str, int], packed: list[int],
        epilogue: Epilogue, scratch: Callable[[int], Pointer],
    ) -> Command:  # fmt: skip
        """``how`` says where B is packed; ``packed``: its batch strides there."""
        a, b, m, n, k, size = self.a, self.b, self.m, self.n, self.k, tile.itemsize
        kc = min(tile.depth * tile.step, max(k, 1))
        a_bytes = round_up((-(-mc // tile.rows) * tile.a_panel + tile.lanes) * size, 64)
        b_bytes = 0 if "shared" in how else round_up(-(-nc // tile.cols) * how["b_panel"], 64)
        single = k <= kc
        tiles = 1 if single else -(-mc // tile.rows) * -(-nc // tile.cols)
        stride = round_up(a_bytes + b_bytes + tiles * tile.c_tile * size, 4096) + 256
        values = dict.fromkeys(SLOTS, 0) | {
            "scratch_stride": stride, "b_scratch": a_bytes, "c_scratch": a_bytes + b_bytes,
            "c_stride": 0 if single else tile.c_tile * size, "m": m, "n": n, "k": k,
            "a_row": a.row_stride, "a_col": a.col_stride, "b_row": b.row_stride,
            "b_col": b.col_stride, "mc": mc, "nc": nc, "kc": kc, "m_blocks": -(-m // mc),
            "n_blocks": -(-n // nc), "dims": len(self.batch),
            "direct_a": int(self._direct_a(tile)), **how,
        }  # fmt: skip
        pointers = [*a.pointer.consts, *b.pointer.consts]
        pointers += scratch(stride * self.workers).consts
        values |= dict(zip(SLOTS, pointers, strict=False))
        extra = list(epilogue.consts)
        values["table"] = len(SLOTS) + len(extra)
        a_size, b_size, items = SIZES[a.dtype], SIZES[b.dtype], prod(self.batch)
        table = batch_table(
            self.batch,
            [s * a_size for s in a.batch_strides],
            [s * b_size for s in b.batch_strides],
            packed,
        )
        return Command(
            BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, self.accumulate, epilogue),
            [*(values[name] for name in SLOTS), *extra, *table],
            items * values["m_blocks"] * values["n_blocks"],
            "gemm",
            items * (m * k * a_size + k * n * b_size),
            2 * items * m * n * k * (4 if tile.planes == 2 else 1),
        )
