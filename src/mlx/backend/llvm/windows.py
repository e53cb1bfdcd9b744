"""Derivatives of the largest element of each window: shares of cotangents, means of tangents.

Of every window the elements that equal its largest are counted, then what is moved along them is
read or added where they lie.  A task owns a run of positions along the first axis; of windows
that reach over its ends it adds to its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Command, Kernel, Operand
from mlx.backend.llvm.along import split_rows
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass

UNITS, EACH, BLOCKS, BLOCK, CHANNELS, AXES = range(6)
SIZE, COUNT, STEP, ORIGIN, WIDTH = range(5)
_MOST = 1 << 15
"""Elements of a task's run."""
_WIDE = 4
"""Vectors side by side."""


def plan_windows(
    primitive: Any, inputs: Sequence[Operand], outputs: Sequence[Operand], workers: int
) -> list[Command]:
    """The command of WindowMaxShare or WindowMaxPick."""
    x, _, _ = inputs
    (out,) = outputs
    if not prod(out.shape):
        return []
    shares = primitive.name == "WindowMaxShare"
    dtype = dtype_named(out.dtype)
    batch, first, *rest = out.shape
    line = prod(rest)
    tasks = -(-4 * workers // batch) if workers > 1 else 1
    block = max(1, min(-(-first // tasks), -(-_MOST // max(line, 1))))
    blocks = -(-first // block)
    each = split_rows(batch * blocks, block * line, workers)
    consts = [batch * blocks, each, blocks, block, out.shape[-1]]
    for _, size, count, *numbers, _ in primitive.axes:
        consts += [size, count, *(int(number) for number in numbers)]
    for operand in (*inputs, out):
        consts += [*operand.pointer.consts, *(s * dtype.size for s in operand.strides)]
    apart = tuple(o.strides[-1] != 1 and o.shape[-1] != 1 for o in inputs)
    spec = WindowsSpec(out.dtype, len(primitive.axes), shares, apart, *_cover(primitive.axes))
    touched = sum(prod(o.shape) for o in (*inputs, out)) * dtype.size
    flops = 4 * prod(x.shape)
    return [Command(spec, consts, -(-batch * blocks // each), primitive.name, touched, flops)]


def _cover(axes: Sequence[Any]) -> tuple[bool, bool]:
    """Whether no element lies in two windows; and then whether each lies in one."""
    once = all(step >= width for _, _, _, step, _, width, _ in axes)
    whole = all(
        step <= width and origin <= 0 and origin + count * step >= size
        for _, size, count, step, origin, width, _ in axes
    )
    return once, once and whole


@dataclass(frozen=True)
class WindowsSpec:
    """Consts: see the names above; then five for each axis; then for x, the largest elements, what
    is moved and the result: base, offset, strides.

    shares: add to elements, else sum them; apart: for each operand, whether its channels don't lie
    side by side; once: elements get at most one share; whole: and each gets one.
    """

    dtype: str
    axes: int
    shares: bool
    apart: tuple[bool, ...]
    once: bool
    whole: bool

    @property
    def key(self) -> str:
        apart = "".join("01"[a] for a in self.apart)
        return f"windows {self.dtype} {self.axes} {self.shares} {apart} {self.once} {self.whole}"

    def emit(self, module: Module, name: str) -> None:
        _Windows(self, Kernel(module, name)).emit()


class _View:
    """An operand: its first element, and strides of the batch, each axis and channels."""

    def __init__(self, k: Kernel, slot: int, axes: int) -> None:
        self.base = k.pointer(slot)
        self.strides = [k.const(slot + 2 + i) for i in range(axes + 2)]


class _Windows:
    """Emission of one kernel."""

    def __init__(self, spec: WindowsSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.e = LaneEmitter(self.f, host().vector_bytes // accumulator(self.dtype).size)
        self.zero, self.one = (self.e.const(n, self.dtype) for n in (0, 1))

    def emit(self) -> None:
        k, f, axes = self.k, self.f, self.spec.axes
        slot, each = AXES + 5 * axes, 4 + axes
        for position in range(slot + 4 * each):
            k.const(position)
        self.views = [_View(k, slot + i * each, axes) for i in range(4)]
        first = f.mul(k.task, k.const(EACH))
        end = f.min(f.add(first, k.const(EACH)), k.const(UNITS))
        units = f.loop(first, end, i64(1))
        image = f.op("udiv", units.index, k.const(BLOCKS))
        part = f.sub(units.index, f.mul(image, k.const(BLOCKS)))
        self.bases = [f.gep(v.base, f.mul(image, v.strides[0])) for v in self.views]
        low = f.mul(part, k.const(BLOCK))
        size = self._axis(0, SIZE if self.spec.shares else COUNT)
        self.own = low, f.min(f.add(low, k.const(BLOCK)), size)
        if self.spec.shares and not self.spec.whole:
            self._clear()
        self._windows(0, [], self.bases)
        f.end_loop(units)
        f.ret()

    def _axis(self, axis: int, what: int) -> Value:
        return self.k.const(AXES + 5 * axis + what)

    def _clear(self) -> None:
        """Zeros in the task's own elements, which lie side by side."""
        f, (low, high) = self.f, self.own
        stride = self.views[3].strides[1]
        begin = f.gep(self.bases[3], f.mul(low, stride))
        count = f.op("udiv", f.mul(f.sub(high, low), stride), i64(self.dtype.size))

        def body(first: Value, mask: Value | None) -> None:
            memory.store_unit(self.e, self.zero, self._at(begin, first), mask)

        memory.each_vector(self.e, count, body)

    def _at(self, base: Value, place: Value) -> Value:
        return self.f.gep(base, self.f.mul(place, i64(self.dtype.size)))

    # -- windows -----------------------------------------------------------------------

    def _windows(
        self, axis: int, ranges: list[tuple[Value, Value]], bases: Sequence[Value]
    ) -> None:
        """All windows with an element of the task, along one axis after the other; ``ranges`` are
        their elements so far, ``bases`` where operands that have windows for positions lie."""
        f = self.f
        if axis == self.spec.axes:
            self._spans(lambda c, vectors, mask: self._window(ranges, bases, c, vectors, mask))
            return
        begin, end = i64(0), self._axis(axis, COUNT)
        if axis == 0:
            begin, end = self._first_windows()
        loop = f.loop(begin, end, i64(1))
        start = f.add(f.mul(loop.index, self._axis(axis, STEP)), self._axis(axis, ORIGIN))
        reach = f.min(f.add(start, self._axis(axis, WIDTH)), self._axis(axis, SIZE))
        moved = [
            f.gep(base, f.mul(loop.index, view.strides[axis + 1])) if self._by_window(i) else base
            for i, (base, view) in enumerate(zip(bases, self.views, strict=True))
        ]
        self._windows(axis + 1, [*ranges, (f.max(start, i64(0)), reach)], moved)
        f.end_loop(loop)

    def _by_window(self, operand: int) -> bool:
        """Whether an operand has an element a window, not one a position."""
        return operand == 1 or operand == (2 if self.spec.shares else 3)

    def _first_windows(self) -> tuple[Value, Value]:
        """Which windows along the first axis have elements of the task."""
        f, (low, high) = self.f, self.own
        if not self.spec.shares:
            return low, high
        step, origin, width = (self._axis(0, what) for what in (STEP, ORIGIN, WIDTH))

        def behind(distance: Value) -> Value:
            return f.op("udiv", f.max(f.add(distance, step), i64(0)), step)

        begin = behind(f.sub(f.sub(low, origin), width))
        end = behind(f.sub(f.sub(high, i64(1)), origin))
        return begin, f.min(end, self._axis(0, COUNT))

    def _spans(self, body: Callable[[Value, int, Value | None], None]) -> None:
        """All channels: several vectors at once, single ones, and what is left."""
        f, lanes, channels = self.f, self.e.lanes, self.k.const(CHANNELS)
        wide = f.op("and", channels, i64(-_WIDE * lanes))
        whole = f.op("and", channels, i64(-lanes))
        for begin, end, vectors in ((i64(0), wide, _WIDE), (wide, whole, 1), (whole, channels, 0)):
            loop = f.loop(begin, end, i64(max(vectors, 1) * lanes))
            mask = None if vectors else memory.below(f, f.sub(channels, loop.index), lanes)
            body(loop.index, max(vectors, 1), mask)
            f.end_loop(loop)

    # -- one window --------------------------------------------------------------------

    def _window(
        self,
        ranges: Sequence[tuple[Value, Value]],
        bases: Sequence[Value],
        channel: Value,
        vectors: int,
        mask: Value | None,
    ) -> None:
        f, e, shares = self.f, self.e, self.spec.shares
        places = [f.add(channel, i64(i * e.lanes)) for i in range(vectors)]
        best = [self._load(1, bases[1], place, mask) for place in places]

        def count(elements: Sequence[Value], values: Sequence[Lane]) -> list[Lane]:
            hits = [self._hit(elements[0], *pair, mask) for pair in zip(places, best, strict=True)]
            found = [
                e.add(n, e.select(hit, self.one, self.zero))
                for n, hit in zip(values, hits, strict=False)
            ]
            for hit, place, sum_ in zip(hits, places, values[vectors:], strict=False):
                x = self._load(2, elements[2], place, mask)
                found.append(e.add(sum_, e.select(hit, x, self.zero)))
            return found

        totals = self._elements(ranges, count, [self.zero] * (vectors if shares else 2 * vectors))
        ties, sums = totals[:vectors], totals[vectors:]
        if not shares:
            for place, total, n in zip(places, sums, ties, strict=True):
                memory.store_unit(e, e.div(total, n), self._at(bases[3], place), mask)
            return
        moved = [self._load(2, bases[2], place, mask) for place in places]
        parts = [e.div(m, n) for m, n in zip(moved, ties, strict=True)]

        def add(elements: Sequence[Value], values: Sequence[Lane]) -> list[Lane]:
            for place, largest, part in zip(places, best, parts, strict=True):
                hit = self._hit(elements[0], place, largest, mask)
                there = self._at(elements[3], place)
                new = e.select(hit, part, self.zero)
                if not self.spec.once:
                    new = e.add(memory.load_unit(e, there, self.dtype, mask), new)
                memory.store_unit(e, new, there, mask)
            return []

        (low, high), *rest = ranges
        self._elements([(f.max(low, self.own[0]), f.min(high, self.own[1])), *rest], add, [])

    def _hit(self, element: Value, place: Value, best: Lane, mask: Value | None) -> Lane:
        return self.e.compare("eq", self._load(0, element, place, mask), best)

    def _elements(
        self,
        ranges: Sequence[tuple[Value, Value]],
        body: Callable[[Sequence[Value], Sequence[Lane]], list[Lane]],
        values: Sequence[Lane],
        addresses: Sequence[Value] | None = None,
    ) -> list[Lane]:
        """A loop over the elements of a window; ``values`` are carried from one to the next."""
        f = self.f
        addresses = addresses or self.bases
        if not ranges:
            return body(addresses, values)
        axis = self.spec.axes - len(ranges)
        (low, high), *rest = ranges
        loop = f.loop(low, high, i64(1), [value.v for value in values])
        moved = [
            f.gep(base, f.mul(loop.index, view.strides[axis + 1]))
            for base, view in zip(addresses, self.views, strict=True)
        ]
        inner = [Lane(self.dtype, v) for v in loop.values]
        found = self._elements(rest, body, inner, moved)
        return [Lane(self.dtype, v) for v in f.end_loop(loop, [lane.v for lane in found])]

    def _load(self, operand: int, base: Value, place: Value, mask: Value | None) -> Lane:
        if not self.spec.apart[operand]:
            return memory.load_unit(self.e, self._at(base, place), self.dtype, mask)
        f, e = self.f, self.e
        last = None if mask is None else f.sub(self.k.const(CHANNELS), i64(1))
        turn = self.views[operand].strides[-1]
        addresses = memory.strided_addresses(f, base, place, turn, e.lanes, last)
        return memory.load_strided(e, addresses, self.dtype)
