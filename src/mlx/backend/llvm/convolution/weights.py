"""Packing the weights of a convolution into panels, in the order in which runs are summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.convolution.geometry import Run, three
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix, round_up
from mlx.backend.llvm.gemm.pack import pack_b
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import i64

_SLOTS = ("n", "col", "k", "group", "panels", "b_panel", "packed_group", "pieces")
_FIRST = 4  # slots of the two pointers
_PIECE = 3  # numbers of a piece


@dataclass(frozen=True)
class WeightsSpec:
    """A task packs one panel of one group, piece by piece; consts: pointers, slots, pieces."""

    dtype: str
    layout: str
    tile: Tile

    @property
    def key(self) -> str:
        tile = self.tile
        return f"convweights|{self.dtype}|{self.layout}|{tile.name}|{tile.lanes}x{tile.vectors}"

    def emit(self, module: Module, name: str) -> None:
        tile, element = self.tile, self.tile.element(self.dtype)
        pack = pack_b(module, tile, element, self.layout)
        kernel = Kernel(module, name)
        f = kernel.f
        slot = {n: kernel.const(_FIRST + at) for at, n in enumerate(_SLOTS)}
        panel = f.op("urem", kernel.task, slot["panels"])
        group = f.op("udiv", kernel.task, slot["panels"])
        col0 = f.mul(panel, i64(tile.cols))
        source = f.gep(kernel.pointer(0), f.mul(group, slot["group"]))
        source = f.gep(source, f.mul(col0, slot["col"]))
        target = f.gep(kernel.pointer(2), f.mul(group, slot["packed_group"]))
        target = f.gep(target, f.mul(panel, slot["b_panel"]))
        cols = f.min(f.sub(slot["n"], col0), i64(tile.cols))
        pieces = f.gep(kernel.consts, i64(_FIRST + len(_SLOTS)), "i64")
        loop = f.loop(i64(0), slot["pieces"], i64(1), [pieces, target])
        entry, to = loop.values
        offset, length, rows = (f.load(f.gep(entry, i64(i), "i64"), "i64", 8) for i in range(3))
        here = f.gep(source, offset)
        f.call(pack, "void", here, slot["col"], slot["k"], cols, length, to, slot["b_panel"])
        following = f.gep(to, f.mul(rows, i64(tile.b_row)))
        f.end_loop(loop, [f.gep(entry, i64(_PIECE), "i64"), following])
        f.ret()


def panel_bytes(tile: Tile, depth: int) -> int:
    """Bytes of one panel; turned blocks may write up to a vector of rows too many."""
    return (round_up(max(depth, 1), tile.lanes) + tile.lanes) * tile.b_row


def step_of_weights(w: Operand) -> int:
    """The stride of channels; where there is one, that of the taps of the last axis."""
    return w.strides[-1] if w.shape[-1] > 1 else w.strides[-2]


def pack_weights(
    tile: Tile, w: Operand, runs: Sequence[Run], groups: int, place: Pointer
) -> Command:
    """The command that packs the weights (O, kernel..., C / groups) of these runs."""
    size = SIZES[w.dtype]
    step = step_of_weights(w)
    strides = [s * size for s in (*w.strides[:-1], step)]
    outputs = w.shape[0] // groups
    layout = Matrix(w.pointer, w.dtype, (), step, w.strides[0]).layout
    pieces = _pieces(runs, strides, tile)
    depth = sum(tile.depth_of(run.length) for run in runs)
    panel = panel_bytes(tile, depth)
    panels = -(-outputs // tile.cols)
    consts = [
        *w.pointer.consts, *place.consts, outputs, strides[0], strides[-1],
        outputs * strides[0], panels, panel, panels * panel, len(pieces) // _PIECE, *pieces,
    ]  # fmt: skip
    total = groups * outputs * depth * tile.step * size
    return Command(WeightsSpec(w.dtype, layout, tile), consts, groups * panels, "pack", 2 * total)


def _pieces(runs: Sequence[Run], strides: Sequence[int], tile: Tile) -> list[int]:
    """Offsets and lengths of what lies together, and the rows of a panel from it to the next; a
    run starts on a row that the micro-kernel may start with."""
    pieces: list[list[int]] = []  # offset, length, row
    first = 0
    for run in runs:
        at = 0
        for tap, channel in run.weights:
            steps = zip(tap, three(strides[1:-1], 0), strict=True)
            offset = sum(t * s for t, s in steps) + channel * strides[-1]
            row = first + at // tile.step
            last = pieces[-1] if pieces else [0, 0, -1]
            full = last[2] + last[1] // tile.step == row and last[1] % tile.step == 0
            if (at or full) and pieces and last[0] + last[1] * strides[-1] == offset:
                last[1] += run.channels
            else:
                pieces.append([offset, run.channels, row])
            at += run.channels
        first += tile.depth_of(run.length)
    following = [*(row for _, _, row in pieces[1:]), first][: len(pieces)]  # none without taps
    return [
        number
        for (offset, length, row), end in zip(pieces, following, strict=True)
        for number in (offset, length, end - row)
    ]
