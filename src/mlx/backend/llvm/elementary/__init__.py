"""Elementary functions as straight-line vector code in the IR.

``TABLE[name](f, x)`` appends the code of a function to ``f`` and returns a value of x's type,
``float`` or ``double`` with any number of lanes.  At most 2 ulp over the whole range; the
same bits on every target with fused multiply-add, for all rounding is explicit.
``NARROW[name]``, where there is one, is for floats that hold float16 or bfloat16 numbers and
whose result is rounded to these.  ``COMPLEX[name]``, also exported as ``complex_name``, takes
and returns parts.

>>> from mlx.backend.llvm.ir import Module
>>> f = Module().function("f", ["<8 x float>"], "<8 x float>")
>>> TABLE["exp"](f, f.params[0]).type
'<8 x float>'
"""

from __future__ import annotations

from mlx.backend.llvm.elementary import narrow, narrow_angles
from mlx.backend.llvm.elementary.complex import (
    complex_abs,
    complex_arccos,
    complex_arccosh,
    complex_arcsin,
    complex_arcsinh,
    complex_arctan,
    complex_arctanh,
    complex_cos,
    complex_cosh,
    complex_div,
    complex_exp,
    complex_expm1,
    complex_log,
    complex_log1p,
    complex_log2,
    complex_log10,
    complex_logaddexp,
    complex_pow,
    complex_rsqrt,
    complex_sigmoid,
    complex_sin,
    complex_sinh,
    complex_sqrt,
    complex_tan,
    complex_tanh,
)
from mlx.backend.llvm.elementary.error import erf, erfinv
from mlx.backend.llvm.elementary.exponential import (
    cosh,
    exp,
    exp2,
    expm1,
    sigmoid,
    sinh,
    tanh,
)
from mlx.backend.llvm.elementary.inverse import arccos, arcsin, arctan, arctan2
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
from mlx.backend.llvm.elementary.power import fmod, pow, rsqrt, sqrt
from mlx.backend.llvm.elementary.routine import Routine
from mlx.backend.llvm.elementary.trigonometric import cos, sin, sincos, tan

TABLE: dict[str, Routine] = {
    r.__name__: r
    for r in (
        exp, exp2, expm1, log, log2, log10, log1p, logaddexp, sigmoid,
        sin, cos, tan, sinh, cosh, tanh, arcsinh, arccosh, arctanh, erf, erfinv,
        arcsin, arccos, arctan, arctan2, pow, sqrt, rsqrt, fmod,
    )
}  # fmt: skip

NARROW: dict[str, Routine] = {
    r.__name__: r
    for r in (
        narrow.exp, narrow.exp2, narrow.expm1, narrow.log, narrow.log2, narrow.log10, narrow.log1p,
        narrow.logaddexp, narrow.sigmoid, narrow.sinh, narrow.cosh, narrow.tanh, narrow.arcsinh,
        narrow.arccosh, narrow.arctanh, narrow.erf, narrow.erfinv, narrow.pow, narrow_angles.sin,
        narrow_angles.cos, narrow_angles.tan, narrow_angles.arcsin, narrow_angles.arccos,
        narrow_angles.arctan, narrow_angles.arctan2,
    )
}  # fmt: skip

COMPLEX: dict[str, Routine] = {
    r.__name__.removeprefix("complex_"): r
    for r in (
        complex_abs, complex_arccos, complex_arccosh, complex_arcsin, complex_arcsinh,
        complex_arctan, complex_arctanh, complex_cos, complex_cosh, complex_div, complex_exp,
        complex_expm1, complex_log, complex_log10, complex_log1p, complex_log2,
        complex_logaddexp, complex_pow, complex_rsqrt, complex_sigmoid, complex_sin,
        complex_sinh, complex_sqrt, complex_tan, complex_tanh,
    )
}  # fmt: skip

__all__ = [
    "COMPLEX",
    "NARROW",
    "TABLE",
    "Routine",
    "sincos",
    *TABLE,
    *(f"complex_{n}" for n in COMPLEX),
]
