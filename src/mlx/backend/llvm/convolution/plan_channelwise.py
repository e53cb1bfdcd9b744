"""From a convolution of many small groups to commands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution.channelwise import ChannelwiseSpec
from mlx.backend.llvm.convolution.geometry import Phase, phases_of, places_of
from mlx.backend.llvm.convolution.lanes import Share, pack_rows, row_bytes
from mlx.backend.llvm.convolution.patches import place_table, spatial, spatial_strides
from mlx.backend.llvm.convolution.windows import FEW, MOST_STEP, MOST_TAPS, WindowsSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Epilogue, round_up
from mlx.backend.llvm.target import host

_TASK = 1 << 17  # multiplications of a task
_STEP = 64  # positions of a piece of a line are a multiple of this


def plan_channelwise(
    primitive: Any,
    x: Operand,
    other: Operand,
    epilogue: Epilogue,
    accumulate: str,
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The commands of a convolution whose groups are lanes."""
    inputs = x.shape[-1] // primitive.groups
    share = Share(inputs, other.shape[0] // primitive.groups)
    kernel = other.shape[1:-1]
    found = places_of(primitive, x.shape[1:-1], kernel)
    out = []
    for phase in phases_of(primitive, found, kernel):
        z, y, along = ([tap for tap, _ in line.taps] for line in phase.axes)
        taps = list(product(z, y, along))
        place = Pointer(0)
        if taps:
            place = scratch(len(taps) * inputs * row_bytes(other.shape[0], accumulate))
            out.append(pack_rows(other, taps, accumulate, place))
        places = spatial((0, *found, 0))
        how = share, epilogue, accumulate
        out.append(_product(x, other, phase, len(taps), places, how, place, workers))
    return out


def _product(
    x: Operand, w: Operand, phase: Phase, taps: int, places: tuple[int, int, int],
    how: tuple[Share, Epilogue, str], place: Pointer, workers: int,
) -> Command:  # fmt: skip
    share, epilogue, accumulate = how
    size = SIZES[x.dtype]
    strides = spatial_strides(x.strides, size)
    outputs = w.shape[0]
    counts = phase.counts
    lines = x.shape[0] * counts[0] * counts[1]
    work = max(counts[2] * outputs * max(taps, 1) * share.inputs, 1)
    spec = _spec(phase, x.dtype, *how)
    step = spec.together if isinstance(spec, WindowsSpec) else _STEP
    pieces, width = pieces_of(lines, counts[2], step, work // _TASK, workers)
    units = lines * pieces
    each = max(1, min(_TASK * 4 * pieces // work, -(-units // (4 * workers))))
    extra = list(epilogue.consts)
    # In the order of SLOTS.
    head = [
        *x.pointer.consts, *place.consts, outputs, row_bytes(outputs, accumulate), units, each,
        *rows_of_lines(phase, places), pieces, width,
    ]  # fmt: skip
    item = place_table(phase, spatial(x.shape), x.strides[0] * size, strides)
    command = Command(spec, [*head, *item, *axes_table(phase), *extra], -(-units // each))
    command.flops = 2 * lines * counts[2] * outputs * taps * share.inputs
    return command


def pieces_of(lines: int, positions: int, step: int, tasks: int, workers: int) -> tuple[int, int]:
    """How many pieces a line is cut into where there are too few lines for all workers, and the
    positions of each, whole steps; a line's work is that of so many ``tasks``."""
    wanted = max(min(-(-4 * workers // lines), tasks), 1)
    width = round_up(-(-positions // wanted), step)
    return -(-positions // width), width


def rows_of_lines(phase: Phase, places: tuple[int, int, int]) -> list[int]:
    """Of the rows of the result: the first, and the steps of items, planes, lines, positions."""
    _, height, width = places
    whole = (height * width, width, 1)
    start = sum(line.first * s for line, s in zip(phase.axes, whole, strict=True))
    steps = [line.every * s for line, s in zip(phase.axes, whole, strict=True)]
    return [start, prod(places), *steps]


def axes_table(phase: Phase) -> list[int]:
    """For each axis the place of the first tap, the distance of taps, and their number."""
    axes: list[int] = []
    for line in phase.axes:
        at = [place for _, place in line.taps] or [0]
        axes += [at[0], at[1] - at[0] if len(at) > 1 else 1, len(line.taps)]
    return axes


def _spec(
    phase: Phase, dtype: str, share: Share, epilogue: Epilogue, accumulate: str
) -> ChannelwiseSpec:
    """Few taps side by side are code, where each channel is a group."""
    line = phase.axes[2]
    places = [place for _, place in line.taps]
    sizes = (8, 7) if host().vector_bytes == 64 else (4,)
    follow = all(b == a + 1 for a, b in zip(places, places[1:], strict=False))
    few = 0 < len(places) <= MOST_TAPS and line.stride <= MOST_STEP
    if few and follow and share == Share(1, 1):
        together = min(sizes, key=lambda each: computed(line.count, each, FEW))
        return WindowsSpec(dtype, accumulate, share, epilogue, len(places), line.stride, together)
    return ChannelwiseSpec(dtype, accumulate, share, epilogue)


def computed(positions: int, together: int, few: int) -> int:
    """Positions that are computed, with those behind the line's end: blocks of ``together``, and
    a last one of ``few`` where these are enough."""
    rest = positions % together
    last = 0 if rest == 0 else few if rest <= few else together
    return positions - rest + last
