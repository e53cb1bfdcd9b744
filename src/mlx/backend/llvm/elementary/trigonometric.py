"""sin, cos, tan over the whole range.

Cody-Waite reduction by multiples of pi/2 in several parts for moderate arguments; a branch,
taken when some lane is large, reduces by Payne and Hanek's method: x = m 2**(16 j) with m an
integer, so only the part of 2**(16 j) 2/pi modulo 4 matters, kept as a sum of doubles.
"""

from __future__ import annotations

from typing import NamedTuple

from mlx.backend.llvm.elementary.coefficients import TWO_OVER_PI
from mlx.backend.llvm.elementary.number import (
    DOUBLE,
    FLOAT,
    INF,
    NAN,
    Number,
    fabs,
    fma,
    polynomial,
    repair,
    rint,
    table,
    two_product,
    two_sum,
    where,
)
from mlx.backend.llvm.elementary.routine import routine
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import const, vector

_TWO_OVER_PI = 0.6366197723675814
# pi/2 as a sum of floats, of doubles.
_PARTS = {
    FLOAT: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    DOUBLE: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_MODERATE = {FLOAT: 30000.0, DOUBLE: 2.0**28}
_SHIFT = {FLOAT: 1.5 * 2.0**23, DOUBLE: 1.5 * 2.0**52}


class _Reduced(NamedTuple):
    """x = quadrant pi/2 + high + low; the quadrant's two low bits count."""

    high: Number
    low: Number
    quadrant: Number


def _moderate(x: Number) -> _Reduced:
    e = x.element
    first, second, third = _PARTS[e]
    shifted = fma(x, _TWO_OVER_PI, _SHIFT[e])
    n = shifted - _SHIFT[e]
    exact = fma(n, -first, x)
    product, product_low = two_product(n, n.like(-second))
    high, low = two_sum(exact, product)
    return _Reduced(high, low + fma(n, -third, product_low), shifted.bits())


def _gather(f: Function, name: str, index: Number, lanes: int) -> Number:
    """Doubles of a table of the module, one a lane."""
    address = f.module.table(f"elementary_{name}", DOUBLE, TWO_OVER_PI[name])
    if not lanes:
        return Number(f, f.load(f.gep(address, index.v, DOUBLE), DOUBLE, 8))
    pointers = f.emit(
        f"getelementptr double, ptr {address.ref}, {index.v.type} {index.v.ref}",
        vector(lanes, "ptr"),
    )
    everywhere = const(vector(lanes, "i1"), 1)
    return Number(f, f.gather(pointers, vector(lanes, DOUBLE), everywhere, 8))


@routine(results=3)
def large_angle(x: Number) -> tuple[Number, Number, Number]:
    """Payne-Hanek: the products of m with four doubles, whole multiples of 4 taken off.

    The quadrant comes as the bits of a float.
    """
    f, element, lanes = x.f, x.element, x.lanes
    a = fabs(x.wide())
    a = where(a < INF, a, 0.0)
    bits = a.bits()
    j = (bits.logical(52) - (1023 + 52)) >> 4
    j = where(j < 0, 0, j)
    m = (bits - (j << 56)).as_float(DOUBLE)
    count = 4 if element == DOUBLE else 3
    parts = [_gather(f, f"TWO_OVER_PI_{i}", j, lanes) for i in range(count)]
    first, first_low = two_product(m, parts[0])
    second, small = two_product(m, parts[1])
    first, first_low, second = _modulo4(first), _modulo4(first_low), _modulo4(second)
    shifted = (first + first_low + second) + _SHIFT[DOUBLE]
    fraction = first - (shifted - _SHIFT[DOUBLE])
    rest = m * parts[-1]
    terms = [first_low, second, small]
    if element == DOUBLE:
        third, third_low = two_product(m, parts[2])
        terms.append(third)
        rest = rest + third_low
    # Twice: what the first pass lost may be more than what it left.
    for _ in range(2):
        for i, term in enumerate(terms):
            fraction, terms[i] = two_sum(fraction, term)
    for term in terms:
        rest = rest + term
    fraction, rest = two_sum(fraction, rest)
    return _signed(x, fraction, rest, shifted.bits())


def _modulo4(x: Number) -> Number:
    return fma(rint(x * 0.25), -4.0, x)


def _signed(
    x: Number, fraction: Number, low: Number, quadrant: Number
) -> tuple[Number, Number, Number]:
    """The fraction of a quarter turn as an angle with the sign of x, in x's precision."""
    first, second, _ = _PARTS[DOUBLE]
    high = fraction * first
    low = fma(fraction, first, -high) + fma(fraction, second, low * first)
    negative = x < 0.0
    if x.element == FLOAT:
        wide = high + low
        high = wide.narrow()
        low = (wide - high.wide()).narrow()
        quadrant = quadrant.cast("trunc", "i32")
    high, low = where(negative, -high, high), where(negative, -low, low)
    return high, low, where(negative, 0 - quadrant, quadrant).as_float(x.element)


def _reduce(x: Number) -> _Reduced:
    """Branches to the method for large arguments if some lane needs it."""

    def large() -> _Reduced:
        high, low, quadrant = large_angle.of(x)
        return _Reduced(high, low, quadrant.bits())

    return _Reduced(*repair(fabs(x) > _MODERATE[x.element], _moderate(x), large))


def _sin_terms(r: _Reduced) -> tuple[Number, Number]:
    """sin as a pair (r, correction)."""
    z = r.high * r.high
    cube = polynomial(z, table("SIN", z)) * z
    return r.high, fma(cube, r.high, fma(z * -0.5, r.low, r.low))


def _cos_terms(r: _Reduced) -> tuple[Number, Number]:
    """cos as a pair (1 - z/2 rounded, correction)."""
    z = r.high * r.high
    head = fma(z, -0.5, 1.0)
    lost = fma(z, -0.5, 1.0 - head)
    tail = fma(polynomial(z, table("COS", z)), z * z, lost)
    return head, fma(-r.high, r.low, tail)


def _sign_of(quadrant: Number, element: str) -> Number:
    """Bit 1 of the quadrant moved to the sign bit."""
    top = 31 if element == FLOAT else 63
    return (quadrant & 2) << (top - 1)


def _finish(x: Number, y: Number, quadrant: Number) -> Number:
    """Apply the quadrant's sign; NaN for infinite arguments."""
    y = (y.bits() ^ _sign_of(quadrant, x.element)).as_float(x.element)
    return where(fabs(x) < INF, y, NAN)


def _is_odd(quadrant: Number) -> Number:
    return Number(quadrant.f, quadrant.f.icmp("ne", (quadrant & 1).v, const(quadrant.v.type, 0)))


def _sum(pair: tuple[Number, Number]) -> Number:
    return pair[0] + pair[1]


@routine()
def far_sin(x: Number) -> Number:
    """Sine of any argument."""
    r = _reduce(x)
    y = where(_is_odd(r.quadrant), _sum(_cos_terms(r)), _sum(_sin_terms(r)))
    return where(x.equals(0.0), x, _finish(x, y, r.quadrant))


@routine()
def far_cos(x: Number) -> Number:
    """Cosine of any argument."""
    r = _reduce(x)
    y = where(_is_odd(r.quadrant), _sum(_sin_terms(r)), _sum(_cos_terms(r)))
    return _finish(x, y, r.quadrant + 1)


def _near(x: Number) -> tuple[Number, Number, Number]:
    """Of moderate floats: sine and cosine of what multiples of pi/2 leave, and the quadrant.

    The first step is exact, the others are off by half an ulp of their result: no second part
    is needed for 2 ulp.
    """
    shifted = fma(x, _TWO_OVER_PI, _SHIFT[FLOAT])
    n = shifted - _SHIFT[FLOAT]
    r = x
    for part in _PARTS[FLOAT]:
        r = fma(n, -part, r)
    z = r * r
    sine = fma(polynomial(z, table("SIN", z)), z * r, r)
    return sine, polynomial(z, (1.0, -0.5, *table("COS", z))), shifted.bits()


def _turned(y: Number, quadrant: Number) -> Number:
    return (y.bits() ^ _sign_of(quadrant, FLOAT)).as_float(FLOAT)


@routine(FLOAT)
def sin(x: Number) -> Number:
    """Sine."""
    if x.element == DOUBLE:
        return far_sin.of(x)
    sine, cosine, quadrant = _near(x)
    y = _turned(where(_is_odd(quadrant), cosine, sine), quadrant)
    y = where(x.equals(0.0), x, y)
    return repair(fabs(x) > _MODERATE[FLOAT], [y], lambda: [far_sin.of(x)])[0]


@routine(FLOAT)
def cos(x: Number) -> Number:
    """Cosine."""
    if x.element == DOUBLE:
        return far_cos.of(x)
    sine, cosine, quadrant = _near(x)
    y = _turned(where(_is_odd(quadrant), sine, cosine), quadrant + 1)
    return repair(fabs(x) > _MODERATE[FLOAT], [y], lambda: [far_cos.of(x)])[0]


@routine(results=2)
def sincos(x: Number) -> tuple[Number, Number]:
    """Sine and cosine."""
    r = _reduce(x)
    sine, cosine, odd = _sum(_sin_terms(r)), _sum(_cos_terms(r)), _is_odd(r.quadrant)
    first = _finish(x, where(odd, cosine, sine), r.quadrant)
    return where(x.equals(0.0), x, first), _finish(x, where(odd, sine, cosine), r.quadrant + 1)


@routine()
def tan(x: Number) -> Number:
    """sin / cos, or -cos / sin, the quotient of pairs."""
    r = _reduce(x)
    sine, cosine, odd = _sin_terms(r), _cos_terms(r), _is_odd(r.quadrant)
    n, n_low = (where(odd, c, s) for c, s in zip(cosine, sine, strict=True))
    d, d_low = (where(odd, s, c) for c, s in zip(cosine, sine, strict=True))
    n, n_low = _normal(n, n_low)
    d, d_low = _normal(d, d_low)
    inverse = 1.0 / d
    q = n * inverse
    rest = fma(-q, d, n) + fma(-q, d_low, n_low)
    y = fma(rest, inverse, q)
    y = where(odd, -y, y)
    return where(x.equals(0.0), x, where(fabs(x) < INF, y, NAN))


def _normal(high: Number, low: Number) -> tuple[Number, Number]:
    total = high + low
    return total, low - (total - high)
