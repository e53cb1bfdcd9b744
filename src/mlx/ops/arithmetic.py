"""Arithmetic, element by element.  Operands are promoted to one dtype and broadcast.

All functions here take arrays or Python numbers; a number takes the dtype of the array it
meets.  They raise ValueError where shapes cannot be broadcast, where the dtype is not
supported, or where an integer does not fit into the array's dtype.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from builtins import abs as builtin_abs
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.ops.operands import Operand, integer, node_of
from mlx.ops.record import any_dtype, binary, inexact, real, unary
from mlx.primitives.arithmetic import (
    Absolute,
    Ceil,
    Floor,
    FloorDivide,
    Maximum,
    Minimum,
    Power,
    Remainder,
    Round,
    Sign,
    Trunc,
)
from mlx.primitives.base import full_like
from mlx.primitives.elementwise import Add, Divide, Elementwise, Multiply, Negative, Subtract, cast


def _negatable(d: Dtype) -> Dtype | None:
    return None if d is dt.bool_ else d


_abs = unary("abs", Absolute(), any_dtype)
_negative = unary("negative", Negative(), _negatable)
_sign = unary("sign", Sign(), any_dtype)
_add = binary("add", Add(), any_dtype)
_subtract = binary("subtract", Subtract(), any_dtype)
_multiply = binary("multiply", Multiply(), any_dtype)
_divide = binary("divide", Divide(), inexact)
_floor_divide = binary("floor_divide", FloorDivide(), real)
_remainder = binary("remainder", Remainder(), real)
_maximum = binary("maximum", Maximum(), any_dtype)
_minimum = binary("minimum", Minimum(), any_dtype)
_power = binary("power", Power(), any_dtype)


def add(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a + b; of booleans their disjunction.

    >>> mx.add(mx.array([1, 2]), 1.5)
    array([2.5, 3.5], dtype=float32)
    """
    return _add(a, b)


def subtract(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a - b.

    >>> mx.subtract(mx.array([5, 7]), mx.array([1, 2]))
    array([4, 5], dtype=int32)
    """
    return _subtract(a, b)


def multiply(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a * b; of booleans their conjunction.

    >>> mx.multiply(mx.array([1, 2]), 3)
    array([3, 6], dtype=int32)
    """
    return _multiply(a, b)


def divide(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a / b, in floating point.

    >>> mx.divide(mx.array([1, 2]), 2)
    array([0.5, 1], dtype=float32)
    """
    return _divide(a, b)


def floor_divide(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a / b rounded down; of integers 0 where b is 0.

    >>> mx.floor_divide(mx.array([7, -7]), 2)
    array([3, -4], dtype=int32)
    """
    return _floor_divide(a, b)


def remainder(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """What floor_divide leaves: it has the sign of b.

    >>> mx.remainder(mx.array([7, -7]), 3)
    array([1, 2], dtype=int32)
    """
    return _remainder(a, b)


def divmod(a: Operand, b: Operand, /, *, stream: Any = None) -> list[array]:
    """floor_divide and remainder.

    >>> mx.divmod(mx.array([7, -7]), 2)
    [array([3, -4], dtype=int32), array([1, 1], dtype=int32)]
    """
    return [_floor_divide(a, b), _remainder(a, b)]


def power(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a to the power of b.  Of integers it wraps, and is 0 for negative exponents.

    >>> mx.power(mx.array([1, 2, 3]), 2)
    array([1, 4, 9], dtype=int32)
    """
    if type(b) in (int, float) and b in (2, 3) and type(a) is array:
        x = a._node
        if x.dtype.is_inexact or (type(b) is int and x.dtype is not dt.bool_):
            square = Multiply()(x, x)
            return wrap(square if b == 2 else Multiply()(square, x))
    return _power(a, b)


pow = power


def maximum(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """The larger of two; NaN wins.

    >>> mx.maximum(mx.array([1, 5]), 3)
    array([3, 5], dtype=int32)
    """
    return _maximum(a, b)


def minimum(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """The smaller of two; NaN wins.

    >>> mx.minimum(mx.array([1, 5]), 3)
    array([1, 3], dtype=int32)
    """
    return _minimum(a, b)


def abs(a: Operand, /, *, stream: Any = None) -> array:
    """The absolute value; of complex numbers the modulus.

    >>> mx.abs(mx.array([-1.5, 2]))
    array([1.5, 2], dtype=float32)
    """
    return _abs(a)


def negative(a: Operand, /, *, stream: Any = None) -> array:
    """-a.  Raises ValueError for booleans.

    >>> mx.negative(mx.array([1, -2]))
    array([-1, 2], dtype=int32)
    """
    return _negative(a)


def sign(a: Operand, /, *, stream: Any = None) -> array:
    """-1, 0 or 1; of complex numbers z / abs(z).

    >>> mx.sign(mx.array([-3, 0, 5]))
    array([-1, 0, 1], dtype=int32)
    """
    return _sign(a)


def positive(a: Operand, /, *, stream: Any = None) -> array:
    """a itself."""
    return wrap(node_of("positive", a))


def square(a: Operand, /, *, stream: Any = None) -> array:
    """a * a.

    >>> mx.square(mx.array([1.5, -2]))
    array([2.25, 4], dtype=float32)
    """
    x = node_of("square", a)
    return wrap(Multiply()(x, x))


def reciprocal(a: Operand, /, *, stream: Any = None) -> array:
    """1 / a, in floating point.

    >>> mx.reciprocal(mx.array([2, 4]))
    array([0.5, 0.25], dtype=float32)
    """
    return _divide(1.0, a)


def _rounded(name: str, primitive: Elementwise, a: Operand) -> array:
    x = node_of(name, a)
    if x.dtype.is_complex:
        raise ValueError(f"[{name}] Not supported for complex64.")
    return wrap(primitive(x) if x.dtype.is_float else x)


def floor(a: Operand, /, *, stream: Any = None) -> array:
    """The largest integer not above a, in the dtype of a.

    >>> mx.floor(mx.array([1.5, -1.5]))
    array([1, -2], dtype=float32)
    """
    return _rounded("floor", Floor(), a)


def ceil(a: Operand, /, *, stream: Any = None) -> array:
    """The smallest integer not below a, in the dtype of a.

    >>> mx.ceil(mx.array([1.5, -1.5]))
    array([2, -1], dtype=float32)
    """
    return _rounded("ceil", Ceil(), a)


def trunc(a: Operand, /, *, stream: Any = None) -> array:
    """The integer part of a, in the dtype of a.

    >>> mx.trunc(mx.array([1.5, -1.5]))
    array([1, -1], dtype=float32)
    """
    return _rounded("trunc", Trunc(), a)


def round(a: Operand, /, decimals: int = 0, *, stream: Any = None) -> array:
    """To the nearest number with ``decimals`` decimals, half to even.

    Integers are rounded to multiples of ``10**-decimals`` where that is above 1.

    >>> mx.round(mx.array([0.5, 1.5, 2.25]))
    array([0, 2, 2], dtype=float32)
    >>> mx.round(mx.array([1.25, 3.14]), 1)
    array([1.2, 3.1], dtype=float32)
    """
    x, decimals = node_of("round", a), integer("round", "decimals", decimals)
    if builtin_abs(decimals) > 300:
        raise ValueError(f"[round] decimals must lie in -300 to 300, got {decimals}.")
    if decimals == 0 or (decimals > 0 and not x.dtype.is_inexact):
        return wrap(Round()(x) if x.dtype.is_inexact else x)
    wide = x if x.dtype.is_inexact else cast(x, dt.float32)
    scale = full_like(wide, 10.0 ** builtin_abs(decimals))
    up, down = (Multiply(), Divide()) if decimals > 0 else (Divide(), Multiply())
    return wrap(cast(down(Round()(up(wide, scale)), scale), x.dtype))


def clip(
    a: Operand, /, a_min: Operand | None, a_max: Operand | None, *, stream: Any = None
) -> array:
    """a limited to [a_min, a_max]; None is no limit.  Raises ValueError where both are None.

    >>> mx.clip(mx.array([-1, 2, 9]), 0, 5)
    array([0, 2, 5], dtype=int32)
    """
    if a_min is None and a_max is None:
        raise ValueError("[clip] At most one of a_min and a_max may be None.")
    if a_min is not None:
        a = _maximum(a, a_min)
    return a if a_max is None else _minimum(a, a_max)


def degrees(a: Operand, /, *, stream: Any = None) -> array:
    """Radians to degrees.

    >>> mx.degrees(mx.array([0.0, 3.1415927]))
    array([0, 180], dtype=float32)
    """
    return _floating("degrees", a, 180 / math.pi)


def radians(a: Operand, /, *, stream: Any = None) -> array:
    """Degrees to radians.

    >>> mx.radians(mx.array([0.0, 180]))
    array([0, 3.14159], dtype=float32)
    """
    return _floating("radians", a, math.pi / 180)


def _floating(name: str, a: Operand, factor: float) -> array:
    x = node_of(name, a)
    x = cast(x, dt.at_least_float(x.dtype))
    return wrap(Multiply()(x, full_like(x, factor)))
