"""Functions of complex64: pairs of floats, computed in double and rounded once.

``complex_name(f, re, im)`` returns (re, im).  In double nothing that floats can form
overflows or loses more than a few of the 29 spare bits, so the textbook formulas hold; those
for the inverse functions are Kahan's ("Branch cuts for complex elementary functions", 1987).
"""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary import exponential, inverse, logarithm, trigonometric
from mlx.backend.llvm.elementary.number import (
    INF,
    Number,
    at_least,
    at_most,
    copysign,
    fabs,
    fma,
    two_sum,
    where,
)
from mlx.backend.llvm.elementary.number import sqrt as root
from mlx.backend.llvm.elementary.routine import Body, Routine, routine, through_double

Complex = tuple[Number, Number]


def _clamp(x: Number, bound: float) -> Number:
    return at_most(at_least(x, -bound), bound)


def _endless(re: Number, im: Number) -> Number:
    return fabs(re).equals(INF) | fabs(im).equals(INF)


def _times(a: Number, b: Number) -> Number:
    """a * b, and 0 where a is 0 whatever b."""
    return where(a.equals(0.0), a, a * b)


def _hyperbolic(x: Number) -> Complex:
    """sinh and cosh; beyond 300 as at 300, which no float can hold."""
    x = _clamp(x, 300.0)
    return exponential.sinh.of(x), exponential.cosh.of(x)


def _exp(re: Number, im: Number) -> Complex:
    scale = exponential.exp.of(at_most(re, 300.0))
    s, c = trigonometric.sincos.of(im)
    vanishes = re.equals(-INF)
    return (
        where(vanishes, 0.0, scale * c),
        where(vanishes | im.equals(0.0), copysign(0.0, im), scale * s),
    )


def _log(re: Number, im: Number) -> Complex:
    """log |z| from the exact sum of the squares, and the angle."""
    high, low = two_sum(re * re, im * im)
    size = logarithm.log_of_sum(high, low) * 0.5
    size = where(high.is_nan(), high, size)
    size = where(high.equals(0.0), -INF, where(_endless(re, im), INF, size))
    return size, inverse.arctan2.of(im, re)


def _sqrt(re: Number, im: Number) -> Complex:
    """The larger part by a root of a sum without cancellation, the other by division."""
    size = root(re * re + im * im)
    large = root((size + fabs(re)) * 0.5)
    small = fabs(im) / (large + large)
    small = where(large.equals(0.0), 0.0, small)
    left = re < 0.0
    x, y = where(left, small, large), where(left, large, small)
    endless = fabs(im).equals(INF)
    x = where(endless, INF, x)
    y = where(endless, INF, y)
    x = where(re.equals(INF), where(im.is_nan(), im, x), x)
    end = fabs(re).equals(INF) & (fabs(im) < INF)
    x = where(end, where(left, x.like(0.0), INF), x)
    y = where(end, where(left, y.like(INF), 0.0), y)
    return x, copysign(y, im)


def _divide(a: Number, b: Number, c: Number, d: Number) -> Complex:
    """(a + ib) / (c + id); every product is exact."""
    # Beside an infinite part of the divisor a finite one is nothing.
    finite = (fabs(a) < INF) & (fabs(b) < INF)
    size = c * c + d * d
    x, y = (a * c + b * d) / size, (b * c - a * d) / size
    vanishes = _endless(c, d) & finite
    by_zero = size.equals(0.0)
    pole = copysign(INF, c)
    x, y = where(by_zero, pole * a, x), where(by_zero, pole * b, y)
    return where(vanishes, 0.0, x), where(vanishes, 0.0, y)


def _sin(re: Number, im: Number) -> Complex:
    s, c = trigonometric.sincos.of(re)
    sh, ch = _hyperbolic(im)
    return _times(s, ch), _times(sh, c)


def _cos(re: Number, im: Number) -> Complex:
    s, c = trigonometric.sincos.of(re)
    sh, ch = _hyperbolic(im)
    return c * ch, -_times(s, sh)


def _tanh(re: Number, im: Number) -> Complex:
    """(sinh x cosh x + i sin y cos y) / (sinh(x)**2 + cos(y)**2): no cancellation."""
    x = _clamp(re, 150.0)
    sh, ch = _hyperbolic(x)
    s, c = trigonometric.sincos.of(im)
    size = sh * sh + c * c
    large = fabs(re) > 20.0
    out = where(large, copysign(1.0, re), sh * ch / size)
    zero = copysign(0.0, im)
    y = where(fabs(re).equals(INF), zero, s * c / size)
    return where(re.equals(0.0), re, out), where(im.equals(0.0), im, y)


def _minus_i(z: Complex) -> Complex:
    return z[1], -z[0]


def _times_i(re: Number, im: Number) -> Complex:
    return -im, re


def _roots(re: Number, im: Number) -> tuple[Complex, Complex]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    return _sqrt(1.0 - re, -im), _sqrt(re + 1.0, im)


def _arcsin(re: Number, im: Number) -> Complex:
    (ax, ay), (bx, by) = _roots(re, im)
    across = where(_endless(re, im), fabs(im), ax * bx - ay * by)
    x = inverse.arctan2.of(re, across)
    return x, copysign(logarithm.arcsinh.of(ax * by - ay * bx), im)


def _arccos(re: Number, im: Number) -> Complex:
    (ax, ay), (bx, by) = _roots(re, im)
    endless = _endless(re, im)
    x = inverse.arctan2.of(where(endless, fabs(im), ax), where(endless, re, bx))
    x = where(endless, x, x + x)
    return x, copysign(logarithm.arcsinh.of(bx * ay - by * ax), -im)


def _arctanh(re: Number, im: Number) -> Complex:
    """log1p(4 x / ((1 - x)**2 + y**2)) / 4 and half the angle of (1 - x)(1 + x) - y**2 + 2iy."""
    a = fabs(re)
    d = 1.0 - a
    size = fma(d, d, im * im)
    x = logarithm.log1p.of(a * 4.0 / size) * 0.25
    endless = _endless(re, im)
    x = where(endless, 0.0, x)
    y = inverse.arctan2.of(im + im, fma(d, a + 1.0, -(im * im))) * 0.5
    y = where(endless, copysign(math.pi / 2, im), y)
    return copysign(x, re), y


def _arccosh(re: Number, im: Number) -> Complex:
    """i arccos z or its negative, whichever has a positive real part."""
    x, y = _arccos(re, im)
    return fabs(y), copysign(x, im)


def _pow(re: Number, im: Number, ure: Number, uim: Number) -> Complex:
    """exp(u log z); z**0 is 1, 0**u is 0 where u has a positive real part."""
    x, y = _log(re, im)
    zero = re.equals(0.0) & im.equals(0.0)
    x = where(zero, 0.0, x)
    p, q = _exp(ure * x - uim * y, ure * y + uim * x)
    vanishes = zero & (ure > 0.0)
    p, q = where(vanishes, 0.0, p), where(vanishes, 0.0, q)
    lost = zero & (ure <= 0.0)
    p, q = where(lost, float("nan"), p), where(lost, float("nan"), q)
    one = ure.equals(0.0) & uim.equals(0.0)
    return where(one, 1.0, p), where(one, 0.0, q)


def _double(body: Body) -> Routine:
    return routine(results=2)(through_double(body))


@_double
def complex_exp(re: Number, im: Number) -> Complex:
    """e**z."""
    return _exp(re, im)


@_double
def complex_expm1(re: Number, im: Number) -> Complex:
    """e**z - 1 = expm1(x) cos y - 2 sin(y/2)**2 + i e**x sin y."""
    half, _ = trigonometric.sincos.of(im * 0.5)
    _, c = trigonometric.sincos.of(im)
    _, y = _exp(re, im)
    return exponential.expm1.of(at_most(re, 300.0)) * c - 2.0 * half * half, y


@_double
def complex_log(re: Number, im: Number) -> Complex:
    """Principal logarithm, cut along the negative real axis."""
    return _log(re, im)


def _scaled_log(re: Number, im: Number, base: float) -> Complex:
    x, y = _log(re, im)
    return x * (1 / math.log(base)), y * (1 / math.log(base))


@_double
def complex_log2(re: Number, im: Number) -> Complex:
    """Principal logarithm to base 2."""
    return _scaled_log(re, im, 2)


@_double
def complex_log10(re: Number, im: Number) -> Complex:
    """Principal logarithm to base 10."""
    return _scaled_log(re, im, 10)


@_double
def complex_log1p(re: Number, im: Number) -> Complex:
    """log(1 + z): the real part is log1p(2 x + x**2 + y**2) / 2."""
    x, y = _log(re + 1.0, im)
    near = logarithm.log1p.of(fma(re, re, fma(im, im, re + re))) * 0.5
    return where(fabs(x) < 0.5, near, x), y


@_double
def complex_sin(re: Number, im: Number) -> Complex:
    """sin x cosh y + i cos x sinh y."""
    return _sin(re, im)


@_double
def complex_cos(re: Number, im: Number) -> Complex:
    """cos x cosh y - i sin x sinh y."""
    return _cos(re, im)


@_double
def complex_tan(re: Number, im: Number) -> Complex:
    """-i tanh(i z)."""
    return _minus_i(_tanh(*_times_i(re, im)))


@_double
def complex_sinh(re: Number, im: Number) -> Complex:
    """-i sin(i z)."""
    return _minus_i(_sin(*_times_i(re, im)))


@_double
def complex_cosh(re: Number, im: Number) -> Complex:
    """cos(i z)."""
    return _cos(*_times_i(re, im))


@_double
def complex_tanh(re: Number, im: Number) -> Complex:
    """Hyperbolic tangent."""
    return _tanh(re, im)


@_double
def complex_sqrt(re: Number, im: Number) -> Complex:
    """Principal square root."""
    return _sqrt(re, im)


@_double
def complex_rsqrt(re: Number, im: Number) -> Complex:
    """1 / sqrt(z)."""
    x, y = _sqrt(re, im)
    return _divide(x.like(1.0), x.like(0.0), x, y)


@_double
def complex_div(a: Number, b: Number, c: Number, d: Number) -> Complex:
    """(a + ib) / (c + id)."""
    return _divide(a, b, c, d)


@_double
def complex_pow(a: Number, b: Number, c: Number, d: Number) -> Complex:
    """(a + ib)**(c + id)."""
    return _pow(a, b, c, d)


@_double
def complex_arcsin(re: Number, im: Number) -> Complex:
    """Arc sine, cut along the real axis beyond -1 and 1."""
    return _arcsin(re, im)


@_double
def complex_arccos(re: Number, im: Number) -> Complex:
    """Arc cosine, cut along the real axis beyond -1 and 1."""
    return _arccos(re, im)


@_double
def complex_arctan(re: Number, im: Number) -> Complex:
    """-i arctanh(i z)."""
    return _minus_i(_arctanh(*_times_i(re, im)))


@_double
def complex_arcsinh(re: Number, im: Number) -> Complex:
    """-i arcsin(i z)."""
    return _minus_i(_arcsin(*_times_i(re, im)))


@_double
def complex_arccosh(re: Number, im: Number) -> Complex:
    """Inverse hyperbolic cosine, cut along the real axis below 1."""
    return _arccosh(re, im)


@_double
def complex_arctanh(re: Number, im: Number) -> Complex:
    """Inverse hyperbolic tangent, cut along the real axis beyond -1 and 1."""
    return _arctanh(re, im)


@_double
def complex_sigmoid(re: Number, im: Number) -> Complex:
    """1 / (1 + e**-z)."""
    x, y = _exp(-re, -im)
    return _divide(x.like(1.0), x.like(0.0), x + 1.0, y)


@_double
def complex_logaddexp(a: Number, b: Number, c: Number, d: Number) -> Complex:
    """log(e**z + e**w), the number with the larger real part taken out."""
    swap = c > a
    high, high_i = where(swap, c, a), where(swap, d, b)
    low, low_i = where(swap, a, c), where(swap, b, d)
    x, y = _exp(low - high, low_i - high_i)
    x, y = _log(x + 1.0, y)
    return high + x, high_i + y


@routine()
@through_double
def complex_abs(re: Number, im: Number) -> Number:
    """|z|, infinite where a part is."""
    size = root(re * re + im * im)
    return where(_endless(re, im), INF, size)
