"""Packing patches: for neighbouring positions, one row each of what the kernel sees there.

What lies outside the input is zero.  Runs are copied by whole vectors: what is too much is
overwritten by the next run, and rows are apart by at least one vector more than they hold.
bfloat16 that is multiplied in pairs is copied as it is: two neighbours are a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mlx.backend.llvm.abi import Operand
from mlx.backend.llvm.convolution.geometry import Phase, Run, Three, three
from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.gemm.tile import Tile, tile_for, tile_of_product
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, const, i64, vector

PLACE = 13  # numbers of the table that says where positions lie
RUN = 7  # and of each run
BLOCK = 4  # of a block of runs: the slot of the first, their number, first element and elements

_PARAMS = ["ptr noalias readonly", "ptr noalias readonly", "ptr noalias readonly", "i64",
           "i64", "i64", "ptr noalias", "i64"]  # fmt: skip


def tile_of_patches(dtype: str, accumulate: str) -> Tile:
    """The tile for patches of a dtype: with pairs where the CPU multiplies them."""
    if dtype == "bfloat16" and accumulate == "float32":
        return tile_of_product(dtype, dtype, accumulate)
    return tile_for(accumulate)


def place_table(phase: Phase, sizes: Three, item: int, strides: Three) -> list[int]:
    """Sizes of the input, counts of positions, their steps; then strides in bytes."""
    steps = [line.stride for line in phase.axes]
    return [*sizes, *phase.counts, *steps, item, *strides]


def run_table(runs: Sequence[Run], strides: Three, channel: int, item: int, unit: int) -> list[int]:
    """For each run its offset in bytes, place, taps, channels, and the bytes of a row of it.

    A row has elements of ``item`` bytes, whole groups of ``unit``.
    """
    out: list[int] = []
    for run in runs:
        offset = sum(a * s for a, s in zip(run.at, strides, strict=True)) + run.channel * channel
        out += [offset, *run.at, run.taps, run.channels, run.depth(unit) * unit * item]
    return out


def pack_patches(module: Module, tile: Tile, element: Element) -> str:
    """``void pack(ptr x, ptr place, ptr runs, i64 count, i64 first, i64 rows,
    ptr target, i64 pitch)``: rows of positions first, first + 1, ...; returns its name."""
    name = f"pack_patches_{tile.name}_{element.dtype}"
    if not module.has(name):
        _Pack(module.function(name, _PARAMS, internal=True), tile, element).emit()
    return name


class _Pack:
    """Positions are taken in segments of one line, runs one by one: where all of a run lies
    inside, a vector of it is copied for each position of the segment in turn."""

    def __init__(self, f: Function, tile: Tile, element: Element) -> None:
        self.f, self.element = f, element
        self.raw = tile.pairs
        self.lanes = tile.lanes * tile.step
        self.item = tile.itemsize // tile.step
        self.vector_bytes = tile.vector_bytes
        self.kind = element.memory if self.raw else element.acc

    def emit(self) -> None:
        f = self.f
        x, place, self.runs, self.count, first, rows, target, self.pitch = f.params
        numbers = [f.load(f.gep(place, i64(i), "i64"), "i64", 8) for i in range(PLACE)]
        self.sizes, counts, steps = numbers[:3], numbers[3:6], numbers[6:9]
        item_stride, *strides = numbers[9:]
        self.step, self.source_step = steps[2], f.mul(steps[2], strides[2])
        line0 = f.op("udiv", first, counts[2])
        end = f.add(first, rows)
        line_end = f.op("udiv", f.add(end, f.sub(counts[2], i64(1))), counts[2])
        line = f.loop(line0, line_end, i64(1), [target])
        (to,) = line.values
        start = f.mul(line.index, counts[2])
        begin = f.sub(f.max(start, first), start)
        count = f.sub(f.min(f.sub(end, start), counts[2]), begin)
        rest = f.op("udiv", line.index, counts[1])
        y, z = f.op("urem", line.index, counts[1]), f.op("urem", rest, counts[0])
        item = f.op("udiv", rest, counts[0])
        seen = [f.mul(p, s) for p, s in zip((z, y, begin), steps, strict=True)]
        source = f.gep(x, f.mul(item, item_stride))
        for index, stride in zip(seen, strides, strict=True):
            source = f.gep(source, f.mul(index, stride))
        self._runs(source, seen, count, to)
        f.end_loop(line, [f.gep(to, f.mul(count, self.pitch))])
        f.ret()

    def _runs(self, source: Value, seen: list[Value], positions: Value, to: Value) -> None:
        """Every run, for a segment of ``positions``."""
        f = self.f
        run = f.loop(i64(0), self.count, i64(1), [self.runs, to])
        entry, to = run.values
        fields = [f.load(f.gep(entry, i64(i), "i64"), "i64", 8) for i in range(RUN)]
        offset, *at, taps, channels, row_bytes = fields
        length = f.mul(taps, channels)
        z, y, x = (f.add(a, b) for a, b in zip(seen, at, strict=True))
        there = f.op("and", f.icmp("ult", z, self.sizes[0]), f.icmp("ult", y, self.sizes[1]))
        here = f.gep(source, offset)
        begin, end = self._inside(x, taps, there, positions)
        inside = f.sub(end, begin)
        edge = f.loop(i64(0), f.sub(positions, inside), i64(1))
        index = f.select(f.icmp("slt", edge.index, begin), edge.index, f.add(edge.index, inside))
        low, high = self._clipped(f.add(x, f.mul(index, self.step)), taps, there)
        start = f.gep(to, f.mul(index, self.pitch))
        self._clear(start, length)
        skipped = f.mul(low, channels)
        from_ = f.gep(here, f.mul(index, self.source_step))
        from_ = f.gep(from_, f.mul(skipped, i64(self.element.size)))
        start = f.gep(start, f.mul(skipped, i64(self.item)))
        self._copy(from_, f.mul(f.sub(high, low), channels), start, i64(1))
        f.end_loop(edge)
        from_ = f.gep(here, f.mul(begin, self.source_step))
        self._copy(from_, length, f.gep(to, f.mul(begin, self.pitch)), inside)
        f.end_loop(run, [f.gep(entry, i64(RUN), "i64"), f.gep(to, row_bytes)])

    def _inside(self, x: Value, taps: Value, there: Value, positions: Value) -> tuple[Value, Value]:
        """The first position whose run lies inside the input, and the first one behind those."""
        f, step = self.f, self.step
        ahead = f.sub(i64(0), x)
        begin = f.op("sdiv", f.add(ahead, f.sub(step, i64(1))), step)
        begin = f.select(f.icmp("sgt", ahead, i64(0)), begin, i64(0))
        begin = f.min(begin, positions)
        room = f.sub(f.sub(self.sizes[2], taps), x)
        end = f.add(f.op("sdiv", room, step), i64(1))
        end = f.min(f.select(f.icmp("sge", room, i64(0)), end, i64(0)), positions)
        end = f.select(there, f.max(end, begin), begin)
        return begin, end

    def _clipped(self, x: Value, taps: Value, there: Value) -> tuple[Value, Value]:
        """The first tap inside the input, and the first one behind it."""
        f, zero = self.f, i64(0)
        low = f.min(f.max(f.sub(zero, x), zero), taps)
        high = f.min(f.max(f.sub(self.sizes[2], x), zero), taps)
        return low, f.select(there, f.max(high, low), low)

    def _clear(self, to: Value, length: Value) -> None:
        f = self.f
        zero = const(vector(self.lanes, self.kind), 0)
        loop = f.loop(i64(0), length, i64(self.lanes))
        f.store(zero, f.gep(to, f.mul(loop.index, i64(self.item))), self.item)
        f.end_loop(loop)

    def _copy(self, source: Value, length: Value, target: Value, positions: Value) -> None:
        """Vector by vector, each for all positions."""
        f = self.f
        whole = f.op("and", length, i64(-self.lanes))
        loop = f.loop(i64(0), whole, i64(self.lanes), [source, target])
        here, to = loop.values
        self._copy_vector(here, to, positions, None)
        here, to = f.end_loop(
            loop,
            [f.gep(here, i64(self.lanes * self.element.size)), f.gep(to, i64(self.vector_bytes))],
        )
        left = f.sub(length, whole)
        rest = partial(self._copy_vector, here, to, positions, left)
        f.where(f.icmp("sgt", left, i64(0)), rest)

    def _copy_vector(self, source: Value, to: Value, positions: Value, left: Value | None) -> None:
        f, load = self.f, self.element.load_bits if self.raw else self._load_wide
        row = f.loop(i64(0), positions, i64(1), [source, to])
        here, target = row.values
        f.store(load(f, here, self.lanes, left), target, self.item)
        f.end_loop(row, [f.gep(here, self.source_step), f.gep(target, self.pitch)])

    def _load_wide(self, f: Function, address: Value, lanes: int, left: Value | None) -> Value:
        return self.element.load_run(f, address, lanes, left)[0]


def spatial(values: Sequence[int]) -> Three:
    """Sizes of the spatial axes of an operand (N, spatial..., C)."""
    return three(values[1:-1], 1)


def spatial_strides(strides: Sequence[int], size: int) -> Three:
    a, b, c = (s * size for s in three(strides[1:-1], 0))
    return a, b, c


def position_stride(y: Operand) -> int:
    """Elements from one position of an operand (N, spatial..., C) to the next."""
    sizes = zip(y.shape[-2::-1], y.strides[-2::-1], strict=True)
    return next((stride for n, stride in sizes if n != 1), 0)
