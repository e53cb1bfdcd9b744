"""Inverse trigonometric functions: minimax polynomials after one reduction."""

from __future__ import annotations

from mlx.backend.llvm.elementary.number import (
    DOUBLE,
    FLOAT,
    INF,
    NAN,
    Number,
    copysign,
    fabs,
    fma,
    polynomial,
    sqrt,
    table,
    where,
)
from mlx.backend.llvm.elementary.routine import routine

# pi/2 in two parts.
_HALF_PI = {FLOAT: 1.5707963705062866, DOUBLE: 1.5707963267948966}
_HALF_PI_LOW = {FLOAT: -4.371138828673793e-08, DOUBLE: 6.123233995736766e-17}
_TAN_PI_8 = 0.41421356237309503
_COT_PI_8 = 2.414213562373095
_HUGE = {FLOAT: 2.0**125, DOUBLE: 2.0**1021}


def _arctan_ratio(a: Number, b: Number) -> tuple[Number, Number]:
    """arctan(a / b) of nonnegative a and b as a pair, with a single division.

    The ratio is turned by 0, pi/4 or pi/2 so that what remains is at most tan(pi/8).
    """
    e = a.element
    low, high = a < b * _TAN_PI_8, a > b * _COT_PI_8
    n = where(low, a, where(high, -b, a - b))
    d = where(low, b, where(high, a, a + b))
    quarter = _HALF_PI[e] / 2
    turn = where(low, 0.0, where(high, a.like(2 * quarter), quarter))
    quarter_low = _HALF_PI_LOW[e] / 2
    turn_low = where(low, 0.0, where(high, a.like(2 * quarter_low), quarter_low))
    t = n / d
    z = t * t
    tail = fma(polynomial(z, table("ATAN", z)) * z, t, turn_low)
    total = turn + t
    return total, tail + (t - (total - turn))


@routine(FLOAT)
def arctan(x: Number) -> Number:
    """Arc tangent."""
    a = fabs(x)
    total, tail = _arctan_ratio(a, a.like(1.0))
    y = where(a < INF, total + tail, _HALF_PI[x.element])
    return copysign(where(a.is_nan(), x, y), x)


@routine()
def arctan2(y: Number, x: Number) -> Number:
    """The angle of the point (x, y), with IEEE signs of zeros and infinities."""
    e = x.element
    a, b = fabs(y), fabs(x)
    # Infinities become 1 beside 0; huge numbers are halved so that their sum is finite.
    a_inf, b_inf = a.equals(INF), b.equals(INF)
    some = a_inf | b_inf
    p = where(some, where(a_inf, a.like(1.0), 0.0), a)
    q = where(some, where(b_inf, a.like(1.0), 0.0), b)
    big = (p > _HUGE[e]) | (q > _HUGE[e])
    factor = where(big, x.like(0.25), 1.0)
    p, q = p * factor, q * factor
    # 0 / 0 counts as 0 / 1
    q = where(p.equals(0.0) & q.equals(0.0), 1.0, q)
    total, tail = _arctan_ratio(p, q)
    negative = x.bits() < 0
    mirrored = 2 * _HALF_PI[e] - total + (2 * _HALF_PI_LOW[e] - tail)
    lost = where(total > 0.0, (2 * _HALF_PI[e] - (2 * _HALF_PI[e] - total)) - total, 0.0)
    angle = where(negative, mirrored + lost, total + tail)
    return copysign(where(x.is_nan() | y.is_nan(), x + y, angle), y)


def _arcsin_tail(z: Number, s: Number) -> Number:
    """arcsin s - s, where z = s**2 <= 1/4."""
    return polynomial(z, table("ASIN", z)) * z * s


def _half_angle(a: Number) -> tuple[Number, Number, Number]:
    """z, s = sqrt(z) and what the root lost, for z = (1 - a) / 2 in [1/4, 1]."""
    z = fma(a, -0.5, 0.5)
    s = sqrt(z)
    lost = fma(-s, s, z) / (s + s)
    return z, s, where(s > 0.0, lost, 0.0)


@routine()
def arcsin(x: Number) -> Number:
    """x + x**3 P(x**2) up to 1/2; beyond, pi/2 - 2 arcsin(sqrt((1 - |x|) / 2))."""
    e = x.element
    a = fabs(x)
    large = a > 0.5
    z, s, lost = _half_angle(a)
    z = where(large, z, x * x)
    s = where(large, s, a)
    tail = _arcsin_tail(z, s)
    whole = _HALF_PI[e] - 2.0 * s
    whole_low = (_HALF_PI[e] - whole) - 2.0 * s
    rest = whole_low + (_HALF_PI_LOW[e] - 2.0 * (tail + lost))
    y = where(large, whole + rest, s + tail)
    return copysign(where(a > 1.0, NAN, where(x.is_nan(), x, y)), x)


@routine()
def arccos(x: Number) -> Number:
    """pi/2 - arcsin x up to 1/2; beyond, twice the arcsine of the half angle."""
    e = x.element
    a = fabs(x)
    large, negative = a > 0.5, x < 0.0
    z, s, lost = _half_angle(a)
    z = where(large, z, x * x)
    s = where(large, s, x)
    tail = _arcsin_tail(z, s)
    near = where(large, lost, 0.0) + tail
    total = _HALF_PI[e] - s
    total_low = (_HALF_PI[e] - total) - s
    middle = total + (total_low + (_HALF_PI_LOW[e] - tail))
    half = where(negative, total + (total_low + (_HALF_PI_LOW[e] - near)), s + near)
    y = where(large, half + half, middle)
    return where(a > 1.0, NAN, where(x.is_nan(), x, y))
