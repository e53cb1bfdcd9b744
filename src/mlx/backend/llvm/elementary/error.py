"""The error function and its inverse."""

from __future__ import annotations

from functools import partial

from mlx.backend.llvm.elementary import pieces
from mlx.backend.llvm.elementary.coefficients import LOW
from mlx.backend.llvm.elementary.exponential import expm1_of_reduced, reduce
from mlx.backend.llvm.elementary.logarithm import log
from mlx.backend.llvm.elementary.number import (
    BIAS,
    DOUBLE,
    FLOAT,
    INF,
    MANTISSA,
    NAN,
    Number,
    at_most,
    copysign,
    fabs,
    fma,
    polynomial,
    repair,
    sqrt,
    table,
    two_product,
    where,
)
from mlx.backend.llvm.elementary.piecewise import pick
from mlx.backend.llvm.elementary.routine import routine


def _erf_double(x: Number) -> Number:
    """x + x P(x**2) up to 1; beyond, 1 - exp(Q(|x|)) with Q a minimax polynomial of log erfc."""
    a = fabs(x)
    z = x * x
    small = fma(polynomial(z, table("ERF", z)), a, a)
    b = at_most(a, 6.0)
    r, _, shifted = reduce(polynomial(b, table("ERFC_WIDE", b)))
    factor = ((shifted.bits() - BIAS[DOUBLE]) << MANTISSA[DOUBLE]).as_float(DOUBLE)
    large = (1.0 - factor) - factor * expm1_of_reduced(r)
    return copysign(where(a < 1.0, small, large), x)


@routine(FLOAT)
def erf(x: Number) -> Number:
    """In float a polynomial for each of 16 pieces of |x|, in the first of erf(x) - x."""
    if x.element == DOUBLE:
        return _erf_double(x)
    a = at_most(fabs(x), 4.0)  # where it is 1
    coefficients, distance = pick(pieces.ERF, a)
    coefficients[0] = where(distance.equals(a), a, coefficients[0])
    return copysign(polynomial(distance, coefficients), x)


def _piece(name: str, t: Number) -> tuple[Number, Number]:
    """The value of a polynomial, and what rounding its last step and first term lost."""
    first, *others = table(name, t)
    q, q_low = two_product(t, polynomial(t, others))
    total = q + first
    return total, q - (total - first) + (q_low + LOW[name, t.element])


def _root_piece(name: str, w: Number, middle: float) -> tuple[Number, Number]:
    return _piece(name, sqrt(w) - middle)


@routine()
def erfinv(x: Number) -> Number:
    """x P(x**2) up to 0.6; beyond, x P(w) with w = -log(1 - x**2), in two or three pieces
    (in sqrt(w) where w is large)."""
    w = -log.of(fma(-x, x, 1.0))
    pieces = [("ERFINV_ROOT", 6.25, 3.25)]
    if x.element == DOUBLE:
        pieces.append(("ERFINV_FAR", 16.0, 5.0))
    near = fabs(x) < 0.6
    p, p_low = _piece("ERFINV", w - 3.25)
    q, q_low = _piece("ERFINV_NEAR", x * x)
    p, p_low = where(near, q, p), where(near, q_low, p_low)
    for name, start, middle in pieces:  # few numbers are that close to 1
        p, p_low = repair(w > start, (p, p_low), partial(_root_piece, name, w, middle))
    y = where(fabs(x).equals(1.0), copysign(INF, x), fma(x, p, x * p_low))
    return where(fabs(x) > 1.0, NAN, where(x.equals(0.0), x, y))
