"""The correlation over long lines: sums of taps and channels stay in registers over positions.

Instead of patches, the lines that a tap sees are copied once for all taps of the last axis, with
zeros around them; outputs are the lanes of vectors, and an element of the input is broadcast.
Every sum is one chain over the positions of its chunk, as in ``correlate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mlx.backend.llvm.convolution.channelwise import Channelwise
from mlx.backend.llvm.convolution.lanes import Share
from mlx.backend.llvm.gemm.elements import first_lanes, llvm_type, multiply_add, prefetch
from mlx.backend.llvm.gemm.pairs import Pairs, dot_pairs, join
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

LINE_SUMS_SLOTS = (
    "x_base", "x_offset", "y_base", "y_offset", "sums_base", "sums_offset", "scratch_base",
    "scratch_offset", "scratch_stride", "panel", "outputs", "channels", "x_group", "y_group",
    "y_place", "row", "rows", "units", "each", "together", "pieces", "width", "chunks", "span",
    "parts", "taps_z", "taps_y", "lines", "line_bytes", "seen", "runs", "run_bytes", "many",
    "few", "packs", "z_first", "z_step", "y_first", "y_step", "x_first",
)  # fmt: skip
"""``row`` is the bytes of a row of sums, of which a group and chunk have ``rows``.  A unit is one
of ``pieces`` of a line, ``width`` positions; ``each`` a chunk's, ``together`` those of a block.
A task has ``span`` of the ``lines`` of taps, which lie ``line_bytes`` apart in scratch and hold
``seen`` positions; ``runs`` of a line, each ``many`` whole blocks of rows and ``few`` with one
row less.  ``panel``: where outputs lie in scratch, if a task ``packs`` them.  Then the first place
that taps see, and their distances."""

_PARAMS = [
    "ptr noalias readonly",
    "ptr noalias readonly",
    "ptr noalias",
    *["i64"] * 8,
    "ptr",
    "i64",
]


@dataclass(frozen=True)
class LineSumsSpec:
    """A kernel for tiles of ``rows`` (taps and channels) of so many ``lines`` of taps, times
    ``vectors`` of outputs."""

    dtype: str
    accumulate: str
    rows: int
    lines: int
    lanes: int
    vectors: int
    pairs: bool = False
    """Whether two positions are multiplied at once, by dot-product instructions."""
    share: Share = Share(1, 1)

    @property
    def key(self) -> str:
        tile = f"{self.lines}x{self.rows}x{self.lanes}x{self.vectors}"
        pairs = "pairs" if self.pairs else ""
        return f"linesums|{self.dtype}|{self.accumulate}|{tile}|{pairs}"

    def emit(self, module: Module, name: str) -> None:
        _LineSums(self, module, name).emit()


class _LineSums(Channelwise):
    spec: LineSumsSpec
    names = LINE_SUMS_SLOTS

    def __init__(self, spec: LineSumsSpec, module: Module, name: str) -> None:
        super().__init__(spec, module, name)
        self.lanes = spec.lanes
        self.type = vector(spec.lanes, llvm_type(spec.accumulate))
        self.packed = "i32" if spec.pairs else llvm_type(spec.accumulate)
        self.tiles = [
            (rows, self._tile(module, rows)) for rows in (spec.rows, spec.rows - 1) if rows
        ]

    def emit(self) -> None:
        f, kernel = self.f, self.kernel
        for name in self.names:
            self.slot(name)
        numbers = [kernel.const(len(self.names) + i) for i in range(13)]
        self.sizes, self.counts, self.steps = numbers[:3], numbers[3:6], numbers[6:9]
        self.item, *self.strides = numbers[9:]
        self.element_bytes, self.wide = i64(self.size), self.slot("channels")
        self.pitch = f.mul(self.wide, self.element_bytes)
        part = f.op("urem", kernel.task, self.slot("parts"))
        place = f.op("udiv", kernel.task, self.slot("parts"))
        group = f.op("udiv", place, self.slot("chunks"))
        self.x = f.gep(kernel.pointer(0), f.mul(group, self.slot("x_group")))
        self.y = f.gep(kernel.pointer(2), f.mul(group, self.slot("y_group")))
        line0 = f.mul(part, self.slot("span"))
        self.taps = line0, f.min(f.add(line0, self.slot("span")), self.slot("lines"))
        rows = f.add(f.mul(place, self.slot("rows")), f.mul(line0, self._rows_of_line()))
        self.sums = f.gep(kernel.pointer(4), f.mul(rows, self.slot("row")))
        self.scratch = f.gep(kernel.pointer(6), f.mul(kernel.worker, self.slot("scratch_stride")))
        self.panel = f.gep(self.scratch, self.slot("panel"))
        count = f.mul(f.sub(self.taps[1], line0), self._rows_of_line())
        self._zero(f.mul(count, self.slot("row")))
        chunk = f.op("urem", place, self.slot("chunks"))
        first = f.mul(chunk, self.slot("each"))
        last = f.min(f.add(first, self.slot("each")), self.slot("units"))
        block = f.loop(first, last, self.slot("together"))
        self._block(block.index, f.min(f.sub(last, block.index), self.slot("together")))
        f.end_loop(block)
        f.ret()

    def _rows_of_line(self) -> Value:
        """Sums of one line of taps."""
        f, rows = self.f, self.spec.rows
        run = f.mul(self.slot("many"), i64(rows))
        run = f.add(run, f.mul(self.slot("few"), i64(rows - 1)))
        return f.mul(run, self.slot("runs"))

    def _zero(self, length: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), length, i64(self.lanes * self.size))
        f.store(const(self.type, 0), f.gep(self.sums, loop.index), self.size)
        f.end_loop(loop)

    def _block(self, first: Value, units: Value) -> None:
        """Some units: what taps see of them to scratch, then all outputs."""
        f = self.f
        line = f.op("udiv", first, self.slot("pieces"))
        start = f.mul(f.op("urem", first, self.slot("pieces")), self.slot("width"))
        count = f.min(self.slot("width"), f.sub(self.counts[2], start))
        unit = f.loop(i64(0), units, i64(1), [self.scratch])
        target = self._unit(f.add(line, unit.index), start, unit.values[0])
        f.end_loop(unit, [target])
        at = f.add(f.mul(line, self.counts[2]), start)
        y = f.gep(self.y, f.mul(at, self.slot("y_place")))
        cols = self.spec.vectors * self.lanes
        column = f.loop(i64(0), self.slot("outputs"), i64(cols), [y, self.sums])
        here, sums = column.values
        left = f.sub(self.slot("outputs"), column.index)
        packs = f.icmp("ne", self.slot("packs"), i64(0))
        if self.spec.pairs:
            self._pack_pairs(here, units, count, left)
        else:
            f.where(packs, partial(self._pack, here, f.mul(units, count), left))
        panel = f.select(packs, self.panel, here)
        pitch = f.select(packs, i64(cols * self.size), self.slot("y_place"))
        ahead = f.gep(here, f.mul(f.mul(units, count), self.slot("y_place")))
        self._lines(panel, pitch, sums, units, count, ahead)
        moved = [f.gep(here, i64(cols * self.element.size)), f.gep(sums, i64(cols * self.size))]
        f.end_loop(column, moved)

    def _unit(self, line: Value, start: Value, target: Value) -> Value:
        """What the lines of taps see from position ``start`` of a line on."""
        f = self.f
        rest = f.op("udiv", line, self.counts[1])
        y, z = f.op("urem", line, self.counts[1]), f.op("urem", rest, self.counts[0])
        item = f.op("udiv", rest, self.counts[0])
        x = f.add(f.mul(start, self.steps[2]), self.slot("x_first"))
        low = f.min(f.max(f.sub(i64(0), x), i64(0)), self.slot("seen"))
        high = f.max(f.min(f.sub(self.sizes[2], x), self.slot("seen")), low)
        source = f.gep(self.x, f.mul(item, self.item))
        source = f.gep(source, f.mul(x, self.strides[2]))
        tap = f.loop(*self.taps, i64(1), [target])
        (to,) = tap.values
        places = []
        for at, name, axis, number in (
            (z, "z", 0, f.op("udiv", tap.index, self.slot("taps_y"))),
            (y, "y", 1, f.op("urem", tap.index, self.slot("taps_y"))),
        ):
            own = f.add(self.slot(f"{name}_first"), f.mul(number, self.slot(f"{name}_step")))
            places.append(f.add(f.mul(at, self.steps[axis]), own))
        there = Value("true", "i1")
        for axis, place in enumerate(places):
            there = f.op("and", there, f.icmp("ult", place, self.sizes[axis]))
            source = f.gep(source, f.mul(place, self.strides[axis]))
        begin, end = f.select(there, low, i64(0)), f.select(there, high, i64(0))
        if self.spec.pairs:
            self._pair(source, to, begin, end)
        else:
            self._copy(source, to, begin, end)
        return f.end_loop(tap, [f.gep(to, self.slot("line_bytes"))])[0]

    def _copy(self, source: Value, to: Value, begin: Value, end: Value) -> None:
        """The positions of a line from ``begin`` to ``end``, and zeros around them."""
        f = self.f
        self.clear_run(to, f.mul(begin, self.wide))
        inside = f.gep(to, f.mul(begin, self.pitch))
        here = f.gep(source, f.mul(begin, self.strides[2]))
        self.copy_positions(here, inside, f.sub(end, begin))
        behind = f.mul(f.sub(self.slot("seen"), end), self.wide)
        self.clear_run(f.gep(to, f.mul(end, self.pitch)), behind)

    def _pair(self, source: Value, to: Value, begin: Value, end: Value) -> None:
        """Each element with that of the following position of the result."""
        f, wide, step, size = self.f, self.wide, self.steps[2], i64(self.element.size)
        dense = f.icmp("eq", self.strides[2], f.mul(wide, size))
        length = f.select(dense, f.mul(self.slot("seen"), wide), wide)
        positions = f.select(dense, i64(1), self.slot("seen"))
        following = f.mul(step, self.strides[2])
        row = f.loop(i64(0), positions, i64(1), [source, to])
        here, target = row.values
        there = [f.mul(f.sub(end_, row.index), wide) for end_ in (begin, end)]
        back = f.mul(step, wide)
        ranges = there, [f.sub(value, back) for value in there]
        run = f.loop(i64(0), length, i64(self.lanes))
        at = f.gep(here, f.mul(run.index, size))
        places = at, f.gep(at, following)
        inside = Value("true", "i1")
        for first, last in ranges:
            inside = f.op("and", inside, f.icmp("sge", run.index, first))
            past = f.add(run.index, i64(self.lanes))
            inside = f.op("and", inside, f.icmp("sle", past, f.min(last, length)))

        def whole() -> list[Value]:
            return [self.element.load_bits(f, place, self.lanes, None) for place in places]

        def part() -> list[Value]:
            kind = vector(self.lanes, self.element.memory)
            before = [first_lanes(f, f.sub(v, run.index), self.lanes) for r in ranges for v in r]
            end_ = first_lanes(f, f.sub(length, run.index), self.lanes)
            masks = [
                f.op("and", end_, f.op("and", last, f.op("xor", first, const(first.type, -1))))
                for first, last in (before[:2], before[2:])
            ]
            return [
                f.masked_load(place, kind, mask, self.element.size, const(kind, 0))
                for place, mask in zip(places, masks, strict=True)
            ]

        low, high = f.either(inside, whole, part)
        f.store(join(f, low, high), f.gep(target, f.mul(run.index, self.element_bytes)), self.size)
        f.end_loop(run)
        f.end_loop(row, [f.gep(here, self.strides[2]), f.gep(target, self.pitch)])

    def _pack_pairs(self, y: Value, units: Value, count: Value, left: Value) -> None:
        """A tile's outputs of two positions of a unit at a time."""
        f, lanes, vectors, place = self.f, self.lanes, self.spec.vectors, self.slot("y_place")
        element = Pairs(self.spec.dtype, self.spec.accumulate)
        whole = f.icmp("sge", left, i64(lanes * vectors))

        def rows(part: bool) -> None:
            unit = f.loop(i64(0), units, i64(1), [y, self.panel])
            loop = f.loop(i64(0), count, i64(2), unit.values)
            here, to = loop.values
            for v in range(vectors):
                there = f.sub(left, i64(v * lanes)) if part else None
                from_ = f.gep(here, i64(v * lanes * self.element.size))
                (value,) = element.across(f, from_, i64(0), place, lanes, there,
                                          f.sub(count, loop.index), True)  # fmt: skip
                f.store(value, f.gep(to, i64(v * lanes * self.size)), self.size)
            following = f.gep(to, i64(vectors * lanes * self.size))
            _, to = f.end_loop(loop, [f.gep(here, f.mul(place, i64(2))), following])
            f.end_loop(unit, [f.gep(unit.values[0], f.mul(place, count)), to])

        f.where(whole, lambda: rows(False), lambda: rows(True))

    def _pack(self, y: Value, positions: Value, left: Value) -> None:
        """A tile's outputs of some positions, side by side."""
        f, lanes, vectors = self.f, self.lanes, self.spec.vectors
        whole = f.icmp("sge", left, i64(lanes * vectors))

        def rows(part: bool) -> None:
            loop = f.loop(i64(0), positions, i64(1), [y, self.panel])
            here, to = loop.values
            for v in range(vectors):
                count = f.sub(left, i64(v * lanes)) if part else None
                from_ = f.gep(here, i64(v * lanes * self.element.size))
                (value,) = self.element.load_run(f, from_, lanes, count)
                f.store(value, f.gep(to, i64(v * lanes * self.size)), self.size)
            following = f.gep(to, i64(vectors * lanes * self.size))
            f.end_loop(loop, [f.gep(here, self.slot("y_place")), following])

        f.where(whole, lambda: rows(False), lambda: rows(True))

    def _lines(
        self, y: Value, pitch: Value, sums: Value, units: Value, count: Value, ahead: Value
    ) -> None:
        """All sums of a tile's outputs over a block; the first line of taps asks for those of
        the next block, which lie ``ahead``."""
        f, lines = self.f, i64(self.spec.lines)
        unit = f.mul(f.sub(self.taps[1], self.taps[0]), self.slot("line_bytes"))
        below = f.mul(self._rows_of_line(), self.slot("row"))
        together = i64(2 if self.spec.pairs else 1)
        step = f.mul(f.mul(self.steps[2], together), self.pitch)
        args = units, count, unit, step, self.slot("row"), pitch
        line = f.loop(*self.taps, lines, [self.scratch, sums])
        first = f.icmp("eq", line.index, self.taps[0])
        y_place = f.mul(self.slot("y_place"), together)
        further = f.select(first, ahead, y), f.select(first, y_place, i64(0))
        run = f.loop(i64(0), self.slot("runs"), i64(1), line.values)
        x, to = here, _ = run.values
        for (rows, tile), number in zip(self.tiles, ("many", "few"), strict=False):
            loop = f.loop(i64(0), self.slot(number), i64(1), [x, to])
            x, to = loop.values
            f.call(tile, "void", x, y, to, *args, self.slot("line_bytes"), below, *further)
            moved = [f.gep(x, i64(rows * self.size)), f.gep(to, f.mul(i64(rows), self.slot("row")))]
            x, to = f.end_loop(loop, moved)
        f.end_loop(run, [f.gep(here, self.slot("run_bytes")), to])
        apart = f.mul(lines, self.slot("line_bytes")), f.mul(lines, below)
        f.end_loop(line, [f.gep(v, s) for v, s in zip(line.values, apart, strict=True)])

    def _tile(self, module: Module, rows: int) -> str:
        """``void tile(ptr x, ptr y, ptr sums, i64...)``: adds to sums what ``count`` positions of
        each unit give; x moves by ``step`` and ``unit``, y by ``pitch``; ``row`` and ``below``
        are the bytes between sums and between those of lines, which x sees ``line`` apart;
        outputs ``ahead`` are asked for, as many as are multiplied."""
        f: Function = module.function(f"sums_{rows}", _PARAMS, internal=True)
        x, y, sums, units, count, unit, step, row, pitch, line, below, ahead, y_place = f.params
        bytes_, vectors = self.lanes * self.size, range(self.spec.vectors)
        places = []
        for number in range(self.spec.lines):
            at = f.gep(sums, f.mul(below, i64(number)))
            for _ in range(rows):
                places += [f.gep(at, i64(v * bytes_)) for v in vectors]
                at = f.gep(at, row)
        start = [f.load(place, self.type, self.size) for place in places]
        outer = f.loop(i64(0), units, i64(1), [x, y, ahead, *start])

        def add(here: Value, other: Value, values: list[Value], last: bool) -> list[Value]:
            kind = vector(self.lanes, self.packed)
            factors = [f.load(f.gep(other, i64(v * bytes_)), kind, self.size) for v in vectors]
            seen = [f.gep(here, f.mul(line, i64(number))) for number in range(self.spec.lines)]
            elements = [f.gep(at, i64(r * self.size)) for at in seen for r in range(rows)]
            return self._add(f, elements, factors, values, last)

        steps = f.op("lshr", count, i64(1)) if self.spec.pairs else count
        inner = f.loop(i64(0), steps, i64(1), outer.values)
        here, other, ahead, *values = inner.values
        self._ask(f, ahead, y_place)
        values = add(here, other, values, False)
        moved = [f.gep(here, step), f.gep(other, pitch), f.gep(ahead, y_place), *values]
        here, other, ahead, *values = f.end_loop(inner, moved)
        if self.spec.pairs:
            odd = f.icmp("ne", f.op("and", count, i64(1)), i64(0))
            values = f.changed(odd, values, partial(add, here, other, values, True))
            other = f.select(odd, f.gep(other, pitch), other)
        results = f.end_loop(outer, [f.gep(outer.values[0], unit), other, ahead, *values])[3:]
        for value, place in zip(results, places, strict=True):
            f.store(value, place, self.size)
        f.ret()
        return f.name

    def _ask(self, f: Function, ahead: Value, step: Value) -> None:
        """For the outputs that are multiplied at once, of a later position."""
        wide = self.spec.vectors * self.lanes * self.element.size
        starts = [ahead]
        if self.spec.pairs:
            starts.append(f.gep(ahead, f.op("ashr", step, i64(1))))
        for start in starts:
            for at in range(0, wide, 64):
                prefetch(f, f.gep(start, i64(at)), locality=2)

    def _add(
        self, f: Function, elements: list[Value], factors: list[Value], sums: list[Value],
        last: bool,
    ) -> list[Value]:  # fmt: skip
        """Every element times every vector; of a ``last`` pair only one half is there."""
        out: list[Value] = []
        for address in elements:
            element = f.load(address, self.packed, self.size)
            if last:
                element = f.op("and", element, Value("65535", "i32"))
            element = f.splat(element, self.lanes)
            for factor in factors:
                total = sums[len(out)]
                if self.spec.pairs:
                    out.append(dot_pairs(f, element, factor, total))
                else:
                    out.append(multiply_add(f, element, factor, total, host().has_fma))
        return out
