"""Convolutions of many small groups: vectors over channels, taps accumulated in registers.

A task computes lines of the result, some positions at a time.  The order of each sum is that
of the packed product: taps in row-major order, then the inputs of the group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.convolution.channel_sums import plan_sums
from mlx.backend.llvm.convolution.geometry import Phase, phases_of, places_of
from mlx.backend.llvm.convolution.lanes import Share, lanes_for, pack_rows, row_bytes
from mlx.backend.llvm.convolution.patches import place_table, spatial, spatial_strides
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes, llvm_type, multiply_add
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

SLOTS = (
    "x_base", "x_offset", "w_base", "w_offset", "outputs", "row", "lines", "each", "start",
    "item_rows", "z_rows", "y_rows", "x_rows", "low_z", "low_y", "low_x", "high_z", "high_y",
    "high_x", "taps", "tap_table",
)  # fmt: skip
PLACE = len(SLOTS)  # the place table, then the epilogue's consts, then the taps
_PLACES = 13
TAP = 4  # numbers of a tap: offset in bytes, and its place
_TASK = 1 << 17  # multiplications of a task


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
        _Channelwise(self, module, name).emit()


class _Channelwise:
    def __init__(self, spec: ChannelwiseSpec, module: Module, name: str) -> None:
        self.spec, self.share = spec, spec.share
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f
        self.element = Element(spec.dtype, spec.accumulate)
        self.lanes = lanes_for(spec.accumulate)
        self.size = SIZES[spec.accumulate]
        self.type = vector(self.lanes, llvm_type(spec.accumulate))
        self.together = 8 if host().vector_bytes == 64 else 4

    def slot(self, name: str) -> Value:
        return self.kernel.const(SLOTS.index(name))

    def emit(self) -> None:
        f, kernel = self.f, self.kernel
        for name in SLOTS:
            self.slot(name)
        numbers = [kernel.const(PLACE + i) for i in range(_PLACES)]
        self.sizes, self.counts, self.steps = numbers[:3], numbers[3:6], numbers[6:9]
        self.item, *self.strides = numbers[9:]
        x, self.w = kernel.pointer(0), kernel.pointer(2)
        self.taps = f.gep(kernel.consts, self.slot("tap_table"), "i64")
        self.buffer = f.alloca(self.type, self.together)
        self.step = f.mul(self.steps[2], self.strides[2])
        state = self.spec.epilogue.begin(kernel, PLACE + _PLACES)
        self.context = self.spec.epilogue.batch(kernel, state, i64(0))
        first = f.mul(kernel.task, self.slot("each"))
        last = f.min(f.add(first, self.slot("each")), self.slot("lines"))
        line = f.loop(first, last, i64(1))
        rest = f.op("udiv", line.index, self.counts[1])
        y, z = f.op("urem", line.index, self.counts[1]), f.op("urem", rest, self.counts[0])
        item = f.op("udiv", rest, self.counts[0])
        row = f.add(self.slot("start"), f.mul(item, self.slot("item_rows")))
        row = f.add(row, f.mul(z, self.slot("z_rows")))
        row = f.add(row, f.mul(y, self.slot("y_rows")))
        z, y = f.mul(z, self.steps[0]), f.mul(y, self.steps[1])
        source = f.gep(x, f.mul(item, self.item))
        source = f.gep(source, f.mul(z, self.strides[0]))
        source = f.gep(source, f.mul(y, self.strides[1]))
        self._line(source, z, y, row)
        f.end_loop(line)
        f.ret()

    def _within(self, at: Value, axis: int, last: Value) -> Value:
        """Whether all taps of positions from one to another lie inside, along an axis."""
        f, name = self.f, "zyx"[axis]
        low = f.icmp("sge", f.add(at, self.slot("low_" + name)), i64(0))
        high = f.icmp("slt", f.add(last, self.slot("high_" + name)), self.sizes[axis])
        return f.op("and", low, high)

    def _line(self, source: Value, z: Value, y: Value, row: Value) -> None:
        f = self.f
        whole = f.op("and", self._within(z, 0, z), self._within(y, 1, y))
        tile = f.loop(i64(0), self.counts[2], i64(self.together))
        count = f.min(f.sub(self.counts[2], tile.index), i64(self.together))
        x = f.mul(tile.index, self.steps[2])
        last = f.add(x, f.mul(self.steps[2], i64(self.together - 1)))
        inside = f.op("and", whole, self._within(x, 2, last))
        inside = f.op("and", inside, f.icmp("eq", count, i64(self.together)))
        here = f.gep(source, f.mul(tile.index, self.step))
        at = f.add(row, f.mul(tile.index, self.slot("x_rows")))
        block = f.loop(i64(0), self.slot("outputs"), i64(self.lanes))
        left = f.sub(self.slot("outputs"), block.index)
        channel = self.share.input_of(f, block.index)
        from_ = f.gep(here, f.mul(channel, i64(self.element.size)))
        weights = f.gep(self.w, f.mul(block.index, i64(self.size)))
        fast, edge, done = f.label("fast"), f.label("edge"), f.label("done")
        f.branch_if(inside, fast, edge)
        f.start(fast)
        self._sums(from_, weights, lambda tap, t: left)
        f.branch(done)
        f.start(edge)
        seen = [z, y, x]
        self._sums(from_, weights, lambda tap, t: self._present(tap, seen, t, count, left))
        f.branch(done)
        f.start(done)
        self._store(at, count, block.index, left)
        f.end_loop(block)
        f.end_loop(tile)

    def _present(self, tap: Value, seen: list[Value], t: int, count: Value, left: Value) -> Value:
        """How many channels a tap sees of position t: none where that lies outside."""
        f = self.f
        there = f.icmp("slt", i64(t), count)
        for axis in range(3):
            at = f.add(seen[axis], f.load(f.gep(tap, i64(axis + 1), "i64"), "i64", 8))
            if axis == 2:
                at = f.add(at, f.mul(self.steps[2], i64(t)))
            there = f.op("and", there, f.icmp("ult", at, self.sizes[axis]))
        return f.select(there, left, i64(0))

    def _sums(self, source: Value, weights: Value, present: Callable[[Value, int], Value]) -> None:
        """The sums over all taps for some positions, to the buffer."""
        f = self.f
        zero = const(self.type, 0)
        start = [zero] * self.together
        loop = f.loop(i64(0), self.slot("taps"), i64(1), [self.taps, weights, *start])
        tap, w, *sums = loop.values
        here = f.gep(source, f.load(tap, "i64", 8))
        factors = []
        for _ in range(self.share.inputs):
            factors.append(f.load(w, self.type, self.size))
            w = f.gep(w, self.slot("row"))
        for t in range(self.together):
            address = f.gep(here, f.mul(self.step, i64(t)))
            values = self.share.load(f, self.element, address, self.lanes, present(tap, t))
            for value, factor in zip(values, factors, strict=True):
                sums[t] = multiply_add(f, value, factor, sums[t], host().has_fma)
        _, _, *sums = f.end_loop(loop, [f.gep(tap, i64(TAP), "i64"), w, *sums])
        for t, value in enumerate(sums):
            f.store(value, f.gep(self.buffer, i64(t * self.lanes * self.size)), self.size)

    def _store(self, row: Value, count: Value, col: Value, left: Value) -> None:
        f = self.f
        whole, part, done = f.label("whole"), f.label("part"), f.label("stored")
        f.branch_if(f.icmp("sge", left, i64(self.lanes)), whole, part)
        for label, mask in ((whole, False), (part, True)):
            f.start(label)
            lanes = first_lanes(f, left, self.lanes) if mask else None
            loop = f.loop(i64(0), count, i64(1), [row, self.buffer])
            at, source = loop.values
            value = f.load(source, self.type, self.size)
            self.spec.epilogue.store(self.kernel, self.context, value, at, col, lanes)
            following = f.gep(source, i64(self.lanes * self.size))
            f.end_loop(loop, [f.add(at, self.slot("x_rows")), following])
            f.branch(done)
        f.start(done)


def plan_channelwise(
    primitive: Any,
    x: Operand,
    other: Operand,
    epilogue: Epilogue,
    accumulate: str,
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The commands of a convolution or correlation whose groups are lanes."""
    inputs = x.shape[-1] // primitive.groups
    if primitive.form == "correlation":
        share = Share(inputs, other.shape[-1] // primitive.groups)
        return plan_sums(primitive, x, other, share, epilogue, accumulate, scratch)
    share = Share(inputs, other.shape[0] // primitive.groups)
    kernel = other.shape[1:-1]
    found = places_of(primitive, x.shape[1:-1], kernel)
    out = []
    for phase in phases_of(primitive, found, kernel):
        taps = [
            ((a, b, c), (z, y, at))
            for a, z in phase.axes[0].taps
            for b, y in phase.axes[1].taps
            for c, at in phase.axes[2].taps
        ]
        if taps:
            row = row_bytes(other.shape[0], accumulate)
            place = scratch(len(taps) * inputs * row)
            out.append(pack_rows(other, [number for number, _ in taps], accumulate, place))
        else:
            place = Pointer(0)
        seen = [at for _, at in taps]
        places = spatial((0, *found, 0))
        out.append(_product(x, other, phase, seen, places, (share, epilogue, accumulate), place,
                            workers))  # fmt: skip
    return out


def _product(
    x: Operand, w: Operand, phase: Phase, seen: list[Any], places: tuple[int, int, int],
    how: tuple[Share, Epilogue, str], place: Pointer, workers: int,
) -> Command:  # fmt: skip
    share, epilogue, accumulate = how
    size = SIZES[x.dtype]
    strides = spatial_strides(x.strides, size)
    outputs, (_, height, width) = w.shape[0], places
    whole = (height * width, width, 1)
    start = sum(line.first * s for line, s in zip(phase.axes, whole, strict=True))
    steps = [line.every * s for line, s in zip(phase.axes, whole, strict=True)]
    lows = [min((at[axis] for at in seen), default=0) for axis in range(3)]
    highs = [max((at[axis] for at in seen), default=0) for axis in range(3)]
    counts = phase.counts
    lines = x.shape[0] * counts[0] * counts[1]
    work = max(counts[2] * outputs * max(len(seen), 1) * share.inputs, 1)
    each = max(1, min(_TASK * 4 // work, -(-lines // (4 * workers))))
    extra = list(epilogue.consts)
    table: list[int] = []
    for at in seen:
        table += [sum(a * s for a, s in zip(at, strides, strict=True)), *at]
    # In the order of SLOTS.
    head = [
        *x.pointer.consts, *place.consts, outputs, row_bytes(outputs, accumulate), lines, each,
        start, prod(places), *steps, *lows, *highs, len(seen), PLACE + _PLACES + len(extra),
    ]  # fmt: skip
    item = place_table(phase, spatial(x.shape), x.strides[0] * size, strides)
    spec = ChannelwiseSpec(x.dtype, accumulate, share, epilogue)
    command = Command(spec, [*head, *item, *extra, *table], -(-lines // each))
    command.flops = 2 * lines * counts[2] * outputs * len(seen) * share.inputs
    return command
