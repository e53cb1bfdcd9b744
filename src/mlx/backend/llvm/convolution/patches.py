"""Packing patches: for neighbouring positions, one row each of what the kernel sees there.

What lies outside the input is zero.  Runs are copied by whole vectors: what is too much is
overwritten by the next run, and rows are apart by at least one vector more than they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.convolution.geometry import Phase, Run, Three, three
from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.gemm.tile import Tile
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, const, i64, vector

PLACE = 13  # numbers of the table that says where positions lie
RUN = 7  # and of each run

_PARAMS = ["ptr noalias readonly", "ptr noalias readonly", "ptr noalias readonly", "i64",
           "i64", "i64", "ptr noalias", "i64"]  # fmt: skip


def place_table(phase: Phase, sizes: Three, item: int, strides: Three) -> list[int]:
    """Sizes of the input, counts of positions, their steps; then strides in bytes."""
    steps = [line.stride for line in phase.axes]
    return [*sizes, *phase.counts, *steps, item, *strides]


def run_table(runs: Sequence[Run], strides: Three, channel: int) -> list[int]:
    """For each run its offset in bytes, place, taps, channels and length."""
    out: list[int] = []
    for run in runs:
        offset = sum(a * s for a, s in zip(run.at, strides, strict=True)) + run.channel * channel
        out += [offset, *run.at, run.taps, run.channels, run.length]
    return out


def pack_patches(module: Module, tile: Tile, element: Element) -> str:
    """``void pack(ptr x, ptr place, ptr runs, i64 count, i64 first, i64 rows,
    ptr target, i64 pitch)``: rows of positions first, first + 1, ...; returns its name."""
    name = f"pack_patches_{tile.name}_{element.dtype}"
    if not module.has(name):
        _Pack(module.function(name, _PARAMS, internal=True), tile, element).emit()
    return name


class _Pack:
    def __init__(self, f: Function, tile: Tile, element: Element) -> None:
        self.f, self.tile, self.element = f, tile, element

    def emit(self) -> None:
        f = self.f
        x, place, runs, count, first, rows, target, pitch = f.params
        numbers = [f.load(f.gep(place, i64(i), "i64"), "i64", 8) for i in range(PLACE)]
        self.sizes, counts, steps = numbers[:3], numbers[3:6], numbers[6:9]
        at, rest = [], first
        for n in reversed(counts):
            at.append(f.op("urem", rest, n))
            rest = f.op("udiv", rest, n)
        row = f.loop(i64(0), rows, i64(1), [rest, *reversed(at), target])
        item, *position, to = row.values
        seen = [f.mul(p, s) for p, s in zip(position, steps, strict=True)]
        source = x
        for index, stride in zip([item, *seen], numbers[9:], strict=True):
            source = f.gep(source, f.mul(index, stride))
        self._runs(source, seen, runs, count, to)
        f.end_loop(row, [*self._following(item, position, counts), f.gep(to, pitch)])
        f.ret()

    def _following(self, item: Value, position: list[Value], counts: list[Value]) -> list[Value]:
        """The next position in row-major order."""
        f, carry, out = self.f, i64(1), []
        for at, n in zip(reversed(position), reversed(counts), strict=True):
            moved = f.add(at, carry)
            full = f.icmp("eq", moved, n)
            out.append(f.select(full, i64(0), moved))
            carry = f.cast("zext", full, "i64")
        return [f.add(item, carry), *reversed(out)]

    def _runs(
        self, source: Value, seen: list[Value], runs: Value, count: Value, to: Value
    ) -> None:
        f = self.f
        run = f.loop(i64(0), count, i64(1), [runs, to])
        entry, to = run.values
        fields = [f.load(f.gep(entry, i64(i), "i64"), "i64", 8) for i in range(RUN)]
        offset, *at, taps, channels, length = fields
        z, y, x = (f.add(a, b) for a, b in zip(seen, at, strict=True))
        there = f.op("and", f.icmp("ult", z, self.sizes[0]), f.icmp("ult", y, self.sizes[1]))
        before = f.icmp("sge", x, i64(0))
        whole = f.op("and", before, f.icmp("sle", f.add(x, taps), self.sizes[2]))
        whole = f.op("and", whole, there)
        here = f.gep(source, offset)
        inside, edge, copy = f.block, f.label("edge"), f.label("copy")
        f.branch_if(whole, copy, edge)
        f.start(edge)
        low, high = self._clipped(x, taps, there)
        self._clear(to, length)
        skipped = f.mul(low, channels)
        moved = f.gep(here, f.mul(skipped, i64(self.element.size)))
        kept = f.mul(f.sub(high, low), channels)
        start = f.gep(to, f.mul(skipped, i64(self.tile.itemsize)))
        edge = f.block
        f.branch(copy)
        f.start(copy)
        here = f.phi("ptr", [(here, inside), (moved, edge)])
        left = f.phi("i64", [(length, inside), (kept, edge)])
        target = f.phi("ptr", [(to, inside), (start, edge)])
        self._copy(here, left, target)
        step = f.mul(length, i64(self.tile.itemsize))
        f.end_loop(run, [f.gep(entry, i64(RUN), "i64"), f.gep(to, step)])

    def _clipped(self, x: Value, taps: Value, there: Value) -> tuple[Value, Value]:
        """The first tap inside the input, and the first one behind it."""
        f, zero = self.f, i64(0)

        def within(value: Value) -> Value:
            value = f.select(f.icmp("sgt", value, zero), value, zero)
            return f.min(value, taps)

        low = within(f.sub(zero, x))
        high = within(f.sub(self.sizes[2], x))
        high = f.select(f.icmp("sgt", high, low), high, low)
        return low, f.select(there, high, low)

    def _clear(self, to: Value, length: Value) -> None:
        f, tile = self.f, self.tile
        zero = const(vector(tile.lanes, self.element.acc), 0)
        loop = f.loop(i64(0), length, i64(tile.lanes))
        f.store(zero, f.gep(to, f.mul(loop.index, i64(tile.itemsize))), tile.itemsize)
        f.end_loop(loop)

    def _copy(self, source: Value, length: Value, target: Value) -> None:
        f, tile, element = self.f, self.tile, self.element
        whole = f.op("and", length, i64(-tile.lanes))
        loop = f.loop(i64(0), whole, i64(tile.lanes), [source, target])
        here, to = loop.values
        (value,) = element.load_run(f, here, tile.lanes)
        f.store(value, to, tile.itemsize)
        here, to = f.end_loop(
            loop,
            [f.gep(here, i64(tile.lanes * element.size)), f.gep(to, i64(tile.vector_bytes))],
        )
        left = f.sub(length, whole)
        part, done = f.label("part"), f.label("done")
        f.branch_if(f.icmp("sgt", left, i64(0)), part, done)
        f.start(part)
        (value,) = element.load_run(f, here, tile.lanes, left)
        f.store(value, to, tile.itemsize)
        f.branch(done)
        f.start(done)


def spatial(values: Sequence[int]) -> Three:
    """Sizes of the spatial axes of an operand (N, spatial..., C)."""
    return three(values[1:-1], 1)


def spatial_strides(strides: Sequence[int], size: int) -> Three:
    a, b, c = (s * size for s in three(strides[1:-1], 0))
    return a, b, c
