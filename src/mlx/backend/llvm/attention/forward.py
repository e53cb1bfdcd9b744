"""Attention by blocks of keys with an online softmax: a task owns a block of rows of a group.

For each block of keys, which it packs once, and each panel of queries: scores, their running
maximum and sum, and what the block adds to the result.  Blocks of keys that no query of a panel
sees are skipped.  A row is computed in the same way in whatever panel it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import elementary
from mlx.backend.llvm.attention.blocks import SHARED_SLOTS, Blocks
from mlx.backend.llvm.attention.moves import copy_rows, pair_rows
from mlx.backend.llvm.attention.tile import KEYS
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64

FORWARD_SLOTS = (
    *SHARED_SLOTS, "sinks_base", "sinks_offset", "sinks_h", "sinks_t", "out_base", "out_offset",
    "out_h", "out_t", "level_base", "level_offset", "level_h", "level_t",
    "sums_base", "sums_offset", "sums_h", "sums_t", "block", "blocks",
    "at_q", "at_out", "at_most", "at_total", "at_turned_v", "q_panel", "out_panel",
)  # fmt: skip


@dataclass(frozen=True)
class ForwardSpec:
    """``units``: letters of operands with unit stride; ``width`` of a panel of queries."""

    dtype: str
    units: str
    mask: str
    sinks: str
    causal: bool
    width: int

    @property
    def key(self) -> str:
        return (
            f"attention {self.dtype} {self.units} {self.mask} {self.sinks} {self.causal} "
            f"{self.width}"
        )

    def emit(self, module: Module, name: str) -> None:
        _Forward(self, module, name).emit()


class _Forward(Blocks):
    slots = FORWARD_SLOTS

    def __init__(self, spec: ForwardSpec, module: Module, name: str) -> None:
        super().__init__(module, name, spec.dtype, spec.units, spec.mask, spec.causal, spec.width)
        self.spec = spec

    def emit(self) -> None:
        f = self.f
        self.begin()
        item, block = self.split(self.k.task, self.slot("blocks"))
        names = ("q", "k", "v", "mask", "sinks", "out", "level", "sums")
        starts = [self.pointer(n) for n in names]
        self.start = {
            n: f.gep(p, o)
            for n, p, o in zip(names, starts, self.batch(item, len(names)), strict=True)
        }
        self.first = f.mul(block, self.slot("block"))
        self.count = f.min(f.sub(self.slot("rows"), self.first), self.slot("block"))
        self._each_panel(self._load)
        loop = f.loop(i64(0), self.slot("keys"), i64(KEYS))
        self._keys(loop.index)
        f.end_loop(loop)
        self._each_panel(self._store)
        self.finish()

    def _each_panel(self, body: object) -> None:
        """``body(panel, first, count)`` for panels of ``width`` rows."""
        f = self.f
        loop = f.loop(i64(0), self.count, i64(self.width))
        panel = f.op("udiv", loop.index, i64(self.width))
        rest = f.min(f.sub(self.count, loop.index), i64(self.width))
        body(panel, f.add(self.first, loop.index), rest)  # type: ignore[operator]
        f.end_loop(loop)

    def _panel(self, name: str, panel: Value) -> Value:
        pitch = self.pitch if name in ("most", "total") else self.slot(name + "_panel")
        return self.f.gep(self.region(name), self.f.mul(panel, pitch))

    def _load(self, panel: Value, first: Value, count: Value) -> None:
        """Transposed and scaled queries; the sums of no keys but sinks."""
        stage = self.region("stage")
        self.load_rows("q", self.copies["q"], self.start["q"], first, count, stage, "size")
        self.turn_queries(stage, "size", self._panel("q", panel), self.scale)
        most, total = self._panel("most", panel), self._panel("total", panel)
        for v in range(self.vectors):
            self.store(self.const(float("-inf")), self.lane(most, v))
            self.store(self.const(1.0 if self.spec.sinks else 0.0), self.lane(total, v))
        if self.spec.sinks:
            self._load_sinks(first, count, most)

    def _load_sinks(self, first: Value, count: Value, to: Value) -> None:
        f, copy = self.f, copy_rows(self.module, self.tile, self.spec.sinks, False)

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            there = f.gep(to, f.mul(at, i64(self.tile.itemsize)))
            where = self.place(self.start["sinks"], "sinks", head, t)
            f.call(copy, "void", where, i64(0), i64(0), i64(1), n, there, i64(0))

        self.segments(first, count, body)

    def _keys(self, key: Value) -> None:
        """One block of keys for every panel."""
        f = self.f
        keys = f.min(f.sub(self.slot("keys"), key), i64(KEYS))
        used, done = f.label("used"), f.label("unused")
        if self.causal:
            self._skip(self.first, self.count, key, used, done)
            f.start(used)
        k = self.load_keys("k", self.start["k"], key, keys, "size")
        v = self.by_feature(self._load_values(key, keys), keys, "value", "turned_v")
        self._each_panel(
            lambda panel, first, count: self._step(panel, first, count, key, keys, k, v)
        )
        if self.causal:
            f.branch(done)
            f.start(done)

    def _load_values(self, key: Value, keys: Value) -> Value:
        """A block of values, as they are or two in a row."""
        if not self.pairs:
            return self.load_keys("v", self.start["v"], key, keys, "value")
        f, to, row = self.f, self.region("v"), self.slot("v_t")
        f.call(
            pair_rows(self.module, self.tile, "v" in self.spec.units), "void",
            f.gep(self.start["v"], f.mul(key, row)), row, self.slot("v_d"), keys,
            self.slot("value"), to, self.slot("value_bytes"),
        )  # fmt: skip
        return to

    def _skip(self, first: Value, count: Value, key: Value, used: str, done: str) -> Value:
        """Branch to ``done`` if no row sees the block; a row that sees nothing needs all."""
        f = self.f
        least, most = self.seen(first, count)
        needed = f.op("or", f.icmp("sle", key, most), f.icmp("slt", least, i64(0)))
        f.branch_if(needed, used, done)
        return least

    def _step(
        self, panel: Value, first: Value, count: Value, key: Value, keys: Value, k: Value,
        v: tuple[Value, Value, Value],
    ) -> None:  # fmt: skip
        f = self.f
        seen, done = f.label("seen"), f.label("unseen")
        least = None
        if self.causal:
            least = self._skip(first, count, key, seen, done)
            f.start(seen)
        scores = self.region("scores")
        self.against(k, keys, "size", self._panel("q", panel), scores)
        self.load_mask(self.start["mask"], first, count, key, keys)
        self._softmax(panel, first, key, keys, least)
        # What earlier blocks gave is zero at first, not read.
        more = f.icmp("ne", key, i64(0))
        self.multiply(
            *v, self.slot("value"), scores, self.pitch, i64(self.width), self.steps(keys),
            self._panel("out", panel), self.pitch, more,
        )  # fmt: skip
        if self.causal:
            f.branch(done)
            f.start(done)

    def _softmax(
        self, panel: Value, first: Value, key: Value, keys: Value, least: Value | None
    ) -> None:
        """Scores become weights; running maxima, sums and results follow the new maxima."""
        f = self.f
        most, total = self._panel("most", panel), self._panel("total", panel)
        before = [self.load(self.lane(most, v)) for v in range(self.vectors)]
        if least is None:
            found = self._largest(before, keys, None)
        else:
            self.store_limits(first)
            last = f.sub(f.add(key, keys), i64(1))
            across, inside, after = f.label("across"), f.label("inside"), f.label("after")
            f.branch_if(f.icmp("sgt", last, least), across, inside)
            f.start(across)
            cut = self._largest(before, keys, self.limits(key))
            from_cut = f.block
            f.branch(after)
            f.start(inside)
            whole = self._largest(before, keys, None)
            from_whole = f.block
            f.branch(after)
            f.start(after)
            found = [
                f.phi(a.type, [(a, from_cut), (b, from_whole)])
                for a, b in zip(cut, whole, strict=True)
            ]
        for v, value in enumerate(found):
            self.store(value, self.lane(most, v))
        safe = [self._finite(m) for m in found]
        shrink = [self.exp(f.sub(a, b)) for a, b in zip(before, safe, strict=True)]
        sums = [f.mul(self.load(self.lane(total, v)), s) for v, s in enumerate(shrink)]
        for v, value in enumerate(self._weights(safe, sums, keys)):
            self.store(value, self.lane(total, v))
        self._rescale(self._panel("out", panel), shrink, key)

    def _finite(self, most: Value) -> Value:
        """Zero instead of -inf: scores of -inf are to give weights of zero, not NaN."""
        f = self.f
        none = f.fcmp("oeq", most, self.const(float("-inf")))
        return f.select(none, self.const(0), most)

    def _largest(self, most: list[Value], keys: Value, limits: list[Value] | None) -> list[Value]:
        """Mask the block in place; the largest of it and of ``most``."""
        f = self.f
        loop = f.loop(i64(0), keys, i64(1), most)
        line = f.gep(self.region("scores"), f.mul(loop.index, self.pitch))
        out = []
        for v, largest in enumerate(loop.values):
            value = self.load(self.lane(line, v))
            if self.pairs:
                value = f.mul(value, f.splat(self.scale, self.tile.lanes))
            if self.mask or limits is not None:
                value, _ = self.masked(value, loop.index, v, limits)
            if self.mask or limits is not None or self.pairs:
                self.store(value, self.lane(line, v))
            out.append(f.select(f.fcmp("ogt", value, largest), value, largest))
        return f.end_loop(loop, out)

    def _weights(self, most: list[Value], sums: list[Value], keys: Value) -> list[Value]:
        if self.pairs:
            return self._paired_weights(most, sums, keys)
        f = self.f
        loop = f.loop(i64(0), keys, i64(1), sums)
        line = f.gep(self.region("scores"), f.mul(loop.index, self.pitch))
        out = []
        for v, total in enumerate(loop.values):
            weight = self.exp(f.sub(self.load(self.lane(line, v)), most[v]))
            self.store(weight, self.lane(line, v))
            out.append(f.add(total, weight))
        return f.end_loop(loop, out)

    def _paired_weights(self, most: list[Value], sums: list[Value], keys: Value) -> list[Value]:
        """Weights of two keys in one row; behind the last key there is one of no weight."""
        f, scores = self.f, self.region("scores")
        self.fill(f.gep(scores, f.mul(keys, self.pitch)), float("-inf"))
        loop = f.loop(i64(0), keys, i64(2), [*sums, scores])
        *sums, to = loop.values
        line = f.gep(scores, f.mul(loop.index, self.pitch))
        out = []
        for v, total in enumerate(sums):
            halves = []
            for here in (line, f.gep(line, self.pitch)):
                weight = self.exp(f.sub(self.load(self.lane(here, v)), most[v]))
                total = f.add(total, weight)
                halves.append(self.halve(weight))
            self.store(self.join(*halves), self.lane(to, v))
            out.append(total)
        return f.end_loop(loop, [*out, f.gep(to, self.pitch)])[:-1]

    def _rescale(self, out: Value, shrink: list[Value], key: Value) -> None:
        """Multiply the result of earlier blocks, unless there were none."""
        f = self.f
        rows = f.select(f.icmp("ne", key, i64(0)), self.slot("value"), i64(0))
        loop = f.loop(i64(0), rows, i64(1))
        line = f.gep(out, f.mul(loop.index, self.pitch))
        for v, factor in enumerate(shrink):
            at = self.lane(line, v)
            self.store(f.mul(self.load(at), factor), at)
        f.end_loop(loop)

    def _store(self, panel: Value, first: Value, count: Value) -> None:
        """Divide by the sums, transpose, store; and the levels and log-sum-exps."""
        f, out, stage = self.f, self._panel("out", panel), self.region("stage")
        most, total = self._panel("most", panel), self._panel("total", panel)
        inverse = []
        for v in range(self.vectors):
            at = self.lane(total, v)
            sums = self.load(at)
            inverse.append(f.fdiv(self.const(1), sums))
            largest, logs = self.load(self.lane(most, v)), elementary.TABLE["log"](f, sums)
            sixteenth = f.intrinsic("rint", f.mul(largest, self.const(1 / 16)))
            level = f.mul(sixteenth, self.const(16))
            self.store(level, self.lane(most, v))
            self.store(f.add(f.sub(largest, level), logs), at)
        self._rescale(out, inverse, i64(1))
        pitch = self.slot("value_bytes")
        f.call(
            self.turn, "void", out, self.pitch, self.slot("value"), i64(self.width), stage,
            pitch, self.one,
        )  # fmt: skip

        def body(head: Value, t: Value, n: Value, at: Value) -> None:
            f.call(
                self.put, "void", f.gep(stage, f.mul(at, pitch)), pitch, n, self.slot("value"),
                self.place(self.start["out"], "out", head, t), self.slot("out_t"), self.one,
            )  # fmt: skip
            for name, numbers in (("level", most), ("sums", total)):
                f.call(
                    self.put_sums, "void", f.gep(numbers, f.mul(at, i64(self.tile.itemsize))),
                    i64(0), i64(1), n, self.place(self.start[name], name, head, t), i64(0),
                    self.one,
                )  # fmt: skip

        self.segments(first, count, body)
