"""From a convolution with few outputs a group to commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution.direct import DirectSpec
from mlx.backend.llvm.convolution.geometry import Phase, phases_of, places_of, runs_of
from mlx.backend.llvm.convolution.lanes import Share
from mlx.backend.llvm.convolution.patches import (
    place_table,
    spatial,
    spatial_strides,
    tile_of_patches,
)
from mlx.backend.llvm.convolution.plan_channelwise import (
    axes_table,
    pieces_of,
    rows_of_lines,
)
from mlx.backend.llvm.convolution.weights import pack_weights, panel_bytes
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, round_up
from mlx.backend.llvm.gemm.tile import Tile, tile_for
from mlx.backend.llvm.target import host

FEW = 128  # bytes of a group's outputs up to which no patches are packed
_COPY = 1 << 20  # bytes of what a tile sees
_TASK = 1 << 18  # multiplications of a task
_WEIGHTS = 1 << 17  # bytes of weights that a task goes through for each line
_LONGEST = 1 << 30
_LINES = 16  # least lines where packing patches would pay
_SMALLEST = 4  # rows of a tile
_ENDS = 3  # most numbers of missing positions that have code of their own


def is_direct(primitive: Any, x: Operand, other: Operand, columns: int, accumulate: str) -> bool:
    """Whether packing patches costs more than it saves, and what a tile sees fits the cache.

    That is so for few outputs, for whole tiles of them over many lines, and where many lines of
    taps lie outside the input.
    """
    wide = columns * SIZES[accumulate]
    widens = x.dtype != accumulate and not _in_pairs(x, other, accumulate)
    if accumulate == "complex64" or (widens and wide > FEW // 4):
        return False
    if _on_tiles(x, other, columns, accumulate):
        return False
    taps, channels = other.shape[1:-1], other.shape[-1]
    seen = 14 * primitive.strides[-1] + (taps[-1] - 1) * primitive.dilation[-1]
    if prod(taps[:-1]) * seen * 2 * channels * SIZES[accumulate] > _COPY:
        return False
    if wide <= FEW:
        return True
    columns = round_up(wide, FEW)
    whole = columns * 8 <= wide * 9
    if whole and _lines(primitive, x, other) >= _LINES:
        return True
    return _inside(primitive, x, other) * columns * 32 <= 31 * round_up(wide, FEW // 2)


def _on_tiles(x: Operand, other: Operand, columns: int, accumulate: str) -> bool:
    """Whether patches are multiplied on tile registers, faster than they are packed, and fill
    those."""
    tile = tile_of_patches(x.dtype, accumulate)
    return tile.amx and 2 * columns >= tile.cols and prod(other.shape[1:]) >= tile.k_unit


def _in_pairs(x: Operand, other: Operand, accumulate: str) -> bool:
    """Whether channels are multiplied in pairs, as they lie."""
    return tile_of_patches(x.dtype, accumulate).pairs and other.shape[-1] % 2 == 0


def _lines(primitive: Any, x: Operand, other: Operand) -> int:
    """Lines of the result: what tasks are made of."""
    places = places_of(primitive, x.shape[1:-1], other.shape[1:-1])
    return x.shape[0] * prod(places[:-1]) if len(places) > 1 else 0


def _inside(primitive: Any, x: Operand, other: Operand) -> float:
    """How much of what taps see lies inside the input: about so much is multiplied."""
    kernel = other.shape[1:-1]
    places = places_of(primitive, x.shape[1:-1], kernel)
    if max(primitive.spread) > 1:
        return 1.0
    inside = 1.0
    axes = zip(x.shape[1:-1], places, kernel, primitive.low, primitive.strides,
               primitive.dilation, strict=True)  # fmt: skip
    for axis, (size, count, taps, low, step, apart) in enumerate(axes):
        if axis == len(places) - 1 and (primitive.groups > 1 or taps > 2 * _ENDS + 1):
            continue  # computed all the same
        before = -(-low // step)
        behind = max((count - 1) * step - low + (taps - 1) * apart - size + 1, 0)
        missing = (before + -(-behind // step)) * taps // 3
        inside *= max(count * taps - missing, 0) / max(count * taps, 1)
    return inside


def plan_direct(
    primitive: Any, x: Operand, other: Operand, shape: tuple[int, ...], epilogue: Epilogue,
    accumulate: str, scratch: Callable[[int], Pointer], workers: int,
) -> list[Command]:  # fmt: skip
    groups, _, columns = shape
    kernel = other.shape[1:-1]
    found = places_of(primitive, x.shape[1:-1], kernel)
    pairs = _in_pairs(x, other, accumulate)
    tile, heads = _tile(accumulate, columns, groups)
    tile = replace(tile, pairs=pairs)
    out = []
    for phase in phases_of(primitive, found, kernel):
        runs = runs_of(phase, other.shape[-1], _LONGEST, False)
        panel = panel_bytes(tile, sum(tile.depth_of(run.length) for run in runs))
        packed = scratch(groups * -(-columns // tile.cols) * panel)
        if runs:
            out.append(pack_weights(tile, other, runs, groups, packed))
        places = spatial((0, *found, 0))
        rows = _rows(phase.counts[2])
        spec = DirectSpec(
            x.dtype, accumulate, Share(1, 1), epilogue, rows, tile.lanes, tile.vectors, heads,
            _missing(phase, x, rows) if groups == 1 else (), pairs,
        )  # fmt: skip
        out.append(_product(spec, x, phase, places, (tile, panel, packed), shape, scratch, workers))
    return out


def _tile(accumulate: str, columns: int, groups: int) -> tuple[Tile, int]:
    """The tile, narrow where columns are few, and how many groups it takes at once."""
    tile = tile_for(accumulate)
    lanes = tile.lanes
    if host().vector_bytes == 64 and 2 * columns <= lanes:
        lanes //= 2
    vectors = 1 if columns <= lanes else 2
    heads = 2 if vectors == 1 and groups % 2 == 0 else 1
    return replace(tile, lanes=lanes, vectors=vectors), heads


def _rows(positions: int) -> tuple[int, int]:
    """Positions of a tile and of a last one: those that compute least behind the line's end."""
    if host().vector_bytes < 64:
        return (6, 3)
    exact = [(most, max(positions % most, _SMALLEST)) for most in range(8, 15)]
    usual, other = (
        min(several, key=partial(_cost, positions))
        for several in ([(14, 7), (13, 7), (8, 4)], exact)
    )
    better = _cost(positions, other) * 16 < _cost(positions, usual) * 15
    return other if better else usual


def _cost(positions: int, rows: tuple[int, int]) -> int:
    """Of all tiles of a line: their rows of two vectors, and about what each tile costs besides."""
    most, last = rows
    tiles, rest = divmod(positions, most)
    whole = tiles + (rest > last)
    return whole * (2 * most + 3) + (2 * last + 3 if 0 < rest <= last else 0)


def _missing(phase: Phase, x: Operand, rows: tuple[int, ...]) -> tuple[int, ...]:
    """How many positions miss a tap at one end of a line: few different numbers, or none."""
    line, size = phase.axes[2], x.shape[-2]
    last = (line.count - 1) * line.stride - size + 1
    before = [-(offset // line.stride) for _, offset in line.taps]
    behind = [-(-(last + offset) // line.stride) for _, offset in line.taps]
    found = sorted({number for number in (*before, *behind) if number > 0})
    return tuple(found) if len(found) <= _ENDS and max(found, default=0) < min(rows) else ()


def _product(
    spec: DirectSpec, x: Operand, phase: Phase, places: tuple[int, int, int],
    weights: tuple[Tile, int, Pointer], shape: tuple[int, ...],
    scratch: Callable[[int], Pointer], workers: int,
) -> Command:  # fmt: skip
    tile, panel, packed = weights
    groups, _, columns = shape
    size, acc = SIZES[x.dtype], SIZES[spec.accumulate]
    channels = x.shape[-1] // groups // tile.step  # or pairs of them
    strides = spatial_strides(x.strides, size)
    n_blocks = -(-columns // tile.cols)
    blocks = groups // spec.heads * n_blocks
    lines = x.shape[0] * phase.counts[0] * phase.counts[1]
    taps = prod(len(line.taps) for line in phase.axes)
    work = max(phase.counts[2] * tile.cols * spec.heads * max(taps, 1) * channels, 1)
    span = max(min(_WEIGHTS // (panel * spec.heads), blocks), 1)
    spans = -(-blocks // span)
    tasks = work * span // _TASK
    pieces, width = pieces_of(lines * spans, phase.counts[2], spec.rows[0], tasks, workers)
    units = lines * pieces
    each = max(1, min(4 * _TASK * pieces // (work * span), -(-units * spans // (4 * workers))))
    along = phase.axes[2]
    reach = along.taps[-1][1] - along.taps[0][1] if along.taps else 0
    seen = (max(spec.rows) - 1) * along.stride + reach + 1
    depth = len(phase.axes[0].taps) * len(phase.axes[1].taps)
    copy = (depth * seen * channels * spec.heads + 2 * tile.lanes) * acc
    copy = -(-copy // 4096) * 4096 + 256
    merged = (
        x.strides[-2] == x.shape[-1] // groups and spec.heads == 1 and reach == len(along.taps) - 1
    )
    # In the order of DIRECT_SLOTS.
    head = [
        *x.pointer.consts, *packed.consts, columns, tile.b_row, units, each,
        *rows_of_lines(phase, places), pieces, width, channels, channels * tile.step * size, panel,
        n_blocks * panel, n_blocks, blocks, span, spans, int(merged), int(groups == spec.heads),
        *scratch(copy * workers).consts, copy,
    ]  # fmt: skip
    item = place_table(phase, spatial(x.shape), x.strides[0] * size, strides)
    consts = [*head, *item, *axes_table(phase), *spec.epilogue.consts]
    command = Command(spec, consts, spans * -(-units // each))
    command.flops = 2 * groups * lines * phase.counts[2] * columns * taps * channels * tile.step
    return command
