"""Depthwise convolutions whose taps of the last axis follow one another: they are code.

An element of the input is loaded once for all positions of the block that see it.  Blocks that
reach beyond the input branch around what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mlx.backend.llvm.convolution.channelwise import Channelwise, ChannelwiseSpec
from mlx.backend.llvm.gemm.elements import first_lanes, multiply_add, prefetch
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector

MOST_TAPS, MOST_STEP = 8, 2
FEW = 4  # positions of a last block
_SPLIT = 5  # most taps for even and odd channels apart
_SHORT = 6  # expressions of an epilogue that is written out for every position
_GROUP = 4  # inputs that share a pointer


@dataclass(frozen=True)
class WindowsSpec(ChannelwiseSpec):
    """A kernel for so many ``taps`` side by side, and ``together`` positions
    ``step`` elements apart."""

    taps: int
    step: int
    together: int

    @property
    def key(self) -> str:
        return f"windows|{self.taps}|{self.step}|{self.together}|{super().key}"

    def emit(self, module: Module, name: str) -> None:
        _Windows(self, module, name).emit()


class _Windows(Channelwise):
    spec: WindowsSpec

    def _line(self, source: Value, z: Value, y: Value, row: Value) -> None:
        """Whole blocks of positions, and a last one of less; both inside the input or at its
        edge."""
        f, together, (start, stop) = self.f, self.spec.together, self.piece
        self.valid = [self._valid(0, z), self._valid(1, y)]
        self.inside = self._inside()
        whole = self.in_whole_blocks(together, FEW)
        block = f.loop(start, whole, i64(together))
        first = block.index
        f.where(
            self.within(first, together),
            lambda: self._window(source, row, first, together, False),
            lambda: self._window(source, row, first, together, True),
        )
        f.end_loop(block)
        last = f.loop(whole, stop, i64(FEW))
        self._window(source, row, last.index, FEW, True)
        f.end_loop(last)

    def _window(self, source: Value, row: Value, first: Value, count: int, edge: bool) -> None:
        """All channels of ``count`` positions, of which those below the line's end are stored."""
        f = self.f
        at = f.mul(first, self.steps[2])
        here = f.gep(source, f.mul(f.add(at, self.numbers["x"][0]), self.strides[2]))
        to = f.add(row, f.mul(first, self.slot("x_rows")))
        present = f.sub(self.counts[2], first) if edge else None
        there = self._present(f.add(at, self.numbers["x"][0]), count) if edge else None
        done, end = i64(0), self.slot("outputs")
        for parts in (2, 1) if self._splits else (1,):
            self.parts = parts
            step = self.parts * self.lanes
            stop = f.sub(end, f.op("urem", end, i64(step))) if self.parts == 2 else end
            block = f.loop(done, stop, i64(step))
            left = f.sub(end, block.index)
            from_ = f.gep(here, f.mul(block.index, i64(self.element.size)))
            weights = f.gep(self.w, f.mul(block.index, i64(self.size)))
            self._fetch(from_, count)
            sums = self._all_lines(from_, weights, left, count, there)
            self._finish(sums, to, present, block.index, left)
            f.end_loop(block)
            done = stop

    parts: int
    """Vectors of channels of a block: two hold its even and its odd ones."""

    @property
    def _splits(self) -> bool:
        """Whether two vectors at once are widened faster, and registers hold their sums."""
        few = self.spec.taps <= _SPLIT and host().vector_bytes == 64
        return few and self.element.splits and self._is_short

    def _fetch(self, source: Value, count: int) -> None:
        """Ask for what the next line of positions sees here first."""
        f = self.f
        last = self._offset(1, f.sub(self.numbers["y"][2], i64(1)))
        row = f.loop(i64(0), self.steps[1], i64(1), [f.gep(source, last)])
        here = f.gep(row.values[0], self.strides[1])
        for i in range(count * self.spec.step):
            prefetch(f, f.gep(here, f.mul(self.strides[2], i64(i))), locality=2)
        f.end_loop(row, [here])

    def _inputs(self, count: int) -> int:
        """Elements that ``count`` positions see."""
        return (count - 1) * self.spec.step + self.spec.taps

    def _present(self, start: Value, count: int) -> list[Value]:
        """Which of the elements seen lie inside the input."""
        f = self.f
        places = [f.add(start, i64(i)) for i in range(self._inputs(count))]
        return [f.icmp("ult", place, self.sizes[2]) for place in places]

    def _all_lines(
        self, source: Value, weights: Value, left: Value, count: int, there: list[Value] | None
    ) -> list[Value]:
        """The sums over all lines of taps inside the input."""
        f = self.f
        self.mask = first_lanes(f, left, self.lanes)
        y_row = f.mul(self.slot("row"), i64(self.spec.taps))
        z_row = f.mul(y_row, self.numbers["y"][2])
        z = f.loop(*self.valid[0], i64(1), [const(self.type, 0)] * (count * self.parts))
        plane = f.gep(source, self._offset(0, z.index))
        y = f.loop(*self.valid[1], i64(1), z.values)
        line = f.gep(plane, self._offset(1, y.index))
        w = f.gep(weights, f.add(f.mul(z.index, z_row), f.mul(y.index, y_row)))
        sums = self._one_line(line, w, y.values, there)
        return f.end_loop(z, f.end_loop(y, sums))

    def _one_line(
        self, here: Value, w: Value, sums: list[Value], there: list[Value] | None
    ) -> list[Value]:
        """One line of taps: element by element, to all sums that it belongs to."""
        f, factors = self.f, []
        for _ in range(self.spec.taps):
            factors.append(self._factors(w))
            w = f.gep(w, self.slot("row"))
        for i in range(self._inputs(len(sums) // self.parts)):
            if i and i % _GROUP == 0:
                here = f.gep(here, f.mul(self.strides[2], i64(_GROUP)))
            address = f.gep(here, f.mul(self.strides[2], i64(i % _GROUP)))
            add = partial(self._one_element, i, address, factors, sums)
            sums = add() if there is None else f.changed(there[i], sums, add)
        return sums

    def _factors(self, w: Value) -> list[Value]:
        """The weights of a tap, as a block's channels are divided."""
        f = self.f
        first = f.load(w, self.type, self.size)
        if self.parts == 1:
            return [first]
        second = f.load(f.gep(w, i64(self.lanes * self.size)), self.type, self.size)
        return [f.shuffle(first, second, range(n, 2 * self.lanes, 2)) for n in (0, 1)]

    def _elements(self, address: Value) -> list[Value]:
        f = self.f
        if self.parts == 2:
            return [value for (value,) in self.element.load_split(f, address, self.lanes, None)]
        kind = vector(self.lanes, self.element.memory)
        align = bits_of(self.element.memory) // 8
        raw = f.masked_load(address, kind, self.mask, align, const(kind, 0))
        return [self.element.widen(f, raw)]

    def _one_element(
        self, i: int, address: Value, factors: list[list[Value]], sums: list[Value]
    ) -> list[Value]:
        f, spec, out = self.f, self.spec, list(sums)
        values = self._elements(address)
        for tap, factor in enumerate(factors):
            position, between = divmod(i - tap, spec.step)
            if not between and 0 <= position < len(out) // self.parts:
                for part, (a, b) in enumerate(zip(values, factor, strict=True)):
                    at = position * self.parts + part
                    out[at] = multiply_add(f, a, b, out[at], host().has_fma)
        return out

    def _finish(
        self, sums: list[Value], row: Value, present: Value | None, col: Value, left: Value
    ) -> None:
        """Whole vectors go where they shall lie, if nothing else is to be done with them."""
        f = self.f
        count = i64(len(sums)) if present is None else f.min(present, i64(len(sums)))
        if not self._is_short:
            self._store_part(sums, row, count, col, left)
            return
        if self.parts == 2:
            self._store_whole(sums, row, present, col)
            return
        f.where(
            f.icmp("sge", left, i64(self.lanes)),
            lambda: self._store_whole(sums, row, present, col),
            lambda: self._store_part(sums, row, count, col, left),
        )

    def _store_part(
        self, sums: list[Value], row: Value, count: Value, col: Value, left: Value
    ) -> None:
        self._keep(sums)
        self._store(row, count, col, left)

    def _store_whole(
        self, sums: list[Value], row: Value, present: Value | None, col: Value
    ) -> None:
        """Whole vectors of all positions, or of those that are ``present``."""
        f, store, done = self.f, self.spec.epilogue.store, self.f.label("stored")
        for t in range(0, len(sums), self.parts):
            if present is not None and t:
                following = f.label("following")
                there = f.icmp("sgt", present, i64(t // self.parts))
                f.branch_if(there, following, done)
                f.start(following)
            for part, value in enumerate(self._in_order(sums[t : t + self.parts])):
                at = f.add(col, i64(part * self.lanes))
                store(self.kernel, self.context, value, row, at, None)
            row = f.add(row, self.slot("x_rows"))
        f.branch(done)
        f.start(done)

    def _in_order(self, sums: list[Value]) -> list[Value]:
        """A position's sums, vectors of neighbouring channels."""
        if len(sums) == 1:
            return sums
        lanes, (evens, odds) = self.lanes, sums
        mixed = [lane for n in range(lanes) for lane in (n, n + lanes)]
        halves = mixed[:lanes], mixed[lanes:]
        return [self.f.shuffle(evens, odds, half) for half in halves]

    @property
    def _is_short(self) -> bool:
        """Whether the epilogue is so little code that each position may have its own."""
        return len(getattr(self.spec.epilogue, "values", ())) <= _SHORT
