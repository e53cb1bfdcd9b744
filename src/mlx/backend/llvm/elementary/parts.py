"""Exponents and significands of full registers of floats, by AVX-512's instructions."""

from __future__ import annotations

from mlx.backend.llvm.elementary.number import FLOAT, Number
from mlx.backend.llvm.elementary.routine import join, slices
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const

LANES = 16
_NEAREST = 0b1000
"""To the nearest whole number, the even one of two, without a signal."""
_FROM_THREE_QUARTERS = 0b0011
"""A significand in [3/4, 3/2), with the number's sign."""


def has_parts(x: Number) -> bool:
    """Whether the instructions serve these numbers."""
    lanes = x.lanes
    return x.element == FLOAT and host().avx512 and lanes >= LANES and not lanes & (lanes - 1)


def _instruction(name: str, x: Number, *between: Value) -> Number:
    """The unmasked instruction for each register."""
    f = x.f
    found = []
    for part in slices(f, x.v, LANES):
        type = part.type
        arguments = [part, *between, const(type, 0), Value("-1", "i16"), Value("4", "i32")]
        full = f"llvm.x86.avx512.mask.{name}.ps.512"
        f.module.declare(full, type, [a.type for a in arguments])
        found.append(f.call(full, type, *arguments))
    return Number(f, join(f, found))


def fraction(x: Number) -> Number:
    """x less the nearest whole number; 0 of infinities."""
    return _instruction("reduce", x, Value(str(_NEAREST), "i32"))


def split_parts(x: Number) -> tuple[Number, Number]:
    """The exponent of x as a float, and its significand in [3/4, 3/2)."""
    return (
        _instruction("getexp", x),
        _instruction("getmant", x, Value(str(_FROM_THREE_QUARTERS), "i32")),
    )
