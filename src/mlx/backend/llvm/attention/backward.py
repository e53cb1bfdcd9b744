"""The gradient of attention: a task owns a run of keys of a group and goes over all its queries.

For each block of keys and block of queries: weights again from the log-sum-exps, their cotangents,
and what the block adds to the three results.  Those of keys and values stay in the task's scratch.
Those of queries are added up in memory, a part for each run of keys; a second kernel adds the
parts in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.attention.blocks import SHARED_SLOTS, TRUE, Blocks
from mlx.backend.llvm.attention.moves import pair_rows, store_rows, turn
from mlx.backend.llvm.attention.tile import KEYS, tile_for
from mlx.backend.llvm.gemm.elements import first_lanes
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_panels import Named
from mlx.backend.llvm.values import Value, const, i64

BACKWARD_SLOTS = (
    *SHARED_SLOTS, "cotangent_base", "cotangent_offset", "cotangent_h", "cotangent_t",
    "cotangent_d", "level_base", "level_offset", "level_h", "level_t",
    "sums_base", "sums_offset", "sums_h", "sums_t", "delta_base", "delta_offset",
    "delta_h", "delta_t", "dk_base", "dk_offset", "dk_t", "dv_base", "dv_offset", "dv_t",
    "parts_base", "parts_offset", "part", "run", "runs", "q_block", "at_q", "at_turned_q",
    "at_o", "at_turned_o", "at_gaps", "at_level", "at_sums", "at_delta", "at_dk", "at_dv",
    "at_paired_k", "at_paired_q", "at_paired_o", "at_paired_gaps", "at_turned_k",
)  # fmt: skip
FINISH_SLOTS = (
    "parts_base", "parts_offset", "part", "parts", "dq_base", "dq_offset", "dq_h", "dq_t",
    "scratch_base", "scratch_offset", "scratch_stride", "rows", "length", "size", "size_bytes",
    "scale", "q_block", "blocks", "item_bytes", "table", "dims",
)  # fmt: skip


def queries_of(dtype: str) -> int:
    """Queries of a block: a part of the order of sums."""
    return 4 * tile_for(dtype).lanes


@dataclass(frozen=True)
class BackwardSpec:
    """``units``: letters of operands with unit stride."""

    dtype: str
    units: str
    mask: str
    causal: bool

    @property
    def key(self) -> str:
        return f"attention_gradient {self.dtype} {self.units} {self.mask} {self.causal}"

    def emit(self, module: Module, name: str) -> None:
        _Backward(self, module, name).emit()


class _Backward(Blocks):
    slots = BACKWARD_SLOTS

    def __init__(self, spec: BackwardSpec, module: Module, name: str) -> None:
        super().__init__(
            module, name, spec.dtype, spec.units, spec.mask, spec.causal, queries_of(spec.dtype)
        )

    def emit(self) -> None:
        f = self.f
        self.begin()
        item, run = self.split(self.k.task, self.slot("runs"))
        names = ("q", "k", "v", "mask", "cotangent", "level", "sums", "delta", "dk", "dv")
        starts = [self.pointer(n) for n in names]
        self.start = {
            n: f.gep(p, o)
            for n, p, o in zip(names, starts, self.batch(item, len(names)), strict=True)
        }
        self.part = f.gep(self.pointer("parts"), f.mul(self.k.task, self.slot("part")))
        self._clear(self.part, self.slot("part"))
        first = f.mul(run, self.slot("run"))
        stop = f.min(f.add(first, self.slot("run")), self.slot("keys"))
        loop = f.loop(first, stop, i64(KEYS))
        self._keys(loop.index)
        f.end_loop(loop)
        self.finish()

    def _clear(self, start: Value, nbytes: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), nbytes, i64(self.tile.vector_bytes))
        self.store(self.const(0), f.gep(start, loop.index))
        f.end_loop(loop)

    def _keys(self, key: Value) -> None:
        """One block of keys: all queries, then its two results."""
        f = self.f
        keys = f.min(f.sub(self.slot("keys"), key), i64(KEYS))
        k = self.load_keys("k", self.start["k"], key, keys, "size")
        v = self.load_keys("v", self.start["v"], key, keys, "value")
        paired = self._paired(k, keys, "size", "paired_k")
        turned = self.by_feature(paired, keys, "size", "turned_k")
        dk, dv = self.region("dk"), self.region("dv")
        self._clear(dk, f.mul(keys, self.slot("size_bytes")))
        self._clear(dv, f.mul(keys, self.slot("value_bytes")))
        loop = f.loop(i64(0), self.slot("rows"), i64(self.width))
        count = f.min(f.sub(self.slot("rows"), loop.index), i64(self.width))
        self._queries(loop.index, count, key, keys, (k, v, turned))
        f.end_loop(loop)
        for name, block, size, scale in (("dk", dk, "size", self.scale),
                                         ("dv", dv, "value", self.one)):  # fmt: skip
            row = self.slot(name + "_t")
            f.call(
                self.put, "void", block, self.slot(size + "_bytes"), keys, self.slot(size),
                f.gep(self.start[name], f.mul(key, row)), row, scale,
            )  # fmt: skip

    def _queries(
        self, first: Value, count: Value, key: Value, keys: Value,
        blocks: tuple[Value, Value, tuple[Value, Value, Value]],
    ) -> None:  # fmt: skip
        f, (k, v, turned) = self.f, blocks
        seen, done = f.label("seen"), f.label("unseen")
        across = None
        if self.causal:
            least, most = self.seen(first, count)
            needed = f.op("or", f.icmp("sle", key, most), f.icmp("slt", least, i64(0)))
            f.branch_if(needed, seen, done)
            f.start(seen)
            across = f.icmp("sgt", f.sub(f.add(key, keys), i64(1)), least)
        self._load(first, count)
        scores, gaps = self.region("scores"), self.region("gaps")
        self.against(k, keys, "size", self.region("turned_q"), scores)
        self.against(v, keys, "value", self.region("turned_o"), gaps)
        self.load_mask(self.start["mask"], first, count, key, keys)
        self._weigh(first, count, key, keys, across)
        self._add(first, count, keys, turned)
        if self.causal:
            f.branch(done)
            f.start(done)

    def _load(self, first: Value, count: Value) -> None:
        """Queries and cotangents, as they are and transposed; sums and deltas."""
        parts = (
            ("q", "q", "q", "size", self.scale), ("cotangent", "o", "o", "value", self.one)
        )  # fmt: skip
        for name, short, region, size, scale in parts:
            to = self.region(region)
            self.load_rows(name, self.copies[short], self.start[name], first, count, to, size)
            self.turn_queries(to, size, self.region("turned_" + region), scale)
            self._paired(to, count, size, "paired_" + region)
        for name in ("level", "sums", "delta"):
            self.load_numbers(name, self.start[name], first, count, self.region(name))

    def _paired(self, rows: Value, count: Value, size: str, region: str) -> Value:
        """Two rows of a block in one; the block itself if it isn't multiplied in pairs."""
        if not self.pairs:
            return rows
        to, item = self.region(region), i64(self.tile.itemsize // 2)
        self.f.call(
            pair_rows(self.module, self.tile, True), "void", rows, self.row_bytes(size), item,
            count, self.slot(size), to, self.slot(size + "_bytes"),
        )  # fmt: skip
        return to

    def _weigh(
        self, first: Value, count: Value, key: Value, keys: Value, across: Value | None
    ) -> None:
        """Scores become weights, and their gaps the cotangents of scores."""
        f = self.f
        self._present = [
            first_lanes(f, f.sub(count, i64(v * self.tile.lanes)), self.tile.lanes)
            for v in range(self.vectors if self.pairs else 0)
        ]
        if across is None:
            self._weigh_all(keys, None)
            return

        def limited() -> None:
            self.store_limits(first)
            self._weigh_all(keys, self.limits(key))

        f.where(across, limited, lambda: self._weigh_all(keys, None))

    def _weigh_all(self, keys: Value, limits: list[Value] | None) -> None:
        f = self.f
        level, sums, delta = (
            [self.load(self.lane(self.region(name), v)) for v in range(self.vectors)]
            for name in ("level", "sums", "delta")
        )
        numbers = list(zip(level, sums, delta, strict=True))
        if self.pairs:
            self._weigh_pairs(keys, numbers, limits)
            return
        loop = f.loop(i64(0), keys, i64(1))
        line, gap = self._lines(loop.index)
        for v in range(self.vectors):
            weight, of_score = self._weight(loop.index, v, numbers[v], limits)
            self.store(weight, self.lane(line, v))
            self.store(of_score, self.lane(gap, v))
        f.end_loop(loop)

    def _lines(self, key: Value) -> tuple[Value, Value]:
        """Where scores and gaps of a key lie."""
        f, offset = self.f, self.f.mul(key, self.pitch)
        return f.gep(self.region("scores"), offset), f.gep(self.region("gaps"), offset)

    def _weight(
        self, key: Value, v: int, numbers: tuple[Value, Value, Value], limits: list[Value] | None
    ) -> tuple[Value, Value]:
        """Weights of a key, and the cotangents of its scores."""
        f, (level, sums, delta) = self.f, numbers
        line, gap = self._lines(key)
        score = self.load(self.lane(line, v))
        if self.pairs:
            score = f.mul(score, f.splat(self.scale, self.tile.lanes))
        score, hidden = self.masked(score, key, v, limits)
        weight = self.exp(f.sub(f.sub(score, level), sums))
        of_score = f.mul(weight, f.sub(self.load(self.lane(gap, v)), delta))
        if hidden is not None:
            of_score = f.select(hidden, self.const(0), of_score)
        return weight, of_score

    def _weigh_pairs(
        self, keys: Value, numbers: list[tuple[Value, Value, Value]], limits: list[Value] | None
    ) -> None:
        """Rows of bfloat16 at the starts of lines, and pairs of the cotangents of two keys.

        Queries that are not there have zeros; so has a key behind the last one.
        """
        f, half = self.f, self.tile.itemsize // 2
        loop = f.loop(i64(0), keys, i64(2), [self.region("paired_gaps")])
        (to,) = loop.values
        for v in range(self.vectors):
            found = []
            for key in (loop.index, f.add(loop.index, i64(1))):
                both, inside = [], f.splat(f.icmp("slt", key, keys), self.tile.lanes)
                present = f.op("and", self._present[v], inside)
                values = self._weight(key, v, numbers[v], limits)
                for value, line in zip(values, self._lines(key), strict=True):
                    value = f.select(present, value, self.const(0))
                    both.append(self.halve(value))
                    f.store(both[-1], f.gep(line, i64(v * self.tile.lanes * half)), half)
                found.append(both[1])
            self.store(self.join(*found), self.lane(to, v))
        f.end_loop(loop, [f.gep(to, self.pitch)])

    def _add(self, first: Value, count: Value, keys: Value, k: tuple[Value, Value, Value]) -> None:
        """What the block of weights and of cotangents adds to the three results."""
        f, step = self.f, i64(self.tile.itemsize)
        paired = "paired_" if self.pairs else ""
        size, value = self.slot("size_bytes"), self.slot("value_bytes")
        weights, of_scores = self.region("scores"), self.region("gaps")
        self.multiply(
            weights, self.pitch, step, keys, self.region(paired + "o"), value,
            self.slot("value"), self.steps(count), self.region("dv"), value, TRUE,
        )  # fmt: skip
        self.multiply(
            of_scores, self.pitch, step, keys, self.region(paired + "q"), size,
            self.slot("size"), self.steps(count), self.region("dk"), size, TRUE,
        )  # fmt: skip
        block = f.op("udiv", first, i64(self.width))
        to = f.gep(self.part, f.mul(block, self.slot("q_block")))
        self.multiply(
            *k, self.slot("size"), self.region(paired + "gaps"), self.pitch,
            i64(self.width), self.steps(keys), to, self.pitch, TRUE,
        )  # fmt: skip


@dataclass(frozen=True)
class FinishSpec:
    """Adds the parts of the queries' cotangents, scales and stores them."""

    dtype: str

    @property
    def key(self) -> str:
        return f"attention_gradient_finish {self.dtype}"

    def emit(self, module: Module, name: str) -> None:
        _Finish(self, module, name).emit()


class _Finish(Named):
    slots = FINISH_SLOTS

    def __init__(self, spec: FinishSpec, module: Module, name: str) -> None:
        super().__init__(Kernel(module, name))
        self.tile = tile_for(spec.dtype)
        self.turn = turn(module, self.tile)
        self.put = store_rows(module, self.tile, spec.dtype)
        self.width = queries_of(spec.dtype)

    def emit(self) -> None:
        f, tile = self.f, self.tile
        item, block = self.split(self.k.task, self.slot("blocks"))
        (offset,) = self.batch(item, 1)
        result = f.gep(self.pointer("dq"), offset)
        scratch = self.pointer("scratch")
        scratch = f.gep(scratch, f.mul(self.k.worker, self.slot("scratch_stride")))
        total = f.gep(self.pointer("parts"), f.mul(item, self.slot("item_bytes")))
        total = f.gep(total, f.mul(block, self.slot("q_block")))
        self._sum(total)
        number = f.bitcast(self.slot("scale"), "double")
        scale = number if tile.element == "double" else f.cast("fptrunc", number, "float")
        pitch = self.slot("size_bytes")
        f.call(
            self.turn, "void", total, i64(self.width * tile.itemsize), self.slot("size"),
            i64(self.width), scratch, pitch, const(tile.element, 1),
        )  # fmt: skip
        first = f.mul(block, i64(self.width))
        count = f.min(f.sub(self.slot("rows"), first), i64(self.width))
        loop = f.loop(i64(0), count, i64(1))
        head, t = self.split(f.add(first, loop.index), self.slot("length"))
        to = f.add(f.mul(head, self.slot("dq_h")), f.mul(t, self.slot("dq_t")))
        f.call(
            self.put, "void", f.gep(scratch, f.mul(loop.index, pitch)), pitch, i64(1),
            self.slot("size"), f.gep(result, to), i64(0), scale,
        )  # fmt: skip
        f.end_loop(loop)
        f.ret()

    def _sum(self, total: Value) -> None:
        """Add the block of every further part to the first."""
        f, tile = self.f, self.tile
        part = f.loop(i64(1), self.slot("parts"), i64(1))
        source = f.gep(total, f.mul(part.index, self.slot("part")))
        at = f.loop(i64(0), self.slot("q_block"), i64(tile.vector_bytes))
        to = f.gep(total, at.index)
        values = [f.load(p, tile.type, tile.itemsize) for p in (to, f.gep(source, at.index))]
        f.store(f.add(*values), to, tile.itemsize)
        f.end_loop(at)
        f.end_loop(part)
