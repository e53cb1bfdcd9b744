"""Trigonometric functions of float16 and bfloat16 numbers, as in ``narrow``."""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary.narrow import odd, table
from mlx.backend.llvm.elementary.number import (
    FLOAT,
    NAN,
    Number,
    copysign,
    fabs,
    fma,
    intrinsic,
    polynomial,
    repair,
    where,
)
from mlx.backend.llvm.elementary.routine import routine
from mlx.backend.llvm.elementary.trigonometric import far_cos, far_sin
from mlx.backend.llvm.elementary.trigonometric import tan as far_tan

_PI = (3.1415927410125732, -8.742277657347586e-08)
"""A sum of floats: none of the numbers below is so near to a multiple that more would show."""
_MODERATE = 30000.0
_SHIFT = 1.5 * 2.0**23


def _plus_multiples(x: Number, n: Number, scale: float) -> Number:
    """x + n scale pi."""
    for part in _PI:
        x = fma(n, part * scale, x)
    return x


def _signed(y: Number, n: Number) -> Number:
    """With the sign changed where the shifted n is odd."""
    return (y.bits() ^ (n.bits() << 31)).as_float(FLOAT)


@routine(FLOAT)
def sin(x: Number) -> Number:
    """An odd polynomial of what the nearest multiple of pi leaves."""
    n = fma(x, 1 / math.pi, _SHIFT)
    y = _signed(odd("SIN", _plus_multiples(x, n - _SHIFT, -1.0)), n)
    y = where(x.equals(0.0), x, y)
    return repair(fabs(x) > _MODERATE, [y], lambda: [far_sin.of(x)])[0]


@routine(FLOAT)
def cos(x: Number) -> Number:
    """The sine of what the nearest odd multiple of pi/2 leaves."""
    shifted = fma(x, 1 / math.pi, -0.5) + _SHIFT
    n = (shifted - _SHIFT) + 0.5
    y = _signed(odd("SIN", _plus_multiples(-x, n, 1.0)), shifted)
    return repair(fabs(x) > _MODERATE, [y], lambda: [far_cos.of(x)])[0]


@routine(FLOAT)
def tan(x: Number) -> Number:
    """sin / cos, or -cos / sin, of what the nearest multiple of pi/2 leaves."""
    n = fma(x, 2 / math.pi, _SHIFT)
    r = _plus_multiples(x, n - _SHIFT, -0.5)
    sine, cosine = odd("TAN_SIN", r), polynomial(r * r, table("TAN_COS"))
    turned = (n.bits() << 31) < 0
    y = where(turned, -cosine, sine) / where(turned, sine, cosine)
    y = where(x.equals(0.0), x, y)
    return repair(fabs(x) > _MODERATE, [y], lambda: [far_tan.of(x)])[0]


def _turned(q: Number, turned: Number) -> Number:
    """arctan q, or of its reciprocal."""
    y = odd("ATAN", q)
    return where(turned, math.pi / 2 - y, y)


@routine(FLOAT)
def arctan(x: Number) -> Number:
    """An odd polynomial up to 1; beyond, pi/2 less that of the reciprocal."""
    a = fabs(x)
    large = a > 1.0
    q = where(large, 1.0, a) / where(large, a, 1.0)
    return copysign(_turned(q, large), x)


@routine(FLOAT)
def arctan2(y: Number, x: Number) -> Number:
    """The angle of the point (x, y), with IEEE signs of zeros and infinities."""
    a, b = fabs(y), fabs(x)
    steep = a > b
    q = where(steep, b, a) / where(steep, a, b)
    q = where(a.equals(b), where(a.equals(0.0), 0.0, a.like(1.0)), q)
    angle = _turned(q, steep)
    angle = where(x.bits() < 0, math.pi - angle, angle)
    return copysign(where(x.is_nan() | y.is_nan(), x + y, angle), y)


def _half_angle(a: Number) -> Number:
    return intrinsic("sqrt", fma(a, -0.5, 0.5))


@routine(FLOAT)
def arcsin(x: Number) -> Number:
    """An odd polynomial up to 1/2; beyond, pi/2 - 2 arcsin(sqrt((1 - |x|) / 2))."""
    a = fabs(x)
    large = a > 0.5
    y = odd("ASIN", where(large, _half_angle(a), a))
    y = where(large, fma(y, -2.0, math.pi / 2), y)
    return where(a > 1.0, NAN, copysign(y, x))


@routine(FLOAT)
def arccos(x: Number) -> Number:
    """pi/2 - arcsin x up to 1/2; beyond, twice the arcsine of the half angle."""
    a = fabs(x)
    large = a > 0.5
    y = odd("ASIN", where(large, _half_angle(a), x))
    half = where(x < 0.0, math.pi / 2 - y, y)
    return where(a > 1.0, NAN, where(large, half + half, math.pi / 2 - y))
