"""Elementary functions.  Partials are the holomorphic derivatives, for complex64 too."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from mlx.base.frozen import dataclass
from mlx.graph.node import Node
from mlx.primitives.elementwise import Elementwise


class Elementary(Elementwise):
    """A function of the elementary package, in the precision of its operands."""

    function: ClassVar[str] = ""

    def scalar(self, emit: Any, *values: Any) -> Any:
        return emit.call(self.function, *values)


def _rsqrt(x: Node) -> Node:
    return Rsqrt()(x)


@dataclass(frozen=True)
class Exp(Elementary):
    """e^x."""

    function = "exp"
    partials = (lambda x, out: out,)


@dataclass(frozen=True)
class Expm1(Elementary):
    """e^x - 1, exact near 0."""

    function = "expm1"
    partials = (lambda x, out: out + 1,)


@dataclass(frozen=True)
class Log(Elementary):
    """The natural logarithm."""

    function = "log"
    partials = (lambda x, out: 1 / x,)


@dataclass(frozen=True)
class Log2(Elementary):
    """The logarithm to base 2."""

    function = "log2"
    partials = (lambda x, out: 1 / (x * math.log(2)),)


@dataclass(frozen=True)
class Log10(Elementary):
    """The logarithm to base 10."""

    function = "log10"
    partials = (lambda x, out: 1 / (x * math.log(10)),)


@dataclass(frozen=True)
class Log1p(Elementary):
    """log(1 + x), exact near 0."""

    function = "log1p"
    partials = (lambda x, out: 1 / (1 + x),)


@dataclass(frozen=True)
class Sin(Elementary):
    """The sine."""

    function = "sin"
    partials = (lambda x, out: Cos()(x),)


@dataclass(frozen=True)
class Cos(Elementary):
    """The cosine."""

    function = "cos"
    partials = (lambda x, out: -Sin()(x),)


@dataclass(frozen=True)
class Tan(Elementary):
    """The tangent."""

    function = "tan"
    partials = (lambda x, out: 1 + out * out,)


@dataclass(frozen=True)
class ArcSin(Elementary):
    """The inverse sine, in [-pi/2, pi/2]."""

    function = "arcsin"
    partials = (lambda x, out: _rsqrt(1 - x * x),)


@dataclass(frozen=True)
class ArcCos(Elementary):
    """The inverse cosine, in [0, pi]."""

    function = "arccos"
    partials = (lambda x, out: -_rsqrt(1 - x * x),)


@dataclass(frozen=True)
class ArcTan(Elementary):
    """The inverse tangent, in [-pi/2, pi/2]."""

    function = "arctan"
    partials = (lambda x, out: 1 / (1 + x * x),)


@dataclass(frozen=True)
class ArcTan2(Elementary):
    """The angle of the point (b, a), in [-pi, pi]."""

    function = "arctan2"
    partials = (
        lambda a, b, out: b / (a * a + b * b),
        lambda a, b, out: -(a / (a * a + b * b)),
    )


@dataclass(frozen=True)
class Sinh(Elementary):
    """The hyperbolic sine."""

    function = "sinh"
    partials = (lambda x, out: Cosh()(x),)


@dataclass(frozen=True)
class Cosh(Elementary):
    """The hyperbolic cosine."""

    function = "cosh"
    partials = (lambda x, out: Sinh()(x),)


@dataclass(frozen=True)
class Tanh(Elementary):
    """The hyperbolic tangent."""

    function = "tanh"
    partials = (lambda x, out: 1 - out * out,)


@dataclass(frozen=True)
class ArcSinh(Elementary):
    """The inverse hyperbolic sine."""

    function = "arcsinh"
    partials = (lambda x, out: _rsqrt(x * x + 1),)


@dataclass(frozen=True)
class ArcCosh(Elementary):
    """The inverse hyperbolic cosine."""

    function = "arccosh"
    # The product of two roots is on the right branch where one root of x^2 - 1 is not.
    partials = (lambda x, out: _rsqrt(x - 1) * _rsqrt(x + 1),)


@dataclass(frozen=True)
class ArcTanh(Elementary):
    """The inverse hyperbolic tangent."""

    function = "arctanh"
    partials = (lambda x, out: 1 / (1 - x * x),)


@dataclass(frozen=True)
class Erf(Elementary):
    """The error function."""

    function = "erf"
    partials = (lambda x, out: Exp()(-(x * x)) * (2 / math.sqrt(math.pi)),)


@dataclass(frozen=True)
class ErfInv(Elementary):
    """The inverse error function."""

    function = "erfinv"
    partials = (lambda x, out: Exp()(out * out) * (math.sqrt(math.pi) / 2),)


@dataclass(frozen=True)
class Sigmoid(Elementary):
    """1 / (1 + e^-x)."""

    function = "sigmoid"
    partials = (lambda x, out: out * (1 - out),)


@dataclass(frozen=True)
class Sqrt(Elementary):
    """The square root."""

    function = "sqrt"
    partials = (lambda x, out: 0.5 / out,)


@dataclass(frozen=True)
class Rsqrt(Elementary):
    """1 / sqrt(x)."""

    function = "rsqrt"
    partials = (lambda x, out: (out / x) * -0.5,)


def _share(a: Node, b: Node, out: Node) -> Node:
    """e^a / (e^a + e^b)."""
    return Exp()(a - out) if a.dtype.is_complex else Sigmoid()(a - b)


@dataclass(frozen=True)
class LogAddExp(Elementary):
    """log(e^a + e^b) without overflow."""

    function = "logaddexp"
    partials = (lambda a, b, out: _share(a, b, out), lambda a, b, out: _share(b, a, out))
