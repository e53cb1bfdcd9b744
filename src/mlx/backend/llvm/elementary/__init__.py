"""Elementary functions as straight-line vector code in the IR.

``TABLE[name](f, x)`` appends the code of a function to ``f`` and returns a value of x's type,
``float`` or ``double`` with any number of lanes.  At most 2 ulp over the whole range; the
same bits on every target with fused multiply-add, for all rounding is explicit.
"""

from __future__ import annotations

from mlx.backend.llvm.elementary.error import erf
from mlx.backend.llvm.elementary.exponential import (
    cosh,
    exp,
    exp2,
    expm1,
    sigmoid,
    sinh,
    tanh,
)
from mlx.backend.llvm.elementary.logarithm import (
    arccosh,
    arcsinh,
    arctanh,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
)
from mlx.backend.llvm.elementary.number import Routine
from mlx.backend.llvm.elementary.trigonometric import cos, sin, sincos, tan

TABLE: dict[str, Routine] = {
    r.__name__: r
    for r in (
        exp, exp2, expm1, log, log2, log10, log1p, logaddexp, sigmoid,
        sin, cos, tan, sinh, cosh, tanh, arcsinh, arccosh, arctanh, erf,
    )
}  # fmt: skip

__all__ = ["TABLE", "Routine", "sincos", *TABLE]
