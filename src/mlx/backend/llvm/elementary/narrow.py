"""Elementary functions of float16 and bfloat16 numbers that lie in float registers.

Their results are rounded to 11 or 8 bits, so a relative error of 2**-16 is enough: polynomials
are shorter than those for float, and nothing is carried in pairs.  Exponents are taken apart and
put together by AVX-512's instructions where registers are full, elsewhere by integers, to the
same bits.
"""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary import short
from mlx.backend.llvm.elementary.exponential import SHIFT, scale
from mlx.backend.llvm.elementary.number import (
    BIAS,
    FLOAT,
    INF,
    MANTISSA,
    NAN,
    TINY,
    Number,
    at_least,
    at_most,
    copysign,
    fabs,
    fma,
    intrinsic,
    polynomial,
    rint,
    where,
)
from mlx.backend.llvm.elementary.parts import fraction, has_parts, split_parts
from mlx.backend.llvm.elementary.pieces import Pieces
from mlx.backend.llvm.elementary.piecewise import lookup
from mlx.backend.llvm.elementary.routine import routine

LOG2_E = math.log2(math.e)
_THREE_QUARTERS = 0x3F400000
_LOWEST, _HIGHEST = -152.0, 140.0
"""Exponents beyond which a power of two is 0 or infinite."""


def table(name: str) -> tuple[float, ...]:
    return short.SHORT[name]


def odd(name: str, x: Number) -> Number:
    """x P(x**2)."""
    return polynomial(x * x, table(name)) * x


def in_pieces(pieces: Pieces, a: Number) -> Number:
    """The polynomial of the piece that holds a >= 0."""
    index = (a + pieces.offset).bits().logical(pieces.shift)
    return polynomial(a, [lookup(row, index) for row in pieces.rows])


# -- exponentials ------------------------------------------------------------------------


def power_of_two(t: Number, factor: float = 1.0) -> Number:
    """2**t times a power of two, which changes no bit of the polynomial."""
    coefficients = [c * factor for c in (1.0, *table("EXP2"))]
    if has_parts(t):
        r = fraction(t)
        return scale(polynomial(r, coefficients), t - r, t)
    t = at_most(at_least(t, _LOWEST), _HIGHEST)
    whole = rint(t)
    return scale(polynomial(t - whole, coefficients), whole, whole + SHIFT[FLOAT])


@routine(FLOAT)
def exp(x: Number) -> Number:
    """e**x as a power of two."""
    return power_of_two(x * LOG2_E)


@routine(FLOAT)
def exp2(x: Number) -> Number:
    """2**x."""
    return power_of_two(x)


@routine(FLOAT)
def expm1(x: Number) -> Number:
    """2**n (2**r - 1) + (2**n - 1); half of it is formed, for 2**n alone can overflow."""
    t = at_most(at_least(x * LOG2_E, -40.0), 128.25)
    shifted = t + SHIFT[FLOAT]
    r = t - (shifted - SHIFT[FLOAT])
    half = ((shifted.bits() - (BIAS[FLOAT] + 1)) << MANTISSA[FLOAT]).as_float(FLOAT)
    y = fma(polynomial(r, table("EXPM1")) * r, half, half - 0.5) * 2.0
    return copysign(y, x)


_FAR = 2.0**-8
"""Keeps the denominator finite where a quotient of bfloat16 is a subnormal number."""


@routine(FLOAT)
def sigmoid(x: Number) -> Number:
    """1 / (1 + e**-x)."""
    return _FAR / (power_of_two(x * -LOG2_E, _FAR) + _FAR)


@routine(FLOAT)
def sinh(x: Number) -> Number:
    """An odd polynomial up to 1/2; beyond, e**a / 2 - e**-a / 2."""
    a = fabs(x)
    half = power_of_two(fma(a, LOG2_E, -1.0))
    return copysign(where(a < 0.5, odd("SINH", a), half - 0.25 / half), x)


@routine(FLOAT)
def cosh(x: Number) -> Number:
    """e**a / 2 + e**-a / 2."""
    half = power_of_two(fma(fabs(x), LOG2_E, -1.0))
    return half + 0.25 / half


@routine(FLOAT)
def tanh(x: Number) -> Number:
    """By pieces of |x|; beyond the last it is 1."""
    return copysign(in_pieces(short.TANH, at_most(fabs(x), 6.25)), x)


@routine(FLOAT)
def erf(x: Number) -> Number:
    """By pieces of |x|; beyond the last it is 1."""
    return copysign(in_pieces(short.ERF, at_most(fabs(x), 3.125)), x)


# -- logarithms --------------------------------------------------------------------------


def split(x: Number) -> tuple[Number, Number]:
    """k and f with x = 2**k (1 + f), f in [-1/4, 1/2), of positive x; 0 has the exponent of
    minus infinity, infinity its own."""
    if has_parts(x):
        k, m = split_parts(x)
        return where(m < 1.0, k + 1.0, k), m - 1.0
    tiny = x < TINY[FLOAT]
    bits = where(tiny, x * 2.0 ** MANTISSA[FLOAT], x).bits()
    whole = (bits - _THREE_QUARTERS) >> MANTISSA[FLOAT]
    m = (bits - (whole << MANTISSA[FLOAT])).as_float(FLOAT)
    k = whole.convert(FLOAT)
    k = where(tiny, k - float(MANTISSA[FLOAT]), k)
    k = where(x.equals(0.0), -INF, where(x < INF, k, x))
    return k, where(x < INF, m, 1.0) - 1.0


def _logarithm(x: Number, name: str, unit: float, scaled: float = 1.0) -> Number:
    """k log 2 + f P(f), to a base."""
    k, f = split(x)
    near = polynomial(f, [c * scaled for c in table(name)]) * f
    return where(x < 0.0, NAN, near + k if unit == 1 else fma(k, unit, near))


@routine(FLOAT)
def log(x: Number) -> Number:
    """The natural logarithm."""
    return _logarithm(x, "LOG", math.log(2))


@routine(FLOAT)
def log2(x: Number) -> Number:
    """The logarithm to base 2, exact at powers of two."""
    return _logarithm(x, "LOG2", 1.0)


@routine(FLOAT)
def log10(x: Number) -> Number:
    """The logarithm to base 10."""
    return _logarithm(x, "LOG", math.log10(2), 1 / math.log(10))


def log1p_of(x: Number) -> Number:
    """log(1 + x) of x >= -1."""
    k, f = split(x + 1.0)
    f = where(k.equals(0.0), x, f)
    return fma(k, math.log(2), polynomial(f, table("LOG")) * f)


@routine(FLOAT)
def log1p(x: Number) -> Number:
    """log(1 + x), from x itself where that is small."""
    return where(x < -1.0, NAN, copysign(log1p_of(x), x))


@routine(FLOAT)
def logaddexp(x: Number, y: Number) -> Number:
    """max + log1p(e**-|x - y|)."""
    distance = where(x.equals(y), 0.0, x - y)  # infinities have none
    small = power_of_two(fabs(distance) * -LOG2_E)
    return where(x > y, x, y) + in_pieces(short.LOG1P, small)


_BIG = 2.0**60
"""Where squares soon overflow, and nothing beside them is seen."""


@routine(FLOAT)
def arcsinh(x: Number) -> Number:
    """log1p(a + a**2 / (1 + sqrt(a**2 + 1))); log a + log 2 where a**2 would overflow."""
    a = fabs(x)
    b = at_most(a, _BIG)
    root = intrinsic("sqrt", fma(b, b, 1.0))
    big = a > _BIG
    y = log1p_of(where(big, a, b + b * b / (root + 1.0)))
    return copysign(where(big, y + math.log(2), y), x)


@routine(FLOAT)
def arccosh(x: Number) -> Number:
    """log1p(t + sqrt(2 t + t**2)) with t = x - 1."""
    big = x > _BIG
    t = at_most(x, _BIG) - 1.0
    y = log1p_of(where(big, x, t + intrinsic("sqrt", fma(t, t, t + t))))
    return where(x < 1.0, NAN, where(big, y + math.log(2), y))


@routine(FLOAT)
def arctanh(x: Number) -> Number:
    """log1p(2 a / (1 - a)) / 2."""
    a = fabs(x)
    y = log1p_of((a + a) / (1.0 - a)) * 0.5
    return where(a > 1.0, NAN, copysign(y, x))


@routine(FLOAT)
def erfinv(x: Number) -> Number:
    """x P(w) with w = -log(1 - x**2)."""
    k, f = split(fma(-x, x, 1.0))
    w = fma(k, -math.log(2), -(polynomial(f, table("LOG")) * f))
    y = polynomial(w, table("ERFINV")) * x
    a = fabs(x)
    return where(a > 1.0, NAN, where(a.equals(1.0), copysign(INF, x), y))


@routine(FLOAT)
def pow(x: Number, y: Number) -> Number:
    """2**(y log2 |x|); IEEE special cases."""
    a = fabs(x)
    k, f = split(a)
    exponent = at_most(at_least(y, -_BIG), _BIG)  # infinity times the logarithm of 1 is 0
    value = power_of_two(exponent * fma(polynomial(f, table("LOG2")), f, k))
    # A negative base: the sign of an odd power, NaN for a broken exponent.
    whole, half = intrinsic("trunc", y), y * 0.5
    broken, is_odd = _differs(whole, y), _differs(intrinsic("trunc", half), half)
    value = where((x.bits() < 0) & is_odd & whole.equals(y), -value, value)
    value = where((x < 0.0) & (a < INF) & broken, NAN, value)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, value)


def _differs(a: Number, b: Number) -> Number:
    return Number(a.f, a.f.fcmp("one", a.v, b.v))
