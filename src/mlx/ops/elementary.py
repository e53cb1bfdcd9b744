"""Elementary functions, element by element; integers are taken as float32.

They take arrays or Python numbers and keep shape and floating dtype; all but erf, erfinv,
expm1 and sigmoid also take complex64.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array
from mlx.ops.operands import Operand
from mlx.ops.record import binary, inexact, real_inexact, unary
from mlx.primitives.transcendental import (
    ArcCos,
    ArcCosh,
    ArcSin,
    ArcSinh,
    ArcTan,
    ArcTan2,
    ArcTanh,
    Cos,
    Cosh,
    Erf,
    ErfInv,
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    LogAddExp,
    Rsqrt,
    Sigmoid,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
)

_exp = unary("exp", Exp(), inexact)
_expm1 = unary("expm1", Expm1(), real_inexact)
_log = unary("log", Log(), inexact)
_log2 = unary("log2", Log2(), inexact)
_log10 = unary("log10", Log10(), inexact)
_log1p = unary("log1p", Log1p(), inexact)
_sin = unary("sin", Sin(), inexact)
_cos = unary("cos", Cos(), inexact)
_tan = unary("tan", Tan(), inexact)
_arcsin = unary("arcsin", ArcSin(), inexact)
_arccos = unary("arccos", ArcCos(), inexact)
_arctan = unary("arctan", ArcTan(), inexact)
_sinh = unary("sinh", Sinh(), inexact)
_cosh = unary("cosh", Cosh(), inexact)
_tanh = unary("tanh", Tanh(), inexact)
_arcsinh = unary("arcsinh", ArcSinh(), inexact)
_arccosh = unary("arccosh", ArcCosh(), inexact)
_arctanh = unary("arctanh", ArcTanh(), inexact)
_erf = unary("erf", Erf(), real_inexact)
_erfinv = unary("erfinv", ErfInv(), real_inexact)
_sigmoid = unary("sigmoid", Sigmoid(), real_inexact)
_sqrt = unary("sqrt", Sqrt(), inexact)
_rsqrt = unary("rsqrt", Rsqrt(), inexact)
_arctan2 = binary("arctan2", ArcTan2(), real_inexact)
_logaddexp = binary("logaddexp", LogAddExp(), inexact)


def exp(a: Operand, /, *, stream: Any = None) -> array:
    """e to the power of a.

    >>> mx.exp(mx.array([0.0, 1.0]))
    array([1, 2.71828], dtype=float32)
    """
    return _exp(a)


def expm1(a: Operand, /, *, stream: Any = None) -> array:
    """exp(a) - 1, exact near 0.

    >>> mx.expm1(mx.array([0.0, 1.0]))
    array([0, 1.71828], dtype=float32)
    """
    return _expm1(a)


def log(a: Operand, /, *, stream: Any = None) -> array:
    """The natural logarithm.

    >>> mx.log(mx.array([1.0, 10.0]))
    array([0, 2.30259], dtype=float32)
    """
    return _log(a)


def log2(a: Operand, /, *, stream: Any = None) -> array:
    """The logarithm to base 2.

    >>> mx.log2(mx.array([1.0, 8.0]))
    array([0, 3], dtype=float32)
    """
    return _log2(a)


def log10(a: Operand, /, *, stream: Any = None) -> array:
    """The logarithm to base 10.

    >>> mx.log10(mx.array([1.0, 100.0]))
    array([0, 2], dtype=float32)
    """
    return _log10(a)


def log1p(a: Operand, /, *, stream: Any = None) -> array:
    """log(1 + a), exact near 0.

    >>> mx.log1p(mx.array([0.0, 1.0]))
    array([0, 0.693147], dtype=float32)
    """
    return _log1p(a)


def sin(a: Operand, /, *, stream: Any = None) -> array:
    """The sine.

    >>> mx.sin(mx.array([0.0, 1.0]))
    array([0, 0.841471], dtype=float32)
    """
    return _sin(a)


def cos(a: Operand, /, *, stream: Any = None) -> array:
    """The cosine.

    >>> mx.cos(mx.array([0.0, 1.0]))
    array([1, 0.540302], dtype=float32)
    """
    return _cos(a)


def tan(a: Operand, /, *, stream: Any = None) -> array:
    """The tangent.

    >>> mx.tan(mx.array([0.0, 1.0]))
    array([0, 1.55741], dtype=float32)
    """
    return _tan(a)


def arcsin(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse sine.

    >>> mx.arcsin(mx.array([0.0, 1.0]))
    array([0, 1.5708], dtype=float32)
    """
    return _arcsin(a)


def arccos(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse cosine.

    >>> mx.arccos(mx.array([0.0, 1.0]))
    array([1.5708, 0], dtype=float32)
    """
    return _arccos(a)


def arctan(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse tangent.

    >>> mx.arctan(mx.array([0.0, 1.0]))
    array([0, 0.785398], dtype=float32)
    """
    return _arctan(a)


def sinh(a: Operand, /, *, stream: Any = None) -> array:
    """The hyperbolic sine.

    >>> mx.sinh(mx.array([0.0, 1.0]))
    array([0, 1.1752], dtype=float32)
    """
    return _sinh(a)


def cosh(a: Operand, /, *, stream: Any = None) -> array:
    """The hyperbolic cosine.

    >>> mx.cosh(mx.array([0.0, 1.0]))
    array([1, 1.54308], dtype=float32)
    """
    return _cosh(a)


def tanh(a: Operand, /, *, stream: Any = None) -> array:
    """The hyperbolic tangent.

    >>> mx.tanh(mx.array([0.0, 1.0]))
    array([0, 0.761594], dtype=float32)
    """
    return _tanh(a)


def arcsinh(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse hyperbolic sine.

    >>> mx.arcsinh(mx.array([0.0, 1.0]))
    array([0, 0.881374], dtype=float32)
    """
    return _arcsinh(a)


def arccosh(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse hyperbolic cosine.

    >>> mx.arccosh(mx.array([1.0, 2.0]))
    array([0, 1.31696], dtype=float32)
    """
    return _arccosh(a)


def arctanh(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse hyperbolic tangent.

    >>> mx.arctanh(mx.array([0.0, 0.5]))
    array([0, 0.549306], dtype=float32)
    """
    return _arctanh(a)


def erf(a: Operand, /, *, stream: Any = None) -> array:
    """The error function.

    >>> mx.erf(mx.array([0.0, 1.0]))
    array([0, 0.842701], dtype=float32)
    """
    return _erf(a)


def erfinv(a: Operand, /, *, stream: Any = None) -> array:
    """The inverse error function.

    >>> mx.erfinv(mx.array([0.0, 0.5]))
    array([0, 0.476936], dtype=float32)
    """
    return _erfinv(a)


def sigmoid(a: Operand, /, *, stream: Any = None) -> array:
    """1 / (1 + exp(-a)).

    >>> mx.sigmoid(mx.array([0.0, 1.0]))
    array([0.5, 0.731059], dtype=float32)
    """
    return _sigmoid(a)


def sqrt(a: Operand, /, *, stream: Any = None) -> array:
    """The square root.

    >>> mx.sqrt(mx.array([4.0, 9.0]))
    array([2, 3], dtype=float32)
    """
    return _sqrt(a)


def rsqrt(a: Operand, /, *, stream: Any = None) -> array:
    """1 / sqrt(a).

    >>> mx.rsqrt(mx.array([4.0, 16.0]))
    array([0.5, 0.25], dtype=float32)
    """
    return _rsqrt(a)


def arctan2(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """The angle of the point (b, a), in [-pi, pi].

    >>> mx.arctan2(mx.array([1.0, -1.0]), mx.array([1.0, 0.0]))
    array([0.785398, -1.5708], dtype=float32)
    """
    return _arctan2(a, b)


def logaddexp(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """log(exp(a) + exp(b)) without overflow.

    >>> mx.logaddexp(mx.array([0.0, 1000.0]), 0.0)
    array([0.693147, 1000], dtype=float32)
    """
    return _logaddexp(a, b)


acos, acosh, asin, asinh, atan, atanh, atan2 = (
    arccos, arccosh, arcsin, arcsinh, arctan, arctanh, arctan2,
)  # fmt: skip
