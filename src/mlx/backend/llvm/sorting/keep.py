"""The best of a buffer of candidates: keep the ``count`` largest keys, in their order."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function, Loop, Module
from mlx.backend.llvm.values import Value, bits_of, const, i64, mangle, vector

LANES = {"i32": 16, "i64": 8}
"""Keys of a vector."""


def compressed(f: Function, x: Value, mask: Value) -> Value:
    """The lanes of a mask first; what the others hold is undefined."""
    name = f"llvm.experimental.vector.compress.{mangle(x.type)}"
    f.module.declare(name, x.type, [x.type, mask.type, x.type])
    return f.emit(
        f"call {x.type} @{name}({x.type} {x.ref}, {mask.type} {mask.ref}, {x.type} poison)", x.type
    )


def mask_bits(f: Function, mask: Value, lanes: int) -> Value:
    """A mask as an i64."""
    return f.cast("zext", f.bitcast(mask, f"i{lanes}"), "i64")


def keep_function(module: Module, name: str, word: str) -> str:
    """Emit ``word keep(keys, indices, m, count, least)``; returns its name.

    It leaves the ``count`` largest of m keys, none below ``least``, and their indices, in the
    order they had; of equal ones the first.  The result is a threshold: later keys that are no
    larger can't be among the largest.  A vector behind the keys is overwritten.
    """
    name = f"{name}_keep"
    f = module.function(name, ["ptr", "ptr", "i64", "i64", word], word, internal=True)
    _Keep(f, word).emit()
    return name


class _Keep:
    def __init__(self, f: Function, word: str) -> None:
        self.f, self.word, self.lanes = f, word, LANES[word]
        self.type, self.index_type = vector(self.lanes, word), vector(self.lanes, "i32")
        self.size = bits_of(word) // 8
        self.keys, self.indices, self.m, self.count, self.least = f.params

    def emit(self) -> None:
        f = self.f
        # Zeros fill the last vector: none of them is above a bound, or reaches one above 0.
        f.store(const(self.type, 0), self._key_at(self.m), self.size)
        threshold = self._search()
        above = self._counted("ugt", threshold, self.m)
        self._compress(threshold, f.sub(self.count, above))
        f.ret(threshold)

    def _key_at(self, index: Value) -> Value:
        return self.f.gep(self.keys, index, self.word)

    def _each(self, stop: Value, carried: list[Value]) -> tuple[Loop, Value]:
        f = self.f
        loop = f.loop(i64(0), stop, i64(self.lanes), carried)
        return loop, f.load(self._key_at(loop.index), self.type, self.size)

    def _counted(self, predicate: str, bound: Value, stop: Value) -> Value:
        """How many keys (as i64) are above a bound."""
        f = self.f
        splat = f.splat(bound, self.lanes)
        loop, keys = self._each(stop, [const(self.type, 0)])
        one = f.cast("zext", f.icmp(predicate, keys, splat), self.word)
        (sums,) = f.end_loop(loop, [f.add(loop.values[0], one)])
        total = f.intrinsic("vector.reduce.add", sums, result=self.word)
        return total if self.word == "i64" else f.cast("zext", total, "i64")

    def _search(self) -> Value:
        """By bisection, a bound that at least ``count`` keys reach and fewer exceed."""
        f, word = self.f, self.word
        loop, keys = self._each(self.m, [const(self.type, 0)])
        most = f.intrinsic("umax", loop.values[0], keys)
        (most,) = f.end_loop(loop, [most])
        most = f.intrinsic("vector.reduce.umax", most, result=word)
        steps = f.loop(i64(0), i64(bits_of(word)), i64(1), [self.least, most])
        low, high = steps.values
        open_ = f.icmp("ult", low, high)
        half = f.op("lshr", f.sub(high, low), const(word, 1))
        middle = f.sub(high, half)
        reached = self._counted("uge", middle, f.select(open_, self.m, i64(0)))
        enough = f.icmp("sge", reached, self.count)
        exact = f.icmp("eq", reached, self.count)
        below = f.select(open_, f.sub(middle, const(word, 1)), high)
        high = f.select(enough, f.select(exact, middle, high), below)
        return f.end_loop(steps, [f.select(enough, middle, low), high])[0]

    def _compress(self, threshold: Value, ties: Value) -> None:
        """Move all keys above the threshold, and the first ``ties`` equal ones, to the front."""
        f = self.f
        splat = f.splat(threshold, self.lanes)
        loop, keys = self._each(self.m, [i64(0), ties])
        end, left = loop.values
        at = loop.index
        indices = f.load(f.gep(self.indices, at, "i32"), self.index_type, 4)
        there = memory.below(f, f.sub(self.m, at), self.lanes)
        equal = f.op("and", f.icmp("eq", keys, splat), there)
        first = self._first(mask_bits(f, equal, self.lanes), left)
        more = mask_bits(f, f.icmp("ugt", keys, splat), self.lanes)
        chosen = f.op("or", more, first)
        mask = f.bitcast(f.cast("trunc", chosen, f"i{self.lanes}"), equal.type)
        f.store(compressed(f, keys, mask), self._key_at(end), self.size)
        f.store(compressed(f, indices, mask), f.gep(self.indices, end, "i32"), 4)
        following = f.add(end, f.intrinsic("ctpop", chosen))
        left = f.sub(left, f.intrinsic("ctpop", first))
        f.end_loop(loop, [following, left])

    def _first(self, bits: Value, count: Value) -> Value:
        """The lowest ``count`` bits that are set."""
        f = self.f
        many = f.icmp("sgt", f.intrinsic("ctpop", bits), count)
        loop = f.loop(i64(0), f.select(many, count, i64(0)), i64(1), [bits])
        rest = loop.values[0]
        (rest,) = f.end_loop(loop, [f.op("and", rest, f.sub(rest, i64(1)))])
        return f.op("and", bits, f.op("xor", f.select(many, rest, i64(0)), i64(-1)))
