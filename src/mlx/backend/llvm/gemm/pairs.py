"""bfloat16 in pairs of neighbours along k, as the dot-product instructions take them.

A pair is one 32-bit element of a panel, the lower k in its lower half; a missing second half
is zero.  The instruction flushes denormal numbers and rounds after each product: products of
bfloat16 matrices are outside the promise of equal bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import Target
from mlx.backend.llvm.values import Value, i64, lanes_of, vector

_DOT = "llvm.x86.avx512bf16.dpbf16ps"


@dataclass(frozen=True, slots=True)
class Pairs(Element):
    """Loaders of packed bfloat16 pairs, one vector of i32."""

    @property
    def step(self) -> int:
        return 2

    @property
    def as_it_lies(self) -> bool:
        return True

    def along(
        self, f: Function, address: Value, k_stride: Value, lanes: int, left: Value | None,
        unit: bool,
    ) -> list[Value]:  # fmt: skip
        if unit:
            raw = self.load_bits(f, address, 2 * lanes, left)
            return [f.bitcast(raw, vector(lanes, "i32"))]
        count = left if left is not None else i64(2 * lanes)
        double = f.op("shl", k_stride, i64(1))
        evens = f.op("lshr", f.add(f.min(count, i64(2 * lanes)), i64(1)), i64(1))
        odds = f.op("lshr", f.min(count, i64(2 * lanes)), i64(1))
        low = self.gather_bits(f, address, double, lanes, evens)
        return [join(f, low, self.gather_bits(f, f.gep(address, k_stride), double, lanes, odds))]

    def across(
        self, f: Function, address: Value, stride: Value, k_stride: Value, lanes: int,
        count: Value | None, left: Value, unit: bool,
    ) -> list[Value]:  # fmt: skip
        every = count if count is not None else i64(lanes)
        others = f.select(f.icmp("sgt", left, i64(1)), every, i64(0))
        following = f.gep(address, k_stride)
        if unit:
            low = self.load_bits(f, address, lanes, count)
            return [join(f, low, self.load_bits(f, following, lanes, others))]
        low = self.gather_bits(f, address, stride, lanes, every)
        return [join(f, low, self.gather_bits(f, following, stride, lanes, others))]


@dataclass(frozen=True, slots=True)
class WholePairs(Pairs):
    """Pairs that lie side by side in memory: elements of 32 bits."""

    @property
    def size(self) -> int:
        return 4

    def load_run(
        self, f: Function, address: Value, lanes: int, count: Value | None = None
    ) -> list[Value]:
        left = None if count is None else f.op("shl", count, i64(1))
        return self.along(f, address, i64(2), lanes, left, True)


def join(f: Function, low: Value, high: Value) -> Value:
    """Pairs of 16-bit elements."""
    lanes = lanes_of(low.type)
    both = f.shuffle(low, high, [at for n in range(lanes) for at in (n, lanes + n)])
    return f.bitcast(both, vector(lanes, "i32"))


def has_pairs(target: Target) -> bool:
    """Whether a target has the instruction, in vectors of full width and shorter ones."""
    return target.avx512 and target.has("avx512bf16")


def dot_pairs(f: Function, a: Value, b: Value, c: Value) -> Value:
    """c + the two products of each pair of a and b."""
    lanes = lanes_of(c.type)
    halves, name = vector(2 * lanes, "bfloat"), f"{_DOT}.{32 * lanes}"
    f.module.declare(name, c.type, [c.type, halves, halves])
    left, right = f.bitcast(a, halves), f.bitcast(b, halves)
    return f.emit(
        f"call {c.type} @{name}({c.type} {c.ref}, {halves} {left.ref}, {halves} {right.ref})",
        c.type,
    )
