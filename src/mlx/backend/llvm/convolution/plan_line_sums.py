"""From a correlation over long lines to commands.

Units of positions are cut into chunks whose number depends on sizes alone; a second kernel adds
the chunks one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution.geometry import Line, Phase, phases_of
from mlx.backend.llvm.convolution.line_sums import LineSumsSpec
from mlx.backend.llvm.convolution.patches import (
    place_table,
    position_stride,
    spatial,
    spatial_strides,
    tile_of_patches,
)
from mlx.backend.llvm.gemm.chunk_sum import ChunkSumSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, round_up
from mlx.backend.llvm.gemm.tile import Tile, tile_for

_POSITIONS = 1024  # least positions, since sums are written transposed
_SUMS = 1 << 18  # most sums
_TASK = 1 << 15  # and of a task, which lie in its second-level cache
_WIDTH, _BLOCK = 128, 192  # most positions of a unit and of a block
_CHUNKS, _CHUNK = 16, 256  # most chunks, and their least positions
_RUN = 3  # least rows of a run
_COPY = 1 << 19  # most bytes of what a block sees
_CHANNELS = 16  # most of a group: positions far apart would share sets of the cache
_REREAD = 4  # tiles that read outputs where they lie


@dataclass(frozen=True)
class _Shape:
    """How a correlation is cut."""

    phase: Phase
    channels: int
    outputs: int
    lines: int
    runs: int
    run: int
    """Rows of a run: taps side by side with their channels."""
    pieces: int
    width: int
    seen: int

    @property
    def rows(self) -> int:
        return self.lines * self.runs * self.run


def _shape(primitive: Any, x: Operand, y: Operand) -> _Shape:
    (phase,) = phases_of(primitive, y.shape[1:-1], primitive.kernel)
    groups, line = primitive.groups, phase.axes[2]
    channels, taps, apart = x.shape[-1] // groups, len(line.taps), primitive.dilation[-1]
    runs, run = (1, taps * channels) if apart == 1 else (taps, channels)
    width = -(-line.count // max(-(-line.count // _WIDTH), 1))
    pieces = -(-line.count // max(width, 1))
    seen = (width - 1) * line.stride + (taps - 1) * apart + 1
    lines = len(phase.axes[0].taps) * len(phase.axes[1].taps)
    return _Shape(phase, channels, y.shape[-1] // groups, lines, runs, run, pieces, width, seen)


def sums_lines(primitive: Any, x: Operand, y: Operand, accumulate: str) -> bool:
    """Whether the sums over lines are worth their form: many positions, few sums, full vectors."""
    tile, sums = tile_of_patches(x.dtype, accumulate), prod(primitive.kernel) * x.shape[-1]
    on_tiles = tile.amx and 2 * sums >= tile.cols * primitive.groups
    if accumulate == "complex64" or on_tiles:
        return False
    outputs, positions = y.shape[-1] // primitive.groups, prod(y.shape[:-1])
    full = round_up(outputs, 16) * 3 <= outputs * 4
    few = x.shape[-1] <= _CHANNELS * primitive.groups
    if not (full and few) or y.strides[-1] != 1 or positions < _POSITIONS:
        return False
    shape = _shape(primitive, x, y)
    copied = shape.seen * shape.lines * shape.channels * SIZES[accumulate]
    return shape.run >= _RUN and shape.rows * outputs <= _SUMS and copied <= _COPY


@dataclass(frozen=True)
class _Form:
    """A tile: rows of so many lines of taps times vectors."""

    accumulate: str
    rows: int
    lines: int
    vectors: int


def _tile(shape: _Shape, tile: Tile) -> _Form:
    """As many sums as registers hold, with few loads and few outputs behind the last one."""
    found = []
    for vectors, most in ((2, tile.rows), (1, 2 * tile.rows - 1)):
        for across in range(1, shape.lines + 1):
            if shape.lines % across == 0 and (across == 1 or across * shape.run <= most):
                blocks = -(-shape.run // most)
                rows = -(-shape.run // blocks)
                each = across * rows * vectors + 2 + vectors
                columns = -(-shape.outputs // (vectors * tile.lanes))
                cost = each * blocks * columns * shape.lines // across
                found.append((cost, rows, across, vectors))
    _, rows, across, vectors = min(found)
    return _Form(tile.accumulate, rows, across, vectors)


def plan_line_sums(
    primitive: Any, x: Operand, y: Operand, epilogue: Epilogue, accumulate: str,
    scratch: Callable[[int], Pointer], workers: int,
) -> list[Command]:  # fmt: skip
    """The commands of a correlation that sums over lines."""
    shape, groups = _shape(primitive, x, y), primitive.groups
    tile = tile_for(accumulate)
    form = _tile(shape, tile)
    row = round_up(shape.outputs, form.vectors * tile.lanes) * SIZES[accumulate]
    units = prod(y.shape[:-2]) * shape.pieces
    each = -(-units // max(min(_CHUNKS, units, prod(y.shape[:-1]) // _CHUNK), 1))
    chunks = -(-units // each)
    sums = scratch(groups * chunks * shape.rows * row)
    cut = (units, each, chunks, row)
    made = _product(primitive, x, y, (shape, form, tile), cut, sums, scratch, workers)
    swapped, step = epilogue.swapped(), shape.rows * row  # type: ignore[attr-defined]
    consts = [*sums.consts, chunks, shape.rows, shape.outputs, row, step, *swapped.consts]
    total = Command(ChunkSumSpec(accumulate, swapped), consts, groups * shape.rows, "chunk sum")
    return [made, total]


def _product(
    primitive: Any, x: Operand, y: Operand, how: tuple[_Shape, _Form, Tile],
    cut: tuple[int, int, int, int], sums: Pointer, scratch: Callable[[int], Pointer], workers: int,
) -> Command:  # fmt: skip
    (shape, form, tile), (units, each, chunks, row) = how, cut
    phase, size, acc = shape.phase, SIZES[x.dtype], tile.itemsize
    blocks = -(-shape.run // form.rows)
    few = blocks * form.rows - shape.run
    cols = form.vectors * tile.lanes
    span = max(min(_TASK * shape.lines // (shape.rows * shape.outputs), shape.lines), 1)
    span = max(span - span % form.lines, form.lines)
    parts = -(-shape.lines // span)
    line_bytes = round_up((shape.seen * shape.channels + tile.lanes) * acc, 64)
    fits = min(_BLOCK // shape.width, _COPY // (span * line_bytes))
    together = max(min(fits, each), 1) if shape.pieces == 1 else 1
    panel = together * span * line_bytes + tile.vector_bytes
    space = round_up(panel + together * shape.width * cols * acc, 4096) + 256
    rereads = shape.runs * blocks * (span // form.lines) > _REREAD
    packs = rereads or shape.outputs % cols != 0 or size != acc
    (z, dz), (line, dy), (first, _) = map(_places, phase.axes)
    # In the order of LINE_SUMS_SLOTS.
    head = [
        *x.pointer.consts, *y.pointer.consts, *sums.consts, *scratch(space * workers).consts,
        space, panel, shape.outputs, shape.channels, shape.channels * size,
        shape.outputs * size, position_stride(y) * size, row, shape.rows, units, each, together,
        shape.pieces, shape.width, chunks, span, parts, len(phase.axes[0].taps),
        len(phase.axes[1].taps), shape.lines, line_bytes, shape.seen, shape.runs,
        primitive.dilation[-1] * shape.channels * acc, blocks - few, few, int(packs),
        z, dz, line, dy, first,
    ]  # fmt: skip
    item, strides = x.strides[0] * size, spatial_strides(x.strides, size)
    place = place_table(phase, spatial(x.shape), item, strides)
    pairs = tile_of_patches(x.dtype, form.accumulate).pairs
    spec = LineSumsSpec(
        x.dtype, form.accumulate, form.rows, form.lines, tile.lanes, form.vectors, pairs
    )
    command = Command(spec, [*head, *place], primitive.groups * chunks * parts)
    command.flops = 2 * prod(y.shape) * shape.rows
    return command


def _places(axis: Line) -> tuple[int, int]:
    """The place of the first tap of an axis, and the distance of neighbours."""
    at = [place for _, place in axis.taps]
    return at[0], at[1] - at[0] if len(at) > 1 else 0
