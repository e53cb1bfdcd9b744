"""The correlation of small groups whose taps of the last axis follow one another: they are code.

An element of the input is loaded once for all taps of a line that see it; the sums of the line
stay in registers over the positions of a line, and in memory from line to line.  Every sum is
the same chain as in ``channel_sums``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mlx.backend.llvm.convolution.channelwise import SLOTS, Channelwise
from mlx.backend.llvm.convolution.lanes import Share
from mlx.backend.llvm.gemm.elements import multiply_add
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64

SUMS_SLOTS = (
    *SLOTS, "y_place", "sums_base", "sums_offset", "chunk", "rows", "blocks", "span", "spans",
)  # fmt: skip
"""``w`` is the other operand; ``row`` the bytes of a row of sums, of which a chunk of lines has
``rows`` in ``chunk`` bytes; ``span``: vectors of outputs of a task, ``spans`` of which are all."""
MOST_TAPS, MOST_STEP, MOST_SUMS = 11, 2, 24
_CODE = 128  # most multiplications of a block of positions
_GROUP = 4  # inputs that share a pointer


@dataclass(frozen=True)
class WindowSumsSpec:
    """A kernel for so many ``taps`` side by side, and ``together`` positions ``step`` apart."""

    dtype: str
    accumulate: str
    share: Share
    taps: int
    step: int
    together: int

    @property
    def key(self) -> str:
        share = f"{self.share.inputs}x{self.share.outputs}"
        window = f"{self.taps}|{self.step}|{self.together}"
        return f"windowsums|{self.dtype}|{self.accumulate}|{share}|{window}"

    def emit(self, module: Module, name: str) -> None:
        _WindowSums(self, module, name).emit()


def together_for(positions: int, taps: int, share: Share) -> int:
    """Positions of a block: few are left over at the end of a line, and the code is short."""
    sizes = (8, 7, 4) if host().vector_bytes == 64 else (4,)
    fits = [n for n in sizes if n * taps * share.inputs <= _CODE] or [4]
    return min(fits, key=lambda n: positions % n * n)


class _WindowSums(Channelwise):
    spec: WindowSumsSpec
    names = SUMS_SLOTS

    def start(self, x: Value, slot: int) -> tuple[Value, Value]:
        """A task's blocks of outputs, their sums (set to zero), and its chunk of lines."""
        f, kernel = self.f, self.kernel
        first = f.mul(f.op("urem", kernel.task, self.slot("spans")), self.slot("span"))
        self.blocks = first, f.min(f.add(first, self.slot("span")), self.slot("blocks"))
        chunk = f.op("udiv", kernel.task, self.slot("spans"))
        sums = kernel.pointer(self.names.index("sums_base"))
        self.sums = f.gep(sums, f.mul(chunk, self.slot("chunk")))
        row = f.loop(i64(0), self.slot("rows"), i64(1), [self.sums])
        block = f.loop(*self.blocks, i64(1))
        at = f.gep(row.values[0], f.mul(block.index, i64(self.lanes * self.size)))
        f.store(const(self.type, 0), at, self.size)
        f.end_loop(block)
        f.end_loop(row, [f.gep(row.values[0], self.slot("row"))])
        return x, chunk

    def _line(self, source: Value, z: Value, y: Value, row: Value) -> None:
        """All sums, over one line of positions."""
        f = self.f
        valid = [self._valid(0, z), self._valid(1, y)]
        self.inside = self._inside()
        other = f.gep(self.w, f.mul(row, self.slot("y_place")))
        block = f.loop(*self.blocks, i64(1))
        output = f.mul(block.index, i64(self.lanes))
        self.left = f.sub(self.slot("outputs"), output)
        self.other = f.gep(other, f.mul(output, i64(self.element.size)))
        channel = self.share.input_of(f, output)
        here = f.gep(source, f.mul(channel, i64(self.element.size)))
        here = f.gep(here, f.mul(self.numbers["x"][0], self.strides[2]))
        sums = f.gep(self.sums, f.mul(output, i64(self.size)))
        y_row = f.mul(self.slot("row"), i64(self.spec.taps * self.share.inputs))
        z_row = f.mul(y_row, self.numbers["y"][2])
        tap_z = f.loop(*valid[0], i64(1))
        plane = f.gep(here, self._offset(0, tap_z.index))
        tap_y = f.loop(*valid[1], i64(1))
        line = f.gep(plane, self._offset(1, tap_y.index))
        to = f.gep(sums, f.add(f.mul(tap_z.index, z_row), f.mul(tap_y.index, y_row)))
        self._line_of_taps(line, to)
        f.end_loop(tap_y)
        f.end_loop(tap_z)
        f.end_loop(block)

    def _line_of_taps(self, here: Value, to: Value) -> None:
        """The sums of neighbouring taps: whole blocks of positions, then one by one."""
        f, spec, places = self.f, self.spec, []
        for _ in range(spec.taps * self.share.inputs):
            places.append(to)
            to = f.gep(to, self.slot("row"))
        sums = [f.load(place, self.type, self.size) for place in places]
        positions = self.counts[2]
        whole = f.sub(positions, f.op("urem", positions, i64(spec.together)))
        block = f.loop(i64(0), whole, i64(spec.together), sums)
        sums = f.end_loop(block, self._block(here, block.index, block.values))
        last = f.loop(whole, positions, i64(1), sums)
        sums = f.end_loop(last, self._window(here, last.index, 1, last.values, True))
        for value, place in zip(sums, places, strict=True):
            f.store(value, place, self.size)

    def _block(self, here: Value, first: Value, sums: list[Value]) -> list[Value]:
        """A block of positions, inside the input or at its edge."""
        window = partial(self._window, here, first, self.spec.together, sums)
        there = self.within(first, self.spec.together)
        return self.f.either(there, partial(window, False), partial(window, True))

    def _window(
        self, here: Value, first: Value, count: int, sums: list[Value], at_edge: bool
    ) -> list[Value]:
        """Element by element of what ``count`` positions see, to the sums it belongs to."""
        f, step, taps = self.f, self.spec.step, self.spec.taps
        at = f.mul(first, self.steps[2])
        here = f.gep(here, f.mul(at, self.strides[2]))
        other = f.gep(self.other, f.mul(first, self.slot("y_place")))
        start = f.add(at, self.numbers["x"][0])
        factors: list[Value] = []
        for i in range((count - 1) * step + taps):
            if i % step == 0 and len(factors) < count:
                factors += self.element.load_run(f, other, self.lanes, self.left)
                other = f.gep(other, self.slot("y_place"))
            if i and i % _GROUP == 0:
                here = f.gep(here, f.mul(self.strides[2], i64(_GROUP)))
            address = f.gep(here, f.mul(self.strides[2], i64(i % _GROUP)))
            add = partial(self._element, i, address, factors, sums)
            if at_edge:
                there = f.icmp("ult", f.add(start, i64(i)), self.sizes[2])
                sums = f.changed(there, sums, add)
            else:
                sums = add()
        return sums

    def _element(
        self, i: int, address: Value, factors: list[Value], sums: list[Value]
    ) -> list[Value]:
        out, inputs = list(sums), self.share.inputs
        values = self.share.load(self.f, self.element, address, self.lanes, self.left)
        for position, factor in enumerate(factors):
            tap = i - position * self.spec.step
            if 0 <= tap < self.spec.taps:
                for n, value in enumerate(values):
                    at = tap * inputs + n
                    out[at] = multiply_add(self.f, value, factor, out[at], host().has_fma)
        return out
