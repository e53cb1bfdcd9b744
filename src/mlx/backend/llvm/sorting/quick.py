"""Unsigned keys sorted in place by vectors: quicksort that partitions with compressing moves.

Every part knows bounds of its keys.  A pivot equal to the lower bound is raised by one, so that
keys equal to it are a part of one value, which is sorted; where pivots were bad too often, the
middle of the bounds takes their place, and as many steps as a key has bits end the sort.
(Bramas, "A novel hybrid quicksort algorithm vectorized using AVX-512", 2017; Blacher et al.,
"Vectorized and performance-portable quicksort", 2022.)
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.sorting.block import Block
from mlx.backend.llvm.sorting.keep import compressed, mask_bits
from mlx.backend.llvm.target import Target
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector

FEW = (4,)
"""Registers of the only block where code should be short."""
UNROLL = 4
"""Vectors read from one side at a time: at most half of what a block holds."""
SAMPLES = 9
BUFFER = 4 * UNROLL * 64
"""Bytes of scratch: what is read ahead at both sides, and a vector."""


def lanes_of_word(word: str) -> int:
    return 512 // bits_of(word)


def block_rows(word: str) -> tuple[int, ...]:
    """Registers of the blocks that are sorted at once: larger ones only cost code."""
    return (4, 8) if word == "i16" else (8, 16)


def available(target: Target, word: str) -> bool:
    """Whether the machine compresses vectors of these words."""
    feature = "avx512vbmi2" if word == "i16" else "avx512f"
    return target.avx512 and target.has(feature) and word in ("i16", "i32", "i64")


def quick_function(module: Module, name: str, word: str, blocks: tuple[int, ...] = ()) -> str:
    """Emit ``quick(keys, n, low, high, budget, buffer, first, last)``; returns its name.

    It sorts n keys, all within low..high, as far as those at first..last - 1 need it: the
    others are on their side of these.
    """
    name, blocks = f"{name}_quick", blocks or block_rows(word)
    for rows in blocks:
        f = module.function(f"{name}_{rows}", ["ptr", "i64"], internal=True)
        Block(f, word, lanes_of_word(word), rows).sort(*f.params)
        f.ret()
    types = ["ptr", "i64", word, word, "i64", "ptr", "i64", "i64"]
    _Quick(module.function(name, types, internal=True), word, blocks).emit()
    types = ["ptr", "i64", word, "ptr"]
    f = module.function(f"{name}_partition", types, "i64", internal=True)
    _Partition(f, word, min(UNROLL, blocks[-1] // 2)).emit()
    return name


class _Quick:
    def __init__(self, f: Function, word: str, blocks: tuple[int, ...]) -> None:
        self.f, self.word, self.lanes = f, word, lanes_of_word(word)
        self.blocks = blocks

    def emit(self) -> None:
        """Split the part in two and go on with the larger one; the smaller one is a call."""
        f = self.f
        *part, self.buffer, first, last = f.params
        part += [first, last]
        begin, head, split, small, done = f.block, *map(f.label, ("part", "split", "small", "done"))
        f.branch(head)
        f.start(head)
        mark = len(f.lines)
        part = [f.emit(f"phi {v.type} [ {v.ref}, %{begin} ], @NEXT@", v.type) for v in part]
        f.branch_if(f.icmp("sgt", part[1], i64(self.blocks[-1] * self.lanes)), split, small)
        f.start(split)
        smaller, larger = self._split(*part)
        f.where(self._open(smaller), lambda: self._visit(smaller))
        for at, value in enumerate(larger, mark):
            f.lines[at] = f.lines[at].replace("@NEXT@", f"[ {value.ref}, %{f.block} ]")
        f.branch_if(self._open(larger), head, done)
        f.start(done)
        f.ret()
        f.start(small)
        self._block(*part[:2])
        f.ret()

    def _split(
        self,
        keys: Value,
        n: Value,
        low: Value,
        high: Value,
        budget: Value,
        first: Value,
        last: Value,
    ) -> tuple[list[Value], list[Value]]:
        """Partition a part; the smaller and the larger side."""
        f, word = self.f, self.word
        one = const(word, 1)
        middle = f.add(f.add(low, f.op("lshr", f.sub(high, low), one)), one)
        pivot = f.select(f.icmp("sgt", budget, i64(0)), self._pivot(keys, n), middle)
        pivot = f.select(f.icmp("eq", pivot, low), f.add(low, one), pivot)
        m = f.call(f"{f.name}_partition", "i64", keys, n, pivot, self.buffer)
        rest, left = f.sub(n, m), f.sub(budget, i64(1))
        begin = f.max(f.sub(first, m), i64(0))
        below = [keys, m, low, f.sub(pivot, one), left, first, f.min(last, m)]
        above = [f.gep(keys, m, word), rest, pivot, high, left, begin, f.sub(last, m)]
        less = f.icmp("slt", m, rest)
        pairs = list(zip(below, above, strict=True))
        return [f.select(less, a, b) for a, b in pairs], [f.select(less, b, a) for a, b in pairs]

    def _visit(self, part: list[Value]) -> None:
        *most, first, last = part
        self.f.call(self.f.name, "void", *most, self.buffer, first, last)

    def _open(self, part: list[Value]) -> Value:
        """Whether a part has several keys, and any that are wanted."""
        f = self.f
        _, n, low, high, _, first, last = part
        several = f.op("and", f.icmp("ult", low, high), f.icmp("sgt", n, i64(1)))
        wanted = f.icmp("slt", first, f.min(last, n))
        return f.op("and", several, wanted)

    def _block(self, keys: Value, n: Value) -> None:
        f = self.f

        def call(rows: int) -> None:
            f.call(f"{f.name}_{rows}", "void", keys, n)

        def sort(rows: tuple[int, ...]) -> None:
            one = rows[0]
            if len(rows) == 1:
                call(one)
                return
            fits = f.icmp("sle", n, i64(one * self.lanes))
            f.where(fits, lambda: call(one), lambda: sort(rows[1:]))

        sort(self.blocks)

    def _pivot(self, keys: Value, n: Value) -> Value:
        """The median of three medians of three, from places that differ from part to part."""
        f = self.f
        step = f.op("udiv", n, i64(SAMPLES))
        samples = []
        for number in range(SAMPLES):
            mixed = f.mul(f.add(n, i64(number + 1)), i64(0x9E3779B1))
            part = f.op("lshr", f.mul(f.op("and", mixed, i64(0xFFFF)), step), i64(16))
            at = f.add(f.mul(step, i64(number)), part)
            samples.append(f.load(f.gep(keys, at, self.word), self.word, 1))
        medians = [self._median(*samples[i : i + 3]) for i in (0, 3, 6)]
        return self._median(*medians)

    def _median(self, a: Value, b: Value, c: Value) -> Value:
        f = self.f
        low, high = f.intrinsic("umin", a, b), f.intrinsic("umax", a, b)
        return f.intrinsic("umax", low, f.intrinsic("umin", high, c))


class _Partition:
    """``partition(keys, n, pivot, buffer)``: keys below the pivot first; how many there are.

    A block of keys at each end is set aside in the buffer, which leaves room for what is written
    at both ends while the rest is read from the end with less room.
    """

    def __init__(self, f: Function, word: str, unroll: int) -> None:
        self.f, self.word, self.lanes = f, word, lanes_of_word(word)
        self.unroll = unroll
        self.type, self.size = vector(self.lanes, word), bits_of(word) // 8
        self.keys, self.n, self.pivot, self.buffer = f.params
        self.bound = f.splat(self.pivot, self.lanes)

    def emit(self) -> None:
        f, block = self.f, self.unroll * self.lanes
        aside = f.op("and", self.n, i64(block - 1))
        stop = f.sub(f.sub(self.n, i64(block)), aside)
        last = f.add(i64(block), aside)
        for number in range(self.unroll):
            at = i64(number * self.lanes)
            self._copy(self.keys, self.buffer, at, None)
        tail, rest = f.gep(self.keys, stop, self.word), f.gep(self.buffer, i64(block), self.word)
        loop = f.loop(i64(0), last, i64(self.lanes))
        self._copy(tail, rest, loop.index, f.sub(last, loop.index))
        f.end_loop(loop)
        low, high = self._whole(i64(block), stop)
        total = f.add(last, i64(block))
        loop = f.loop(i64(0), total, i64(self.lanes), [low, high])
        there = memory.below(f, f.sub(total, loop.index), self.lanes)
        low, _ = f.end_loop(loop, self._last(loop.index, there, *loop.values))
        f.ret(low)

    def _load(self, base: Value, at: Value) -> Value:
        return self.f.load(self.f.gep(base, at, self.word), self.type, self.size)

    def _copy(self, source: Value, target: Value, at: Value, left: Value | None) -> None:
        f = self.f
        here, there = (f.gep(base, at, self.word) for base in (source, target))
        if left is None:
            value = f.load(here, self.type, self.size)
        else:
            mask = memory.below(f, left, self.lanes)
            value = f.masked_load(here, self.type, mask, self.size, const(self.type, 0))
        f.store(value, there, self.size)

    def _whole(self, start: Value, stop: Value) -> list[Value]:
        """The blocks between; where low keys end then, and high ones begin."""
        f, block = self.f, i64(self.unroll * self.lanes)
        count = f.sub(stop, start)
        loop = f.loop(i64(0), count, block, [i64(0), self.n, start, stop])
        low, high, a, b = loop.values
        left = f.icmp("sle", f.sub(a, low), f.sub(high, b))
        before = f.sub(b, block)
        source = f.select(left, a, before)
        a, b = f.select(left, f.add(a, block), a), f.select(left, b, before)
        vectors = [
            self._load(self.keys, f.add(source, i64(i * self.lanes))) for i in range(self.unroll)
        ]
        for keys in vectors:
            mask = f.icmp("ult", keys, self.bound)
            other = f.icmp("uge", keys, self.bound)
            size = f.intrinsic("ctpop", mask_bits(f, mask, self.lanes))
            f.store(compressed(f, keys, mask), f.gep(self.keys, low, self.word), self.size)
            top = f.gep(self.keys, f.sub(high, i64(self.lanes)), self.word)
            turned = f.shuffle(compressed(f, keys, other), None, range(self.lanes - 1, -1, -1))
            f.store(turned, top, self.size)
            low = f.add(low, size)
            high = f.sub(f.add(high, size), i64(self.lanes))
        return f.end_loop(loop, [low, high, a, b])[:2]

    def _last(self, at: Value, there: Value, low: Value, high: Value) -> list[Value]:
        """Keys set aside: they fill the gap exactly."""
        f = self.f
        keys = self._load(self.buffer, at)
        sizes = []
        for predicate in ("ult", "uge"):
            mask = f.op("and", f.icmp(predicate, keys, self.bound), there)
            size = f.intrinsic("ctpop", mask_bits(f, mask, self.lanes))
            sizes.append(size)
            place = low if predicate == "ult" else f.sub(high, size)
            address = f.gep(self.keys, place, self.word)
            some = memory.below(f, size, self.lanes)
            f.masked_store(compressed(f, keys, mask), address, some, self.size)
        return [f.add(low, sizes[0]), f.sub(high, sizes[1])]
