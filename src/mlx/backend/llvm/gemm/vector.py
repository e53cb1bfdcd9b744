"""Matrix times vector (M = 1 or N = 1), at memory bandwidth and in the order of reductions.

Along k: chunks of 65,536; inside a chunk 128 bytes of lanes, element k in lane k mod lanes,
each lane one chain of FMAs; then the upper half of the lanes is folded onto the lower half
until one is left; then neighbouring chunks are added pairwise.  Both layouts of the matrix
keep this order.  Chunks are one more batch dimension of the first kernel; where there are
several, a second kernel adds them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import SIZES, Element, first_lanes, minimum, multiply_add
from mlx.backend.llvm.gemm.operand import Epilogue, batch_offsets
from mlx.backend.llvm.gemm.pack import UNIT_COL, UNIT_ROW, whole_or_part
from mlx.backend.llvm.gemm.tile import Tile, tile_for
from mlx.backend.llvm.ir import Module, Value, const, i64, lane_consts, vector, with_element

CHUNK = 65_536
SLOTS = (
    "w_base", "w_offset", "x_base", "x_offset", "scratch_base", "scratch_offset",
    "scratch_stride", "outputs", "k", "chunks", "w_out", "w_k", "x_k", "block", "blocks",
    "table", "dims",
)  # fmt: skip
EPILOGUE_SLOT = len(SLOTS)
MAX_BLOCK = 512


def lanes_of_order(accumulate: str) -> int:
    """How many partial sums a chunk is split into."""
    return 128 // SIZES[accumulate]


@dataclass(frozen=True)
class VectorSpec:
    """W x for a matrix W (one row an output) and a vector x; ``row`` says that M is 1."""

    w_dtype: str
    w_layout: str
    x_dtype: str
    x_unit: bool
    accumulate: str
    row: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        x = f"{self.x_dtype}|{'unit' if self.x_unit else 'strided'}"
        return (
            f"gemv|{self.w_dtype}|{self.w_layout}|{x}|{self.accumulate}|"
            f"{'row' if self.row else 'col'}|{self.epilogue.key}"
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
        a, b = (x, w) if self.spec.row else (w, x)
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
            for r, sums in enumerate(self._dot(matrices)):
                addresses = self._sum_addresses(f.add(loop.index, i64(r)))
                for value, at in zip(sums, addresses, strict=True):
                    f.store(value, at, self.size)
            f.end_loop(loop)

    def _dot(self, matrices: list[Value]) -> list[list[Value]]:
        """Sums (one a plane) of some rows of the matrix, each times x."""
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
        return [[self._fold(row[p :: self.planes]) for p in range(self.planes)] for row in rows]

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

    def _fold(self, sums: list[Value]) -> Value:
        """Upper half onto lower half, until one lane is left."""
        f = self.f
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [f.add(sums[n], sums[n + half]) for n in range(half)]
        value, width = sums[0], self.lanes
        while width > 1:
            width //= 2
            low = f.shuffle(value, None, range(width))
            value = f.add(low, f.shuffle(value, None, range(width, 2 * width)))
        return f.extract(value, 0)


class _Columns(_Form):
    """The outputs are the fast axis of the matrix: a row of partial sums for each lane."""

    _TOGETHER = 4

    def product(self) -> None:
        f = self.f
        self.whole = f.sub(self.count, f.op("urem", self.count, i64(self.lanes)))
        self._for_vectors(i64(self.order), self._clear)
        period = self._TOGETHER * self.order
        main = f.sub(self.depth, f.op("urem", self.depth, i64(period)))
        block = f.loop(i64(0), main, i64(period))
        lane = f.loop(i64(0), i64(self.order), i64(1))
        self._accumulate(lane.index, f.add(block.index, lane.index), self._TOGETHER)
        f.end_loop(lane)
        f.end_loop(block)
        rest = f.loop(main, self.depth, i64(1))
        self._accumulate(f.op("urem", rest.index, i64(self.order)), rest.index, 1)
        f.end_loop(rest)
        width = self.order // 2
        while width:
            self._for_vectors(i64(width), lambda row, col, w=width: self._fold(row, col, w))
            width //= 2

    def _address(self, row: Value, col: Value, plane: int = 0) -> Value:
        f = self.f
        offset = f.add(f.mul(row, i64(MAX_BLOCK * self.planes)), col)
        at = f.gep(self.sums, f.mul(offset, i64(self.size)))
        return f.gep(at, i64(plane * self.sums_plane))

    def _for_vectors(self, rows: Value, body: Callable[[Value, Value], None]) -> None:
        """``body(row, col)`` for every vector of some rows of partial sums."""
        row = self.f.loop(i64(0), rows, i64(1))
        col = self.f.loop(i64(0), self.count, i64(self.lanes))
        body(row.index, col.index)
        self.f.end_loop(col)
        self.f.end_loop(row)

    def _clear(self, row: Value, col: Value) -> None:
        for plane in range(self.planes):
            self.f.store(const(self.type, 0), self._address(row, col, plane), self.size)

    def _fold(self, row: Value, col: Value, width: int) -> None:
        f = self.f
        for plane in range(self.planes):
            at = self._address(row, col, plane)
            other = self._address(f.add(row, i64(width)), col, plane)
            total = f.add(f.load(at, self.type, self.size), f.load(other, self.type, self.size))
            f.store(total, at, self.size)

    def _accumulate(self, lane: Value, k: Value, together: int) -> None:
        """Rows k, k + order, ... of the matrix onto the partial sums of one lane."""
        f = self.f
        rows = [f.add(k, i64(n * self.order)) for n in range(together)]
        xs = [self._broadcast(row) for row in rows]
        matrices = [f.gep(self.matrix, f.mul(row, self.w_k)) for row in rows]

        def step(col: Value, left: Value | None) -> None:
            addresses = [self._address(lane, col, p) for p in range(self.planes)]
            sums = [f.load(at, self.type, self.size) for at in addresses]
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

    def _broadcast(self, k: Value) -> list[Value]:
        f = self.f
        at = f.gep(self.x, f.mul(k, i64(self.size)))
        places = [at, f.gep(at, i64(CHUNK * self.size))][: self.planes]
        return [f.splat(f.load(p, self.w.acc, self.size), self.lanes) for p in places]
