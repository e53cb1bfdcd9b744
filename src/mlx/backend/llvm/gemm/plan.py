"""From operands to commands: which kernel, which blocks, how much scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import prepack
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.chunks import chunk_of, plan_chunks
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.few import is_better_paired, is_few, plan_few
from mlx.backend.llvm.gemm.operand import Product, batch_table, round_up
from mlx.backend.llvm.gemm.plan_vector import plan_vector
from mlx.backend.llvm.gemm.small import is_small, plan_small
from mlx.backend.llvm.gemm.tile import UNIT_ROW, Tile, tile_of_product
from mlx.compiler.sizes import least, most, worked_out

_BLOCK = 256, 256  # rows and columns of a task that packs for itself,
_WIDE = 128, 512  # and of one that packs A alone: the less often, the wider it is
_LONG = 64, 2048  # and of one that has little to compute (threads that write parts of the same
_SHALLOW = 32  # rows wait for each other): up to this k
_LEAST = 1 << 18  # multiplications of a task, as float32's: about 5 us
_SHARED_FROM = 3  # tasks that read the same columns of B: from here on it is packed but once,
_SHARED_WORK = 1 << 26  # if there are so many multiplications
_FEW_TILES = 8  # in a block: with so few it need not be whole tiles
_PACK_COLS = 256  # of a task that packs, at most
_STRIP = 4 << 20  # bytes of B that are packed at once
_SMALL = 1 << 17  # bytes of an operand that stays in the second-level cache
_DEEP = 128  # k from which on storing a result counts for little
_TALL = 8  # times as many rows as columns
_COPIED, _TURNED = 2, 6  # multiply-adds in the time of packing an element, or turning it as well
_NEAR = 1 << 22  # and of one that is likely to be in some cache


def plan_gemm(p: Product) -> list[Command]:
    """The commands that compute a product."""
    if not (p.m and p.n and p.items):
        return []
    if p.m == 1 or p.n == 1:
        return plan_vector(p)
    if chunk := chunk_of(p):
        return plan_chunks(p, chunk, _plan_matrices)
    return _plan_matrices(p)


def _plan_matrices(p: Product) -> list[Command]:
    """As ``plan_gemm``, where each element is one chain over k."""
    if p.accumulate.startswith("float") and getattr(p.epilogue, "by_columns", False):
        p = p.swapped()
    if is_small(p) and not (p.b.layout == UNIT_ROW and is_few(p)):
        return plan_small(p)
    turned = [p.swapped()] if hasattr(p.epilogue, "swapped") else []
    for each in (p, *turned):
        if is_few(each):
            paired = is_better_paired(each)
            return BlockedProblem(each).commands() if paired else plan_few(each)
    return BlockedProblem(p.swapped() if _is_better_swapped(p) else p).commands()


def _is_better_swapped(p: Product) -> bool:
    """Whether the columns are so few that they fill tiles better as rows do.

    Counted in rows of k multiply-adds: those of tiles that are partly empty, and what it takes to
    pack (and to turn) an operand.
    """
    m, n = p.m, p.n
    if not p.accumulate.startswith("float") or p.k < _DEEP or not hasattr(p.epilogue, "swapped"):
        return False
    tile = tile_of_product(p.a.dtype, p.b.dtype, p.accumulate)
    if tile.amx or n < tile.cols // 2 or n > 3 * tile.cols // 2 or m < _TALL * n:
        return False
    usual = m * _filled(n, range(tile.lanes, tile.cols + 1, tile.lanes)) + _COPIED * m
    heights = [rows for rows, vectors in tile.variants if vectors == tile.vectors]
    packing = _COPIED if p.a.layout == UNIT_ROW else _TURNED
    return 8 * usual > 9 * m * (_filled(n, heights) + packing)


def _filled(size: int, steps: Sequence[int]) -> int:
    """What tiles of these sizes, of which the last is the whole one, cover of ``size``."""
    whole, rest = divmod(size, steps[-1])
    return whole * steps[-1] + next((s for s in steps if 0 < rest <= s), 0)


@cache
def _blocks(
    m: int, n: int, work: int, items: int, wanted: int, most_rows: int, most_columns: int,
    rows: int, columns: int, least_rows: int,
) -> tuple[int, int]:  # fmt: skip
    """Rows and columns of a task's block of C: as many tasks as are ``wanted``, unless blocks get
    to have fewer elements than ``work``.  A tile has ``rows`` and ``columns``."""

    def even(size: int, limit: int, step: int) -> int:
        return round_up(-(-size // -(-size // limit)), step)

    mc, nc = even(m, most_rows, rows), even(n, most_columns, columns)
    while items * -(-m // mc) * -(-n // nc) < wanted and mc * nc >= work:
        if mc >= nc and mc > 2 * rows:
            few = mc // 2 < _FEW_TILES * rows
            mc = round_up(mc // 2, least_rows if few else rows)
        elif nc > 2 * columns:
            nc = round_up(nc // 2, columns)
        else:
            break
    return mc, nc


def _block_rows(*of: int) -> int:
    return _blocks(*of)[0]


def _block_columns(*of: int) -> int:
    return _blocks(*of)[1]


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


def geometry(
    tile: Tile, m: int, n: int, k: int, items: int, workers: int, step: int = 1, share: bool = True
) -> Geometry:
    """``step``: columns of a block are a multiple of it; ``share``: B may be packed but once."""
    shallow = k <= _SHALLOW
    share = share and not shallow and m > _SHARED_FROM * _WIDE[0] and m * n * k >= _SHARED_WORK
    wanted = 4 * workers if workers > 1 else 1  # four tasks a worker
    work = -(-int(2 * _LEAST * tile.rate) // most(k, 1))
    limits = _LONG if shallow else _WIDE if share else _BLOCK
    of = m, n, work, items, wanted, *limits, tile.rows, tile.cols, tile.least_rows
    mc = worked_out(_block_rows, *of, low=1)
    nc = round_up(worked_out(_block_columns, *of, low=1), step)
    kc = min(tile.block_depth * tile.step, max(k, 1))
    m_blocks, n_blocks = -(-m // mc), -(-n // nc)
    shared = share and m_blocks >= _SHARED_FROM
    steps = -(-(k if shared else kc) // tile.step)
    b_panel = max(round_up(steps, tile.lanes), tile.lanes) * tile.b_row
    a_rows = round_up(mc, tile.rows)
    if tile.dots:  # these are turned by as many rows as a vector has lanes
        a_rows = round_up(a_rows, tile.lanes)
    a_elements = a_rows * tile.row_pitch + tile.lanes
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
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Strip:
    """Columns of B and C that one command computes."""

    first: int
    stop: int

    @property
    def width(self) -> int:
        return self.stop - self.first


def _reads_a(m: int, n: int, k: int, pitch: int, columns: int, unit: int) -> int:
    """Where A is small, or one panel of columns reads it but once; and its rows don't fall on the
    same cache lines."""
    small = m * pitch <= 2 * _SMALL and pitch % 2048 != 0
    once = n <= columns and pitch % 4096 != 0
    return int((small or once) and k % unit == 0)


def _reads_b(mc: int, nbytes: int, read: int, rows: int) -> int:
    """Where B is small and dense, or near and for few rows.

    From memory, whole rows stream better than the columns of a panel do.
    """
    if nbytes <= _SMALL:
        return int(mc <= 8 * rows)
    return int(mc <= 4 * rows and read <= _NEAR)


@dataclass(frozen=True, slots=True)
class BlockedProblem:
    product: Product

    def commands(self) -> list[Command]:
        p = self.product
        tile = tile_of_product(p.a.dtype, p.b.dtype, p.accumulate)
        g = geometry(tile, p.m, p.n, p.k, p.items, p.workers)
        own = p.scratch(g.scratch * p.workers)
        if not g.shared:
            return [self._product(tile, g, own, Pointer(0), [0] * len(p.batch), Strip(0, p.n))]
        packed_items = prod(size for size, s in zip(p.batch, p.b.batch_strides, strict=True) if s)
        width = g.nc * self._strip_blocks(g, packed_items * -(-g.nc // tile.cols) * g.b_panel)
        item = -(-least(width, p.n) // tile.cols) * g.b_panel
        strides, place = self._packed_strides(item), p.scratch(packed_items * item)
        commands = []
        for first in range(0, p.n, width):
            strip = Strip(first, least(first + width, p.n))
            commands.append(self._pack(tile, g.b_panel, strides, packed_items, place, strip))
            commands.append(self._product(tile, g, own, place, strides, strip))
        return commands

    def reads_b(self, tile: Tile, mc: int) -> int:
        """Whether B is better read where it lies, 1 or 0."""
        p = self.product
        size = SIZES[p.b.dtype]
        pitch = p.k * abs(p.b.row_stride) * size
        return worked_out(_reads_b, mc, pitch, p.k * p.n * size, tile.rows)

    def _direct_a(self, tile: Tile) -> int:
        """Whether A is better read where it lies, 1 or 0."""
        p = self.product
        pitch = abs(p.a.row_stride) * SIZES[p.a.dtype]
        return worked_out(_reads_a, p.m, p.n, p.k, pitch, tile.cols, tile.k_unit)

    def _strip_blocks(self, g: Geometry, block_bytes: int) -> int:
        """Blocks of columns whose panels are packed before their part of the product runs."""
        p = self.product
        tasks = -(-4 * p.workers // (g.m_blocks * p.items))
        strips = -(-g.n_blocks // most(most(_STRIP // block_bytes, tasks), 1))
        return -(-g.n_blocks // strips)

    def _packed_strides(self, item_bytes: int) -> list[int]:
        """Batch strides of the packed B in bytes (0 where B is broadcast)."""
        p = self.product
        strides: list[int] = []
        items = 1
        for size, stride in zip(reversed(p.batch), reversed(p.b.batch_strides), strict=True):
            strides.append(items * item_bytes if stride else 0)
            items *= size if stride else 1
        return strides[::-1]

    def _pack(
        self, tile: Tile, b_panel: int, strides: list[int], items: int, place: Pointer,
        strip: Strip,
    ) -> Command:  # fmt: skip
        p = self.product
        b, size, kc = p.b, SIZES[p.b.dtype], tile.block_depth * tile.step
        n_blocks, k_blocks = -(-strip.width // _PACK_COLS), max(-(-p.k // kc), 1)
        start = Pointer(b.pointer.base, b.pointer.offset + strip.first * b.col_stride * size)
        kept = [i for i, stride in enumerate(strides) if stride]
        table = batch_table(
            [p.batch[i] for i in kept],
            [b.batch_strides[i] * size for i in kept],
            [strides[i] for i in kept],
        )
        head = [
            *start.consts, *place.consts, strip.width, p.k, b.row_stride, b.col_stride,
            _PACK_COLS, kc, n_blocks, k_blocks, b_panel, 4 + len(prepack.SLOTS), len(kept),
        ]  # fmt: skip
        return Command(
            prepack.PrepackSpec(b.dtype, b.layout, tile),
            [*head, *table],
            items * n_blocks * k_blocks,
            "gemm pack",
            items * strip.width * p.k * size * 2,
        )

    def head(
        self, tile: Tile, g: Geometry, own: Pointer, place: Pointer, direct_b: int, strip: Strip,
        reads_a: bool = True,
    ) -> list[int]:  # fmt: skip
        """The consts up to the batch table's, in the order of SLOTS."""
        p = self.product
        a, b = p.a, p.b
        return [
            *a.pointer.consts, *b.pointer.consts, *own.consts, g.scratch, g.b_scratch, g.c_scratch,
            g.c_stride, p.m, strip.stop, p.k, a.row_stride, a.col_stride, b.row_stride,
            b.col_stride, g.mc, g.nc, g.kc, g.m_blocks, -(-strip.width // g.nc), strip.first,
            g.b_panel, tile.block_depth * tile.b_row if g.shared else 0,
            self._direct_a(tile) if reads_a else 0, direct_b, int(g.shared), *place.consts,
        ]  # fmt: skip

    def _product(
        self, tile: Tile, g: Geometry, own: Pointer, place: Pointer, packed: list[int],
        strip: Strip,
    ) -> Command:  # fmt: skip
        """``own``: scratch of the workers; ``place`` and ``packed``: where a shared B lies packed,
        and its batch strides there."""
        p = self.product
        a, b, items, epilogue = p.a, p.b, p.items, p.epilogue
        extra = list(epilogue.consts)
        direct_b = 0 if g.shared else self.reads_b(tile, g.mc)
        head = self.head(tile, g, own, place, direct_b, strip)
        strides = [[s * SIZES[x.dtype] for s in x.batch_strides] for x in (a, b)]
        table = batch_table(p.batch, *strides, packed)
        return Command(
            BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, p.accumulate, epilogue),
            [*head, len(SLOTS) + len(extra), len(p.batch), *extra, *table],
            items * g.m_blocks * -(-strip.width // g.nc),
            "gemm",
            items * p.k * (p.m * SIZES[a.dtype] + strip.width * SIZES[b.dtype]),
            2 * items * p.m * strip.width * p.k * (4 if tile.planes == 2 else 1),
        )
