"""Matrix times vector (M = 1 or N = 1), at memory bandwidth and in the order of reductions.

Along k: chunks of 65,536; inside a chunk 128 bytes of lanes, element k in lane k mod lanes,
each lane one chain of FMAs; then the upper half of the lanes is folded onto the lower half
until one is left; then neighbouring chunks are added pairwise.  Both layouts of the matrix
keep this order.  Chunks are one more batch dimension of the first kernel; where there are
several, a second kernel adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import (
    SIZES,
    Element,
    first_lanes,
    minimum,
    multiply_add,
)
from mlx.backend.llvm.gemm.operand import Epilogue, batch_offsets
from mlx.backend.llvm.gemm.pack import UNIT_COL, UNIT_ROW, whole_or_part
from mlx.backend.llvm.gemm.tile import Tile, tile_for
from mlx.backend.llvm.ir import (
    Module,
    Value,
    const,
    i64,
    lane_consts,
    lanes_of,
    vector,
    with_element,
)

CHUNK = 65_536
SLOTS = (
    "w_base", "w_offset", "x_base", "x_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "outputs", "k", "chunks", "w_out", "w_k", "x_k", "block", "blocks",
    "table", "dims",
)  # fmt: skip
EPILOGUE_SLOT = len(SLOTS)
MAX_BLOCK = 2048


def lanes_of_order(accumulate: str) -> int:
    """How many partial sums a chunk is split into."""
    return 128 // SIZES[accumulate]


@dataclass(frozen=True)
class VectorSpec:
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
    def packs_x(self) -> bool:
        return not self.x_unit or self.x_dtype != self.accumulate or (
            self.accumulate == "complex64"
        )

    def scratch_bytes(self) -> int:
        """Scratch of one worker: x, then the partial sums of the column-major form."""
        size = SIZES[self.accumulate]
        x = CHUNK * size + 256 if self.packs_x else 0
        return x + lanes_of_order(self.accumulate) * MAX_BLOCK * size + 256

    def emit(self, module: Module, name: str) -> None:
        form = _Columns if self.w_layout == UNIT_ROW else _Rows
        form(self, module, name).emit()


class _Form:
    """What both forms share: operands of the task, x, sums to epilogue."""

    def __init__(self, spec: VectorSpec, module: Module, name: str) -> None:
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
        batch = f.op("udiv", kernel.task, self.slot("blocks"))
        self.first = f.mul(block, self.slot("block"))
        self.count = minimum(f, f.sub(self.slot("outputs"), self.first), self.slot("block"))
        chunk = f.mul(f.op("urem", batch, self.slot("chunks")), i64(CHUNK))
        self.depth = minimum(f, f.sub(self.slot("k"), chunk), i64(CHUNK))
        offsets = batch_offsets(kernel, self.slot("table"), self.slot("dims"), batch, 2)
        self.matrix = f.gep(f.gep(w, offsets[0]), f.mul(self.first, self.w_out))
        self.x = f.gep(x, offsets[1])
        self.context = spec.epilogue.batch(kernel, state, batch)
        if spec.packs_x:
            self._pack_x(x_k, scratch)
            self.x = scratch
            scratch = f.gep(scratch, i64(CHUNK * SIZES[spec.accumulate] + 256))
        self.sums = scratch
        self.product()
        self._finish()
        f.ret()

    def product(self) -> None:
        """Leave the sums of outputs first..first+count-1 in ``sums``, plane after plane."""
        raise NotImplementedError

    def _pack_x(self, stride: Value, target: Value) -> None:
        f, element = self.f, self.x_element
        loop = f.loop(i64(0), self.depth, i64(self.lanes))
        here = f.gep(self.x, f.mul(loop.index, stride))
        left = f.sub(self.depth, loop.index)
        if self.spec.x_unit:
            planes = element.load_run(f, here, self.lanes, left)
        else:
            planes = element.load_strided(f, here, stride, self.lanes, left)
        for plane, value in enumerate(planes):
            at = f.gep(target, f.mul(loop.index, i64(self.size)))
            f.store(value, f.gep(at, i64(plane * CHUNK * self.size)), self.size)
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


class _Rows(_Form):
    """k is the fast axis of the matrix (or neither is): lanes lie in registers."""

    def product(self) -> None:
        f = self.f
        together = 4 if self.tile.vector_bytes == 64 else 2
        whole = f.sub(self.count, f.op("urem", self.count, i64(together)))
        for start, stop, rows in ((i64(0), whole, together), (whole, self.count, 1)):
            loop = f.loop(start, stop, i64(rows))
            matrices = [
                f.gep(self.matrix, f.mul(f.add(loop.index, i64(r)), self.w_out))
                for r in range(rows)
            ]
            addresses = self._sum_addresses(loop.index)
            for value, at in zip(self._dot(matrices), addresses, strict=True):
                f.store(value, at, self.size)
            f.end_loop(loop)

    def _dot(self, matrices: list[Value]) -> list[Value]:
        """For each plane, the vector of sums of some rows of the matrix, each times x."""
        f = self.f
        per_row = self.order // self.lanes * self.planes
        zeros = [const(self.type, 0)] * (per_row * len(matrices))
        whole = f.sub(self.depth, f.op("urem", self.depth, i64(self.order)))
        loop = f.loop(i64(0), whole, i64(self.order), zeros)
        sums = f.end_loop(loop, self._step(matrices, loop.index, loop.values, None))
        before, part, ready = f.block, f.label("part"), f.label("ready")
        left = f.sub(self.depth, whole)
        f.branch_if(f.icmp("sgt", left, i64(0)), part, ready)
        f.start(part)
        ended = self._step(matrices, whole, sums, left)
        part = f.block
        f.branch(ready)
        f.start(ready)
        sums = [
            f.phi(self.type, [(a, before), (b, part)]) for a, b in zip(sums, ended, strict=True)
        ]
        rows = [sums[n : n + per_row] for n in range(0, len(sums), per_row)]
        return [self._fold([row[p :: self.planes] for row in rows]) for p in range(self.planes)]

    def _step(
        self, matrices: list[Value], k: Value, sums: list[Value], left: Value | None
    ) -> list[Value]:
        """One round of lanes; only the first ``left`` where given."""
        f = self.f
        out = []
        xs, masks = [], []
        for v in range(self.order // self.lanes):
            at = f.gep(self.x, f.mul(f.add(k, i64(v * self.lanes)), i64(self.size)))
            remaining = None if left is None else f.sub(left, i64(v * self.lanes))
            xs.append(self._load_x(at, remaining))
            masks.append(remaining)
        position = 0
        for matrix in matrices:
            for v, remaining in enumerate(masks):
                here = f.gep(matrix, f.mul(f.add(k, i64(v * self.lanes)), self.w_k))
                old = sums[position : position + self.planes]
                new = self.multiply(xs[v], self._load_w(here, remaining), old)
                if remaining is not None:
                    mask = first_lanes(f, remaining, self.lanes)
                    new = [f.select(mask, n, o) for n, o in zip(new, old, strict=True)]
                out += new
                position += self.planes
        return out

    def _load_x(self, address: Value, count: Value | None) -> list[Value]:
        element = Element(self._plane_dtype, self._plane_dtype)
        plane = i64(CHUNK * self.size)
        return [
            element.load_run(self.f, at, self.lanes, count)[0]
            for at in [address, self.f.gep(address, plane)][: self.planes]
        ]

    @property
    def _plane_dtype(self) -> str:
        return "float32" if self.planes == 2 else self.spec.accumulate

    def _load_w(self, address: Value, count: Value | None) -> list[Value]:
        if self.spec.w_layout == UNIT_COL:
            return self.w.load_run(self.f, address, self.lanes, count)
        every = count if count is not None else i64(self.lanes)
        return self.w.load_strided(self.f, address, self.w_k, self.lanes, every)

    def _fold(self, rows: list[list[Value]]) -> Value:
        """For each row, upper half of its lanes onto the lower half until one is left."""
        f = self.f
        vectors = []
        for sums in rows:
            while len(sums) > 1:
                half = len(sums) // 2
                sums = [f.add(sums[n], sums[n + half]) for n in range(half)]
            vectors.append(sums[0])
        width = self.lanes
        while width > 1:
            width //= 2
            vectors = [
                self._fold_pair(vectors[n], vectors[n + 1 : n + 2], width)
                for n in range(0, len(vectors), 2)
            ]
        return vectors[0]

    def _fold_pair(self, first: Value, second: list[Value], width: int) -> Value:
        """Fold segments of 2 * width lanes, of one vector or of two into one."""
        f, lanes = self.f, lanes_of(first.type)
        other = second[0] if second else None
        total = lanes * (1 + len(second))
        low = [i for i in range(total) if i % (2 * width) < width]
        high = [i + width for i in low]
        return f.add(f.shuffle(first, other, low), f.shuffle(first, other, high))


class _Columns(_Form):
    """The outputs are the fast axis of the matrix: a row of partial sums for each lane."""

    def product(self) -> None:
        f, order = self.f, i64(self.order)
        self.whole = f.sub(self.count, f.op("urem", self.count, i64(self.lanes)))
        done = i64(0)
        for together in (8, 4, 2, 1):
            period = i64(together * self.order)
            left = f.sub(self.depth, done)
            stop = f.add(done, f.sub(left, f.op("urem", left, period)))
            block = f.loop(done, stop, period)
            self._accumulate(block.index, order, together)
            f.end_loop(block)
            done = stop
        self._accumulate(done, f.sub(self.depth, done), 1)
        self._clear(minimum(f, self.depth, order))
        self._fold()

    def _address(self, row: Value, col: Value, plane: int = 0) -> Value:
        f = self.f
        offset = f.add(f.mul(row, i64(MAX_BLOCK * self.planes)), col)
        at = f.gep(self.sums, f.mul(offset, i64(self.size)))
        return f.gep(at, i64(plane * self.sums_plane))

    def _clear(self, start: Value) -> None:
        """Lanes from ``start`` on got no element."""
        f = self.f
        row = f.loop(start, i64(self.order), i64(1))
        col = f.loop(i64(0), self.count, i64(self.lanes))
        for plane in range(self.planes):
            f.store(const(self.type, 0), self._address(row.index, col.index, plane), self.size)
        f.end_loop(col)
        f.end_loop(row)

    def _fold(self) -> None:
        f = self.f
        col = f.loop(i64(0), self.count, i64(self.lanes))
        for plane in range(self.planes):
            total = self._subtree(col.index, plane, 0, 1)
            f.store(total, self._address(i64(0), col.index, plane), self.size)
        f.end_loop(col)

    def _subtree(self, col: Value, plane: int, lane: int, step: int) -> Value:
        """The sum of lanes ``lane`` + multiples of ``step``, as folding halves leaves it."""
        if step == self.order:
            return self.f.load(self._address(i64(lane), col, plane), self.type, self.size)
        low = self._subtree(col, plane, lane, 2 * step)
        return self.f.add(low, self._subtree(col, plane, lane + step, 2 * step))

    def _accumulate(self, start: Value, lanes: Value, together: int) -> None:
        """Rows k, k + order, ... of the matrix, k from ``start``, onto the sums of its lane."""
        f = self.f
        lane = f.loop(i64(0), lanes, i64(1))
        fresh = f.icmp("slt", start, i64(self.order))
        rows = [f.add(f.add(start, lane.index), i64(n * self.order)) for n in range(together)]
        xs = [self._broadcast(row) for row in rows]
        matrices = [f.gep(self.matrix, f.mul(row, self.w_k)) for row in rows]

        def step(col: Value, left: Value | None) -> None:
            addresses = [self._address(lane.index, col, p) for p in range(self.planes)]
            zero = const(self.type, 0)
            sums = [
                f.select(fresh, zero, f.load(at, self.type, self.size)) for at in addresses
            ]
            for x, matrix in zip(xs, matrices, strict=True):
                here = f.gep(matrix, f.mul(col, i64(self.w.size)))
                sums = self.multiply(x, self.w.load_run(f, here, self.lanes, left), sums)
            for at, value in zip(addresses, sums, strict=True):
                f.store(value, at, self.size)

        col = f.loop(i64(0), self.whole, i64(self.lanes))
        step(col.index, None)
        f.end_loop(col)
        edge, after = f.label("edge"), f.label("after")
        left = f.sub(self.count, self.whole)
        f.branch_if(f.icmp("sgt", left, i64(0)), edge, after)
        f.start(edge)
        step(self.whole, left)
        f.branch(after)
        f.start(after)
        f.end_loop(lane)

    def _broadcast(self, k: Value) -> list[Value]:
        f = self.f
        at = f.gep(self.x, f.mul(k, i64(self.size)))
        places = [at, f.gep(at, i64(CHUNK * self.size))][: self.planes]
        return [f.splat(f.load(p, self.w.acc, self.size), self.lanes) for p in places]
