"""exp, expm1 and what follows from them: sigmoid, the hyperbolic functions.

Cody-Waite reduction x = n ln 2 + r, |r| <= ln 2 / 2, a minimax polynomial in r, and 2**n put
into the exponent.
"""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary import pieces
from mlx.backend.llvm.elementary.number import (
    BIAS,
    DOUBLE,
    FLOAT,
    MANTISSA,
    Number,
    at_least,
    at_most,
    copysign,
    fabs,
    fma,
    polynomial,
    table,
    where,
)
from mlx.backend.llvm.elementary.piecewise import piecewise
from mlx.backend.llvm.elementary.routine import routine
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, lanes_of

LN2_HIGH = {FLOAT: 0.6931471824645996, DOUBLE: 0.6931471805599453}
LN2_LOW = {FLOAT: -1.9046542121259336e-09, DOUBLE: 2.3190468138462996e-17}
INVERSE_LN2 = 1.4426950408889634

# Adding ``shift`` rounds to an integer n and leaves n + twice the exponent bias in the low bits.
SHIFT = {e: 1.5 * 2.0 ** MANTISSA[e] + 2 * BIAS[e] for e in (FLOAT, DOUBLE)}
# Below ``low`` exp is less than half the least subnormal, above ``high`` it overflows.
_LOW = {FLOAT: -104.5, DOUBLE: -746.0}
_HIGH = {FLOAT: 89.0, DOUBLE: 710.0}


def reduce(x: Number) -> tuple[Number, Number, Number]:
    """r and n with x = n ln 2 + r, and the shifted n whose low bits are the integer."""
    e = x.element
    shifted = fma(x, INVERSE_LN2, SHIFT[e])
    n = shifted - SHIFT[e]
    r = fma(n, -LN2_LOW[e], fma(n, -LN2_HIGH[e], x))
    return r, n, shifted


def _scalef(p: Number, n: Number) -> Number:
    """p * 2**n by the AVX-512 instruction, register by register."""
    f, type = p.f, p.v.type
    lanes = lanes_of(type)
    width = 64 // (4 if p.element == FLOAT else 8)
    short = "ps" if p.element == FLOAT else "pd"
    if lanes > width:
        half = lanes // 2
        parts = []
        for start in (0, half):
            picked = range(start, start + half)
            a, b = (Number(f, f.shuffle(v.v, None, picked)) for v in (p, n))
            parts.append(_scalef(a, b).v)
        return Number(f, f.shuffle(parts[0], parts[1], range(lanes)))
    name = f"llvm.x86.avx512.mask.scalef.{short}.512"
    mask = f"i{max(8, width)}"
    f.module.declare(name, type, [type, type, type, mask, "i32"])
    arguments = [p.v, n.v, const(type, 0), Value("-1", mask), Value("4", "i32")]
    return Number(f, f.call(name, type, *arguments))


def _has_scalef(type: str) -> bool:
    width = 16 if "float" in type else 8
    lanes = lanes_of(type)
    return host().avx512 and lanes >= width and lanes & (lanes - 1) == 0


def scale(p: Number, n: Number, shifted: Number) -> Number:
    """p * 2**n, rounded once, over- and underflowing; n and ``shifted`` as in ``reduce``.

    Two factors of half the exponent: the first product is exact.
    """
    if _has_scalef(p.v.type):
        return _scalef(p, n)
    whole = shifted.bits()
    half = whole.logical(1)
    m = MANTISSA[p.element]
    first, second = (half << m), (whole - half) << m
    return p * first.as_float(p.element) * second.as_float(p.element)


def exp_of_reduced(r: Number, n: Number, shifted: Number) -> Number:
    """2**n e**r on the reduced interval."""
    p = fma(fma(polynomial(r, table("EXP", r)), r, 1.0), r, 1.0)
    return scale(p, n, shifted)


def exp_of(
    x: Number, low: Number | None = None, halvings: int = 0, negative: bool = False
) -> Number:
    """exp(x + low) / 2**halvings for |low| much below |x|; ``negative`` promises x <= 0."""
    e = x.element
    x = at_least(x, _LOW[e])
    if not negative:
        x = at_most(x, _HIGH[e] + halvings * math.log(2))
    r, n, shifted = reduce(x)
    if low is not None:
        r = r + low
    if halvings:
        n, shifted = n - halvings, shifted - halvings
    return exp_of_reduced(r, n, shifted)


@routine(FLOAT, DOUBLE)
def exp(x: Number) -> Number:
    """e**x: degree 6 (float) or 11 (double) after Cody-Waite reduction."""
    return exp_of(x)


@routine(FLOAT)
def exp2(x: Number) -> Number:
    """2**x: as exp, where the reduction is exact."""
    e = x.element
    x = at_most(at_least(x, _LOW[e] * 1.5), float(BIAS[e] + 2))
    shifted = x + SHIFT[e]
    n = shifted - SHIFT[e]
    r = (x - n) * math.log(2)
    return exp_of_reduced(r, n, shifted)


def expm1_of_reduced(r: Number) -> Number:
    """expm1 up to 1/2."""
    return fma(polynomial(r, table("EXPM1", r)), r * r, r)


def reduce_for_expm1(x: Number, small: Number) -> tuple[Number, Number]:
    """r and the shifted n; arguments known as ``small`` (up to 1/2) are not reduced."""
    e = x.element
    shifted = fma(where(small, 0.0, x), INVERSE_LN2, SHIFT[e])
    n = shifted - SHIFT[e]
    return fma(n, -LN2_LOW[e], fma(n, -LN2_HIGH[e], x)), shifted


@routine(FLOAT)
def expm1(x: Number) -> Number:
    """e**x - 1 = 2**n expm1(r) + (2**n - 1), the second term exact or immaterial."""
    e = x.element
    # Half of the result is formed, for 2**n alone can overflow.
    clamped = at_most(at_least(x, -0.75 * MANTISSA[e] - 3), _HIGH[e])
    small = fabs(x) < 0.5
    r, shifted = reduce_for_expm1(clamped, small)
    factor = ((shifted.bits() - (BIAS[e] + 1)) << MANTISSA[e]).as_float(e)
    p = expm1_of_reduced(r)
    y = fma(p, factor, factor - 0.5) * 2.0
    return copysign(where(small, p, y), x)


@routine(FLOAT)
def sigmoid(x: Number) -> Number:
    """1 / (1 + e**-x), from e**-|x| so that nothing overflows."""
    small = exp_of(-fabs(x), negative=True)
    d = small + 1.0
    d_low = small - (d - 1.0)
    q = where(x < 0.0, small, 1.0) / d
    return fma(-d_low, q, q)


def _tanh_float(x: Number) -> Number:
    """A polynomial for each of 16 pieces of |x|; beyond the last it is 1."""
    return copysign(piecewise(pieces.TANH, at_most(fabs(x), 9.25)), x)


def _tanh_double(x: Number) -> Number:
    """t / (t + 2) for t = expm1(2|x|), the rounding of t + 2 and of the quotient repaired."""
    a = at_most(fabs(x), 20.0)
    r, shifted = reduce_for_expm1(a + a, a < 0.25)
    factor = ((shifted.bits() - BIAS[DOUBLE]) << MANTISSA[DOUBLE]).as_float(DOUBLE)
    t = fma(expm1_of_reduced(r), factor, factor - 1.0)
    d = t + 2.0
    d_low = t - (d - 2.0)
    inverse = 1.0 / d
    q = t * inverse
    rest = fma(-q, d_low, fma(-q, d, t))
    return copysign(fma(rest, inverse, q), x)


@routine(FLOAT)
def tanh(x: Number) -> Number:
    """In float by pieces, in double by expm1."""
    return _tanh_float(x) if x.element == FLOAT else _tanh_double(x)


@routine()
def sinh(x: Number) -> Number:
    """An odd polynomial up to 1; beyond, e**a / 2 - e**-a / 2."""
    a = fabs(x)
    z = x * x
    small = fma(polynomial(z, table("SINH", z)) * z, x, x)
    half = exp_of(a, halvings=1)
    large = copysign(half - 0.25 / half, x)
    return where(a < 1.0, small, large)


@routine()
def cosh(x: Number) -> Number:
    """e**a / 2 + e**-a / 2."""
    half = exp_of(fabs(x), halvings=1)
    return half + 0.25 / half
