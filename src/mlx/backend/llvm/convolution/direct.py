"""Convolutions with few outputs a group: the input is read where it lies, sums stay in registers.

A tile is some neighbouring positions of a line times all outputs of a group (of several, where
they are few), or a block of them.  Lines of taps outside the input are left out; where positions
see what lies before or behind a line, their part of it is copied first, with zeros around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.convolution.channelwise import SLOTS, Channelwise, ChannelwiseSpec
from mlx.backend.llvm.convolution.direct_tile import TileOfPositions
from mlx.backend.llvm.gemm.elements import llvm_type
from mlx.backend.llvm.gemm.pairs import WholePairs
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64, vector

DIRECT_SLOTS = (
    *SLOTS, "channels", "x_group", "w_panel", "w_group", "n_blocks", "blocks",
    "span", "spans", "merged", "lies",
    "scratch_base", "scratch_offset", "scratch_stride",
)  # fmt: skip
"""``outputs`` are a group's; ``row`` is the bytes of a row of a panel of weights; ``merged``:
channels of taps side by side are one run; ``lies``: the input is read where it lies, unless
positions are far apart for the few channels that are read of each."""


@dataclass(frozen=True)
class DirectSpec(ChannelwiseSpec):
    """A kernel for tiles of these numbers of positions, ``heads`` groups and ``vectors``."""

    rows: tuple[int, ...]
    lanes: int
    vectors: int
    heads: int
    missing: tuple[int, ...]
    """Numbers of positions that miss a tap at an end of a line, and have code without them."""
    pairs: bool = False
    """Whether elements are pairs of neighbouring channels, for dot-product instructions."""

    @property
    def key(self) -> str:
        shape = f"{self.rows}|{self.lanes}x{self.vectors}x{self.heads}|{self.missing}|{self.pairs}"
        return f"direct|{self.dtype}|{self.accumulate}|{shape}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        _Direct(self, module, name).emit()


class _Direct(Channelwise):
    spec: DirectSpec
    names = DIRECT_SLOTS

    def __init__(self, spec: DirectSpec, module: Module, name: str) -> None:
        super().__init__(spec, module, name)
        self.lanes = spec.lanes
        if spec.pairs:
            self.element = WholePairs(spec.dtype, spec.accumulate)
        self.type = vector(spec.lanes, llvm_type(spec.accumulate))
        self.tiles = self.edges = [TileOfPositions(module, spec, rows) for rows in spec.rows]
        if spec.missing:
            self.edges = [TileOfPositions(module, spec, rows, spec.missing) for rows in spec.rows]
        for tile in [*self.tiles, *(self.edges if spec.missing else ())]:
            tile.emit()

    @property
    def sums_of_tile(self) -> int:
        return max(self.spec.rows) * self.spec.heads * self.spec.vectors

    def start(self, x: Value, slot: int) -> tuple[Value, Value]:
        """A task's blocks (of a group's or some groups' outputs), and its chunk of units."""
        f, kernel = self.f, self.kernel
        self.state, self.weights = self.spec.epilogue.begin(kernel, slot), self.w
        first = f.mul(f.op("urem", kernel.task, self.slot("spans")), self.slot("span"))
        self.blocks = first, f.min(f.add(first, self.slot("span")), self.slot("blocks"))
        scratch = kernel.pointer(self.names.index("scratch_base"))
        self.scratch = f.gep(scratch, f.mul(kernel.worker, self.slot("scratch_stride")))
        self.element_bytes = i64(self.size)
        self.wide = f.mul(self.slot("channels"), i64(self.spec.heads))
        self.pitch = f.mul(self.wide, self.element_bytes)  # bytes of a position of a copy
        return x, f.op("udiv", kernel.task, self.slot("spans"))

    def _line(self, source: Value, z: Value, y: Value, row: Value) -> None:
        f = self.f
        self.valid = [self._valid(0, z), self._valid(1, y)]
        self.inside = self._inside()
        block = f.loop(*self.blocks, i64(1))
        panel = f.op("urem", block.index, self.slot("n_blocks"))
        group = f.mul(f.op("udiv", block.index, self.slot("n_blocks")), i64(self.spec.heads))
        self.column = f.mul(panel, i64(self.lanes * self.spec.vectors))
        self.w = f.gep(self.weights, f.mul(group, self.slot("w_group")))
        self.w = f.gep(self.w, f.mul(panel, self.slot("w_panel")))
        groups = [f.add(group, i64(h)) for h in range(self.spec.heads)]
        self.contexts = [self.spec.epilogue.batch(self.kernel, self.state, g) for g in groups]
        self._tiles(f.gep(source, f.mul(group, self.slot("x_group"))), row)
        f.end_loop(block)

    def _tiles(self, source: Value, row: Value) -> None:
        """One block of outputs, for all positions of a line."""
        f, positions, (start, stop) = self.f, self.counts[2], self.piece
        whole = self.in_whole_blocks(self.tiles[0].rows, self.tiles[-1].rows)
        for kind, first, last in ((0, start, whole), (-1, whole, stop)):
            tile, edge = self.tiles[kind], self.edges[kind]
            loop = f.loop(first, last, i64(tile.rows))
            there = f.icmp("ne", self.slot("lies"), i64(0))
            there = f.op("and", there, self.within(loop.index, tile.rows))
            count = f.min(f.sub(positions, loop.index), i64(tile.rows))
            here = f.add(row, f.mul(loop.index, self.slot("x_rows")))
            stored = self._target(here, count, tile.rows)
            self._tile(tile, edge, source, loop.index, there)
            self._store_tile(here, f.select(stored, i64(0), count))
            f.end_loop(loop)

    def _tile(
        self, tile: TileOfPositions, edge: TileOfPositions, source: Value, first: Value,
        there: Value,
    ) -> None:  # fmt: skip
        """A tile of the input as it lies, or of a copy with zeros around the line."""
        f = self.f
        (z0, _), (y0, _) = self.valid
        x = f.add(f.mul(first, self.steps[2]), self.numbers["x"][0])
        here = f.gep(source, f.mul(x, self.strides[2]))
        here = f.gep(f.gep(here, self._offset(0, z0)), self._offset(1, y0))
        if self.spec.dtype != self.spec.accumulate and not self.spec.pairs:
            self._tile_of_copy(tile, here, x)
            return
        plain, other, copied, done = map(f.label, ("plain", "other", "copied", "multiplied"))
        f.branch_if(there, plain, other)
        f.start(plain)
        self._as_it_lies(tile, here, x)
        f.branch(done)
        f.start(other)
        if self.spec.missing:
            near = f.label("near")
            f.branch_if(self._is_near(edge, first, x), near, copied)
            f.start(near)
            self._as_it_lies(edge, here, x)
            f.branch(done)
        else:
            f.branch(copied)
        f.start(copied)
        self._tile_of_copy(tile, here, x)
        f.branch(done)
        f.start(done)

    def _is_near(self, tile: TileOfPositions, first: Value, x: Value) -> Value:
        """Whether positions miss taps at the ends of the line as foreseen, each tap at one end:
        the first position sees ``x`` or more."""
        f, step, size = self.f, self.steps[2], self.sizes[2]
        _, delta, taps = self.numbers["x"]
        span = f.mul(step, i64(tile.rows - 1))
        last = f.add(f.add(x, span), f.mul(delta, f.sub(taps, i64(1))))
        starts = f.icmp("eq", first, i64(0))
        ends = f.icmp("eq", f.add(first, i64(tile.rows)), self.counts[2])
        near = f.icmp("ne", self.slot("lies"), i64(0))
        near = f.op("and", near, f.icmp("sgt", size, span))
        near = f.op("and", near, f.op("or", starts, f.icmp("sge", x, i64(0))))
        return f.op("and", near, f.op("or", ends, f.icmp("slt", last, size)))

    def _as_it_lies(self, tile: TileOfPositions, here: Value, x: Value) -> None:
        f = self.f
        delta = self.numbers["x"][1]
        line = f.mul(self.numbers["y"][1], self.strides[1])
        plane = f.mul(self.numbers["z"][1], self.strides[0])
        self._call(tile, here, self.step, f.mul(delta, self.strides[2]), line, plane,
                   self.slot("x_group"), x)  # fmt: skip

    def _call(
        self, tile: TileOfPositions, x: Value, place: Value, tap: Value, line: Value,
        plane: Value, head: Value, at: Value,
    ) -> None:  # fmt: skip
        f = self.f
        (z0, z1), (y0, y1) = self.valid
        taps, channels, row = self.numbers["x"][2], self.slot("channels"), self.slot("row")
        w_line = f.mul(f.mul(row, channels), taps)
        w_plane = f.mul(w_line, self.numbers["y"][2])
        w = f.gep(self.w, f.add(f.mul(z0, w_plane), f.mul(y0, w_line)))
        run = channels
        if not tile.missing:
            merged = f.icmp("ne", self.slot("merged"), i64(0))
            run = f.select(merged, f.mul(taps, channels), channels)
            taps = f.select(merged, i64(1), taps)
        f.call(
            tile.name, "void", x, w, self.out, self.out_pitch, place, tap, line, plane,
            f.sub(z1, z0), f.sub(y1, y0), taps, run, head, row, w_line, w_plane,
            self.slot("w_group"), at, self.numbers["x"][1], self.steps[2], self.sizes[2],
        )  # fmt: skip

    def _tile_of_copy(self, tile: TileOfPositions, here: Value, x: Value) -> None:
        """Lines of what the tile sees, from place ``x`` on, side by side in scratch."""
        f = self.f
        (z0, z1), (y0, y1) = self.valid
        _, delta, taps = self.numbers["x"]
        seen = f.add(f.mul(self.steps[2], i64(tile.rows - 1)), f.mul(delta, f.sub(taps, i64(1))))
        seen = f.add(seen, i64(1))
        low = f.min(f.max(f.sub(i64(0), x), i64(0)), seen)
        high = f.max(f.min(f.sub(self.sizes[2], x), seen), low)
        line_bytes = f.mul(seen, self.pitch)
        z = f.loop(z0, z1, i64(1), [here, self.scratch])
        y = f.loop(y0, y1, i64(1), z.values)
        source, target = y.values
        self.clear_run(target, f.mul(low, self.wide))
        inside = f.gep(target, f.mul(low, self.pitch))
        self.copy_positions(f.gep(source, f.mul(low, self.strides[2])), inside, f.sub(high, low))
        behind = f.gep(target, f.mul(high, self.pitch))
        self.clear_run(behind, f.mul(f.sub(seen, high), self.wide))
        below = f.gep(source, f.mul(self.numbers["y"][1], self.strides[1]))
        _, target = f.end_loop(y, [below, f.gep(target, line_bytes)])
        f.end_loop(z, [f.gep(z.values[0], f.mul(self.numbers["z"][1], self.strides[0])), target])
        plane = f.mul(line_bytes, f.sub(y1, y0))
        head = f.mul(self.slot("channels"), self.element_bytes)
        self._call(tile, self.scratch, f.mul(self.steps[2], self.pitch),
                   f.mul(delta, self.pitch), line_bytes, plane, head, x)  # fmt: skip

    def _target(self, row: Value, count: Value, rows: int) -> Value:
        """Whether a tile writes its sums where they shall lie: all there are, and plain ones.

        ``out`` is where a tile stores, ``out_pitch`` the bytes between its positions.
        """
        f, spec = self.f, self.spec
        cols, row_bytes = spec.vectors * self.lanes, spec.heads * spec.vectors * self.lanes
        self.out, self.out_pitch = self.buffer, i64(row_bytes * self.size)
        place = self.plain_place(self.contexts[0]) if spec.heads == 1 else None
        if place is None:
            return Value("false", "i1")
        left = f.sub(self.slot("outputs"), self.column)
        whole = f.op("and", f.icmp("sge", left, i64(cols)), f.icmp("eq", count, i64(rows)))
        pointer, pitch = place
        to = f.gep(f.gep(pointer, f.mul(row, pitch)), f.mul(self.column, self.element_bytes))
        self.out = f.select(whole, to, self.out)
        self.out_pitch = f.select(whole, f.mul(pitch, self.slot("x_rows")), self.out_pitch)
        return whole

    def _store_tile(self, row: Value, count: Value) -> None:
        """The buffer's sums, where the tile has left them there."""
        f, spec, bytes_ = self.f, self.spec, self.lanes * self.size
        loop = f.loop(i64(0), count, i64(1), [row, self.buffer])
        at, source = loop.values
        for context in self.contexts:
            for v in range(spec.vectors):
                value = f.load(source, self.type, self.size)
                source = f.gep(source, i64(bytes_))
                self._store_vector(context, value, at, f.add(self.column, i64(v * self.lanes)))
        f.end_loop(loop, [f.add(at, self.slot("x_rows")), source])

    def _store_vector(self, context: Any, value: Value, row: Value, col: Value) -> None:
        store = self.spec.epilogue.store
        left = self.f.sub(self.slot("outputs"), col)
        self.whole_or_part(left, lambda mask: store(self.kernel, context, value, row, col, mask))
