"""From a convolution or correlation to commands."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution import correlate, forward
from mlx.backend.llvm.convolution.correlate import CorrelationSpec
from mlx.backend.llvm.convolution.forward import ConvolutionSpec
from mlx.backend.llvm.convolution.geometry import (
    Phase,
    Run,
    blocks_of,
    phases_of,
    places_of,
    runs_of,
)
from mlx.backend.llvm.convolution.patches import (
    BLOCK,
    RUN,
    place_table,
    position_stride,
    run_table,
    spatial,
    spatial_strides,
    tile_of_patches,
)
from mlx.backend.llvm.convolution.plan_channelwise import plan_channelwise
from mlx.backend.llvm.convolution.plan_direct import is_direct, plan_direct
from mlx.backend.llvm.convolution.plan_line_sums import plan_line_sums, sums_lines
from mlx.backend.llvm.convolution.plan_sums import plan_sums
from mlx.backend.llvm.convolution.rowmap import PhaseEpilogue
from mlx.backend.llvm.convolution.stretches import blocks_of_taps
from mlx.backend.llvm.convolution.weights import pack_weights, panel_bytes, step_of_weights
from mlx.backend.llvm.gemm.chunk_sum import ChunkSumSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, StoreEpilogue, round_up
from mlx.backend.llvm.gemm.tile import Tile, tile_for

_ROWS, _COLS = 128, 256
_LEAST = 1 << 20  # multiplications of a task: about 20 us
_RUN = 256  # longest run of a correlation, where it bounds the columns of a block
_DEEP = 1 << 16  # elements of packed patches of a correlation, which stay in cache
_CHUNKS, _CHUNK = 16, 1024  # most chunks of a correlation, and their least positions

Scratch = Callable[[int], Pointer]


def plan_contraction(
    primitive: Any,
    a: Operand,
    b: Operand,
    shape: tuple[int, ...],
    epilogue: Epilogue,
    accumulate: str,
    scratch: Scratch,
    workers: int,
) -> list[Command]:
    """The commands of a Convolution or a Correlation through ``epilogue``.

    ``shape`` is that of its tiling: (groups, rows, columns).
    """
    if not prod(shape):
        return []
    if shape[0] != primitive.groups:
        plan_lanes = plan_sums if primitive.form == "correlation" else plan_channelwise
        return plan_lanes(primitive, a, b, epilogue, accumulate, scratch, workers)
    if primitive.form == "convolution" and is_direct(primitive, a, b, shape[2], accumulate):
        return plan_direct(primitive, a, b, shape, epilogue, accumulate, scratch, workers)
    if primitive.form == "correlation" and sums_lines(primitive, a, b, accumulate):
        return plan_line_sums(primitive, a, b, epilogue, accumulate, scratch, workers)
    tile = tile_of_patches(a.dtype, accumulate)
    if primitive.form == "convolution" and a.shape[-1] == shape[0]:
        tile = tile_for(accumulate)  # one channel: pairs would be packed for next to no work
    planner = _Planner(primitive, a, b, shape, epilogue, tile, scratch, workers)
    return planner.correlation() if primitive.form == "correlation" else planner.convolution()


def _even(size: int, limit: int, step: int) -> int:
    """The size of equal blocks of at most about ``limit``."""
    return round_up(-(-size // -(-size // limit)), step)


class _Planner:
    def __init__(
        self, primitive: Any, x: Operand, other: Operand, shape: tuple[int, ...],
        epilogue: Epilogue, tile: Tile, scratch: Scratch, workers: int,
    ) -> None:  # fmt: skip
        self.primitive, self.x, self.other = primitive, x, other
        self.groups, self.rows, self.columns = shape
        self.epilogue, self.tile, self.scratch, self.workers = epilogue, tile, scratch, workers
        self.size = SIZES[x.dtype]
        self.strides = spatial_strides(x.strides, self.size)
        self.channels = x.shape[-1] // self.groups
        last = x.strides[-2] if len(x.shape) > 2 else 0
        self.side_by_side = last == x.shape[-1] == self.channels

    def _place(self, phase: Phase) -> list[int]:
        item = self.x.strides[0] * self.size
        return place_table(phase, spatial(self.x.shape), item, self.strides)

    def _group_bytes(self, operand: Operand) -> int:
        return operand.shape[-1] // self.groups * operand.strides[-1] * self.size

    # -- convolution -------------------------------------------------------------------

    def convolution(self) -> list[Command]:
        p, kernel = self.primitive, self.other.shape[1:-1]
        found = places_of(p, self.x.shape[1:-1], kernel)
        out = []
        for phase in phases_of(p, found, kernel):
            out += self._phase(phase, spatial((0, *found, 0)))
        return out

    def _phase(self, phase: Phase, places: tuple[int, int, int]) -> list[Command]:
        tile = self.tile
        together = self.side_by_side and (self.channels % tile.step == 0 or self._weights_follow)
        runs = runs_of(phase, self.channels, tile.block_depth * tile.step, together)
        depth = sum(tile.depth_of(run.length) for run in runs)
        panel = panel_bytes(tile, depth)
        packed = self.scratch(self.groups * -(-self.columns // tile.cols) * panel)
        epilogue = self.epilogue
        if not phase.is_whole:
            epilogue = PhaseEpilogue(epilogue, phase, places)
        deepest = tile.block_depth * tile.step // tile.k_unit
        blocks = blocks_of(runs, deepest, tile.k_unit)
        product = self._product(phase, blocks, panel, packed, epilogue)
        pack = pack_weights(tile, self.other, runs, self.groups, packed)
        return [pack, product] if depth else [product]

    @property
    def _weights_follow(self) -> bool:
        """Whether the weights of neighbouring taps are one run, which may divide a pair."""
        w = self.other
        step = self.channels * step_of_weights(w)
        return max(self.primitive.spread) == 1 and w.strides[-2] == step

    def _product(
        self, phase: Phase, blocks: list[list[Run]], panel: int, packed: Pointer,
        epilogue: Epilogue,
    ) -> Command:  # fmt: skip
        tile = self.tile
        rows = self.x.shape[0] * prod(phase.counts)
        length = sum(run.length for block in blocks for run in block)
        mc, nc = self._blocks(rows, length)
        m_blocks, n_blocks = -(-rows // mc), -(-self.columns // nc)
        tiles = mc // tile.rows * (nc // tile.cols) if len(blocks) > 1 else 1
        a_bytes, c_tile = self._a_bytes(mc), tile.c_tile * tile.itemsize
        each = round_up(a_bytes + tiles * c_tile, 4096) + 256
        extra = list(epilogue.consts)
        place = len(forward.SLOTS) + len(extra)
        table, first_block = self._tables(phase, blocks, place, tile.k_unit)
        # In the order of forward.SLOTS.
        head = [
            *self.x.pointer.consts, *packed.consts, *self.scratch(each * self.workers).consts,
            each, a_bytes, c_tile if len(blocks) > 1 else 0, rows, self.columns, mc, nc,
            m_blocks, n_blocks, self._group_bytes(self.x), -(-self.columns // tile.cols) * panel,
            panel, place, first_block, len(blocks), 1,
        ]  # fmt: skip
        spec = ConvolutionSpec(self.x.dtype, tile.accumulate, epilogue, tile.pairs)
        command = Command(spec, [*head, *extra, *table], self.groups * m_blocks * n_blocks)
        command.flops = 2 * self.groups * rows * self.columns * length
        return command

    def _a_bytes(self, rows: int) -> int:
        """Packed rows of A."""
        tile = self.tile
        return round_up((rows // tile.rows * tile.a_panel + tile.lanes) * tile.itemsize, 64)

    def _tables(
        self, phase: Phase, blocks: list[list[Run]], start: int, unit: int
    ) -> tuple[list[int], int]:
        """Numbers from slot ``start`` on: places, blocks, runs; and the slot of the blocks.

        Runs are laid out in whole groups of ``unit`` elements: those of a panel's rows, or 1.
        """
        each = max(unit // self.tile.step, 1)
        table = self._place(phase)
        first_block = start + len(table)
        slot, at = first_block + BLOCK * len(blocks), 0
        for block in blocks:
            length = sum(run.depth(unit) for run in block) * each
            table += [slot, len(block), at, length]
            slot, at = slot + RUN * len(block), at + length
        runs = [run for block in blocks for run in block]
        item = self.tile.itemsize // self.tile.step
        return table + run_table(runs, self.strides, self.size, item, unit), first_block

    def _blocks(self, m: int, depth: int) -> tuple[int, int]:
        """Rows and columns of a task: four tasks a worker, unless they get too small."""
        tile, n = self.tile, self.columns
        mc, nc = _even(m, _ROWS, tile.rows), _even(n, _COLS, tile.cols)
        wanted = 4 * self.workers if self.workers > 1 else 1
        while self.groups * -(-m // mc) * -(-n // nc) < wanted and mc * nc * depth >= 2 * _LEAST:
            if mc > 2 * tile.rows:
                mc = round_up(mc // 2, tile.rows)
            elif nc > 2 * tile.cols:
                nc = round_up(nc // 2, tile.cols)
            else:
                break
        return mc, nc

    # -- correlation -------------------------------------------------------------------

    def correlation(self) -> list[Command]:
        p, y, tile = self.primitive, self.other, self.tile
        (phase,) = phases_of(p, y.shape[1:-1], p.kernel)
        blocks, stretches = blocks_of_taps(
            phase, spatial(self.x.shape), self.channels, _RUN, tile.k_unit, self.side_by_side
        )
        positions = prod(y.shape[:-1])
        chunks, chunk = self._chunks(positions, len(blocks))
        epilogue, sums = self.epilogue, None
        if chunks > 1:
            sums = self.scratch(chunks * self.groups * self.rows * self.columns * tile.itemsize)
            size = self.rows * self.columns
            place = Matrix(sums, tile.accumulate, (size,), self.columns, 1)
            epilogue = StoreEpilogue(place, (chunks * self.groups,))
        what = phase, blocks, stretches
        out = [self._correlation(what, positions, (chunks, chunk), epilogue)]
        if sums is not None:
            pitch = self.columns * tile.itemsize
            consts = [
                *sums.consts, chunks, self.rows, self.columns, pitch, self.rows * pitch,
                *self.epilogue.consts,
            ]  # fmt: skip
            spec = ChunkSumSpec(tile.accumulate, self.epilogue)
            out.append(Command(spec, consts, self.groups * self.rows, "chunk sum"))
        return out

    def _chunks(self, positions: int, n_blocks: int) -> tuple[int, int]:
        """Chunks of positions and their size: they don't depend on the machine, except that what
        it multiplies at once is not divided."""
        tasks = self.groups * n_blocks * -(-self.rows // _ROWS)
        chunks = max(min(-(-_CHUNKS // tasks), positions // _CHUNK), 1)
        chunk = round_up(-(-positions // chunks), self.tile.k_unit)
        return max(-(-positions // max(chunk, 1)), 1), max(chunk, 1)

    def _correlation(
        self, what: tuple[Phase, list[list[Run]], list[int]], positions: int,
        chunks: tuple[int, int], epilogue: Epilogue,
    ) -> Command:  # fmt: skip
        phase, blocks, stretches = what
        tile, y, size = self.tile, self.other, self.size
        widest = max(sum(run.length for run in block) for block in blocks)
        row = round_up(max(widest, 1), tile.cols) + tile.lanes * tile.step
        pitch = row * tile.itemsize // tile.step
        kc = round_up(max(min(tile.depth * tile.step, _DEEP // row, chunks[1]), 1), tile.k_unit)
        mc = _even(self.rows, _ROWS, tile.rows)
        m_blocks, deep = -(-self.rows // mc), chunks[1] > kc
        a_bytes, c_tile = self._a_bytes(mc), tile.c_tile * tile.itemsize
        rows_bytes = round_up(kc * pitch + tile.vector_bytes, 64)
        b_panel = kc // tile.step * tile.b_row if tile.pairs else tile.b_row
        b_bytes = b_panel * -(-widest // tile.cols) if tile.pairs else 0
        tiles = mc // tile.rows * -(-widest // tile.cols) if deep else 1
        c_scratch = a_bytes + rows_bytes + b_bytes
        each = round_up(c_scratch + tiles * c_tile, 4096) + 256
        extra = list(epilogue.consts)
        place = len(correlate.SLOTS) + len(extra)
        table, first_block = self._tables(phase, blocks, place, 1)
        step = position_stride(y)
        layout = Matrix(y.pointer, y.dtype, (), y.strides[-1], step).layout
        # In the order of correlate.SLOTS.
        head = [
            *self.x.pointer.consts, *y.pointer.consts,
            *self.scratch(each * self.workers).consts, each, a_bytes + rows_bytes, c_scratch,
            c_tile if deep else 0, self.rows, mc, m_blocks, len(blocks),
            self._group_bytes(self.x), self._group_bytes(y), y.strides[-1] * size,
            step * size, pitch, positions, chunks[0], place, first_block,
            chunks[1], kc, a_bytes, b_panel, place + len(table),
        ]  # fmt: skip
        spec = CorrelationSpec(self.x.dtype, layout, tile.accumulate, epilogue)
        tasks = self.groups * chunks[0] * m_blocks * len(blocks)
        command = Command(spec, [*head, *extra, *table, *stretches], tasks)
        command.flops = 2 * self.groups * self.rows * self.columns * positions
        return command
