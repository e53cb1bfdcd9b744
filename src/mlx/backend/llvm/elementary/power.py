"""Powers, reciprocal roots and the remainder of a division."""

from __future__ import annotations

import math

from mlx.backend.llvm.elementary.exponential import SHIFT, exp_of, exp_of_reduced
from mlx.backend.llvm.elementary.logarithm import LN2_HIGH, split
from mlx.backend.llvm.elementary.number import (
    DOUBLE,
    FLOAT,
    INF,
    MANTISSA,
    NAN,
    Number,
    any_lane,
    at_least,
    at_most,
    copysign,
    fabs,
    fma,
    polynomial,
    table,
    trunc,
    two_product,
    two_sum,
    where,
)
from mlx.backend.llvm.elementary.number import sqrt as root
from mlx.backend.llvm.elementary.routine import routine

# ln 2 less its short first part.
_LN2_MIDDLE = 2.8235290563031577e-13


@routine(FLOAT, DOUBLE)
def sqrt(x: Number) -> Number:
    """The square root, correctly rounded."""
    return root(x)


@routine(FLOAT, DOUBLE)
def rsqrt(x: Number) -> Number:
    """1 / sqrt(x)."""
    return 1.0 / root(x)


def _log_pair(x: Number) -> tuple[Number, Number]:
    """log x of a positive finite double as a pair with a relative error below 2**-65.

    With s = (m - 1) / (m + 1): log m = 2 s + s**3 (2/3 + s**2 (2/5 + ...)); the first two
    terms and their coefficients are carried in pairs.
    """
    k, m = split(x)
    f = m - 1.0
    d = m + 1.0
    d_low = m - (d - 1.0)
    inverse = 1.0 / d
    s = f * inverse
    s_low = fma(-s, d_low, fma(-s, d, f)) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    tail = z * polynomial(z, table("LOG_TAIL", z))
    c = tail + 2.0 / 3
    c_low = tail - (c - 2.0 / 3) + _TWO_THIRDS_LOW
    w, w_low = two_product(z, c)
    w_low = w_low + fma(z, c_low, z_low * c)
    cube, cube_low = two_product(s, w)
    cube_low = cube_low + fma(s, w_low, s_low * w)
    base, base_low = two_sum(k * LN2_HIGH, s + s)
    high, low = two_sum(base, cube)
    return high, low + (base_low + fma(k, _LN2_MIDDLE, cube_low + (s_low + s_low)))


_TWO_THIRDS_LOW = 3.700743415417188e-17


def _differs(a: Number, b: Number) -> Number:
    return Number(a.f, a.f.fcmp("one", a.v, b.v))


def _at_ends(a: Number, logarithm: Number) -> Number:
    """The logarithm, or what it is at zero, infinity and NaN."""
    return where(a.equals(0.0), -INF, where(a < INF, logarithm, a))


def _clamp(x: Number, low: float, high: float) -> Number:
    return at_most(at_least(x, low), high)


def _power_double(a: Number, y: Number) -> Number:
    """exp(y log a), the logarithm and the product in pairs."""
    high, low = _log_pair(a)
    y = _clamp(y, -(2.0**70), 2.0**70)
    product, product_low = two_product(_at_ends(a, high), y)
    product_low = fma(low, y, product_low)
    large = fabs(product) > 800.0
    return exp_of(product, where(large, 0.0, product_low))


def _power_float(a: Number, y: Number) -> Number:
    """2**(y log2 a), the logarithm, the product and its integer part in double."""
    k, m = split(a)
    f = m.wide() - 1.0
    logarithm = fma(polynomial(f, table("LOG2_WIDE", f)), f, _at_ends(a, k).wide())
    product = _clamp(y, -(2.0**70), 2.0**70).wide() * logarithm
    product = _clamp(product, -160.0, 130.0)
    n = (product + SHIFT[DOUBLE]) - SHIFT[DOUBLE]
    r = ((product - n) * math.log(2)).narrow()
    n = n.narrow()
    return exp_of_reduced(r, n, n + SHIFT[FLOAT])


@routine()
def pow(x: Number, y: Number) -> Number:
    """x**y from the logarithm of |x|, carried beyond its precision; IEEE special cases."""
    a = fabs(x)
    value = _power_float(a, y) if x.element == FLOAT else _power_double(a, y)
    # A negative base: the sign of an odd power, NaN for a broken exponent.
    whole, half = trunc(y), y * 0.5
    odd = whole.equals(y) & _differs(trunc(half), half)
    value = where((x.bits() < 0) & odd, -value, value)
    value = where((x < 0.0) & (a < INF) & _differs(whole, y), NAN, value)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, value)


@routine()
def fmod(x: Number, y: Number) -> Number:
    """The exact remainder of x / y with x's sign: multiples of y are taken off, the largest
    quotient first, until every lane is below its divisor."""
    f = x.f
    a, b = fabs(x), fabs(y)
    valid = (a < INF) & (b > 0.0)
    # Lanes that need no work take part in the steps of others, unharmed.
    working = valid & (b < INF)
    a_work, b_work = where(working, a, 0.0), where(working, b, 1.0)
    before, head, body, done = f.block, f.label("head"), f.label("body"), f.label("done")
    f.branch(head)
    f.start(head)
    mark = len(f.lines)
    rest = Number(f, f.emit("@PHI@", a.v.type))
    f.branch_if(any_lane(rest >= b_work), body, done)
    f.start(body)
    following = _fmod_step(rest, b_work)
    incoming = f"[ {a_work.v.ref}, %{before} ], [ {following.v.ref}, %{f.block} ]"
    f.lines[mark] = f.lines[mark].replace("@PHI@", f"phi {a.v.type} {incoming}")
    f.branch(head)
    f.start(done)
    out = where(working, rest, where(valid, a, NAN))
    return copysign(where(x.is_nan() | y.is_nan(), x + y, out), x)


def _fmod_step(rest: Number, b: Number) -> Number:
    """Take off the nearest multiple of b that is not above; every operation is exact."""
    e = rest.element
    m = MANTISSA[e]
    jump = 2.0 ** (60 if e == FLOAT else 600)
    # Keeps the quotient finite: a power of two times b is a multiple of b.
    for _ in range(3):
        more = b * jump
        b = where(more <= rest, more, b)
    q = rest / b
    exponent = (q.bits() & (-1 << m)).as_float(e)
    large = q >= 2.0**m
    q = where(large, q, trunc(q))
    unit = where(large, exponent * 2.0**-m, 1.0)
    after = fma(-q, b, rest)
    return where(after < 0.0, fma(unit, b, after), after)
