"""What kernels of attention share: where rows of a group lie, which keys they see, scores.

The *rows* of a group are the queries of all heads that share a key head, head after head.
Blocks are kept *key by key*: a row of scratch is a key (or a feature), and vectors run over
queries, so that maxima, sums and scales of queries are vectors too.

With ``pairs`` operands stay bfloat16 in scratch, weights are rounded to it for the product with
values, and what is summed in a product lies in pairs: rows as they are where features (or
queries) are summed, else two rows in one.
"""

from __future__ import annotations

from collections.abc import Callable

from mlx.backend.llvm import elementary
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.attention.moves import copy_rows, store_rows, turn
from mlx.backend.llvm.attention.product import product, tile_product
from mlx.backend.llvm.attention.tile import KEYS, Tile, tile_for
from mlx.backend.llvm.gemm import amx
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_panels import Named
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.primitives.attention import HIDDEN

SHARED_SLOTS = (
    "q_base", "q_offset", "q_h", "q_t", "q_d", "k_base", "k_offset", "k_t", "k_d",
    "v_base", "v_offset", "v_t", "v_d", "mask_base", "mask_offset", "mask_h", "mask_t", "mask_d",
    "scratch_base", "scratch_offset", "scratch_stride", "rows", "length", "keys", "size", "value",
    "size_bytes", "value_bytes", "scale", "table", "dims", "at_k", "at_v", "at_scores",
    "at_stage", "at_mask", "at_limits",
)  # fmt: skip

TRUE, FALSE = Value("true", "i1"), Value("false", "i1")


class Blocks(Named):
    """The common part of a kernel; ``width`` queries make a block of scores.

    Without ``pairs`` all operands are accumulators in scratch.
    """

    def __init__(
        self, module: Module, name: str, dtype: str, units: str, mask: str, causal: bool,
        width: int, pairs: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(Kernel(module, name))
        self.module, self.dtype, self.mask, self.causal = module, dtype, mask, causal
        self.tile: Tile = tile_for(dtype)
        self.width = width
        self.vectors = width // self.tile.lanes
        self.pitch = i64(width * self.tile.itemsize)
        self.pairs = pairs and self.tile.pairs
        self.tiles = pairs and self.tile.amx
        self.product = (
            tile_product(module, self.tile) if self.tiles
            else product(module, self.tile, pairs=self.pairs)
        )  # fmt: skip
        self.turn = turn(module, self.tile)
        self.turn_rows = turn(module, self.tile, self.pairs)
        self.copies = {
            which: copy_rows(module, self.tile, dtype, which in units, self.pairs)
            for which in "qkvo"
        }
        self.copy_mask = copy_rows(module, self.tile, mask, "m" in units) if mask else ""
        self.put = store_rows(module, self.tile, dtype)
        self.put_sums = store_rows(module, self.tile, self.tile.accumulate)

    # -- numbers -----------------------------------------------------------------------

    def begin(self) -> None:
        """Scratch of this worker, and the scale."""
        f = self.f
        scratch = self.pointer("scratch")
        self.scratch = f.gep(scratch, f.mul(self.k.worker, self.slot("scratch_stride")))
        number = f.bitcast(self.slot("scale"), "double")
        wide = self.tile.element == "double"
        self.scale = number if wide else f.cast("fptrunc", number, "float")
        self.one = const(self.tile.element, 1)
        if self.tiles:
            amx.configure(f)

    def finish(self) -> None:
        """Return from the kernel."""
        if self.tiles:
            amx.release(self.f)
        self.f.ret()

    def row_bytes(self, size: str) -> Value:
        """Bytes between rows of an operand that was copied."""
        whole = self.slot(size + "_bytes")
        return self.f.op("lshr", whole, i64(1)) if self.pairs else whole

    def steps(self, count: Value) -> Value:
        """What a product sums: so many elements, or pairs of them."""
        f = self.f
        return f.op("lshr", f.add(count, i64(1)), i64(1)) if self.pairs else count

    def region(self, name: str) -> Value:
        return self.f.gep(self.scratch, self.slot("at_" + name))

    def load(self, address: Value) -> Value:
        return self.f.load(address, self.tile.type, self.tile.itemsize)

    def store(self, value: Value, address: Value) -> None:
        self.f.store(value, address, self.tile.itemsize)

    def lane(self, address: Value, v: int) -> Value:
        """The address of vector ``v`` of a row of scratch."""
        return self.f.gep(address, i64(v * self.tile.vector_bytes)) if v else address

    def fill(self, line: Value, number: float) -> None:
        """A row of scratch with one number everywhere."""
        for v in range(self.vectors):
            self.store(self.const(number), self.lane(line, v))

    def const(self, number: float) -> Value:
        return const(self.tile.type, number)

    def exp(self, x: Value) -> Value:
        return elementary.TABLE["exp"](self.f, x)

    # -- rows of a group ---------------------------------------------------------------

    def segments(
        self, first: Value, count: Value, body: Callable[[Value, Value, Value, Value], None]
    ) -> None:
        """``body(head, t, n, at)`` for runs of n rows of one head, ``at`` of ``count``."""
        f, length = self.f, self.slot("length")
        loop = f.loop(i64(0), count, i64(1))
        head, t = self.split(f.add(first, loop.index), length)
        n = f.min(f.sub(length, t), f.sub(count, loop.index))
        body(head, t, n, loop.index)
        loop.step = n
        f.end_loop(loop)

    def place(self, start: Value, name: str, head: Value, t: Value) -> Value:
        """The address of a row of an operand by head and position."""
        f = self.f
        offset = f.add(f.mul(head, self.slot(name + "_h")), f.mul(t, self.slot(name + "_t")))
        return f.gep(start, offset)

    def load_rows(
        self, name: str, copy: str, start: Value, first: Value, count: Value, to: Value,
        size: str,
    ) -> None:  # fmt: skip
        """Rows of an operand to scratch, ``size`` elements each."""
        f = self.f
        pitch = self.row_bytes(size)

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            f.call(
                copy, "void", self.place(start, name, head, t), self.slot(name + "_t"),
                self.slot(name + "_d"), n, self.slot(size), f.gep(to, f.mul(at, pitch)), pitch,
            )  # fmt: skip

        self.segments(first, count, body)

    def load_numbers(self, name: str, start: Value, first: Value, count: Value, to: Value) -> None:
        """One accumulator of each row, side by side."""
        f, copy = self.f, copy_rows(self.module, self.tile, self.tile.accumulate, False)

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            there = f.gep(to, f.mul(at, i64(self.tile.itemsize)))
            f.call(
                copy, "void", self.place(start, name, head, t), i64(0),
                self.slot(name + "_t"), i64(1), n, there, i64(0),
            )  # fmt: skip

        self.segments(first, count, body)

    def load_keys(self, name: str, start: Value, first: Value, count: Value, size: str) -> Value:
        """A block of keys or values, in scratch."""
        f, to = self.f, self.region(name)
        row = self.slot(name + "_t")
        f.call(
            self.copies[name], "void", f.gep(start, f.mul(first, row)), row,
            self.slot(name + "_d"), count, self.slot(size), to, self.row_bytes(size),
        )  # fmt: skip
        return to

    # -- who sees whom -----------------------------------------------------------------

    def seen(self, first: Value, count: Value) -> tuple[Value, Value]:
        """The least and the most last visible key of some rows, for causal attention."""
        f, length = self.f, self.slot("length")
        head0, t0 = self.split(first, length)
        head1, t1 = self.split(f.sub(f.add(first, count), i64(1)), length)
        same = f.icmp("eq", head0, head1)
        shift = f.sub(self.slot("keys"), length)
        least = f.select(same, t0, i64(0))
        most = f.select(same, t1, f.sub(length, i64(1)))
        return f.add(least, shift), f.add(most, shift)

    def store_limits(self, first: Value) -> None:
        """The last visible key of ``width`` rows, as i64."""
        f, length, lanes = self.f, self.slot("length"), self.tile.lanes
        to = self.region("limits")
        ramp = lane_consts(vector(lanes, "i64"), range(lanes))
        for v in range(self.vectors):
            rows = f.add(f.splat(f.add(first, i64(v * lanes)), lanes), ramp)
            t = f.op("urem", rows, f.splat(length, lanes))
            shift = f.splat(f.sub(self.slot("keys"), length), lanes)
            f.store(f.add(t, shift), f.gep(to, i64(8 * lanes * v)), 8)

    def limits(self, key: Value) -> list[Value]:
        """How many keys after ``key`` each row sees, cut to the block, as narrow integers."""
        f, lanes, out = self.f, self.tile.lanes, []
        start, type = self.region("limits"), vector(lanes, "i64")
        for v in range(self.vectors):
            limit = f.sub(f.load(f.gep(start, i64(8 * lanes * v)), type, 8), f.splat(key, lanes))
            limit = f.select(f.icmp("slt", limit, const(type, -1)), const(type, -1), limit)
            limit = f.select(f.icmp("sgt", limit, const(type, KEYS)), const(type, KEYS), limit)
            narrow = self.tile.index_type
            out.append(limit if narrow == type else f.emit(
                f"trunc {type} {limit.ref} to {narrow}", narrow
            ))  # fmt: skip
        return out

    def load_mask(self, start: Value, first: Value, count: Value, key: Value, keys: Value) -> None:
        """The block of the mask for rows and keys, key by key."""
        if not self.mask:
            return
        f, stage = self.f, self.region("stage")
        start = f.gep(start, f.mul(key, self.slot("mask_d")))
        pitch = i64(KEYS * self.tile.itemsize)

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            f.call(
                self.copy_mask, "void", self.place(start, "mask", head, t), self.slot("mask_t"),
                self.slot("mask_d"), n, keys, f.gep(stage, f.mul(at, pitch)), pitch,
            )  # fmt: skip

        self.segments(first, count, body)
        f.call(
            self.turn, "void", stage, pitch, i64(self.width), keys, self.region("mask"),
            self.pitch, self.one,
        )  # fmt: skip

    def masked(
        self, scores: Value, k: Value, v: int, limits: list[Value] | None
    ) -> tuple[Value, Value | None]:
        """Scores of key ``k`` of the block after masking, and which of them are hidden."""
        f, hidden = self.f, None
        if self.mask:
            line = f.gep(self.region("mask"), f.mul(k, self.pitch))
            mask = self.load(self.lane(line, v))
            if self.mask == "bool":
                hidden = f.fcmp("oeq", mask, self.const(0))
            else:
                scores = f.add(scores, mask)
        if limits is not None:
            narrow = f.splat(
                k if self.tile.itemsize == 8 else f.cast("trunc", k, "i32"), self.tile.lanes
            )
            late = f.icmp("sgt", narrow, limits[v])
            hidden = late if hidden is None else f.op("or", hidden, late)
        if hidden is not None:
            scores = f.select(hidden, self.const(HIDDEN), scores)
        return scores, hidden

    # -- products of blocks ------------------------------------------------------------

    def multiply(
        self, a: Value, a_row: Value, a_step: Value, rows: Value, b: Value, b_row: Value,
        cols: Value, depth: Value, c: Value, c_row: Value, more: Value,
    ) -> None:  # fmt: skip
        self.f.call(
            self.product, "void", a, a_row, a_step, rows, b, b_row, cols, depth, c, c_row, more
        )

    def against(self, keys: Value, rows: Value, size: str, queries: Value, to: Value) -> None:
        """Keys (or values) times transposed queries: a block of scores."""
        self.multiply(
            keys, self.row_bytes(size), i64(self.tile.itemsize), rows, queries, self.pitch,
            i64(self.width), self.steps(self.slot(size)), to, self.pitch, FALSE,
        )  # fmt: skip

    def turn_queries(self, rows: Value, size: str, to: Value, scale: Value) -> None:
        """Queries (or cotangents) in scratch, transposed, and scaled unless they stay pairs."""
        self.f.call(
            self.turn_rows, "void", rows, self.row_bytes(size), i64(self.width),
            self.steps(self.slot(size)), to, self.pitch, scale,
        )  # fmt: skip

    def by_feature(
        self, rows: Value, keys: Value, size: str, to: str
    ) -> tuple[Value, Value, Value]:
        """Keys (or values) as the left operand of a product that sums keys: address, bytes from a
        feature to the next, and from a key (or a pair of them).  Tiles have these side by side."""
        f, item = self.f, i64(self.tile.itemsize)
        if not self.tiles:
            return rows, item, self.slot(size + "_bytes")
        turned, pitch = self.region(to), i64(KEYS // 2 * self.tile.itemsize)
        f.call(
            self.turn_rows, "void", rows, self.slot(size + "_bytes"), self.steps(keys),
            self.slot(size), turned, pitch, self.one,
        )  # fmt: skip
        return turned, pitch, item

    def halve(self, values: Value) -> Value:
        """The bits of accumulators rounded to bfloat16."""
        return self.f.cast("bitcast", self.f.cast("fptrunc", values, "bfloat"), "i16")

    def join(self, low: Value, high: Value) -> Value:
        """Pairs of two vectors of bfloat16."""
        lanes = self.tile.lanes
        mixed = [n for lane in range(lanes) for n in (lane, lanes + lane)]
        return self.f.bitcast(self.f.shuffle(low, high, mixed), vector(lanes, "i32"))


def unit_flags(**operands: tuple[int, str]) -> str:
    """The letters of the operands whose rows are runs of neighbours: stride in bytes, dtype."""
    return "".join(n for n, (stride, dtype) in operands.items() if stride == SIZES[dtype])
