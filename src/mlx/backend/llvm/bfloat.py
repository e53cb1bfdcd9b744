"""bfloat16 from float32: the sum whose upper half is the rounded number."""

from __future__ import annotations

from mlx.backend.llvm.elementary.routine import join, slices
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, lanes_of


def rounded_up(f: Function, bits: Value) -> Value:
    """float32's bits + 0x7FFF + the last bit that stays: in the upper half the nearest number of
    8 bits, of two the even one."""
    type, last = bits.type, 1 << 16
    if not _sums_words(type):
        odd = f.op("and", f.op("lshr", bits, const(type, 16)), const(type, 1))
        return f.add(f.add(bits, const(type, 0x7FFF)), odd)
    # Both addends as words of one number: a logical operation and a sum of products by 1.
    addends = f.op("or", f.op("and", bits, const(type, last)), const(type, 0x7FFF))
    return _sum_of_words(f, bits, addends)


def _sums_words(type: str) -> bool:
    """Whether an instruction adds both words of each number to another."""
    target, lanes = host(), lanes_of(type)
    has = target.has("avx512vnni") if target.avx512 else target.has("avxvnni")
    return has and lanes >= 4 and lanes & (lanes - 1) == 0


def _sum_of_words(f: Function, sums: Value, words: Value) -> Value:
    """sums + both words of each number."""
    lanes = min(lanes_of(sums.type), host().lanes)
    parts = []
    for total, pair in zip(slices(f, sums, lanes), slices(f, words, lanes), strict=True):
        name = f"llvm.x86.avx512.vpdpwssd.{32 * lanes}"
        f.module.declare(name, total.type, [total.type] * 3)
        parts.append(f.call(name, total.type, total, pair, const(total.type, 0x10001)))
    return join(f, parts)
