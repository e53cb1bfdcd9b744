"""From a convolution with few outputs a group to commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution.direct import DirectSpec
from mlx.backend.llvm.convolution.geometry import Phase, phases_of, places_of, runs_of
from mlx.backend.llvm.convolution.lanes import Share
from mlx.backend.llvm.convolution.patches import place_table, spatial, spatial_strides
from mlx.backend.llvm.convolution.plan_channelwise import axes_table, rows_of_lines
from mlx.backend.llvm.convolution.weights import pack_weights, panel_bytes
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.tile import Tile, tile_for
from mlx.backend.llvm.target import host

FEW = 128  # bytes of a group's outputs up to which no patches are packed
_COPY = 1 << 17  # bytes of what a tile sees
_TASK = 1 << 18  # multiplications of a task
_LONGEST = 1 << 30


def is_direct(primitive: Any, x: Operand, other: Operand, columns: int, accumulate: str) -> bool:
    """Whether patches cost more than they save: outputs are few, and so is what a tile sees."""
    if accumulate == "complex64" or columns * SIZES[accumulate] > FEW:
        return False
    if x.dtype != accumulate and columns * SIZES[accumulate] > FEW // 4:
        return False
    taps, channels = other.shape[1:-1], other.shape[-1]
    seen = 14 * primitive.strides[-1] + (taps[-1] - 1) * primitive.dilation[-1]
    return prod(taps[:-1]) * seen * 2 * channels * SIZES[accumulate] <= _COPY


def plan_direct(
    primitive: Any, x: Operand, other: Operand, shape: tuple[int, ...], epilogue: Epilogue,
    accumulate: str, scratch: Callable[[int], Pointer], workers: int,
) -> list[Command]:  # fmt: skip
    groups, _, columns = shape
    kernel = other.shape[1:-1]
    found = places_of(primitive, x.shape[1:-1], kernel)
    tile, heads = _tile(accumulate, columns, groups)
    out = []
    for phase in phases_of(primitive, found, kernel):
        runs = runs_of(phase, other.shape[-1], _LONGEST, False)
        panel = panel_bytes(tile, sum(run.length for run in runs))
        packed = scratch(groups * -(-columns // tile.cols) * panel)
        if runs:
            out.append(pack_weights(tile, other, runs, groups, packed))
        places = spatial((0, *found, 0))
        spec = DirectSpec(
            x.dtype, accumulate, Share(1, 1), epilogue, _rows(phase.counts[2], tile, heads),
            tile.lanes, tile.vectors, heads,
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


def _rows(positions: int, tile: Tile, heads: int) -> tuple[int, int]:
    """Positions of a tile and of a last one: those that compute least behind the line's end."""
    if host().vector_bytes < 64:
        return (6, 3)
    return (14, 7) if _computed(positions, 14) <= _computed(positions, 8) * 17 // 16 else (8, 4)


def _computed(positions: int, rows: int) -> int:
    rest, few = positions % rows, rows // 2
    return positions - rest + (0 if rest == 0 else few if rest <= few else rows)


def _product(
    spec: DirectSpec, x: Operand, phase: Phase, places: tuple[int, int, int],
    weights: tuple[Tile, int, Pointer], shape: tuple[int, ...],
    scratch: Callable[[int], Pointer], workers: int,
) -> Command:  # fmt: skip
    tile, panel, packed = weights
    groups, _, columns = shape
    size, acc = SIZES[x.dtype], SIZES[spec.accumulate]
    channels = x.shape[-1] // groups
    strides = spatial_strides(x.strides, size)
    n_blocks = -(-columns // tile.cols)
    blocks = groups // spec.heads * n_blocks
    lines = x.shape[0] * phase.counts[0] * phase.counts[1]
    taps = prod(len(line.taps) for line in phase.axes)
    work = max(phase.counts[2] * tile.cols * spec.heads * max(taps, 1) * channels, 1)
    each = max(1, min(4 * _TASK // work, -(-lines * blocks // (4 * workers * blocks))))
    along = phase.axes[2]
    reach = along.taps[-1][1] - along.taps[0][1] if along.taps else 0
    seen = (max(spec.rows) - 1) * along.stride + reach + 1
    depth = len(phase.axes[0].taps) * len(phase.axes[1].taps)
    copy = (depth * seen * channels * spec.heads + 2 * tile.lanes) * acc
    copy = -(-copy // 4096) * 4096 + 256
    merged = x.strides[-2] == channels and spec.heads == 1 and reach == len(along.taps) - 1
    # In the order of DIRECT_SLOTS.
    head = [
        *x.pointer.consts, *packed.consts, columns, tile.b_row, lines, each,
        *rows_of_lines(phase, places), channels, channels * size, panel, n_blocks * panel,
        n_blocks, blocks, int(merged), *scratch(copy * workers).consts, copy,
    ]  # fmt: skip
    item = place_table(phase, spatial(x.shape), x.strides[0] * size, strides)
    consts = [*head, *item, *axes_table(phase), *spec.epilogue.consts]
    command = Command(spec, consts, blocks * -(-lines // each))
    command.flops = 2 * groups * lines * phase.counts[2] * columns * taps * channels
    return command
