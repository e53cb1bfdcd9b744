"""Elementwise arithmetic beyond the four operations: signs, rounding, division, powers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node
from mlx.primitives.base import Full, full_like
from mlx.primitives.complex import Real
from mlx.primitives.elementwise import (
    Conjugate,
    Elementwise,
    Equal,
    Greater,
    NotEqual,
    cast,
    where,
)
from mlx.primitives.transcendental import Log


@dataclass(frozen=True)
class Absolute(Elementwise):
    """The absolute value; of complex numbers the modulus, which is real."""

    cheap = True

    def result(self, dtype: Dtype) -> Dtype:
        return dt.real_of(dtype)

    def scalar(self, emit: Any, x: Any) -> Any:
        return emit.abs(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        return [cast(cotangents[0], x.dtype) * Sign()(x)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        (x,), (tangent,) = node.inputs, tangents
        if not x.dtype.is_complex:
            return [Sign()(x) * tangent]
        return [Real()(Conjugate()(Sign()(x)) * tangent)]


@dataclass(frozen=True)
class Sign(Elementwise):
    """-1, 0 or 1; of complex numbers z / |z|, and 0 at 0.  NaN stays NaN."""

    cheap = True

    def scalar(self, emit: Any, x: Any) -> Any:
        dtype = x.dtype
        zero = emit.const(0, dtype)
        if dtype.is_complex:
            return _complex_sign(emit, x, zero)
        if dtype is dt.bool_:
            return x
        one = emit.const(1, dtype)
        sign = emit.select(emit.compare("gt", x, zero), one, x)
        if not (dtype.is_signed or dtype.is_float):
            return sign
        return emit.select(emit.compare("lt", x, zero), emit.const(-1, dtype), sign)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return self.jvp(node, cotangents)

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        """z / |z| moves along i z / |z| only; the map is its own adjoint."""
        (z,), (tangent,) = node.inputs, tangents
        if not z.dtype.is_complex:
            return [None]
        along = node * 1j
        part = Real()(Conjugate()(along) * tangent) / Absolute()(z)
        return [along * cast(part, z.dtype)]


def _complex_sign(emit: Any, z: Any, zero: Any) -> Any:
    modulus = emit.abs(z)
    unit = emit.complex(emit.div(emit.real(z), modulus), emit.div(emit.imag(z), modulus))
    return emit.select(emit.compare("eq", z, zero), z, unit)


class Rounding(Elementwise):
    """To a neighbouring integer: constant almost everywhere."""

    cheap = True
    flat = True
    partials = (None,)
    function = ""

    def scalar(self, emit: Any, x: Any) -> Any:
        if not x.dtype.is_complex:
            return emit.call(self.function, x)
        return emit.complex(
            emit.call(self.function, emit.real(x)), emit.call(self.function, emit.imag(x))
        )


@dataclass(frozen=True)
class Floor(Rounding):
    """The largest integer not above x."""

    function = "floor"


@dataclass(frozen=True)
class Ceil(Rounding):
    """The smallest integer not below x."""

    function = "ceil"


@dataclass(frozen=True)
class Trunc(Rounding):
    """The integer part."""

    function = "trunc"


@dataclass(frozen=True)
class Round(Rounding):
    """The nearest integer, half to even."""

    function = "round"


@dataclass(frozen=True)
class FloorDivide(Elementwise):
    """a / b rounded down; of integers 0 where b is 0."""

    flat = True
    partials = (None, None)

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        dtype = a.dtype
        if dtype.is_float:
            return emit.call("floor", emit.div(a, b))
        if dtype is dt.bool_:
            return emit.logical_and(a, b)
        quotient = emit.int_div(a, b)
        if not dtype.is_signed:
            return quotient
        zero = emit.const(0, dtype)
        negative = emit.logical_xor(emit.compare("lt", a, zero), emit.compare("lt", b, zero))
        inexact = emit.compare("ne", emit.mul(quotient, b), a)
        below = emit.sub(quotient, emit.const(1, dtype))
        floored = emit.select(emit.logical_and(negative, inexact), below, quotient)
        return emit.select(emit.compare("eq", b, zero), zero, floored)


@dataclass(frozen=True)
class Remainder(Elementwise):
    """a - b floor(a / b), which has the sign of b; a itself where an integer b is 0."""

    partials = (lambda a, b, out: 1, lambda a, b, out: -FloorDivide()(a, b))

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        if a.dtype is dt.bool_:
            return emit.logical_and(a, emit.logical_not(b))
        rest = emit.remainder(a, b)
        if a.dtype.is_float:
            return rest
        return emit.select(emit.compare("eq", b, emit.const(0, b.dtype)), a, rest)


@dataclass(frozen=True)
class Maximum(Elementwise):
    """The larger of two; NaN wins.  The second has the derivative where both are equal."""

    cheap = True
    partials = (
        lambda a, b, out: cast(Greater()(out, b), a.dtype),  # out outlives a: the next layer's
        lambda a, b, out: cast(Equal()(out, b), a.dtype),
    )

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.maximum(a, b)


@dataclass(frozen=True)
class Minimum(Elementwise):
    """The smaller of two; NaN wins.  The second has the derivative where both are equal."""

    cheap = True
    partials = (
        lambda a, b, out: cast(Greater()(b, out), a.dtype),
        lambda a, b, out: cast(Equal()(out, b), a.dtype),
    )

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.minimum(a, b)


def _base_slope(a: Node, b: Node, out: Node) -> Any:
    """b a^(b-1), and 0 where b is 0 (even if a is, too)."""
    if isinstance(b.primitive, Full):
        exponent = b.primitive.value
        return 0 if exponent == 0 else Power()(a, full_like(a, exponent - 1)) * exponent
    slope = b * Power()(a, b - 1)
    return where(Equal()(b, full_like(b, 0)), 0, slope)


def _exponent_slope(a: Node, b: Node, out: Node) -> Node:
    """out log(a), and 0 where a is 0."""
    zero = full_like(a, 0)
    if not a.dtype.is_inexact:
        exact = cast(out, dt.float32) * Log()(cast(a, dt.float32))
        return where(NotEqual()(a, zero), cast(exact, a.dtype), zero)
    return where(NotEqual()(a, zero), out * Log()(a), zero)


@dataclass(frozen=True)
class Power(Elementwise):
    """a to the power of b; of integers wrapping, and 0 for a negative exponent."""

    by_types = False
    partials = (_base_slope, _exponent_slope)

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        if a.dtype is dt.bool_:
            return emit.logical_or(a, emit.logical_not(b))
        if a.dtype.is_integer:
            return _integer_power(emit, a, b)
        return emit.call("pow", a, b)


def _integer_power(emit: Any, base: Any, exponent: Any) -> Any:
    """Square and multiply, one step a bit of the exponent."""
    dtype = base.dtype
    zero, one = emit.const(0, dtype), emit.const(1, dtype)
    result, rest = one, exponent
    for _ in range(8 * dtype.size - (1 if dtype.is_signed else 0)):
        odd = emit.compare("ne", emit.bit_and(rest, one), zero)
        result = emit.select(odd, emit.mul(result, base), result)
        rest = emit.shift_right(rest, one)
        base = emit.mul(base, base)
    if not dtype.is_signed:
        return result
    return emit.select(emit.compare("lt", exponent, zero), zero, result)
