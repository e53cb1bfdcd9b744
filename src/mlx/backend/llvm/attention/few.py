"""Attention of few queries, as in decoding: memory is read once, rows are reduced along keys.

A task owns a run of keys of a group and leaves what they give: for each row its largest score,
its sum and its result.  A second kernel joins the runs in their order.  Runs follow from sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import elementary
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.attention.blocks import SHARED_SLOTS, TRUE, Blocks
from mlx.backend.llvm.attention.moves import store_rows
from mlx.backend.llvm.attention.product import product
from mlx.backend.llvm.attention.tile import KEYS, Tile, tile_for
from mlx.backend.llvm.gemm.elements import (
    Element,
    first_lanes,
    folded,
    multiply_add,
    prefetch,
)
from mlx.backend.llvm.gemm.pack import whole_or_part
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.quantized_panels import Named
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.primitives.attention import HIDDEN

FEW_SLOTS = (
    *SHARED_SLOTS, "run", "runs", "parts_base", "parts_offset", "part", "at_q", "most", "total",
)  # fmt: skip
JOIN_SLOTS = (
    "parts_base", "parts_offset", "part", "runs", "most", "total", "sinks_base", "sinks_offset",
    "sinks_h", "sinks_t", "out_base", "out_offset", "out_h", "out_t", "level_base",
    "level_offset", "level_h", "level_t", "sums_base", "sums_offset", "sums_h", "sums_t", "rows",
    "length", "value", "value_bytes", "table", "dims",
)  # fmt: skip


def dots(module: Module, tile: Tile, dtype: str, ahead: bool = False) -> str:
    """``void dots(ptr k, i64 row, i64 keys, i64 size, ptr q, ptr out)``: the inner products of
    rows of k with q (which ends in zeros), vector by vector of keys.

    ``ahead``: ask for the rows a block of keys further on, for memory doesn't guess them.
    """
    element = Element(dtype, tile.accumulate)
    name = f"dots_{dtype}" + "_ahead" * ahead
    if not module.has(name):
        params = [
            "ptr noalias readonly",
            "i64",
            "i64",
            "i64",
            "ptr noalias readonly",
            "ptr noalias",
        ]
        f = module.function(name, params, internal=True)
        k, row, keys, size, q, out = f.params
        lanes = tile.lanes
        last = f.sub(keys, i64(1))
        group = f.loop(i64(0), keys, i64(lanes))
        lines = [
            f.gep(k, f.mul(f.min(f.add(group.index, i64(i)), last), row)) for i in range(lanes)
        ]
        further = f.mul(row, i64(KEYS)) if ahead else None
        sums = _along_features(f, tile, element, lines, size, q, further)
        place = f.gep(out, f.mul(group.index, i64(tile.itemsize)))
        f.store(folded(f, sums, 1), place, tile.itemsize)
        f.end_loop(group)
        f.ret()
    return name


def _along_features(
    f: Function, tile: Tile, element: Element, lines: list[Value], size: Value, q: Value,
    further: Value | None,
) -> list[Value]:  # fmt: skip
    """For each line the products with q, element by element, added up by lane."""
    sums = [const(tile.type, 0)] * len(lines)
    whole = f.sub(size, f.op("urem", size, i64(tile.lanes)))
    for start, stop, masked in ((i64(0), whole, False), (whole, size, True)):
        loop = f.loop(start, stop, i64(tile.lanes), sums)
        at = f.mul(loop.index, i64(element.size))
        left = f.sub(size, loop.index) if masked else None
        here = f.gep(q, f.mul(loop.index, i64(tile.itemsize)))
        right = f.load(here, tile.type, tile.itemsize)
        added = []
        for line, total in zip(lines, loop.values, strict=True):
            here = f.gep(line, at)
            if further is not None:
                prefetch(f, f.gep(here, further), locality=2)
            (value,) = element.load_run(f, here, tile.lanes, left)
            added.append(multiply_add(f, value, right, total, tile.fused))
        sums = f.end_loop(loop, added)
    return sums


def fold(f: Function, value: Value, largest: bool) -> Value:
    """All lanes of a vector as one number: their sum or the largest, NaN left aside."""
    width = int(value.type[1 : value.type.index(" ")])
    while width > 1:
        width //= 2
        low = f.shuffle(value, None, range(width))
        high = f.shuffle(value, None, range(width, 2 * width))
        value = f.select(f.fcmp("ogt", high, low), high, low) if largest else f.add(low, high)
    return f.extract(value, 0)


@dataclass(frozen=True)
class FewSpec:
    """``units``: letters of operands with unit stride; ``direct``: values are read where they
    lie; ``together`` rows make a register tile."""

    dtype: str
    units: str
    mask: str
    causal: bool
    direct: bool
    together: int

    @property
    def key(self) -> str:
        return (
            f"attention_few {self.dtype} {self.units} {self.mask} {self.causal} {self.direct} "
            f"{self.together}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Few(self, module, name).emit()


class _Few(Blocks):
    slots = FEW_SLOTS

    def __init__(self, spec: FewSpec, module: Module, name: str) -> None:
        lanes = tile_for(spec.dtype).lanes
        super().__init__(
            module, name, spec.dtype, spec.units, spec.mask, spec.causal, lanes, pairs=False
        )
        self.spec = spec
        self.row = i64(KEYS * self.tile.itemsize)
        in_place = spec.dtype if "k" in spec.units else self.tile.accumulate
        self.dots = {a: dots(module, self.tile, in_place, a) for a in (False, True)}
        b_dtype = spec.dtype if spec.direct else self.tile.accumulate
        self.add_values = product(module, self.tile, spec.together, b_dtype, ahead=KEYS)

    def emit(self) -> None:
        f = self.f
        self.begin()
        item, run = self.split(self.k.task, self.slot("runs"))
        names = ("q", "k", "v", "mask")
        starts = [self.pointer(n) for n in names]
        self.start = {
            n: f.gep(p, o)
            for n, p, o in zip(names, starts, self.batch(item, len(names)), strict=True)
        }
        self.out = f.gep(self.pointer("parts"), f.mul(self.k.task, self.slot("part")))
        self.most = f.gep(self.out, self.slot("most"))
        self.total = f.gep(self.out, self.slot("total"))
        self.load_rows(
            "q", self.copies["q"], self.start["q"], i64(0), self.slot("rows"), self.region("q"),
            "size",
        )  # fmt: skip
        self._clear()
        first = f.mul(run, self.slot("run"))
        stop = f.min(f.add(first, self.slot("run")), self.slot("keys"))
        loop = f.loop(first, stop, i64(KEYS))
        self._keys(loop.index, f.min(f.sub(stop, loop.index), i64(KEYS)))
        f.end_loop(loop)
        f.ret()

    def _clear(self) -> None:
        """No keys yet: results and sums of zero, below every score."""
        f, element, size = self.f, self.tile.element, self.tile.itemsize
        loop = f.loop(i64(0), self.slot("most"), i64(self.tile.vector_bytes))
        self.store(self.const(0), f.gep(self.out, loop.index))
        f.end_loop(loop)
        loop = f.loop(i64(0), self.slot("rows"), i64(1))
        at = f.mul(loop.index, i64(size))
        f.store(const(element, float("-inf")), f.gep(self.most, at), size)
        f.store(const(element, 0), f.gep(self.total, at), size)
        f.end_loop(loop)

    def _keys(self, key: Value, keys: Value) -> None:
        f, scores = self.f, self.region("scores")
        row = self.slot("k_t")
        k = f.gep(self.start["k"], f.mul(key, row))
        if "k" not in self.spec.units:
            k, row = (
                self.load_keys("k", self.start["k"], key, keys, "size"),
                self.slot("size_bytes"),
            )
        if self.mask:
            self._load_mask(key, keys)
        loop = f.loop(i64(0), self.slot("rows"), i64(1))
        line = f.gep(scores, f.mul(loop.index, self.row))
        q = f.gep(self.region("q"), f.mul(loop.index, self.slot("size_bytes")))

        def score(ahead: bool) -> None:
            f.call(self.dots[ahead], "void", k, row, keys, self.slot("size"), q, line)

        whole_or_part(f, f.icmp("eq", loop.index, i64(0)), score)
        self._softmax(loop.index, line, key, keys)
        f.end_loop(loop)
        row = self.slot("v_t")
        v = f.gep(self.start["v"], f.mul(key, row))
        if not self.spec.direct:
            v = self.load_keys("v", self.start["v"], key, keys, "value")
            row = self.slot("value_bytes")
        f.call(
            self.add_values, "void", scores, self.row, i64(self.tile.itemsize),
            self.slot("rows"), v, row, self.slot("value"), keys, self.out,
            self.slot("value_bytes"), TRUE,
        )  # fmt: skip

    def _load_mask(self, key: Value, keys: Value) -> None:
        f, to = self.f, self.region("mask")
        start = f.gep(self.start["mask"], f.mul(key, self.slot("mask_d")))

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            f.call(
                self.copy_mask, "void", self.place(start, "mask", head, t), self.slot("mask_t"),
                self.slot("mask_d"), n, keys, f.gep(to, f.mul(at, self.row)), self.row,
            )  # fmt: skip

        self.segments(i64(0), self.slot("rows"), body)

    def _softmax(self, row: Value, line: Value, key: Value, keys: Value) -> None:
        """A row of scores becomes weights; its sum and result follow the new maximum."""
        f, size = self.f, self.tile.itemsize
        most_at = f.gep(self.most, f.mul(row, i64(size)))
        total_at = f.gep(self.total, f.mul(row, i64(size)))
        before = f.splat(f.load(most_at, self.tile.element, size), self.tile.lanes)
        loop = f.loop(i64(0), keys, i64(self.tile.lanes), [before])
        value = self._masked(row, line, key, keys, loop.index)
        (largest,) = loop.values
        larger = f.select(f.fcmp("ogt", value, largest), value, largest)
        most = fold(f, f.end_loop(loop, [larger])[0], True)
        f.store(most, most_at, size)
        most = f.splat(most, self.tile.lanes)
        none = f.fcmp("oeq", most, self.const(float("-inf")))
        most = f.select(none, self.const(0), most)
        loop = f.loop(i64(0), keys, i64(self.tile.lanes), [self.const(0)])
        at = f.gep(line, f.mul(loop.index, i64(size)))
        weight = self.exp(f.sub(self.load(at), most))
        self.store(weight, at)
        added = fold(f, f.end_loop(loop, [f.add(loop.values[0], weight)])[0], False)
        shrink = self.exp(f.sub(before, most))
        old = f.load(total_at, self.tile.element, size)
        f.store(f.add(f.mul(old, f.extract(shrink, 0)), added), total_at, size)
        out = f.gep(self.out, f.mul(row, self.slot("value_bytes")))
        loop = f.loop(i64(0), self.slot("value_bytes"), i64(self.tile.vector_bytes))
        at = f.gep(out, loop.index)
        self.store(f.mul(self.load(at), shrink), at)
        f.end_loop(loop)

    def _masked(self, row: Value, line: Value, key: Value, keys: Value, first: Value) -> Value:
        """Scaled and masked scores, -inf behind the last key; written back."""
        f, lanes, size = self.f, self.tile.lanes, self.tile.itemsize
        offset = f.mul(first, i64(size))
        at = f.gep(line, offset)
        value = f.mul(self.load(at), f.splat(self.scale, lanes))
        hidden = None
        if self.mask:
            masks = f.gep(self.region("mask"), f.mul(row, self.row))
            mask = self.load(f.gep(masks, offset))
            if self.mask == "bool":
                hidden = f.fcmp("oeq", mask, self.const(0))
            else:
                value = f.add(value, mask)
        if self.causal:
            t = f.op("urem", row, self.slot("length"))
            limit = f.add(t, f.sub(self.slot("keys"), self.slot("length")))
            limit = f.sub(limit, f.add(key, first))
            ramp = lane_consts(vector(lanes, "i64"), range(lanes))
            late = f.icmp("sgt", ramp, f.splat(limit, lanes))
            hidden = late if hidden is None else f.op("or", hidden, late)
        if hidden is not None:
            value = f.select(hidden, self.const(HIDDEN), value)
        there = first_lanes(f, f.sub(keys, first), lanes)
        value = f.select(there, value, self.const(float("-inf")))
        self.store(value, at)
        return value


@dataclass(frozen=True)
class JoinSpec:
    """Joins what runs of keys give."""

    dtype: str
    sinks: str

    @property
    def key(self) -> str:
        return f"attention_join {self.dtype} {self.sinks}"

    def emit(self, module: Module, name: str) -> None:
        _Join(self, module, name).emit()


class _Join(Named):
    slots = JOIN_SLOTS

    def __init__(self, spec: JoinSpec, module: Module, name: str) -> None:
        super().__init__(Kernel(module, name))
        self.spec, self.tile = spec, tile_for(spec.dtype)
        self.put = store_rows(module, self.tile, spec.dtype)

    def emit(self) -> None:
        f = self.f
        item, row = self.split(self.k.task, self.slot("rows"))
        names = ("sinks", "out", "level", "sums")
        starts = [self.pointer(n) for n in names]
        head, t = self.split(row, self.slot("length"))
        places = {}
        for n, p, o in zip(names, starts, self.batch(item, len(names)), strict=True):
            at = f.add(f.mul(head, self.slot(n + "_h")), f.mul(t, self.slot(n + "_t")))
            places[n] = f.gep(f.gep(p, o), at)
        parts = f.mul(f.mul(item, self.slot("runs")), self.slot("part"))
        parts = f.gep(self.pointer("parts"), parts)
        self._join(parts, row, places)
        f.ret()

    def _number(self, part: Value, name: str, row: Value) -> Value:
        """A number of a row of a run, in all lanes."""
        f, tile = self.f, self.tile
        at = f.add(self.slot(name), f.mul(row, i64(tile.itemsize)))
        return f.splat(f.load(f.gep(part, at), tile.element, tile.itemsize), tile.lanes)

    def _start(self, places: dict[str, Value]) -> tuple[Value, Value]:
        """The largest score and the sum before any key."""
        tile = self.tile
        if not self.spec.sinks:
            return const(tile.type, float("-inf")), const(tile.type, 0)
        element = tile.loads(self.spec.sinks)
        (sink,) = element.load_strided(self.f, places["sinks"], i64(0), tile.lanes, i64(tile.lanes))
        return sink, const(tile.type, 1)

    def _join(self, parts: Value, row: Value, places: dict[str, Value]) -> None:
        f, tile, runs, step = self.f, self.tile, self.slot("runs"), self.slot("part")
        exp, log = elementary.TABLE["exp"], elementary.TABLE["log"]
        sink, one = self._start(places)
        loop = f.loop(i64(0), runs, i64(1), [sink, parts])
        largest, part = loop.values
        here = self._number(part, "most", row)
        larger = f.select(f.fcmp("ogt", here, largest), here, largest)
        most = f.end_loop(loop, [larger, f.gep(part, step)])[0]
        none = f.fcmp("oeq", most, const(tile.type, float("-inf")))
        safe = f.select(none, const(tile.type, 0), most)
        loop = f.loop(i64(0), runs, i64(1), [f.mul(one, exp(f, f.sub(sink, safe))), parts])
        total, part = loop.values
        share = exp(f, f.sub(self._number(part, "most", row), safe))
        total = f.add(total, f.mul(self._number(part, "total", row), share))
        total = f.end_loop(loop, [total, f.gep(part, step)])[0]
        self._results(parts, row, safe, f.fdiv(const(tile.type, 1), total))
        pitch = self.slot("value_bytes")
        first = f.gep(parts, f.mul(row, pitch))
        f.call(
            self.put, "void", first, i64(0), i64(1), self.slot("value"), places["out"], i64(0),
            const(tile.element, 1),
        )  # fmt: skip
        rounded = f.intrinsic("rint", f.mul(most, const(tile.type, 1 / 16)))
        level = f.mul(rounded, const(tile.type, 16))
        sums = f.add(f.sub(most, level), log(f, total))
        for name, value in (("level", level), ("sums", sums)):
            f.store(f.extract(value, 0), places[name], tile.itemsize)

    def _results(self, parts: Value, row: Value, most: Value, inverse: Value) -> None:
        """The weighted sum of the runs' results, in the place of the first."""
        f, tile, exp = self.f, self.tile, elementary.TABLE["exp"]
        pitch = self.slot("value_bytes")
        offset = f.mul(row, pitch)
        outer = f.loop(i64(0), pitch, i64(tile.vector_bytes))
        at = f.add(offset, outer.index)
        loop = f.loop(i64(0), self.slot("runs"), i64(1), [const(tile.type, 0), parts])
        sum_, part = loop.values
        share = exp(f, f.sub(self._number(part, "most", row), most))
        value = f.mul(f.load(f.gep(part, at), tile.type, tile.itemsize), share)
        following = [f.add(sum_, value), f.gep(part, self.slot("part"))]
        sum_ = f.end_loop(loop, following)[0]
        f.store(f.mul(sum_, inverse), f.gep(parts, at), tile.itemsize)
        f.end_loop(outer)
