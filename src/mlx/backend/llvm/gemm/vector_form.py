"""What both forms of a matrix-vector product share: operands of a task, x, sums to epilogue."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import (
    SIZES,
    Element,
    first_lanes,
    multiply_add,
)
from mlx.backend.llvm.gemm.operand import Epilogue, batch_offsets
from mlx.backend.llvm.gemm.pack import whole_or_part
from mlx.backend.llvm.gemm.tile import GENERAL, UNIT_COL, Tile, tile_for
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector, with_element
from mlx.base.frozen import dataclass

CHUNK = 65_536
SLOTS = (
    "w_base", "w_offset", "x_base", "x_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "outputs", "k", "chunks", "w_out", "w_k", "x_k", "block", "blocks",
    "table", "dims", "together", "items",
)  # fmt: skip
EPILOGUE_SLOT = len(SLOTS)
MAX_BLOCK = 2048


def lanes_of_order(accumulate: str) -> int:
    """How many partial sums a chunk is split into."""
    return 128 // SIZES[accumulate]


@dataclass(frozen=True)
class VectorProblem:
    """W x for a matrix W (one row an output) and a vector x.

    ``x_left``: x is the left operand (M is 1).  ``row``: the outputs go along the epilogue's
    columns.
    """

    w_dtype: str
    w_layout: str
    x_dtype: str
    x_unit: bool
    accumulate: str
    x_left: bool
    row: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        x = f"{self.x_dtype}|{'unit' if self.x_unit else 'strided'}"
        return (
            f"gemv|{self.w_dtype}|{self.w_layout}|{x}|{self.accumulate}|"
            f"{'x_left' if self.x_left else 'x_right'}|{'row' if self.row else 'col'}|"
            f"{self.epilogue.key}"
        )

    @property
    def splits(self) -> bool:
        """Whether neighbours in the matrix are loaded as evens and odds (see ``Element``)."""
        return self.w_layout != GENERAL and Element(self.w_dtype, self.accumulate).splits

    @property
    def splits_x(self) -> bool:
        """Whether x is laid out in evens and odds as well: where k is the fast axis."""
        return self.splits and self.w_layout == UNIT_COL

    @property
    def packs_x(self) -> bool:
        plain = self.x_unit and self.x_dtype == self.accumulate != "complex64"
        return not plain or self.splits_x

    def scratch_bytes(self) -> int:
        """Scratch of one worker: x, then sums of the column-major form, finished and partial."""
        size = SIZES[self.accumulate]
        x = CHUNK * size + 256 if self.packs_x else 0
        return x + (lanes_of_order(self.accumulate) + 1) * self.sums_pitch + 256

    @property
    def sums_pitch(self) -> int:
        """Bytes between the sums of neighbouring lanes; odd in cache lines."""
        return MAX_BLOCK * SIZES[self.accumulate] + 64


class Form:
    """What both forms share: operands of the task, x, sums to epilogue."""

    def __init__(self, spec: VectorProblem, module: Module, name: str) -> None:
        self.spec = spec
        self.tile: Tile = tile_for(spec.accumulate)
        self.w = Element(spec.w_dtype, spec.accumulate)
        self.x_element = Element(spec.x_dtype, spec.accumulate)
        self.lanes = self.tile.lanes
        self.order = lanes_of_order(spec.accumulate)
        self.type = vector(self.lanes, self.w.acc)
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f
        self.planes = self.tile.planes
        self.size = self.tile.itemsize

    def slot(self, name: str) -> Value:
        return self.kernel.const(SLOTS.index(name))

    def emit(self) -> None:
        f, kernel, spec = self.f, self.kernel, self.spec
        for name in SLOTS:
            self.slot(name)
        w, x, scratch = (kernel.pointer(SLOTS.index(p + "_base")) for p in ("w", "x", "scratch"))
        scratch = f.gep(scratch, f.mul(kernel.worker, self.slot("scratch_stride")))
        state = spec.epilogue.begin(kernel, EPILOGUE_SLOT)
        self.w_out = f.mul(self.slot("w_out"), i64(self.w.size))
        self.w_k = f.mul(self.slot("w_k"), i64(self.w.size))
        x_k = f.mul(self.slot("x_k"), i64(self.x_element.size))
        block = f.op("urem", kernel.task, self.slot("blocks"))
        turn = f.mul(f.op("udiv", kernel.task, self.slot("blocks")), self.slot("together"))
        self.first = f.mul(block, self.slot("block"))
        self.count = f.min(f.sub(self.slot("outputs"), self.first), self.slot("block"))
        stop = f.min(f.add(turn, self.slot("together")), self.slot("items"))
        item = f.loop(turn, stop, i64(1))
        self._item(item.index, state, (w, x, scratch), x_k)
        f.end_loop(item)
        f.ret()

    def _item(self, batch: Value, state: Any, places: tuple[Value, ...], x_k: Value) -> None:
        """The outputs of a task for one item of the batch."""
        f, spec = self.f, self.spec
        w, x, scratch = places
        chunk = f.mul(f.op("urem", batch, self.slot("chunks")), i64(CHUNK))
        self.depth = f.min(f.sub(self.slot("k"), chunk), i64(CHUNK))
        offsets = batch_offsets(self.kernel, self.slot("table"), self.slot("dims"), batch, 2)
        self.matrix = f.gep(f.gep(w, offsets[0]), f.mul(self.first, self.w_out))
        self.x = f.gep(x, offsets[1])
        self.context = spec.epilogue.batch(self.kernel, state, batch)
        if spec.packs_x:
            self._pack_x(x_k, scratch)
            self.x = scratch
            scratch = f.gep(scratch, i64(CHUNK * SIZES[spec.accumulate] + 256))
        self.sums = scratch
        self.product()
        self._finish()

    def product(self) -> None:
        """Leave the sums of outputs first..first+count-1 in ``sums``, plane after plane."""
        raise NotImplementedError

    def _pack_x(self, stride: Value, target: Value) -> None:
        f, element = self.f, self.x_element
        runs = 2 if self.spec.splits_x else 1
        loop = f.loop(i64(0), self.depth, i64(runs * self.lanes))
        to = f.gep(target, f.mul(loop.index, i64(self.size)))
        loaded = []
        for run in range(runs):
            first = f.add(loop.index, i64(run * self.lanes))
            here, left = f.gep(self.x, f.mul(first, stride)), f.sub(self.depth, first)
            if self.spec.x_unit:
                loaded.append(element.load_run(f, here, self.lanes, left))
            else:
                loaded.append(element.load_strided(f, here, stride, self.lanes, left))
        if runs == 2:
            (one,), (other,) = loaded
            loaded = [[f.shuffle(one, other, range(n, 2 * self.lanes, 2))] for n in (0, 1)]
        for run, planes in enumerate(loaded):
            for plane, value in enumerate(planes):
                offset = (plane * CHUNK + run * self.lanes) * self.size
                f.store(value, f.gep(to, i64(offset)), self.size)
        f.end_loop(loop)

    def multiply(self, x: list[Value], w: list[Value], sums: list[Value]) -> list[Value]:
        """One step of the chain; a's imaginary part times b's real part comes last."""
        f, fused = self.f, self.tile.fused
        if self.planes == 1:
            return [multiply_add(f, x[0], w[0], sums[0], fused)]
        a, b = (x, w) if self.spec.x_left else (w, x)
        re = multiply_add(f, a[0], b[0], sums[0], fused)
        im = multiply_add(f, a[0], b[1], sums[1], fused)
        re = multiply_add(f, f.neg(a[1]), b[1], re, fused)
        return [re, multiply_add(f, a[1], b[0], im, fused)]

    @property
    def sums_plane(self) -> int:
        """Bytes between the planes of the finished sums."""
        return MAX_BLOCK * self.size

    def _finish(self) -> None:
        """Hand the sums to the epilogue: along the row, or one by one down the column."""
        f, lanes = self.f, self.lanes
        if not self.spec.row:
            loop = f.loop(i64(0), self.count, i64(1))
            one = lane_consts(with_element(self.type, "i1"), [1] + [0] * (lanes - 1))
            values = [
                f.insert(const(self.type, 0), f.load(at, self.w.acc, self.size), 0)
                for at in self._sum_addresses(loop.index)
            ]
            self._store(values, f.add(self.first, loop.index), i64(0), one)
            f.end_loop(loop)
            return
        loop = f.loop(i64(0), self.count, i64(lanes))
        left = f.sub(self.count, loop.index)
        values = [f.load(at, self.type, self.size) for at in self._sum_addresses(loop.index)]
        col = f.add(self.first, loop.index)

        def put(whole: bool) -> None:
            self._store(values, i64(0), col, None if whole else first_lanes(f, left, lanes))

        whole_or_part(f, f.icmp("sge", left, i64(lanes)), put)
        f.end_loop(loop)

    def _sum_addresses(self, index: Value) -> list[Value]:
        at = self.f.gep(self.sums, self.f.mul(index, i64(self.size)))
        return [self.f.gep(at, i64(p * self.sums_plane)) for p in range(self.planes)]

    def _store(self, values: list[Value], row: Value, col: Value, mask: Value | None) -> None:
        value: Any = tuple(values) if self.planes == 2 else values[0]
        self.spec.epilogue.store(self.kernel, self.context, value, row, col, mask)
