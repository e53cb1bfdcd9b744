"""The error function."""

from __future__ import annotations

from mlx.backend.llvm.elementary.exponential import expm1_of_reduced, reduce
from mlx.backend.llvm.elementary.number import (
    BIAS,
    FLOAT,
    MANTISSA,
    Number,
    at_most,
    copysign,
    fabs,
    fma,
    polynomial,
    routine,
    table,
    where,
)


@routine(FLOAT)
def erf(x: Number) -> Number:
    """x + x P(x**2) up to 1; beyond, 1 - exp(Q(|x|)) with Q a minimax polynomial of log erfc."""
    e = x.element
    a = fabs(x)
    z = x * x
    small = fma(polynomial(z, table("ERF", z)), a, a)
    b = at_most(a, 4.0 if e == FLOAT else 6.0)
    r, _, shifted = reduce(polynomial(b, table("ERFC" if e == FLOAT else "ERFC_WIDE", b)))
    factor = ((shifted.bits() - BIAS[e]) << MANTISSA[e]).as_float(e)
    large = (1.0 - factor) - factor * expm1_of_reduced(r)
    return copysign(where(a < 1.0, small, large), x)
