"""log and its bases, log1p, logaddexp, the inverse hyperbolic functions.

x = 2**k m with m in [sqrt(1/2), sqrt(2)) found by integer arithmetic; log m by a minimax
polynomial in m - 1 (float) or in s = (m - 1) / (m + 1) (double, as in fdlibm).
"""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary import pieces
from mlx.backend.llvm.elementary.exponential import exp_of
from mlx.backend.llvm.elementary.number import (
    DOUBLE,
    FLOAT,
    INF,
    MANTISSA,
    NAN,
    TINY,
    Number,
    copysign,
    fabs,
    fma,
    polynomial,
    sqrt,
    table,
    two_sum,
    where,
)
from mlx.backend.llvm.elementary.piecewise import piecewise
from mlx.backend.llvm.elementary.routine import routine

_SQRT_HALF = {FLOAT: 0x3F3504F3, DOUBLE: 0x3FE6A09E667F3BCD}
# ln 2 in two parts; the product of the first with an exponent is exact.
LN2_HIGH = 0.693147180559663
LN2_LOW = 2.8235290563031577e-13


def split(x: Number) -> tuple[Number, Number]:
    """k (float) and m with x = 2**k m, for every positive finite x."""
    e = x.element
    m = MANTISSA[e]
    tiny = x < TINY[e]
    bits = where(tiny, x * 2.0**m, x).bits()
    k = (bits - _SQRT_HALF[e]) >> m
    mantissa = (bits - (k << m)).as_float(e)
    k = k.convert(e)
    return where(tiny, k - float(m), k), mantissa


def finish(x: Number, y: Number) -> Number:
    """The logarithm ``y`` of ``x``, with the right values at zero, infinity and below zero."""
    y = where(x < INF, y, x)
    y = where(x < 0.0, NAN, y)
    return where(x.equals(0.0), -INF, y)


def log1p_terms(f: Number) -> tuple[Number, Number]:
    """log(1 + f) as f + t on the reduced interval (double)."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = s * fma(polynomial(z, table("LOG_RATIO", z)), z, half_square)
    return half_square, rest


def log_reduced(f: Number, k: Number, more: Number | None = None) -> Number:
    """k ln 2 + log(1 + f), plus ``more``, which is below an ulp of 1."""
    if f.element == FLOAT:
        p, square = polynomial(f, table("LOG", f)), f * f
        near = fma(p, square, f) if more is None else f + fma(p, square, more)
        return fma(k, math.log(2), near)
    half_square, rest = log1p_terms(f)
    if more is not None:
        rest = rest + more
    return fma(k, LN2_HIGH, f - (half_square - fma(k, LN2_LOW, rest)))


@routine(FLOAT)
def log(x: Number) -> Number:
    """The natural logarithm."""
    k, m = split(x)
    return finish(x, log_reduced(m - 1.0, k))


def _log_base(x: Number, name: str, base: float) -> Number:
    """In float k log_b 2 + f P(f); in double the natural logarithm times 1 / ln b, in pairs."""
    k, m = split(x)
    f = m - 1.0
    if x.element == FLOAT:
        near = f * polynomial(f, table(name, f))
        return finish(x, near + k if base == 2 else _plus_log10(k, near))
    return finish(x, near_pair(f, k, base))


def _plus_log10(k: Number, near: Number) -> Number:
    return fma(k, 0.301025390625, fma(k, 4.605038981195214e-06, near))


# 1 / ln b and log_b 2, each as a sum of two doubles.
_PAIRS = {
    2: ((1.4426950408889634, 2.0355273740931033e-17), (1.0, 0.0)),
    10: (
        (0.4342944819032518, 1.098319650216765e-17),
        (0.301029995663157, 8.241712586023572e-13),
    ),
}


def near_pair(f: Number, k: Number, base: float) -> Number:
    """log_b of 2**k (1 + f), with log(1 + f) = high + low in about 70 bits."""
    (scale, scale_low), (unit, unit_low) = _PAIRS[int(base)]
    half_square, rest = log1p_terms(f)
    square_low = fma(f, f, -(half_square * 2.0)) * 0.5
    high = f - half_square
    low = (f - high) - half_square - square_low + rest
    product = high * scale
    product_low = fma(high, scale, -product) + fma(high, scale_low, low * scale)
    whole = k * unit
    total = whole + product
    carried = (whole - total) + product
    return total + (carried + fma(k, unit_low, product_low))


@routine(FLOAT)
def log2(x: Number) -> Number:
    """The logarithm to base 2, exact at powers of two."""
    return _log_base(x, "LOG2", 2)


@routine(FLOAT)
def log10(x: Number) -> Number:
    """The logarithm to base 10."""
    return _log_base(x, "LOG10", 10)


def log_of_sum(high: Number, low: Number) -> Number:
    """log(high + low) of a positive finite pair, |low| below an ulp of high, high normal.

    Accurate relative to the result also where high + low is next to 1.
    """
    m = MANTISSA[high.element]
    bits = high.bits()
    k = (bits - _SQRT_HALF[high.element]) >> m
    f = (bits - (k << m)).as_float(high.element) - 1.0
    return log_reduced(f, k.convert(high.element), low / high)


@routine(FLOAT)
def log1p(x: Number) -> Number:
    """log(1 + x), from the rounded sum and what its rounding lost."""
    u = x + 1.0
    e = x.element
    if e == FLOAT:
        # 2**-k (1 + x) - 1 with one rounding: f = 2**-k x + (2**-k - 1)
        k = (u.bits() - _SQRT_HALF[e]) >> MANTISSA[e]
        shift = k << MANTISSA[e]
        quarter = (0x40800000 - shift).as_float(e)
        f = fma(quarter, 0.25, -1.0) + (x.bits() - shift).as_float(e)
        y = log_reduced(f, k.convert(e))
    else:
        larger = fabs(x) > 1.0
        lost = where(larger, (x - u) + 1.0, (1.0 - u) + x)
        y = log_of_sum(u, lost)
    y = where(x < INF, y, x)
    y = where(x < -1.0, NAN, y)
    y = where(x.equals(-1.0), -INF, y)
    return where(x.equals(0.0), x, y)


def _log1p_exp(a: Number) -> Number:
    """log(1 + e**-a) for a >= 0, in float by pieces of e**-a."""
    small = exp_of(-a, negative=True)
    return piecewise(pieces.LOG1P, small) if a.element == FLOAT else log1p.of(small)


@routine(FLOAT)
def logaddexp(x: Number, y: Number) -> Number:
    """log(e**x + e**y) = max + log1p(e**-|x - y|).

    Accurate relative to the larger of the result and the maximum: where a negative maximum
    meets the logarithm the sum cancels, and a change of x in its last place shows as much.
    """
    distance = where(x.equals(y), 0.0, x - y)  # infinities have none
    return where(x > y, x, y) + _log1p_exp(fabs(distance))


# Beyond the first the square overflows soon; below the second f(x) = x.
_BIG = {FLOAT: 2.0**60, DOUBLE: 2.0**500}
_SMALL = {FLOAT: 2.0**-13, DOUBLE: 2.0**-28}


@routine()
def arcsinh(x: Number) -> Number:
    """log1p(a + a**2 / (1 + sqrt(a**2 + 1))); log a + log 2 where a**2 would overflow."""
    a = fabs(x)
    big = a > _BIG[x.element]
    b = where(big, 1.0, a)
    root = sqrt(fma(b, b, 1.0))
    high, low = two_sum(b, b * b / (root + 1.0))
    total, lost = two_sum(high, high.like(1.0))
    y = log_of_sum(where(big, a, total), where(big, 0.0, lost + low))
    y = where(big, y + math.log(2), y)
    y = where(a < INF, y, a)
    return copysign(where(a < _SMALL[x.element], a, y), x)


@routine()
def arccosh(x: Number) -> Number:
    """log1p(t + sqrt(2 t + t**2)) with t = x - 1."""
    big = x > _BIG[x.element]
    t = where(big, 1.0, x - 1.0)
    high, low = two_sum(t, sqrt(fma(t, t, t + t)))
    total, lost = two_sum(high, high.like(1.0))
    y = log_of_sum(where(big, x, total), where(big, 0.0, lost + low))
    y = where(big, y + math.log(2), y)
    y = where(x < INF, y, x)
    return where(x < 1.0, NAN, y)


@routine()
def arctanh(x: Number) -> Number:
    """log1p(2 a / (1 - a)) / 2, the quotient in two parts."""
    a = fabs(x)
    d = 1.0 - a
    d_low = (1.0 - d) - a
    inverse = 1.0 / d
    double = a + a
    q = double * inverse
    q_low = fma(-q, d_low, fma(-q, d, double)) * inverse
    total, lost = two_sum(q.like(1.0), q)
    y = log_of_sum(total, lost + q_low) * 0.5
    y = where(a < _SMALL[x.element], a, y)
    y = where(a.equals(1.0), INF, y)
    y = where(a > 1.0, NAN, y)
    return copysign(where(a.is_nan(), a, y), x)
