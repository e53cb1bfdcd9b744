"""From a correlation of many small groups to commands.

Lines of positions are cut into chunks whose number depends on sizes alone; a second kernel adds
the chunks one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.convolution import channel_sums
from mlx.backend.llvm.convolution.channel_sums import ChannelSumsSpec, sets_of_taps
from mlx.backend.llvm.convolution.geometry import phases_of
from mlx.backend.llvm.convolution.lanes import Share, lanes_for, row_bytes
from mlx.backend.llvm.convolution.patches import (
    place_table,
    position_stride,
    spatial,
    spatial_strides,
)
from mlx.backend.llvm.convolution.plan_channelwise import axes_table, rows_of_lines
from mlx.backend.llvm.convolution.window_sums import (
    MOST_STEP,
    MOST_SUMS,
    MOST_TAPS,
    WindowSumsSpec,
    together_for,
)
from mlx.backend.llvm.gemm.chunk_sum import ChunkSumSpec
from mlx.backend.llvm.gemm.elements import SIZES

_CHUNKS, _LEAST = 64, 4096  # most chunks, and their least positions


class _Sums:
    """A correlation whose groups are lanes: rows of sums for each chunk of lines."""

    def __init__(
        self, primitive: Any, x: Operand, y: Operand, accumulate: str,
        scratch: Callable[[int], Pointer],
    ) -> None:  # fmt: skip
        (self.phase,) = phases_of(primitive, y.shape[1:-1], primitive.kernel)
        self.x, self.y, self.accumulate, self.scratch = x, y, accumulate, scratch
        self.share = Share(x.shape[-1] // primitive.groups, y.shape[-1] // primitive.groups)
        self.outputs, self.lines = y.shape[-1], prod(y.shape[:-2])
        chunks = max(min(_CHUNKS, self.lines, prod(y.shape[:-1]) // _LEAST), 1)
        self.each = max(-(-self.lines // chunks), 1)
        self.chunks = max(-(-self.lines // self.each), 1)
        self.taps = prod(len(line.taps) for line in self.phase.axes)
        self.blocks = -(-self.outputs // lanes_for(accumulate))
        self.row = row_bytes(self.outputs, accumulate)

    def product(self, workers: int) -> tuple[Command, Pointer, int]:
        """The command that sums chunks, where it leaves them, and the rows of each."""
        line = self.phase.axes[2]
        count = len(line.taps)
        follow = all(b[1] == a[1] + 1 for a, b in zip(line.taps, line.taps[1:], strict=False))
        few = 0 < count <= MOST_TAPS and count * self.share.inputs <= MOST_SUMS
        if follow and few and line.stride <= MOST_STEP:
            return self._windows(workers)
        return self._sets()

    def _numbers(self) -> tuple[list[int], int]:
        """The table of places, and the bytes between positions of the other operand."""
        x, size = self.x, SIZES[self.x.dtype]
        strides = spatial_strides(x.strides, size)
        place = place_table(self.phase, spatial(x.shape), x.strides[0] * size, strides)
        return place, position_stride(self.y) * size

    def _windows(self, workers: int) -> tuple[Command, Pointer, int]:
        """A line of taps is code; so many tasks a chunk that there are four a worker."""
        line, share, rows = self.phase.axes[2], self.share, self.taps * self.share.inputs
        sums = self.scratch(self.chunks * rows * self.row)
        spans = min(-(-4 * workers // self.chunks), self.blocks)
        span = -(-self.blocks // spans)
        spans = -(-self.blocks // span)
        place, y_place = self._numbers()
        # In the order of SUMS_SLOTS.
        head = [
            *self.x.pointer.consts, *self.y.pointer.consts, self.outputs, self.row, self.lines,
            self.each, *rows_of_lines(self.phase, spatial(self.y.shape)), 1, self.y.shape[-2],
            y_place, *sums.consts,
            rows * self.row, rows, self.blocks, span, spans,
        ]  # fmt: skip
        together = together_for(line.count, len(line.taps), share)
        spec = WindowSumsSpec(
            self.x.dtype, self.accumulate, share, len(line.taps), line.stride, together
        )
        consts = [*head, *place, *axes_table(self.phase)]
        return Command(spec, consts, spans * self.chunks), sums, rows

    def _sets(self) -> tuple[Command, Pointer, int]:
        """Taps anywhere, some at a time."""
        strides = spatial_strides(self.x.strides, SIZES[self.x.dtype])
        sets, together, table = sets_of_taps(self.phase, self.share, strides)
        rows = sets * together * self.share.inputs
        sums = self.scratch(self.chunks * rows * self.row)
        place, y_place = self._numbers()
        # In the order of channel_sums.SLOTS.
        head = [
            *self.x.pointer.consts, *self.y.pointer.consts, *sums.consts, self.outputs, self.row,
            rows, self.lines, self.each, self.blocks, y_place, sets,
            channel_sums.PLACE + channel_sums.PLACES,
        ]  # fmt: skip
        spec = ChannelSumsSpec(self.x.dtype, self.accumulate, self.share, together)
        return Command(spec, [*head, *place, *table], self.blocks * self.chunks), sums, rows


def plan_sums(
    primitive: Any, x: Operand, y: Operand, epilogue: Any, accumulate: str,
    scratch: Callable[[int], Pointer], workers: int,
) -> list[Command]:  # fmt: skip
    """The commands of a correlation whose groups are lanes."""
    made = _Sums(primitive, x, y, accumulate, scratch)
    product, sums, rows = made.product(workers)
    count = made.taps * made.share.inputs
    product.flops = 2 * prod(y.shape) * count
    swapped, step = epilogue.swapped(), rows * made.row
    consts = [*sums.consts, made.chunks, count, made.outputs, made.row, step, *swapped.consts]
    total = Command(ChunkSumSpec(accumulate, swapped), consts, count, "chunk sum")
    return [product, total]
