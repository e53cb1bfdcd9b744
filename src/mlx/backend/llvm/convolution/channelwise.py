"""Convolutions of many small groups: vectors over channels, taps accumulated in registers.

A task computes lines of the result, some positions at a time.  The order of each sum is that
of the packed product: taps in row-major order, then the inputs of the group; taps outside the
input are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.convolution.lanes import Share, lanes_for
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes, llvm_type, multiply_add
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

SLOTS = (
    "x_base", "x_offset", "w_base", "w_offset", "outputs", "row", "units", "each", "start",
    "item_rows", "z_rows", "y_rows", "x_rows", "pieces", "width",
)  # fmt: skip
"""A line of the result is cut into ``pieces`` of ``width`` positions; ``units`` are all of them,
a task has ``each``."""
_PLACES = 13
_AXES = 9  # for each axis the place of the first tap, the distance of taps, and their number


@dataclass(frozen=True)
class ChannelwiseSpec:
    """A kernel for a dtype, a size of groups and an epilogue."""

    dtype: str
    accumulate: str
    share: Share
    epilogue: Epilogue

    @property
    def key(self) -> str:
        share = f"{self.share.inputs}x{self.share.outputs}"
        return f"channelwise|{self.dtype}|{self.accumulate}|{share}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        Channelwise(self, module, name).emit()


class Channelwise:
    """``spec`` is a ChannelwiseSpec, or has at least its dtypes and share."""

    spec: Any
    names: tuple[str, ...] = SLOTS

    def __init__(self, spec: Any, module: Module, name: str) -> None:
        self.spec, self.share = spec, spec.share
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f
        self.element = Element(spec.dtype, spec.accumulate)
        self.lanes = lanes_for(spec.accumulate)
        self.size = SIZES[spec.accumulate]
        self.type = vector(self.lanes, llvm_type(spec.accumulate))
        self.together = 8 if host().vector_bytes == 64 else 4

    def slot(self, name: str) -> Value:
        return self.kernel.const(self.names.index(name))

    @property
    def sums_of_tile(self) -> int:
        return 8

    def start(self, x: Value, slot: int) -> tuple[Value, Value]:
        """Where a task's input starts, and its chunk of units; the epilogue's consts start at
        ``slot``."""
        state = self.spec.epilogue.begin(self.kernel, slot)
        self.context = self.spec.epilogue.batch(self.kernel, state, i64(0))
        return x, self.kernel.task

    def emit(self) -> None:
        f, kernel = self.f, self.kernel
        for name in self.names:
            self.slot(name)
        place = len(self.names)  # the place table, then the axes, then the epilogue's consts
        numbers = [kernel.const(place + i) for i in range(_PLACES)]
        self.sizes, self.counts, self.steps = numbers[:3], numbers[3:6], numbers[6:9]
        self.item, *self.strides = numbers[9:]
        x, self.w = kernel.pointer(0), kernel.pointer(2)
        axes = [kernel.const(place + _PLACES + i) for i in range(_AXES)]
        self.numbers = {name: axes[3 * i : 3 * i + 3] for i, name in enumerate("zyx")}
        self.buffer = f.alloca(self.type, self.sums_of_tile)
        self.step = f.mul(self.steps[2], self.strides[2])
        x, chunk = self.start(x, place + _PLACES + _AXES)
        first = f.mul(chunk, self.slot("each"))
        last = f.min(f.add(first, self.slot("each")), self.slot("units"))
        unit = f.loop(first, last, i64(1))
        line = f.op("udiv", unit.index, self.slot("pieces"))
        begin = f.mul(f.op("urem", unit.index, self.slot("pieces")), self.slot("width"))
        self.piece = begin, f.min(f.add(begin, self.slot("width")), self.counts[2])
        rest = f.op("udiv", line, self.counts[1])
        y, z = f.op("urem", line, self.counts[1]), f.op("urem", rest, self.counts[0])
        item = f.op("udiv", rest, self.counts[0])
        row = f.add(self.slot("start"), f.mul(item, self.slot("item_rows")))
        row = f.add(row, f.mul(z, self.slot("z_rows")))
        row = f.add(row, f.mul(y, self.slot("y_rows")))
        z, y = f.mul(z, self.steps[0]), f.mul(y, self.steps[1])
        source = f.gep(x, f.mul(item, self.item))
        source = f.gep(source, f.mul(z, self.strides[0]))
        source = f.gep(source, f.mul(y, self.strides[1]))
        self._line(source, z, y, row)
        f.end_loop(unit)
        f.ret()

    def _line(self, source: Value, z: Value, y: Value, row: Value) -> None:
        """Positions that see all taps of the last axis some at a time, others one by one."""
        f, together = self.f, i64(self.together)
        self.valid = [self._valid(0, z), self._valid(1, y)]
        begin, end = self._inside()
        start, stop = self.piece
        begin, end = f.max(begin, start), f.min(end, stop)
        enough = f.icmp("sge", f.sub(end, begin), together)
        begin = f.select(enough, begin, start)
        end = f.select(enough, end, begin)
        tile = f.loop(begin, end, together)
        first = f.min(tile.index, f.sub(end, together))  # the last ones may be computed twice
        whole = (i64(0), self.numbers["x"][2])
        self._blocks(source, row, first, self.together, whole)
        f.end_loop(tile)
        inside = f.sub(end, begin)
        edge = f.loop(start, f.sub(stop, inside), i64(1))
        behind = f.add(edge.index, inside)
        position = f.select(f.icmp("slt", edge.index, begin), edge.index, behind)
        self._blocks(source, row, position, 1, self._valid(2, f.mul(position, self.steps[2])))
        f.end_loop(edge)

    def _valid(self, axis: int, at: Value) -> tuple[Value, Value]:
        """The first tap of an axis that lies inside the input, and the first one behind those."""
        f = self.f
        first, delta, count = self.numbers["zyx"[axis]]
        start = f.add(at, first)
        before = f.op("sdiv", f.add(f.sub(i64(0), start), f.sub(delta, i64(1))), delta)
        low = f.select(f.icmp("slt", start, i64(0)), before, i64(0))
        room = f.sub(f.sub(self.sizes[axis], i64(1)), start)
        high = f.add(f.op("sdiv", room, delta), i64(1))
        high = f.min(f.select(f.icmp("sge", room, i64(0)), high, i64(0)), count)
        return low, high

    def _inside(self) -> tuple[Value, Value]:
        """The positions that see all taps of the last axis: the first, and the one behind."""
        f, step, positions = self.f, self.steps[2], self.counts[2]
        first, delta, count = self.numbers["x"]
        last = f.add(first, f.mul(delta, f.sub(count, i64(1))))
        ahead = f.sub(i64(0), first)
        begin = f.op("sdiv", f.add(ahead, f.sub(step, i64(1))), step)
        begin = f.select(f.icmp("sgt", ahead, i64(0)), begin, i64(0))
        room = f.sub(f.sub(self.sizes[2], i64(1)), last)
        end = f.add(f.op("sdiv", room, step), i64(1))
        end = f.min(f.select(f.icmp("sge", room, i64(0)), end, i64(0)), positions)
        return begin, end

    piece: tuple[Value, Value]
    """The positions of the unit at hand: the first, and the one behind."""

    inside: tuple[Value, Value]
    """Of the line at hand, where a subclass asks :meth:`within`."""

    def within(self, first: Value, together: int) -> Value:
        """Whether a block of positions sees all taps of the last axis."""
        f, (begin, end) = self.f, self.inside
        there = f.icmp("sge", first, begin)
        return f.op("and", there, f.icmp("sle", f.add(first, i64(together)), end))

    def _blocks(
        self, source: Value, row: Value, first: Value, count: int, taps: tuple[Value, Value]
    ) -> None:
        """All outputs of ``count`` positions."""
        f = self.f
        here = f.gep(source, f.mul(first, self.step))
        at = f.add(row, f.mul(first, self.slot("x_rows")))
        block = f.loop(i64(0), self.slot("outputs"), i64(self.lanes))
        left = f.sub(self.slot("outputs"), block.index)
        channel = self.share.input_of(f, block.index)
        from_ = f.gep(here, f.mul(channel, i64(self.element.size)))
        weights = f.gep(self.w, f.mul(block.index, i64(self.size)))
        self._sums(from_, weights, count, taps, left)
        self._store(at, i64(count), block.index, left)
        f.end_loop(block)

    def _sums(
        self, source: Value, weights: Value, count: int, taps: tuple[Value, Value], left: Value
    ) -> None:
        """The sums over the taps inside the input, for some positions, to the buffer."""
        f = self.f
        row = f.mul(self.slot("row"), i64(self.share.inputs))
        y_row = f.mul(row, self.numbers["x"][2])
        z_row = f.mul(y_row, self.numbers["y"][2])
        sums = [const(self.type, 0)] * count
        z = f.loop(*self.valid[0], i64(1), sums)
        plane = f.gep(source, self._offset(0, z.index))
        y = f.loop(*self.valid[1], i64(1), z.values)
        line = f.gep(plane, self._offset(1, y.index))
        w = f.gep(weights, f.add(f.mul(z.index, z_row), f.mul(y.index, y_row)))
        start = [f.gep(line, self._offset(2, taps[0])), f.gep(w, f.mul(taps[0], row))]
        x = f.loop(*taps, i64(1), [*start, *y.values])
        here, w, *sums = x.values
        sums = self._tap(here, w, sums, left)
        moved = [f.gep(here, f.mul(self.numbers["x"][1], self.strides[2])), f.gep(w, row)]
        sums = f.end_loop(x, [*moved, *sums])[2:]
        self._keep(f.end_loop(z, f.end_loop(y, sums)))

    def in_whole_blocks(self, together: int, few: int) -> Value:
        """The end of the piece's positions in blocks of ``together``: all, but for a rest that
        ``few`` are enough for."""
        f, (start, stop) = self.f, self.piece
        rest = f.op("urem", f.sub(stop, start), i64(together))
        short = f.op("and", f.icmp("sgt", rest, i64(0)), f.icmp("sle", rest, i64(few)))
        return f.select(short, f.sub(stop, rest), stop)

    def _keep(self, sums: list[Value]) -> None:
        for t, value in enumerate(sums):
            at = self.f.gep(self.buffer, i64(t * self.lanes * self.size))
            self.f.store(value, at, self.size)

    wide: Value
    pitch: Value
    element_bytes: Value
    """Of positions that are copied: their elements, bytes, and those of an element."""

    def clear_run(self, to: Value, length: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), length, i64(self.lanes))
        f.store(const(self.type, 0), f.gep(to, f.mul(loop.index, self.element_bytes)), self.size)
        f.end_loop(loop)

    def copy_positions(self, source: Value, target: Value, positions: Value) -> None:
        """Positions with their channels: as one run where these lie together."""
        f, size = self.f, self.element.size
        together = f.icmp("eq", self.strides[2], f.mul(self.wide, i64(size)))
        length = f.select(together, f.mul(self.wide, positions), self.wide)
        positions = f.select(together, f.min(positions, i64(1)), positions)
        loop = f.loop(i64(0), positions, i64(1), [source, target])
        here, to = loop.values
        run = f.loop(i64(0), length, i64(self.lanes))
        left = f.sub(length, run.index)
        from_ = f.gep(here, f.mul(run.index, i64(size)))
        (value,) = self.element.load_run(f, from_, self.lanes, left)
        f.store(value, f.gep(to, f.mul(run.index, self.element_bytes)), self.size)
        f.end_loop(run)
        f.end_loop(loop, [f.gep(here, self.strides[2]), f.gep(to, self.pitch)])

    def _offset(self, axis: int, tap: Value) -> Value:
        """Bytes from a position to what a tap sees, along an axis."""
        f, (first, delta, _) = self.f, self.numbers["zyx"[axis]]
        return f.mul(f.add(first, f.mul(tap, delta)), self.strides[axis])

    def _tap(self, here: Value, w: Value, sums: list[Value], left: Value) -> list[Value]:
        f, out = self.f, list(sums)
        factors = []
        for _ in range(self.share.inputs):
            factors.append(f.load(w, self.type, self.size))
            w = f.gep(w, self.slot("row"))
        for t in range(len(out)):
            address = f.gep(here, f.mul(self.step, i64(t)))
            values = self.share.load(f, self.element, address, self.lanes, left)
            for value, factor in zip(values, factors, strict=True):
                out[t] = multiply_add(f, value, factor, out[t], host().has_fma)
        return out

    def _store(self, row: Value, count: Value, col: Value, left: Value) -> None:
        """The buffer's sums: rows of one vector, of which ``left`` lanes are there."""
        f = self.f

        def rows(mask: Value | None) -> None:
            loop = f.loop(i64(0), count, i64(1), [row, self.buffer])
            at, source = loop.values
            value = f.load(source, self.type, self.size)
            self.spec.epilogue.store(self.kernel, self.context, value, at, col, mask)
            following = f.gep(source, i64(self.lanes * self.size))
            f.end_loop(loop, [f.add(at, self.slot("x_rows")), following])

        self.whole_or_part(left, rows)

    def whole_or_part(self, left: Value, store: Callable[[Value | None], None]) -> None:
        """``store(None)`` of whole vectors, or with a mask of the ``left`` lanes that are there."""
        f = self.f
        f.where(
            f.icmp("sge", left, i64(self.lanes)),
            lambda: store(None),
            lambda: store(first_lanes(f, left, self.lanes)),
        )

    def plain_place(self, context: Any) -> tuple[Value, Value] | None:
        """Where the result lies and the bytes of a row, if sums are stored as they are."""
        find = getattr(self.spec.epilogue, "destination", None)
        return find(self.kernel, context, self.spec.accumulate) if find else None
