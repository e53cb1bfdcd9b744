"""The correlation of many small groups: vectors over channels, a few taps in registers.

Lines of positions are cut into chunks whose number depends on sizes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.convolution.geometry import Phase, Three
from mlx.backend.llvm.convolution.lanes import Share, lanes_for
from mlx.backend.llvm.gemm.elements import SIZES, Element, llvm_type, multiply_add
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

SLOTS = (
    "x_base", "x_offset", "y_base", "y_offset", "sums_base", "sums_offset", "outputs", "row",
    "rows", "lines", "each", "blocks", "y_place", "sets", "taps",
)  # fmt: skip
PLACE, PLACES = len(SLOTS), 13
TAP = 4  # numbers of a tap: offset in bytes, and its place
BOUNDS = 6  # and of a set before its taps: least and greatest place along each axis
_MOST = 9  # sums in registers


@dataclass(frozen=True)
class ChannelSumsSpec:
    """A kernel for a dtype, a size of groups, and so many taps at once.

    A task is one vector of outputs over one chunk of lines.
    """

    dtype: str
    accumulate: str
    share: Share
    together: int

    @property
    def key(self) -> str:
        share = f"{self.share.inputs}x{self.share.outputs}"
        return f"channelsums|{self.dtype}|{self.accumulate}|{share}|{self.together}"

    def emit(self, module: Module, name: str) -> None:
        _ChannelSums(self, module, name).emit()


class _ChannelSums:
    def __init__(self, spec: ChannelSumsSpec, module: Module, name: str) -> None:
        self.spec, self.share = spec, spec.share
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f
        self.element = Element(spec.dtype, spec.accumulate)
        self.lanes = lanes_for(spec.accumulate)
        self.type = vector(self.lanes, llvm_type(spec.accumulate))

    def slot(self, name: str) -> Value:
        return self.kernel.const(SLOTS.index(name))

    def emit(self) -> None:
        f, kernel, size = self.f, self.kernel, SIZES[self.spec.accumulate]
        for name in SLOTS:
            self.slot(name)
        numbers = [kernel.const(PLACE + i) for i in range(PLACES)]
        self.sizes, self.counts, self.steps = numbers[:3], numbers[3:6], numbers[6:9]
        self.item, *self.strides = numbers[9:]
        self.step = f.mul(self.steps[2], self.strides[2])
        block = f.op("urem", kernel.task, self.slot("blocks"))
        chunk = f.op("udiv", kernel.task, self.slot("blocks"))
        output = f.mul(block, i64(self.lanes))
        self.left = f.sub(self.slot("outputs"), output)
        channel = self.share.input_of(f, output)
        self.x = f.gep(kernel.pointer(0), f.mul(channel, i64(self.element.size)))
        self.y = f.gep(kernel.pointer(2), f.mul(output, i64(self.element.size)))
        first = f.mul(chunk, self.slot("each"))
        last = f.min(f.add(first, self.slot("each")), self.slot("lines"))
        sums = f.gep(kernel.pointer(4), f.mul(f.mul(chunk, self.slot("rows")), self.slot("row")))
        sums = f.gep(sums, f.mul(output, i64(size)))
        table = f.gep(kernel.consts, self.slot("taps"), "i64")
        loop = f.loop(i64(0), self.slot("sets"), i64(1), [table, sums])
        self.set, to = loop.values
        for value in self._lines(first, last):
            f.store(value, to, size)
            to = f.gep(to, self.slot("row"))
        width = BOUNDS + TAP * self.spec.together
        f.end_loop(loop, [f.gep(self.set, i64(width), "i64"), to])
        f.ret()

    def _number(self, at: int) -> Value:
        return self.f.load(self.f.gep(self.set, i64(at), "i64"), "i64", 8)

    def _lines(self, first: Value, last: Value) -> list[Value]:
        """The sums of one set of taps over lines."""
        f = self.f
        bounds = [self._number(i) for i in range(BOUNDS)]
        offsets = [self._number(BOUNDS + TAP * t) for t in range(self.spec.together)]
        zeros = [const(self.type, 0)] * (self.spec.together * self.share.inputs)
        line = f.loop(first, last, i64(1), zeros)
        rest = f.op("udiv", line.index, self.counts[1])
        y, z = f.op("urem", line.index, self.counts[1]), f.op("urem", rest, self.counts[0])
        item = f.op("udiv", rest, self.counts[0])
        z, y = f.mul(z, self.steps[0]), f.mul(y, self.steps[1])
        source = f.gep(self.x, f.mul(item, self.item))
        source = f.gep(source, f.mul(z, self.strides[0]))
        source = f.gep(source, f.mul(y, self.strides[1]))
        there = Value("true", "i1")
        for axis, at in ((0, z), (1, y)):
            there = f.op("and", there, f.icmp("sge", f.add(at, bounds[2 * axis]), i64(0)))
            high = f.add(at, bounds[2 * axis + 1])
            there = f.op("and", there, f.icmp("slt", high, self.sizes[axis]))
        begin, end = self._inside(bounds[4], bounds[5], there)
        gone = Value("false", "i1")
        for axis, at in ((0, z), (1, y)):
            gone = f.op("or", gone, f.icmp("slt", f.add(at, bounds[2 * axis + 1]), i64(0)))
            low = f.add(at, bounds[2 * axis])
            gone = f.op("or", gone, f.icmp("sge", low, self.sizes[axis]))
        stop = f.select(gone, i64(0), self.counts[2])
        begin, end = f.min(begin, stop), f.min(end, stop)
        other = f.gep(self.y, f.mul(f.mul(line.index, self.counts[2]), self.slot("y_place")))
        sums = self._positions(i64(0), begin, (source, other), (z, y), offsets, line.values, True)
        sums = self._positions(begin, end, (source, other), (z, y), offsets, sums, False)
        sums = self._positions(end, stop, (source, other), (z, y), offsets, sums, True)
        return f.end_loop(line, sums)

    def _inside(self, low: Value, high: Value, there: Value) -> tuple[Value, Value]:
        """The positions of a line whose taps all lie inside: the first, and the one behind."""
        f, step, count = self.f, self.steps[2], self.counts[2]
        behind = f.sub(i64(0), low)
        begin = f.op("sdiv", f.add(behind, f.sub(step, i64(1))), step)
        begin = f.min(f.select(f.icmp("sgt", behind, i64(0)), begin, i64(0)), count)
        room = f.sub(f.sub(self.sizes[2], i64(1)), high)
        end = f.add(f.op("sdiv", room, step), i64(1))
        end = f.min(f.select(f.icmp("sge", room, i64(0)), end, i64(0)), count)
        more = f.op("and", there, f.icmp("sgt", end, begin))
        return begin, f.select(more, end, begin)

    def _positions(
        self, begin: Value, end: Value, at: tuple[Value, Value], seen: tuple[Value, Value],
        offsets: list[Value], sums: list[Value], edge: bool,
    ) -> list[Value]:  # fmt: skip
        f = self.f
        source, other = at
        start = [
            f.gep(source, f.mul(begin, self.step)),
            f.gep(other, f.mul(begin, self.slot("y_place"))),
        ]
        loop = f.loop(begin, end, i64(1), [*start, *sums])
        here, y, *sums = loop.values
        (factor,) = self.element.load_run(f, y, self.lanes, self.left)
        for t, offset in enumerate(offsets):
            left = self._present(t, seen, loop.index) if edge else self.left
            address = f.gep(here, offset)
            values = self.share.load(f, self.element, address, self.lanes, left)
            for i, value in enumerate(values):
                n = t * self.share.inputs + i
                sums[n] = multiply_add(f, value, factor, sums[n], host().has_fma)
        moved = [f.gep(here, self.step), f.gep(y, self.slot("y_place"))]
        return f.end_loop(loop, [*moved, *sums])[2:]

    def _present(self, tap: int, seen: tuple[Value, Value], position: Value) -> Value:
        f = self.f
        there = Value("true", "i1")
        places = (*seen, f.mul(position, self.steps[2]))
        for axis, place in enumerate(places):
            at = f.add(place, self._number(BOUNDS + TAP * tap + 1 + axis))
            there = f.op("and", there, f.icmp("ult", at, self.sizes[axis]))
        return f.select(there, self.left, i64(0))


def sets_of_taps(phase: Phase, share: Share, strides: Three) -> tuple[int, int, list[int]]:
    """Sets of taps, taps in a set, and the table of sets; a last set repeats a tap."""
    a, b, c = ([at for _, at in line.taps] for line in phase.axes)
    taps = [(i, j, k) for i in a for j in b for k in c]
    most = max(_MOST // share.inputs, 1)
    line = len(c) if len(c) > 3 else len(taps)  # lines of taps are inside or outside as a whole
    together = -(-line // -(-line // most))
    sets = -(-len(taps) // together)
    table: list[int] = []
    for first in range(0, len(taps), together):
        chosen = taps[first : first + together]
        chosen += chosen[-1:] * (together - len(chosen))
        for axis in range(3):
            table += [min(t[axis] for t in chosen), max(t[axis] for t in chosen)]
        for at in chosen:
            table += [sum(p * s for p, s in zip(at, strides, strict=True)), *at]
    return sets, together, table
